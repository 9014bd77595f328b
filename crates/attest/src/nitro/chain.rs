//! The certificates of a document: signed up to the root, in their places, not revoked.

use x509_parser::oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;

use super::document::Document;
use crate::{
    CheckName, Reason, TrustAnchor,
    appraise::Case,
    ledger::Fault,
    memory::{Key, Remembered},
    x509::{Algorithm, Certificate, Crl, Leaf, Validity, X509Error, check_chain},
};

/// Every certificate, CRL and document of AWS's PKI is signed with it.
pub(super) const ALGORITHM: Algorithm = Algorithm::EcdsaP384Sha384;

/// A chain that holds, at whatever time.
pub(super) struct Chain<'a> {
    pub(super) leaf: Certificate<'a>,
    /// When all its certificates, and the CRLs if there are any, are valid.
    pub(super) validity: Validity,
    /// When the oldest of the CRLs was issued.
    pub(super) crls_issued: Option<u64>,
}

/// Verifies the certificates of `document`, whose first is the root of `anchor`. Whether they are
/// valid now is for the caller to judge.
///
/// What is known to hold of the issuers, which all documents of one EC2 instance share for a day,
/// is not verified again.
pub(super) fn verify<'a>(
    document: &Document<'a>,
    anchor: &TrustAnchor,
    case: &Case<'_>,
) -> Result<Chain<'a>, Fault> {
    let key = key_of(document, anchor, case);
    let known = case.recall(&key).and_then(|known| match known {
        Remembered::Chain(validity) => Some(validity),
        Remembered::Dcap(_) => None,
    });
    // The issuer that signed the leaf is needed in any case.
    let needed = known.map_or(usize::MAX, |_| 1);
    let issuers = document.cabundle().iter().rev().take(needed).copied();
    let mut chain = std::iter::once(document.certificate())
        .chain(issuers)
        .map(Certificate::parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(of_chain)?;
    let certificates = check_chain(&chain, Leaf::Signer, ALGORITHM).map_err(of_chain)?;
    let given = parse_crls(&case.collateral.crls)?;
    let crls = check_revocation(&chain, &given)?;
    let crls_issued = given.iter().map(|crl| crl.validity().from).min();
    let of_issuers = known.unwrap_or_else(|| validity_of_issuers(&chain).and(crls));
    if known.is_none() && of_issuers.contains(case.now) {
        case.remember(key, Remembered::Chain(of_issuers));
    }
    let leaf = chain.swap_remove(0);
    Ok(Chain {
        crls_issued,
        validity: certificates.and(of_issuers).and(crls),
        leaf,
    })
}

fn of_chain(error: X509Error) -> Fault {
    Fault::of_x509(CheckName::CertificateChains, error)
}

/// All that the verdict on the issuers follows from.
fn key_of(document: &Document<'_>, anchor: &TrustAnchor, case: &Case<'_>) -> Key {
    let crls = &case.collateral.crls;
    let count = document.cabundle().len().to_le_bytes();
    let mut parts = vec![anchor.root_der(), &count];
    parts.extend(document.cabundle());
    parts.extend(crls.iter().map(Vec::as_slice));
    Key::of("nitro-ca", &parts)
}

fn validity_of_issuers(chain: &[Certificate<'_>]) -> Validity {
    let issuers = chain.iter().skip(1);
    issuers.fold(Validity::ALWAYS, |validity, issuer| {
        validity.and(Validity {
            from: issuer.not_before(),
            until: issuer.not_after(),
        })
    })
}

fn parse_crls(crls: &[Vec<u8>]) -> Result<Vec<Crl<'_>>, Fault> {
    crls.iter()
        .map(|der| Crl::parse(der))
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::of_x509(CheckName::Revocation, error))
}

/// Checks `chain`, leaf first, against `crls`, and says when those that count are valid.
///
/// AWS publishes CRLs for those certificates that name one. If any CRL is given, each of them must
/// be covered: a CRL of someone else leaves open what was asked.
fn check_revocation(chain: &[Certificate<'_>], crls: &[Crl<'_>]) -> Result<Validity, Fault> {
    if crls.is_empty() {
        return Ok(Validity::ALWAYS);
    }
    let mut validity = Validity::ALWAYS;
    for pair in chain.windows(2) {
        let (certificate, issuer) = (&pair[0], &pair[1]);
        let mut is_covered = false;
        for crl in crls {
            if crl.check_issued_by(issuer, ALGORITHM).is_err() {
                continue;
            }
            if crl.revokes(certificate) {
                return Err(Fault {
                    check: CheckName::Revocation,
                    reason: Reason::Revoked,
                    why: format!(
                        "`{}` has revoked the certificate of `{}`",
                        issuer.subject(),
                        certificate.subject()
                    ),
                });
            }
            is_covered = true;
            validity = validity.and(crl.validity());
        }
        let names_a_crl = certificate
            .extension(&OID_X509_EXT_CRL_DISTRIBUTION_POINTS)
            .is_some();
        if names_a_crl && !is_covered {
            return Err(Fault::mismatch(
                CheckName::Revocation,
                format!(
                    "none of the CRLs given is one of `{}`: whether the certificate of `{}` is revoked is unknown",
                    issuer.subject(),
                    certificate.subject()
                ),
            ));
        }
    }
    Ok(validity)
}
