//! What the launcher in a container tells the runtime outside: a line of output for each event, so
//! that no other way in or out is needed.
//!
//! Docker and Podman keep the two outputs of a container apart. Kubernetes does not: there all
//! lines go to one, and those of the app begin with [`APP_BEGINS`], so that an app cannot report.

use mse_api::LogStream;
use mse_workload::launch::{Confinement, Phase, ServiceEnd};
use serde::{Deserialize, Serialize};

/// Begins every such line. The program's own output is on the other stream.
const BEGINS: &str = "mse-report ";

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// How far the service is.
    Phase(Phase),
    /// Whether it is well.
    Health {
        /// Whether the last check succeeded.
        well: bool,
    },
    /// How it ended by itself.
    Ended(ServiceEnd),
    /// An app's enclave takes TLS connections on this port of the container.
    Listening(u16),
    /// What confines an app.
    Confinement(Vec<Confinement>),
}

impl Report {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("reports have only strings and numbers");
        format!("{BEGINS}{json}")
    }

    /// The report that `line` is, if it is one.
    pub fn of_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(BEGINS)?).ok()
    }
}

/// Begins every line of an app where there is one output for all.
const APP_BEGINS: &str = "app: ";

/// The line of an app's output on an output that it shares.
pub fn app_line(text: &str) -> String {
    format!("{APP_BEGINS}{text}")
}

/// A line of a shared output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedLine {
    /// The launcher's.
    Report(Report),
    /// Somebody's output.
    Log(LogStream, String),
}

impl SharedLine {
    /// Whose line it is.
    pub fn read(line: String) -> Self {
        if let Some(text) = line.strip_prefix(APP_BEGINS) {
            return Self::Log(LogStream::App, text.to_owned());
        }
        match Report::of_line(&line) {
            Some(report) => Self::Report(report),
            None => Self::Log(LogStream::Enclave, line),
        }
    }
}

#[cfg(test)]
mod tests {
    use mse_workload::launch::ServiceCheck;

    use super::*;

    #[test]
    fn reports_survive_as_lines() {
        for report in [
            Report::Phase(Phase::Running),
            Report::Phase(Phase::Failed {
                reason: "a\nb".into(),
            }),
            Report::Health { well: false },
            Report::Ended(ServiceEnd::Program { code: 7 }),
            Report::Listening(8443),
            Report::Confinement(vec![Confinement {
                name: "seccomp".into(),
                applied: true,
                detail: "an allow-list".into(),
            }]),
            Report::Ended(ServiceEnd::Refused {
                check: ServiceCheck::Tree,
            }),
        ] {
            let line = report.to_line();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert_eq!(Report::of_line(&line), Some(report));
        }
        assert_eq!(Report::of_line("INFO mse-report"), None);
        assert_eq!(Report::of_line("mse-report {}"), None);
    }
    /// Whatever an app prints is its output.
    #[test]
    fn an_app_does_not_report_on_a_shared_output() {
        let report = Report::Phase(Phase::Running);
        let lie = app_line(&report.to_line());
        let read = SharedLine::read(lie);
        assert_eq!(read, SharedLine::Log(LogStream::App, report.to_line()));
        let truth = SharedLine::read(report.to_line());
        assert_eq!(truth, SharedLine::Report(report));
        let other = SharedLine::read("warning: x".into());
        assert_eq!(
            other,
            SharedLine::Log(LogStream::Enclave, "warning: x".into())
        );
        let empty = SharedLine::read(app_line(""));
        assert_eq!(empty, SharedLine::Log(LogStream::App, String::new()));
    }
}
