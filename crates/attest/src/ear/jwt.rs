//! A claims set as a JWT, signed with ES256 (RFC 7515, RFC 7518 section 3.4).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::Value;
use thiserror::Error;

const HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

/// Signs `claims` with the P-256 private key `key_pem`, in PEM as PKCS#8 or SEC 1: a JWT in its
/// compact form.
pub fn sign(claims: &Value, key_pem: &[u8]) -> Result<String, SignError> {
    let der = PrivateKeyDer::from_pem_slice(key_pem).map_err(SignError::Pem)?;
    let key =
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map_err(|_| SignError::Key)?;
    let mut token = format!(
        "{}.{}",
        BASE64URL.encode(HEADER),
        BASE64URL.encode(claims.to_string())
    );
    let signature = key
        .sign(&SystemRandom::new(), token.as_bytes())
        .map_err(|_| SignError::Signing)?;
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    Ok(token)
}

/// Why a claims set is not signed. Says nothing about the key but its kind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// No private key in PEM.
    #[error(
        "the signing key is not a private key in PEM: {0}; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// Another kind of key.
    #[error(
        "the signing key is not of the curve P-256, as ES256 needs it; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    Key,
    /// There was no randomness.
    #[error("the signature could not be made: the system gives no random bytes")]
    Signing,
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_signature_is_over_header_and_claims() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let claims = json!({ "iat": 1 });
        let token = sign(&claims, key.serialize_pem().as_bytes()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let signature = BASE64URL.decode(signature).unwrap();
        assert_eq!(signature.len(), 64);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_raw())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        assert_eq!(BASE64URL.decode(header).unwrap(), HEADER.as_bytes());
        let payload: Value = serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap();
        assert_eq!(payload, claims);
    }

    #[test]
    fn other_keys_are_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(matches!(
            sign(&json!({}), p384.serialize_pem().as_bytes()),
            Err(SignError::Key)
        ));
        let public = p384.public_key_pem();
        for pem in ["", "nonsense", &public] {
            assert!(matches!(
                sign(&json!({}), pem.as_bytes()),
                Err(SignError::Pem(_))
            ));
        }
    }
}
