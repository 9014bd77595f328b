//! What the cluster says about a pod, in its own words.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod};

use super::objects::CONTAINER;

/// How far a pod is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PodState {
    /// It does not run yet, and why, if the cluster says so.
    Waiting(Option<String>),
    /// Its container runs for the first time.
    Started,
    /// Its container has ended; it may have been started anew, without the keys that it had.
    Ended(String),
}

impl PodState {
    pub(super) fn of(pod: &Pod) -> Self {
        let Some(status) = &pod.status else {
            return Self::Waiting(None);
        };
        let statuses = status.container_statuses.as_deref().unwrap_or_default();
        if let Some(container) = statuses.iter().find(|one| one.name == CONTAINER) {
            let last = container.last_state.as_ref().and_then(terminated);
            let state = container.state.clone().unwrap_or_default();
            if let Some(how) = terminated(&state).or(last) {
                return Self::Ended(how);
            }
            if container.restart_count > 0 {
                return Self::Ended("its container was started anew".to_owned());
            }
            if state.running.is_some() {
                return Self::Started;
            }
            if let Some(waiting) = state.waiting {
                return Self::Waiting(said(waiting.reason.as_deref(), waiting.message.as_deref()));
            }
        }
        if status.phase.as_deref() == Some("Failed") {
            let why = said(status.reason.as_deref(), status.message.as_deref());
            return Self::Ended(why.unwrap_or_else(|| "its pod failed".to_owned()));
        }
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let hindered = conditions
            .iter()
            .find(|one| one.type_ == "PodScheduled" && one.status == "False");
        Self::Waiting(hindered.and_then(|one| said(one.reason.as_deref(), one.message.as_deref())))
    }
}

/// Why there is no pod at all: a quota, an admission, a limit.
pub(super) fn no_pod(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_deref()?;
    let failure = conditions
        .iter()
        .find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    said(failure.reason.as_deref(), failure.message.as_deref())
}

fn terminated(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    let how = format!("exit status: {}", ended.exit_code);
    let reason = ended
        .reason
        .as_deref()
        .filter(|one| !matches!(*one, "Error" | "Completed"));
    Some(match said(reason, ended.message.as_deref()) {
        Some(why) => format!("{how} ({why})"),
        None => how,
    })
}

/// `Reason: message`, on one line and bounded: it becomes the app's visible state.
fn said(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let filled = |text: &&str| !text.trim().is_empty();
    let parts: Vec<_> = [reason, message]
        .into_iter()
        .flatten()
        .filter(filled)
        .collect();
    let text = parts.join(": ");
    let words: Vec<_> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(MAX_WORDS).collect();
    (!line.is_empty()).then_some(line)
}

const MAX_WORDS: usize = 500;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(status: &Value) -> PodState {
        PodState::of(&serde_json::from_value(json!({"status": status})).unwrap())
    }

    fn container(state: &Value, restarts: u32) -> PodState {
        self::state(&json!({"phase": "Running", "containerStatuses": [{
            "name": CONTAINER, "image": "i", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state,
        }]}))
    }

    fn waiting(text: &str) -> PodState {
        PodState::Waiting(Some(text.to_owned()))
    }

    #[test]
    fn a_pod_waits_for_a_reason() {
        assert_eq!(state(&json!({"phase": "Pending"})), PodState::Waiting(None));
        let unschedulable = state(&json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available:\n 3 Insufficient sgx.intel.com/epc.",
        }]}));
        let words = "Unschedulable: 0/3 nodes are available: 3 Insufficient sgx.intel.com/epc.";
        assert_eq!(unschedulable, waiting(words));
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}});
        assert_eq!(container(&pull, 0), waiting("ImagePullBackOff: Back-off"));
    }

    #[test]
    fn an_enclave_that_was_started_anew_is_another_one() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(container(&running, 0), PodState::Started);
        assert!(matches!(container(&running, 1), PodState::Ended(_)));
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let how = "exit status: 137 (OOMKilled)".to_owned();
        assert_eq!(container(&killed, 0), PodState::Ended(how));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"});
        let how = "Evicted: low on disk".to_owned();
        assert_eq!(state(&evicted), PodState::Ended(how));
    }

    #[test]
    fn a_deployment_says_why_it_has_no_pod() {
        let deployment = json!({"status": {"conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"x\" is forbidden: exceeded quota",
        }]}});
        let deployment = serde_json::from_value(deployment).unwrap();
        let said = no_pod(&deployment).unwrap();
        assert_eq!(
            said,
            "FailedCreate: pods \"x\" is forbidden: exceeded quota"
        );
        assert_eq!(no_pod(&Deployment::default()), None);
    }
}
