//! What people and programs get to see.
//!
//! Results go to standard output: text for people, or with `--json` one JSON document (JSON
//! lines where a command streams). Progress, warnings and errors go to standard error; with
//! `--json` there is only the error's document, and warnings are in the result.

mod columns;
mod progress;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use console::style;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use columns::{pairs, table};
pub(crate) use progress::{Bar, Counter, Step};

/// A command's result.
pub(crate) trait Report: Serialize {
    /// The form for people: lines without a final newline; may be empty.
    fn text(&self) -> String;
}

/// Where results, progress and errors go, and in which form.
#[derive(Debug)]
pub(crate) struct Ui {
    form: Form,
    /// Whether someone watches standard error.
    watched: bool,
    warnings: Mutex<Vec<String>>,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Also in files and pipes.
    Always,
    /// Not at all.
    Never,
}

impl Ui {
    pub(crate) fn new(form: Form, color: ColorChoice) -> Self {
        match color {
            ColorChoice::Auto => {}
            ColorChoice::Always => set_colors(true),
            ColorChoice::Never => set_colors(false),
        }
        Self {
            form,
            watched: form == Form::People && io::stderr().is_terminal(),
            warnings: Mutex::default(),
        }
    }

    /// Whether output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Gives the command's result: once, at its end.
    pub(crate) fn report(&self, report: &impl Report) -> Result<(), Failure> {
        match self.form {
            Form::People => {
                let text = report.text();
                if text.is_empty() {
                    return Ok(());
                }
                print(&text)
            }
            Form::Json => {
                let mut value = serde_json::to_value(report)
                    .map_err(|error| Failure::other(format!("the result is no JSON: {error}")))?;
                let warnings = std::mem::take(
                    &mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner),
                );
                if let Value::Object(object) = &mut value
                    && !warnings.is_empty()
                {
                    object.insert("warnings".to_owned(), warnings.into());
                }
                print(&value.to_string())
            }
        }
    }

    /// Text for people that is part of the result but comes before its end.
    pub(crate) fn say(&self, text: &str) -> Result<(), Failure> {
        match self.form {
            Form::People => print(text),
            Form::Json => Ok(()),
        }
    }

    /// What the user should know, and did not ask for.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        if self.form == Form::People {
            let label = style("warning:").yellow().bold().for_stderr();
            eprintln!("{label} {text}");
        }
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    /// A diagnostic that has its own layout.
    pub(crate) fn diagnostic(&self, diagnostic: &mse_manifest::Diagnostic) {
        if self.form == Form::People {
            eprintln!("{diagnostic}\n");
        }
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(diagnostic.to_string());
    }

    /// What would be good to do next.
    pub(crate) fn advice(&self, text: &str) {
        if self.form == Form::People {
            let label = style("hint:").cyan().bold().for_stderr();
            eprintln!("{label} {text}");
        }
    }

    /// The failure that ends the program.
    pub(crate) fn failure(&self, failure: &Failure) {
        match self.form {
            Form::Json => eprintln!("{}", failure.to_json()),
            Form::People => {
                let label = style("error:").red().bold().for_stderr();
                if let Some(rendered) = failure.rendered() {
                    eprintln!("{rendered}");
                    return;
                }
                eprintln!("{label} {failure}");
                if let Some(hint) = failure.hint() {
                    self.advice(hint);
                }
            }
        }
    }

    /// Begins something that takes a moment.
    pub(crate) fn step(&self, what: impl Into<String>) -> Step {
        Step::begin(what.into(), self.form, self.watched)
    }

    /// Begins something whose `total` bytes are counted.
    pub(crate) fn bar(&self, what: impl Into<String>, total: u64) -> Bar {
        Bar::begin(what.into(), total, self.form, self.watched)
    }

    /// Asks whether to go on, unless that was agreed to by `--yes`. No answer is no.
    pub(crate) async fn agreed(&self, yes: bool, question: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.is_interactive() {
            return Err(
                Failure::new(Exit::Usage, "there is no terminal to ask whether to go on")
                    .with_hint("`--yes` goes on without asking"),
            );
        }
        let question = question.to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            dialoguer::Confirm::new()
                .with_prompt(question)
                .default(false)
                .interact()
        })
        .await;
        match answer {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Failure::new(Exit::Cancelled, "nothing was done")),
        }
    }

    /// Whether questions can be asked.
    pub(crate) fn is_interactive(&self) -> bool {
        self.watched && io::stdin().is_terminal()
    }
}

/// Writes a line (or a block of them) of the result. Whoever reads it may stop at any time
/// (`| head`): that ends the command.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Cancelled,
            "nobody reads the output any more",
        )),
        Err(error) => Err(Failure::other(format!(
            "the output cannot be written: {error}"
        ))),
        Ok(()) => Ok(()),
    }
}

/// An instant for people: in the local zone, with it.
pub(crate) fn local(instant: Timestamp) -> String {
    instant
        .to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// How long until `end`, in the two units that matter: `3 days 4 h`, `12 min 5 s`, `expired`.
pub(crate) fn remaining(end: Timestamp, now: Timestamp) -> String {
    let seconds = end.as_second().saturating_sub(now.as_second());
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    match parts.iter().position(|(count, _)| *count > 0) {
        _ if seconds <= 0 => "expired".to_owned(),
        None => "expired".to_owned(),
        Some(first) => parts[first..]
            .iter()
            .take(2)
            .map(|(count, unit)| format!("{count} {unit}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// A heading in a longer text.
pub(crate) fn heading(text: impl Display) -> String {
    style(text).bold().to_string()
}

/// A word of success.
pub(crate) fn good(text: impl Display) -> String {
    style(text).green().bold().to_string()
}

/// A word of caution.
pub(crate) fn caution(text: impl Display) -> String {
    style(text).yellow().bold().to_string()
}

/// A word of failure.
pub(crate) fn bad(text: impl Display) -> String {
    style(text).red().bold().to_string()
}

fn set_colors(enabled: bool) {
    console::set_colors_enabled(enabled);
    console::set_colors_enabled_stderr(enabled);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_keeps_days_and_hours_together() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, text) in [
            (86_400 + 3 * 3_600 + 59, "1 d 3 h"),
            (3_600, "1 h 0 min"),
            (61, "1 min 1 s"),
            (9, "9 s"),
            (0, "expired"),
            (-5, "expired"),
        ] {
            let end = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
            assert_eq!(remaining(end, now), text);
        }
    }
}
