//! Sessions with the signatures of those who stand for them.

use std::collections::BTreeSet;

use mse_crypto::Zeroizing;
use mse_crypto::signing::{BadSignature, SigningKey, VerifyingKey};
use mse_yaml::{Diagnostic, Faults, Variables};
use serde::{Deserialize, Serialize};

use crate::check::{Compatibility, check_text};
use crate::model::{Session, SessionHash};

/// The domain of signatures over sessions.
const DOMAIN: &str = "mse-session-signature-v1";
/// More people than any board has.
const MAX_SIGNATURES: usize = 64;
/// The JSON around a session's text, in which each character may take six.
const MAX_BYTES: usize = 8 * crate::MAX_BYTES;

/// A session's text and signatures over its hash, as JSON:
///
/// ```json
/// {"session": "name: …", "signatures": [{"signer": "-----BEGIN PUBLIC KEY-----\n…", "signature": "<hex>"}]}
/// ```
///
/// The text has no variables any more. Signed is the 32-byte [`SessionHash`], so that text may be
/// reformatted, and cannot be reinterpreted: whoever verifies computes the hash from what it read.
/// Several people sign one after the other, in any order. `Debug` is missing, for explicit secrets
/// may be in the text.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SignedSession {
    session: Zeroizing<String>,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Signature {
    signer: String,
    signature: String,
}

/// A session whose signatures all hold.
#[derive(Clone, Debug)]
pub struct VerifiedSession {
    /// The session.
    pub session: Session,
    /// Its hash, which was signed.
    pub hash: SessionHash,
    /// Who signed.
    pub signers: BTreeSet<VerifyingKey>,
    /// What its readers should know.
    pub warnings: Vec<Diagnostic>,
}

impl SignedSession {
    /// A session that nobody has signed yet.
    pub fn new(session: &Session) -> Self {
        Self {
            session: session.to_text(),
            signatures: Vec::new(),
        }
    }

    /// Adds a signature; one of the same key is replaced.
    ///
    /// The signer has read the session: pass what [`Self::verify`] or [`crate::check_text`] gave,
    /// and it is refused if it is another one than is in here.
    pub fn sign(&mut self, session: &Session, key: &SigningKey) -> Result<(), SignedSessionError> {
        let (inside, _) = self.read(Compatibility::Import)?;
        let (inside, hash) = (inside.hash(), session.hash());
        if inside != hash {
            return Err(SignedSessionError::OtherSession { inside, hash });
        }
        let signature = key.sign(DOMAIN, &hash.0);
        self.push(&key.public(), &signature)
    }

    /// Adds a signature that was made elsewhere, over [`Self::message`] of the session's hash.
    pub fn add(
        &mut self,
        signer: &VerifyingKey,
        signature: &[u8],
    ) -> Result<(), SignedSessionError> {
        let (session, _) = self.read(Compatibility::Import)?;
        signer
            .verify(DOMAIN, &session.hash().0, signature)
            .map_err(|source| bad(signer, source))?;
        self.push(signer, signature)
    }

    /// The bytes that a key outside of MSE (in a hardware module, say) signs for this hash: by
    /// Ed25519 as they are, by ECDSA on P-384 with SHA-384 and `r ‖ s` as the signature.
    pub fn message(hash: &SessionHash) -> Vec<u8> {
        [DOMAIN.as_bytes(), &[0], &hash.0].concat()
    }

    /// Reads the JSON. Nothing is verified yet.
    pub fn from_json(text: &str) -> Result<Self, SignedSessionError> {
        if text.len() > MAX_BYTES {
            return Err(SignedSessionError::TooLarge(text.len()));
        }
        let signed: Self = serde_json::from_str(text)?;
        if signed.signatures.len() > MAX_SIGNATURES {
            return Err(SignedSessionError::TooMany(signed.signatures.len()));
        }
        Ok(signed)
    }

    /// The JSON.
    pub fn to_json(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(self).expect("texts and lists are JSON"))
    }

    /// The signatures, with their keys. [`Self::verify`] says whether they hold.
    pub fn signatures(&self) -> Result<Vec<(VerifyingKey, Vec<u8>)>, SignedSessionError> {
        self.signatures
            .iter()
            .map(|Signature { signer, signature }| {
                let key =
                    VerifyingKey::from_pem(signer).map_err(|_| SignedSessionError::NoKey {
                        signer: mse_yaml::shown(signer),
                    })?;
                let signature = hex::decode(signature).map_err(|_| bad(&key, BadSignature))?;
                Ok((key, signature))
            })
            .collect()
    }

    /// The session's text.
    pub fn text(&self) -> &str {
        &self.session
    }

    /// Checks the session and every signature: one that does not hold spoils all.
    pub fn verify(
        &self,
        compatibility: Compatibility,
    ) -> Result<VerifiedSession, SignedSessionError> {
        let (session, warnings) = self.read(compatibility)?;
        let hash = session.hash();
        let mut signers = BTreeSet::new();
        for Signature { signer, signature } in &self.signatures {
            let key = VerifyingKey::from_pem(signer).map_err(|_| SignedSessionError::NoKey {
                signer: mse_yaml::shown(signer),
            })?;
            let signature = hex::decode(signature).map_err(|_| bad(&key, BadSignature))?;
            key.verify(DOMAIN, &hash.0, &signature)
                .map_err(|source| bad(&key, source))?;
            if !signers.insert(key.clone()) {
                return Err(SignedSessionError::Twice { signer: name(&key) });
            }
        }
        Ok(VerifiedSession {
            session,
            hash,
            signers,
            warnings,
        })
    }

    fn read(&self, compatibility: Compatibility) -> Result<(Session, Vec<Diagnostic>), Faults> {
        check_text(&self.session, &Variables::replaced(), compatibility).into_result()
    }

    fn push(&mut self, signer: &VerifyingKey, signature: &[u8]) -> Result<(), SignedSessionError> {
        let signer = signer.to_pem();
        self.signatures.retain(|one| one.signer != signer);
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(SignedSessionError::TooMany(self.signatures.len() + 1));
        }
        self.signatures.push(Signature {
            signer,
            signature: hex::encode(signature),
        });
        Ok(())
    }
}

