//! Evidence of an SGX enclave under Gramine: the files in `/dev/attestation`.
//!
//! [Gramine's documentation](https://gramine.readthedocs.io/en/stable/attestation.html) has them:
//!
//! - `attestation_type`, read: the manifest's `sgx.remote_attestation`; it must be `dcap`.
//! - `user_report_data`, written: the 64 bytes of report data, the process's until it is
//!   written again. Hence one caller at a time.
//! - `quote`, read: a fresh quote over it, made when the file is opened.
//! - `my_target_info`, read: what another enclave of the machine needs to report to this one, 512
//!   bytes, of which the first 32 are this enclave's MRENCLAVE.
//! - `/mse/workload.json`, read: what is to run, one of the manifest's trusted files.
//! - `keys/_sgx_mrenclave` and `keys/_sgx_mrsigner`, read: the CPU's sealing keys for this enclave
//!   and for all of its signer, 16 bytes.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mse_crypto::Zeroizing;
use mse_crypto::sealing::SealingKey;
use mse_workload::launch::SealPolicy;
use tokio::sync::Mutex;

use super::files::Files;
use super::layout::{self, Form, LayoutError};
use super::turn::{self, NoTurn};

/// Where Gramine has it, below the root directory.
pub(super) const FOLDER: &str = "dev/attestation";

/// What the enclave was built to run, below the root directory.
const WORKLOAD: &str = "mse/workload.json";

/// Gramine's own limit is 8 KiB.
const MAX_QUOTE: usize = 16 * 1024;
const MAX_TEXT: usize = 256;
const SEAL_KEY_BYTES: usize = 16;
const TARGET_INFO_BYTES: usize = 512;

/// Gramine's quotes.
#[derive(Clone)]
pub struct Gramine {
    files: Arc<dyn Files>,
    folder: PathBuf,
    workload: PathBuf,
    turn: Arc<Mutex<()>>,
}

/// What `attestation_type` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such file: this is not Gramine.
    NotGramine,
    /// Gramine with DCAP quotes.
    Dcap,
    /// Gramine, with the manifest's word that it gives no quotes.
    None,
    /// Something else, escaped.
    Other(String),
}

impl Gramine {
    /// The Gramine whose file system is at `root`.
    pub(super) fn new(root: &Path, files: Arc<dyn Files>) -> Self {
        Self {
            files,
            folder: root.join(FOLDER),
            workload: root.join(WORKLOAD),
            turn: Arc::default(),
        }
    }

    /// A quote over `report_data`.
    pub(super) async fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, GramineError> {
        let this = self.clone();
        let report_data = *report_data;
        turn::take(&self.turn, move || this.quote_blocking(&report_data)).await?
    }

    /// The measurement of this enclave, by its own hardware report.
    pub(super) async fn mrenclave(&self) -> Result<[u8; 32], GramineError> {
        let this = self.clone();
        turn::take(&self.turn, move || this.mrenclave_blocking()).await?
    }

    /// The workload that the manifest trusts, as JSON of at most `limit` bytes. That it does, this
    /// enclave cannot see: whoever knows its MRENCLAVE knows the manifest.
    pub(super) async fn workload(&self, limit: usize) -> Result<Vec<u8>, GramineError> {
        let this = self.clone();
        turn::take(&self.turn, move || {
            this.check()?;
            this.read_at(this.workload.clone(), limit)
        })
        .await?
    }

    fn mrenclave_blocking(&self) -> Result<[u8; 32], GramineError> {
        self.check()?;
        let target = self.read("my_target_info", TARGET_INFO_BYTES)?;
        match target.first_chunk() {
            Some(mrenclave) if target.len() == TARGET_INFO_BYTES => Ok(*mrenclave),
            _ => Err(GramineError::TargetInfo {
                path: self.folder.join("my_target_info"),
                size: target.len(),
            }),
        }
    }

    /// The CPU's sealing key. It has 16 bytes: what is sealed lasts as long as AES-128 does.
    pub(crate) async fn seal_key(&self, policy: SealPolicy) -> Result<SealingKey, GramineError> {
        let this = self.clone();
        turn::take(&self.turn, move || this.seal_key_blocking(policy)).await?
    }

