//! The program `mse-cas`: what a launcher starts inside a TEE.
//!
//! ```text
//! launch socket ─▶ attester ─▶ state (root key, store, identity) ─▶ listen ─▶ Routes
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `state` | a CAS is created, or the one that is there is opened |
//! | `join`, `replicas` | a replica gets the root key from one that runs: both sides |
//! | `shares`, `recovery` | shares of the root key for custodians, and an instance that collects them |
//! | [`attestation`] | what the CAS says of itself, and proves |
//! | [`collateral`] | where the endorsements of services' evidence come from |
//! | `certificate` | the TLS certificate, renewed at half its life |
//! | [`routes`] | which requests go where |

pub mod attestation;
mod certificate;
pub mod collateral;
mod join;
mod recovery;
mod replicas;
pub mod routes;
mod shares;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mse_attest::{MeasuredProgram, TrustAnchor, TrustAnchorError};
use mse_audit::entry::{Event, ExitReason, Measurement};
use mse_crypto::Digest;
use mse_ratls::cas::recovery::SealedShares;
use mse_session::{InvalidKvUrl, InvalidName, KvUrl, ModuleName};
use mse_tee::attester::{AttesterError, Machine, Wish};
use mse_tee::crowd::Crowd;
use mse_tee::host::{HostLink, Job, Order};
use mse_tee::program::Program;
use mse_workload::launch::{CasLaunch, CasStart, Phase};
use mse_workload::{CasWorkload, InvalidWorkload, Measured, TokenLibrary};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::attestation::Attestation;
pub use self::collateral::{Collaterals, NoCollateral};
pub use self::routes::Routes;
pub use self::state::StateError;

use self::attestation::Facts;
use self::certificate::Certificate;
use self::join::Heir;
use crate::audit_log;
use crate::identity::{Identity, IdentityError, check_names};
use crate::keys::RootKey;
use crate::listen;
use crate::sessions::Sessions;
use crate::sources::{KvConfig, ModuleConfig, SourcesConfig, TokenConfig};
use crate::store::{Store, StoreError, Write};

const PROGRAM: Program = Program {
    name: "mse-cas",
    version: env!("CARGO_PKG_VERSION"),
    launchers: "mse",
};

/// How many connections there are at once, if there may be so many files.
const CONNECTIONS: usize = 1024;
/// Files that are needed for everything else.
const OTHER_FILES: u64 = 128;
/// How long writes that are queued are waited for when the CAS shall end, whatever the launcher
/// says.
const MAX_GRACE: Duration = Duration::from_secs(60);

/// Runs the program that the process's arguments ask for.
pub fn main() -> ExitCode {
    let given = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    mse_tee::program::run(&PROGRAM, given, run)
}

/// A CAS that runs: everything that answers to requests are made of.
pub struct Cas {
    /// All other keys come from it.
    pub root: RootKey,
    /// Who it is.
    pub identity: Identity,
    /// What it keeps.
    pub store: Store,
    /// What was measured: its owner, among others.
    pub workload: CasWorkload,
    /// The simulated platforms that it may believe where a session asks for it; measured, too.
    pub simulated: Vec<TrustAnchor>,
    /// Endorsements for services' evidence.
    pub collateral: Collaterals,
    /// What it says of itself, and proves.
    pub attestation: Attestation,
    /// Which program it is itself: what replicas must be. `None` if the TEE does not say.
    pub program: Option<MeasuredProgram>,
    /// Shares of the root key for the custodians of the workload, if it names some.
    pub shares: Option<SealedShares>,
    /// Where values that sessions keep outside may be.
    pub sources: SourcesConfig,
    /// The folder of its files.
    pub data: PathBuf,
    /// Held as long as the CAS lives.
    _lock: File,
}

impl Cas {
    /// Tells the audit log that it serves from now on, and as what.
    async fn note_start(&self) -> Result<(), StoreError> {
        let measurement = match &self.program {
            Some(program) => program.measurement().to_vec(),
            None => Vec::new(),
        };
        let event = (
            Measurement::from_bytes(&measurement),
            self.attestation.description().tee.parse(),
            env!("CARGO_PKG_VERSION").parse(),
        );
        // An instance that does not know its own program says so by an entry that is not there.
        let (Ok(measurement), Ok(tee), Ok(version)) = event else {
            return Ok(());
        };
        let event = Event::CasStarted {
            measurement,
            tee,
            version,
        };
        self.record(event).await
    }

