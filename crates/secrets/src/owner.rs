//! Values that an owner sends to the CAS through hands that it does not trust: sealed to the CAS's
//! attested key, signed by the owner, and good for one secret and one version only.

use mse_crypto::Zeroizing;
use mse_crypto::hpke::{self, HpkeError, KeyPair};
use mse_crypto::signing::{SigningKey, VerifyingKey};

use crate::{MAX_GIVEN_BYTES, frame};

/// What a value is for. The owner and the CAS each build it from what they know; it is never taken
/// from the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whose value it is: the key that the session's policy names.
    pub owner: VerifyingKey,
    /// The full name of the session, or the app's id.
    pub session: String,
    /// The hash of the session's version: a secret that is taken out and put in again has its first
    /// version anew, and what was made for the one before is not taken for it.
    pub session_hash: [u8; 32],
    /// For how many seconds the value before stays accepted.
    pub grace: u64,
    /// The name of the secret.
    pub secret: String,
    /// The version that it becomes: the current one and 1. A value that was taken once is thereby
    /// never taken again.
    pub version: u64,
}

/// A sealed value on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerValue {
    sealed: Vec<u8>,
    signature: Vec<u8>,
}

impl OwnerValue {
    /// Seals `plaintext` to the CAS that has the private half of `cas`, and signs it with the key
    /// that `binding` names.
    pub fn seal(
        plaintext: &[u8],
        cas: &hpke::PublicKey,
        owner: &SigningKey,
        binding: &Binding,
    ) -> Result<Self, InvalidOwnerValue> {
        if owner.public() != binding.owner {
            return Err(InvalidOwnerValue::Signature);
        }
        if plaintext.len() > MAX_GIVEN_BYTES {
            return Err(InvalidOwnerValue::TooLong(plaintext.len()));
        }
        let about = binding.canonical();
        let sealed = hpke::seal(cas, PURPOSE.as_bytes(), &about, plaintext)?;
        let signature = owner.sign(PURPOSE, &signed(cas, &about, &sealed));
        Ok(Self { sealed, signature })
    }

    /// Opens it, if it was signed by the owner and sealed to this CAS for exactly `expected`.
    pub fn open(
        &self,
        cas: &KeyPair,
        expected: &Binding,
    ) -> Result<Zeroizing<Vec<u8>>, InvalidOwnerValue> {
        let about = expected.canonical();
        expected
            .owner
            .verify(
                PURPOSE,
                &signed(&cas.public(), &about, &self.sealed),
                &self.signature,
            )
            .map_err(|_| InvalidOwnerValue::Signature)?;
        Ok(cas.open(PURPOSE.as_bytes(), &about, &self.sealed)?)
    }

    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        frame::write(MESSAGE, &[&self.sealed, &self.signature]).to_vec()
    }

    /// Reads what [`OwnerValue::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidOwnerValue> {
        match frame::read(bytes) {
            Some((MESSAGE, fields)) => match fields[..] {
                [sealed, signature] if sealed.len() <= MAX_GIVEN_BYTES + hpke::OVERHEAD => {
                    Ok(Self {
                        sealed: sealed.to_vec(),
                        signature: signature.to_vec(),
                    })
                }
                _ => Err(InvalidOwnerValue::Form),
            },
            _ => Err(InvalidOwnerValue::Form),
        }
    }
}

impl Binding {
    /// Every part with its length: no two bindings have the same bytes.
    fn canonical(&self) -> Zeroizing<Vec<u8>> {
        frame::write(
            BINDING,
            &[
                &self.owner.to_spki(),
                self.session.as_bytes(),
                &self.session_hash,
                &self.grace.to_be_bytes(),
                self.secret.as_bytes(),
                &self.version.to_be_bytes(),
            ],
        )
    }
}

/// What a signature and a seal are for.
const PURPOSE: &str = "mse-owner-secret-v1";
const BINDING: u8 = 0x81;
const MESSAGE: u8 = 0x82;
const SIGNED: u8 = 0x83;

fn signed(cas: &hpke::PublicKey, binding: &[u8], sealed: &[u8]) -> Zeroizing<Vec<u8>> {
    frame::write(SIGNED, &[&cas.0, binding, sealed])
}

