//! A verifier that remembers what it has verified.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::{
    Appraisal, Collateral, Evidence, Policy, ReferenceValues, Refusal, TrustAnchor,
    appraise::appraise_with,
    dcap::{self, Endorsement, Fault},
    quote::SgxQuote,
};

/// Appraises under one policy and keeps verified chains and collateral, by their digest, until
/// the first of them expires.
///
/// A quote of a quoting enclave that was seen before, with the same collateral, then costs one
/// signature check: its own. Chains, CRLs, TCB info, QE identity and QE report are the same bytes
/// as before, and time and policy are judged anew each time. The answer is the one that
/// [`crate::appraise`] gives.
#[derive(Debug)]
pub struct Verifier {
    policy: Policy,
    endorsements: Mutex<HashMap<Key, Endorsement>>,
}

impl Verifier {
    /// A verifier that has seen nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            endorsements: Mutex::default(),
        }
    }

    /// The policy it appraises under.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// As [`crate::appraise`], under this verifier's policy.
    pub fn appraise(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        expected: &ReferenceValues,
        now: SystemTime,
    ) -> Result<Appraisal, Refusal> {
        let endorse =
            |raw: &[u8],
             quote: &SgxQuote<'_>,
             collateral: &Collateral,
             anchor: &TrustAnchor,
             now: u64| { self.endorse(raw, quote, collateral, anchor, now) };
        appraise_with(evidence, collateral, &self.policy, expected, now, endorse)
    }

    fn endorse(
        &self,
        raw: &[u8],
        quote: &SgxQuote<'_>,
        collateral: &Collateral,
        anchor: &TrustAnchor,
        now: u64,
    ) -> Result<Endorsement, Fault> {
        let key = Key::of(quote, collateral, anchor);
        if let Some(endorsement) = self.recall(&key, now) {
            dcap::verify_quote_signature(quote)?;
            return Ok(endorsement);
        }
        let endorsement = dcap::endorse(raw, quote, collateral, anchor, now)?;
        self.remember(key, &endorsement, now);
        Ok(endorsement)
    }

    fn recall(&self, key: &Key, now: u64) -> Option<Endorsement> {
        let endorsements = self
            .endorsements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endorsements
            .get(key)
            .filter(|endorsement| is_valid(endorsement, now))
            .cloned()
    }

    fn remember(&self, key: Key, endorsement: &Endorsement, now: u64) {
        let mut endorsements = self
            .endorsements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if endorsements.len() >= MAX_REMEMBERED {
            endorsements.retain(|_, endorsement| is_valid(endorsement, now));
        }
        // Still full: whoever floods us with new platforms costs others a cold appraisal, not
        // memory.
        if endorsements.len() >= MAX_REMEMBERED {
            endorsements.clear();
        }
        endorsements.insert(key, endorsement.clone());
    }
}

/// Digest of everything that an [`Endorsement`] follows from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key([u8; 32]);

impl Key {
    fn of(quote: &SgxQuote<'_>, collateral: &Collateral, anchor: &TrustAnchor) -> Self {
        let mut parts: Vec<&[u8]> = vec![anchor.root_key(), quote.endorsed];
        parts.extend(collateral.parts());
        // Lengths first: no byte can wander from one part into the next.
        let mut lengths = Vec::new();
        for part in &parts {
            lengths.extend((part.len() as u64).to_le_bytes());
        }
        parts.insert(0, &lengths);
        Self(dcap::sha256(&parts))
    }
}

/// Some hundred bytes each. A fleet of more platforms than this verifies cold now and then.
const MAX_REMEMBERED: usize = 1024;

fn is_valid(endorsement: &Endorsement, now: u64) -> bool {
    (endorsement.valid_from..=endorsement.valid_until).contains(&now)
}