    fn seal_key_blocking(&self, policy: SealPolicy) -> Result<SealingKey, GramineError> {
        let name = match policy {
            SealPolicy::Measurement => "keys/_sgx_mrenclave",
            SealPolicy::Signer => "keys/_sgx_mrsigner",
        };
        let key = Zeroizing::new(self.read(name, SEAL_KEY_BYTES)?);
        let mut bytes = Zeroizing::new([0; 32]);
        if key.len() != SEAL_KEY_BYTES {
            return Err(GramineError::SealKey {
                path: self.folder.join(name),
                size: key.len(),
            });
        }
        bytes[..SEAL_KEY_BYTES].copy_from_slice(&key);
        Ok(SealingKey::from_bytes(*bytes).derive("mse-gramine-seal-v1", name.as_bytes()))
    }

    fn quote_blocking(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, GramineError> {
        self.check()?;
        let path = self.folder.join("user_report_data");
        self.files
            .write(&path, report_data)
            .map_err(|source| GramineError::file("write", path, source))?;
        let quote = self.read("quote", MAX_QUOTE)?;
        let stated = layout::read(Form::SgxQuote, quote)?;
        if stated.report_data != *report_data {
            return Err(GramineError::OtherReportData);
        }
        Ok(stated.evidence)
    }

    /// Whether this is Gramine with DCAP. Blocks.
    pub(super) fn check(&self) -> Result<(), GramineError> {
        match self.kind()? {
            Kind::Dcap => Ok(()),
            Kind::NotGramine => Err(GramineError::NotThere(self.attestation_type())),
            Kind::None => Err(GramineError::Type("none".to_owned())),
            Kind::Other(name) => Err(GramineError::Type(name)),
        }
    }

    /// What kind of Gramine this is. Blocks.
    pub(super) fn kind(&self) -> Result<Kind, GramineError> {
        let name = match self.read("attestation_type", MAX_TEXT) {
            Err(GramineError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(Kind::NotGramine);
            }
            read => read?,
        };
        Ok(match name.trim_ascii() {
            b"dcap" => Kind::Dcap,
            b"none" => Kind::None,
            other => Kind::Other(other.escape_ascii().to_string()),
        })
    }

    /// The file that tells Gramine from everything else.
    pub(super) fn attestation_type(&self) -> PathBuf {
        self.folder.join("attestation_type")
    }

    fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, GramineError> {
        self.read_at(self.folder.join(name), limit)
    }

    fn read_at(&self, path: PathBuf, limit: usize) -> Result<Vec<u8>, GramineError> {
        self.files.read(&path, limit).map_err(|source| {
            if source.kind() == ErrorKind::FileTooLarge {
                return GramineError::TooLarge { path, limit };
            }
            GramineError::file("read", path, source)
        })
    }
}

/// Why Gramine gives no quote.
#[derive(Debug, thiserror::Error)]
pub enum GramineError {
    /// Too many callers before, or the quoting service hangs.
    #[error(transparent)]
    Turn(#[from] NoTurn),
    /// Not started by Gramine, or without its attestation files.
    #[error(
        "`{}` is not there: start mse-enclave with `gramine-sgx` and `sgx.remote_attestation = \"dcap\"`, or choose another attester with `--attester`", .0.display()
    )]
    NotThere(PathBuf),
    /// Quotes of a kind that nothing here can read, or none.
    #[error(
        "Gramine's attestation type is `{0}`: set `sgx.remote_attestation = \"dcap\"` in the manifest"
    )]
    Type(String),
    /// Gramine refused a file operation.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// What was not read or written.
        path: PathBuf,
        /// Gramine's word.
        source: io::Error,
    },
    /// More than can be right.
    #[error("`{}` is larger than `{limit}` bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its limit here.
        limit: usize,
    },
    /// Not a quote.
    #[error("what Gramine gave is no SGX quote: {0}")]
    Malformed(#[from] LayoutError),
    /// A sealing key of another size.
    #[error("`{}` has `{size}` bytes, not {SEAL_KEY_BYTES}", path.display())]
    SealKey {
        /// The file.
        path: PathBuf,
        /// Bytes.
        size: usize,
    },
    /// Target information of another size.
    #[error("`{}` has `{size}` bytes, not {TARGET_INFO_BYTES}", path.display())]
    TargetInfo {
        /// The file.
        path: PathBuf,
        /// Bytes.
        size: usize,
    },
    /// A quote about something else.
    #[error("Gramine gave a quote with other report data than asked for")]
    OtherReportData,
}

impl GramineError {
    fn file(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::File {
            action,
            path,
            source,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        // This is all that Gramine says when there is no quote, whatever the reason.
        ErrorKind::PermissionDenied => {
            "; see that the host's AESM service and its provisioning certificates (PCCS) work"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
