//! The layout of a quote.

use thiserror::Error;

use super::report::{EnclaveReport, TdReport};
use crate::{Claims, Tee};

/// The largest quote that is read. Genuine ones have 4 to 10 KiB.
pub const MAX_QUOTE_BYTES: usize = 32 * 1024;

/// The parts of a quote, by reference to its bytes. Nothing is verified.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Quote<'a> {
    /// Version of the layout: 3, 4 or 5.
    pub version: u16,
    /// Security version of the quoting enclave; zero from version 4 on.
    pub qe_svn: u16,
    /// Security version of the provisioning certification enclave; zero from version 4 on.
    pub pce_svn: u16,
    /// Which quoting enclave made it.
    pub user_data: &'a [u8; 20],
    /// The report that is quoted.
    pub body: Body<'a>,
    /// The part that `signature` covers: header and body, with the body's descriptor in between
    /// in version 5.
    pub(super) signed: &'a [u8],
    /// ECDSA signature, `r ‖ s`.
    pub(super) signature: &'a [u8; 64],
    /// Public key that made it, `x ‖ y`.
    pub(super) attestation_key: &'a [u8; 64],
    /// Report of the quoting enclave.
    pub qe_report: EnclaveReport<'a>,
    /// Signature over `qe_report` by the PCK, `r ‖ s`.
    pub(super) qe_signature: &'a [u8; 64],
    pub(super) qe_auth_data: &'a [u8],
    /// What `certification_data` is.
    pub(super) certification_type: u16,
    pub(super) certification_data: &'a [u8],
    /// From the attestation key to the end: everything that vouches for the attestation key, and
    /// the same in every quote of one quoting enclave.
    pub(super) endorsed: &'a [u8],
}

/// What is quoted.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Body<'a> {
    /// An SGX enclave.
    Sgx(EnclaveReport<'a>),
    /// A TDX trust domain.
    Tdx(TdReport<'a>),
}

impl<'a> Body<'a> {
    /// What the code put into the report.
    pub fn report_data(self) -> &'a [u8; 64] {
        match self {
            Self::Sgx(report) => report.report_data(),
            Self::Tdx(report) => report.report_data(),
        }
    }

    pub(super) fn tee(self) -> Tee {
        match self {
            Self::Sgx(_) => Tee::Sgx,
            Self::Tdx(_) => Tee::Tdx,
        }
    }

    pub(super) fn claims(self) -> Claims {
        match self {
            Self::Sgx(report) => Claims::Sgx(report.claims()),
            Self::Tdx(report) => Claims::Tdx(Box::new(report.claims())),
        }
    }

    /// The parts of the report by which TCB levels are chosen: two quotes of one quoting enclave
    /// with the same parts share their endorsement.
    pub(super) fn tcb_selectors(self) -> [&'a [u8]; 4] {
        match self {
            Self::Sgx(_) => [&[]; 4],
            Self::Tdx(report) => [
                report.tee_tcb_svn(),
                report.tee_tcb_svn2().map_or(&[], |svn| svn),
                report.mr_signer_seam(),
                report.seam_attributes(),
            ],
        }
    }
}

