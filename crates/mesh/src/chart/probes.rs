//! How a service is looked at.

use mse_workload::image::LAUNCHER;
use serde_json::{Map, Value, json};

use crate::model::{Health, Probe, Seconds};

/// A service is started anew if it does not run after five minutes.
const START: (u32, u32) = (2, 150);

/// The probes of a service.
pub(super) struct Probes<'a> {
    /// How it shows that it is well, by the Meshfile or its manifest.
    pub(super) probe: Option<&'a Probe>,
    /// Whether its ports want certificates.
    pub(super) shielded: bool,
}

impl Probes<'_> {
    /// Until the program runs: attested, released, and not ended.
    pub(super) fn startup() -> Value {
        let (period, failures) = START;
        launcher(
            json!({"periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}),
        )
    }

    /// Whether it is well: by its own sign, if it has one.
    pub(super) fn readiness(&self) -> Value {
        match self.probe.map(|probe| &probe.check) {
            None => launcher(self.pace()),
            // The shield answers nobody without a certificate; the enclave asks behind it.
            Some(_) if self.shielded => with(
                self.pace_of_what_was_found(),
                "exec",
                json!({"command": [LAUNCHER, "healthz", "--well"]}),
            ),
            Some(Health::Http { path, port }) => with(
                self.pace(),
                "httpGet",
                json!({"path": path.as_str(), "port": port}),
            ),
            Some(Health::Tcp { port }) => with(self.pace(), "tcpSocket", json!({"port": port})),
        }
    }

    /// Whether the program still runs.
    pub(super) fn liveness(&self) -> Value {
        launcher(self.pace())
    }

    fn pace(&self) -> Value {
        let given = |of: fn(&Probe) -> Option<u32>| self.probe.and_then(of);
        json!({
            "periodSeconds": given(|one| one.period.map(Seconds::get)).unwrap_or(10),
            "timeoutSeconds": given(|one| one.timeout.map(Seconds::get)).unwrap_or(5),
            "failureThreshold": given(|one| one.failures).unwrap_or(3),
        })
    }

    /// The enclave asks the program, and has counted its bad answers if the Meshfile says how many.
    fn pace_of_what_was_found(&self) -> Value {
        let mut pace = self.pace();
        if self.probe.is_some_and(|probe| probe.failures.is_some()) {
            pace["failureThreshold"] = 1.into();
        }
        pace
    }
}

fn launcher(pace: Value) -> Value {
    with(pace, "exec", json!({"command": [LAUNCHER, "healthz"]}))
}

fn with(pace: Value, by: &str, check: Value) -> Value {
    let mut probe = Map::from_iter([(by.to_owned(), check)]);
    if let Value::Object(pace) = pace {
        probe.extend(pace);
    }
    Value::Object(probe)
}
