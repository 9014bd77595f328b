//! JSON web tokens (RFC 7519) in their compact form (RFC 7515), signed with ES384 (RFC 7518 §3.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use mse_crypto::Zeroizing;
use serde_json::{Map, Value as Json};

use crate::key::{NotP384, PrivateKey};

const HEADER: &str = r#"{"alg":"ES384","typ":"JWT"}"#;

/// Signs the claims with a P-384 key.
pub(crate) fn sign(
    claims: &Map<String, Json>,
    signer: &PrivateKey,
) -> Result<Zeroizing<String>, NotP384> {
    let claims = Zeroizing::new(
        serde_json::to_vec(claims).expect("strings and numbers can be written as JSON"),
    );
    // Room for header, claims and the 128 characters of the signature.
    let mut token = Zeroizing::new(String::with_capacity(claims.len() * 4 / 3 + 200));
    BASE64URL.encode_string(HEADER, &mut token);
    token.push('.');
    BASE64URL.encode_string(claims.as_slice(), &mut token);
    let signature = signer.sign_es384(token.as_bytes())?;
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    Ok(token)
}
