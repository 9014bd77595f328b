//! People who can do something with the root key of a CAS, if enough of them agree: measured, so
//! that whoever attests the CAS knows them.

use mse_crypto::hpke::PublicKey;
use mse_crypto::signing::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::CasWorkload;
use crate::measured::InvalidWorkload;

/// At most so many people are named.
pub const MAX_PEOPLE: usize = 16;

/// Who may let another program have the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradePolicy {
    /// So many of the approvers have to sign.
    pub threshold: u8,
    /// Public keys, SPKI in PEM: Ed25519 or P-384.
    pub approvers: Vec<String>,
}

impl UpgradePolicy {
    /// The approvers' keys, in their order.
    pub fn approvers(&self) -> Result<Vec<VerifyingKey>, InvalidWorkload> {
        self.approvers
            .iter()
            .map(|pem| {
                VerifyingKey::from_pem(pem).map_err(|_| {
                    InvalidWorkload::field::<CasWorkload>(
                        "upgrade.approvers",
                        pem,
                        "give public keys (SPKI) in PEM, Ed25519 or P-384",
                    )
                })
            })
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), InvalidWorkload> {
        let keys = self.approvers()?;
        check_number("upgrade", 1, self.threshold, keys.len())?;
        check_distinct("upgrade.approvers", &keys)
    }
}

/// Who can put the root key together again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryPolicy {
    /// So many of the custodians have to give their shares; at least 2.
    pub threshold: u8,
    /// X25519 public keys, 64 hexadecimal digits in lower case. The first custodian has share 1.
    pub custodians: Vec<String>,
}

impl RecoveryPolicy {
    /// The custodians' keys, in their order.
    pub fn custodians(&self) -> Result<Vec<PublicKey>, InvalidWorkload> {
        self.custodians
            .iter()
            .map(|text| {
                key(text).ok_or_else(|| {
                    InvalidWorkload::field::<CasWorkload>(
                        "recovery.custodians",
                        text,
                        "give X25519 public keys as `mse cas recovery keygen` prints them",
                    )
                })
            })
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), InvalidWorkload> {
        let keys = self.custodians()?;
        check_number("recovery", 2, self.threshold, keys.len())?;
        check_distinct("recovery.custodians", &keys)
    }
}

/// In the one form that each key has.
fn key(text: &str) -> Option<PublicKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    // The highest bit does not count (RFC 7748): with it, one key would have two names.
    let is_canonical = hex::encode(bytes) == text && bytes[31] & 0x80 == 0 && bytes != [0; 32];
    is_canonical.then_some(PublicKey(bytes))
}

fn check_number(
    field: &'static str,
    least: u8,
    threshold: u8,
    people: usize,
) -> Result<(), InvalidWorkload> {
    if people > MAX_PEOPLE || threshold < least || usize::from(threshold) > people {
        return Err(InvalidWorkload::field::<CasWorkload>(
            field,
            &format!("{threshold} of {people}"),
            "name at most 16 people, and a threshold that they can reach: of recovery at least 2, of upgrades at least 1",
        ));
    }
    Ok(())
}

/// Who is named twice would count twice.
fn check_distinct<T: PartialEq>(field: &'static str, keys: &[T]) -> Result<(), InvalidWorkload> {
    let twice = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at]));
    match twice {
        Some(at) => Err(InvalidWorkload::field::<CasWorkload>(
            field,
            &format!("number {} twice", at + 1),
            "give each key once",
        )),
        None => Ok(()),
    }
}
