//! Whether an enclave is what it must be: the expected measurement, the trust policy, the
//! collateral, and the attested connection that all of it is checked on.

mod collateral;
mod domain;
mod ear;
mod evidence_file;
mod expected;
mod explanation;

use mse_attest::Tee;
use mse_ratls::{Attestation, AttestedChannel, Endpoint, Expected};
use mse_workload::Measurement;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::trust::TrustPolicy;

pub(crate) use collateral::{
    CollateralChoice, Collaterals, cache_for, read_file as read_collateral_file,
    save as save_collateral,
};
pub(crate) use domain::{Domain, InvalidDomain, reachable};
pub(crate) use ear::{ear_claims, ear_token};
pub(crate) use evidence_file::{Endorsements, EvidenceFile, Unreadable, read_collateral};
pub(crate) use expected::{SourceCheck, check_image, check_source, expected_measurement};
pub(crate) use explanation::{Explanation, checks_text, evidence_text};

/// Connects to enclaves and lets nothing but the expected ones pass.
pub(crate) struct Verifier {
    policy: TrustPolicy,
    collateral: Collaterals,
}

impl Verifier {
    pub(crate) fn new(policy: TrustPolicy, collateral: Collaterals) -> Self {
        Self { policy, collateral }
    }

    /// A connection to the enclave at `endpoint`, whose evidence and fresh channel challenge were
    /// appraised and, unless it is `None`, whose measurement is `measurement`. Nothing but the
    /// challenge was sent on it.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        measurement: Option<Measurement>,
    ) -> Result<AttestedChannel, Failure> {
        let expected = Expected {
            policy: self.policy.policy.clone(),
            measurement,
            mrsigner: None,
        };
        Ok(mse_ratls::connect(endpoint, &expected, &self.collateral).await?)
    }

    /// A platform that says it is simulated can only be refused, unless some simulated platform
    /// is trusted: better before anything is sent there than after.
    pub(crate) fn check_tee(&self, tee: &str) -> Result<(), Failure> {
        if tee == Tee::Simulated.as_str() && !self.policy.accepts_simulated {
            return Err(Failure::new(
                Exit::Refused,
                "this platform runs simulated enclaves, and no trust anchor allows that",
            )
            .with_hint("no hardware stands behind them. To accept that of this platform on purpose: `mse trust add FILE`, with the file that `mse-server` named when it started, or `--simulated FILE` for this command only"));
        }
        Ok(())
    }
}

/// The TEE that the fresh evidence comes from.
pub(crate) fn tee_of(attestation: &Attestation) -> Tee {
    attestation.challenge_appraisal.tee
}

/// The measurement that the fresh evidence proves, of an enclave of the SGX form.
pub(crate) fn measurement_of(attestation: &Attestation) -> Option<Measurement> {
    let claims = attestation.challenge_appraisal.claims.sgx()?;
    Some(Measurement(mse_crypto::Digest(claims.mrenclave)))
}
