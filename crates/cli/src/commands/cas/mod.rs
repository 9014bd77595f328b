//! `mse cas`

mod attest;
mod audit;
mod audit_fetch;
mod backup;
mod identity;
mod known;
mod libraries;
mod measure;
mod people;
mod position;
mod proxy;
mod recovery;
mod report;
mod run;
mod upgrade;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use mse_attest::TrustAnchor;
use mse_crypto::Digest;
use mse_session::KeyHash;
use mse_simtee::Platform;
use mse_workload::{CAS_FORMAT, CasWorkload, Measured as _, Measurement, Resources, measurement};

use crate::cas::ClientKey;
use crate::cli::Scene;
use crate::commands::service::millicores;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::reference::EnclaveReference;
use crate::server_url::ServerUrl;

/// Run a CAS, prove what it is, and speak to it
///
/// A CAS (configuration and attestation service) runs in an enclave and belongs to the holder of a
/// TLS key, which is measured with it. `attest` proves both and remembers the CAS by its key, and
/// from then on everything is sent to that very CAS or not at all.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas keygen
  mse cas run --data ./cas --create
  mse cas attest cas.example:18765 --name prod --owner $HASH
  mse cas list
  mse cas audit watch --witness seen.json")]
pub(crate) struct Cas {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Keygen(identity::Keygen),
    Whoami(identity::Whoami),
    Measure(measure::Measure),
    Run(Box<run::Run>),
    Attest(Box<attest::Attest>),
    /// What a CAS has proven, as a file
    Report {
        #[command(subcommand)]
        action: ReportAction,
    },
    /// Another program for a CAS
    Upgrade {
        #[command(subcommand)]
        action: upgrade::Upgrade,
    },
    /// Shares of a CAS's root key, for the day when all its machines are lost
    Recovery {
        #[command(subcommand)]
        action: recovery::Recovery,
    },
    List(known::List),
    Forget(known::Forget),
    Position(position::PositionCommand),
    Backup(backup::Backup),
    Proxy(proxy::Proxy),
    /// The log of what a CAS did
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
}

#[derive(Subcommand)]
enum ReportAction {
    Verify(Box<report::Verify>),
}

#[derive(Subcommand)]
enum AuditAction {
    Verify(audit::Verify),
    Head(audit_fetch::HeadCommand),
    Fetch(audit_fetch::Fetch),
    Watch(audit_fetch::Watch),
}

impl Cas {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Keygen(command) => command.run(scene),
            Action::Whoami(command) => command.run(scene),
            Action::Measure(command) => command.run(scene),
            Action::Run(command) => Box::pin(command.run(scene)).await,
            Action::Attest(command) => Box::pin(command.run(scene)).await,
            Action::Report {
                action: ReportAction::Verify(verify),
            } => verify.run(scene),
            Action::Upgrade { action } => action.run(scene),
            Action::Recovery { action } => action.run(scene).await,
            Action::List(command) => command.run(scene),
            Action::Forget(command) => command.run(scene),
            Action::Position(command) => command.run(scene).await,
            Action::Backup(command) => command.run(scene).await,
            Action::Proxy(command) => command.run(scene).await,
            Action::Audit { action } => match action {
                AuditAction::Verify(command) => command.run(scene),
                AuditAction::Head(command) => command.run(scene).await,
                AuditAction::Fetch(command) => command.run(scene).await,
                AuditAction::Watch(command) => command.run(scene).await,
            },
        }
    }
}

/// What of a CAS is measured.
#[derive(Args, Clone)]
struct Measured {
    /// Who owns the CAS: the hash of a TLS key (`mse cas whoami`), or a file with its certificate
    /// [default: your own key]
    #[arg(long, value_name = "HASH|FILE")]
    owner: Option<String>,
    /// Lets the CAS believe services on the simulated platform with this trust anchor, where a
    /// session asks for it; `this-machine` is the one in the configuration folder; may be given
    /// several times
    #[arg(long, value_name = "FILE|this-machine")]
    accept_simulated: Vec<PathBuf>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Cores, as in `2` or `0.5`
    #[arg(long, value_name = "CORES", default_value = "1", value_parser = millicores)]
    cores: u32,
    #[command(flatten)]
    people: people::People,
    #[command(flatten)]
    libraries: libraries::Libraries,
    /// The `mse-cas` program, or its SHA-256 [default: the one beside `mse`]
    #[arg(long, value_name = "FILE|HEX", env = "MSE_CAS", hide_env_values = true)]
    program: Option<String>,
}

