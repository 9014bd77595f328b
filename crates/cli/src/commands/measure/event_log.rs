//! `mse measure event-log`

use std::path::PathBuf;

use clap::Args;
use mse_measure::Sha384Digest;
use mse_measure::event_log::{DataCheck, Event, EventKind, EventLog, MAX_LOG, Register, Registers};
use mse_measure::tdx::Rtmr;
use serde::Serialize;
use serde_json::json;

use super::{read, unmeasurable};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, counted, table};

/// The most of an event's text that is shown.
const SHOWN_TEXT: usize = 120;

/// RTMR0 to RTMR3 of a TDX guest, from its event log
///
/// Nobody protects the log. It is believed only if the registers that it gives are those of a
/// quote that was verified: give them, and they are compared.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse measure event-log /sys/firmware/acpi/tables/data/CCEL
  mse measure event-log CCEL --events
  mse measure event-log CCEL --rtmr0 f8438db3… --rtmr1 2023546e…")]
pub(super) struct Log {
    /// The log: `/sys/firmware/acpi/tables/data/CCEL` in the guest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show every event
    #[arg(long)]
    events: bool,
    /// What RTMR0 must be
    #[arg(long, value_name = "HEX")]
    rtmr0: Option<Sha384Digest>,
    /// What RTMR1 must be
    #[arg(long, value_name = "HEX")]
    rtmr1: Option<Sha384Digest>,
    /// What RTMR2 must be
    #[arg(long, value_name = "HEX")]
    rtmr2: Option<Sha384Digest>,
    /// What RTMR3 must be
    #[arg(long, value_name = "HEX")]
    rtmr3: Option<Sha384Digest>,
}

impl Log {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let log = read("event-log", &self.file, MAX_LOG)?;
        let log = EventLog::parse(&log).map_err(|error| unmeasurable(&error))?;
        let registers = log.replay();
        let compared = self.compare(&registers)?;
        let lines: Vec<Line> = log.events().iter().map(Line::of).collect();
        let differing = lines
            .iter()
            .filter(|line| line.data == DataCheck::Differs)
            .count();
        if differing > 0 {
            scene.ui.warn(format!(
                "the data of {} is not what was measured: do not believe what the log says there (`--events` shows them)",
                counted(differing, "event", "events")
            ));
        }
        scene.ui.report(&Replayed {
            tee: "tdx",
            rtmr0: registers.rtmr(0),
            rtmr1: registers.rtmr(1),
            rtmr2: registers.rtmr(2),
            rtmr3: registers.rtmr(3),
            compared,
            show_events: self.events,
            events: lines,
        })
    }

    /// The names of the registers that are as they must be.
    fn compare(&self, registers: &Registers) -> Result<Vec<String>, Failure> {
        let wanted = [self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3];
        let mut compared = Vec::new();
        for (index, expected) in (0..).zip(wanted) {
            let Some(expected) = expected else {
                continue;
            };
            let found = registers.rtmr(index);
            if found.0 != expected {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("the log gives `{found}` for RTMR{index}, which must be `{expected}`"),
                )
                .with_hint("the log is not that of the guest which was quoted, was changed, or is of another time; believe none of it")
                .details(json!({ "register": format!("RTMR{index}"), "found": found, "expected": expected })));
            }
            compared.push(format!("RTMR{index}"));
        }
        Ok(compared)
    }
}

#[derive(Serialize)]
struct Replayed {
    tee: &'static str,
    rtmr0: Rtmr,
    rtmr1: Rtmr,
    rtmr2: Rtmr,
    rtmr3: Rtmr,
    /// Which of them were compared, and are as they must be.
    compared: Vec<String>,
    #[serde(skip)]
    show_events: bool,
    events: Vec<Line>,
}

/// An event.
#[derive(Serialize)]
struct Line {
    register: Register,
    kind: EventKind,
    digest: Sha384Digest,
    /// Whether it was extended.
    extended: bool,
    data: DataCheck,
    /// What of its data can be read.
    text: Option<String>,
}

impl Line {
    fn of(event: &Event) -> Self {
        Self {
            register: event.register,
            kind: event.kind,
            digest: event.digest,
            extended: event.is_extended(),
            data: event.check_data(),
            text: text_of(&event.data),
        }
    }
}

/// The data as text, if it is printable ASCII up to zeros at its end.
fn text_of(data: &[u8]) -> Option<String> {
    let length = data.iter().rposition(|byte| *byte != 0)? + 1;
    let text = data.get(..length)?;
    text.iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
        .then(|| {
            text.iter()
                .take(SHOWN_TEXT)
                .map(|byte| char::from(*byte))
                .collect()
        })
}

impl Report for Replayed {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if self.show_events {
            let rows: Vec<[String; 5]> = self.events.iter().map(Line::row).collect();
            parts.push(table(["REGISTER", "KIND", "DIGEST", "DATA", "TEXT"], &rows));
        }
        let extended = self.events.iter().filter(|line| line.extended).count();
        let events = counted(extended, "event", "events");
        parts.push(format!("{events} extended"));
        for (index, register) in [self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3]
            .into_iter()
            .enumerate()
        {
            let name = format!("RTMR{index}");
            let note = if self.compared.contains(&name) {
                " (as it must be)"
            } else {
                ""
            };
            parts.push(format!("{name}: {register}{note}"));
        }
        parts.join("\n")
    }
}

impl Line {
    fn row(&self) -> [String; 5] {
        let data = match self.data {
            DataCheck::Measured => "measured",
            DataCheck::Differs => "DIFFERS",
            DataCheck::NotMeasured => "",
        };
        [
            self.register.to_string(),
            self.kind.to_string(),
            if self.extended {
                hex::encode(&self.digest.0[..8])
            } else {
                "not extended".to_owned()
            },
            data.to_owned(),
            self.text.clone().unwrap_or_default(),
        ]
    }
}
