//! The measured program, `mse-enclave` or `mse-cas`: copied aside, so that what was measured is what is started.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::measurement::EnclaveDigest;

use super::RuntimeError;

/// The installed program.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) digest: EnclaveDigest,
}

impl Program {
    /// Copies `source` to `<programs>/<sha256>/`, under its own name, unless it is there already.
    pub(super) fn install(source: &Path, programs: &Path) -> Result<Self, RuntimeError> {
        let bytes = fs::read(source).map_err(failed(source))?;
        let digest = Digest::of(&bytes);
        let folder = programs.join(digest.to_string());
        // The name is only for people who look at processes: the digest tells programs apart.
        let name = source.file_name().unwrap_or("mse-enclave".as_ref());
        let path = folder.join(name);
        if !holds(&path, digest) {
            write(&folder, &path, &bytes).map_err(failed(&path))?;
        }
        Ok(Self {
            path,
            digest: EnclaveDigest(digest),
        })
    }

    /// The program at `path`, which nobody replaces.
    pub(super) fn at(path: &Path) -> Result<Self, RuntimeError> {
        let digest = File::open(path)
            .and_then(Digest::of_reader)
            .map_err(failed(path))?;
        Ok(Self {
            path: path.to_owned(),
            digest: EnclaveDigest(digest),
        })
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.to_owned();
    move |source| RuntimeError::Program { path, source }
}

fn holds(path: &Path, digest: Digest) -> bool {
    File::open(path)
        .and_then(Digest::of_reader)
        .is_ok_and(|found| found == digest)
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // App users enter here to be started, so the folders are readable whatever the umask is.
    for folder in folder.ancestors().take(2) {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o755))?;
    file.as_file().sync_all()?;
    // Closed before it is started: a file open for writing cannot be executed.
    file.into_temp_path()
        .persist(path)
        .map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_lies_elsewhere_and_a_damaged_copy_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("built");
        fs::write(&source, "one").unwrap();
        let first = Program::install(&source, &folder.path().join("enclaves")).unwrap();
        fs::write(&first.path, "tampered").unwrap();
        let again = Program::install(&source, &folder.path().join("enclaves")).unwrap();
        assert_eq!(fs::read(&again.path).unwrap(), b"one");
        assert_eq!(first.digest, again.digest);
        assert_eq!(
            fs::metadata(&again.path).unwrap().permissions().mode() & 0o777,
            0o755
        );

        fs::write(&source, "two").unwrap();
        let second = Program::install(&source, &folder.path().join("enclaves")).unwrap();
        assert_ne!(second.path, first.path);
        assert_ne!(second.digest, first.digest);
    }

    #[test]
    fn a_missing_program_is_named_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = Program::install(&folder.path().join("nowhere"), folder.path()) else {
            panic!("installed from nowhere");
        };
        assert!(error.to_string().contains("nowhere`"), "{error}");
        assert!(error.to_string().contains("--enclave"), "{error}");
    }
}
