//! An enclave's life: launched, attested, provisioned, running, ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::EvidenceKind;
use mse_crypto::Digest;
use mse_crypto::hpke::KeyPair;
use mse_ratls::TlsIdentity;
use mse_workload::launch::{Launch, Phase};
use mse_workload::{InvalidWorkload, Measured, TlsOrigin, Workload};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::app::{App, AppError};
use crate::front::{self, AppProxy, Certificates, Enclave};
use crate::provisioning::{Provisioned, Provisioning};
use crate::service;
use mse_tee::attester::{AttesterError, Machine, Wish};
use mse_tee::host::{HostError, HostLink, Job, Order};

/// The certificate of an app without expiry lives a year.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long an app may take to stop when its time is over.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);
/// How long an app may take at most, whatever the launcher says.
const MAX_GRACE: Duration = Duration::from_secs(300);

/// Runs the enclave that standard input's launcher asks for, to its end. `wish` is for its
/// attester.
pub(crate) async fn run(wish: Wish) -> ExitCode {
    let (host, job, orders) = match HostLink::accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match job {
        Job::App(launch) => run_app(&host, *launch, orders, wish).await,
        Job::Service(launch) => service::run(&host, *launch, orders, wish).await,
        Job::Cas(_) => {
            host.phase(Phase::Failed {
                reason: "this program is mse-enclave, and a CAS is run by mse-cas".to_owned(),
            });
            ExitCode::FAILURE
        }
    };
    host.flush().await;
    code
}

async fn run_app(
    host: &HostLink,
    launch: Launch,
    orders: watch::Receiver<Order>,
    wish: Wish,
) -> ExitCode {
    let (phase, code) = match live(host, launch, orders, wish).await {
        Ok(end) => (
            Phase::Stopped {
                reason: end.reason().to_owned(),
            },
            ExitCode::SUCCESS,
        ),
        Err(error) => (
            Phase::Failed {
                reason: error.to_string(),
            },
            ExitCode::FAILURE,
        ),
    };
    host.phase(phase);
    code
}

/// How an enclave ends when nothing went wrong.
pub(crate) enum End {
    /// By the launcher.
    Asked,
    /// Its time is over.
    Expired,
    /// There is nobody to run for.
    LauncherGone,
}

impl End {
    /// For people.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Asked => "stopped as asked",
            Self::Expired => "expired",
            Self::LauncherGone => "the launcher is gone",
        }
    }
}

async fn live(
    host: &HostLink,
    launch: Launch,
    mut orders: watch::Receiver<Order>,
    wish: Wish,
) -> Result<End, EnclaveError> {
    let workload = Arc::new(read_workload(&launch)?);
    if is_expired(&workload) {
        return Ok(End::Expired);
    }
    let (enclave, provisioned) = tokio::select! {
        attested = attest(host, &launch, &workload, wish) => attested?,
        end = ordered_end(&mut orders) => return Ok(end),
    };
    let address = launch.listen.unwrap_or(([127, 0, 0, 1], 0).into());
    let listener = TcpListener::bind(address)
        .await
        .map_err(EnclaveError::Listen)?;
    let port = listener.local_addr().map_err(EnclaveError::Listen)?.port();
    tokio::spawn(front::serve(listener, Arc::clone(&enclave)));
    host.listening(port);
    host.phase(Phase::AwaitingProvisioning);

    let patience = Duration::from_secs(launch.provisioning_seconds);
    let provisioned = tokio::select! {
        provisioned = timeout(patience, provisioned) => match provisioned {
            Ok(Ok(provisioned)) => provisioned,
            Ok(Err(_)) => return Err(EnclaveError::FrontEnded),
            // Never on to plain code: without its key there is nothing to run.
            Err(_) => return Err(EnclaveError::NotProvisioned(launch.provisioning_seconds)),
        },
        end = ordered_end(&mut orders) => return Ok(end),
        () = expiry(&workload) => return Ok(End::Expired),
    };
    host.phase(Phase::Starting);
    serve(host, &launch, &workload, &enclave, provisioned, orders).await
}

/// Runs the app until it ends or shall end.
async fn serve(
    host: &HostLink,
    launch: &Launch,
    workload: &Arc<Workload>,
    enclave: &Enclave,
    provisioned: Box<Provisioned>,
    mut orders: watch::Receiver<Order>,
) -> Result<End, EnclaveError> {
    let app = tokio::select! {
        app = App::unpack(launch, workload, &provisioned.payload) => app?,
        end = ordered_end(&mut orders) => return Ok(end),
        () = expiry(workload) => return Ok(End::Expired),
    };
    let healthy = tokio::select! {
        healthy = until_healthy(host, &app, workload) => healthy.map(|()| None),
        end = ordered_end(&mut orders) => Ok(Some(end)),
        () = expiry(workload) => Ok(Some(End::Expired)),
    };
    match healthy {
        Ok(None) => {}
        Ok(Some(end)) => {
            app.stop(Duration::ZERO).await;
            return Ok(end);
        }
        Err(error) => {
            app.stop(Duration::ZERO).await;
            return Err(error.into());
        }
    }
    drop(provisioned.payload);
    if let Some(certificate) = provisioned.certificate {
        enclave.certificates().install_owner(certificate);
    }
    enclave.open(AppProxy::new(app.socket()));
    host.phase(Phase::Running);
    let end = tokio::select! {
        exit = app.ended() => return Err(exit?.into()),
        end = ordered_end(&mut orders) => end,
        () = expiry(workload) => End::Expired,
    };
    let grace = grace(*orders.borrow());
    tokio::select! {
        () = app.stop(grace) => {}
        () = launcher_gone(&mut orders) => app.stop(Duration::ZERO).await,
    }
    Ok(end)
}

