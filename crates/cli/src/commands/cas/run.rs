//! `mse cas run`

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use mse_attest::Policy;
use mse_crypto::Zeroizing;
use mse_ratls::GivenCollateral;
use mse_ratls::cas::client::{CasAddress, first_contact};
use mse_ratls::cas::upgrade::MAX_AUTHORIZATION;
use mse_ratls::cas::{AttestedCas, CasDescription, ExpectedCas};
use mse_runtime::process::guard::Guard;
use mse_runtime::process::{CasSpec, EnclaveEvent, ProcessRuntime, RunningEnclave};
use mse_session::KvUrl;
use mse_simtee::Platform;
use mse_workload::launch::{CasStart, DatabaseUrl, Phase};
use mse_workload::{CasKey, Measurement};
use serde::Serialize;
use serde_json::json;

use super::made::{MadeWith, line};
use super::{Measured, option};
use crate::cas::LocalPccs;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::private_file;
use crate::reference::ReferenceSource;
use crate::trust::THIS_MACHINE;
use crate::ui::{Report, Step, Ui, pairs, print};

/// How long the CAS may take to end after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// The file in a platform's folder.
const TRUST_ANCHOR: &str = "trust-anchor.toml";
/// How many of its last lines explain a failure.
const LAST_LINES: usize = 10;

/// Run a CAS on this machine's simulated TEE
///
/// The first time it is created with `--create`; from then on the one in the folder is opened. Only
/// the same program with the same owner, trust anchors and resources can open it. `--json` prints
/// one JSON document per line: what happens, and each line of its log.
///
/// The TEE is SIMULATED: no hardware protects the CAS from this machine's owner. Its collateral is
/// served on loopback as long as the CAS runs. The command that attests it is printed, whole.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas run --data ./cas --create
  mse cas run --data ./cas
  mse cas run --data ./cas --listen 0.0.0.0:18765 --tls-name cas.example --owner $HASH
  mse cas run --data ./cas --database postgres://cas@db.example/cas --witness /mnt/other/witness
  mse cas run --data ./two --database postgres://cas@db.example/cas --join one:18765 --cas-key $KEY
  mse cas run --data ./cas --recover $KEY_ID --custodian $A --custodian $B --custodians-needed 2")]
pub(super) struct Run {
    /// The folder of the CAS: its sealed root key, and by default its store and witness
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Make a new CAS; refused if one is there
    #[arg(long)]
    create: bool,
    /// Join the CAS that runs at this address: get its root key, and share its database
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "cas_key",
        conflicts_with = "create"
    )]
    join: Option<CasAddress>,
    /// Its root key, as `mse cas attest` shows it
    #[arg(long, value_name = "HEX", requires = "join")]
    cas_key: Option<CasKey>,
    /// Signatures of approvers, to join a CAS that is another program (`mse cas upgrade sign`)
    #[arg(long, value_name = "FILE", requires = "join")]
    upgrade: Option<PathBuf>,
    /// Recover the root key with this id, which stands in its shares: custodians bring them with
    /// `mse cas recovery give`
    #[arg(long, value_name = "KEY-ID", conflicts_with_all = ["create", "join"])]
    recover: Option<String>,
    #[command(flatten)]
    measured: Measured,
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:18765")]
    listen: SocketAddr,
    /// A DNS name or IP address for its TLS certificate; may be given several times [default:
    /// `localhost` and the address]
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// A PostgreSQL database in place of a file in the folder
    #[arg(
        long,
        value_name = "URL",
        env = "MSE_CAS_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,
    /// One more service with collateral to ask, or `vendors`; may be given several times [default:
    /// this platform's own, then the vendors']
    #[arg(long, value_name = "URL")]
    pccs: Vec<String>,
    /// A key-value store that sessions may have values in, such as `https://vault.example:8200`; may
    /// be given several times. Others are not asked [default: none]
    #[arg(long, value_name = "URL")]
    kv: Vec<KvUrl>,
    /// Where the store's last position is noted against rollback: best on another disk than the
    /// folder, which is the default
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// Take the store as it is found, though the witness is missing or ahead of it
    #[arg(long, conflicts_with = "create")]
    as_found: bool,
    /// Put this backup in the place of a store that is gone. Refused if a store is there, or if the
    /// witness saw more than the backup holds; with `--as-found` what came after it is lost
    #[arg(long, value_name = "FILE", conflicts_with = "create")]
    restore: Option<PathBuf>,
    /// The folder of the simulated platform; made if it is not there [default: in the
    /// configuration folder]
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
}

