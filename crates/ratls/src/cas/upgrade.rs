//! Signatures of people who let another program have the root key of a CAS.
//!
//! Both sides check them: the running CAS by the policy in its workload, before it gives the key
//! away, and the joining one by the policy in its own, before it vouches for a key that it was
//! given ([`super::join`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::MeasuredProgram;
use mse_crypto::signing::{SigningKey, VerifyingKey};
use mse_workload::{CasKey, InvalidWorkload, UpgradePolicy};
use serde::{Deserialize, Serialize};

/// The version of [`UpgradeAuthorization`] that this code reads and writes.
pub const AUTHORIZATION_FORMAT: u32 = 1;
/// An authorization is at most this long, in JSON.
pub const MAX_AUTHORIZATION: usize = 64 * 1024;
/// More signatures than there can be approvers are not looked at.
const MAX_SIGNATURES: usize = 64;

const DOMAIN: &str = "mse-cas-upgrade-v1";

/// That one program may have the root key of one CAS. It holds as long as the approvers are in the
/// workloads: there is no taking it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeAuthorization {
    /// Version of this format: [`AUTHORIZATION_FORMAT`].
    pub format: u32,
    /// Which CAS.
    pub cas_key: CasKey,
    /// Which program, with its workload.
    pub program: MeasuredProgram,
    /// Who says so.
    pub signatures: Vec<ApproverSignature>,
}

/// One approver's signature over domain `mse-cas-upgrade-v1`: `CAS key (32) ‖ JCS(program)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverSignature {
    /// The approver's public key, SPKI in PEM.
    pub key: String,
    /// Base64.
    pub signature: String,
}

