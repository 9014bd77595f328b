//! Genuine reports, and wrong combinations of genuine documents, with their expected verdicts.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use mse_attest::{
    CheckName, Collateral, Evidence, EvidenceKind, Policy, Reason, ReferenceValues, Refusal, Tee,
    Verifier, appraise, snp::Report,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    sample: Vec<Sample>,
    negative: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    id: String,
    #[serde(default)]
    kind: String,
    files: Vec<SampleFile>,
    #[serde(default)]
    expected: String,
    expected_policy_note: Option<String>,
    vek_not_before: Option<String>,
    vek_not_after: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct SampleFile {
    path: String,
    role: String,
}

#[test]
fn every_sample_has_its_verdict() {
    let samples = samples();
    assert!(samples.len() > 25, "{}", samples.len());
    let mut accepted = 0;
    for sample in &samples {
        let verdict = sample.appraise(&Policy::strict());
        let id = &sample.id;
        if sample.expected.starts_with("accept") {
            accepted += 1;
            let policy = if sample.expected_policy_note.is_some() {
                let refusal = verdict.expect_err(id);
                assert_eq!(refusal.failed, CheckName::Vmpl, "{id}: {refusal}");
                assert_eq!(refusal.tee, Some(Tee::Snp), "{id}");
                Policy::strict().allow_snp_vmpl(1)
            } else {
                Policy::strict()
            };
            let appraisal = sample
                .appraise(&policy)
                .unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
            assert_eq!(appraisal.tee, Tee::Snp, "{id}");
        } else {
            let refusal = verdict.expect_err(id);
            if sample.claims["version"].as_integer() == Some(1) {
                assert_eq!(refusal.failed, CheckName::EvidenceFormat, "{id}: {refusal}");
            } else {
                assert_eq!(refusal.why, "the VEK certificate is missing", "{id}");
            }
        }
    }
    assert!(accepted > 15, "{accepted}");
}

#[test]
fn every_claim_is_the_one_of_the_manifest() {
    for sample in samples() {
        let evidence = Evidence::parse(&sample.report()).unwrap();
        assert_eq!(evidence.kind(), EvidenceKind::Snp, "{}", sample.id);
        let claims = match sample.appraise(&Policy::strict()) {
            Ok(appraisal) => appraisal.claims,
            Err(refusal) => *refusal.claims.expect("a refusal states the claims"),
        };
        let claims = serde_json::to_value(claims).unwrap();
        for (name, expected) in &sample.claims {
            let expected = serde_json::to_value(expected).unwrap();
            assert_eq!(claims[name], expected, "{} {name}", sample.id);
        }
    }
}

#[test]
fn the_vek_alone_is_enough_and_the_order_of_a_chain_is_free() {
    for sample in samples() {
        if !sample.expected.starts_with("accept") {
            continue;
        }
        let policy = Policy::strict().allow_snp_vmpl(1);
        let chain = sample.certificates();
        let reversed: Vec<_> = chain.iter().rev().cloned().collect();
        // As AMD's service gives them: issuers in one file, the VEK in another.
        let vek_last = [&chain[1..], &chain[..1]].concat();
        for certificates in [chain[..1].to_vec(), chain[..2].to_vec(), reversed, vek_last] {
            sample
                .appraise_with(&policy, certificates)
                .unwrap_or_else(|refusal| panic!("{}: {refusal}", sample.id));
        }
    }
}

#[test]
fn no_sample_passes_outside_of_its_time_or_with_one_bit_changed() {
    let policy = Policy::strict();
    for sample in samples() {
        let Ok(appraisal) = sample.appraise(&policy) else {
            continue;
        };
        assert!(appraisal.tolerated().next().is_none());
        let evidence = Evidence::Snp(sample.report());
        for clock in ["2019-01-01", "2050-01-01"] {
            let refusal = appraise(
                &evidence,
                &sample.collateral(),
                &policy,
                &ReferenceValues::default(),
                day(clock),
            )
            .unwrap_err();
            assert_eq!(refusal.reason, Reason::Stale, "{}: {refusal}", sample.id);
            assert_eq!(refusal.failed, CheckName::CollateralValidity);
        }
        let mut report = sample.report();
        report[0x90] ^= 1;
        let refusal = appraise(
            &Evidence::Snp(report),
            &sample.collateral(),
            &policy,
            &ReferenceValues::default(),
            sample.clock(),
        )
        .unwrap_err();
        assert_eq!(refusal.failed, CheckName::QuoteSignature, "{}", sample.id);
    }
}

#[test]
fn every_bit_of_a_report_matters() {
    let sample = samples()
        .into_iter()
        .find(|sample| sample.appraise(&Policy::strict()).is_ok())
        .unwrap();
    let verifier = Verifier::new(Policy::strict());
    let collateral = sample.collateral();
    let report = sample.report();
    let appraise = |report: &[u8]| {
        verifier.appraise(
            &Evidence::Snp(report.to_vec()),
            &collateral,
            &ReferenceValues::default(),
            sample.clock(),
        )
    };
    appraise(&report).unwrap();
    for at in 0..report.len() {
        let mut changed = report.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(appraise(&changed).is_err(), "{at:#x}");
    }
}

#[test]
fn every_field_of_every_sample_is_described() {
    for sample in samples() {
        let raw = sample.report();
        let Ok(report) = Report::parse(&raw) else {
            continue;
        };
        let fields = mse_attest::fields(&Evidence::Snp(raw.clone())).unwrap();
        assert!(fields.len() > 40, "{}", sample.id);
        for field in &fields {
            assert!(
                !field.meaning.is_empty() && !field.value.is_empty(),
                "{}",
                field.name
            );
        }
        let measurement = fields
            .iter()
            .find(|field| field.name == "measurement")
            .unwrap();
        assert_eq!(measurement.value, hex::encode(report.measurement()));
    }
}

