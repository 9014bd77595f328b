//! Certificates, written field by field (RFC 5280 §4.1).

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Key, Party, SgxExtension};
use crate::{
    der::{bits, boolean, element, integer, octets, oid, sequence},
    platform::PlatformError,
};

/// What a certificate says, besides key and issuer.
#[derive(Clone, Debug)]
pub struct CertificateForm {
    /// X.509 version, as people count: 3.
    pub version: u8,
    /// Content of the serial number's INTEGER: big-endian, with a leading zero if the first bit is
    /// set and it shall not be negative.
    pub serial: Vec<u8>,
    /// Common name of the subject.
    pub subject: String,
    /// First second in which it is valid.
    pub not_before: SystemTime,
    /// Last second in which it is valid.
    pub not_after: SystemTime,
    /// The extensions, in this order.
    pub extensions: Vec<Extension>,
    /// AlgorithmIdentifier (DER) named inside of what is signed, if not the issuer's.
    pub inner_algorithm: Option<Vec<u8>>,
    /// AlgorithmIdentifier (DER) named outside of what is signed, if not the issuer's.
    pub outer_algorithm: Option<Vec<u8>>,
}

impl CertificateForm {
    /// A CA with at most `path_length` CAs below it.
    pub fn authority(name: &str, path_length: u8, now: SystemTime) -> Self {
        Self::of(
            name,
            now,
            vec![
                Extension::authority(path_length),
                Extension::key_usage(KEY_CERT_SIGN | CRL_SIGN),
            ],
        )
    }

    /// One whose key signs documents or reports.
    pub fn signer(name: &str, now: SystemTime) -> Self {
        Self::of(
            name,
            now,
            vec![
                Extension::no_authority(),
                Extension::key_usage(DIGITAL_SIGNATURE | CONTENT_COMMITMENT),
            ],
        )
    }

    /// That of a platform's key.
    pub fn pck(extension: &SgxExtension, now: SystemTime) -> Self {
        let mut form = Self::signer("PCK Certificate", now);
        form.extensions.push(extension.extension());
        form
    }

    /// The certificate of `key`, signed by `issuer`. DER.
    pub fn issue(&self, key: &Key, issuer: &Party) -> Result<Vec<u8>, PlatformError> {
        let algorithm = issuer.key.signature_algorithm();
        let inner = self.inner_algorithm.as_ref().unwrap_or(&algorithm);
        let outer = self.outer_algorithm.as_ref().unwrap_or(&algorithm);
        let mut fields = Vec::new();
        if self.version > 1 {
            let version = integer(u32::from(self.version) - 1);
            fields.push(element(0xa0, &version));
        }
        fields.extend([
            element(0x02, &self.serial),
            inner.clone(),
            name(&issuer.name),
            sequence([time(self.not_before)?, time(self.not_after)?]),
            name(&self.subject),
            key.spki(),
        ]);
        if !self.extensions.is_empty() {
            let extensions = sequence(self.extensions.iter().map(Extension::der));
            fields.push(element(0xa3, &extensions));
        }
        let signed = sequence(fields);
        let signature = issuer.key.sign(&signed)?;
        Ok(sequence([signed, outer.clone(), bits(&signature)]))
    }

    fn of(name: &str, now: SystemTime, extensions: Vec<Extension>) -> Self {
        Self {
            version: 3,
            serial: serial_of(name),
            subject: format!("MSE SIMULATED FORGED {name}"),
            not_before: now - YEAR,
            not_after: now + YEAR,
            extensions,
            inner_algorithm: None,
            outer_algorithm: None,
        }
    }
}

/// An extension of a certificate, a CRL or an entry of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The OID's content octets.
    pub oid: Vec<u8>,
    /// Whether those who do not know it must refuse.
    pub critical: bool,
    /// The value, DER.
    pub value: Vec<u8>,
}

impl Extension {
    /// One of id-ce (2.5.29): `arc` is its last number, below 128.
    pub fn id_ce(arc: u8, critical: bool, value: Vec<u8>) -> Self {
        Self {
            oid: vec![0x55, 0x1d, arc],
            critical,
            value,
        }
    }

    /// Basic constraints of a CA.
    pub fn authority(path_length: u8) -> Self {
        let value = sequence([boolean(true), integer(path_length.into())]);
        Self::id_ce(19, true, value)
    }

    /// Basic constraints of an end entity.
    pub fn no_authority() -> Self {
        Self::id_ce(19, true, sequence([]))
    }

    /// Key usage: the bits of the first octet, digitalSignature first (0x80).
    pub fn key_usage(usages: u8) -> Self {
        let unused = usages.trailing_zeros().min(7).to_le_bytes()[0];
        Self::id_ce(15, true, element(0x03, &[unused, usages]))
    }

    /// Authority key identifier.
    pub fn authority_key_id(id: &[u8]) -> Self {
        Self::id_ce(35, false, sequence([element(0x80, id)]))
    }

    /// Subject key identifier.
    pub fn subject_key_id(id: &[u8]) -> Self {
        Self::id_ce(14, false, octets(id))
    }

    /// An extension that nobody knows, of a private enterprise.
    pub fn unknown(critical: bool) -> Self {
        Self {
            oid: vec![0x2b, 0x06, 0x01, 0x04, 0x01, 0x87, 0x67, 0x63],
            critical,
            value: octets(b"?"),
        }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let mut parts = vec![oid(&self.oid)];
        if self.critical {
            parts.push(boolean(true));
        }
        parts.push(octets(&self.value));
        sequence(parts)
    }
}

/// The PEM text of certificates, one after the other.
pub fn pem<T: AsRef<[u8]>>(certificates: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(der).as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// A name with a common name only.
pub(super) fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence([
        oid(&[0x55, 0x04, 0x03]),
        element(0x0c, common_name.as_bytes()),
    ]);
    sequence([element(0x31, &attribute)])
}

/// UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5).
pub(super) fn time(time: SystemTime) -> Result<Vec<u8>, PlatformError> {
    let timestamp = jiff::Timestamp::try_from(time).map_err(|_| PlatformError::Date {
        seconds: time
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    })?;
    let long = timestamp.strftime("%Y%m%d%H%M%SZ").to_string();
    Ok(if ("1950".."2050").contains(&long.as_str()) {
        element(0x17, &long.as_bytes()[2..])
    } else {
        element(0x18, long.as_bytes())
    })
}

/// A positive serial number that follows from the name.
fn serial_of(name: &str) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let mut serial = digest.as_ref()[..16].to_vec();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

const YEAR: Duration = Duration::from_hours(365 * 24);
const DIGITAL_SIGNATURE: u8 = 0x80;
const CONTENT_COMMITMENT: u8 = 0x40;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;
