//! The whole platform, started and stopped in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use mse_collateral::observer::Counters;
use mse_collateral::{DcapSource, Fetcher, Options, Refresher, SetupError, Sources};
use mse_crypto::{Digest, Zeroizing};
use mse_runtime::kubernetes::{KubernetesError, KubernetesRuntime, PodTee};
use mse_runtime::process::{ProcessRuntime, RuntimeError};
use mse_simtee::{Platform, PlatformError};
use mse_workload::EnclaveDigest;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiListener, ListenError};
use crate::blobs::BlobStore;
use crate::bundles;
use crate::config::{ClusterConfig, Config, OWNER_EMAIL};
use crate::data_dir::{DataDir, DataDirError, DataLock, write_file};
use crate::deploy::{self, CuratedEnvironments, Environments, Fleet, Launcher, RecoveryError};
use crate::gateway::{Gateway, GatewayError, OperatorError, OperatorTls};
use crate::logbook::LogBook;
use crate::store::{DefaultProject, HardwareRecord, Store, StoreError};

/// A platform that serves. Dropping it without [`Server::shut_down`] is like a crash.
pub struct Server {
    api_url: String,
    api_address: SocketAddr,
    gateway: Gateway,
    token: Zeroizing<String>,
    trust_anchor: PathBuf,
    fleet: Fleet,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
    /// Serves bundles to pods, if apps run in a cluster.
    bundles: Option<JoinHandle<()>>,
    /// Renews the collateral of real platforms, if it is served.
    refresher: Option<Refresher>,
    _lock: DataLock,
}

impl Server {
    /// Starts everything: what an earlier run left is brought in order before anyone is let in.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let data = DataDir::prepare(&config.data_dir)?;
        let environments = Arc::new(CuratedEnvironments {
            cache: config
                .image_cache
                .clone()
                .unwrap_or_else(|| data.environments()),
        });
        Self::start_with(config, environments).await
    }

    /// As [`Server::start`], with runtimes from elsewhere: for tests.
    pub async fn start_with(
        config: &Config,
        environments: Arc<dyn Environments>,
    ) -> Result<Self, StartError> {
        let data = DataDir::prepare(&config.data_dir)?;
        let lock = data.lock()?;
        let simulated = open_platform(&data).await?;
        let store = Store::open(&config.store(&data)).await?;
        let token = seed(&store, &config.hardware).await?;
        let blobs = BlobStore::open(data.blobs()).map_err(StartError::Blobs)?;
        let launcher = open_launcher(&data, config, &simulated, environments).await?;
        // The API's port is taken first: who starts a second server learns it before anything moves.
        let listener = ApiListener::bind(config.listen, config.api_tls.as_ref()).await?;
        let bundles = match &config.kubernetes {
            Some(cluster) => Some(bundles::listen(cluster.bundles).await?),
            None => None,
        };
        let operator =
            OperatorTls::load(config.operator_tls.as_ref(), &data, &config.domain_suffix)?;
        let gateway = Gateway::start(
            config.gateway,
            config.public_gateway.clone(),
            config.app_ports,
            operator,
            Arc::clone(&simulated),
        )
        .await?;
        let fleet = Fleet::resume(deploy::Platform::new(
            store,
            blobs,
            LogBook::open(data.logs()),
            gateway.clone(),
            launcher,
            config.provisioning_timeout,
        ))
        .await?;

        let stopping = CancellationToken::new();
        tokio::spawn(forget_old_logs(fleet.clone(), stopping.clone()));
        tokio::spawn(deploy::mend_after_outages(fleet.clone(), stopping.clone()));
        let collateral = open_collateral(config, &data)?;
        let api = Api::new(
            fleet.clone(),
            simulated,
            config.domain_suffix.clone(),
            config.max_bundle,
            stopping.clone(),
        )
        .with_collateral_upstream(collateral.clone());
        Ok(Self {
            api_url: listener.url(),
            api_address: listener.address(),
            gateway,
            token,
            trust_anchor: data.trust_anchor(),
            bundles: bundles.map(|listener| {
                let router = bundles::router(fleet.clone());
                tokio::spawn(listener.serve(router, stopping.clone()))
            }),
            fleet,
            serving: tokio::spawn(listener.serve(api.into_router(), stopping.clone())),
            stopping,
            refresher: collateral.map(Refresher::start),
            _lock: lock,
        })
    }

    /// The URL of the API.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// Where the API listens.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// `host:port` of the gateway, as clients are told.
    pub fn gateway(&self) -> &str {
        self.gateway.public_address()
    }

    /// A one-time token for the owner account.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The file that makes a verifier accept the simulated platform.
    pub fn trust_anchor(&self) -> &std::path::Path {
        &self.trust_anchor
    }

    /// The apps.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// That another server has taken over the database of this one, which has to end now. Never, with
    /// a file.
    pub async fn taken_over(&self) -> StoreError {
        self.fleet.platform().store.taken_over().await
    }

    /// Lets nobody in any more, ends every enclave, and closes the store.
    pub async fn shut_down(self) {
        self.stopping.cancel();
        let _ = self.serving.await;
        if let Some(bundles) = self.bundles {
            let _ = bundles.await;
        }
        if let Some(refresher) = self.refresher {
            refresher.stop().await;
        }
        self.fleet.shut_down().await;
        self.gateway.close();
        self.fleet.platform().store.close().await;
    }
}

