//! Private keys that sign where they are.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use mse_crypto::digest::sha384;
use mse_crypto::signing::{Algorithm, VerifyingKey};

use crate::error::TokenError;
use crate::token::OpenToken;

/// A private key on a token, Ed25519 or P-384.
pub struct Signer<'t> {
    token: &'t OpenToken<'t>,
    key: ObjectHandle,
    public: VerifyingKey,
}

impl<'t> Signer<'t> {
    pub(crate) fn find(token: &'t OpenToken<'_>, label: &str) -> Result<Self, TokenError> {
        let key = token.one_of(&[ObjectClass::PRIVATE_KEY], label, "private key")?;
        let algorithm = match token.attribute(key, AttributeType::KeyType)? {
            Some(Attribute::KeyType(KeyType::EC_EDWARDS)) => Algorithm::Ed25519,
            Some(Attribute::KeyType(KeyType::EC)) => Algorithm::P384,
            _ => return Err(TokenError::KeyType(label.to_owned())),
        };
        let point = point(token, key, label)?;
        let bytes =
            raw(algorithm, &point).ok_or_else(|| TokenError::PublicKey(label.to_owned()))?;
        let public = VerifyingKey::from_raw(algorithm, bytes)
            .map_err(|_| TokenError::PublicKey(label.to_owned()))?;
        Ok(Self { token, key, public })
    }

    /// The public half, as the token has it. Whoever gets a signature checks it by this.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs these bytes: by Ed25519 as they are, by ECDSA over their SHA-384. The signature has
    /// the form that [`VerifyingKey::verify`] reads (`r ‖ s` for ECDSA).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let session = &self.token.session;
        let (signature, length) = match self.public.algorithm() {
            Algorithm::Ed25519 => {
                let parameters = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                let mechanism = Mechanism::Eddsa(parameters);
                (session.sign(&mechanism, self.key, message)?, 64)
            }
            Algorithm::P384 => {
                let digest = sha384(message);
                (session.sign(&Mechanism::Ecdsa, self.key, &digest)?, 96)
            }
        };
        if signature.len() == length {
            Ok(signature)
        } else {
            Err(TokenError::Signature(signature.len()))
        }
    }
}

/// The point of the public half: of the public key with the same id, else label; some tokens keep
/// it with the private key only.
fn point(token: &OpenToken<'_>, key: ObjectHandle, label: &str) -> Result<Vec<u8>, TokenError> {
    let id = match token.attribute(key, AttributeType::Id)? {
        Some(Attribute::Id(id)) if !id.is_empty() => Attribute::Id(id),
        _ => Attribute::Label(label.as_bytes().to_vec()),
    };
    let class = Attribute::Class(ObjectClass::PUBLIC_KEY);
    let found = token.session.find_objects(&[class, id])?;
    let holder = match found.as_slice() {
        [] => key,
        [public] => *public,
        _ => {
            return Err(TokenError::SeveralObjects {
                what: "public key",
                label: label.to_owned(),
            });
        }
    };
    match token.attribute(holder, AttributeType::EcPoint)? {
        Some(Attribute::EcPoint(point)) => Ok(point),
        _ => Err(TokenError::PublicKey(label.to_owned())),
    }
}

/// The bytes of a point, which comes bare or as an OCTET STRING of DER. The lengths tell which.
fn raw(algorithm: Algorithm, point: &[u8]) -> Option<&[u8]> {
    let length = match algorithm {
        Algorithm::Ed25519 => 32u8,
        Algorithm::P384 => 97,
    };
    if point.len() == usize::from(length) {
        return Some(point);
    }
    point
        .strip_prefix(&[4, length])
        .filter(|bytes| bytes.len() == usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_bare_and_wrapped() {
        for (algorithm, length) in [(Algorithm::Ed25519, 32u8), (Algorithm::P384, 97)] {
            let bare = vec![4; usize::from(length)];
            let wrapped = [&[4, length][..], &bare].concat();
            assert_eq!(raw(algorithm, &bare), Some(&bare[..]));
            assert_eq!(raw(algorithm, &wrapped), Some(&bare[..]));
            assert_eq!(raw(algorithm, &wrapped[1..]), None);
            assert_eq!(raw(algorithm, &[&wrapped[..], &[0]].concat()), None);
            assert_eq!(raw(algorithm, &[]), None);
        }
        // P-256: another length.
        assert_eq!(raw(Algorithm::P384, &[4; 65]), None);
    }
}
