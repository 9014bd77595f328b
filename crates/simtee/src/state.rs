//! What a platform keeps on disk: one directory, made whole or not at all.
//!
//! Private keys are PKCS#8 (DER, `*.key`, mode 0600), certificates PEM (`*.pem`); the directory
//! has mode 0700. `trust-anchor.toml` is for those who choose to trust the platform.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa,
    signature::KeyPair as _,
};
use mse_attest::TrustAnchor;
use rcgen::KeyPair;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{authority::Authority, pck, platform::PlatformError};

/// The keys and certificates of a platform.
pub(crate) struct State {
    pub(crate) root: Authority,
    pub(crate) pck_ca: Authority,
    pub(crate) tcb_signing: String,
    pub(crate) tcb_signing_key: Secret,
    pub(crate) pck: String,
    pub(crate) pck_key: Secret,
    pub(crate) attestation_key: Secret,
    enclave_signing_key: Secret,
    root_key: Secret,
    pck_ca_key: Secret,
}

impl State {
    /// Keys and certificates of a new platform, in memory.
    pub(crate) fn generate(now: SystemTime) -> Result<Self, PlatformError> {
        let (root_key, pck_ca_key) = (ecdsa_key()?, ecdsa_key()?);
        let (tcb_signing_key, pck_key) = (ecdsa_key()?, ecdsa_key()?);
        let root = Authority::root(key_pair(&root_key)?, now)?;
        let pck_ca = root.platform_ca(key_pair(&pck_ca_key)?, now)?;
        let mut ppid = [0; 16];
        aws_lc_rs::rand::fill(&mut ppid).map_err(|_| PlatformError::Crypto)?;
        Ok(Self {
            tcb_signing: root
                .issue("TCB Signing", &key_pair(&tcb_signing_key)?, Vec::new(), now)?
                .pem(),
            tcb_signing_key,
            pck: pck_ca
                .issue(
                    "PCK Certificate",
                    &key_pair(&pck_key)?,
                    vec![pck::extension(ppid)],
                    now,
                )?
                .pem(),
            pck_key,
            attestation_key: ecdsa_key()?,
            enclave_signing_key: rsa_key()?,
            root,
            root_key,
            pck_ca,
            pck_ca_key,
        })
    }

