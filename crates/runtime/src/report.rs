//! What the launcher in a container tells the runtime outside: a line of error output for each
//! event, so that no other way in or out is needed.

use mse_workload::launch::{Phase, ServiceEnd};
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
}