/// Why the platform does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The simulated platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundles.
    #[error("the folder of bundles cannot be used: {0}")]
    Blobs(#[source] std::io::Error),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The cluster.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// The program that the images of a cluster hold.
    #[error(
        "the enclave program `{path}` cannot be read: {source}; with a simulated TEE, name the one that the images hold: `--enclave PATH`"
    )]
    EnclaveOfImages {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The API's socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The gateway's own certificate.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The gateway's socket.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The client of the collateral service.
    #[error(transparent)]
    Collateral(#[from] SetupError),
    /// What an earlier run left.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A blocking task ended before its time.
    #[error("the server stopped while it started: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Makes the keys of the simulated platform, which takes a moment, or reads them.
async fn open_platform(data: &DataDir) -> Result<Arc<Platform>, StartError> {
    let folder = data.platform();
    let platform =
        tokio::task::spawn_blocking(move || Platform::open_or_create(&folder, SystemTime::now()))
            .await??;
    let anchor = platform.trust_anchor().to_toml();
    write_file(&data.trust_anchor(), anchor.as_bytes(), 0o644)?;
    Ok(Arc::new(platform))
}

/// The way to collateral of real platforms. Nobody trusts it, this server no more than its clients:
/// they verify what they get.
fn open_collateral(config: &Config, data: &DataDir) -> Result<Option<Arc<Fetcher>>, SetupError> {
    let Some(upstream) = &config.collateral_upstream else {
        return Ok(None);
    };
    let sources = Sources {
        dcap: Some(DcapSource::at(upstream)),
        amd: None,
    };
    let options = Options {
        cache: Some(data.collateral()),
        observer: Arc::new(Counters::default()),
        ..Options::default()
    };
    Ok(Some(Arc::new(Fetcher::new(sources, options)?)))
}

/// Who launches enclaves; what an earlier run left of them is gone then.
async fn open_launcher(
    data: &DataDir,
    config: &Config,
    platform: &Arc<Platform>,
    environments: Arc<dyn Environments>,
) -> Result<Launcher, StartError> {
    if let Some(cluster) = &config.kubernetes {
        let runtime = connect(cluster, config).await?;
        return Ok(Launcher::Kubernetes(Box::new(runtime)));
    }
    let (root, enclave) = (data.root().to_owned(), config.enclave.clone());
    let platform = Arc::clone(platform);
    let open = move || ProcessRuntime::open(&root, &enclave, platform);
    let runtime = tokio::task::spawn_blocking(open).await??;
    Ok(Launcher::Process {
        runtime: runtime.with_guard(config.guard),
        environments,
    })
}

async fn connect(
    cluster: &ClusterConfig,
    config: &Config,
) -> Result<KubernetesRuntime, StartError> {
    let enclave = match cluster.settings.tee {
        PodTee::Simulated => Some(enclave_of_images(&config.enclave).await?),
        PodTee::Sgx | PodTee::Tdx | PodTee::Snp => None,
    };
    let runtime = KubernetesRuntime::connect(cluster.settings.clone(), enclave).await?;
    let left = runtime.remove_leftovers().await?;
    if left > 0 {
        tracing::warn!(
            left,
            "removed the enclaves that an earlier run left in the cluster"
        );
    }
    Ok(runtime)
}

async fn enclave_of_images(path: &std::path::Path) -> Result<EnclaveDigest, StartError> {
    let program = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || {
        std::fs::File::open(program).and_then(Digest::of_reader)
    });
    match digest.await? {
        Ok(digest) => Ok(EnclaveDigest(digest)),
        Err(source) => Err(StartError::EnclaveOfImages {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The account, project and hardware that every platform has, and a new one-time token.
async fn seed(store: &Store, more: &[HardwareRecord]) -> Result<Zeroizing<String>, StoreError> {
    let now = Timestamp::now();
    let owner = store.ensure_account(OWNER_EMAIL, now).await?;
    let project = store
        .ensure_project(owner.id, "default", DefaultProject::Yes, now)
        .await?;
    store
        .grant_hardware(project.id, &HardwareRecord::free())
        .await?;
    for hardware in more {
        store.grant_hardware(project.id, hardware).await?;
    }
    store.issue_login_token(owner.id, now).await
}

/// Every hour: logs of apps that ended four days ago.
async fn forget_old_logs(fleet: Fleet, stopping: CancellationToken) {
    let platform = fleet.platform();
    loop {
        match platform
            .store
            .ended_before(Timestamp::now() - LOGS_KEPT)
            .await
        {
            Ok(apps) => apps.into_iter().for_each(|app| platform.logs.remove(app)),
            Err(error) => tracing::warn!(%error, "old logs cannot be found"),
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(Duration::from_hours(1)) => (),
        }
    }
}

const LOGS_KEPT: SignedDuration = SignedDuration::from_hours(4 * 24);