impl Run {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let ui = scene.ui;
        ui.warn(
            "SIMULATED: no hardware protects this CAS; whoever owns this machine can read every secret in it",
        );
        if self.as_found {
            ui.warn(
                "AS FOUND: nothing shows that this CAS was not set back to an older state, with revoked sessions and old secrets in it",
            );
        }
        let platform_folder = self
            .platform
            .clone()
            .unwrap_or_else(|| scene.conf.simulated_platform());
        scene.conf.create()?;
        let platform = Platform::open_or_create(&platform_folder, SystemTime::now())
            .map_err(|error| Failure::other(error.to_string()))?;
        let platform = Arc::new(platform);
        // Its own for each run: a launcher ends whatever else was launched from the same folder.
        let launcher = tempfile::Builder::new()
            .prefix("mse-cas-")
            .tempdir()
            .map_err(|error| Failure::other(format!("no temporary folder can be made: {error}")))?;
        let runtime =
            ProcessRuntime::open(launcher.path(), &self.program()?, Arc::clone(&platform))
                .map_err(|error| Failure::other(error.to_string()))?
                .with_guard(Guard::OwnProgram);
        let pccs = LocalPccs::start(Arc::clone(&platform))
            .await
            .map_err(|error| Failure::other(format!("no collateral can be served: {error}")))?;
        let spec = self.spec(scene, &pccs)?;
        let address = self.listen;
        let made_with = MadeWith::new(&self.data, &self.measured.words(scene, true)?);
        let proof = self.proof(scene, &platform_folder, pccs.url())?;
        let step = ui.step(match spec.start {
            CasStart::Create => "Creating the CAS",
            CasStart::Open => "Opening the CAS",
            CasStart::Join { .. } => "Joining the CAS",
            CasStart::Recover { .. } => "Recovering the CAS",
        });
        let enclave = runtime
            .launch_cas(spec)
            .await
            .map_err(|error| Failure::other(error.to_string()))?;
        let follower = Follower {
            ui,
            enclave,
            address,
            proof,
            made_with,
            platform,
            pccs: pccs.url().to_owned(),
            trust_anchor: platform_folder.join(TRUST_ANCHOR),
            last_lines: Vec::new(),
            reason: None,
            failed: false,
            is_unread: false,
        };
        follower.follow(step).await
    }

    fn program(&self) -> Result<PathBuf, Failure> {
        match self.measured.reference()?.source {
            ReferenceSource::Program(program) => Ok(program),
            ReferenceSource::Given => Err(Failure::new(
                Exit::InvalidConfiguration,
                "`--program` names a digest, and a digest cannot be run",
            )
            .with_hint("name the `mse-cas` program: `--program FILE`")),
        }
    }

    /// What `mse cas attest` takes, behind the address, to prove that it is this CAS.
    fn proof(
        &self,
        scene: &Scene<'_>,
        platform: &Path,
        pccs: &str,
    ) -> Result<Vec<String>, Failure> {
        let mut words = vec!["--name".to_owned(), "here".to_owned()];
        if platform == scene.conf.simulated_platform() {
            // With its collateral.
            words.extend(["--simulated".to_owned(), THIS_MACHINE.to_owned()]);
        } else {
            let anchor = platform.join(TRUST_ANCHOR);
            words.extend(option("--simulated", [&anchor])?);
            words.extend(["--pccs".to_owned(), pccs.to_owned()]);
        }
        words.extend(self.measured.words(scene, false)?);
        words.extend(self.measured.program_words()?);
        Ok(words)
    }

    fn spec(&self, scene: &Scene<'_>, pccs: &LocalPccs) -> Result<CasSpec, Failure> {
        let mut collateral = vec![pccs.url().to_owned()];
        if self.pccs.is_empty() {
            collateral.push("vendors".to_owned());
        }
        collateral.extend(self.pccs.iter().cloned());
        let mut names = self.tls_name.clone();
        if names.is_empty() {
            names = vec!["localhost".to_owned(), self.listen.ip().to_string()];
        }
        Ok(CasSpec {
            workload: self.measured.workload(scene)?,
            data: absolute(&self.data)?,
            database: self
                .database
                .clone()
                .map(|url| DatabaseUrl(Zeroizing::new(url))),
            listen: self.listen.to_string(),
            names,
            collateral,
            key_value_stores: self.kv.iter().map(ToString::to_string).collect(),
            start: self.start()?,
            witness: self.witness.as_deref().map(absolute).transpose()?,
            as_found: self.as_found,
            restore: self.restore.as_deref().map(absolute).transpose()?,
        })
    }
}