impl<'a> Quote<'a> {
    /// Reads `raw`, which must be a quote and nothing else.
    ///
    /// What some tools leave behind a quote (the rest of a zeroed buffer) is refused here, since
    /// no signature covers it; whoever reads such a buffer cuts it to the quote's length first.
    pub fn parse(raw: &'a [u8]) -> Result<Self, QuoteError> {
        if raw.len() > MAX_QUOTE_BYTES {
            return Err(QuoteError::TooLarge { size: raw.len() });
        }
        let mut reader = Reader { raw, at: 0 };
        let version = reader.u16("header.version")?;
        let key_type = reader.u16("header.attestation_key_type")?;
        let tee_type = reader.u32("header.tee_type")?;
        if !matches!(
            (version, tee_type),
            (3, SGX_TEE) | (4 | 5, SGX_TEE | TDX_TEE)
        ) {
            return Err(QuoteError::Kind { version, tee_type });
        }
        if key_type != ECDSA_P256_KEY {
            return Err(QuoteError::KeyType { key_type });
        }
        let qe_svn = reader.u16("header.qe_svn")?;
        let pce_svn = reader.u16("header.pce_svn")?;
        let vendor_id = reader.array::<16>("header.qe_vendor_id")?;
        if *vendor_id != INTEL_QE_VENDOR_ID {
            return Err(QuoteError::Vendor {
                id: hex::encode(vendor_id),
            });
        }
        let user_data = reader.array("header.user_data")?;
        let body = match version {
            5 => reader.described_body(tee_type)?,
            _ if tee_type == TDX_TEE => reader.td_report(TD_10_BYTES)?,
            _ => Body::Sgx(EnclaveReport(reader.array("report")?)),
        };
        let signed = reader.consumed();

        let declared = reader.length("signature_data.length")?;
        let present = reader.rest().len();
        if declared != present {
            return Err(QuoteError::SignatureDataLength { declared, present });
        }
        let signature = reader.array("signature_data.signature")?;
        let endorsed = reader.rest();
        let attestation_key = reader.array("signature_data.attestation_key")?;
        if version != 3 {
            let outer = reader.u16("signature_data.certification_data.type")?;
            if outer != QE_REPORT_CERTIFICATION_DATA {
                return Err(QuoteError::OuterCertificationType { outer });
            }
            reader.exact_length("signature_data.certification_data.length")?;
        }
        let qe_report = EnclaveReport(reader.array("signature_data.qe_report")?);
        let qe_signature = reader.array("signature_data.qe_report_signature")?;
        let auth_length = reader.u16("signature_data.qe_auth_data.length")?;
        let qe_auth_data = reader.slice("signature_data.qe_auth_data", usize::from(auth_length))?;
        let certification_type = reader.u16("signature_data.pck_certification_data.type")?;
        reader.exact_length("signature_data.pck_certification_data.length")?;
        Ok(Self {
            version,
            qe_svn,
            pce_svn,
            user_data,
            body,
            signed,
            signature,
            attestation_key,
            qe_report,
            qe_signature,
            qe_auth_data,
            certification_type,
            certification_data: reader.rest(),
            endorsed,
        })
    }

    /// The PEM chain of the PCK certificate that the quote carries, if it does.
    pub fn pck_chain_pem(&self) -> Option<&'a [u8]> {
        (self.certification_type == PCK_CERTIFICATE_CHAIN).then_some(self.certification_data)
    }
}

/// Why bytes are not a quote of the supported form.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Larger than any genuine quote could be.
    #[error("the quote has `{size}` bytes, more than the limit of {MAX_QUOTE_BYTES}")]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// It ends inside a field.
    #[error("the quote ends at byte `{size}`, inside the field `{field}`")]
    Truncated {
        /// The field that is not complete.
        field: &'static str,
        /// The size found, in bytes.
        size: usize,
    },
    /// Another kind of evidence.
    #[error(
        "version `{version}` with TEE type `{tee_type:#x}` is not a supported kind of quote; supported are version 3 with TEE type 0 (SGX), and versions 4 and 5 with 0 or 0x81 (TDX)"
    )]
    Kind {
        /// Version of the quote.
        version: u16,
        /// TEE type of the quote.
        tee_type: u32,
    },
    /// Another algorithm.
    #[error("attestation key type `{key_type}` is not supported; only 2 (ECDSA on P-256) is")]
    KeyType {
        /// The type found.
        key_type: u16,
    },
    /// Not Intel's quoting enclave.
    #[error("QE vendor id `{id}` is not Intel's")]
    Vendor {
        /// The id found.
        id: String,
    },
    /// A version 5 quote about something else than its header says, or of an unknown layout.
    #[error(
        "body type `{body_type}` with `{size}` bytes in a quote of TEE type `{tee_type:#x}` is not supported; supported are 1 (SGX, 384), 2 (TDX 1.0, 584), 3 (TDX 1.5, 648) and 4 (TDX 1.5ex, 885)"
    )]
    Body {
        /// Type of the body.
        body_type: u16,
        /// What the quote says about its size, in bytes.
        size: usize,
        /// TEE type of the quote.
        tee_type: u32,
    },
    /// A version 4 or 5 quote whose attestation key is vouched for in another way.
    #[error("certification data of type `{outer}` is not supported; only 6 (a QE report) is")]
    OuterCertificationType {
        /// The type found.
        outer: u16,
    },
    /// Bytes are missing at the end, or too many follow.
    #[error(
        "the quote declares `{declared}` bytes of signature data and has `{present}`; nothing may be cut off or follow"
    )]
    SignatureDataLength {
        /// What the length field says.
        declared: usize,
        /// What is there.
        present: usize,
    },
    /// The certification data does not end where the quote ends.
    #[error("the quote declares `{declared}` bytes of certification data and has `{present}`")]
    CertificationDataLength {
        /// What the length field says.
        declared: usize,
        /// What is there.
        present: usize,
    },
}

