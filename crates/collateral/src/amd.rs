//! AMD's product lines, chips and TCB versions, as the Key Distribution Service (KDS) names them.
//!
//! Specification: AMD 57230 (VCEK certificate and KDS interface), 56860 (SEV-SNP firmware ABI).

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_parser::oid_registry::asn1_rs::{Oid, oid};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::platform::{PlatformError, UnknownWord};

/// An SEV-SNP platform: the chip and TCB version that its endorsement key is derived from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPlatform {
    /// The product line; reports of version 2 do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// Which key signs.
    pub key: Vek,
    /// The chip, in the length that the product line uses; none with a VLEK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip_id: Option<ChipId>,
    /// The TCB version that the key is bound to.
    pub tcb: Tcb,
}

impl SnpPlatform {
    /// Reads chip, reported TCB and product from an attestation report (1184 bytes; what follows
    /// is ignored).
    pub fn of_report(report: &[u8]) -> Result<Self, PlatformError> {
        let short = || PlatformError::ShortReport {
            expected: REPORT_BYTES,
            found: report.len(),
        };
        let report = report.get(..REPORT_BYTES).ok_or_else(short)?;
        let version = u32::from_le_bytes(field(report, 0x000).ok_or_else(short)?);
        let flags = u32::from_le_bytes(field(report, 0x048).ok_or_else(short)?);
        let reported_tcb = field::<8>(report, 0x180).ok_or_else(short)?;
        let [family, model] = field(report, 0x188).ok_or_else(short)?;
        let chip = field::<64>(report, 0x1a0).ok_or_else(short)?;

        // Reports name their CPU since version 3. Turin needs firmware that writes those.
        let product = match version {
            0..=2 => None,
            _ => Some(
                Product::of_cpu(family, model)
                    .ok_or(PlatformError::UnknownCpu { family, model })?,
            ),
        };
        let key = match (flags >> 2) & 0b111 {
            1 => Vek::Vlek,
            _ => Vek::Vcek,
        };
        let chip_id = match key {
            Vek::Vlek => None,
            Vek::Vcek if chip == [0; 64] => return Err(PlatformError::MaskedChip),
            Vek::Vcek => Some(ChipId::of(product, &chip)),
        };
        Ok(Self {
            product,
            key,
            chip_id,
            tcb: Tcb::from_bytes(product, reported_tcb),
        })
    }

    /// Reads what a VCEK or VLEK certificate (DER) says that it endorses.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let value = |oid: &Oid<'_>| {
            certificate
                .get_extension_unique(oid)
                .ok()
                .flatten()
                .map(|extension| extension.value)
        };
        let svn = |oid: Oid<'_>| value(&oid).and_then(small_integer);
        let name = value(&PRODUCT_NAME).and_then(ia5_string)?;
        let product = name.split('-').next()?.parse().ok()?;
        let subject = certificate.subject().to_string();
        Some(Self {
            product: Some(product),
            key: if subject.contains("SEV-VLEK") {
                Vek::Vlek
            } else {
                Vek::Vcek
            },
            chip_id: value(&HARDWARE_ID).map(|bytes| ChipId(bytes.to_vec())),
            tcb: Tcb {
                fmc: svn(FMC_SVN),
                boot_loader: svn(BOOT_LOADER_SVN)?,
                tee: svn(TEE_SVN)?,
                snp: svn(SNP_SVN)?,
                microcode: svn(MICROCODE_SVN)?,
            },
        })
    }
}

impl fmt::Display for SnpPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = self.product.map_or("SNP", Product::as_str);
        write!(f, "{product} {}", self.key)?;
        if let Some(chip) = &self.chip_id {
            let digits = chip.to_string();
            write!(f, " {}…", digits.get(..16).unwrap_or(&digits))?;
        }
        write!(f, " {}", self.tcb)
    }
}

/// A product line with keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 8004 and 97x4 (Bergamo, Siena share its keys).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// The name in AMD's paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product line of a CPUID family and model.
    pub fn of_cpu(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Product {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.to_ascii_lowercase().as_str() {
            "milan" => Ok(Self::Milan),
            "genoa" | "bergamo" | "siena" => Ok(Self::Genoa),
            "turin" => Ok(Self::Turin),
            _ => Err(UnknownWord::new(text, "write `Milan`, `Genoa` or `Turin`")),
        }
    }
}

/// The two kinds of versioned endorsement keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vek {
    /// The chip's own.
    Vcek,
    /// One that AMD lends to a cloud provider. AMD gives its certificate to the provider alone.
    Vlek,
}

impl Vek {
    /// `vcek` or `vlek`, as in AMD's paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

impl fmt::Display for Vek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Vek {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.to_ascii_lowercase().as_str() {
            "vcek" => Ok(Self::Vcek),
            "vlek" => Ok(Self::Vlek),
            _ => Err(UnknownWord::new(text, "write `vcek` or `vlek`")),
        }
    }
}

/// The id of a chip: 64 bytes, on Turin 8. Written in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChipId(Vec<u8>);

impl ChipId {
    /// From the 64 bytes in a report: Turin's ids are the first 8 of them, the rest is zero.
    pub fn of(product: Option<Product>, bytes: &[u8; 64]) -> Self {
        Self(match product {
            Some(Product::Turin) => bytes[..8].to_vec(),
            _ => bytes.to_vec(),
        })
    }

    /// The bytes, 64 or 8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for ChipId {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match hex::decode(text) {
            Ok(bytes) if matches!(bytes.len(), 8 | 64) => Ok(Self(bytes)),
            _ => Err(UnknownWord::new(
                text,
                "a chip id has 128 hexadecimal digits, on Turin 16",
            )),
        }
    }
}

