//! What was done and not done to contain an app, and how the app ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Every measure of the sandbox with what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SandboxReport {
    /// In the order in which they were taken.
    pub entries: Vec<SandboxEntry>,
}

impl SandboxReport {
    /// The measures that this machine did not allow.
    pub fn not_applied(&self) -> impl Iterator<Item = &SandboxEntry> {
        self.entries
            .iter()
            .filter(|entry| entry.state == State::NotApplied)
    }
}

/// One measure of the sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SandboxEntry {
    /// What it is called: `user namespace`, `seccomp`.
    pub name: String,
    /// Whether it holds.
    pub state: State,
    /// What exactly holds, or why it does not and what would help.
    pub detail: String,
}

impl SandboxEntry {
    pub(super) fn applied(name: &str, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Applied,
            detail: detail.into(),
        }
    }

    pub(super) fn not_applied(name: &str, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::NotApplied,
            detail: detail.into(),
        }
    }
}

/// Whether a measure holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds.
    Applied,
    /// It does not; the detail says why.
    NotApplied,
}

/// Which of the plan's commands is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The prepare command of this index, counted from 0.
    Prepare(usize),
    /// The server.
    Serve,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(index) => write!(f, "prepare step {}", index + 1),
            Self::Serve => f.write_str("the server"),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExitCause {
    /// The code that a shell would give: 128 and the signal's number for a signal.
    pub fn shell_code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// How a sandbox ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxExit {
    /// A command of the plan ended: the server, or a prepare step that failed
    /// or was told to stop.
    Command {
        /// Which one.
        step: Step,
        /// How.
        cause: ExitCause,
    },
    /// The whole sandbox was killed, by [`super::SandboxHandle::stop`] after its
    /// grace, before any command ran, or from outside.
    Killed,
}

impl fmt::Display for SandboxExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { step, cause } => write!(f, "{step} {cause}"),
            Self::Killed => f.write_str("the sandbox was killed"),
        }
    }
}