fn bad(signer: &VerifyingKey, source: BadSignature) -> SignedSessionError {
    SignedSessionError::Bad {
        signer: name(signer),
        source,
    }
}

/// The body of the PEM: what people compare.
fn name(signer: &VerifyingKey) -> String {
    signer
        .to_pem()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect()
}

/// Why a signed session is none.
#[derive(Debug, thiserror::Error)]
pub enum SignedSessionError {
    /// More bytes than are read.
    #[error("the signed session has {0} bytes: at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the JSON that it must be.
    #[error("this is no signed session: {0}")]
    Json(#[from] serde_json::Error),
    /// More signatures than are read.
    #[error("the session has {0} signatures: at most {MAX_SIGNATURES} are read")]
    TooMany(usize),
    /// The session in it has faults.
    #[error("the signed session has faults:\n{0}")]
    Faults(#[from] Faults),
    /// A signer that is no key.
    #[error("the signer `{signer}` is no public key (SPKI, PEM) of Ed25519 or P-384")]
    NoKey {
        /// As written.
        signer: String,
    },
    /// A signature that does not hold.
    #[error("the signature of `{signer}` does not hold for this session: have it signed anew")]
    Bad {
        /// The key.
        signer: String,
        /// Why.
        source: BadSignature,
    },
    /// Two signatures of one key.
    #[error("`{signer}` has signed twice: remove one of the signatures")]
    Twice {
        /// The key.
        signer: String,
    },
    /// Not the session that the signer has read.
    #[error("the session to sign has the hash {hash}, and the one in here {inside}")]
    OtherSession {
        /// Of the one in here.
        inside: SessionHash,
        /// Of the one that was read.
        hash: SessionHash,
    },
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::Algorithm;

    use super::*;

    const TEXT: &str = "{name: a/b, version: 0.3.12, salt: 000102030405060708090a0b0c0d0e0f}";

    fn session() -> Session {
        let outcome = check_text(TEXT, &Variables::new(), Compatibility::Strict);
        outcome.into_result().unwrap().0
    }

    #[test]
    fn several_sign_and_all_must_hold() {
        let keys = [Algorithm::Ed25519, Algorithm::P384].map(SigningKey::generate);
        let session = session();
        let mut signed = SignedSession::new(&session);
        for key in &keys {
            signed.sign(&session, key).unwrap();
            // Again is once.
            signed.sign(&session, key).unwrap();
        }
        let signed = SignedSession::from_json(&signed.to_json()).unwrap();
        let verified = signed.verify(Compatibility::Strict).unwrap();
        assert_eq!(verified.session, session);
        assert_eq!(verified.hash, session.hash());
        assert_eq!(
            verified.signers,
            keys.iter().map(SigningKey::public).collect()
        );

        let forged = signed.to_json().replace("a/b", "a/c");
        let forged = SignedSession::from_json(&forged).unwrap();
        assert!(matches!(
            forged.verify(Compatibility::Strict),
            Err(SignedSessionError::Bad { .. })
        ));
    }

    #[test]
    fn text_may_be_reformatted() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let session = session();
        let mut signed = SignedSession::new(&session);
        signed.sign(&session, &key).unwrap();
        TEXT.clone_into(&mut signed.session);
        assert!(signed.verify(Compatibility::Strict).is_ok());
    }

    #[test]
    fn a_signature_from_elsewhere_is_checked_before_it_is_added() {
        let key = SigningKey::generate(Algorithm::P384);
        let session = session();
        let mut signed = SignedSession::new(&session);
        let message = SignedSession::message(&session.hash());
        let message = message.strip_prefix(b"mse-session-signature-v1\0").unwrap();
        let signature = key.sign(DOMAIN, message);
        signed.add(&key.public(), &signature).unwrap();
        assert_eq!(
            signed.verify(Compatibility::Strict).unwrap().signers.len(),
            1
        );
        let other = SigningKey::generate(Algorithm::P384);
        assert!(signed.add(&other.public(), &signature).is_err());
    }

    #[test]
    fn what_is_unread_is_refused() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let session = session();
        let mut signed = SignedSession::new(&session);
        signed.sign(&session, &key).unwrap();
        let json = signed.to_json();
        for (from, to) in [
            ("{\"session\"", "{\"comment\":1,\"session\""),
            ("{\"signer\"", "{\"role\":1,\"signer\""),
            ("\"signatures\"", "\"signature\""),
        ] {
            assert!(SignedSession::from_json(&json.replacen(from, to, 1)).is_err());
        }
        assert!(SignedSession::from_json(&format!("{}x", *json)).is_err());
        let mut twice = signed.clone();
        twice.signatures.push(signed.signatures[0].clone());
        assert!(matches!(
            twice.verify(Compatibility::Strict),
            Err(SignedSessionError::Twice { .. })
        ));
    }

    #[test]
    fn who_signs_has_read_the_same_session() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let other = TEXT.replace("a/b", "a/x");
        let other = check_text(&other, &Variables::new(), Compatibility::Strict);
        let mut signed = SignedSession::new(&session());
        assert!(matches!(
            signed.sign(&other.session.unwrap(), &key),
            Err(SignedSessionError::OtherSession { .. })
        ));
    }
}
