//! The owner's certificate, as far as a platform looks at it: whether it is one, until when, and
//! for which names. Whether it is trusted is for those who open the app to decide.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the platform needs of the chain's first certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnerCertificate {
    /// When it ends.
    pub(super) not_after: Timestamp,
    names: Vec<String>,
}

impl OwnerCertificate {
    /// Reads a chain in PEM, the app's own certificate first.
    pub(super) fn parse(pem: &str) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CertificateError::Pem(error.to_string()))?;
        if chain.len() > MAX_CHAIN {
            return Err(CertificateError::TooLong(chain.len()));
        }
        let own = chain.first().ok_or(CertificateError::Empty)?;
        let (_, own) = X509Certificate::from_der(own).map_err(|_| CertificateError::Malformed)?;
        let not_after = Timestamp::from_second(own.validity().not_after.timestamp())
            .map_err(|_| CertificateError::Malformed)?;
        let names = own
            .subject_alternative_name()
            .map_err(|_| CertificateError::Malformed)?
            .map(|san| &san.value.general_names)
            .into_iter()
            .flatten()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        Ok(Self { not_after, names })
    }

    /// Whether a DNS name of the certificate is `domain`, or a wildcard one label above it.
    pub(super) fn covers(&self, domain: &str) -> bool {
        let parent = domain.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            name == domain
                || name
                    .strip_prefix("*.")
                    .is_some_and(|rest| parent == Some(rest))
        })
    }
}

/// Why a chain cannot serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// No PEM.
    #[error("the certificate is not PEM: {0}")]
    Pem(String),
    /// No certificate in it.
    #[error("the certificate chain is empty")]
    Empty,
    /// More than anyone needs.
    #[error("the certificate chain has {0} certificates; at most {MAX_CHAIN} are taken")]
    TooLong(usize),
    /// No X.509.
    #[error("the first certificate of the chain is not a readable X.509 certificate")]
    Malformed,
}

const MAX_CHAIN: usize = 10;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn certificate_for(names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names)
            .unwrap()
            .cert
            .pem()
    }

    #[test]
    fn names_are_matched_label_by_label() {
        let pem = certificate_for(&["Shop.example.org", "*.apps.example.org"]);
        let certificate = OwnerCertificate::parse(&pem).unwrap();
        for covered in ["shop.example.org", "a.apps.example.org"] {
            assert!(certificate.covers(covered), "{covered}");
        }
        for other in [
            "example.org",
            "a.b.apps.example.org",
            "apps.example.org",
            "b",
        ] {
            assert!(!certificate.covers(other), "{other}");
        }
    }

    #[test]
    fn rubbish_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "hello", broken] {
            OwnerCertificate::parse(bad).unwrap_err();
        }
        let chain = certificate_for(&["a.example.org"]).repeat(11);
        let refused = OwnerCertificate::parse(&chain).unwrap_err().to_string();
        assert!(refused.contains("11 certificates"), "{refused}");
    }
}
