//! What collateral services answer: the shapes, and how they are read.
//!
//! Nothing is verified here, and content types are not believed: an answer is what it turns out
//! to be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::Deserialize;
use thiserror::Error;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::raw_json;

/// One answer: what of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// PEM of the issuer chain, from the header that carries it.
    pub chain: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A JSON document with Intel's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signed text, character for character.
    pub text: String,
    /// `r ‖ s`, 64 bytes.
    pub signature: Vec<u8>,
    /// What the text says of itself.
    pub head: Head,
}

/// What TCB infos and QE identities have in common.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// `SGX` or `TDX`; `QE`, `TD_QE` or `QVE`. TCB info of version 2 has none.
    pub id: Option<String>,
    /// Version of the form.
    pub version: u32,
    /// When it was issued.
    pub issue_date: Timestamp,
    /// When another one comes at the latest: after this the document is out of date.
    pub next_update: Timestamp,
    /// The machine type, of TCB info only.
    pub fmspc: Option<String>,
    /// The number of the TCB evaluation that the document comes from.
    #[serde(default)]
    pub tcb_evaluation_data_number: u32,
}

impl Signed {
    /// Reads `{"<member>": {…}, "signature": "<hex>"}`.
    pub fn parse(body: &[u8], member: &'static str) -> Result<Self, AnswerError> {
        let text = std::str::from_utf8(body).map_err(|_| AnswerError::NotJson { member })?;
        let signed = raw_json::member(text, member).ok_or(AnswerError::NotJson { member })?;
        let signature = raw_json::member(text, "signature")
            .and_then(|quoted| hex::decode(quoted.trim_matches('"')).ok())
            .filter(|signature| signature.len() == SIGNATURE_BYTES)
            .ok_or(AnswerError::Signature { member })?;
        Ok(Self {
            text: signed.to_owned(),
            signature,
            head: Head::parse(signed, member)?,
        })
    }
}

impl Head {
    /// Reads the head of a signed text.
    pub fn parse(signed: &str, member: &'static str) -> Result<Self, AnswerError> {
        serde_json::from_str(signed).map_err(|source| AnswerError::Content { member, source })
    }
}

/// A CRL, and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// DER.
    pub der: Vec<u8>,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// When it was issued.
    pub issued: SystemTime,
    /// When another one comes at the latest.
    pub next_update: SystemTime,
}

impl Crl {
    /// Reads a CRL as DER (Intel), hexadecimal or base64 text (caching services), or PEM.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let der = der_of(body).ok_or(AnswerError::Crl)?;
        let (rest, crl) =
            CertificateRevocationList::from_der(&der).map_err(|_| AnswerError::Crl)?;
        if !rest.is_empty() {
            return Err(AnswerError::Crl);
        }
        let (issuer, issued) = (crl.issuer().to_string(), instant(crl.last_update()));
        let next_update = crl.next_update().map(instant).ok_or(AnswerError::NoEnd)?;
        Ok(Self {
            der,
            issuer,
            issued,
            next_update,
        })
    }
}

/// When a certificate (DER) begins and ends to be valid.
pub fn validity(certificate: &[u8]) -> Result<(SystemTime, SystemTime), AnswerError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| AnswerError::Certificates)?;
    let validity = certificate.validity();
    Ok((instant(validity.not_before), instant(validity.not_after)))
}

/// Decodes an issuer chain from its header: percent-encoded PEM, at least one certificate.
pub fn issuer_chain(header: &[u8]) -> Result<String, AnswerError> {
    let chain = percent_decode(header).ok_or(AnswerError::Chain)?;
    check_chain(&chain)?;
    Ok(chain)
}

/// Whether `chain` is PEM of one certificate or more.
pub(crate) fn check_chain(chain: &str) -> Result<(), AnswerError> {
    let mut certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).peekable();
    if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
        return Err(AnswerError::Chain);
    }
    Ok(())
}

