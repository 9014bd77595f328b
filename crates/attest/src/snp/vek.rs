//! The certificate of a VEK, and what AMD states in its extensions (AMD 57230, table 8).

use thiserror::Error;
use x509_parser::{der_parser::asn1_rs::oid, oid_registry::Oid};

use super::{SigningKey, SnpProduct};
use crate::x509::{
    Algorithm, Certificate,
    der::{Der, INTEGER, unsigned},
};

/// What a VEK certificate states. Nothing vouches for it before its chain is verified.
#[derive(Debug)]
pub(super) struct Vek {
    pub(super) kind: SigningKey,
    pub(super) product: SnpProduct,
    /// The TCB version that the key was derived for, in the layout of the product.
    pub(super) tcb: [u8; 8],
    /// The chip: VCEK only. 64 bytes, or 8 on Turin.
    pub(super) hwid: Option<Vec<u8>>,
    /// The cloud provider: VLEK only.
    pub(super) csp_id: Option<String>,
}

impl Vek {
    /// The kind of VEK whose certificate this is by its name, compared whole.
    pub(super) fn kind_of(certificate: &Certificate<'_>) -> Option<SigningKey> {
        match certificate.common_name() {
            Some("SEV-VCEK") => Some(SigningKey::Vcek),
            Some("SEV-VLEK") => Some(SigningKey::Vlek),
            _ => None,
        }
    }

    pub(super) fn read(certificate: &Certificate<'_>) -> Result<Self, VekError> {
        let Some(kind) = Self::kind_of(certificate) else {
            return Err(VekError::NotVek {
                name: certificate.subject(),
            });
        };
        if !certificate.has_key_for(Algorithm::EcdsaP384Sha384) {
            return Err(VekError::Key);
        }
        let name = ascii(certificate, &PRODUCT_NAME, "productName")?
            .ok_or(VekError::Missing("productName"))?;
        let product =
            SnpProduct::of_certificate(name).ok_or_else(|| VekError::Product(name.to_owned()))?;
        // Its value is not used: it only has to be what the profile says.
        required(certificate, &STRUCT_VERSION, "structVersion")?;
        Ok(Self {
            kind,
            product,
            tcb: tcb(certificate, product)?,
            hwid: hwid(certificate, kind, product)?,
            csp_id: csp_id(certificate, kind)?,
        })
    }

    /// Whether `chip_id` of a report is the chip of this VCEK: all 64 bytes, of which a short id
    /// (Turin) leaves the rest zero.
    pub(super) fn is_of_chip(&self, chip_id: &[u8; 64]) -> bool {
        self.hwid.as_ref().is_some_and(|hwid| {
            chip_id
                .split_at_checked(hwid.len())
                .is_some_and(|(id, rest)| id == hwid && rest.iter().all(|byte| *byte == 0))
        })
    }
}