    async fn record(&self, event: Event) -> Result<(), StoreError> {
        let leaf = audit_log::leaf(event, None, None);
        self.store.commit(Write::new().audit(leaf)).await.map(drop)
    }

    /// Tells the audit log, if the store can still be reached.
    async fn note(&self, event: Event) {
        let told = self.record(event);
        match timeout(MAX_NOTE, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the audit log does not say that this CAS ends");
            }
            Err(_) => tracing::warn!("the store takes too long to note that this CAS ends"),
        }
    }
}

/// So long a last entry is waited for.
const MAX_NOTE: Duration = Duration::from_secs(5);

async fn run(wish: Wish) -> ExitCode {
    let (host, job, orders) = match HostLink::accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match job {
        Job::Cas(launch) => live(&host, *launch, orders, wish).await,
        Job::App(_) | Job::Service(_) => Err(ProgramError::OtherJob),
    };
    let (phase, code) = match outcome {
        Ok(reason) => {
            let reason = reason.to_owned();
            (Phase::Stopped { reason }, ExitCode::SUCCESS)
        }
        Err(error) => {
            let reason = error.to_string();
            (Phase::Failed { reason }, ExitCode::FAILURE)
        }
    };
    host.phase(phase);
    host.flush().await;
    code
}

/// From the launch order to the end; says why it ended.
async fn live(
    host: &HostLink,
    launch: CasLaunch,
    mut orders: watch::Receiver<Order>,
    wish: Wish,
) -> Result<&'static str, ProgramError> {
    host.phase(Phase::Starting);
    let (cas, listener, port) = tokio::select! {
        started = start(host, &launch, wish) => started?,
        reason = ordered_end(&mut orders) => return Ok(reason),
    };
    cas.note_start().await?;
    let certificate = Certificate::new(&cas.identity, launch.names)?;
    let routes = Arc::new(Routes::new(Arc::clone(&cas)));
    let crowd = Crowd::new(seats(mse_tee::program::raise_open_files()));
    let tls = certificate.current();
    let upkeep = tokio::spawn(upkeep(routes.sessions()));
    let serving = tokio::spawn(listen::serve(listener, tls, crowd, routes));
    host.listening(port);
    host.phase(Phase::Running);
    let reason = tokio::select! {
        reason = ordered_end(&mut orders) => reason,
        never = certificate.renew(&cas.identity) => match never {},
    };
    serving.abort();
    upkeep.abort();
    let grace = match *orders.borrow() {
        Order::Stop { grace_seconds } => Duration::from_secs(grace_seconds).min(MAX_GRACE),
        Order::Run | Order::LauncherGone => MAX_GRACE,
    };
    cas.note(Event::CasExited {
        reason: ExitReason::Stopped,
    })
    .await;
    // Who is being answered may not get the answer; what was acknowledged is stored.
    if let Ok(closed) = timeout(grace, cas.store.clone().close()).await {
        closed?;
    } else {
        tracing::warn!("the store was not closed in time; it recovers when it is opened");
    }
    Ok(reason)
}

/// Sessions may ask these stores and no others. Libraries are code inside of the TEE: those that were
/// measured, and no others.
fn sources(
    key_value_stores: &[String],
    libraries: &[TokenLibrary],
) -> Result<SourcesConfig, ProgramError> {
    let servers = key_value_stores
        .iter()
        .map(|url| url.parse())
        .collect::<Result<BTreeSet<KvUrl>, _>>()?;
    let kv = KvConfig {
        allow_plain: servers.iter().any(KvUrl::is_plain),
        servers: Some(servers),
        ..KvConfig::default()
    };
    let mut modules = BTreeMap::new();
    for library in libraries {
        let (name, module) = module(library)?;
        modules.insert(name, module);
    }
    Ok(SourcesConfig { kv, modules })
}

