//! App enclaves as pods of a Kubernetes cluster, by its API.
//!
//! An app is a Deployment of one pod, a Service that leads to it, a NetworkPolicy and a ConfigMap
//! with what is public about it. The pod's entry point is `mse-launch app`: it fetches the
//! encrypted bundle from `mse-server`, checks its digest and launches the enclave. Nothing secret
//! is in any object: the owner provisions the enclave by its attested channel.
//!
//! Objects are known by the labels [`PLATFORM`] and [`APP`]. As with the other runtimes no enclave
//! outlives the program that launched it: what an earlier run left is removed by
//! [`KubernetesRuntime::remove_leftovers`].
//!
//! | module | what |
//! | --- | --- |
//! | [`settings`] | which namespace, images and TEE |
//! | [`objects`] | what an app is made of |
//! | [`status`] | what the cluster says about a pod, in its own words |
//! | [`output`] | the pod's output, across broken connections |
//! | [`running`] | an app from its objects to their end |

mod objects;
mod output;
mod running;
mod settings;
mod status;

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Resource};
use mse_workload::measurement::{self, EnclaveDigest};
use mse_workload::{AppId, Measured};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::running::Runtime;

use self::objects::AppObjects;
pub use self::objects::{APP, APP_PORT, AppPodSpec, PLATFORM, SIMULATED};
pub use self::running::RunningPod;
pub use self::settings::{
    InvalidSettings, KubernetesSettings, KubernetesTable, PinnedImage, PodTee,
};

/// Launches app enclaves as pods. Cloning it is cheap.
#[derive(Clone)]
pub struct KubernetesRuntime {
    client: Client,
    settings: KubernetesSettings,
    /// What is in the images: with the workload it gives the simulated measurement.
    enclave: Option<EnclaveDigest>,
    owner: Option<OwnerReference>,
}

impl KubernetesRuntime {
    /// Finds the cluster and asks it for what is in the namespace. `enclave` is the program that the images hold, which the simulated
    /// measurement is made of.
    pub async fn connect(
        settings: KubernetesSettings,
        enclave: Option<EnclaveDigest>,
    ) -> Result<Self, KubernetesError> {
        let client = client(&settings)
            .await
            .map_err(|source| KubernetesError::NoCluster { source })?;
        let mut runtime = Self {
            client,
            settings,
            enclave,
            owner: None,
        };
        // Also shows whether there is a server, and whether it lets us in.
        let deployments = runtime.api::<Deployment>();
        deployments
            .list(
                &ListParams::default()
                    .labels(&runtime.of_platform())
                    .limit(1),
            )
            .await
            .map_err(runtime.during("list the deployments"))?;
        runtime.owner = runtime.find_owner().await?;
        Ok(runtime)
    }

    /// Where the evidence of apps comes from.
    pub fn tee(&self) -> PodTee {
        self.settings.tee
    }

    /// Whether there is an image for the runtime of this name.
    pub fn has_image(&self, name: &str) -> bool {
        self.settings.images.contains_key(name)
    }

    /// Where it is kept, for people.
    pub fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// Removes every app of this platform, and waits until it is gone; gives how many there were.
    pub async fn remove_leftovers(&self) -> Result<usize, KubernetesError> {
        let selector = self.of_platform();
        let found = self
            .api::<Deployment>()
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(self.during("list the deployments"))?;
        self.remove(&selector).await?;
        Ok(found.items.len())
    }

    /// Removes all objects of `selector`, and waits until the last is gone: the deployment with its
    /// pod first, which is confined to its end. How long the pod may take it says itself.
    async fn remove(&self, selector: &str) -> Result<(), KubernetesError> {
        self.remove_kind::<Deployment>(selector, &DeleteParams::foreground())
            .await?;
        self.until_gone::<Deployment>(selector).await?;
        self.until_gone::<Pod>(selector).await?;
        let now = DeleteParams::background();
        self.remove_kind::<Service>(selector, &now).await?;
        self.remove_kind::<ConfigMap>(selector, &now).await?;
        self.remove_kind::<NetworkPolicy>(selector, &now).await?;
        self.until_gone::<Service>(selector).await?;
        self.until_gone::<ConfigMap>(selector).await?;
        self.until_gone::<NetworkPolicy>(selector).await
    }

