//! HCL reports: what Azure's paravisor leaves in the NV index `0x01400001` of its vTPM.
//!
//! The paravisor (OpenHCL, or the HCL before it) runs inside of the confidential VM, with more
//! rights than the guest. It makes the vTPM, describes it in a JSON document, the *runtime data*,
//! and has the hardware sign the hash of that document. Layout, little-endian: a header of 32
//! bytes, 1184 bytes for the hardware report, a header of 20 bytes (`IGVM_REQUEST_DATA`), the
//! runtime data, and zeros up to the size of the NV index.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use thiserror::Error;

use super::{
    key::{AttestationKey, KeyError},
    td_report::{self, TD_REPORT_BYTES},
};
use crate::digest::sha256;

/// First bytes of every HCL report.
pub(super) const MAGIC: &[u8; 4] = b"HCLA";
/// The largest report that is read. The NV index has 2600 bytes.
const MAX_REPORT_BYTES: usize = 64 * 1024;

const HARDWARE_REPORT_AT: usize = 0x20;
const HARDWARE_AREA_BYTES: usize = 1184;
const REQUEST_DATA_AT: usize = HARDWARE_REPORT_AT + HARDWARE_AREA_BYTES;
const REQUEST_DATA_BYTES: usize = 20;
const RUNTIME_DATA_AT: usize = REQUEST_DATA_AT + REQUEST_DATA_BYTES;

/// Versions of the header in use; they do not differ in layout.
const HEADER_VERSIONS: [u32; 2] = [1, 2];
/// The request that asks for a certificate of the attestation key.
const AK_CERTIFICATE_REQUEST: u32 = 2;
const REQUEST_DATA_VERSION: u32 = 1;
const REPORT_TYPE_SNP: u32 = 2;
const REPORT_TYPE_TDX: u32 = 4;
const HASH_TYPE_SHA256: u32 = 1;
/// `kid` of the vTPM's attestation key.
const AK_KEY_ID: &str = "HCLAkPub";

/// The hardware under a paravisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hardware {
    Snp,
    Tdx,
}

impl Hardware {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }
}

/// A report whose layout was checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HclReport {
    raw: Vec<u8>,
    pub(super) header_version: u32,
    pub(super) hardware: Hardware,
    runtime_data_end: usize,
    pub(super) ak: AttestationKey,
    /// What the guest wrote into the NV index `0x01400002`: 64 bytes, zero if it wrote nothing.
    pub(super) user_data: Option<Vec<u8>>,
    /// What the paravisor was configured with.
    pub(super) vm_configuration: Option<serde_json::Map<String, serde_json::Value>>,
}

