//! Chains of certificates.

use std::borrow::Borrow;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{Algorithm, Certificate, X509Error};

/// The time in which something holds, unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Validity {
    pub(crate) const ALWAYS: Self = Self {
        from: 0,
        until: u64::MAX,
    };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        }
    }

    pub(crate) fn contains(self, now: u64) -> bool {
        self.from <= now && now <= self.until
    }
}

/// Verifies `chain`, leaf first and root last, at `now`: each certificate signed by the next, with
/// `algorithm` only; issuers are CAs, the leaf is none; all are valid.
///
/// That the root is trusted is for the caller to know: it must be one of its anchors.
pub(crate) fn verify_chain(
    chain: &[Certificate<'_>],
    algorithm: Algorithm,
    now: u64,
) -> Result<Validity, X509Error> {
    let validity = check_chain(chain, Leaf::Signer, algorithm)?;
    for certificate in chain {
        let (from, until) = (certificate.not_before(), certificate.not_after());
        if !(from..=until).contains(&now) {
            return Err(X509Error::Stale(format!(
                "the certificate of `{}` is valid from {} to {}",
                certificate.subject(),
                crate::judge::date(from),
                crate::judge::date(until)
            )));
        }
    }
    Ok(validity)
}

/// What stands at the beginning of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A certificate whose key signs evidence or documents.
    Signer,
    /// A CA, whose key signs certificates and CRLs.
    Issuer,
}

/// Verifies `chain` as [`verify_chain`] does, at no particular time: says when it is valid.
pub(crate) fn check_chain<'a>(
    chain: &[impl Borrow<Certificate<'a>>],
    leaf: Leaf,
    algorithm: Algorithm,
) -> Result<Validity, X509Error> {
    let Some((first, issuers)) = chain.split_first() else {
        return Err(X509Error::Malformed("the chain is empty".into()));
    };
    match leaf {
        Leaf::Signer => first.borrow().check_leaf()?,
        Leaf::Issuer => first.borrow().check_issuing(0)?,
    }
    let mut validity = Validity::ALWAYS;
    for (depth, issuer) in issuers.iter().enumerate() {
        issuer.borrow().check_issuing(match leaf {
            Leaf::Signer => depth,
            Leaf::Issuer => depth + 1,
        })?;
    }
    for pair in chain.windows(2) {
        pair[0]
            .borrow()
            .check_signed_by(pair[1].borrow(), algorithm)?;
    }
    for certificate in chain.iter().map(Borrow::borrow) {
        if let Some(oid) = certificate.unknown_critical_extension() {
            return Err(X509Error::Forged(format!(
                "the certificate of `{}` has the critical extension `{oid}`, which is not known",
                certificate.subject()
            )));
        }
        validity = validity.and(Validity {
            from: certificate.not_before(),
            until: certificate.not_after(),
        });
    }
    Ok(validity)
}

/// The certificates of a PEM text, DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PemChain(Vec<Vec<u8>>);

impl PemChain {
    /// Reads a text of at most `limit` PEM certificates.
    ///
    /// White space does not matter, and NUL may stand after the last one, where quoting libraries
    /// leave it. Else the text has to be the one that the certificates encode to: PEM parsers skip
    /// what is not PEM and read Base64 that no encoder writes, and what nobody reads could hold
    /// anything.
    pub(crate) fn read(text: &[u8], limit: usize) -> Result<Self, X509Error> {
        let malformed = |why: String| X509Error::Malformed(why);
        let text = visible(text);
        let mut rest = text.as_slice();
        let mut certificates = Vec::new();
        while !rest.is_empty() {
            let certificate = take_certificate(&mut rest)
                .map_err(|why| malformed(format!("the chain is not PEM: {why}")))?;
            if certificates.len() == limit {
                return Err(malformed(format!(
                    "the chain has more than `{limit}` certificates"
                )));
            }
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(malformed("the chain has no certificate".into()));
        }
        Ok(Self(certificates))
    }

    /// Whether [`PemChain::read`] finds just `ders` in the text.
    pub(crate) fn is_text_of(text: &[u8], ders: &[&[u8]]) -> bool {
        let mut encoded = String::with_capacity(text.len());
        for der in ders {
            encoded.push_str(BEGIN);
            BASE64.encode_string(der, &mut encoded);
            encoded.push_str(END);
        }
        visible(text) == encoded.as_bytes()
    }

    pub(crate) fn parse(&self) -> Result<Vec<Certificate<'_>>, X509Error> {
        self.0.iter().map(|der| Certificate::parse(der)).collect()
    }

    pub(crate) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.0.first().map(Vec::as_slice)
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.0.last().map(Vec::as_slice)
    }
}

/// A PEM text without white space, and without NUL at its end.
fn visible(text: &[u8]) -> Vec<u8> {
    let end = text
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let mut visible = Vec::with_capacity(end);
    for word in text[..end].split(u8::is_ascii_whitespace) {
        visible.extend_from_slice(word);
    }
    visible
}

/// Takes the first certificate off a PEM text without white space.
fn take_certificate(text: &mut &[u8]) -> Result<Vec<u8>, &'static str> {
    let body = text
        .strip_prefix(BEGIN.as_bytes())
        .ok_or("something that is no certificate stands in it")?;
    let end = body.iter().position(|byte| *byte == b'-');
    let (base64, rest) = body.split_at(end.unwrap_or(body.len()));
    *text = rest
        .strip_prefix(END.as_bytes())
        .ok_or("a certificate does not end as one")?;
    // This engine takes canonical Base64 only.
    BASE64
        .decode(base64)
        .map_err(|_| "a certificate is not Base64")
}

/// As in PEM, without white space.
const BEGIN: &str = "-----BEGINCERTIFICATE-----";
const END: &str = "-----ENDCERTIFICATE-----";
