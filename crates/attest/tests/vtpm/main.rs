//! Genuine evidence of virtual TPMs from public projects, and what becomes of it when it is
//! changed in one place.
//!
//! The samples are third-party data and not part of this repository: they are looked for in
//! `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.

mod azure_snp;
mod azure_tdx;
mod simulated;
mod tpm;

#[allow(dead_code, reason = "the SNP tests use the rest")]
#[path = "../snp/der.rs"]
mod der;
#[allow(dead_code, reason = "the SNP tests use the rest")]
#[path = "../snp/pki.rs"]
mod pki;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, Outcome, Policy, ReferenceValues, Refusal,
    appraise,
    vtpm::{VtpmError, VtpmEvidence},
};
use serde_json::Value;

fn read(path: &str) -> Vec<u8> {
    let dir = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let path = dir.join(path);
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; set MSE_EVIDENCE_DIR to the directory of the evidence samples",
            path.display()
        )
    })
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Evidence with all that it is appraised with.
struct Case {
    evidence: Evidence,
    collateral: Collateral,
    policy: Policy,
    expected: ReferenceValues,
    now: SystemTime,
}

impl Case {
    fn of(bytes: &[u8]) -> Self {
        Self {
            evidence: Evidence::parse(bytes).unwrap(),
            collateral: Collateral::none(),
            policy: Policy::strict(),
            expected: ReferenceValues::default(),
            now: at(1_780_000_000),
        }
    }

    fn with_nonce(mut self, nonce: &[u8]) -> Self {
        self.expected.nonce = Some(nonce.to_vec());
        self
    }

    fn verdict(&self) -> Result<Appraisal, Refusal> {
        appraise(
            &self.evidence,
            &self.collateral,
            &self.policy,
            &self.expected,
            self.now,
        )
    }

    fn refusal(&self) -> Refusal {
        self.verdict().expect_err("this must be refused")
    }
}

/// The claims as `mse verify --json` prints them.
fn claims(appraisal: &Appraisal) -> Value {
    serde_json::to_value(&appraisal.claims).unwrap()
}

fn outcomes(checks: &[mse_attest::Check], name: CheckName) -> Vec<&Outcome> {
    checks
        .iter()
        .filter(|check| check.name == name)
        .map(|check| &check.outcome)
        .collect()
}

fn all_passed(checks: &[mse_attest::Check], name: CheckName) -> bool {
    let outcomes = outcomes(checks, name);
    !outcomes.is_empty() && outcomes.iter().all(|outcome| **outcome == Outcome::Passed)
}

/// The checks of the TPM itself and of its binding.
fn assert_vtpm_part_holds(checks: &[mse_attest::Check], path: &str) {
    for name in [
        CheckName::EvidenceFormat,
        CheckName::HardwareBinding,
        CheckName::PcrDigest,
        CheckName::Nonce,
    ] {
        assert!(all_passed(checks, name), "{path}: {name}: {checks:#?}");
    }
    assert!(
        outcomes(checks, CheckName::QuoteSignature).contains(&&Outcome::Passed),
        "{path}: {checks:#?}"
    );
}

fn pem(text: &[u8]) -> Vec<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    CertificateDer::pem_slice_iter(text)
        .map(|der| der.unwrap().to_vec())
        .collect()
}

/// Flips the last bit of a byte of hexadecimal text.
fn flip(text: &mut Value, at: usize) {
    let mut bytes = hex::decode(text.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *text = Value::String(hex::encode(bytes));
}

const ALL: &[&str] = &[
    "azure-snp-vtpm/trustee-v0/evidence-v0.json",
    "azure-snp-vtpm/trustee-v1/evidence-v1.json",
    "azure-snp-vtpm/trustee-v2/evidence-v2.json",
    "azure-snp-vtpm/trustee-genoa/evidence-genoa.json",
    "azure-snp-vtpm/trustee-hcl-parts/hcl-report.bin",
    "azure-tdx-vtpm/trustee-v0/evidence-v0.json",
    "azure-tdx-vtpm/trustee-v1/evidence-v1.json",
    "azure-tdx-vtpm/attestation-rs-live/live-evidence.json",
    azure_tdx::FLASHBOTS,
    "tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json",
    "tpm/vaportpm-nitro/test-nitro-fixture.json",
    "tpm/trustee-tpm/tpm_evidence.json",
    "tpm/go-tpm-tools-gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb",
];

#[test]
fn every_sample_is_described_field_by_field() {
    for path in ALL {
        let fields = mse_attest::fields(&Evidence::parse(&read(path)).unwrap()).unwrap();
        assert!(
            fields.iter().any(|field| field.name == "ak.sha256"),
            "{path}"
        );
        assert!(
            fields
                .iter()
                .all(|field| !field.meaning.is_empty() && !field.value.contains('\u{1b}')),
            "{path}"
        );
    }
}

#[test]
fn a_sample_that_is_cut_anywhere_is_never_accepted() {
    for path in ALL {
        let whole = read(path);
        for end in (0..whole.len()).step_by(61) {
            let Ok(evidence) = Evidence::parse(&whole[..end]) else {
                continue;
            };
            // What is still well formed lost its end: PCRs, a quote, or an event log that nobody
            // reads. Nothing but the last may be accepted.
            let verdict = appraise(
                &evidence,
                &Collateral::none(),
                &Policy::strict(),
                &ReferenceValues::default(),
                at(1_770_019_200),
            );
            assert!(verdict.is_err(), "{path} cut at {end}");
        }
    }
}

#[test]
fn an_oversized_file_is_refused_before_it_is_parsed() {
    let mut file = vec![b' '; 1024 * 1024];
    file.insert(0, b'{');
    assert!(matches!(
        VtpmEvidence::parse(&file),
        Err(VtpmError::TooLarge { .. })
    ));
}