fn module(library: &TokenLibrary) -> Result<(ModuleName, ModuleConfig), ProgramError> {
    let field = |error: String| ProgramError::Library(library.name.clone(), error);
    let path = PathBuf::from(&library.path);
    let digest = File::open(&path)
        .and_then(Digest::of_reader)
        .map_err(|error| field(format!("`{}` cannot be read: {error}", library.path)))?;
    if digest != library.digest {
        return Err(field(format!(
            "`{}` has the digest {digest}, and {} was measured",
            library.path, library.digest
        )));
    }
    let tokens = library.tokens.iter().map(|token| {
        let label = token
            .label
            .parse()
            .map_err(|_| field(format!("`{}` is no label of a token", token.label)))?;
        let sessions = token
            .sessions
            .iter()
            .map(|name| {
                name.parse()
                    .map_err(|error: InvalidName| field(error.to_string()))
            })
            .collect::<Result<_, _>>()?;
        // Sessions bring the PIN: one in the workload would be known to everybody.
        Ok((
            label,
            TokenConfig {
                sessions,
                pin: None,
            },
        ))
    });
    let module = ModuleConfig {
        path,
        tokens: tokens.collect::<Result<_, ProgramError>>()?,
        timeout: TOKEN_PATIENCE,
    };
    let name = library
        .name
        .parse()
        .map_err(|_| field("this is no name that a session can write".into()))?;
    Ok((name, module))
}

/// So long a session waits for its turn at a token and its value.
const TOKEN_PATIENCE: Duration = Duration::from_secs(20);

/// How many connections fit into so many open files: each takes two.
fn seats(open_files: u64) -> usize {
    let fit = open_files.saturating_sub(OTHER_FILES) / 2;
    let seats = usize::try_from(fit).unwrap_or(usize::MAX).min(CONNECTIONS);
    if seats < CONNECTIONS {
        tracing::warn!(
            seats,
            open_files,
            "few connections at once: raise the limit of open files"
        );
    }
    seats
}

/// What has to be done now and then.
async fn upkeep(sessions: Arc<Sessions>) -> Infallible {
    let mut ticks: u64 = 0;
    let mut refreshing: Option<JoinHandle<()>> = None;
    loop {
        tokio::time::sleep(UPKEEP).await;
        ticks += 1;
        // A slow store outside must not keep the rest from being done.
        if refreshing.as_ref().is_none_or(JoinHandle::is_finished) {
            let sessions = Arc::clone(&sessions);
            refreshing = Some(tokio::spawn(async move { sessions.refresh_due().await }));
        }
        if ticks.is_multiple_of(FORGET)
            && let Err(error) = sessions.forget_expired().await
        {
            tracing::warn!(%error, "what has expired is not forgotten yet");
        }
    }
}

/// How often it is looked whether there is something to do.
const UPKEEP: Duration = Duration::from_secs(5);
/// Every so many times, what has expired is forgotten.
const FORGET: u64 = 12;

