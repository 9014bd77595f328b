//! Layout of SGX ECDSA quotes, version 3.
//!
//! Follows Intel's *SGX ECDSA QuoteLibReference DCAP API*, appendix A: header (48 bytes), report
//! body (384 bytes), length and signature data. All integers are little-endian.

use thiserror::Error;

pub use crate::explain::{Field, fields};

/// The largest quote that is read. Genuine ones are about 5 KiB.
pub const MAX_QUOTE_BYTES: usize = 16 * 1024;

/// A quote of the exact layout, borrowed from its bytes.
pub(crate) struct SgxQuote<'a> {
    pub(crate) qe_svn: u16,
    pub(crate) pce_svn: u16,
    pub(crate) user_data: &'a [u8; 20],
    pub(crate) report: Report<'a>,
    /// Header and report body: what the attestation key signs.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
    pub(crate) attestation_key: &'a [u8; 64],
    pub(crate) qe_report: Report<'a>,
    pub(crate) qe_signature: &'a [u8; 64],
    pub(crate) qe_auth_data: &'a [u8],
    pub(crate) certification_type: u16,
    pub(crate) certification_data: &'a [u8],
    /// From the attestation key to the end: everything that vouches for the attestation key, and
    /// the same in every quote of one quoting enclave.
    pub(crate) endorsed: &'a [u8],
}

impl<'a> SgxQuote<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, QuoteError> {
        if raw.len() > MAX_QUOTE_BYTES {
            return Err(QuoteError::TooLarge { size: raw.len() });
        }
        let mut reader = Reader { raw, at: 0 };
        let version = reader.u16("header.version")?;
        let key_type = reader.u16("header.attestation_key_type")?;
        let tee_type = reader.u32("header.tee_type")?;
        if (version, tee_type) != (3, 0) {
            return Err(QuoteError::Kind { version, tee_type });
        }
        if key_type != ECDSA_P256_KEY {
            return Err(QuoteError::KeyType { key_type });
        }
        let qe_svn = reader.u16("header.qe_svn")?;
        let pce_svn = reader.u16("header.pce_svn")?;
        let vendor_id = reader.array::<16>("header.qe_vendor_id")?;
        if *vendor_id != dcap_qvl::INTEL_QE_VENDOR_ID {
            return Err(QuoteError::Vendor {
                id: hex::encode(vendor_id),
            });
        }
        let user_data = reader.array("header.user_data")?;
        let report = Report(reader.array("report")?);
        let signed = reader.consumed();

        let declared = reader.length("signature_data.length")?;
        let present = reader.rest().len();
        if declared != present {
            return Err(QuoteError::SignatureDataLength { declared, present });
        }
        let signature = reader.array("signature_data.signature")?;
        let endorsed = reader.rest();
        let attestation_key = reader.array("signature_data.attestation_key")?;
        let qe_report = Report(reader.array("signature_data.qe_report")?);
        let qe_signature = reader.array("signature_data.qe_report_signature")?;
        let auth_length = reader.u16("signature_data.qe_auth_data.length")?;
        let qe_auth_data = reader.slice("signature_data.qe_auth_data", usize::from(auth_length))?;
        let certification_type = reader.u16("signature_data.certification_data.type")?;
        let declared = reader.length("signature_data.certification_data.length")?;
        let present = reader.rest().len();
        if declared != present {
            return Err(QuoteError::CertificationDataLength { declared, present });
        }
        Ok(Self {
            qe_svn,
            pce_svn,
            user_data,
            report,
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
}

/// The body of an enclave report, 384 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Report<'a>(&'a [u8; 384]);

impl<'a> Report<'a> {
    pub(crate) fn cpu_svn(self) -> &'a [u8; 16] {
        self.part::<0, 16>()
    }

    pub(crate) fn misc_select(self) -> &'a [u8; 4] {
        self.part::<16, 4>()
    }

    pub(crate) fn attributes(self) -> &'a [u8; 16] {
        self.part::<48, 16>()
    }

    pub(crate) fn is_debug(self) -> bool {
        self.attributes()[0] & 0b10 != 0
    }

    pub(crate) fn mrenclave(self) -> &'a [u8; 32] {
        self.part::<64, 32>()
    }

    pub(crate) fn mrsigner(self) -> &'a [u8; 32] {
        self.part::<128, 32>()
    }

    pub(crate) fn isv_prod_id(self) -> u16 {
        u16::from_le_bytes(*self.part::<256, 2>())
    }

    pub(crate) fn isv_svn(self) -> u16 {
        u16::from_le_bytes(*self.part::<258, 2>())
    }

    pub(crate) fn report_data(self) -> &'a [u8; 64] {
        self.part::<320, 64>()
    }

    /// `N` bytes from `AT`; both are constants, so an overrun is an error of compilation.
    fn part<const AT: usize, const N: usize>(self) -> &'a [u8; N] {
        const { assert!(AT + N <= 384) };
        self.0[AT..]
            .first_chunk()
            .expect("AT + N <= 384 holds at compile time")
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
        "version `{version}` with TEE type `{tee_type:#x}` is not a supported kind of quote; supported is version 3 with TEE type 0 (SGX)"
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
pub(crate) const PCK_CERTIFICATE_CHAIN: u16 = 5;

/// Attestation key type: ECDSA on P-256 with SHA-256.
pub(crate) const ECDSA_P256_KEY: u16 = 2;

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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Evidence;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let _ = Evidence::parse(&bytes);
        }

        /// Random bytes rarely get past the header, so this starts from one that is right.
        #[test]
        fn no_bytes_after_a_good_header_make_the_parser_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..6000),
        ) {
            let mut bytes = vec![3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(dcap_qvl::INTEL_QE_VENDOR_ID);
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
        let error = Evidence::parse(&[4, 0, 2, 0, 0x81, 0, 0, 0]).unwrap_err();
        assert!(matches!(
            error,
            QuoteError::Kind {
                version: 4,
                tee_type: 0x81
            }
        ));
    }
}
