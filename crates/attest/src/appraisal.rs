//! What an appraisal says: the claims, every check, and why evidence was refused.

use std::{error::Error, fmt};

use serde::Serialize;

use crate::{TcbStatus, Tee, hex_form};

/// Evidence was accepted: every check passed, or was skipped for the reason it gives.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Appraisal {
    /// The kind of platform, taken from the trust anchor that the evidence ends in.
    pub tee: Tee,
    /// What the evidence and its endorsements say, now proven.
    pub claims: Claims,
    /// Every check in the order in which they decide.
    pub checks: Vec<Check>,
}

/// What proven evidence says about the enclave and its platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Claims {
    /// Measurement of the enclave.
    #[serde(with = "hex_form")]
    pub mrenclave: [u8; 32],
    /// Signer of the enclave.
    #[serde(with = "hex_form")]
    pub mrsigner: [u8; 32],
    /// Product id that the signer gave.
    pub isv_prod_id: u16,
    /// Security version that the signer gave.
    pub isv_svn: u16,
    /// Whether a debugger can read the enclave.
    pub debug: bool,
    /// SGX attributes: flags and XFRM, 8 bytes each, little-endian.
    #[serde(with = "hex_form")]
    pub attributes: [u8; 16],
    /// CPU security version at the time of the report.
    #[serde(with = "hex_form")]
    pub cpu_svn: [u8; 16],
    /// What the enclave put into its report.
    #[serde(with = "hex_form")]
    pub report_data: [u8; 64],
    /// Family, model, stepping, platform and custom SKU of the platform's PCK certificate.
    #[serde(with = "hex_form")]
    pub fmspc: [u8; 6],
    /// TCB status of platform and quoting enclave together.
    pub tcb_status: TcbStatus,
    /// Security advisories that apply to the platform.
    pub advisory_ids: Vec<String>,
    /// Date of the TCB level that the platform meets, RFC 3339.
    pub tcb_date: String,
    /// TCB evaluation data number of the collateral.
    pub tcb_evaluation_number: u32,
    /// When the oldest document of the collateral was issued, unix seconds.
    pub collateral_issued: u64,
    /// When the first document or certificate of the collateral expires, unix seconds.
    pub collateral_expires: u64,
}

/// One check: what was compared with what, and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Which check.
    pub name: CheckName,
    /// What was found.
    pub compared: String,
    /// What it was compared with.
    pub with: String,
    /// How it came out.
    pub outcome: Outcome,
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It was not made.
    Skipped {
        /// Why not.
        why: String,
    },
    /// It does not hold.
    Failed {
        /// What is wrong.
        why: String,
    },
}

/// The checks of an appraisal, in the order in which they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckName {
    /// Layout, sizes, versions and algorithms of the evidence; nothing may follow it.
    EvidenceFormat,
    /// Size and form of the collateral.
    CollateralFormat,
    /// The chain in the evidence ends in one of the policy's trust anchors.
    RootOfTrust,
    /// Certificates of the PCK, of the TCB signer and their issuers.
    CertificateChains,
    /// None of them is revoked, by CRLs that are signed and current.
    Revocation,
    /// Signature and form of the TCB info.
    TcbInfo,
    /// Signature, kind and form of the QE identity.
    QeIdentity,
    /// The quoting enclave: signed by the PCK, as its identity says, and vouching for the
    /// attestation key.
    QeReport,
    /// The quote is signed by the attestation key.
    QuoteSignature,
    /// The TCB info is about this kind of platform (FMSPC, PCE-ID).
    PlatformMatch,
    /// All of the collateral is valid at the given time.
    CollateralValidity,
    /// The collateral is no older than the policy wants.
    CollateralAge,
    /// The collateral knows the TCB recoveries that the policy wants known.
    TcbEvaluation,
    /// TCB status of the platform.
    TcbStatus,
    /// Security advisories that apply to the platform.
    Advisories,
    /// The enclave is not in debug mode.
    Debug,
    /// Measurement of the enclave.
    MrEnclave,
    /// Signer of the enclave.
    MrSigner,
    /// Product id of the enclave.
    IsvProdId,
    /// Security version of the enclave.
    IsvSvn,
    /// All 64 bytes of the report data.
    ReportData,
}

impl CheckName {
    /// The name used in results and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EvidenceFormat => "evidence-format",
            Self::CollateralFormat => "collateral-format",
            Self::RootOfTrust => "root-of-trust",
            Self::CertificateChains => "certificate-chains",
            Self::Revocation => "revocation",
            Self::TcbInfo => "tcb-info",
            Self::QeIdentity => "qe-identity",
            Self::QeReport => "qe-report",
            Self::QuoteSignature => "quote-signature",
            Self::PlatformMatch => "platform-match",
            Self::CollateralValidity => "collateral-validity",
            Self::CollateralAge => "collateral-age",
            Self::TcbEvaluation => "tcb-evaluation",
            Self::TcbStatus => "tcb-status",
            Self::Advisories => "advisories",
            Self::Debug => "debug",
            Self::MrEnclave => "mr-enclave",
            Self::MrSigner => "mr-signer",
            Self::IsvProdId => "isv-prod-id",
            Self::IsvSvn => "isv-svn",
            Self::ReportData => "report-data",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Evidence was refused. Displays as one line: what was compared with what, and the way out.
///
/// What `found` and `checks` quote from the evidence is *not* proven.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The check that decided.
    pub failed: CheckName,
    /// The class of the failure, for programs.
    pub reason: Reason,
    /// What is wrong.
    pub why: String,
    /// What was found.
    pub found: String,
    /// What it was compared with.
    pub expected: String,
    /// What to do about it.
    pub hint: &'static str,
    /// Every check, those after the decisive one too where they could be made.
    pub checks: Vec<Check>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failed,
            why,
            found,
            expected,
            hint,
            ..
        } = self;
        write!(
            f,
            "{why} ({failed}: found `{found}`, expected `{expected}`); {hint}"
        )
    }
}

impl Error for Refusal {}

/// Why evidence was refused, as a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Evidence or collateral is not well formed.
    Malformed,
    /// The evidence comes from a simulated platform that the policy does not trust.
    SimulatedEvidence,
    /// The evidence ends in a root that the policy does not know.
    UnknownRoot,
    /// A signature, a certificate chain or what it vouches for does not hold.
    Forged,
    /// A key or a TCB level was revoked.
    Revoked,
    /// Collateral is expired, not yet valid or too old.
    Stale,
    /// Genuine, but the policy does not accept it.
    Policy,
    /// Genuine, but of another enclave, key or session than the expected one.
    Mismatch,
}
