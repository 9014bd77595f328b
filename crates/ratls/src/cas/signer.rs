//! Who has a signing key shows it on a connection: by a signature over the exporter, which is worth
//! nothing on any other connection.
//!
//! The members of a board are known to a session by such keys, and to TLS by nothing: this lets them
//! see what they are asked to approve. It approves nothing.

use mse_crypto::signing::{SigningKey, VerifyingKey};

use crate::binding::ChannelBinding;

/// The header of a request: `SPKI ‖ ":" ‖ signature`, both in hex.
pub const SIGNER_HEADER: &str = "mse-signer";

const DOMAIN: &str = "mse-cas-signer-v1";
/// The SPKI and the signature of P-384 are shorter.
const MAX_HEADER: usize = 512;

/// The value of the header for this connection.
pub fn signer_header(key: &SigningKey, channel: &ChannelBinding) -> String {
    let signature = key.sign(DOMAIN, &channel.0);
    format!(
        "{}:{}",
        hex::encode(key.public().to_spki()),
        hex::encode(signature)
    )
}

/// Whose key was shown, if it was on this connection.
pub fn shown_signer(header: &str, channel: &ChannelBinding) -> Option<VerifyingKey> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let (spki, signature) = header.split_once(':')?;
    let key = VerifyingKey::from_spki(&hex::decode(spki).ok()?).ok()?;
    let signature = hex::decode(signature).ok()?;
    key.verify(DOMAIN, &channel.0, &signature).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::Algorithm;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_shown_on_one_connection() {
        let (here, there) = (ChannelBinding([1; 32]), ChannelBinding([2; 32]));
        for algorithm in [Algorithm::Ed25519, Algorithm::P384] {
            let key = SigningKey::generate(algorithm);
            let header = signer_header(&key, &here);
            assert_eq!(shown_signer(&header, &here), Some(key.public()));
            assert_eq!(shown_signer(&header, &there), None);
            let other = signer_header(&SigningKey::generate(algorithm), &here);
            let (spki, _) = other.split_once(':').unwrap();
            let (_, signature) = header.split_once(':').unwrap();
            assert_eq!(shown_signer(&format!("{spki}:{signature}"), &here), None);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(header in ".{0,300}") {
            prop_assert_eq!(shown_signer(&header, &ChannelBinding([0; 32])), None);
        }
    }
}
