//! Why a command did not do what it should: what happened, and what to do about it.

use std::error::Error;
use std::fmt;
use std::path::Path;

use mse_manifest::Diagnostics;
use mse_ratls::ConnectError;
use serde_json::{Value, json};

use crate::exit::Exit;

/// A command's failure, for people and for programs.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    message: String,
    hint: Option<String>,
    /// Replaces the line `error: message` for people.
    rendered: Option<String>,
    details: Value,
}

impl Failure {
    /// A failure that ends with `exit`; `message` says what happened, without a final full stop.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            message: message.into(),
            hint: None,
            rendered: None,
            details: Value::Null,
        }))
    }

    /// A failure that no program can do anything about.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new(Exit::Other, message)
    }

    /// A file could not be used: `action` is a verb, as in "could not write `path`".
    pub(crate) fn file(action: &str, path: &Path, error: &dyn Error) -> Self {
        Self::other(format!("could not {action} `{}`: {error}", path.display()))
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds data for programs.
    #[must_use]
    pub(crate) fn details(mut self, details: Value) -> Self {
        self.0.details = details;
        self
    }

    /// Replaces the message for people by a text that has its own layout.
    #[must_use]
    pub(crate) fn rendered_as(mut self, text: impl Into<String>) -> Self {
        self.0.rendered = Some(text.into());
        self
    }

    /// Puts a text that has its own layout before the message for people.
    #[must_use]
    pub(crate) fn rendered_after(self, text: &str) -> Self {
        let label = console::style("error:").red().bold().for_stderr();
        let rendered = format!("{text}\n{label} {}", self.0.message);
        self.rendered_as(rendered)
    }

    /// `what` (some evidence) was refused.
    pub(crate) fn of_refusal(what: &str, refusal: &mse_attest::Refusal) -> Self {
        Self::new(
            Exit::Refused,
            format!(
                "{what} was refused: {} (check `{}`: found `{}`, expected `{}`)",
                refusal.why, refusal.failed, refusal.found, refusal.expected
            ),
        )
        .with_hint(refusal_hint(refusal))
        .details(json!({
            "reason": refusal.reason,
            "check": refusal.failed,
            "found": refusal.found,
            "expected": refusal.expected,
            "checks": refusal.checks,
        }))
    }

    /// Says what became of the rest: "the app was stopped".
    #[must_use]
    pub(crate) fn and(mut self, aftermath: &str) -> Self {
        self.0.message = format!("{}; {aftermath}", self.0.message);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub(crate) fn rendered(&self) -> Option<&str> {
        self.0.rendered.as_deref()
    }

    /// The form for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Inner {
            exit,
            message,
            hint,
            details,
            ..
        } = &*self.0;
        let mut error = json!({
            "code": exit.name(),
            "message": message,
            "hint": hint,
            "exit_code": exit.code(),
        });
        if !details.is_null() {
            error["details"] = details.clone();
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        let message = diagnostics
            .iter()
            .find(|one| one.severity == mse_manifest::Severity::Error)
            .map_or_else(String::new, |first| {
                let place = match first.line {
                    Some(line) => format!("{}:{line}", first.file.display()),
                    None => first.file.display().to_string(),
                };
                match first.key.as_str() {
                    "" => format!("{place}: {}", first.problem),
                    key => format!("{place}: `{key}` {}", first.problem),
                }
            });
        let hint = diagnostics.iter().find_map(|one| one.help.clone());
        let mut failure = Self::new(Exit::InvalidConfiguration, message)
            .details(serde_json::to_value(&diagnostics).unwrap_or_default())
            .rendered_as(diagnostics.to_string());
        failure.0.hint = hint;
        failure
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Refused { stage, refusal } => {
                Self::of_refusal(&stage.to_string(), refusal)
            }
            ConnectError::Timeout(_) => Self::new(Exit::TimedOut, error.to_string())
                .with_hint("try again; `mse status APP` tells whether the app still runs"),
            ConnectError::NotAnEnclave(_) => Self::new(Exit::Refused, error.to_string()).with_hint(
                "an app that serves its owner's or the operator's certificate is verified at its configuration domain: `mse status APP` shows it",
            ),
            ConnectError::WrongName { .. } => Self::new(Exit::Refused, error.to_string())
                .with_hint("ask for the app by one of these names"),
            _ if error.is_refusal() => Self::new(Exit::Refused, error.to_string())
                .with_hint("do not use this connection; deploy the app again, or ask its owner"),
            _ => Self::new(Exit::Platform, error.to_string())
                .with_hint("`mse status APP` tells whether the app still runs"),
        }
    }
}

fn refusal_hint(refusal: &mse_attest::Refusal) -> String {
    use mse_attest::{CheckName, Reason};

    match (refusal.reason, refusal.failed) {
        (Reason::SimulatedEvidence, _) => {
            "no hardware stands behind simulated evidence. To accept that of one platform on purpose: `mse trust add FILE`, or `--simulated FILE` for this command only".to_owned()
        }
        (_, CheckName::MrEnclave) => {
            "another program, code, argument or expiry runs there than expected: do not use it. If the code or the `mse-enclave` program was updated, compare with `--enclave` and the code that was deployed".to_owned()
        }
        _ => refusal.hint.to_owned(),
    }
}

/// The innermost cause: for errors whose own text only says that something failed.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
