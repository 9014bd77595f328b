//! Chains of certificates.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustls_pki_types::{CertificateDer, pem::PemObject};

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
pub(crate) fn check_chain(
    chain: &[Certificate<'_>],
    leaf: Leaf,
    algorithm: Algorithm,
) -> Result<Validity, X509Error> {
    let Some((first, issuers)) = chain.split_first() else {
        return Err(X509Error::Malformed("the chain is empty".into()));
    };
    match leaf {
        Leaf::Signer => first.check_leaf()?,
        Leaf::Issuer => first.check_issuing(0)?,
    }
    let mut validity = Validity::ALWAYS;
    for (depth, issuer) in issuers.iter().enumerate() {
        issuer.check_issuing(match leaf {
            Leaf::Signer => depth,
            Leaf::Issuer => depth + 1,
        })?;
    }
    for pair in chain.windows(2) {
        pair[0].check_signed_by(&pair[1], algorithm)?;
    }
    for certificate in chain {
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
pub(crate) struct PemChain(Vec<CertificateDer<'static>>);

impl PemChain {
    /// Reads a text of at most `limit` PEM certificates.
    ///
    /// Between and around them only white space may stand, and NUL after the last one, which
    /// quoting libraries leave there: what nobody reads could hold anything.
    pub(crate) fn read(text: &[u8], limit: usize) -> Result<Self, X509Error> {
        let malformed = |why: String| X509Error::Malformed(why);
        let end = text
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let text = &text[..end];
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text) {
            if certificates.len() == limit {
                return Err(malformed(format!(
                    "the chain has more than `{limit}` certificates"
                )));
            }
            certificates.push(
                certificate.map_err(|error| malformed(format!("the chain is not PEM: {error}")))?,
            );
        }
        if certificates.is_empty() {
            return Err(malformed("the chain has no certificate".into()));
        }
        check_canonical(text, &certificates)?;
        Ok(Self(certificates))
    }

    pub(crate) fn parse(&self) -> Result<Vec<Certificate<'_>>, X509Error> {
        self.0.iter().map(|der| Certificate::parse(der)).collect()
    }

    pub(crate) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|der| &**der)
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.0.last().map(|der| &**der)
    }
}

/// PEM parsers skip what is not PEM, and read base64 that no encoder writes. Here the text has to
/// be the one that the certificates encode to, but for white space.
fn check_canonical(text: &[u8], certificates: &[CertificateDer<'_>]) -> Result<(), X509Error> {
    let found: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let mut wanted = String::with_capacity(found.len());
    for certificate in certificates {
        wanted.push_str("-----BEGINCERTIFICATE-----");
        BASE64.encode_string(certificate, &mut wanted);
        wanted.push_str("-----ENDCERTIFICATE-----");
    }
    if found == wanted.as_bytes() {
        Ok(())
    } else {
        Err(X509Error::Malformed(
            "the chain is not PEM: something that is no certificate stands in it".into(),
        ))
    }
}
