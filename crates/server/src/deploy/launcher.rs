//! The runtime of this platform, whichever it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mse_runtime::images::{Catalogue, Image};
use mse_runtime::kubernetes::{AppPodSpec, KubernetesRuntime, PodTee, RunningPod};
use mse_runtime::process::{EnclaveEvent, LaunchSpec, ProcessRuntime, RunningEnclave};
use mse_runtime::running::{Running, Runtime};
use mse_workload::{Measurement, TlsOrigin, launch};

use super::environments::Environments;
use crate::store::NewApp;

/// Launches the enclaves of apps.
pub enum Launcher {
    /// On this machine.
    Process {
        /// Who launches them.
        runtime: ProcessRuntime,
        /// Who prepares interpreters.
        environments: Arc<dyn Environments>,
    },
    /// In a cluster, whose images hold interpreters.
    Kubernetes(Box<KubernetesRuntime>),
}

/// What an app runs on, ready to be launched on.
pub(super) enum Prepared {
    Python(launch::Python),
    /// An image of the cluster, by the name of the curated runtime in it.
    Image(String),
}

/// What the platform adds to an app.
pub(super) struct AppLaunch<'a> {
    pub(super) app: &'a NewApp,
    /// The encrypted bundle, a file.
    pub(super) bundle: std::path::PathBuf,
    pub(super) provisioning_timeout: Duration,
}

impl Launcher {
    /// Where the evidence of enclaves comes from. The owner's client does not take it for granted.
    pub(crate) fn tee(&self) -> PodTee {
        match self {
            Self::Process { .. } => PodTee::Simulated,
            Self::Kubernetes(runtime) => runtime.tee(),
        }
    }

    /// How long an enclave may take from its launch to its evidence. A cluster may have to find a
    /// node, and the node an image.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Process { .. } => Duration::from_secs(60),
            Self::Kubernetes(_) => Duration::from_secs(15 * 60),
        }
    }

    /// Whether this runtime can run `app` at all; prepares what it runs on, which may take minutes.
    pub(super) async fn prepare(&self, app: &NewApp) -> Result<Prepared, String> {
        let image = curated(app)?;
        match self {
            Self::Process { environments, .. } => environments
                .prepare(image)
                .await
                .map(Prepared::Python)
                .map_err(|error| format!("the runtime cannot be prepared: {error}")),
            Self::Kubernetes(runtime) => {
                let name = image.name();
                if !runtime.has_image(name) {
                    return Err(format!(
                        "this platform has no image for the runtime `{name}`; its operator names one in `[kubernetes.images]`"
                    ));
                }
                // The gateway would have to tell a genuine enclave from another before it speaks to
                // it, and knows only what the simulated platform measures.
                if app.workload.tls.origin == TlsOrigin::Operator
                    && runtime.tee() != PodTee::Simulated
                {
                    return Err(format!(
                        "`--untrusted-ssl` is not built yet for apps on a cluster with the TEE `{}`; deploy with TLS that ends in the enclave",
                        runtime.tee()
                    ));
                }
                Ok(Prepared::Image(name.to_owned()))
            }
        }
    }

    pub(super) async fn launch(
        &self,
        prepared: Prepared,
        launch: AppLaunch<'_>,
    ) -> Result<Launched, String> {
        let AppLaunch {
            app,
            bundle,
            provisioning_timeout,
        } = launch;
        match (self, prepared) {
            (Self::Process { runtime, .. }, Prepared::Python(python)) => runtime
                .launch(LaunchSpec {
                    workload: app.workload.clone(),
                    bundle,
                    certificate_chain: app.certificate_chain.clone(),
                    python,
                    listen: None,
                    provisioning_timeout,
                })
                .await
                .map(Launched::Process)
                .map_err(|error| error.to_string()),
            (Self::Kubernetes(runtime), Prepared::Image(curated)) => {
                let metadata = tokio::fs::metadata(&bundle).await;
                let bundle_bytes = metadata
                    .map_err(|error| format!("the bundle cannot be read: {error}"))?
                    .len();
                Runtime::launch(
                    runtime.as_ref(),
                    AppPodSpec {
                        workload: app.workload.clone(),
                        curated,
                        bundle_bytes,
                        certificate_chain: app.certificate_chain.clone(),
                        provisioning_timeout,
                    },
                )
                .await
                .map(Launched::Pod)
                .map_err(|error| error.to_string())
            }
            (Self::Process { .. }, Prepared::Image(_))
            | (Self::Kubernetes(_), Prepared::Python(_)) => {
                Err("it was prepared for another runtime".to_owned())
            }
        }
    }
}

fn curated(app: &NewApp) -> Result<&'static Image, String> {
    let identity = &app.workload.image;
    let image = Catalogue::builtin()
        .resolve(&identity.name)
        .map_err(|error| error.to_string())?;
    if image.digest() != identity.digest {
        return Err(format!(
            "the image `{}` changed with the platform; deploy again",
            identity.name
        ));
    }
    Ok(image)
}

/// An app's enclave that was started. Dropping it ends it.
pub(super) enum Launched {
    Process(RunningEnclave),
    Pod(RunningPod),
}

impl Launched {
    pub(super) async fn next(&mut self) -> Option<EnclaveEvent> {
        match self {
            Self::Process(enclave) => enclave.next().await,
            Self::Pod(pod) => Running::next(pod).await,
        }
    }

    pub(super) fn stop(&self, grace: Duration) {
        match self {
            Self::Process(enclave) => enclave.stop(grace),
            Self::Pod(pod) => Running::stop(pod, grace),
        }
    }

    /// Where the enclave that says it listens on `port` is reached.
    pub(super) fn upstream(&self, port: u16) -> SocketAddr {
        match self {
            Self::Process(_) => (Ipv4Addr::LOCALHOST, port).into(),
            // Whatever the pod says: its service has one port.
            Self::Pod(pod) => pod.address(),
        }
    }

    /// What the simulated platform measures; none on other TEEs.
    pub(super) fn measurement(&self) -> Option<Measurement> {
        match self {
            Self::Process(enclave) => Some(enclave.measurement()),
            Self::Pod(pod) => pod.measurement(),
        }
    }

    /// The root of its processes, if they are of this machine.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(enclave) => Some(enclave.pid()),
            Self::Pod(_) => None,
        }
    }
}
