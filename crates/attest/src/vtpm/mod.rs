//! Virtual TPMs: quotes, and what binds the TPM that made them to something that is trusted.
//!
//! A TPM quote proves which values were extended into PCRs, if the *attestation key* (AK) that
//! signed it is trusted. Three things can vouch for an AK here:
//!
//! * Azure's paravisor: it makes the vTPM inside of a confidential VM, and the VM's own SNP report
//!   or TD quote has the hash of the document that names the AK (the *HCL report*).
//! * A Nitro document whose public key is the AK, for instances with a NitroTPM.
//! * A certificate of the AK under a trusted root, or the AK's fingerprint in the policy.
//!
//! Forms that are read: the JSON evidence of trustee and attestation-rs (Azure on SNP and TDX,
//! plain TPMs), of vaportpm (Google Cloud, AWS), the YAML and JSON of attested-tls (Azure on TDX),
//! attestations of go-tpm-tools, and bare HCL reports.
//!
//! `docs/verification-vtpm.md` lists every check, and says what they do not prove.

mod appraise;
mod azure;
mod certificates;
mod claims;
mod evidence;
mod explain;
mod hcl;
mod json;
mod key;
mod nitrotpm;
mod policy;
mod protobuf;
mod td_report;
#[cfg(test)]
mod tests;
mod tpm;

use thiserror::Error;

pub(crate) use appraise::appraise;
pub use claims::{HardwareClaims, VtpmClaims};
pub use evidence::{MAX_VTPM_EVIDENCE_BYTES, VtpmEvidence, looks_like_vtpm_evidence};
pub(crate) use explain::fields;
pub use hcl::HclError;
pub use key::KeyError;
pub(crate) use policy::hardware_anchors;
pub use policy::{AkFingerprintError, VtpmPolicy, ak_fingerprint};
pub use protobuf::ProtobufError;
pub use tpm::TpmError;

use crate::yaml::YamlError;

/// Why bytes are not vTPM evidence of a supported form.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VtpmError {
    /// Larger than any genuine file could be.
    #[error(
        "vTPM evidence has `{size}` bytes, more than the limit of {MAX_VTPM_EVIDENCE_BYTES}; leave event logs away"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Not JSON, a member twice or of the wrong type.
    #[error("vTPM evidence is not JSON of a known form: {0}")]
    Json(#[from] serde_json::Error),
    /// Not the part of YAML that is read.
    #[error("vTPM evidence is not YAML of a known form: {0}")]
    Yaml(#[from] YamlError),
    /// The members of no known form, or of two.
    #[error(
        "the members are not those of a known form of vTPM evidence; give an HCL report or an attestation key with a TPM quote"
    )]
    Form,
    /// Text that is neither hexadecimal nor base64.
    #[error("`{member}` of the vTPM evidence is neither hexadecimal nor base64")]
    Encoding {
        /// The member.
        member: &'static str,
    },
    /// Certificates that are not PEM.
    #[error("the certificates in the vTPM evidence cannot be read: {why}")]
    Certificates {
        /// What is wrong.
        why: String,
    },
    /// The HCL report.
    #[error(transparent)]
    Hcl(#[from] HclError),
    /// A quote, a signature or a public key.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The attestation key.
    #[error("the attestation key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// A go-tpm-tools attestation.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// A list of PCR values that fits neither all PCRs nor those that are selected.
    #[error(
        "`pcrs` is neither a list of the 24 values of one bank nor of the values that the quote selects"
    )]
    PcrList,
    /// A PCR value of the wrong size.
    #[error("PCR `{index}` has not the size of a `{bank}` value")]
    PcrSize {
        /// The bank.
        bank: &'static str,
        /// The index.
        index: u8,
    },
    /// A PCR index that is not a plain decimal number up to 255.
    #[error("`{index}` is not the index of a PCR")]
    PcrIndex {
        /// What stands there.
        index: String,
    },
    /// Two values for one PCR.
    #[error("PCR `{index}` is given twice")]
    PcrTwice {
        /// The index.
        index: u8,
    },
    /// Two sets of values for one bank.
    #[error("the PCR bank `{bank}` is given twice")]
    BankTwice {
        /// The bank.
        bank: &'static str,
    },
    /// A bank that is not known.
    #[error("`{bank}` is not a PCR bank; known are `sha1`, `sha256`, `sha384` and `sha512`")]
    Bank {
        /// What stands there.
        bank: String,
    },
    /// A TD quote beside an SNP report.
    #[error("the vTPM evidence has a TD quote, and its HCL report is about SEV-SNP")]
    TdQuoteOnSnp,
    /// A second file that does not belong to the first.
    #[error(
        "this file cannot be added to the evidence; a TPM quote in JSON can, and the TD quote of a TDX guest"
    )]
    Part,
}
