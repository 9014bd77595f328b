//! How the services of a mesh are.

use serde::{Deserialize, Serialize};

use crate::mesh::target::{RunPlan, RunService};

/// Of a mesh that runs here, or ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MeshState {
    pub(crate) release: String,
    pub(crate) namespace: String,
    /// Whose process runs it.
    pub(crate) pid: u32,
    /// On the simulated TEE: no hardware protects it.
    pub(crate) simulated: bool,
    /// How many updates there were while it ran.
    #[serde(default)]
    pub(crate) updates: u32,
    /// Whether one is going on.
    #[serde(default)]
    pub(crate) updating: bool,
    /// Why the last one was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    pub(crate) services: Vec<ServiceState>,
}

impl MeshState {
    pub(crate) fn of(plan: &RunPlan, services: impl IntoIterator<Item = ServiceState>) -> Self {
        Self {
            release: plan.release.clone(),
            namespace: plan.namespace.clone(),
            pid: std::process::id(),
            simulated: true,
            updates: 0,
            updating: false,
            trouble: None,
            services: services.into_iter().collect(),
        }
    }

    /// Whether every service is well, or has done what it was for.
    pub(crate) fn is_up(&self) -> bool {
        let mut all = self.services.iter();
        all.all(|one| matches!(one.standing, Standing::Healthy | Standing::Done))
    }

    /// The first service that will not run.
    pub(crate) fn failed(&self) -> Option<&ServiceState> {
        self.services
            .iter()
            .find(|one| one.standing == Standing::Failed)
    }
}

/// How a service is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// What it measured when it was started.
    pub(crate) measurement: String,
    /// Its ports.
    pub(crate) ports: Vec<u16>,
    /// The process of its enclave, in the runtime `process`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// Why it is as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

impl ServiceState {
    pub(crate) fn waiting(service: &RunService) -> Self {
        Self {
            name: service.name.clone(),
            standing: Standing::Waiting,
            restarts: 0,
            measurement: service.measurement.to_string(),
            ports: service.ports.iter().map(|port| port.get()).collect(),
            pid: None,
            why: None,
        }
    }
}

/// One word for how a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// For services that it comes after.
    Waiting,
    /// Its enclave proves what it is.
    Attesting,
    /// The program runs, and does not answer yet.
    Starting,
    /// It is well.
    Healthy,
    /// It was well, and its health check fails.
    Unhealthy,
    /// It ended, and is started again.
    Restarting,
    /// Its program ended well.
    Done,
    /// It was stopped.
    Stopped,
    /// It will not run: a check failed.
    Failed,
}

impl Standing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Attesting => "attesting",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Restarting => "restarting",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}