    /// One by one: the right to delete a whole collection is one that the server need not have.
    async fn remove_kind<K: Kind>(
        &self,
        selector: &str,
        how: &DeleteParams,
    ) -> Result<(), KubernetesError> {
        let api = self.api::<K>();
        for name in self.names::<K>(selector).await? {
            match api.delete(&name, how).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted.map_err(self.during("delete an object"))?),
            }
        }
        Ok(())
    }

    /// A node that does not answer keeps its pods for as long as it takes: nobody may tell that an
    /// enclave has ended while it may still run. Gives up after [`GONE`], and says so.
    async fn until_gone<K: Kind>(&self, selector: &str) -> Result<(), KubernetesError> {
        let deadline = Instant::now() + GONE;
        loop {
            let left = self.names::<K>(selector).await?;
            let Some(first) = left.first() else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(KubernetesError::Stays {
                    kind: K::kind(&()).into_owned(),
                    name: first.clone(),
                });
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn names<K: Kind>(&self, selector: &str) -> Result<Vec<String>, KubernetesError> {
        let found = self
            .api::<K>()
            .list_metadata(&ListParams::default().labels(selector))
            .await
            .map_err(self.during("list objects"))?;
        let names = found.items.into_iter().filter_map(|one| one.metadata.name);
        Ok(names.collect())
    }

    /// Everything of the app but its deployment comes first: a pod must not start before its
    /// network is closed.
    async fn create(&self, objects: &AppObjects) -> Result<IpAddr, KubernetesError> {
        self.create_one(&objects.network_policy).await?;
        self.create_one(&objects.config_map).await?;
        let service = self.create_one(&objects.service).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        let address = address.and_then(|text| text.parse().ok());
        let address = address.ok_or(KubernetesError::NoAddress)?;
        self.create_one(&objects.deployment).await?;
        Ok(address)
    }

    async fn create_one<K: Kind + Serialize>(&self, object: &K) -> Result<K, KubernetesError> {
        self.api::<K>()
            .create(&PostParams::default(), object)
            .await
            .map_err(self.during("create an object"))
    }

    async fn find_owner(&self) -> Result<Option<OwnerReference>, KubernetesError> {
        let Some(name) = &self.settings.owner else {
            return Ok(None);
        };
        let account = self
            .api::<ServiceAccount>()
            .get(name)
            .await
            .map_err(self.during("read the service account that `owner` names"))?;
        Ok(account.owner_ref(&()))
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    fn of_platform(&self) -> String {
        format!("{PLATFORM}={}", self.settings.platform)
    }

    fn of_app(&self, app: AppId) -> String {
        format!("{},{APP}={app}", self.of_platform())
    }

    fn during(&self, action: &'static str) -> impl FnOnce(kube::Error) -> KubernetesError + use<> {
        let namespace = self.settings.namespace.clone();
        move |source| KubernetesError::Api {
            action,
            namespace,
            source,
        }
    }
}

impl Runtime for KubernetesRuntime {
    type Spec = AppPodSpec;
    type Running = RunningPod;
    type Error = KubernetesError;

    async fn launch(&self, spec: AppPodSpec) -> Result<RunningPod, KubernetesError> {
        let app = spec.workload.app_id;
        let measurement = self
            .enclave
            .as_ref()
            .map(|enclave| measurement::simulated(enclave, &spec.workload.digest()));
        let image = self.settings.images.get(&spec.curated);
        let image = image.ok_or_else(|| KubernetesError::NoImage {
            name: spec.curated.clone(),
        })?;
        let objects = AppObjects::of(&spec, image, &self.settings, self.owner.as_ref());
        match self.create(&objects).await {
            Ok(address) => Ok(RunningPod::follow(self.clone(), app, address, measurement)),
            Err(error) => {
                if let Err(error) = self.remove(&self.of_app(app)).await {
                    tracing::warn!(%app, %error, "objects of an app that did not start stay behind");
                }
                Err(error)
            }
        }
    }
}

async fn client(
    settings: &KubernetesSettings,
) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let Some(file) = &settings.kubeconfig else {
        return Ok(Client::try_default().await?);
    };
    let file = Kubeconfig::read_from(file)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// What this runtime makes, reads and removes.
trait Kind:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
{
}

/// How long removed objects may take to be gone: more than any grace.
const GONE: Duration = Duration::from_secs(180);

/// Why the cluster did not do something.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Nobody to ask.
    #[error(
        "there is no Kubernetes cluster to use: {source}; name a file in `kubeconfig` or `KUBECONFIG`, or run as a pod with a service account"
    )]
    NoCluster {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server refused, or could not be reached.
    #[error(
        "the cluster could not {action} in the namespace `{namespace}`: {}",
        words(source)
    )]
    Api {
        /// Completes "could not …".
        action: &'static str,
        /// Where.
        namespace: String,
        /// Why.
        source: kube::Error,
    },
    /// A runtime without an image.
    #[error(
        "there is no image for the runtime `{name}`; name one in `[kubernetes.images]` of the server's configuration"
    )]
    NoImage {
        /// Of the runtime.
        name: String,
    },
    /// A service without an address.
    #[error("the cluster gave the app's service no address")]
    NoAddress,
    /// Something that does not go away.
    #[error(
        "the {kind} `{name}` is still there after {} s; if its node is lost for good, delete it by force",
        GONE.as_secs()
    )]
    Stays {
        /// Of what kind.
        kind: String,
        /// Which.
        name: String,
    },
}

/// The server's own sentence, without the debugging form that kube puts around it.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                source = inner.source();
            }
            text
        }
    }
}