impl Measured {
    fn workload(&self, scene: &Scene<'_>) -> Result<CasWorkload, Failure> {
        let simulated_anchors = self
            .accept_simulated
            .iter()
            .map(|file| match file.to_str() {
                Some(THIS_MACHINE) => own_anchor(scene),
                _ => anchor(file),
            })
            .collect::<Result<_, _>>()?;
        let workload = CasWorkload {
            format: CAS_FORMAT,
            owner: self.owner(scene)?,
            simulated_anchors,
            resources: Resources {
                memory_mib: self.memory,
                millicores: self.cores,
            },
            upgrade: self.people.upgrade()?,
            recovery: self.people.recovery(),
            token_libraries: self.libraries.read()?,
        };
        workload
            .check()
            .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        Ok(workload)
    }

    fn owner(&self, scene: &Scene<'_>) -> Result<Digest, Failure> {
        match &self.owner {
            Some(owner) => owner_of(owner),
            None => ClientKey::load(&scene.conf)?
                .map(|key| Digest(key.hash.0))
                .ok_or_else(|| {
                    Failure::new(
                        Exit::InvalidConfiguration,
                        "nothing says who owns the CAS, and you have no key yet",
                    )
                    .with_hint("name the owner with `--owner HASH`, or make a key of your own: `mse cas keygen`")
                }),
        }
    }

    fn reference(&self) -> Result<EnclaveReference, Failure> {
        EnclaveReference::find_cas(self.program.as_deref())
    }

    /// What such a CAS measures on the simulated TEE.
    fn measurement(&self, scene: &Scene<'_>) -> Result<Measurement, Failure> {
        let workload = self.workload(scene)?;
        Ok(measurement::simulated(
            &self.reference()?.digest,
            &workload.digest(),
        ))
    }
}

/// An owner, by the hash of the key or a file with the certificate (PEM).
fn owner_of(text: &str) -> Result<Digest, Failure> {
    if let Ok(hash) = text.parse::<KeyHash>() {
        return Ok(Digest(hash.0));
    }
    let invalid = |why: String| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("the owner `{text}`: {why}"),
        )
        .with_hint("give the hash that `mse cas whoami` prints, or a file with a certificate (PEM)")
    };
    let pem = private_file::read(Path::new(text), 64 * 1024)?
        .ok_or_else(|| invalid("it is neither the hash of a key nor a file".into()))?;
    let begin = "-----BEGIN CERTIFICATE-----";
    let end = "-----END CERTIFICATE-----";
    // The file may hold the private key, too.
    let certificate = pem
        .find(begin)
        .and_then(|at| pem[at..].find(end).map(|to| &pem[at..at + to + end.len()]))
        .ok_or_else(|| invalid("the file holds no certificate".into()))?;
    KeyHash::of_certificate_pem(certificate)
        .map(|hash| Digest(hash.0))
        .map_err(|error| invalid(error.to_string()))
}

/// Stands for the simulated platform in the configuration folder.
const THIS_MACHINE: &str = "this-machine";

/// The trust anchor of the platform in the configuration folder, which is made if it is not there.
fn own_anchor(scene: &Scene<'_>) -> Result<String, Failure> {
    scene.conf.create()?;
    Platform::open_or_create(&scene.conf.simulated_platform(), SystemTime::now())
        .map(|platform| platform.trust_anchor().to_toml())
        .map_err(|error| Failure::other(error.to_string()))
}

/// The text of a trust anchor file, after a look at it.
fn anchor(file: &Path) -> Result<String, Failure> {
    let text = private_file::read(file, 64 * 1024)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no trust anchor file `{}`", file.display()),
        )
        .with_hint("name `trust-anchor.toml` in the folder of a simulated platform")
    })?;
    match TrustAnchor::from_toml(&text) {
        Ok(anchor) if anchor.is_simulated() => Ok(text),
        Ok(_) => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "`{}` is not of a simulated platform: hardware needs no anchor",
                file.display()
            ),
        )),
        Err(error) => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no trust anchor: {error}", file.display()),
        )),
    }
}

/// Where collateral comes from.
#[derive(Args)]
struct CollateralArgs {
    /// A file with collateral that was kept, for verification without a network
    #[arg(long, value_name = "FILE", conflicts_with = "pccs")]
    collateral: Option<PathBuf>,
    /// The provisioning certificate service that knows the platform of the CAS
    #[arg(long, value_name = "URL")]
    pccs: Option<ServerUrl>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_hashes_or_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let conf = crate::conf_dir::ConfDir::at(dir.path());
        let key = ClientKey::create(&conf).unwrap();
        let hash = Digest(key.hash.0);
        assert_eq!(owner_of(&key.hash.to_string()).unwrap(), hash);
        assert_eq!(owner_of(&key.hash.to_base58()).unwrap(), hash);
        assert_eq!(owner_of(key.file.to_str().unwrap()).unwrap(), hash);
        for bad in ["x", "", dir.path().to_str().unwrap()] {
            assert!(owner_of(bad).is_err(), "{bad}");
        }
    }
}
