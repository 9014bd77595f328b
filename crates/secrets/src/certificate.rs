//! Certificates: X.509 v3 (RFC 5280), what they say, and how they are issued.

use std::time::{Duration, SystemTime};

use mse_crypto::random;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{X509Name, X509Version};

use crate::key::{Algorithm, PrivateKey, PublicKey};
use crate::{Endpoint, Role, SubjectAltName, Validity};

/// How far before the day of issue a certificate begins: clocks differ.
const BACKDATED: u64 = 300;
/// 31 December 9999, 23:59:59: a certificate without an end (RFC 5280 §4.1.2.5).
pub(crate) const NEVER: u64 = 253_402_300_799;

/// A certificate with what issued it and, as a rule, its private key.
#[derive(Clone)]
pub(crate) struct Certified {
    /// None for what was imported, or given, without it.
    pub(crate) key: Option<PrivateKey>,
    pub(crate) certificate: Certificate,
    /// What issued it, the nearest first. Empty when it is self-signed.
    pub(crate) chain: Vec<Certificate>,
    pub(crate) origin: Origin,
}

/// Who made a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its owner: it is never renewed.
    Given,
    /// The CAS, at this time, in seconds since 1970.
    Issued(u64),
}

/// One certificate, parsed.
#[derive(Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    not_before: u64,
    not_after: u64,
    authority: Option<Authority>,
    spki: Vec<u8>,
}

/// What a certificate may issue.
#[derive(Clone, Copy)]
struct Authority {
    path_length: Option<u8>,
}

impl Certificate {
    /// Reads DER: version 3, nothing behind it. None if it is none.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() || parsed.version() != X509Version::V3 {
            return None;
        }
        let validity = parsed.validity();
        let seconds = |time: i64| u64::try_from(time).ok();
        let constraints = parsed.basic_constraints().ok()?;
        let signs = parsed
            .key_usage()
            .ok()?
            .is_none_or(|usage| usage.value.key_cert_sign());
        let authority = match constraints {
            Some(constraints) if constraints.value.ca && signs => Some(Authority {
                path_length: constraints
                    .value
                    .path_len_constraint
                    .map(|length| u8::try_from(length).unwrap_or(u8::MAX)),
            }),
            _ => None,
        };
        Some(Self {
            not_before: seconds(validity.not_before.timestamp())?,
            not_after: seconds(validity.not_after.timestamp())?,
            authority,
            spki: parsed.public_key().raw.to_vec(),
            der: der.to_vec(),
        })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn not_after(&self) -> SystemTime {
        time(self.not_after)
    }

    pub(crate) fn has_end(&self) -> bool {
        self.not_after < NEVER
    }

    pub(crate) fn is_authority(&self) -> bool {
        self.authority.is_some()
    }

    /// Whether its public key is this one.
    pub(crate) fn is_of(&self, key: &PublicKey) -> bool {
        self.spki == key.to_spki()
    }

    fn name_can_be_written(&self) -> bool {
        X509Certificate::from_der(&self.der)
            .is_ok_and(|(_, parsed)| can_be_written(parsed.subject()))
    }

    /// Whether `issuer` is an authority that made it: name and signature.
    pub(crate) fn is_issued_by(&self, issuer: &Self) -> bool {
        let (Ok((_, this)), Ok((_, issuer_parsed))) = (
            X509Certificate::from_der(&self.der),
            X509Certificate::from_der(&issuer.der),
        ) else {
            return false;
        };
        issuer.is_authority()
            && this.issuer().as_raw() == issuer_parsed.subject().as_raw()
            && this
                .verify_signature(Some(issuer_parsed.public_key()))
                .is_ok()
    }
}

impl Certified {
    /// When it is to be renewed: after two thirds of its life. None for what never ends, and for
    /// what was given.
    pub(crate) fn renew_at(&self) -> Option<SystemTime> {
        match self.origin {
            Origin::Issued(issued) if self.certificate.has_end() => {
                Some(two_thirds(issued, self.certificate.not_after))
            }
            Origin::Issued(_) | Origin::Given => None,
        }
    }
}

/// After two thirds of the time from `issued` to `end`, in seconds since 1970.
pub(crate) fn two_thirds(issued: u64, end: u64) -> SystemTime {
    time(issued + end.saturating_sub(issued) / 3 * 2)
}

