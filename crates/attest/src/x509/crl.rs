//! Certificate revocation lists.

use std::collections::HashSet;

use x509_parser::{
    oid_registry,
    prelude::{CertificateRevocationList, FromDer, ParsedExtension},
};

use super::{
    Algorithm, Certificate, Validity, X509Error,
    certificate::unix_seconds,
    der::{self, Der, NotDer},
};

/// A CRL whose form was checked.
pub(crate) struct Crl<'a> {
    parsed: CertificateRevocationList<'a>,
    validity: Validity,
}

impl<'a> Crl<'a> {
    /// Reads one complete CRL (RFC 5280 §5): nothing after it, with a next update, not a delta,
    /// not indirect and not of some certificates only.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, X509Error> {
        Self::read(der, None)
    }

    /// As [`Crl::parse`], but the list may say where it is published (RFC 5280 §5.2.5) if
    /// `certificate` names the same place as that of its list: an issuer may keep several.
    pub(crate) fn parse_for(
        der: &'a [u8],
        certificate: &Certificate<'_>,
    ) -> Result<Self, X509Error> {
        Self::read(der, Some(certificate))
    }

    fn read(der: &'a [u8], certificate: Option<&Certificate<'_>>) -> Result<Self, X509Error> {
        let malformed = |why: String| Err(X509Error::Malformed(why));
        let (rest, parsed) = match CertificateRevocationList::from_der(der) {
            Ok(parsed) => parsed,
            Err(error) => return malformed(format!("a CRL is not DER of RFC 5280: {error}")),
        };
        if !rest.is_empty() {
            return malformed("a CRL is followed by other bytes".into());
        }
        if der::check_envelope(der).is_err() {
            return malformed("a CRL is not DER, or names two signature algorithms".into());
        }
        if let Some(why) = unfit_extension(&parsed, certificate) {
            return malformed(format!("the CRL of `{}` {why}", parsed.issuer()));
        }
        let Some(next_update) = parsed.next_update() else {
            return malformed(format!("the CRL of `{}` never expires", parsed.issuer()));
        };
        let validity = Validity {
            from: unix_seconds(parsed.last_update().timestamp()),
            until: unix_seconds(next_update.timestamp()),
        };
        Ok(Self { parsed, validity })
    }

    /// When it was issued and when the next one is due.
    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Checks that `issuer` issued this list, by name, key and signature, and that it may.
    pub(crate) fn check_issued_by(
        &self,
        issuer: &Certificate<'_>,
        algorithm: Algorithm,
    ) -> Result<(), X509Error> {
        let forged = |why: &str| {
            let list = self.parsed.issuer();
            Err(X509Error::Forged(format!("the CRL of `{list}` {why}")))
        };
        if self.parsed.issuer().as_raw() != issuer.raw_subject() {
            return forged(&format!("is not one of `{}`", issuer.subject()));
        }
        if !issuer.is_ca() {
            return forged("was signed by a certificate that is no CA");
        }
        if !issuer.may_sign_crls() {
            return forged("was signed by a key that is not for CRLs");
        }
        if let (Some(authority), Some(subject)) = (self.authority_key_id(), issuer.subject_key_id())
            && authority != subject
        {
            return forged("was issued with another key of that name");
        }
        if !algorithm.is_named_by(&self.parsed.signature_algorithm)
            || !issuer.has_key_for(algorithm)
        {
            return forged("is signed with an algorithm that this chain does not use");
        }
        if !algorithm.verify(
            issuer.public_key(),
            self.parsed.tbs_cert_list.as_ref(),
            &self.parsed.signature_value.data,
        ) {
            return forged("is not signed by its issuer");
        }
        Ok(())
    }

    /// Whether the list names the serial number of `certificate`.
    pub(crate) fn revokes(&self, certificate: &Certificate<'_>) -> bool {
        let serial = without_leading_zeros(certificate.serial());
        self.parsed
            .iter_revoked_certificates()
            .any(|revoked| without_leading_zeros(revoked.raw_serial()) == serial)
    }

    fn authority_key_id(&self) -> Option<&[u8]> {
        self.parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0)
                }
                _ => None,
            })
    }
}

/// Why the list cannot be taken for the whole list of its issuer, if so: it, or an entry, says
/// something that is not known here, or says that it is only a part.
fn unfit_extension(
    crl: &CertificateRevocationList<'_>,
    certificate: Option<&Certificate<'_>>,
) -> Option<String> {
    let mut seen = HashSet::new();
    for extension in crl.extensions() {
        let oid = &extension.oid;
        if !seen.insert(oid) {
            return Some(format!("has extension `{oid}` twice"));
        }
        // Both have to be critical (RFC 5280 §5.2); what they say holds without that too.
        if *oid == oid_registry::OID_X509_EXT_DELTA_CRL_INDICATOR {
            return Some("is a delta CRL".into());
        }
        if *oid == oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT {
            match certificate {
                None => {
                    return Some("is about some certificates only, or of several issuers".into());
                }
                Some(certificate) if is_published_for(extension.value, certificate) != Ok(true) => {
                    return Some(format!(
                        "is not the one that `{}` names",
                        certificate.subject()
                    ));
                }
                Some(_) => continue,
            }
        }
        if extension.critical {
            return Some(format!(
                "has the critical extension `{oid}`, which is not known"
            ));
        }
    }
    crl.iter_revoked_certificates()
        .flat_map(|entry| entry.extensions())
        .find(|extension| extension.critical)
        .map(|extension| {
            format!(
                "has an entry with the critical extension `{}`, which is not known",
                extension.oid
            )
        })
}

/// Whether `point`, a list's issuing distribution point, says no more than where the list is
/// published, and `certificate` names that place as one of its list.
fn is_published_for(point: &[u8], certificate: &Certificate<'_>) -> Result<bool, NotDer> {
    let published = names(Der::only(point, der::SEQUENCE)?)?;
    let Some(points) = certificate.extension(&oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS)
    else {
        return Ok(false);
    };
    for point in Der::new(Der::only(points, der::SEQUENCE)?) {
        let point = point?;
        if point.tag == der::SEQUENCE && names(point.content)? == published {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The full names, DER, in a distribution point that has nothing else: no subset of reasons or of
/// kinds of certificates, no other issuer.
fn names(point: &[u8]) -> Result<&[u8], NotDer> {
    Der::only(Der::only(point, CONTEXT_0)?, CONTEXT_0)
}

/// `[0]`, constructed: `distributionPoint` in both extensions, and `fullName` in it.
const CONTEXT_0: u8 = 0xa0;

fn without_leading_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}