/// Everything up to the first connection.
async fn start(
    host: &HostLink,
    launch: &CasLaunch,
    wish: Wish,
) -> Result<(Arc<Cas>, TcpListener, u16), ProgramError> {
    let workload = CasWorkload::from_json(launch.workload.as_bytes())?;
    let simulated = workload
        .simulated_anchors
        .iter()
        .map(|text| match TrustAnchor::from_toml(text) {
            Ok(anchor) if anchor.is_simulated() => Ok(anchor),
            Ok(_) => Err(ProgramError::NotSimulated),
            Err(error) => Err(ProgramError::Anchor(error)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let collateral = Collaterals::of(&launch.collateral)?;
    let sources = sources(&launch.key_value_stores, &workload.token_libraries)?;
    let attester = Machine::at(Path::new("/"))
        .attester(wish, Some(host.clone()))
        .await
        .map_err(AttesterError::from)?;
    attester.check_workload(&workload).await?;
    tracing::info!(attester = attester.name(), owner = %workload.owner, "starting a CAS");
    // Names and address first: who cannot have them should not have made a CAS.
    check_names(&launch.names)?;
    let listener =
        TcpListener::bind(&launch.listen)
            .await
            .map_err(|source| ProgramError::Listen {
                address: launch.listen.clone(),
                source,
            })?;
    let port = listener
        .local_addr()
        .map_err(|source| ProgramError::Listen {
            address: launch.listen.clone(),
            source,
        })?;
    let listened = ProgramError::listener;
    let (listener, state) = if let CasStart::Recover { key_id } = &launch.start {
        let listener = listener.into_std().map_err(listened)?;
        let spare = listener.try_clone().map_err(listened)?;
        let listener = TcpListener::from_std(listener).map_err(listened)?;
        let state = recovery::recover(host, launch, &workload, &attester, key_id, listener);
        let state = Box::pin(state).await?;
        (TcpListener::from_std(spare).map_err(listened)?, state)
    } else {
        let heir = Heir {
            workload: &workload,
            simulated: &simulated,
            collateral: &collateral,
            attester: &attester,
        };
        (listener, Box::pin(state::begin(launch, &heir)).await?)
    };
    let shares = match &workload.recovery {
        Some(policy) => Some(shares::keep(&state.store, &state.root, policy, &launch.data).await?),
        None => None,
    };
    let program = attester
        .own_program()
        .await
        .inspect_err(|error| tracing::warn!(%error, "no replica can join this instance"))
        .ok();
    let attestation = Attestation::new(
        attester,
        Facts {
            root: &state.root,
            identity: &state.identity,
            store_id: state.store.id().to_string(),
            workload: &workload,
            recovering: None,
        },
    )
    .await?;
    tracing::info!(
        cas_key = %state.identity.key(),
        store = %state.store.id(),
        is_new = launch.start == CasStart::Create,
        "this CAS is open"
    );
    let cas = Cas {
        root: state.root,
        identity: state.identity,
        store: state.store,
        workload,
        simulated,
        collateral,
        attestation,
        program,
        shares,
        sources,
        data: launch.data.clone(),
        _lock: state.lock,
    };
    Ok((Arc::new(cas), listener, port.port()))
}

/// Returns when the launcher wants the CAS to end, or is gone; says which.
async fn ordered_end(orders: &mut watch::Receiver<Order>) -> &'static str {
    let ordered = orders.wait_for(|order| *order != Order::Run).await;
    match ordered.as_deref() {
        Ok(Order::Stop { .. } | Order::Run) => "stopped as asked",
        Ok(Order::LauncherGone) | Err(_) => "the launcher is gone",
    }
}

/// Why a CAS does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// An app or a service.
    #[error("this program is mse-cas, and apps and services are run by mse-enclave")]
    OtherJob,
    /// What was measured is no CAS workload.
    #[error(transparent)]
    Workload(#[from] InvalidWorkload),
    /// One of its trust anchors is none.
    #[error("a trust anchor of the CAS workload cannot be read: {0}")]
    Anchor(TrustAnchorError),
    /// One of its trust anchors is of hardware, whose roots are compiled in.
    #[error("a trust anchor of the CAS workload is not of a simulated platform: leave it out")]
    NotSimulated,
    /// A library that speaks PKCS#11 is not the measured one, or says what it cannot.
    #[error("the token library `{0}`: {1}")]
    Library(String, String),
    /// A key-value store has no such address.
    #[error("a key-value store: {0}")]
    KeyValueStore(#[from] InvalidKvUrl),
    /// A service with collateral cannot be asked.
    #[error(transparent)]
    Collateral(#[from] collateral::SourcesError),
    /// No evidence, or no sealing key.
    #[error("the TEE: {0}")]
    Attester(#[from] AttesterError),
    /// The address cannot be had.
    #[error("the CAS cannot listen on `{address}`: {source}; give `ADDRESS:PORT`")]
    Listen {
        /// What was asked for.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The listener cannot be used.
    #[error("the CAS cannot listen: {0}")]
    Listener(#[source] std::io::Error),
    /// No state, or a wrong one.
    #[error(transparent)]
    State(#[from] StateError),
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate cannot be served.
    #[error("the certificate of the CAS cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// At the end.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProgramError {
    fn listener(source: std::io::Error) -> Self {
        Self::Listener(source)
    }
}
