//! The outcome of a verification as an attestation result that other programs read: EAR.

use std::time::SystemTime;

use mse_attest::ear::{self, Issue, SignError};
use mse_attest::{Appraisal, Refusal};
use serde_json::Value;

/// What stands in `ear_verifier_id`.
const DEVELOPER: &str = "MSE";
const BUILD: &str = concat!("mse ", env!("CARGO_PKG_VERSION"));

/// The unsigned claims set of `result`, an appraisal made at `now`.
pub(crate) fn ear_claims(result: &Result<Appraisal, Refusal>, now: SystemTime) -> Value {
    ear::claims(
        result,
        &Issue {
            now,
            build: BUILD,
            developer: DEVELOPER,
            nonce: None,
        },
    )
}

/// The same as a JWT, signed (ES256) with the P-256 key `key_pem`.
pub(crate) fn ear_token(
    result: &Result<Appraisal, Refusal>,
    key_pem: &[u8],
    now: SystemTime,
) -> Result<String, EarError> {
    ear::sign(&ear_claims(result, now), key_pem).map_err(EarError)
}

/// Why there is no signed attestation result.
#[derive(Debug, thiserror::Error)]
#[error("the attestation result cannot be signed: {0}")]
pub(crate) struct EarError(#[source] SignError);

#[cfg(test)]
mod tests {
    use mse_attest::{Evidence, Policy, ReferenceValues, appraise};

    use super::*;

    #[test]
    fn a_refusal_is_a_result_too_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let platform = mse_simtee::Platform::create(&dir.path().join("tee"), now).unwrap();
        let quote = platform.quote([1; 32], &[2; 64]).unwrap();
        let result = appraise(
            &Evidence::parse(&quote).unwrap(),
            &platform.collateral(now).unwrap().into(),
            &Policy::strict(),
            &ReferenceValues::default(),
            now,
        );
        let claims = ear_claims(&result, now);
        assert_eq!(claims["ear_status"], "contraindicated");
        assert_eq!(claims["ear_verifier_id"]["build"], BUILD);
        assert!(ear_token(&result, b"no key", now).is_err());
    }
}