impl Run {
    fn start(&self) -> Result<CasStart, Failure> {
        if let (Some(address), Some(cas_key)) = (&self.join, self.cas_key) {
            return Ok(CasStart::Join {
                address: address.to_string(),
                cas_key,
                authorization: self.upgrade.as_deref().map(authorization).transpose()?,
            });
        }
        Ok(match &self.recover {
            Some(key_id) => CasStart::Recover {
                key_id: key_id.clone(),
            },
            None if self.create => CasStart::Create,
            None => CasStart::Open,
        })
    }
}

fn authorization(file: &Path) -> Result<String, Failure> {
    private_file::read(file, MAX_AUTHORIZATION as u64)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no authorization `{}`", file.display()),
        )
        .with_hint("approvers make it with `mse cas upgrade sign`")
    })
}

/// The CAS works in a folder of its own.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("find", path, &error))
}

/// Shows what the CAS does until it ends.
struct Follower<'a> {
    ui: &'a Ui,
    enclave: RunningEnclave,
    /// Where it was to listen; the port may be another.
    address: SocketAddr,
    /// What `mse cas attest` takes behind the address.
    proof: Vec<String>,
    made_with: MadeWith,
    platform: Arc<Platform>,
    pccs: String,
    trust_anchor: PathBuf,
    last_lines: Vec<String>,
    reason: Option<String>,
    failed: bool,
    /// Whether nobody reads the output any more.
    is_unread: bool,
}

