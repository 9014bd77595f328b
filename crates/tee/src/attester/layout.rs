//! Just enough of the evidence formats to see that the hardware answered what was asked: which
//! report data, and where the evidence ends. All judgement is `mse_attest`'s.
//!
//! Formats: Intel DCAP quotes of version 3 (SGX), 4 and 5 (SGX, TDX), and AMD SEV-SNP attestation
//! reports (SEV-SNP Firmware ABI, document 56860), all little-endian.

/// The kinds of evidence that attesters of this machine's hardware give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A DCAP quote of an SGX enclave.
    SgxQuote,
    /// A DCAP quote of a TDX guest.
    TdxQuote,
    /// A SEV-SNP attestation report without its certificates.
    SnpReport,
}

/// Evidence without what follows it, and the report data that it states.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) evidence: Vec<u8>,
    pub(super) report_data: [u8; 64],
}

/// Reads `bytes`, which must be of this `form`. Quoting services round the size of a quote up, so
/// zeros after it are cut off; anything else there is refused.
pub(super) fn read(form: Form, mut bytes: Vec<u8>) -> Result<Stated, LayoutError> {
    if bytes.is_empty() {
        return Err(LayoutError::Empty);
    }
    let (report_data_at, length) = match form {
        Form::SgxQuote => dcap(&bytes, SGX)?,
        Form::TdxQuote => dcap(&bytes, TDX)?,
        Form::SnpReport => snp(&bytes)?,
    };
    let report_data = array(&bytes, report_data_at, "report data")?;
    let found = bytes.len();
    let after = bytes.get(length..).ok_or(LayoutError::Truncated {
        field: "signature data",
        found,
    })?;
    if after.iter().any(|byte| *byte != 0) {
        return Err(LayoutError::Trailing {
            length,
            trailing: after.len(),
        });
    }
    bytes.truncate(length);
    Ok(Stated {
        evidence: bytes,
        report_data,
    })
}

/// TEE types of a DCAP quote's header.
const SGX: u32 = 0;
const TDX: u32 = 0x81;

const DCAP_HEADER: usize = 48;
/// In a report body of SGX and of TDX.
const SGX_REPORT_DATA: usize = 320;
const TDX_REPORT_DATA: usize = 520;
const SGX_BODY: usize = 384;
const TDX_BODY: usize = 584;

/// Where the report data lies, and the length that the quote has by its own account.
fn dcap(quote: &[u8], expected: u32) -> Result<(usize, usize), LayoutError> {
    let version = u16::from_le_bytes(array(quote, 0, "version")?);
    let tee = u32::from_le_bytes(array(quote, 4, "TEE type")?);
    if tee != expected {
        return Err(LayoutError::Tee {
            found: tee,
            expected,
        });
    }
    let (report_data, default_body) = match tee {
        TDX => (TDX_REPORT_DATA, TDX_BODY),
        _ => (SGX_REPORT_DATA, SGX_BODY),
    };
    let (body_at, body) = match version {
        3 if tee == SGX => (DCAP_HEADER, default_body),
        4 => (DCAP_HEADER, default_body),
        // Version 5 says itself what body follows: type (2 bytes) and size (4 bytes).
        5 => {
            let size = u32::from_le_bytes(array(quote, DCAP_HEADER + 2, "body size")?);
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size < report_data + 64 || size > quote.len() {
                return Err(LayoutError::BodySize(size));
            }
            (DCAP_HEADER + 6, size)
        }
        _ => return Err(LayoutError::Version(version)),
    };
    let signature_at = body_at + body;
    let signature = u32::from_le_bytes(array(quote, signature_at, "signature length")?);
    let length = usize::try_from(signature)
        .unwrap_or(usize::MAX)
        .saturating_add(signature_at + 4);
    Ok((body_at + report_data, length))
}

const SNP_REPORT: usize = 1184;
const SNP_REPORT_DATA: usize = 0x50;

fn snp(report: &[u8]) -> Result<(usize, usize), LayoutError> {
    if report.len() != SNP_REPORT {
        return Err(LayoutError::SnpSize(report.len()));
    }
    let version = u32::from_le_bytes(array(report, 0, "version")?);
    if version < 2 {
        return Err(LayoutError::SnpVersion(version));
    }
    Ok((SNP_REPORT_DATA, SNP_REPORT))
}

fn array<const N: usize>(
    bytes: &[u8],
    at: usize,
    field: &'static str,
) -> Result<[u8; N], LayoutError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(LayoutError::Truncated {
            field,
            found: bytes.len(),
        })
}

/// Why bytes are not evidence of the form they should have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// It ends too early.
    #[error("it ends after `{found}` bytes, inside its {field}")]
    Truncated {
        /// What is not complete.
        field: &'static str,
        /// How long it is.
        found: usize,
    },
    /// A quote of another version.
    #[error("it is a quote of version `{0}`; known are 3 (SGX), 4 and 5")]
    Version(u16),
    /// A quote of another TEE.
    #[error("it is a quote of TEE type `{found:#x}` instead of `{expected:#x}`")]
    Tee {
        /// The type found.
        found: u32,
        /// The type that was due.
        expected: u32,
    },
    /// A version 5 quote's body that cannot hold report data, or is longer than the quote.
    #[error("it is a quote whose body would have `{0}` bytes")]
    BodySize(usize),
    /// Something follows the quote.
    #[error("it is a quote of `{length}` bytes with `{trailing}` more bytes that are not zero")]
    Trailing {
        /// How long the quote is.
        length: usize,
        /// How much follows.
        trailing: usize,
    },
    /// Not the size of an SNP report.
    #[error("it has `{0}` bytes; a SEV-SNP report has {SNP_REPORT}")]
    SnpSize(usize),
    /// A report older than any in use.
    #[error("it is a SEV-SNP report of version `{0}`; known are 2 and newer")]
    SnpVersion(u32),
}

#[cfg(test)]
mod tests;
