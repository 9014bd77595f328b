//! A verifier that remembers what it has verified.

use std::{sync::Arc, time::SystemTime};

use crate::{
    Appraisal, Collateral, Evidence, Policy, ReferenceValues, Refusal, appraise::appraise_with,
    memory::Memory,
};

/// Appraises under one policy and keeps verified chains and collateral, by their digest, until
/// the first of them expires.
///
/// A quote of a quoting enclave that was seen before, with the same collateral, then costs one
/// signature check: its own. Chains, CRLs, TCB info, QE identity and QE report are the same bytes
/// as before, and time and policy are judged anew each time. So it is with the chain of an SNP
/// report. The answer is the one that [`crate::appraise`] gives.
#[derive(Debug)]
pub struct Verifier {
    policy: Policy,
    memory: Arc<Memory>,
}

impl Verifier {
    /// A verifier that has seen nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            memory: Arc::default(),
        }
    }

    /// A verifier under another policy that shares what this one has verified: that follows from
    /// evidence and endorsements alone, and each appraisal judges it by its own policy.
    pub fn under(&self, policy: Policy) -> Self {
        Self {
            policy,
            memory: Arc::clone(&self.memory),
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
        appraise_with(
            evidence,
            collateral,
            &self.policy,
            expected,
            now,
            Some(&self.memory),
        )
    }
}