#[test]
fn wrong_combinations_are_refused_for_what_is_wrong() {
    let table: BTreeMap<_, _> = WRONG
        .iter()
        .map(|(id, check, why)| (format!("snp/{id}"), (*check, *why)))
        .collect();
    let mut seen = 0;
    for sample in manifest().negative {
        if !sample.id.starts_with("snp/") {
            continue;
        }
        let verdict = sample.appraise(&Policy::strict().allow_snp_vmpl(1));
        let id = &sample.id;
        if sample.expected.starts_with("accept") {
            verdict.unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
            continue;
        }
        let refusal = verdict.expect_err(id);
        if let Some((check, why)) = table.get(id) {
            seen += 1;
            assert_eq!(refusal.failed, *check, "{id}: {refusal}");
            assert!(refusal.why.contains(why), "{id}: {refusal}");
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The check that refuses each wrong combination, and what it says.
const WRONG: &[(&str, CheckName, &str)] = &[
    (
        "vcek-of-other-chip",
        CheckName::QuoteSignature,
        "not signed with the key of this VCEK",
    ),
    (
        "vlek-under-ask",
        CheckName::CertificateChains,
        "`SEV-Milan` stands where `SEV-VLEK-Milan` belongs",
    ),
    (
        "vcek-under-asvk",
        CheckName::CertificateChains,
        "`SEV-VLEK-Milan` stands where `SEV-Milan` belongs",
    ),
    (
        "milan-vcek_genoa-chain",
        CheckName::CertificateChains,
        "`SEV-Genoa` stands where `SEV-Milan` belongs",
    ),
    (
        "genoa-vcek_milan-ark",
        CheckName::CertificateChains,
        "`ARK-Milan` stands where `ARK-Genoa` belongs",
    ),
    (
        "ask-ark-swapped",
        CheckName::CertificateChains,
        "`ARK-Milan` stands where `SEV-Milan` belongs",
    ),
    (
        "ark-as-ask",
        CheckName::CertificateChains,
        "`ARK-Milan` stands where `SEV-Milan` belongs",
    ),
    (
        "trustee-vcek-report-byte42",
        CheckName::QuoteSignature,
        "not signed",
    ),
    (
        "trustee-vlek-report-byte42",
        CheckName::QuoteSignature,
        "not signed",
    ),
    (
        "trustee-vcek-report-tcb-byte384",
        CheckName::QuoteSignature,
        "not signed",
    ),
    (
        "trustee-vlek-report-tcb-byte384",
        CheckName::QuoteSignature,
        "not signed",
    ),
    (
        "trustee-vcek-cert-byte42",
        CheckName::CollateralFormat,
        "names two signature algorithms",
    ),
    ("bad-sig-lit", CheckName::QuoteSignature, "not signed"),
    ("r-s-swapped", CheckName::QuoteSignature, "not signed"),
    (
        "sig-algo-0",
        CheckName::EvidenceFormat,
        "signature algorithm `0`",
    ),
    (
        "signature-padding-nonzero",
        CheckName::EvidenceFormat,
        "`signature.reserved`",
    ),
    (
        "same-chip_other-tcb-vcek",
        CheckName::QuoteSignature,
        "not signed",
    ),
];

impl Sample {
    fn read(&self, role: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
        self.files
            .iter()
            .filter(|file| role(&file.role))
            .map(|file| std::fs::read(folder().join(&file.path)).unwrap())
            .collect()
    }

    fn report(&self) -> Vec<u8> {
        self.read(|role| role == "report").remove(0)
    }

    /// In the order of the manifest: VEK, intermediate, root.
    fn certificates(&self) -> Vec<Vec<u8>> {
        self.read(|role| role != "report")
    }

    fn collateral(&self) -> Collateral {
        Collateral {
            certificates: self.certificates(),
            ..Collateral::none()
        }
    }

    fn appraise(&self, policy: &Policy) -> Result<mse_attest::Appraisal, Refusal> {
        self.appraise_with(policy, self.certificates())
    }

    fn appraise_with(
        &self,
        policy: &Policy,
        certificates: Vec<Vec<u8>>,
    ) -> Result<mse_attest::Appraisal, Refusal> {
        let collateral = Collateral {
            certificates,
            ..Collateral::none()
        };
        appraise(
            &Evidence::Snp(self.report()),
            &collateral,
            policy,
            &ReferenceValues::default(),
            self.clock(),
        )
    }

    /// A time at which the VEK is valid. Negatives do not say; by then all of theirs are, and the
    /// VLEKs' year is over.
    fn clock(&self) -> SystemTime {
        match (&self.vek_not_before, &self.vek_not_after) {
            (Some(from), Some(until)) => {
                let (from, until) = (day(from), day(until));
                from + until.duration_since(from).unwrap() / 2
            }
            _ if self.id.contains("vlek") => day("2025-06-01"),
            _ => day("2026-11-23"),
        }
    }
}

fn day(text: &str) -> SystemTime {
    format!("{text}T12:00:00Z")
        .parse::<jiff::Timestamp>()
        .unwrap()
        .try_into()
        .unwrap()
}

fn samples() -> Vec<Sample> {
    let mut samples = manifest().sample;
    samples.retain(|sample| sample.kind == "snp");
    samples
}

fn manifest() -> Manifest {
    let path = folder().join("MANIFEST.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "the evidence samples are not at `{}` ({error}): put them there, or set MSE_EVIDENCE_DIR to their folder",
            path.display()
        )
    });
    toml::from_str(&text).unwrap()
}

fn folder() -> PathBuf {
    std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    )
}
