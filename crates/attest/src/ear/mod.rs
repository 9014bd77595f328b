//! Attestation results in the form that other relying parties read: EAR.
//!
//! A claims set of draft-ietf-rats-ear-04 with the trustworthiness vector of
//! draft-ietf-rats-ar4si. What a check of ours means in their words is decided here, and it is
//! decided against us where the words leave room:
//!
//! - A refusal is `contraindicated` as a whole, whatever single claims are.
//! - Simulated evidence is never `affirming`: nobody's hardware stands behind it, and the memory of
//!   its enclaves is open to the host. That *this* verifier was told to accept it does not change
//!   what others should think of it.
//! - What was not compared is not affirmed: without reference values the code is unrecognized.
//! - No claim is made about file system, storage and sourced data, which evidence does not show.
//!
//! | claim | values given |
//! | --- | --- |
//! | `instance-identity` | 2 a TPM whose key is pinned; 96 its key is revoked; 97 the evidence answers somebody else; 99 forged |
//! | `configuration` | 3 production mode and sound attributes; 32 the vendor wants another configuration, or debug mode is tolerated; 96 refused for it |
//! | `executables` | 3 the measured code is the expected one; 33 it is not, or nothing was expected |
//! | `hardware` | 2 genuine; 32 genuine, with known vulnerabilities; 96 revoked, or simulated; 97 of an unknown root; 99 forged; 0 and 1 not settled |
//! | `runtime-opaque` | 2 SGX, TDX, SEV-SNP in production mode; 32 Nitro; 96 debug mode, simulated, bare TPM |
//!
//! [`claims`] is unsigned; whoever hands it on signs it: [`sign`].

mod jwt;

pub use jwt::{SignError, sign};

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::{Appraisal, Check, CheckName, Claims, Outcome, Reason, Refusal, Tcb, TcbStatus, Tee};

/// The value of `eat_profile`.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// Who verified, and when, for whom: what an EAR says besides the result.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    /// The time of the appraisal: claim `iat`.
    pub now: SystemTime,
    /// Name and version of the program that verified.
    pub build: &'a str,
    /// Who answers for that program.
    pub developer: &'a str,
    /// What the relying party gave to see that the result is fresh, 8 to 64 bytes: claim
    /// `eat_nonce`. Of another length it is left out.
    pub nonce: Option<&'a [u8]>,
}

/// The EAR claims set for the outcome of one appraisal.
///
/// The one submodule is named by the TEE, or `unknown` where no evidence could be read. It has
/// the evidence's claims as `ear_attester_claims` only if they are proven, and in
/// `ear_verifier_claims` the verdict, whether the platform is simulated, and every check.
pub fn claims(result: &Result<Appraisal, Refusal>, issue: &Issue<'_>) -> Value {
    let facts = Facts::of(result);
    let vector = vector(&facts);
    let status = status(&facts, &vector);
    let mut submodule = Map::new();
    submodule.insert("ear_status".into(), status.as_str().into());
    submodule.insert("ear_trustworthiness_vector".into(), json!(vector));
    if facts.refusal.is_none() {
        submodule.insert("ear_attester_claims".into(), json!(facts.claims));
    }
    submodule.insert("ear_verifier_claims".into(), verifier_claims(&facts));

    let seconds = issue.now.duration_since(UNIX_EPOCH);
    let mut ear = Map::new();
    ear.insert("eat_profile".into(), PROFILE.into());
    ear.insert(
        "iat".into(),
        seconds.map_or(0, |since| since.as_secs()).into(),
    );
    ear.insert(
        "ear_verifier_id".into(),
        json!({ "developer": issue.developer, "build": issue.build }),
    );
    ear.insert("ear_status".into(), status.as_str().into());
    if let Some(nonce) = issue.nonce.filter(|nonce| (8..=64).contains(&nonce.len())) {
        use base64::Engine;
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(nonce);
        ear.insert("eat_nonce".into(), text.into());
    }
    ear.insert("submods".into(), json!({ facts.label(): submodule }));
    Value::Object(ear)
}

/// The tiers of AR4SI, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Affirming,
    None,
    Warning,
    Contraindicated,
}

impl Tier {
    fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Affirming => "affirming",
            Self::None => "none",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

/// What accepted and refused evidence have in common.
struct Facts<'a> {
    tee: Option<Tee>,
    claims: Option<&'a Claims>,
    tcb: Option<&'a Tcb>,
    checks: &'a [Check],
    refusal: Option<&'a Refusal>,
}