impl Follower<'_> {
    async fn follow(mut self, step: Step) -> Result<(), Failure> {
        let mut step = Some(step);
        let mut is_stopping = false;
        let interruption = interrupted();
        tokio::pin!(interruption);
        loop {
            let event = tokio::select! {
                event = self.enclave.next() => event,
                _ = &mut interruption, if !is_stopping => {
                    is_stopping = true;
                    self.enclave.stop(GRACE);
                    continue;
                }
            };
            match event {
                Some(EnclaveEvent::Log { text, .. }) => {
                    let written = self.line(text);
                    self.goes_on(written)?;
                }
                Some(EnclaveEvent::Listening { port }) => self.address.set_port(port),
                Some(EnclaveEvent::Phase(Phase::Running)) => {
                    let attested = self.attest().await?;
                    if let Some(step) = step.take() {
                        step.done("The CAS runs, and has proven what it is");
                    }
                    // Only a hint: what runs goes on without.
                    if let Err(failure) = self.made_with.keep() {
                        self.ui.warn(failure.message().to_owned());
                    }
                    let written = self.ui.report(&self.running(attested));
                    self.goes_on(written)?;
                }
                Some(EnclaveEvent::Phase(Phase::AwaitingProvisioning)) => {
                    let written = self
                        .phase(Phase::AwaitingProvisioning)
                        .and_then(|()| self.waits());
                    self.goes_on(written)?;
                }
                Some(EnclaveEvent::Phase(phase)) => {
                    let written = self.phase(phase);
                    self.goes_on(written)?;
                }
                Some(EnclaveEvent::Exited { how }) => {
                    drop(step);
                    return self.ended(&how);
                }
                Some(
                    EnclaveEvent::Confinement(_)
                    | EnclaveEvent::Health { .. }
                    | EnclaveEvent::ServiceEnded(_)
                    | EnclaveEvent::Waiting { .. },
                ) => {}
                None => return self.ended("no word of how"),
            }
        }
    }

    /// A CAS serves others than whoever reads what it says: when that one stops, it does not.
    fn goes_on(&mut self, written: Result<(), Failure>) -> Result<(), Failure> {
        match written {
            Err(failure) if failure.exit() == Exit::Cancelled => {
                if !self.is_unread {
                    self.is_unread = true;
                    say(&format!("warning: {failure}; the CAS goes on serving"));
                }
                Ok(())
            }
            other => other,
        }
    }

    /// As everybody else does it: what it shows is then known to be good.
    async fn attest(&self) -> Result<AttestedCas, Failure> {
        let address = self
            .near_address()
            .to_string()
            .parse()
            .map_err(|error| Failure::other(format!("{error}")))?;
        let expected = ExpectedCas {
            policy: Policy::strict().with_simulated(self.platform.trust_anchor().clone()),
            measurement: Some(self.enclave.measurement()),
            owner: None,
            cas_key: None,
        };
        let collateral = self
            .platform
            .collateral(SystemTime::now())
            .map_err(|error| Failure::other(error.to_string()))?;
        let contact = first_contact(&address, None).await?;
        let collateral = GivenCollateral(collateral.into());
        let (_, attested) = Box::pin(contact.attest(&expected, &collateral)).await?;
        Ok(attested)
    }

    /// Where it is reached from this machine.
    fn near_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }

    /// The whole command that proves on this machine that it is this CAS.
    fn attest_command(&self) -> String {
        let address = self.near_address();
        // By the name that Meshfiles use for it.
        let address = match address.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => format!("localhost:{}", address.port()),
            _ => address.to_string(),
        };
        format!("mse cas attest {address} {}", line(&self.proof))
    }

    fn running(&self, attested: AttestedCas) -> Running {
        Running {
            event: "running",
            address: self.address,
            measurement: self.enclave.measurement(),
            trust_anchor: self.trust_anchor.clone(),
            pccs: self.pccs.clone(),
            attest: self.attest_command(),
            description: attested.description,
        }
    }

    /// Tells the custodians where to come to.
    fn waits(&self) -> Result<(), Failure> {
        let (address, measurement) = (self.address, self.enclave.measurement());
        if self.ui.is_json() {
            let waiting = json!({
                "event": "waiting-for-shares",
                "address": address,
                "measurement": measurement,
                "trust_anchor": self.trust_anchor,
                "pccs": self.pccs,
            });
            return print(&waiting.to_string());
        }
        self.ui.advice(&format!(
            "it waits for shares: `mse cas recovery give {address} --share FILE --key FILE --measurement HEX --pccs {}`; its measurement is {measurement}, which custodians should know from before",
            self.pccs
        ));
        Ok(())
    }

    fn line(&mut self, text: String) -> Result<(), Failure> {
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.remove(0);
        }
        let event = json!({"event": "log", "text": text});
        let shown = format!("cas: {}", text.trim_start());
        self.last_lines.push(text);
        if self.ui.is_json() {
            return print(&event.to_string());
        }
        say(&shown);
        Ok(())
    }

    fn phase(&mut self, phase: Phase) -> Result<(), Failure> {
        let mut event = json!(phase);
        event["event"] = "phase".into();
        match phase {
            Phase::Failed { reason } => {
                self.failed = true;
                self.reason = Some(reason);
            }
            Phase::Stopped { reason } => self.reason = Some(reason),
            Phase::AwaitingProvisioning | Phase::Starting | Phase::Running => {}
        }
        if self.ui.is_json() {
            print(&event.to_string())?;
        }
        Ok(())
    }

    fn ended(mut self, how: &str) -> Result<(), Failure> {
        let is_in_order = !self.failed && how == "exit status: 0";
        let reason = self.reason.take().unwrap_or_else(|| {
            let mut reason = format!("the CAS ended: {how}");
            for line in &self.last_lines {
                reason.push('\n');
                reason.push_str(line);
            }
            reason
        });
        if self.ui.is_json() {
            let written = print(&json!({"event": "ended", "reason": reason}).to_string());
            self.goes_on(written)?;
        }
        if is_in_order {
            return Ok(());
        }
        if reason.contains("holds a CAS already") {
            return Err(Failure::new(Exit::Conflict, reason)
                .with_hint("without `--create` it is opened; another `--data` is another CAS"));
        }
        let is_locked = reason.contains("the root key in");
        let failure = Failure::other(reason);
        Err(if is_locked {
            failure.with_hint(self.made_with.hint())
        } else {
            failure
        })
    }
}

/// A line on standard error, if somebody is there to read it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[derive(Serialize)]
struct Running {
    event: &'static str,
    address: SocketAddr,
    measurement: Measurement,
    trust_anchor: PathBuf,
    /// Where the collateral of this platform is.
    pccs: String,
    /// The command that attests it from this machine.
    attest: String,
    #[serde(flatten)]
    description: CasDescription,
}

impl Report for Running {
    fn text(&self) -> String {
        let rows = [
            ("Address", self.address.to_string()),
            ("Owner", self.description.owner.to_string()),
            ("Measurement", self.measurement.to_string()),
            ("Trust anchor", self.trust_anchor.display().to_string()),
            ("Collateral", self.pccs.clone()),
        ];
        format!(
            "{}\nThe CAS key is {}\n\nAttest it, in another terminal:\n  {}",
            pairs(&rows),
            self.description.cas_key,
            self.attest
        )
    }
}
