//! A changed sample, and the ways to change bytes.

use mse_attest::{Collateral, Evidence};

/// Evidence or collateral, changed in one place.
pub(crate) struct Mutant {
    /// The part that was changed, for the summary.
    pub(crate) part: &'static str,
    /// What was done, for the message.
    pub(crate) what: String,
    pub(crate) change: Change,
}

pub(crate) enum Change {
    Evidence(Evidence),
    /// A file whose kind is found out, as of one that somebody sent.
    EvidenceFile(Vec<u8>),
    Collateral(Box<Collateral>),
    /// The collateral's JSON file.
    Json(Vec<u8>),
}

/// Takes the mutants, one after the other: there are too many to keep.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Mutant);

/// How many mutants are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Each byte of some samples, every so many of the others.
    Some,
    /// Each byte of every sample.
    All,
}

impl Effort {
    pub(crate) fn from_environment() -> Self {
        match std::env::var_os("MSE_MUTATE_ALL") {
            Some(value) if value == "1" => Self::All,
            _ => Self::Some,
        }
    }

    /// The positions to change among `length`, for the sample with this index among those of its
    /// kind: in the first every `dense`th, and of the others every `sparse`th, each sample
    /// beginning where the one before did not.
    pub(crate) fn positions(
        self,
        index: usize,
        length: usize,
        (dense, sparse): (usize, usize),
    ) -> impl Iterator<Item = usize> {
        let (first, step) = match (self, index) {
            (Self::All, _) => (0, 1),
            (Self::Some, 0) => (0, dense),
            // A step of 17 through the offsets: neighbours are not tried by neighbours only.
            (Self::Some, index) => (index * 17 % sparse, sparse),
        };
        (first..length).step_by(step)
    }
}

/// `bytes` with one bit of the byte at `at` flipped.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1 << (at % 8);
    flipped
}
