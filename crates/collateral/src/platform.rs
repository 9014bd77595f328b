//! Which platform collateral is about, and how evidence names it.

use std::fmt;
use std::str::FromStr;

use mse_attest::Evidence;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::amd::SnpPlatform;

/// What the collateral of a piece of evidence is asked for by.
///
/// Read from evidence that nobody has verified yet: with a wrong answer here the collateral does
/// not fit, and the appraisal says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Platform {
    /// Intel SGX or TDX.
    Dcap(DcapPlatform),
    /// AMD SEV-SNP.
    Snp(SnpPlatform),
}

impl Platform {
    /// The platform that `evidence` comes from, or `None` if evidence of its kind carries all that
    /// it is appraised with (AWS Nitro, TPMs).
    pub fn of(evidence: &Evidence) -> Result<Option<Self>, PlatformError> {
        match evidence {
            Evidence::SgxDcap(quote) => DcapPlatform::of_quote(quote, DcapTee::Sgx).map(Self::Dcap),
            Evidence::TdxDcap(quote) => DcapPlatform::of_quote(quote, DcapTee::Tdx).map(Self::Dcap),
            Evidence::Snp(report) => SnpPlatform::of_report(report).map(Self::Snp),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dcap(platform) => platform.fmt(f),
            Self::Snp(platform) => platform.fmt(f),
        }
    }
}

/// An Intel platform, as Intel's service tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DcapPlatform {
    /// Which of the two TEEs of the machine.
    pub tee: DcapTee,
    /// The machine's type.
    pub fmspc: Fmspc,
    /// Who certified its PCK.
    pub ca: PckCa,
}

impl DcapPlatform {
    /// Reads FMSPC and CA from the PCK certificate in `quote` (certification data of type 5).
    pub fn of_quote(quote: &[u8], tee: DcapTee) -> Result<Self, PlatformError> {
        const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";
        /// DER of the OID 1.2.840.113741.1.13.1.4 and of the head of an OCTET STRING of 6 bytes.
        const FMSPC: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01\x04\x04\x06";

        let chain = find(quote, PEM)
            .and_then(|at| quote.get(at..))
            .ok_or(PlatformError::NoPck)?;
        let leaf = CertificateDer::pem_slice_iter(chain)
            .next()
            .and_then(Result::ok)
            .ok_or(PlatformError::UnreadablePck)?;
        let (_, certificate) =
            X509Certificate::from_der(&leaf).map_err(|_| PlatformError::UnreadablePck)?;
        let fmspc = find(&leaf, FMSPC)
            .and_then(|at| leaf.get(at + FMSPC.len()..)?.first_chunk())
            .ok_or(PlatformError::UnreadablePck)?;
        Ok(Self {
            tee,
            fmspc: Fmspc(*fmspc),
            ca: PckCa::named_in(&certificate.issuer().to_string()).unwrap_or(PckCa::Platform),
        })
    }
}

impl fmt::Display for DcapPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.tee, self.fmspc, self.ca)
    }
}

/// The TEE that TCB info and QE identity are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DcapTee {
    /// SGX.
    Sgx,
    /// TDX.
    Tdx,
}

impl DcapTee {
    /// `sgx` or `tdx`, as in the paths of Intel's service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
        }
    }
}

impl fmt::Display for DcapTee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DcapTee {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.to_ascii_lowercase().as_str() {
            "sgx" => Ok(Self::Sgx),
            "tdx" => Ok(Self::Tdx),
            _ => Err(UnknownWord::new(text, "write `sgx` or `tdx`")),
        }
    }
}

/// The CA that certified a platform's PCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PckCa {
    /// Client platforms and single-package servers.
    Processor,
    /// Multi-package servers: all that run TDX.
    Platform,
}

impl PckCa {
    /// `processor` or `platform`, as in the queries of Intel's service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }

    /// The CA of this distinguished name.
    pub(crate) fn named_in(issuer: &str) -> Option<Self> {
        if issuer.contains("Processor CA") {
            Some(Self::Processor)
        } else if issuer.contains("Platform CA") {
            Some(Self::Platform)
        } else {
            None
        }
    }
}

impl fmt::Display for PckCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PckCa {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.to_ascii_lowercase().as_str() {
            "processor" => Ok(Self::Processor),
            "platform" => Ok(Self::Platform),
            _ => Err(UnknownWord::new(text, "write `processor` or `platform`")),
        }
    }
}

/// Family, model, stepping, platform type and customer SKU of an Intel platform: 6 bytes, written
/// as 12 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fmspc(pub [u8; 6]);

impl fmt::Display for Fmspc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl FromStr for Fmspc {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let mut fmspc = [0; 6];
        hex::decode_to_slice(text, &mut fmspc)
            .map_err(|_| UnknownWord::new(text, "an FMSPC has 12 hexadecimal digits"))?;
        Ok(Self(fmspc))
    }
}

impl Serialize for Fmspc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fmspc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A text that is none of the words which its place takes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not understood: {fix}")]
pub struct UnknownWord {
    text: String,
    fix: &'static str,
}

impl UnknownWord {
    pub(crate) fn new(text: &str, fix: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            fix,
        }
    }
}

/// Why evidence does not say which platform it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// A quote without a PCK certificate.
    #[error(
        "the quote carries no PCK certificate (certification data of another type than 5), so it does not name its platform; name it with FMSPC and CA"
    )]
    NoPck,
    /// A PCK certificate without FMSPC.
    #[error(
        "the PCK certificate in the quote is not readable, or has no FMSPC; name the platform with FMSPC and CA"
    )]
    UnreadablePck,
    /// Not an SNP report.
    #[error("an SNP report has at least `{expected}` bytes, this has `{found}`; get another one")]
    ShortReport {
        /// The size of a report.
        expected: usize,
        /// The size found.
        found: usize,
    },
    /// A CPU that AMD's key distribution has no name for here.
    #[error(
        "the CPU of the SNP report (family `{family:#04x}`, model `{model:#04x}`) is of no known product line; name the product"
    )]
    UnknownCpu {
        /// CPUID family.
        family: u8,
        /// CPUID model.
        model: u8,
    },
    /// The host hid the chip.
    #[error(
        "the SNP report names no chip (its id is masked), so its VCEK cannot be asked for; let the host unmask it, or use a VLEK"
    )]
    MaskedChip,
}

/// Where `needle` begins in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_nothing_else_is() {
        assert_eq!("TDX".parse(), Ok(DcapTee::Tdx));
        assert_eq!("Processor".parse(), Ok(PckCa::Processor));
        assert_eq!(
            "00606a000000".parse::<Fmspc>().unwrap().to_string(),
            "00606A000000"
        );
        for bad in ["", "00606A0000", "00606A00000000", "00606A00000g"] {
            assert!(bad.parse::<Fmspc>().is_err(), "{bad}");
        }
        assert!("snp".parse::<DcapTee>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_quote_panics(head: Vec<u8>, tail: Vec<u8>) {
            let quote = [&head[..], b"-----BEGIN CERTIFICATE-----\n", &tail].concat();
            let _ = DcapPlatform::of_quote(&quote, DcapTee::Sgx);
            let _ = DcapPlatform::of_quote(&head, DcapTee::Sgx);
        }
    }
}
