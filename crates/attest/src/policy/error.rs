//! Why a policy file is not taken.

use thiserror::Error;

use super::MAX_POLICY_BYTES;
use crate::TrustAnchorError;

/// What is wrong with a policy file: line, key, value, and how to mend it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than a person writes.
    #[error(
        "the policy has `{size}` bytes, more than {MAX_POLICY_BYTES}; split it by what is verified"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Not TOML.
    #[error("line {line}: this is not TOML: {why}; mend the line")]
    Toml {
        /// Where the parser stopped.
        line: usize,
        /// What it says.
        why: String,
    },
    /// A key that means nothing here. A misspelt key would otherwise be a condition that nobody
    /// checks.
    #[error("line {line}: `{key}` is not a known key; {help}")]
    UnknownKey {
        /// Where it is.
        line: usize,
        /// The key with its section.
        key: String,
        /// The key that was meant, or those that there are.
        help: String,
    },
    /// A key that must be there.
    #[error("line {line}: `{key}` is missing; {help}")]
    Missing {
        /// Where its section begins.
        line: usize,
        /// The key with its section.
        key: String,
        /// What to write.
        help: &'static str,
    },
    /// A value of another type.
    #[error("line {line}: `{key}` is {found} and must be {expected}; write it as in the example")]
    WrongType {
        /// Where it is.
        line: usize,
        /// The key with its section.
        key: String,
        /// The type found.
        found: &'static str,
        /// The type that belongs there.
        expected: &'static str,
    },
    /// A value that cannot be meant.
    #[error("line {line}: `{key}` is `{value}`: {problem}; {help}")]
    Invalid {
        /// Where it is.
        line: usize,
        /// The key with its section.
        key: String,
        /// The value found.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to write.
        help: String,
    },
    /// A list without entries: it could mean that nothing passes, or that everything does.
    #[error(
        "line {line}: `{key}` is an empty list, under which nothing would pass; name a value, or remove the key"
    )]
    Empty {
        /// Where it is.
        line: usize,
        /// The key with its section.
        key: String,
    },
    /// Two exceptions for the same thing: which one holds would be a guess.
    #[error("line {line}: `{key}` names `{value}` a second time; keep one of them")]
    Twice {
        /// Where the second one is.
        line: usize,
        /// The key with its section.
        key: String,
        /// What is there twice.
        value: String,
    },
    /// A trust anchor that is none.
    #[error("line {line}: `{key}` is no trust anchor: {source}")]
    Anchor {
        /// Where it is.
        line: usize,
        /// The key with its section.
        key: String,
        /// What is wrong with it.
        source: TrustAnchorError,
    },
}

impl PolicyError {
    /// The line of the file, if the error has one; the first is 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Toml { line, .. }
            | Self::UnknownKey { line, .. }
            | Self::Missing { line, .. }
            | Self::WrongType { line, .. }
            | Self::Invalid { line, .. }
            | Self::Empty { line, .. }
            | Self::Twice { line, .. }
            | Self::Anchor { line, .. } => Some(*line),
        }
    }
}