/// A certificate to be issued.
pub(crate) struct Order<'a> {
    /// The subject's common name.
    pub(crate) subject: &'a str,
    pub(crate) role: &'a Role,
    pub(crate) key: &'a PrivateKey,
    /// Who issues it. None: itself.
    pub(crate) issuer: Option<&'a Certified>,
    pub(crate) valid_for: Option<Validity>,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl Order<'_> {
    /// Issues it.
    pub(crate) fn issue(&self) -> Result<Certified, IssueError> {
        let mut params = self.params()?;
        let not_before = self.now.saturating_sub(BACKDATED);
        let not_after = self
            .valid_for
            .map_or(NEVER, |life| self.now + life.duration().as_secs())
            .min(NEVER);
        let signer = self.key.certificate_signer();
        let (der, chain) = if let Some(issuer) = self.issuer {
            let authority = &issuer.certificate;
            if self.now < authority.not_before {
                return Err(IssueError::IssuerNotYetValid);
            }
            if self.now >= authority.not_after {
                return Err(IssueError::IssuerExpired);
            }
            params.not_before = time(not_before.max(authority.not_before)).into();
            params.not_after = time(not_after.min(authority.not_after)).into();
            let issuer_key = issuer.key.as_ref().ok_or(IssueError::IssuerWithoutKey)?;
            if !authority.name_can_be_written() {
                return Err(IssueError::IssuerName);
            }
            let by = Issuer::from_ca_cert_der(
                &authority.der.as_slice().into(),
                issuer_key.certificate_signer(),
            )
            .map_err(|_| IssueError::IssuerName)?;
            let der = params
                .signed_by(&signer, &by)
                .map_err(IssueError::Encoding)?;
            let chain = std::iter::once(authority).chain(&issuer.chain).cloned();
            (der, chain.collect())
        } else {
            params.not_before = time(not_before).into();
            params.not_after = time(not_after).into();
            let der = params.self_signed(&signer).map_err(IssueError::Encoding)?;
            (der, Vec::new())
        };
        let certificate = Certificate::from_der(der.der()).expect("it was just made");
        // The issuer's name is written anew; an unusual one might not come out the same.
        if let Some(issuer) = self.issuer
            && !certificate.is_issued_by(&issuer.certificate)
        {
            return Err(IssueError::IssuerName);
        }
        Ok(Certified {
            key: Some(self.key.clone()),
            certificate,
            chain,
            origin: Origin::Issued(self.now),
        })
    }

    fn params(&self) -> Result<CertificateParams, IssueError> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, self.subject);
        params.distinguished_name = name;
        params.serial_number = Some(serial());
        params.use_authority_key_identifier_extension = true;
        match self.role {
            Role::Authority { path_length } => {
                let length = self.path_length(*path_length)?;
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            }
            Role::EndEntity { names, endpoint } => {
                params.is_ca = IsCa::ExplicitNoCa;
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                if self.key.public().algorithm() == Algorithm::Rsa {
                    // TLS 1.2 without ephemeral keys, which old programs still ask for.
                    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                }
                params.extended_key_usages = match endpoint {
                    Some(Endpoint::Server) => vec![ExtendedKeyUsagePurpose::ServerAuth],
                    Some(Endpoint::Client) => vec![ExtendedKeyUsagePurpose::ClientAuth],
                    None => vec![
                        ExtendedKeyUsagePurpose::ServerAuth,
                        ExtendedKeyUsagePurpose::ClientAuth,
                    ],
                };
                for name in names {
                    params.subject_alt_names.push(match name {
                        SubjectAltName::Dns(name) => SanType::DnsName(
                            name.as_str().try_into().map_err(IssueError::Encoding)?,
                        ),
                        SubjectAltName::Ip(address) => SanType::IpAddress(*address),
                    });
                }
            }
        }
        Ok(params)
    }

    /// How many authorities may follow below this one: never more than those above leave.
    fn path_length(&self, wanted: Option<u8>) -> Result<u8, IssueError> {
        let Some(issuer) = self.issuer else {
            return Ok(wanted.unwrap_or(Role::DEFAULT_PATH_LENGTH));
        };
        let mut left = u8::MAX;
        let above = std::iter::once(&issuer.certificate).chain(&issuer.chain);
        for (between, authority) in (0_u8..).zip(above) {
            if let Some(length) = authority.authority.and_then(|a| a.path_length) {
                let remains = length.checked_sub(between + 1);
                left = left.min(remains.ok_or(IssueError::NoAuthorityBelow)?);
            }
        }
        match wanted {
            Some(wanted) if wanted > left => Err(IssueError::PathLength { wanted, left }),
            Some(wanted) => Ok(wanted),
            None => Ok(left.min(Role::DEFAULT_PATH_LENGTH)),
        }
    }
}

/// 16 random bytes; the first makes it positive and of full length.
fn serial() -> SerialNumber {
    let mut bytes = random::bytes::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Whether rcgen can write a name again: every part of it has something in it, under an identifier
/// that begins with a possible number. It panics on the others.
fn can_be_written(name: &X509Name<'_>) -> bool {
    name.iter().all(|part| {
        part.iter().next().is_some()
            && part.iter().all(|attribute| {
                let mut numbers = attribute.attr_type().iter().into_iter().flatten();
                matches!((numbers.next(), numbers.next()), (Some(0..=2), Some(_)))
            })
    })
}

/// A number of seconds since 1970, at most [`NEVER`], as a time.
pub(crate) fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Why a certificate is not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The issuer's certificate begins later.
    #[error("the issuer's certificate is not valid yet: check the clock")]
    IssuerNotYetValid,
    /// The issuer's certificate has ended.
    #[error("the issuer's certificate has expired: renew the issuer first")]
    IssuerExpired,
    /// The issuer was imported or given without its private key.
    #[error("the issuer has no private key here: import or give it together with its key")]
    IssuerWithoutKey,
    /// The issuer's name has a form that cannot be written anew.
    #[error(
        "the issuer's certificate has a subject name that cannot be written into another certificate byte by byte: use an authority with a plain name"
    )]
    IssuerName,
    /// The issuer may have no authority below it.
    #[error("the issuer's path length allows no authority below it")]
    NoAuthorityBelow,
    /// More than the issuer leaves.
    #[error("`path_length: {wanted}` is more than the {left} that the issuer leaves")]
    PathLength {
        /// What was asked for.
        wanted: u8,
        /// What is possible.
        left: u8,
    },
    /// Something cannot be written in DER.
    #[error("the certificate cannot be written")]
    Encoding(#[source] rcgen::Error),
}
