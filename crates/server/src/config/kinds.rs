//! Options that are one of a few words.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

/// Which part of the platform a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    All,
    /// Only the API and the store; not built yet.
    Api,
    /// Only the gateway; not built yet.
    Gateway,
    /// Only the runtime; not built yet.
    Runtime,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Gateway => "gateway",
            Self::Runtime => "runtime",
        })
    }
}

/// What app enclaves run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// Processes of this machine.
    Process,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// JSON lines.
    Json,
}