/// Why an owner's value is not made or not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOwnerValue {
    /// Too long.
    #[error("the value has {0} bytes; at most 65536 are taken")]
    TooLong(usize),
    /// Not in the form of such a message.
    #[error("this is no sealed value of an owner, or one of another version of MSE")]
    Form,
    /// Not signed by the owner for this.
    #[error(
        "the value is not signed by the owner for this session, secret and version at this CAS: it was made for something else, taken before, or changed"
    )]
    Signature,
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Sealing(#[from] HpkeError),
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::Algorithm;
    use proptest::prelude::*;

    use super::*;

    struct Parties {
        cas: KeyPair,
        owner: SigningKey,
        binding: Binding,
    }

    fn parties() -> Parties {
        let owner = SigningKey::generate(Algorithm::Ed25519);
        let binding = Binding {
            owner: owner.public(),
            session: "shop/db".to_owned(),
            session_hash: [7; 32],
            grace: 60,
            secret: "password".to_owned(),
            version: 3,
        };
        Parties {
            cas: KeyPair::generate(),
            owner,
            binding,
        }
    }

    #[test]
    fn the_cas_opens_what_the_owner_sealed() {
        let Parties {
            cas,
            owner,
            binding,
        } = parties();
        let sent = OwnerValue::seal(b"hunter2", &cas.public(), &owner, &binding).unwrap();
        let received = OwnerValue::from_bytes(&sent.to_bytes()).unwrap();
        assert_eq!(&**received.open(&cas, &binding).unwrap(), b"hunter2");
    }

    #[test]
    fn nobody_swaps_or_replays_it() {
        let Parties {
            cas,
            owner,
            binding,
        } = parties();
        let sent = OwnerValue::seal(b"hunter2", &cas.public(), &owner, &binding).unwrap();
        let other_owner = SigningKey::generate(Algorithm::Ed25519);
        let change = |change: fn(&mut Binding)| {
            let mut changed = binding.clone();
            change(&mut changed);
            changed
        };
        let mut stranger = binding.clone();
        stranger.owner = other_owner.public();
        for (what, expected) in [
            ("another owner", stranger.clone()),
            (
                "another session",
                change(|b| b.session = "shop/web".to_owned()),
            ),
            ("another secret", change(|b| b.secret = "token".to_owned())),
            ("a replay", change(|b| b.version += 1)),
            ("a rollback", change(|b| b.version -= 1)),
            (
                "the border between two names",
                change(|b| {
                    b.session = "shop/dbpass".to_owned();
                    b.secret = "word".to_owned();
                }),
            ),
        ] {
            let refused = sent.open(&cas, &expected).map(|_| ());
            assert_eq!(refused, Err(InvalidOwnerValue::Signature), "{what}");
        }
        // To another CAS.
        assert_eq!(
            sent.open(&KeyPair::generate(), &binding).map(|_| ()),
            Err(InvalidOwnerValue::Signature)
        );
        // A stranger signs the same ciphertext as its own, or seals a value as the owner's.
        let resigned = OwnerValue {
            sealed: sent.sealed.clone(),
            signature: other_owner.sign(
                PURPOSE,
                &signed(&cas.public(), &stranger.canonical(), &sent.sealed),
            ),
        };
        assert_eq!(
            resigned.open(&cas, &stranger).map(|_| ()),
            Err(InvalidOwnerValue::Sealing(HpkeError::DoesNotOpen))
        );
        let forged = OwnerValue::seal(b"mine", &cas.public(), &other_owner, &stranger).unwrap();
        assert_eq!(
            forged.open(&cas, &binding).map(|_| ()),
            Err(InvalidOwnerValue::Signature)
        );
        assert_eq!(
            OwnerValue::seal(b"mine", &cas.public(), &other_owner, &binding),
            Err(InvalidOwnerValue::Signature)
        );
        // The signature of one message with the ciphertext of another.
        let second = OwnerValue::seal(b"other", &cas.public(), &owner, &binding).unwrap();
        let mixed = OwnerValue {
            sealed: second.sealed,
            signature: sent.signature,
        };
        assert_eq!(
            mixed.open(&cas, &binding).map(|_| ()),
            Err(InvalidOwnerValue::Signature)
        );
    }

    #[test]
    fn what_is_too_long_is_not_sealed() {
        let Parties {
            cas,
            owner,
            binding,
        } = parties();
        let long = vec![0; MAX_GIVEN_BYTES + 1];
        assert_eq!(
            OwnerValue::seal(&long, &cas.public(), &owner, &binding),
            Err(InvalidOwnerValue::TooLong(65537))
        );
        assert!(OwnerValue::seal(&long[1..], &cas.public(), &owner, &binding).is_ok());
    }

    proptest! {
        // Each seals once, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8) {
            let Parties { cas, owner, binding } = parties();
            let sent = OwnerValue::seal(b"hunter2", &cas.public(), &owner, &binding).unwrap();
            let mut bytes = sent.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let opened = OwnerValue::from_bytes(&bytes).and_then(|value| value.open(&cas, &binding));
            prop_assert!(opened.is_err());
            prop_assert!(OwnerValue::from_bytes(&bytes[..at]).is_err());
        }
    }
}
