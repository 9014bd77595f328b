//! What passed through a rule.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of one rule since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    /// Of them, those that went on with an earlier handshake.
    pub(crate) resumed: Counter,
    /// Handshakes that failed, and peers that could not be reached.
    pub(crate) refused: Counter,
    /// Connections that broke.
    pub(crate) broken: Counter,
    /// Bytes to the program.
    pub(crate) inwards: Counter,
    /// Bytes from the program.
    pub(crate) outwards: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.load(Relaxed))
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            resumed,
            refused,
            broken,
            inwards,
            outwards,
        } = self;
        write!(
            f,
            "{connections} connections ({resumed} resumed), {refused} refused, {broken} broken, {inwards} bytes in, {outwards} bytes out"
        )
    }
}
