//! The bytes of a secret in the form that a program asked for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE as BASE64URL};
use data_encoding::{BASE32, BASE32_NOPAD};
use mse_crypto::{Zeroizing, pem};

use crate::certificate::{Certificate, Certified};
use crate::key::PrivateKey;
use crate::value::Body;
use crate::{Format, Kind, Value, pkcs12};

/// The bytes of `value` in the form `format`.
///
/// Texts (PEM, hex, armor …) are UTF-8; a PEM text ends with a line feed, the others with their last
/// character. The chain of a certificate that is self-signed is empty: certificate and chain one
/// after the other are always the whole.
pub fn render(value: &Value, format: Format) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    Ok(match (&value.body, format) {
        (Body::Text(text), Format::Text) => copy(text.as_bytes()),
        (Body::Jwt(token), Format::Text) => copy(token.text.as_bytes()),
        (Body::Bytes(bytes), Format::Raw) => bytes.clone(),
        (Body::Bytes(bytes), Format::Hex) => own(hex::encode(&**bytes)),
        (Body::Bytes(bytes), Format::Base64) => own(BASE64.encode(&**bytes)),
        (Body::Bytes(bytes), Format::Base64Url) => own(BASE64URL.encode(&**bytes)),
        (Body::Bytes(bytes), Format::Base32) => own(BASE32.encode(bytes)),
        (Body::Bytes(bytes), Format::Base32NoPad) => own(BASE32_NOPAD.encode(bytes)),
        (Body::PrivateKey(key), Format::PrivateKeyPem) => copy(key.to_pem().as_bytes()),
        (Body::PrivateKey(key), Format::PrivateKeyDer) => copy(key.to_pkcs8()),
        (Body::PublicKey(key), Format::PublicKeyPem) => own(key.to_pem()),
        (Body::PublicKey(key), Format::PublicKeyDer) => copy(key.to_spki()),
        (Body::Certificate(certified), format) => {
            return certificate(value.kind, certified, format);
        }
        (Body::Pgp(key), Format::Pgp(half, encoding)) => key.render(half, encoding),
        _ => {
            return Err(RenderError::Form {
                kind: value.kind,
                format,
            });
        }
    })
}

/// `text` as it stands between the quotes of a JSON string (RFC 8259 §7).
pub fn escape_json(text: &str) -> Zeroizing<String> {
    let mut escaped = Zeroizing::new(Vec::with_capacity(text.len() * 6 + 2));
    serde_json::to_writer(&mut *escaped, text).expect("a text can be written into memory");
    let inside = &escaped[1..escaped.len() - 1];
    Zeroizing::new(
        str::from_utf8(inside)
            .expect("JSON of a text is a text")
            .to_owned(),
    )
}

fn certificate(
    kind: Kind,
    certified: &Certified,
    format: Format,
) -> Result<Zeroizing<Vec<u8>>, RenderError> {
    let key = || -> Result<&PrivateKey, RenderError> {
        certified
            .key
            .as_ref()
            .ok_or(RenderError::NoPrivateKey { kind })
    };
    let this = &certified.certificate;
    let issuers = certified.chain.iter();
    Ok(match format {
        Format::CertificatePem => pems([this]),
        Format::CertificateDer => copy(this.der()),
        Format::Chain => pems(issuers),
        Format::LegacyChain => pems(issuers.rev().chain([this])),
        Format::PrivateKeyPem => copy(key()?.to_pem().as_bytes()),
        Format::PrivateKeyDer => copy(key()?.to_pkcs8()),
        Format::Pkcs12 => pkcs12::encode(certified, key()?),
        _ => return Err(RenderError::Form { kind, format }),
    })
}

fn pems<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Zeroizing<Vec<u8>> {
    let pem = |certificate: &Certificate| pem::encode(certificate.der(), "CERTIFICATE");
    let mut text = Vec::new();
    for certificate in certificates {
        text.extend(pem(certificate).bytes());
    }
    Zeroizing::new(text)
}

fn copy(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn own(text: String) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.into_bytes())
}

/// Why a value has no such form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A form of another kind.
    #[error("a secret of the kind `{kind}` cannot be written as {format:?}")]
    Form {
        /// The secret's kind.
        kind: Kind,
        /// What was asked for.
        format: Format,
    },
    /// A certificate whose key is elsewhere.
    #[error(
        "this `{kind}` has no private key here: it was given or imported without it; export the secret itself, not only its public part, or give its `private_key`"
    )]
    NoPrivateKey {
        /// The secret's kind.
        kind: Kind,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_json_escapes() {
        assert_eq!(*escape_json("a\"b\\c\n\u{1}é/"), "a\\\"b\\\\c\\n\\u0001é/");
        assert_eq!(*escape_json(""), "");
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, padded) in [
            ("f", "MY======"),
            ("fo", "MZXQ===="),
            ("foo", "MZXW6==="),
            ("foob", "MZXW6YQ="),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI======"),
        ] {
            let value = Value {
                kind: Kind::Binary,
                body: Body::Bytes(Zeroizing::new(plain.as_bytes().to_vec())),
            };
            let form =
                |format| String::from_utf8(render(&value, format).unwrap().to_vec()).unwrap();
            assert_eq!(form(Format::Base32), padded);
            assert_eq!(form(Format::Base32NoPad), padded.trim_end_matches('='));
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_the_inside_of_a_json_string(text in any::<String>()) {
            let json = format!("\"{}\"", *escape_json(&text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
