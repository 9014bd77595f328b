//! What all runtimes have in common.

use std::future::Future;
use std::time::Duration;

use crate::process::{EnclaveEvent, LaunchError, ProcessRuntime, RunningEnclave, ServiceSpec};

/// Launches services. There is one implementation for each way to run them.
pub trait Runtime {
    /// Which service, and how.
    type Spec;
    /// A service that was started.
    type Running: Running;
    /// Why one cannot be started. Nothing is left of the attempt.
    type Error: std::error::Error;

    /// Starts a service. What it does from then on is told by [`Running::next`].
    fn launch(
        &self,
        spec: Self::Spec,
    ) -> impl Future<Output = Result<Self::Running, Self::Error>> + Send;
}

/// A service that was started. Dropping it ends it.
pub trait Running: Send {
    /// What happens next. [`EnclaveEvent::Exited`] comes last, then `None`.
    fn next(&mut self) -> impl Future<Output = Option<EnclaveEvent>> + Send;

    /// Asks it to end within `grace`; what has not ended a little later is killed. Keep taking
    /// events: the last one tells that it is done.
    fn stop(&self, grace: Duration);
}

impl Runtime for ProcessRuntime {
    type Spec = ServiceSpec;
    type Running = RunningEnclave;
    type Error = LaunchError;

    async fn launch(&self, spec: ServiceSpec) -> Result<RunningEnclave, LaunchError> {
        self.launch_service(spec).await
    }
}

impl Running for RunningEnclave {
    async fn next(&mut self) -> Option<EnclaveEvent> {
        Self::next(self).await
    }

    fn stop(&self, grace: Duration) {
        Self::stop(self, grace);
    }
}
