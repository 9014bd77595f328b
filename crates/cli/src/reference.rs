//! The reference value of the enclave program: what an enclave must have been started from.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::EnclaveDigest;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// A program that is measured, and how the user names another one than the installed.
struct Measured {
    /// Without what the system adds.
    name: &'static str,
    option: &'static str,
    variable: &'static str,
}

const ENCLAVE: Measured = Measured {
    name: "mse-enclave",
    option: "--enclave",
    variable: "MSE_ENCLAVE",
};

const CAS: Measured = Measured {
    name: "mse-cas",
    option: "--program",
    variable: "MSE_CAS",
};

/// The digest of the program that enclaves are expected to run: `mse-enclave`, or `mse-cas`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EnclaveReference {
    /// SHA-256 of the program.
    pub(crate) digest: EnclaveDigest,
    /// Where it comes from.
    pub(crate) source: ReferenceSource,
}

/// Where a reference value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReferenceSource {
    /// Given as a digest.
    Given,
    /// The digest of this program.
    Program(PathBuf),
}

impl EnclaveReference {
    /// The reference that was `given` (64 hex digits, or a program), else the `mse-enclave` that
    /// is installed beside this program.
    pub(crate) fn find(given: Option<&str>) -> Result<Self, Failure> {
        Self::find_program(&ENCLAVE, given)
    }

    /// The same for the program `mse-cas`.
    pub(crate) fn find_cas(given: Option<&str>) -> Result<Self, Failure> {
        Self::find_program(&CAS, given)
    }

    fn find_program(program: &Measured, given: Option<&str>) -> Result<Self, Failure> {
        match given {
            Some(given) => match given.parse() {
                Ok(digest) => Ok(Self {
                    digest,
                    source: ReferenceSource::Given,
                }),
                Err(_) => Self::of_program(program, Path::new(given)),
            },
            None => Self::installed(program),
        }
    }

    fn installed(measured: &Measured) -> Result<Self, Failure> {
        let name = format!("{}{}", measured.name, std::env::consts::EXE_SUFFIX);
        // A link to this program may lie elsewhere than what was installed with it.
        let program = std::env::current_exe()
            .and_then(|program| program.canonicalize())
            .map_err(|error| {
                Failure::other(format!("this program's own place is unknown: {error}"))
            })?
            .with_file_name(&name);
        if program.is_file() {
            return Self::of_program(measured, &program);
        }
        Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("there is no `{name}` at `{}` to compare enclaves with", program.display()),
        )
        .with_hint(format!(
            "name the program, or its SHA-256 as published with its release: `{} FILE|HEX` or the environment variable `{}`",
            measured.option, measured.variable
        )))
    }

    fn of_program(measured: &Measured, program: &Path) -> Result<Self, Failure> {
        let digest = File::open(program)
            .and_then(Digest::of_reader)
            .map_err(|error| {
                Failure::new(
                    Exit::NotFound,
                    format!(
                        "the enclave program `{}` cannot be read: {error}",
                        program.display()
                    ),
                )
                .with_hint(format!(
                    "`{}` takes a file, or a SHA-256 in 64 hexadecimal digits",
                    measured.option
                ))
            })?;
        Ok(Self {
            digest: EnclaveDigest(digest),
            source: ReferenceSource::Program(program.to_owned()),
        })
    }
}

impl fmt::Display for EnclaveReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ReferenceSource::Given => write!(f, "{} (given)", self.digest),
            ReferenceSource::Program(program) => {
                write!(f, "{} ({})", self.digest, program.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_a_program_or_a_hint() {
        let digest = Digest::of(b"program");
        let given = EnclaveReference::find(Some(&digest.to_string())).unwrap();
        assert_eq!(
            (given.digest.0, given.source),
            (digest, ReferenceSource::Given)
        );

        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("mse-enclave");
        std::fs::write(&program, b"program").unwrap();
        let named = EnclaveReference::find(program.to_str()).unwrap();
        assert_eq!(named.digest.0, digest);
        assert!(named.to_string().contains("mse-enclave"));

        let failure = EnclaveReference::find(Some("abcd")).unwrap_err();
        assert!(failure.hint().unwrap().contains("64 hexadecimal digits"));
    }
}
