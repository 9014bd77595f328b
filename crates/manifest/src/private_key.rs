use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// Key files larger than this are refused.
pub(crate) const MAX_KEY_BYTES: u64 = 64 << 10;

/// A private key that rustls can serve with, as the owner's PEM text. Wiped from memory when
/// dropped.
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// The PEM text. Keep copies as short-lived as this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Parses the key, and holds it against a certificate's SubjectPublicKeyInfo (DER).
    pub(crate) fn parse(mut bytes: Zeroizing<Vec<u8>>) -> Result<ParsedKey, InvalidKey> {
        let keys: Vec<Zeroizing<PrivateKeyDer<'static>>> = PrivateKeyDer::pem_slice_iter(&bytes)
            .map(|key| key.map(Zeroizing::new))
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidKey::Pem)?;
        let [key] = keys.as_slice() else {
            return Err(match keys.len() {
                0 if contains(&bytes, b"ENCRYPTED PRIVATE KEY") => InvalidKey::Encrypted,
                0 => InvalidKey::None,
                count => InvalidKey::Several { count },
            });
        };
        let signing_key = any_supported_type(key).map_err(|_| InvalidKey::Unsupported)?;
        let public_key = signing_key
            .public_key()
            .ok_or(InvalidKey::Unsupported)?
            .to_vec();
        let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            InvalidKey::Pem
        })?;
        Ok(ParsedKey {
            pem: Self(Zeroizing::new(text)),
            public_key,
        })
    }
}

pub(crate) struct ParsedKey {
    pub(crate) pem: PrivateKeyPem,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: Vec<u8>,
}

/// Says nothing of the content; worded to follow the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKey {
    #[error("is no valid PEM file")]
    Pem,
    #[error("holds no private key")]
    None,
    #[error("holds {count} private keys, but must hold one")]
    Several { count: usize },
    #[error(
        "holds a private key that is locked by a password, which nobody can type in the enclave"
    )]
    Encrypted,
    #[error("holds a private key that cannot be used: it is damaged, or not of a supported kind")]
    Unsupported,
}

impl InvalidKey {
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Encrypted => "unlock it: `openssl pkey -in KEY -out UNLOCKED_KEY`",
            Self::Several { .. } => "keep only the key of the certificate",
            Self::Pem | Self::None => "name the PEM file that has `-----BEGIN PRIVATE KEY-----`",
            Self::Unsupported => {
                "use an ECDSA P-256, P-384 or P-521, Ed25519, or RSA 2048 to 8192 key"
            }
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> InvalidKey {
        match PrivateKeyPem::parse(Zeroizing::new(text.as_bytes().to_vec())) {
            Ok(_) => panic!("accepted"),
            Err(error) => error,
        }
    }

    #[test]
    fn supported_kinds_give_their_public_key() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let pem = key.serialize_pem();

            let parsed = PrivateKeyPem::parse(Zeroizing::new(pem.clone().into_bytes()))
                .ok()
                .unwrap();

            assert_eq!(parsed.pem.expose(), pem);
            assert_eq!(
                parsed.public_key,
                rcgen::PublicKeyData::subject_public_key_info(&key)
            );
        }
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");

        assert_eq!(refused(""), InvalidKey::None);
        assert_eq!(refused(&block("CERTIFICATE")), InvalidKey::None);
        assert_eq!(
            refused(&block("ENCRYPTED PRIVATE KEY")),
            InvalidKey::Encrypted
        );
        assert_eq!(refused(&block("PRIVATE KEY")), InvalidKey::Unsupported);
        assert_eq!(refused(&key.repeat(2)), InvalidKey::Several { count: 2 });
        assert_eq!(refused(&key[..key.len() / 2]), InvalidKey::Pem);
    }
}
