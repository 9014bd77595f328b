//! What the launcher gets to see of what runs in the sandbox.

use std::io::{self, Write};

use mse_workload::launch::Confinement;
use tokio::sync::mpsc;

use crate::sandbox::{LogLine, SandboxReport, State};

/// Passes output on: standard output of this process is the app's log. Give it a thread of its
/// own, since a launcher that reads slowly must hold up nothing but the app.
pub(crate) fn print(mut logs: mpsc::Receiver<LogLine>) {
    let mut output = io::stdout().lock();
    while let Some(LogLine { text, .. }) = logs.blocking_recv() {
        if writeln!(output, "{text}")
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
    }
}

/// The sandbox's report in the launcher's terms.
pub(crate) fn confinement(report: SandboxReport) -> Vec<Confinement> {
    report
        .entries
        .into_iter()
        .map(|entry| Confinement {
            name: entry.name,
            applied: entry.state == State::Applied,
            detail: entry.detail,
        })
        .collect()
}