impl<'a> Facts<'a> {
    fn of(result: &'a Result<Appraisal, Refusal>) -> Self {
        match result {
            Ok(appraisal) => Self {
                tee: Some(appraisal.tee),
                claims: Some(&appraisal.claims),
                tcb: appraisal.tcb.as_ref(),
                checks: &appraisal.checks,
                refusal: None,
            },
            Err(refusal) => Self {
                tee: refusal.tee,
                claims: refusal.claims.as_deref(),
                tcb: refusal.tcb.as_deref(),
                checks: &refusal.checks,
                refusal: Some(refusal),
            },
        }
    }

    fn label(&self) -> &'static str {
        self.tee.map_or("unknown", Tee::as_str)
    }

    fn is_simulated(&self) -> bool {
        self.tee == Some(Tee::Simulated)
            || self
                .refusal
                .is_some_and(|refusal| refusal.reason == Reason::SimulatedEvidence)
    }

    /// The class of the failure, if what failed is one of the steps that prove the evidence.
    fn unproven(&self) -> Option<Reason> {
        let refusal = self.refusal?;
        (is_proof(refusal.failed) || self.tee.is_none()).then_some(refusal.reason)
    }

    fn any(&self, names: &[CheckName], is: impl Fn(&Outcome) -> bool) -> bool {
        self.checks
            .iter()
            .any(|check| names.contains(&check.name) && is(&check.outcome))
    }

    /// Whether the measured value `name` was compared with a reference value, and is it.
    fn is_compared(&self, name: &str) -> bool {
        self.checks.iter().any(|check| {
            check.name == CheckName::ReferenceValue
                && check.outcome == Outcome::Passed
                && check.compared.split(' ').next() == Some(name)
        })
    }

    fn failed(&self, names: &[CheckName]) -> bool {
        self.any(names, |outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    fn tolerated(&self, names: &[CheckName]) -> bool {
        self.any(names, |outcome| {
            matches!(outcome, Outcome::Tolerated { .. })
        })
    }
}

/// The steps without which nothing that the evidence states is known to be so.
fn is_proof(name: CheckName) -> bool {
    matches!(
        name,
        CheckName::EvidenceFormat
            | CheckName::CollateralFormat
            | CheckName::RootOfTrust
            | CheckName::CertificateChains
            | CheckName::Revocation
            | CheckName::TcbInfo
            | CheckName::QeIdentity
            | CheckName::QeReport
            | CheckName::QuoteSignature
            | CheckName::PlatformMatch
            | CheckName::TdxModule
            | CheckName::HardwareBinding
            | CheckName::CollateralValidity
            | CheckName::CollateralAge
            | CheckName::EvidenceTime
            | CheckName::TcbEvaluation
    )
}

fn vector(facts: &Facts<'_>) -> BTreeMap<&'static str, i8> {
    let claims = match facts.unproven() {
        Some(reason) => unproven(reason),
        None => vec![
            ("instance-identity", instance_identity(facts)),
            ("configuration", configuration(facts)),
            ("executables", executables(facts)),
            ("hardware", hardware(facts)),
            ("runtime-opaque", runtime_opaque(facts)),
        ],
    };
    claims
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// What can be said of evidence that nothing was proven of.
fn unproven(reason: Reason) -> Vec<(&'static str, Option<i8>)> {
    let hardware = |value| ("hardware", Some(value));
    match reason {
        Reason::Forged => [
            "instance-identity",
            "configuration",
            "executables",
            "hardware",
            "runtime-opaque",
        ]
        .map(|name| (name, Some(99)))
        .to_vec(),
        Reason::Revoked => vec![("instance-identity", Some(96)), hardware(96)],
        Reason::SimulatedEvidence => vec![hardware(97), ("runtime-opaque", Some(96))],
        Reason::UnknownRoot => vec![hardware(97)],
        Reason::Malformed => vec![hardware(1)],
        Reason::Policy | Reason::Mismatch | Reason::Stale => vec![hardware(0)],
    }
}

/// Instances are not recognized one by one, so nothing is affirmed but of a pinned TPM.
fn instance_identity(facts: &Facts<'_>) -> Option<i8> {
    if facts.failed(&[CheckName::ReportData, CheckName::Nonce]) {
        return Some(97);
    }
    (facts.tee == Some(Tee::Tpm)).then_some(2)
}

fn configuration(facts: &Facts<'_>) -> Option<i8> {
    const CHECKS: &[CheckName] = &[
        CheckName::Debug,
        CheckName::Attributes,
        CheckName::Vmpl,
        CheckName::ServiceTd,
    ];
    if facts.failed(CHECKS) {
        return Some(96);
    }
    if facts.tolerated(CHECKS) || facts.tcb.is_some_and(|tcb| wants_configuration(tcb.status)) {
        return Some(32);
    }
    let is_sound = facts.any(&[CheckName::Debug], |outcome| *outcome == Outcome::Passed);
    is_sound.then_some(3)
}

fn wants_configuration(status: TcbStatus) -> bool {
    matches!(
        status,
        TcbStatus::ConfigurationNeeded
            | TcbStatus::ConfigurationAndSWHardeningNeeded
            | TcbStatus::OutOfDateConfigurationNeeded
            | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
    )
}

/// Recognized is only code of which a measurement was compared; its signer alone names no code.
fn executables(facts: &Facts<'_>) -> Option<i8> {
    const CODE: &[CheckName] = &[
        CheckName::MrEnclave,
        CheckName::MrSigner,
        CheckName::IsvProdId,
        CheckName::IsvSvn,
        CheckName::ReferenceValue,
    ];
    let is_recognized = !facts.failed(CODE)
        && match facts.claims? {
            Claims::Sgx(_) => facts.any(&[CheckName::MrEnclave], |outcome| {
                *outcome == Outcome::Passed
            }),
            // Firmware, and the kernel with its command line and initial file system.
            Claims::Tdx(_) => ["mr_td", "rtmr1", "rtmr2"]
                .iter()
                .all(|name| facts.is_compared(name)),
            Claims::Snp(_) => facts.is_compared("measurement"),
            // The whole image; of an instance, what its firmware started.
            Claims::Nitro(_) => facts.is_compared("pcr0") || facts.is_compared("nitrotpm_pcr4"),
            Claims::Vtpm(_) => facts.is_compared("pcr4"),
        };
    Some(if is_recognized { 3 } else { 33 })
}

fn hardware(facts: &Facts<'_>) -> Option<i8> {
    const TCB: &[CheckName] = &[
        CheckName::TcbStatus,
        CheckName::Advisories,
        CheckName::MinimumTcb,
    ];
    match facts.tee? {
        Tee::Simulated => Some(96),
        // A TPM shows which TPM it is, and nothing of the machine around it.
        Tee::Tpm => None,
        _ if facts
            .tcb
            .is_some_and(|tcb| tcb.status == TcbStatus::Revoked) =>
        {
            Some(96)
        }
        _ if facts
            .tcb
            .is_some_and(|tcb| tcb.status != TcbStatus::UpToDate) =>
        {
            Some(32)
        }
        _ if facts.failed(TCB) || facts.tolerated(TCB) => Some(32),
        _ => Some(2),
    }
}

fn runtime_opaque(facts: &Facts<'_>) -> Option<i8> {
    let is_debug = facts.failed(&[CheckName::Debug]) || facts.tolerated(&[CheckName::Debug]);
    match facts.tee? {
        _ if is_debug => Some(96),
        Tee::Simulated | Tee::Tpm => Some(96),
        // Isolated from the instance and its owner; not encrypted against the cloud itself.
        Tee::Nitro => Some(32),
        Tee::Sgx | Tee::Tdx | Tee::Snp => Some(2),
    }
}

/// The worst of all; never better than the verdict.
fn status(facts: &Facts<'_>, vector: &BTreeMap<&'static str, i8>) -> Tier {
    if facts.refusal.is_some() {
        return Tier::Contraindicated;
    }
    vector
        .values()
        .map(|value| Tier::of(*value))
        .max()
        .unwrap_or(Tier::None)
}

fn verifier_claims(facts: &Facts<'_>) -> Value {
    let mut claims = Map::new();
    let verdict = if facts.refusal.is_some() {
        "refused"
    } else {
        "accepted"
    };
    claims.insert("verdict".into(), verdict.into());
    claims.insert("simulated".into(), facts.is_simulated().into());
    if let Some(refusal) = facts.refusal {
        claims.insert("failed".into(), json!(refusal.failed));
        claims.insert("reason".into(), json!(refusal.reason));
        claims.insert("why".into(), refusal.why.clone().into());
        if let Some(stated) = facts.claims {
            claims.insert("stated_not_proven".into(), json!(stated));
        }
    }
    if let Some(tcb) = facts.tcb {
        claims.insert("tcb".into(), json!(tcb));
    }
    claims.insert("checks".into(), json!(facts.checks));
    Value::Object(claims)
}
