//! Quotes of the DCAP form, version 3: how their bytes are laid out.
//!
//! Follows Intel's *SGX ECDSA QuoteLibReference DCAP API*, appendix A. All integers are
//! little-endian.

use aws_lc_rs::digest::{SHA256, digest};

use crate::pck::{PCE_SVN, TCB_COMPONENTS};

/// What a quote says about the enclave, besides measurement and report data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteOptions {
    /// Whether the enclave runs in debug mode.
    pub debug: bool,
    /// The enclave's signer, if it is not the platform's.
    pub mrsigner: Option<[u8; 32]>,
    /// The enclave's product id.
    pub isv_prod_id: u16,
    /// The enclave's security version.
    pub isv_svn: u16,
    /// The enclave that signs the quote.
    pub quoting_enclave: QuotingEnclave,
}

impl Default for QuoteOptions {
    /// A production enclave, as every honest quote is about.
    fn default() -> Self {
        Self {
            debug: false,
            mrsigner: None,
            isv_prod_id: 1,
            isv_svn: 1,
            quoting_enclave: QuotingEnclave::default(),
        }
    }
}

/// What the platform's key says about the quoting enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotingEnclave {
    /// Whether it runs in debug mode.
    pub debug: bool,
    /// Its security version.
    pub isv_svn: u16,
    /// Its signer.
    pub mrsigner: [u8; 32],
    /// Whether its report vouches for the attestation key that signs.
    pub vouches_for_key: bool,
}

impl Default for QuotingEnclave {
    /// The one that the platform's QE identity describes.
    fn default() -> Self {
        Self {
            debug: false,
            isv_svn: QE_ISV_SVN,
            mrsigner: qe_mrsigner(),
            vouches_for_key: true,
        }
    }
}

/// Signer of the simulated quoting enclave.
pub(crate) fn qe_mrsigner() -> [u8; 32] {
    sha256(b"MSE SIMULATED quoting enclave signer")
}

/// Product id of the quoting enclave.
pub(crate) const QE_ISV_PROD_ID: u16 = 1;

/// Security version of the quoting enclave.
pub(crate) const QE_ISV_SVN: u16 = 1;

/// Attributes of the quoting enclave: initialised, 64-bit, provisioning key.
pub(crate) const QE_ATTRIBUTES: [u8; 16] = attributes(INITIALISED | MODE_64_BIT | PROVISION_KEY);

/// Header and report body: what the attestation key signs.
pub(crate) fn signed_part(
    mrenclave: [u8; 32],
    mrsigner: [u8; 32],
    report_data: &[u8; 64],
    options: &QuoteOptions,
) -> Vec<u8> {
    let mut signed = Vec::with_capacity(48 + 384);
    signed.extend(VERSION.to_le_bytes());
    signed.extend(ECDSA_P256.to_le_bytes());
    signed.extend(TEE_SGX.to_le_bytes());
    signed.extend(QE_ISV_SVN.to_le_bytes());
    signed.extend(u16::from(PCE_SVN).to_le_bytes());
    signed.extend(INTEL_QE_VENDOR_ID);
    signed.extend(USER_DATA);
    let mut flags = INITIALISED | MODE_64_BIT;
    if options.debug {
        flags |= DEBUG;
    }
    signed.extend(report_body(&ReportBody {
        attributes: attributes(flags),
        mrenclave,
        mrsigner: options.mrsigner.unwrap_or(mrsigner),
        isv_prod_id: options.isv_prod_id,
        isv_svn: options.isv_svn,
        report_data: *report_data,
    }));
    signed
}

/// The quoting enclave's report, which binds the attestation key to it.
pub(crate) fn qe_report(attestation_key: &[u8; 64], enclave: &QuotingEnclave) -> [u8; 384] {
    let mut report_data = [0; 64];
    if enclave.vouches_for_key {
        let vouched = [attestation_key.as_slice(), &QE_AUTH_DATA].concat();
        report_data[..32].copy_from_slice(&sha256(&vouched));
    }
    let mut attributes = QE_ATTRIBUTES;
    if enclave.debug {
        attributes[0] |= DEBUG;
    }
    report_body(&ReportBody {
        attributes,
        mrenclave: sha256(b"MSE SIMULATED quoting enclave"),
        mrsigner: enclave.mrsigner,
        isv_prod_id: QE_ISV_PROD_ID,
        isv_svn: enclave.isv_svn,
        report_data,
    })
}

/// Everything after the quote's own signature.
pub(crate) fn endorsed_part(
    attestation_key: &[u8; 64],
    qe_report: &[u8; 384],
    qe_signature: &[u8; 64],
    pck_chain: &[u8],
) -> Vec<u8> {
    let mut endorsed = Vec::new();
    endorsed.extend(attestation_key);
    endorsed.extend(qe_report);
    endorsed.extend(qe_signature);
    endorsed.extend(32_u16.to_le_bytes());
    endorsed.extend(QE_AUTH_DATA);
    endorsed.extend(PCK_CERTIFICATE_CHAIN.to_le_bytes());
    endorsed.extend(length(pck_chain.len()));
    endorsed.extend(pck_chain);
    endorsed
}

/// The quote from its parts.
pub(crate) fn assemble(signed: &[u8], signature: &[u8; 64], endorsed: &[u8]) -> Vec<u8> {
    let mut quote = Vec::with_capacity(signed.len() + 4 + signature.len() + endorsed.len());
    quote.extend(signed);
    quote.extend(length(signature.len() + endorsed.len()));
    quote.extend(signature);
    quote.extend(endorsed);
    quote
}

const VERSION: u16 = 3;
const ECDSA_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const PCK_CERTIFICATE_CHAIN: u16 = 5;

const INITIALISED: u8 = 0x01;
const DEBUG: u8 = 0x02;
const MODE_64_BIT: u8 = 0x04;
const PROVISION_KEY: u8 = 0x10;

/// Verifiers refuse version 3 quotes of any other vendor.
const INTEL_QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// Which quoting enclave made the quote: for the eyes of people only.
const USER_DATA: [u8; 20] = *b"MSE SIMULATED\0\0\0\0\0\0\0";

/// Intel's quoting enclave has 32 bytes here, counted up; so has this one.
const QE_AUTH_DATA: [u8; 32] = {
    let mut data = [0; 32];
    let mut at = 0;
    let mut value = 0;
    while at < data.len() {
        data[at] = value;
        value += 1;
        at += 1;
    }
    data
};

struct ReportBody {
    attributes: [u8; 16],
    mrenclave: [u8; 32],
    mrsigner: [u8; 32],
    isv_prod_id: u16,
    isv_svn: u16,
    report_data: [u8; 64],
}

fn report_body(report: &ReportBody) -> [u8; 384] {
    let mut body = [0; 384];
    body[..16].copy_from_slice(&TCB_COMPONENTS);
    body[48..64].copy_from_slice(&report.attributes);
    body[64..96].copy_from_slice(&report.mrenclave);
    body[128..160].copy_from_slice(&report.mrsigner);
    body[256..258].copy_from_slice(&report.isv_prod_id.to_le_bytes());
    body[258..260].copy_from_slice(&report.isv_svn.to_le_bytes());
    body[320..].copy_from_slice(&report.report_data);
    body
}

/// Flags, then XFRM: x87, SSE, AVX and AVX-512, as servers have it.
const fn attributes(flags: u8) -> [u8; 16] {
    [flags, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]
}

/// A length field. What is measured here is a few KiB.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("a quote is far smaller than 4 GiB")
        .to_le_bytes()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
