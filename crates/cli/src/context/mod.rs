//! What an owner keeps of a deployment: enough to verify it again, to hand it to a verifier, and
//! to test it. With the code key in it, it is a secret of the owner's.

mod file;
mod store;

use std::path::PathBuf;

use jiff::Timestamp;
use mse_crypto::CodeKey;
use mse_crypto::secretbox::Nonce;
use mse_workload::bundle::SourceSalt;
use mse_workload::{AppId, EnclaveDigest, Measurement, TlsOrigin, Workload};
use std::collections::BTreeMap;

use crate::server_url::ServerUrl;

pub(crate) use file::{ContextError, KeyInFile};
pub(crate) use store::{ContextDir, ContextEntry, ContextStore};

/// A context, as read from a file or about to be written.
pub(crate) struct Context {
    /// Version of the format it was written in.
    pub(crate) version: FormatVersion,
    /// What was deployed.
    pub(crate) config: Config,
    /// Where it runs; none before the platform has answered.
    pub(crate) instance: Option<Instance>,
    /// What we add to the format; none in contexts that other tools wrote.
    pub(crate) record: Option<Record>,
}

/// Versions of the format, which the tools before this one made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatVersion {
    /// Without tests.
    V1,
    /// The current one.
    V2,
}

/// `[config]`.
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) docker: String,
    pub(crate) python_application: String,
    pub(crate) tests: Option<Tests>,
    /// Opens the bundle. Exports leave it out.
    pub(crate) code_key: Option<CodeKey>,
    /// The owner's certificate chain, PEM.
    pub(crate) certificate: Option<String>,
}

/// The tests' part of `[config]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tests {
    /// Absolute path of the folder.
    pub(crate) folder: PathBuf,
    pub(crate) command: String,
    pub(crate) requirements: Vec<String>,
}

/// `[instance]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: AppId,
    pub(crate) config_domain_name: String,
    /// MiB.
    pub(crate) enclave_size: u32,
    pub(crate) expires_at: Timestamp,
    pub(crate) origin: TlsOrigin,
    /// By plaintext path.
    pub(crate) nonces: BTreeMap<String, Nonce>,
}

/// `[mse]`: what the tools before this one did not keep.
pub(crate) struct Record {
    /// How far the deployment came.
    pub(crate) state: State,
    /// Salt of the source commitment.
    pub(crate) source_salt: SourceSalt,
    /// The platform's API.
    pub(crate) server: ServerUrl,
    /// None while the state is `pending`.
    pub(crate) deployed: Option<Deployed>,
}

/// What is known once the platform has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    /// What runs: all that the measurement follows from, besides the enclave program.
    pub(crate) workload: Workload,
    /// The measurement that the enclave had, or was let have with `--no-verify`.
    pub(crate) measurement: Measurement,
    /// The enclave program it was compared with; none with `--no-verify`.
    pub(crate) enclave: Option<EnclaveDigest>,
    /// `host:port` to connect to.
    pub(crate) gateway: String,
    /// `simulated`, `sgx`, …
    pub(crate) tee: String,
    /// Whether the measurement was compared before the secrets were handed over.
    pub(crate) verified: bool,
}

/// How far a deployment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Encrypted; nothing may be running of it.
    Pending,
    /// Running, when it was last looked at.
    Running,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
        }
    }

    /// What is known without asking the platform.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "deployed",
        }
    }
}

impl Context {
    /// What is known of the deployment, if this context can serve a verification.
    pub(crate) fn deployed(&self) -> Option<&Deployed> {
        self.record.as_ref()?.deployed.as_ref()
    }
}