/// Undoes percent-encoding (RFC 3986); `+` is itself. `None` if it is not well formed.
pub fn percent_decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte).ok()?;
                bytes.push(byte[0]);
                rest = behind;
            }
            (b'%', _) => return None,
            (other, _) => {
                bytes.push(*other);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Why an answer cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Something else than JSON, for instance a proxy's page.
    #[error(
        "is not a JSON object with the member `{member}`; check that the URL is that of a collateral service"
    )]
    NotJson {
        /// The member that was looked for.
        member: &'static str,
    },
    /// The signature is missing or of the wrong size.
    #[error(
        "has no `signature` of 128 hexadecimal digits beside `{member}`; ask another collateral service"
    )]
    Signature {
        /// The signed member.
        member: &'static str,
    },
    /// The signed member is not the document that it should be.
    #[error("has a `{member}` of another form: {source}; ask for the service's API of version 4")]
    Content {
        /// The signed member.
        member: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The document is about something else than was asked for.
    #[error("is about `{found}`, but `{asked}` was asked for; ask another collateral service")]
    OtherSubject {
        /// What was asked for.
        asked: String,
        /// What came.
        found: String,
    },
    /// The header with the chain is missing or is no chain.
    #[error(
        "has no issuer chain (percent-encoded PEM) in its header; check that a proxy in between passes headers on"
    )]
    Chain,
    /// Not a CRL.
    #[error(
        "is no CRL in DER, hexadecimal, base64 or PEM; check that the URL is that of a collateral service"
    )]
    Crl,
    /// A CRL that would be valid for ever.
    #[error("is a CRL without `nextUpdate`; ask another collateral service")]
    NoEnd,
    /// Not certificates.
    #[error(
        "is no certificate in DER or PEM; check that the URL is that of AMD's key distribution service or a cache of it"
    )]
    Certificates,
}

/// DER, whichever of the four forms it comes in. DER begins with the byte 0x30, none of the texts
/// does for a CRL: hexadecimal begins with `3`, base64 with `M`.
fn der_of(body: &[u8]) -> Option<Vec<u8>> {
    let text = body.trim_ascii();
    match text.first()? {
        0x30 => Some(body.to_vec()),
        b'-' => CertificateRevocationListDer::from_pem_slice(text)
            .ok()
            .map(|crl| crl.to_vec()),
        b'3' => hex::decode(text).ok(),
        _ => STANDARD.decode(text).ok(),
    }
}

fn instant(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}

const SIGNATURE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_decoding_gives_back_what_was_encoded() {
        assert_eq!(percent_decode(b"a%0Ab%2F+"), Some("a\nb/+".to_owned()));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn signed_documents_are_kept_to_the_letter() {
        let text = r#"{"id":"SGX","version":3, "issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z","fmspc":"00606a000000","more":[1,{"x":"}"}]}"#;
        let body = format!(
            r#"{{"tcbInfo": {text} ,"signature":"{}"}}"#,
            "ab".repeat(64)
        );
        let signed = Signed::parse(body.as_bytes(), "tcbInfo").unwrap();
        assert_eq!(signed.text, text);
        assert_eq!(signed.signature, [0xab; 64]);
        assert_eq!(signed.head.fmspc.as_deref(), Some("00606a000000"));
    }

    #[test]
    fn each_flaw_has_its_own_error() {
        let parse = |body: &str| Signed::parse(body.as_bytes(), "tcbInfo").unwrap_err();
        let signature = "ab".repeat(64);
        assert!(matches!(
            parse("<html></html>"),
            AnswerError::NotJson { .. }
        ));
        assert!(matches!(
            parse(r#"{"tcbInfo":{},"signature":"00"}"#),
            AnswerError::Signature { .. }
        ));
        assert!(matches!(
            parse(&format!(r#"{{"tcbInfo":{{}},"signature":"{signature}"}}"#)),
            AnswerError::Content { .. }
        ));
        assert!(matches!(issuer_chain(b""), Err(AnswerError::Chain)));
        assert!(matches!(issuer_chain(b"hello"), Err(AnswerError::Chain)));
        for body in ["", "<html>", "30zz", "MII!", "-----BEGIN X509 CRL-----"] {
            assert!(matches!(Crl::parse(body.as_bytes()), Err(AnswerError::Crl)));
        }
        assert!(matches!(validity(b"x"), Err(AnswerError::Certificates)));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>) {
            let _ = Signed::parse(&bytes, "tcbInfo");
            let _ = Crl::parse(&bytes);
            let _ = Crl::parse(&[&b"0"[..], &bytes].concat());
            let _ = issuer_chain(&bytes);
            let _ = validity(&bytes);
        }
    }
}