impl UpgradeAuthorization {
    /// Without any signature yet.
    pub fn new(cas_key: CasKey, program: MeasuredProgram) -> Self {
        Self {
            format: AUTHORIZATION_FORMAT,
            cas_key,
            program,
            signatures: Vec::new(),
        }
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, UpgradeError> {
        if json.len() > MAX_AUTHORIZATION {
            return Err(UpgradeError::TooLarge(json.len()));
        }
        let this: Self = serde_json::from_slice(json)
            .map_err(|error| UpgradeError::Malformed(error.to_string()))?;
        if this.format != AUTHORIZATION_FORMAT {
            return Err(UpgradeError::Format(this.format));
        }
        Ok(this)
    }

    /// Adds the signature of `key`, in place of one that it made before.
    pub fn sign(&mut self, key: &SigningKey) {
        let pem = key.public().to_pem();
        let signature = BASE64.encode(key.sign(DOMAIN, &self.message()));
        self.signatures.retain(|one| one.key != pem);
        self.signatures.push(ApproverSignature {
            key: pem,
            signature,
        });
    }

    /// Whether enough of the policy's approvers let `program` have the root key of `cas_key`. Gives
    /// those who do.
    pub fn verify(
        &self,
        policy: &UpgradePolicy,
        cas_key: CasKey,
        program: &MeasuredProgram,
    ) -> Result<Vec<VerifyingKey>, UpgradeError> {
        if self.cas_key != cas_key {
            return Err(UpgradeError::OtherCas {
                found: self.cas_key,
                expected: cas_key,
            });
        }
        if self.program != *program {
            return Err(UpgradeError::OtherProgram);
        }
        let message = self.message();
        let signed = policy.approvers()?.into_iter().filter(|approver| {
            self.signatures
                .iter()
                .take(MAX_SIGNATURES)
                .any(|one| is_of(one, approver, &message))
        });
        let signed: Vec<_> = signed.collect();
        if signed.len() < usize::from(policy.threshold) {
            return Err(UpgradeError::TooFew {
                signed: signed.len(),
                needed: policy.threshold,
            });
        }
        Ok(signed)
    }

    fn message(&self) -> Vec<u8> {
        let mut message = self.cas_key.0.0.to_vec();
        message.extend(
            serde_json_canonicalizer::to_vec(&self.program)
                .expect("a program has only strings in its JSON"),
        );
        message
    }
}

fn is_of(signature: &ApproverSignature, approver: &VerifyingKey, message: &[u8]) -> bool {
    VerifyingKey::from_pem(&signature.key).is_ok_and(|key| key == *approver)
        && BASE64
            .decode(&signature.signature)
            .is_ok_and(|bytes| approver.verify(DOMAIN, message, &bytes).is_ok())
}

/// Why another program does not get the root key.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Over [`MAX_AUTHORIZATION`].
    #[error("the authorization has {0} bytes, and at most {MAX_AUTHORIZATION} are read")]
    TooLarge(usize),
    /// Not JSON of this shape.
    #[error("this is no authorization of an upgrade: {0}")]
    Malformed(String),
    /// A format of another time.
    #[error("the authorization has format {0}: this program reads format {AUTHORIZATION_FORMAT}")]
    Format(u32),
    /// Of somebody else's CAS.
    #[error("the authorization is for the CAS `{found}`, and this is about `{expected}`")]
    OtherCas {
        /// Whose it is.
        found: CasKey,
        /// Whose it should be.
        expected: CasKey,
    },
    /// Of another program.
    #[error(
        "the authorization is for another program, workload or TEE than the one that wants to join"
    )]
    OtherProgram,
    /// Not enough.
    #[error(
        "the upgrade has valid signatures of {signed} approvers, and {needed} are needed: have the others sign it with `mse cas upgrade sign`"
    )]
    TooFew {
        /// How many there are.
        signed: usize,
        /// How many there have to be.
        needed: u8,
    },
    /// A policy that cannot be read.
    #[error(transparent)]
    Policy(#[from] InvalidWorkload),
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::Algorithm;

    use super::*;

    const PROGRAM: MeasuredProgram = MeasuredProgram::Simulated { mrenclave: [7; 32] };

    fn policy(threshold: u8, keys: &[&SigningKey]) -> UpgradePolicy {
        UpgradePolicy {
            threshold,
            approvers: keys.iter().map(|key| key.public().to_pem()).collect(),
        }
    }

    #[test]
    fn enough_distinct_approvers_have_to_sign() {
        let keys = [
            SigningKey::generate(Algorithm::Ed25519),
            SigningKey::generate(Algorithm::P384),
            SigningKey::generate(Algorithm::Ed25519),
        ];
        let [one, two, three] = &keys;
        let (policy, cas) = (policy(2, &[one, two, three]), CasKey::of(b"cas"));
        let mut given = UpgradeAuthorization::new(cas, PROGRAM);
        let verify = |given: &UpgradeAuthorization| given.verify(&policy, cas, &PROGRAM);
        assert!(matches!(
            verify(&given),
            Err(UpgradeError::TooFew { signed: 0, .. })
        ));
        given.sign(one);
        given.sign(one);
        // The same signature once more, and that of a stranger.
        given.signatures.push(given.signatures[0].clone());
        given.sign(&SigningKey::generate(Algorithm::Ed25519));
        assert!(matches!(
            verify(&given),
            Err(UpgradeError::TooFew { signed: 1, .. })
        ));
        given.sign(two);
        assert_eq!(verify(&given).unwrap(), [one.public(), two.public()]);
        let json = serde_json::to_vec(&given).unwrap();
        assert_eq!(UpgradeAuthorization::from_json(&json).unwrap(), given);

        let other = MeasuredProgram::Simulated { mrenclave: [8; 32] };
        assert!(matches!(
            given.verify(&policy, cas, &other),
            Err(UpgradeError::OtherProgram)
        ));
        let elsewhere = given.verify(&policy, CasKey::of(b"other"), &PROGRAM);
        assert!(matches!(elsewhere, Err(UpgradeError::OtherCas { .. })));
        // What was signed is what counts, not what stands beside it.
        let mut moved = given.clone();
        moved.program = other;
        assert!(matches!(
            moved.verify(&policy, cas, &other),
            Err(UpgradeError::TooFew { signed: 0, .. })
        ));
        let mut moved = given;
        moved.cas_key = CasKey::of(b"other");
        assert!(moved.verify(&policy, moved.cas_key, &PROGRAM).is_err());
    }

    #[test]
    fn strange_files_are_refused() {
        let good = serde_json::to_value(UpgradeAuthorization::new(CasKey::of(b"cas"), PROGRAM));
        let good = good.unwrap();
        let read = |value: &serde_json::Value| {
            UpgradeAuthorization::from_json(value.to_string().as_bytes())
        };
        assert!(read(&good).is_ok());
        for (field, value) in [
            ("format", serde_json::json!(2)),
            ("cas_key", "x".into()),
            ("more", 1.into()),
            ("program", serde_json::json!({"tee": "sgx"})),
        ] {
            let mut changed = good.clone();
            changed[field] = value;
            assert!(read(&changed).is_err(), "{field}");
        }
        assert!(UpgradeAuthorization::from_json(&vec![b' '; MAX_AUTHORIZATION + 1]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = UpgradeAuthorization::from_json(&bytes);
        }
    }
}
