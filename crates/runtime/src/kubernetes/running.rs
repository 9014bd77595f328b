//! An app on the cluster, from its objects to their end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use mse_workload::AppId;
use mse_workload::measurement::Measurement;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::objects::APP_PORT;
use super::status::{PodState, no_pod};
use super::{Kind, KubernetesRuntime, output};
use crate::process::EnclaveEvent;
use crate::running::Running;

/// How long the last output is waited for when the pod has ended.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// An app that was started. Dropping it removes the app.
pub struct RunningPod {
    address: IpAddr,
    measurement: Option<Measurement>,
    events: mpsc::Receiver<EnclaveEvent>,
    stops: mpsc::UnboundedSender<Duration>,
}

impl RunningPod {
    /// Where the cluster's network takes connections for it.
    pub fn address(&self) -> SocketAddr {
        (self.address, APP_PORT).into()
    }

    /// What it is measured as, if the TEE is simulated.
    pub fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    pub(super) fn follow(
        runtime: KubernetesRuntime,
        app: AppId,
        address: IpAddr,
        measurement: Option<Measurement>,
    ) -> Self {
        let (events, received) = mpsc::channel(256);
        let (stops, asked) = mpsc::unbounded_channel();
        tokio::spawn(watch(runtime, app, address, events, asked));
        Self {
            address,
            measurement,
            events: received,
            stops,
        }
    }
}

impl Running for RunningPod {
    async fn next(&mut self) -> Option<EnclaveEvent> {
        self.events.recv().await
    }

    fn stop(&self, grace: Duration) {
        // One that is gone already needs no order.
        let _ = self.stops.send(grace);
    }
}

/// Tells what happens to the app until it has ended, and removes it.
async fn watch(
    runtime: KubernetesRuntime,
    app: AppId,
    address: IpAddr,
    events: mpsc::Sender<EnclaveEvent>,
    mut stops: mpsc::UnboundedReceiver<Duration>,
) {
    let mut follower = Follower {
        runtime: &runtime,
        address: (address, APP_PORT).into(),
        events: events.clone(),
        waits_for: None,
        followed: None,
    };
    let selector = runtime.of_app(app);
    let how = tokio::select! {
        how = follower.until_ended(&selector) => {
            // The last lines say why.
            sleep(LAST_WORDS).await;
            how
        }
        // Or the owner let go of it.
        _ = stops.recv() => "removed".to_owned(),
    };
    // Its output is read meanwhile: the app may have a last word as it is stopped.
    let removed = remove(&runtime, app).await;
    drop(follower);
    let how = match removed {
        Ok(()) => how,
        Err(why) => format!("{how}; {why}"),
    };
    let _ = events.send(EnclaveEvent::Exited { how }).await;
}

/// Until it is done, for as long as the server cannot be reached at most.
async fn remove(runtime: &KubernetesRuntime, app: AppId) -> Result<(), String> {
    let mut left = ATTEMPTS;
    loop {
        match runtime.remove(&runtime.of_app(app)).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!(%app, %error, "an app is not removed from the cluster");
                left -= 1;
                if left == 0 {
                    return Err(format!(
                        "its objects stay behind until the next start: {error}"
                    ));
                }
            }
        }
        sleep(BETWEEN_ATTEMPTS).await;
    }
}

const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// Sees an app through its pod.
struct Follower<'a> {
    runtime: &'a KubernetesRuntime,
    /// Where its Service is.
    address: SocketAddr,
    events: mpsc::Sender<EnclaveEvent>,
    /// What was told last, so that it is told once.
    waits_for: Option<String>,
    followed: Option<Followed>,
}

/// The pod that the enclave runs in. Its keys are in it: no other pod is the same app.
struct Followed {
    uid: Option<String>,
    output: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.output.abort();
    }
}

impl Follower<'_> {
    /// Returns how it ended by itself.
    async fn until_ended(&mut self, selector: &str) -> String {
        let mut pods = changes::<Pod>(self.runtime, selector);
        let mut deployments = changes::<Deployment>(self.runtime, selector);
        loop {
            tokio::select! {
                Some(change) = pods.next() => {
                    if let Some(how) = self.see_pod(change).await {
                        return how;
                    }
                }
                Some(change) = deployments.next() => match change {
                    watcher::Event::Apply(one) | watcher::Event::InitApply(one) => {
                        if let Some(why) = no_pod(&one) {
                            self.waits(why).await;
                        }
                    }
                    watcher::Event::Delete(_) => {
                        return "somebody deleted its deployment".to_owned();
                    }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                },
                else => return "it is not seen any more".to_owned(),
            }
        }
    }

    async fn see_pod(&mut self, change: watcher::Event<Pod>) -> Option<String> {
        let (pod, is_gone) = match change {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => (pod, false),
            watcher::Event::Delete(pod) => (pod, true),
            watcher::Event::Init | watcher::Event::InitDone => return None,
        };
        let is_followed = self
            .followed
            .as_ref()
            .map(|followed| followed.uid == pod.uid());
        match (is_followed, PodState::of(&pod)) {
            (Some(true), PodState::Ended(how)) => Some(how),
            (Some(true), _) if is_gone => Some("its pod was deleted".to_owned()),
            // Nothing of the enclave moves to another pod.
            (Some(false), _) if !is_gone => Some("its pod was replaced by another".to_owned()),
            (Some(_), _) => None,
            (None, _) if is_gone => None,
            (None, PodState::Waiting(why)) => {
                if let Some(why) = why {
                    self.waits(why).await;
                }
                None
            }
            (None, PodState::Started) => {
                self.follow(&pod);
                None
            }
            (None, PodState::Ended(how)) => {
                // It was quick: its output says why.
                self.follow(&pod);
                Some(how)
            }
        }
    }

    fn follow(&mut self, pod: &Pod) {
        let output = output::follow(
            self.runtime.api(),
            pod.name_any(),
            self.address,
            self.events.clone(),
        );
        self.followed = Some(Followed {
            uid: pod.uid(),
            output: tokio::spawn(output),
        });
    }

    async fn waits(&mut self, reason: String) {
        if self.waits_for.as_ref() == Some(&reason) {
            return;
        }
        self.waits_for = Some(reason.clone());
        let _ = self.events.send(EnclaveEvent::Waiting { reason }).await;
    }
}

/// What happens to objects, for good: a watch that breaks is begun anew, and the API server is
/// given time.
fn changes<K: Kind + Send + 'static>(
    runtime: &KubernetesRuntime,
    selector: &str,
) -> BoxStream<'static, watcher::Event<K>> {
    let config = watcher::Config::default().labels(selector);
    watcher(runtime.api::<K>(), config)
        .default_backoff()
        .inspect_err(|error| tracing::debug!(%error, "a watch of the cluster broke"))
        .filter_map(async |change| change.ok())
        .boxed()
}