impl Serialize for ChipId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChipId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Security versions of a chip's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// FMC, only on Turin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub boot_loader: u8,
    /// Secure processor's operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl Tcb {
    /// Reads TCB_VERSION: Turin has the FMC first, the others begin with the boot loader.
    pub fn from_bytes(product: Option<Product>, bytes: [u8; 8]) -> Self {
        let [a, b, c, d, .., snp, microcode] = bytes;
        match product {
            Some(Product::Turin) => Self {
                fmc: Some(a),
                boot_loader: b,
                tee: c,
                snp: d,
                microcode,
            },
            _ => Self {
                fmc: None,
                boot_loader: a,
                tee: b,
                snp,
                microcode,
            },
        }
    }

    /// The query that the KDS wants, decimal: `blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219`.
    pub fn query(&self) -> String {
        let fmc = self
            .fmc
            .map_or_else(String::new, |fmc| format!("&fmcSPL={fmc:02}"));
        format!(
            "blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}{fmc}",
            self.boot_loader, self.tee, self.snp, self.microcode
        )
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        write!(
            f,
            "bl {} tee {} snp {} ucode {}",
            self.boot_loader, self.tee, self.snp, self.microcode
        )
    }
}

/// The size of an attestation report.
const REPORT_BYTES: usize = 1184;

const PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
const BOOT_LOADER_SVN: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE_SVN: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP_SVN: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
const MICROCODE_SVN: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC_SVN: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HARDWARE_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);

fn field<const N: usize>(report: &[u8], at: usize) -> Option<[u8; N]> {
    report.get(at..)?.first_chunk().copied()
}

/// A DER INTEGER from 0 to 255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [0x02, 0x01, value @ 0..=0x7f] | [0x02, 0x02, 0x00, value @ 0x80..=0xff] => Some(value),
        _ => None,
    }
}

/// A short DER IA5String.
fn ia5_string(der: &[u8]) -> Option<&str> {
    match der {
        [0x16, length, text @ ..] if usize::from(*length) == text.len() => {
            std::str::from_utf8(text).ok()
        }
        _ => None,
    }
}

/// The certificates (DER) of a PEM text, or the one certificate that `bytes` are in DER.
pub(crate) fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    use rustls_pki_types::pem::PemObject;

    if bytes.first() == Some(&0x30) {
        return Some(vec![bytes.to_vec()]);
    }
    let all: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(bytes)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .ok()?;
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: u8, cpu: [u8; 2], tcb: [u8; 8], chip: u8, flags: u8) -> Vec<u8> {
        let mut report = vec![0; REPORT_BYTES];
        report[0] = version;
        report[0x48] = flags;
        report[0x180..0x188].copy_from_slice(&tcb);
        report[0x188..0x18a].copy_from_slice(&cpu);
        report[0x1a0..0x1e0].fill(chip);
        report
    }

    #[test]
    fn turin_has_its_own_tcb_layout_and_short_chip_ids() {
        let tcb = [1, 2, 3, 4, 0, 0, 0, 8];
        let turin = SnpPlatform::of_report(&report(5, [0x1a, 0x02], tcb, 0xab, 0)).unwrap();
        assert_eq!(turin.product, Some(Product::Turin));
        assert_eq!(turin.chip_id.unwrap().to_string(), "ab".repeat(8));
        assert_eq!(
            turin.tcb.query(),
            "blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=08&fmcSPL=01"
        );

        let tcb = [4, 0, 0, 0, 0, 0, 24, 219];
        let genoa = SnpPlatform::of_report(&report(3, [0x19, 0xa0], tcb, 0xab, 0)).unwrap();
        assert_eq!(genoa.product, Some(Product::Genoa));
        assert_eq!(genoa.chip_id.unwrap().as_bytes().len(), 64);
        assert_eq!(
            genoa.tcb.query(),
            "blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"
        );
    }

    #[test]
    fn what_a_report_does_not_say_is_not_made_up() {
        let old = SnpPlatform::of_report(&report(2, [0, 0], [0; 8], 1, 0)).unwrap();
        assert_eq!(old.product, None);
        let lent = SnpPlatform::of_report(&report(3, [0x19, 1], [0; 8], 0, 4)).unwrap();
        assert_eq!((lent.key, lent.chip_id), (Vek::Vlek, None));
        assert_eq!(
            SnpPlatform::of_report(&report(3, [0x19, 1], [0; 8], 0, 0)),
            Err(PlatformError::MaskedChip)
        );
        assert!(matches!(
            SnpPlatform::of_report(&report(3, [0x1b, 1], [0; 8], 1, 0)),
            Err(PlatformError::UnknownCpu { family: 0x1b, .. })
        ));
        assert!(matches!(
            SnpPlatform::of_report(&[0; 1183]),
            Err(PlatformError::ShortReport { found: 1183, .. })
        ));
    }

    #[test]
    fn security_versions_are_der_integers_of_one_byte() {
        assert_eq!(small_integer(&[2, 1, 4]), Some(4));
        assert_eq!(small_integer(&[2, 2, 0, 219]), Some(219));
        for bad in [&[2, 1, 0x80][..], &[2, 2, 1, 0], &[2, 1], &[4, 1, 4], &[]] {
            assert_eq!(small_integer(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_report_and_no_certificate_panics(bytes: Vec<u8>) {
            let _ = SnpPlatform::of_report(&bytes);
            let _ = SnpPlatform::of_certificate(&bytes);
            let _ = certificates(&bytes);
        }
    }
}