/// Certification data type: PEM chain of the PCK certificate.
pub(super) const PCK_CERTIFICATE_CHAIN: u16 = 5;

/// Certification data type: QE report with what vouches for it.
const QE_REPORT_CERTIFICATION_DATA: u16 = 6;

/// Attestation key type: ECDSA on P-256 with SHA-256.
pub(super) const ECDSA_P256_KEY: u16 = 2;

/// Intel's id as the maker of quoting enclaves, 939a7233-f79c-4ca9-940a-0db3957f0607.
pub(super) const INTEL_QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

const SGX_TEE: u32 = 0;
const TDX_TEE: u32 = 0x81;
const TD_10_BYTES: usize = 584;
const TD_15_BYTES: usize = 648;
const TD_15_EX_BYTES: usize = 885;

/// Takes fields from the front; every error names the field.
struct Reader<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn consumed(&self) -> &'a [u8] {
        &self.raw[..self.at]
    }

    fn rest(&self) -> &'a [u8] {
        &self.raw[self.at..]
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], QuoteError> {
        let size = self.raw.len();
        let array = self
            .rest()
            .first_chunk()
            .ok_or(QuoteError::Truncated { field, size })?;
        self.at += N;
        Ok(array)
    }

    fn slice(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], QuoteError> {
        let size = self.raw.len();
        let slice = self
            .rest()
            .get(..length)
            .ok_or(QuoteError::Truncated { field, size })?;
        self.at += length;
        Ok(slice)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, QuoteError> {
        self.array(field).map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, QuoteError> {
        self.array(field).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// A 32-bit length. One that does not fit `usize` cannot be true either.
    fn length(&mut self, field: &'static str) -> Result<usize, QuoteError> {
        Ok(usize::try_from(self.u32(field)?).unwrap_or(usize::MAX))
    }

    /// A length that must be that of all that follows.
    fn exact_length(&mut self, field: &'static str) -> Result<(), QuoteError> {
        let declared = self.length(field)?;
        let present = self.rest().len();
        if declared == present {
            Ok(())
        } else {
            Err(QuoteError::CertificationDataLength { declared, present })
        }
    }

    /// The body of a version 5 quote, behind its type and size.
    fn described_body(&mut self, tee_type: u32) -> Result<Body<'a>, QuoteError> {
        let body_type = self.u16("body.type")?;
        let size = self.length("body.size")?;
        match (body_type, tee_type, size) {
            (1, SGX_TEE, 384) => Ok(Body::Sgx(EnclaveReport(self.array("report")?))),
            (2, TDX_TEE, TD_10_BYTES)
            | (3, TDX_TEE, TD_15_BYTES)
            | (4, TDX_TEE, TD_15_EX_BYTES) => self.td_report(size),
            _ => Err(QuoteError::Body {
                body_type,
                size,
                tee_type,
            }),
        }
    }

    fn td_report(&mut self, size: usize) -> Result<Body<'a>, QuoteError> {
        let base = self.array("td_report")?;
        let extension = if size >= TD_15_BYTES {
            Some(self.array("td_report.extension")?)
        } else {
            None
        };
        let second_extension = if size >= TD_15_EX_BYTES {
            Some(self.array("td_report.second_extension")?)
        } else {
            None
        };
        Ok(Body::Tdx(TdReport {
            base,
            extension,
            second_extension,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Evidence, EvidenceError};

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let _ = Evidence::parse(&bytes);
        }

        /// Random bytes rarely get past the header, so this starts from one that is right.
        #[test]
        fn no_bytes_after_a_good_header_make_the_parser_panic(
            version in 3_u8..=5,
            tee in prop::sample::select(vec![0_u8, 0x81]),
            tail in proptest::collection::vec(any::<u8>(), 0..6000),
        ) {
            let mut bytes = vec![version, 0, 2, 0, tee, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(INTEL_QE_VENDOR_ID);
            bytes.extend(tail);
            let _ = Evidence::parse(&bytes);
        }
    }

    #[test]
    fn the_error_names_the_field_that_is_cut() {
        let Err(error) = Evidence::parse(&[3, 0, 2, 0, 0, 0, 0, 0, 0]) else {
            panic!("nine bytes are no quote");
        };
        assert!(error.to_string().contains("`header.qe_svn`"), "{error}");
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        let error = Evidence::parse(&[3, 0, 2, 0, 0x81, 0, 0, 0]).unwrap_err();
        assert!(matches!(
            error,
            EvidenceError::Quote(QuoteError::Kind {
                version: 3,
                tee_type: 0x81
            })
        ));
    }
}
