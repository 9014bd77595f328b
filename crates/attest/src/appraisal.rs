//! What an appraisal says: the claims, every check, and why evidence was refused.

use std::{error::Error, fmt};

use serde::Serialize;

use crate::{Claims, TcbStatus, Tee, hex_form};

/// Evidence was accepted: every check passed, was tolerated as the policy says, or was skipped for
/// the reason it gives.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Appraisal {
    /// The kind of platform, taken from the trust anchor that the evidence ends in.
    pub tee: Tee,
    /// What the evidence says, now proven.
    pub claims: Claims,
    /// What the vendor says about the platform's TCB, for TEEs whose vendor does.
    pub tcb: Option<Tcb>,
    /// Every check in the order in which they decide.
    pub checks: Vec<Check>,
}

impl Appraisal {
    /// The checks that passed only because the policy tolerates what was found.
    pub fn tolerated(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| matches!(check.outcome, Outcome::Tolerated { .. }))
    }
}

/// What verified collateral says about a platform's TCB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tcb {
    /// Family, model, stepping, platform and custom SKU of the platform's PCK certificate.
    #[serde(with = "hex_form")]
    pub fmspc: [u8; 6],
    /// TCB status of platform, module and quoting enclave together.
    pub status: TcbStatus,
    /// Security advisories that apply to the platform.
    pub advisory_ids: Vec<String>,
    /// Date of the TCB level that the platform meets, RFC 3339; the oldest of platform, module
    /// and quoting enclave.
    pub date: String,
    /// TCB evaluation data number of the collateral.
    pub evaluation_number: u32,
    /// When the oldest document of the collateral was issued, unix seconds. The root's CRL does not
    /// count, which is renewed once a year only.
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
    /// It does not hold by itself; the policy accepts that.
    Tolerated {
        /// What is accepted and on what ground.
        why: String,
    },
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
    /// The chain of the evidence ends in one of the policy's trust anchors.
    RootOfTrust,
    /// Certificates from the signer of the evidence (and of the collateral) up to the root.
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
    /// The evidence itself is signed by its attestation key.
    QuoteSignature,
    /// Collateral and certificates are about this platform: FMSPC, PCE-ID; chip id, TCB.
    PlatformMatch,
    /// The TDX module is one that the TCB info knows: its signer and attributes.
    TdxModule,
    /// What a virtual TPM signs with is bound to the hardware report of its VM.
    HardwareBinding,
    /// The values of a TPM's PCRs are those that it signed.
    PcrDigest,
    /// Certificates and collateral are valid at the given time.
    CollateralValidity,
    /// The collateral is no older than the policy wants.
    CollateralAge,
    /// When the evidence says it was made: within the validity of its signer's certificates, not
    /// in the future, and no longer ago than the policy wants.
    EvidenceTime,
    /// The collateral knows the TCB recoveries that the policy wants known.
    TcbEvaluation,
    /// TCB status of the platform.
    TcbStatus,
    /// Security advisories that apply to the platform.
    Advisories,
    /// Versions of firmware, microcode and module that the policy asks for at least.
    MinimumTcb,
    /// The code is not in debug mode.
    Debug,
    /// Attributes and guest policy: nothing that lets others in, reserved bits are zero.
    Attributes,
    /// The privilege level (VMPL) that asked for the report.
    Vmpl,
    /// No service TD is bound that the policy does not name.
    ServiceTd,
    /// Measurement of the enclave.
    MrEnclave,
    /// Signer of the enclave.
    MrSigner,
    /// Product id of the enclave.
    IsvProdId,
    /// Security version of the enclave.
    IsvSvn,
    /// A measured value against the values that policy and caller name for it.
    ReferenceValue,
    /// All 64 bytes of the report data.
    ReportData,
    /// The verifier's challenge, all bytes.
    Nonce,
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
            Self::TdxModule => "tdx-module",
            Self::HardwareBinding => "hardware-binding",
            Self::PcrDigest => "pcr-digest",
            Self::CollateralValidity => "collateral-validity",
            Self::CollateralAge => "collateral-age",
            Self::EvidenceTime => "evidence-time",
            Self::TcbEvaluation => "tcb-evaluation",
            Self::TcbStatus => "tcb-status",
            Self::Advisories => "advisories",
            Self::MinimumTcb => "minimum-tcb",
            Self::Debug => "debug",
            Self::Attributes => "attributes",
            Self::Vmpl => "vmpl",
            Self::ServiceTd => "service-td",
            Self::MrEnclave => "mr-enclave",
            Self::MrSigner => "mr-signer",
            Self::IsvProdId => "isv-prod-id",
            Self::IsvSvn => "isv-svn",
            Self::ReferenceValue => "reference-value",
            Self::ReportData => "report-data",
            Self::Nonce => "nonce",
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
    /// The kind of platform, if its root is trusted.
    pub tee: Option<Tee>,
    /// What the evidence states, *not* proven; `None` if it could not be read.
    pub claims: Option<Box<Claims>>,
    /// What verified collateral says about the platform: proven, if it is there.
    pub tcb: Option<Box<Tcb>>,
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