/// What is wrong with the certificate of a VEK.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum VekError {
    #[error("`{name}` is not the certificate of a VEK (`SEV-VCEK` or `SEV-VLEK`)")]
    NotVek { name: String },
    #[error("the VEK's key is not one on P-384")]
    Key,
    #[error("the VEK certificate has no extension `{0}`")]
    Missing(&'static str),
    #[error("extension `{0}` of the VEK certificate is not as AMD defines it")]
    Malformed(&'static str),
    #[error("extension `{0}` of the VEK certificate has no place in one of this kind")]
    Misplaced(&'static str),
    #[error("the VEK certificate is for `{0}`, which is no known product")]
    Product(String),
}

/// The TCB version in the extensions, put into the layout of a report.
fn tcb(certificate: &Certificate<'_>, product: SnpProduct) -> Result<[u8; 8], VekError> {
    let bootloader = required(certificate, &BOOTLOADER, "blSPL")?;
    let tee = required(certificate, &TEE, "teeSPL")?;
    let snp = required(certificate, &SNP, "snpSPL")?;
    let microcode = required(certificate, &MICROCODE, "ucodeSPL")?;
    let [spl4, spl5, spl6, spl7] = [
        optional(certificate, &SPL4, "spl4")?,
        optional(certificate, &SPL5, "spl5")?,
        optional(certificate, &SPL6, "spl6")?,
        optional(certificate, &SPL7, "spl7")?,
    ]
    .map(Option::unwrap_or_default);
    match product {
        SnpProduct::Milan | SnpProduct::Genoa => {
            if optional(certificate, &FMC, "fmcSPL")?.is_some() {
                return Err(VekError::Misplaced("fmcSPL"));
            }
            Ok([bootloader, tee, spl4, spl5, spl6, spl7, snp, microcode])
        }
        SnpProduct::Turin => {
            // Four reserved levels, and a layout with three reserved bytes: zero is all they can be.
            if [spl4, spl5, spl6, spl7] != [0; 4] {
                return Err(VekError::Malformed("spl4 to spl7"));
            }
            let fmc = required(certificate, &FMC, "fmcSPL")?;
            Ok([fmc, bootloader, tee, snp, 0, 0, 0, microcode])
        }
    }
}

/// The chip's id: the bytes as they are, though they may look like DER.
fn hwid(
    certificate: &Certificate<'_>,
    kind: SigningKey,
    product: SnpProduct,
) -> Result<Option<Vec<u8>>, VekError> {
    match (kind, certificate.extension(&HWID)) {
        (SigningKey::Vcek, None) => Err(VekError::Missing("hwID")),
        (SigningKey::Vcek, Some(id)) => match (product, id.len()) {
            (_, 64) | (SnpProduct::Turin, 8) => Ok(Some(id.to_vec())),
            _ => Err(VekError::Malformed("hwID")),
        },
        (_, Some(_)) => Err(VekError::Misplaced("hwID")),
        (_, None) => Ok(None),
    }
}

fn csp_id(certificate: &Certificate<'_>, kind: SigningKey) -> Result<Option<String>, VekError> {
    match (kind, ascii(certificate, &CSP_ID, "cspID")?) {
        (SigningKey::Vlek, None) => Err(VekError::Missing("cspID")),
        (SigningKey::Vlek, Some(id)) => Ok(Some(id.to_owned())),
        (_, Some(_)) => Err(VekError::Misplaced("cspID")),
        (_, None) => Ok(None),
    }
}

fn required(
    certificate: &Certificate<'_>,
    oid: &Oid<'_>,
    name: &'static str,
) -> Result<u8, VekError> {
    optional(certificate, oid, name)?.ok_or(VekError::Missing(name))
}

/// An extension that is an INTEGER from 0 to 255.
fn optional(
    certificate: &Certificate<'_>,
    oid: &Oid<'_>,
    name: &'static str,
) -> Result<Option<u8>, VekError> {
    let Some(value) = certificate.extension(oid) else {
        return Ok(None);
    };
    Der::only(value, INTEGER)
        .and_then(unsigned)
        .ok()
        .and_then(|number| u8::try_from(number).ok())
        .map(Some)
        .ok_or(VekError::Malformed(name))
}

/// An extension that is an IA5String of some printable characters.
fn ascii<'a>(
    certificate: &Certificate<'a>,
    oid: &Oid<'_>,
    name: &'static str,
) -> Result<Option<&'a str>, VekError> {
    let Some(value) = certificate.extension(oid) else {
        return Ok(None);
    };
    Der::only(value, IA5_STRING)
        .ok()
        .filter(|text| !text.is_empty() && text.iter().all(|c| matches!(c, b' '..=b'~')))
        .and_then(|text| std::str::from_utf8(text).ok())
        .map(Some)
        .ok_or(VekError::Malformed(name))
}

const IA5_STRING: u8 = 0x16;

const STRUCT_VERSION: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.1);
const PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
const BOOTLOADER: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
const SPL4: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.4);
const SPL5: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.5);
const SPL6: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.6);
const SPL7: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.7);
const MICROCODE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HWID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);
const CSP_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.5);

#[cfg(test)]
mod tests {
    use super::*;

    fn vek(hwid: &[u8]) -> Vek {
        Vek {
            kind: SigningKey::Vcek,
            product: SnpProduct::Turin,
            tcb: [0; 8],
            hwid: Some(hwid.to_vec()),
            csp_id: None,
        }
    }

    #[test]
    fn a_chip_id_is_compared_whole() {
        let mut chip_id = [0; 64];
        chip_id[..8].copy_from_slice(&[9; 8]);
        assert!(vek(&[9; 8]).is_of_chip(&chip_id));
        assert!(vek(&chip_id).is_of_chip(&chip_id));
        for other in [&[9; 7][..], &[9; 9], &[], &[9; 64], &[9; 65]] {
            assert!(
                !vek(other).is_of_chip(&chip_id) || other.len() == 8,
                "{other:?}"
            );
        }
        chip_id[63] = 1;
        assert!(!vek(&[9; 8]).is_of_chip(&chip_id));
    }
}