    /// Writes the platform to `dir`, which must not exist or be empty. A crash leaves either all
    /// of it or nothing under that name.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), PlatformError> {
        let staging = staging_beside(dir)?;
        let stored = self.write_files(&staging).and_then(|()| {
            // Replaces an empty directory and fails on any other: two processes that do this at
            // once cannot mix their keys.
            fs::rename(&staging, dir).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory => StateError::Exists { dir: dir.into() }.into(),
                _ => StateError::write(dir)(error).into(),
            })
        });
        if stored.is_err() {
            // Best effort: what failed above is what matters to the caller.
            let _ = fs::remove_dir_all(&staging);
            return stored;
        }
        sync(parent_of(dir)).map_err(StateError::write(dir))?;
        Ok(())
    }

    /// Reads the platform in `dir`.
    pub(crate) fn load(dir: &Path) -> Result<Self, PlatformError> {
        // `root.pem` stands for the whole: the directory is only ever put in place complete.
        let root_pem = match fs::read_to_string(dir.join("root.pem")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::Absent { dir: dir.into() }.into());
            }
            other => other.map_err(StateError::read(&dir.join("root.pem")))?,
        };
        let pem = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(StateError::read(&path))
        };
        let secret = |name: &str| read_secret(&dir.join(name));
        let (root_key, pck_ca_key) = (secret("root.key")?, secret("pck-ca.key")?);
        Ok(Self {
            root: Authority::load(key_pair(&root_key)?, root_pem)?,
            root_key,
            pck_ca: Authority::load(key_pair(&pck_ca_key)?, pem("pck-ca.pem")?)?,
            pck_ca_key,
            tcb_signing: pem("tcb-signing.pem")?,
            tcb_signing_key: secret("tcb-signing.key")?,
            pck: pem("pck.pem")?,
            pck_key: secret("pck.key")?,
            attestation_key: secret("attestation.key")?,
            enclave_signing_key: secret("enclave-signing.key")?,
        })
    }

    /// SHA-256 of the enclave signing key's modulus, 384 bytes, little-endian.
    pub(crate) fn mrsigner(&self) -> Result<[u8; 32], PlatformError> {
        let name = "enclave-signing";
        let key = rsa::KeyPair::from_pkcs8(&self.enclave_signing_key)
            .map_err(|_| PlatformError::Key { name })?;
        let mut modulus = key
            .public_key()
            .modulus()
            .big_endian_without_leading_zero()
            .to_vec();
        if modulus.len() != 384 {
            return Err(PlatformError::Key { name });
        }
        modulus.reverse();
        let mut mrsigner = [0; 32];
        mrsigner.copy_from_slice(digest(&SHA256, &modulus).as_ref());
        Ok(mrsigner)
    }

    /// What a verifier needs to accept this platform.
    pub(crate) fn trust_anchor(&self) -> Result<TrustAnchor, PlatformError> {
        let mrsigner = hex::encode(self.mrsigner()?);
        let root = self.root.pem();
        Ok(TrustAnchor::from_toml(&format!(
            "tee = 'simulated'\nmrsigner = '{mrsigner}'\nroot_certificate = '''\n{root}'''\n"
        ))?)
    }

    fn write_files(&self, dir: &Path) -> Result<(), PlatformError> {
        let secrets: [(&str, &Secret); 6] = [
            ("root.key", &self.root_key),
            ("pck-ca.key", &self.pck_ca_key),
            ("tcb-signing.key", &self.tcb_signing_key),
            ("pck.key", &self.pck_key),
            ("attestation.key", &self.attestation_key),
            ("enclave-signing.key", &self.enclave_signing_key),
        ];
        let anchor = self.trust_anchor()?.to_toml();
        let public = [
            ("root.pem", self.root.pem()),
            ("pck-ca.pem", self.pck_ca.pem()),
            ("tcb-signing.pem", &self.tcb_signing),
            ("pck.pem", &self.pck),
            ("trust-anchor.toml", &anchor),
        ];
        for (name, secret) in secrets {
            write_file(&dir.join(name), secret)?;
        }
        for (name, text) in public {
            write_file(&dir.join(name), text.as_bytes())?;
        }
        sync(dir).map_err(StateError::write(dir))?;
        Ok(())
    }
}

/// Why the platform's directory could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is no platform.
    #[error("there is no simulated platform in `{}`; make one, or give the directory of one", dir.display())]
    Absent {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something already.
    #[error("`{}` exists and is not empty, so no simulated platform can be made there; open it, or give another directory", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// A private key that is not private.
    #[error("the private key `{}` can be read by others (mode `{mode:o}`); make another platform, or `chmod 600` it if you know that nobody did", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file cannot be read.
    #[error("cannot read `{}` of the simulated platform: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}` of the simulated platform: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl StateError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

/// A private key, PKCS#8 DER.
type Secret = Zeroizing<Vec<u8>>;

fn ecdsa_key() -> Result<Secret, PlatformError> {
    Ok(Zeroizing::new(KeyPair::generate()?.serialize_der()))
}

fn rsa_key() -> Result<Secret, PlatformError> {
    let key = rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(|_| PlatformError::Crypto)?;
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(|_| PlatformError::Crypto)?;
    Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
}

fn key_pair(pkcs8: &Secret) -> Result<KeyPair, PlatformError> {
    Ok(KeyPair::try_from(pkcs8.as_slice())?)
}

/// A new private directory with the name of `dir` and something random, in the same place: a
/// rename from there is one step.
fn staging_beside(dir: &Path) -> Result<PathBuf, PlatformError> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| PlatformError::Crypto)?;
    let mut name = OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(format!(".{}.new", hex::encode(random)));
    let parent = parent_of(dir);
    fs::create_dir_all(parent).map_err(StateError::write(parent))?;
    let staging = parent.join(name);
    DirBuilder::new()
        .mode(0o700)
        .create(&staging)
        .map_err(StateError::write(&staging))?;
    Ok(staging)
}

fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(StateError::write(path))
}

fn read_secret(path: &Path) -> Result<Secret, StateError> {
    let metadata = fs::metadata(path).map_err(StateError::read(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(Zeroizing::new(
        fs::read(path).map_err(StateError::read(path))?,
    ))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
