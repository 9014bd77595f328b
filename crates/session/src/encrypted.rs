//! Sessions that only one CAS can read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Zeroizing;
use mse_crypto::hpke::{self, HpkeError, KeyPair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::model::Hex;
use crate::signed::{SignedSession, SignedSessionError};

/// What the sealing is for.
const INFO: &[u8] = b"mse-session-encryption-v1";
const MAX_BYTES: usize = 16 * crate::MAX_BYTES;

/// A [`SignedSession`], sealed to the X25519 key of a CAS (RFC 9180), as JSON:
///
/// ```json
/// {"cas_key": "<64 hex digits>", "sealed": "<base64 of encapsulated key ‖ ciphertext ‖ tag>"}
/// ```
///
/// The key that it is sealed to is bound into it, so that it is not one of another CAS by mistake.
/// Who sealed it is not proven by this: the signatures inside say it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct EncryptedSession {
    cas_key: String,
    sealed: String,
}

impl EncryptedSession {
    /// Seals a session to the key of a CAS, which the caller has attested.
    pub fn seal(cas: &PublicKey, session: &SignedSession) -> Result<Self, EncryptedSessionError> {
        let sealed = hpke::seal(cas, INFO, &cas.0, session.to_json().as_bytes())?;
        Ok(Self {
            cas_key: Hex(cas.0).to_string(),
            sealed: BASE64.encode(sealed),
        })
    }

    /// Opens it. Nothing of what is inside is verified yet.
    pub fn open(&self, cas: &KeyPair) -> Result<SignedSession, EncryptedSessionError> {
        let wanted = self.cas_key()?;
        let own = cas.public();
        if wanted != own {
            return Err(EncryptedSessionError::OtherKey {
                wanted: Hex(wanted.0).to_string(),
                own: Hex(own.0).to_string(),
            });
        }
        let sealed = BASE64
            .decode(&self.sealed)
            .map_err(|_| EncryptedSessionError::NotBase64)?;
        let json = cas.open(INFO, &own.0, &sealed)?;
        let json = std::str::from_utf8(&json).map_err(|_| EncryptedSessionError::NotText)?;
        Ok(SignedSession::from_json(json)?)
    }

    /// The key that it is sealed to.
    pub fn cas_key(&self) -> Result<PublicKey, EncryptedSessionError> {
        let key: Hex<32> = self
            .cas_key
            .parse()
            .map_err(EncryptedSessionError::BadKey)?;
        Ok(PublicKey(key.0))
    }

    /// Reads the JSON.
    pub fn from_json(text: &str) -> Result<Self, EncryptedSessionError> {
        if text.len() > MAX_BYTES {
            return Err(EncryptedSessionError::TooLarge(text.len()));
        }
        let encrypted: Self = serde_json::from_str(text)?;
        encrypted.cas_key()?;
        Ok(encrypted)
    }

    /// The JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// The session's text, for those who hold the key and want to look at it.
    pub fn reveal(&self, cas: &KeyPair) -> Result<Zeroizing<String>, EncryptedSessionError> {
        Ok(Zeroizing::new(self.open(cas)?.text().to_owned()))
    }
}

/// Why an encrypted session cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum EncryptedSessionError {
    /// More bytes than are read.
    #[error("the encrypted session has {0} bytes: at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the JSON that it must be.
    #[error("this is no encrypted session: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a key.
    #[error("`cas_key`: {0}")]
    BadKey(crate::model::InvalidHex),
    /// Not Base64.
    #[error("`sealed` is not Base64")]
    NotBase64,
    /// What is inside is not text.
    #[error("what was sealed is not text")]
    NotText,
    /// For another CAS.
    #[error("the session is sealed to the key {wanted}, and this CAS has {own}: seal it anew")]
    OtherKey {
        /// The key that it is sealed to.
        wanted: String,
        /// The key here.
        own: String,
    },
    /// It does not open.
    #[error(transparent)]
    Hpke(#[from] HpkeError),
    /// What is inside is no signed session.
    #[error(transparent)]
    Signed(#[from] SignedSessionError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Compatibility, check_text};
    use mse_yaml::Variables;

    fn signed() -> SignedSession {
        let text = "{name: a, version: 0.3.12, secrets: [{name: s, kind: ascii, value: canary}]}";
        let outcome = check_text(text, &Variables::new(), Compatibility::Strict);
        SignedSession::new(&outcome.session.unwrap())
    }

    #[test]
    fn only_its_cas_opens_it() {
        let cas = KeyPair::generate();
        let encrypted = EncryptedSession::seal(&cas.public(), &signed()).unwrap();
        let json = encrypted.to_json();
        assert!(!json.contains("canary") && !json.contains(&hex::encode("canary")));
        let again = EncryptedSession::from_json(&json).unwrap();
        assert!(again.open(&cas).unwrap() == signed());
        assert!(again.reveal(&cas).unwrap().contains("canary"));
        assert!(matches!(
            again.open(&KeyPair::generate()),
            Err(EncryptedSessionError::OtherKey { .. })
        ));
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let cas = KeyPair::generate();
        let other = KeyPair::generate();
        let mut encrypted = EncryptedSession::seal(&cas.public(), &signed()).unwrap();
        encrypted.cas_key = Hex(other.public().0).to_string();
        assert!(matches!(
            encrypted.open(&other),
            Err(EncryptedSessionError::Hpke(HpkeError::DoesNotOpen))
        ));
        for bad in [
            "{}",
            "{\"cas_key\":\"00\",\"sealed\":\"\"}",
            "{\"cas_key\":\"\",\"sealed\":\"\",\"x\":1}",
        ] {
            assert!(EncryptedSession::from_json(bad).is_err(), "{bad}");
        }
    }
}
