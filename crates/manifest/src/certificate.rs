use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::private_key::PrivateKeyPem;

/// Certificate files larger than this are refused.
pub(crate) const MAX_CHAIN_BYTES: u64 = 256 << 10;

/// The owner's TLS certificate, checked: it names the domain, is valid now, and its key is here.
pub struct OwnerCertificate {
    /// Name under which users reach the app; the certificate holds it, or its wildcard.
    pub domain_name: String,
    /// The certificate and the chain behind it: the PEM blocks of the file, and nothing else of it.
    pub chain_pem: String,
    /// The certificate itself, DER.
    pub leaf_der: Vec<u8>,
    /// Its last second.
    pub not_after: Timestamp,
    /// The key that belongs to it.
    pub private_key: PrivateKeyPem,
}

/// A certificate file that is what it should be, as far as the file alone can tell.
pub(crate) struct Chain {
    pub(crate) pem: String,
    pub(crate) leaf_der: Vec<u8>,
    pub(crate) not_before: Timestamp,
    /// Of the leaf.
    pub(crate) not_after: Timestamp,
    /// The first certificate *behind* the leaf to end, and when.
    pub(crate) issuers_end: Option<(String, Timestamp)>,
    /// SubjectPublicKeyInfo of the leaf, DER.
    pub(crate) public_key: Vec<u8>,
    pub(crate) dns_names: Vec<String>,
}

impl Chain {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidChain> {
        // This file goes to the operator.
        if bytes.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(InvalidChain::HoldsPrivateKey);
        }
        let blocks: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidChain::Pem)?;
        let certificates: Vec<X509Certificate<'_>> = blocks
            .iter()
            .enumerate()
            .map(|(index, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                _ => Err(InvalidChain::Certificate { number: index + 1 }),
            })
            .collect::<Result<_, _>>()?;
        let ([leaf, issuers @ ..], [leaf_der, ..]) = (&*certificates, &*blocks) else {
            return Err(InvalidChain::Empty);
        };
        for (index, pair) in certificates.windows(2).enumerate() {
            if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
                return Err(InvalidChain::Order {
                    number: index + 2,
                    subject: pair[1].subject().to_string(),
                    issuer: pair[0].issuer().to_string(),
                });
            }
        }
        let issuers_end = issuers
            .iter()
            .map(|issuer| {
                Ok((
                    issuer.subject().to_string(),
                    instant(issuer.validity().not_after)?,
                ))
            })
            .collect::<Result<Vec<_>, InvalidChain>>()?
            .into_iter()
            .min_by_key(|(_, end)| *end);

        Ok(Self {
            pem: blocks.iter().map(|der| pem_block(der)).collect(),
            leaf_der: leaf_der.to_vec(),
            not_before: instant(leaf.validity().not_before)?,
            not_after: instant(leaf.validity().not_after)?,
            issuers_end,
            public_key: leaf.public_key().raw.to_vec(),
            dns_names: dns_names(leaf)?,
        })
    }

    /// Whether the certificate names `domain`, or its wildcard: the first label replaced by `*`.
    pub(crate) fn covers(&self, domain: &str) -> bool {
        let wildcard = domain
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        self.dns_names.iter().any(|name| {
            name.eq_ignore_ascii_case(domain)
                || wildcard
                    .as_deref()
                    .is_some_and(|wildcard| name.eq_ignore_ascii_case(wildcard))
        })
    }
}

/// What is wrong with a certificate file; worded to follow the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidChain {
    #[error("is no valid PEM file")]
    Pem,
    #[error("holds no certificate")]
    Empty,
    #[error("holds a private key, but this file is sent to the operator")]
    HoldsPrivateKey,
    #[error("holds a damaged certificate (number {number} in the file)")]
    Certificate { number: usize },
    #[error(
        "has as certificate number {number} `{subject}`, but the one before it was issued by `{issuer}`"
    )]
    Order {
        number: usize,
        subject: String,
        issuer: String,
    },
    #[error("has no list of DNS names (subjectAltName)")]
    NoNames,
}

impl InvalidChain {
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::HoldsPrivateKey => "keep the key in a file of its own, named by `private_key`",
            Self::Order { .. } => "put the app's own certificate first, then each one's issuer",
            Self::NoNames => "have the certificate issued with the domain as subjectAltName",
            Self::Pem | Self::Empty | Self::Certificate { .. } => {
                "name the PEM file that has `-----BEGIN CERTIFICATE-----`"
            }
        }
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, InvalidChain> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Err(InvalidChain::NoNames);
    };
    let names: Vec<String> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        Err(InvalidChain::NoNames)
    } else {
        Ok(names)
    }
}

fn instant(time: ASN1Time) -> Result<Timestamp, InvalidChain> {
    Timestamp::from_second(time.timestamp()).map_err(|_| InvalidChain::Certificate { number: 1 })
}

/// RFC 7468, so that what is sent is only the certificates: comments in the file stay here.
fn pem_block(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut block = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            block.push('\n');
        }
        block.push(character);
    }
    block.push_str("\n-----END CERTIFICATE-----\n");
    block
}
