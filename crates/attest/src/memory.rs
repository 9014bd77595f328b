//! What a verifier remembers of endorsements that it has verified.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{dcap::Endorsement, digest::sha256, x509::Validity};

/// Verified endorsements by the digest of all that they follow from, each until it expires.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Key, Remembered>>);

/// What was verified.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    /// Chains, collateral and quoting enclave of a DCAP quote.
    Dcap(Endorsement),
    /// A chain of certificates up to a trusted root, with its revocation lists.
    Chain(Validity),
}

impl Remembered {
    fn validity(&self) -> Validity {
        match self {
            Self::Dcap(endorsement) => endorsement.validity,
            Self::Chain(validity) => *validity,
        }
    }
}

impl Memory {
    pub(crate) fn recall(&self, key: &Key, now: u64) -> Option<Remembered> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(key)
            .filter(|remembered| remembered.validity().contains(now))
            .cloned()
    }

    pub(crate) fn remember(&self, key: Key, what: Remembered, now: u64) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, what| what.validity().contains(now));
        }
        // Still full: whoever floods us with new platforms costs others a cold appraisal, not
        // memory.
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, what);
    }
}

/// Digest of everything that a [`Remembered`] follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Of `parts`, for the use that `domain` names: no two uses share a key.
    pub(crate) fn of(domain: &'static str, parts: &[&[u8]]) -> Self {
        // Lengths first: no byte can wander from one part into the next.
        let mut lengths = Vec::with_capacity(8 * (parts.len() + 1));
        for part in [&[domain.as_bytes()], parts].concat() {
            lengths.extend((part.len() as u64).to_le_bytes());
        }
        let all = [&[lengths.as_slice(), domain.as_bytes()], parts].concat();
        Self(sha256(&all))
    }
}

/// Some hundred bytes each. A fleet of more platforms than this verifies cold now and then.
const MAX_REMEMBERED: usize = 1024;