/// Tells the launcher what confines the app, and waits until its health endpoint answers.
async fn until_healthy(host: &HostLink, app: &App, workload: &Workload) -> Result<(), AppError> {
    host.confinement(app.confinement().await?);
    app.until_healthy(workload).await
}

/// Makes the enclave's keys and its certificate with evidence.
async fn attest(
    host: &HostLink,
    launch: &Launch,
    workload: &Arc<Workload>,
    wish: Wish,
) -> Result<(Arc<Enclave>, oneshot::Receiver<Box<Provisioned>>), EnclaveError> {
    let attester = Machine::at(Path::new("/"))
        .attester(wish, Some(host.clone()))
        .await
        .map_err(AttesterError::from)?;
    attester.check_workload(workload.as_ref()).await?;
    tracing::info!(attester = attester.name(), "attester");
    let identity = TlsIdentity::generate()?;
    let x25519 = Arc::new(KeyPair::generate());
    let attested = attester
        .evidence(&identity.report_data(&x25519.public()))
        .await?;
    let not_after = workload.expires_at.map_or_else(
        || SystemTime::now() + YEAR,
        |seconds| UNIX_EPOCH + Duration::from_secs(seconds),
    );
    let certificate = match attested.evidence.kind() {
        // Clients of other stacks read a quote over claims of their form.
        EvidenceKind::SgxDcap | EvidenceKind::TdxDcap => {
            let tagged = attester.evidence(&identity.tagged_report_data()).await?;
            identity.interoperable_certificate(
                &workload.tls.names,
                not_after,
                &attested.evidence,
                &tagged.evidence,
            )?
        }
        _ => identity.certificate(&workload.tls.names, not_after, &attested.evidence)?,
    };
    // What the platform gave to verify the evidence with goes along behind the certificate.
    let chain = std::iter::once(certificate)
        .chain(attested.certificates.into_iter().map(CertificateDer::from))
        .collect();
    let certified = CertifiedKey::from_der(
        chain,
        identity.private_key(),
        &rustls::crypto::aws_lc_rs::default_provider(),
    )?;
    let (provisioning, provisioned) = Provisioning::new(
        Arc::clone(workload),
        launch.bundle.clone(),
        launch.certificate_chain.clone(),
    );
    let enclave = Enclave::new(
        Certificates::new(certified, workload.tls.names.clone()),
        attester,
        identity.public(),
        x25519,
        provisioning,
    );
    Ok((Arc::new(enclave), provisioned))
}

/// The workload, and the owner's certificate against its measured digest.
fn read_workload(launch: &Launch) -> Result<Workload, EnclaveError> {
    let workload = Workload::from_json(launch.workload.as_bytes())?;
    let chain = launch.certificate_chain.as_deref();
    let found = chain.map(|pem| Digest::of(pem.as_bytes()));
    if workload.tls.origin == TlsOrigin::Owner && found != workload.tls.certificate {
        return Err(EnclaveError::Certificate);
    }
    Ok(workload)
}

/// How long what runs may take to stop.
pub(crate) fn grace(order: Order) -> Duration {
    match order {
        Order::Stop { grace_seconds } => Duration::from_secs(grace_seconds).min(MAX_GRACE),
        Order::Run => EXPIRY_GRACE,
        Order::LauncherGone => Duration::ZERO,
    }
}

/// Returns when the launcher is gone.
pub(crate) async fn launcher_gone(orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| *order == Order::LauncherGone).await;
}

/// Returns when the launcher wants the enclave to end, or is gone.
pub(crate) async fn ordered_end(orders: &mut watch::Receiver<Order>) -> End {
    let ordered = orders.wait_for(|order| *order != Order::Run).await;
    match ordered.as_deref() {
        Ok(Order::Stop { .. } | Order::Run) => End::Asked,
        Ok(Order::LauncherGone) | Err(_) => End::LauncherGone,
    }
}

fn is_expired(workload: &Workload) -> bool {
    workload
        .expires_at
        .is_some_and(|seconds| UNIX_EPOCH + Duration::from_secs(seconds) <= SystemTime::now())
}

/// Returns when the workload's time is over, by the wall clock: a machine that slept, or whose
/// clock was set, is noticed within half a minute.
async fn expiry(workload: &Workload) {
    while !is_expired(workload) {
        let left = workload.expires_at.map_or(YEAR, |seconds| {
            (UNIX_EPOCH + Duration::from_secs(seconds))
                .duration_since(SystemTime::now())
                .unwrap_or_default()
        });
        sleep(left.min(Duration::from_secs(30))).await;
    }
}

/// Why an enclave fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnclaveError {
    #[error(transparent)]
    Workload(#[from] InvalidWorkload),
    #[error("the certificate given by the platform is not the measured one")]
    Certificate,
    #[error("no evidence: {0}")]
    Attester(#[from] AttesterError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Identity(#[from] mse_ratls::identity::IdentityError),
    #[error("the enclave's certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the enclave cannot listen: {0}")]
    Listen(#[source] std::io::Error),
    #[error("nobody provisioned the enclave within {0} seconds")]
    NotProvisioned(u64),
    #[error("the TLS front ended")]
    FrontEnded,
    #[error(transparent)]
    App(#[from] AppError),
}
