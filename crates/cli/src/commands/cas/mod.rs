//! `mse cas`

mod attest;
mod audit;
mod audit_fetch;
mod backup;
mod identity;
mod known;
mod libraries;
mod made;
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
use mse_attest::{CheckName, TrustAnchor};
use mse_crypto::Digest;
use mse_ratls::cas::AttestError;
use mse_ratls::cas::client::CasError;
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
use crate::session::Session;
use crate::trust::THIS_MACHINE;
use crate::verification::Collaterals;

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
    #[arg(long, value_name = "MIB", default_value_t = MEMORY, value_parser = clap::value_parser!(u32).range(1..))]
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

/// The memory that a CAS has if nothing else is said, in MiB.
const MEMORY: u32 = 1024;
/// Its cores, in thousandths.
const MILLICORES: u32 = 1000;

impl Measured {
    /// What to type to mean the same, in any folder. What need not be said is left out, but the
    /// owner, if `with_owner`.
    fn words(&self, scene: &Scene<'_>, with_owner: bool) -> Result<Vec<String>, Failure> {
        let mut words = Vec::new();
        if with_owner || self.owner.is_some() {
            words.extend(["--owner".to_owned(), self.owner(scene)?.to_string()]);
        }
        words.extend(option("--accept-simulated", &self.accept_simulated)?);
        if self.memory != MEMORY {
            words.extend(["--memory".to_owned(), self.memory.to_string()]);
        }
        if self.cores != MILLICORES {
            let cores = f64::from(self.cores) / 1000.0;
            words.extend(["--cores".to_owned(), cores.to_string()]);
        }
        words.extend(self.people.words()?);
        words.extend(self.libraries.words()?);
        Ok(words)
    }

    /// The program, if it is not the one beside `mse`.
    fn program_words(&self) -> Result<Vec<String>, Failure> {
        let Some(program) = &self.program else {
            return Ok(Vec::new());
        };
        if program.parse::<Digest>().is_ok() {
            return Ok(vec!["--program".to_owned(), program.clone()]);
        }
        option("--program", [&PathBuf::from(program)])
    }

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

/// An option and the files that it names, each to be found from any folder.
fn option<'a>(
    name: &str,
    files: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    for file in files {
        let file = match file.to_str() {
            Some(THIS_MACHINE) => file.clone(),
            _ => std::path::absolute(file).map_err(|error| Failure::file("find", file, &error))?,
        };
        words.extend([name.to_owned(), file.display().to_string()]);
    }
    Ok(words)
}

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

impl CollateralArgs {
    /// Where they say; else this machine's simulated platform, if `--simulated` names it; else the
    /// platform where the user is logged in.
    async fn source(&self, scene: &Scene<'_>) -> Result<CasCollateral, Failure> {
        let given = self.collateral.is_some() || self.pccs.is_some();
        let simulated = scene.global.simulated.as_deref();
        if !given && simulated == Some(Path::new(THIS_MACHINE)) {
            // Fails if there is none: a new one could vouch for nothing.
            let platform = Platform::open(&scene.conf.simulated_platform())
                .map_err(|error| Failure::other(error.to_string()))?;
            return Ok(CasCollateral {
                source: Collaterals::Own(Box::new(platform)),
                of_login: None,
            });
        }
        let of_login = if given {
            None
        } else {
            Session::load(&scene.conf)?.map(|session| session.server)
        };
        let source = scene
            .collaterals(self.collateral.as_deref(), self.pccs.as_ref(), None)
            .await?;
        Ok(CasCollateral { source, of_login })
    }
}

/// Collateral for a CAS.
struct CasCollateral {
    source: Collaterals,
    /// The platform that was asked only because the user is logged in there.
    of_login: Option<ServerUrl>,
}

impl CasCollateral {
    /// Why the CAS was refused; with whose collateral, if nobody said that it is the right one.
    fn explain(&self, error: CasError) -> Failure {
        let is_about_platform = match &error {
            CasError::Attest(AttestError::Refused(refusal)) => !matches!(
                refusal.failed,
                CheckName::RootOfTrust | CheckName::MrEnclave | CheckName::ReportData
            ),
            CasError::Collateral(_) => true,
            _ => false,
        };
        let failure = Failure::from(error);
        match &self.of_login {
            Some(server) if is_about_platform => failure
                .and(&format!(
                    "the collateral is that of `{server}`, where you are logged in"
                ))
                .with_hint("a CAS on another platform needs that one's: `--pccs URL`, as `mse cas run` prints it; or `--simulated this-machine` if it runs on this machine's simulated platform"),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use mse_attest::{Evidence, Policy, ReferenceValues, appraise};

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

    /// Evidence of one simulated platform with the collateral of another, which was asked because
    /// the user is logged in there.
    #[test]
    fn a_refusal_says_whose_collateral_it_was_if_nobody_chose_it() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let platform = |name: &str| Platform::create(&dir.path().join(name), now).unwrap();
        let (own, other) = (platform("own"), platform("other"));
        let evidence = Evidence::parse(&own.quote([7; 32], &[8; 64]).unwrap()).unwrap();
        let refusal = |collateral: &Platform, measurement: [u8; 32]| {
            let expected = ReferenceValues {
                mrenclave: Some(measurement),
                ..ReferenceValues::default()
            };
            let policy = Policy::strict().with_simulated(own.trust_anchor().clone());
            let collateral = collateral.collateral(now).unwrap().into();
            let refusal = appraise(&evidence, &collateral, &policy, &expected, now).unwrap_err();
            CasError::Attest(AttestError::Refused(Box::new(refusal)))
        };
        let asked = |login: Option<&str>| CasCollateral {
            source: Collaterals::Own(Box::new(platform(login.unwrap_or("chosen")))),
            of_login: login.map(|_| "http://127.0.0.1:7310".parse().unwrap()),
        };
        let explained = asked(Some("login")).explain(refusal(&other, [7; 32]));
        let said = explained.message();
        assert!(said.contains("that of `http://127.0.0.1:7310`"), "{said}");
        assert!(explained.hint().unwrap().contains("`--pccs URL`"));
        // It was named, or is not what is wrong.
        let chosen = asked(None).explain(refusal(&other, [7; 32]));
        assert!(!chosen.message().contains("logged in"), "{chosen}");
        let measured = asked(Some("again")).explain(refusal(&own, [9; 32]));
        assert!(!measured.message().contains("logged in"), "{measured}");
        assert!(measured.hint().unwrap().contains("`--accept-simulated`"));
    }
}