impl HclReport {
    pub(super) fn parse(mut raw: Vec<u8>) -> Result<Self, HclError> {
        let size = raw.len();
        if size > MAX_REPORT_BYTES {
            return Err(HclError::TooLarge { size });
        }
        if raw.first_chunk() != Some(MAGIC) {
            return Err(HclError::Magic);
        }
        let word = |at: usize| {
            raw.get(at..)
                .and_then(<[u8]>::first_chunk)
                .map(|bytes| u32::from_le_bytes(*bytes))
                .ok_or(HclError::Truncated { size })
        };
        let must_be = |field, at, expected: &[u32]| {
            let value = word(at)?;
            if expected.contains(&value) {
                Ok(value)
            } else {
                let expected = expected.to_vec();
                Err(HclError::Value {
                    field,
                    value,
                    expected,
                })
            }
        };
        let header_version = must_be("header.version", 4, &HEADER_VERSIONS)?;
        let report_size = word(8)?;
        must_be("header.request_type", 12, &[AK_CERTIFICATE_REQUEST])?;
        must_be("header.status", 16, &[0])?;
        for at in [20, 24, 28] {
            must_be("header.reserved", at, &[0])?;
        }
        let data_size = word(REQUEST_DATA_AT)?;
        must_be(
            "request_data.version",
            REQUEST_DATA_AT + 4,
            &[REQUEST_DATA_VERSION],
        )?;
        let report_type = must_be(
            "request_data.report_type",
            REQUEST_DATA_AT + 8,
            &[REPORT_TYPE_SNP, REPORT_TYPE_TDX],
        )?;
        must_be(
            "request_data.hash_type",
            REQUEST_DATA_AT + 12,
            &[HASH_TYPE_SHA256],
        )?;
        let variable_data_size = word(REQUEST_DATA_AT + 16)?;

        let in_usize = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let runtime_data_end = RUNTIME_DATA_AT.saturating_add(in_usize(variable_data_size));
        if runtime_data_end > size {
            return Err(HclError::Truncated { size });
        }
        for (field, stated, found) in [
            (
                "request_data.data_size",
                data_size,
                runtime_data_end - REQUEST_DATA_AT,
            ),
            ("header.report_size", report_size, runtime_data_end),
        ] {
            if in_usize(stated) != found {
                return Err(HclError::Size {
                    field,
                    stated,
                    found,
                });
            }
        }
        let hardware = hardware(report_type, &raw, runtime_data_end)?;
        // The rest is the size of the NV index that it was read from.
        raw.truncate(runtime_data_end);
        let runtime: RuntimeData = serde_json::from_slice(&raw[RUNTIME_DATA_AT..runtime_data_end])
            .map_err(HclError::RuntimeData)?;
        let user_data = runtime
            .user_data
            .map(hex::decode)
            .transpose()
            .map_err(|_| HclError::UserData)?;
        let ak = find_ak(&runtime.keys)?;
        Ok(Self {
            header_version,
            hardware,
            runtime_data_end,
            ak,
            user_data,
            vm_configuration: runtime.vm_configuration,
            raw,
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The SNP report (1184 bytes) or the TD report (`TDREPORT_STRUCT`, 1024 bytes).
    pub(super) fn hardware_report(&self) -> &[u8] {
        let size = match self.hardware {
            Hardware::Snp => HARDWARE_AREA_BYTES,
            Hardware::Tdx => TD_REPORT_BYTES,
        };
        &self.raw[HARDWARE_REPORT_AT..HARDWARE_REPORT_AT + size]
    }

    /// The exact bytes whose hash the hardware report has.
    pub(super) fn runtime_data(&self) -> &[u8] {
        &self.raw[RUNTIME_DATA_AT..self.runtime_data_end]
    }

    /// What the report data of the hardware report must be: the hash, then zeros.
    pub(super) fn expected_report_data(&self) -> [u8; 64] {
        let mut expected = [0; 64];
        expected[..32].copy_from_slice(&sha256(&[self.runtime_data()]));
        expected
    }
}

/// The hardware of a report, whose space is filled as its hardware fills it, and nothing else is.
fn hardware(report_type: u32, raw: &[u8], runtime_data_end: usize) -> Result<Hardware, HclError> {
    let (hardware, size) = match report_type {
        REPORT_TYPE_SNP => (Hardware::Snp, HARDWARE_AREA_BYTES),
        _ => (Hardware::Tdx, TD_REPORT_BYTES),
    };
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let unused = &raw[HARDWARE_REPORT_AT + size..REQUEST_DATA_AT];
    if !is_zero(unused) || !is_zero(&raw[runtime_data_end..]) {
        return Err(HclError::Unsigned);
    }
    if let (Hardware::Tdx, Some(report)) = (hardware, raw[HARDWARE_REPORT_AT..].first_chunk()) {
        td_report::check(report)?;
    }
    Ok(hardware)
}

/// Members that are not read are covered by the hash all the same.
#[derive(Deserialize)]
struct RuntimeData {
    keys: Vec<Jwk>,
    #[serde(rename = "vm-configuration")]
    vm_configuration: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(rename = "user-data")]
    user_data: Option<String>,
}

/// A JSON web key (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
    n: Option<String>,
    e: Option<String>,
}

fn find_ak(keys: &[Jwk]) -> Result<AttestationKey, HclError> {
    let mut named = keys.iter().filter(|key| key.kid == AK_KEY_ID);
    let (Some(jwk), None) = (named.next(), named.next()) else {
        let found = keys.iter().filter(|key| key.kid == AK_KEY_ID).count();
        return Err(HclError::Keys { found });
    };
    if jwk.kty != "RSA" {
        return Err(HclError::KeyType {
            kty: jwk.kty.clone(),
        });
    }
    if !jwk.key_ops.iter().any(|operation| operation == "sign") {
        return Err(HclError::KeyUse);
    }
    let number = |member: &Option<String>| {
        member
            .as_ref()
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or(HclError::KeyNumbers)
    };
    AttestationKey::rsa(&number(&jwk.n)?, &number(&jwk.e)?).map_err(HclError::Key)
}

/// Why bytes are not an HCL report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HclError {
    /// Larger than any NV index.
    #[error("the HCL report has `{size}` bytes, more than {MAX_REPORT_BYTES}")]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Something else.
    #[error("the HCL report does not start with `HCLA`")]
    Magic,
    /// It ends inside of its fields or of the runtime data.
    #[error("the HCL report ends at byte `{size}`, before its own end")]
    Truncated {
        /// The size found, in bytes.
        size: usize,
    },
    /// A number of a form that is not supported.
    #[error("`{field}` of the HCL report is `{value}`; supported is one of {expected:?}")]
    Value {
        /// The field.
        field: &'static str,
        /// The value found.
        value: u32,
        /// The values known.
        expected: Vec<u32>,
    },
    /// Two sizes that do not agree.
    #[error("`{field}` of the HCL report says `{stated}` bytes, and `{found}` are there")]
    Size {
        /// The field.
        field: &'static str,
        /// What it says.
        stated: u32,
        /// What the other sizes say.
        found: usize,
    },
    /// Bytes that no signature covers.
    #[error("the HCL report has other bytes than zeros where nothing is signed")]
    Unsigned,
    /// A TD report of which something does not fit.
    #[error("`{field}` of the TD report in the HCL report is not what the TDX module writes")]
    TdReport {
        /// The field.
        field: &'static str,
    },
    /// The runtime data is not the JSON that it should be.
    #[error("the runtime data of the HCL report is not as specified: {0}")]
    RuntimeData(#[source] serde_json::Error),
    /// `user-data` is not hexadecimal.
    #[error("`user-data` of the runtime data is not hexadecimal")]
    UserData,
    /// There must be exactly one attestation key.
    #[error("the runtime data has `{found}` keys `{AK_KEY_ID}` instead of one")]
    Keys {
        /// How many there are.
        found: usize,
    },
    /// Not an RSA key.
    #[error("the key `{AK_KEY_ID}` is of type `{kty}`, not `RSA`")]
    KeyType {
        /// The type found.
        kty: String,
    },
    /// The key is not for signatures.
    #[error("the key `{AK_KEY_ID}` is not for signing")]
    KeyUse,
    /// Modulus or exponent is missing or not base64url.
    #[error("`n` and `e` of the key `{AK_KEY_ID}` are not base64url")]
    KeyNumbers,
    /// Not a key that may be used.
    #[error("the key `{AK_KEY_ID}` cannot be used: {0}")]
    Key(#[source] KeyError),
}
