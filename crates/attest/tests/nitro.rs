//! Genuine documents of AWS Nitro from public projects, with the verdicts and claims of their
//! manifest.
//!
//! The samples are third-party data and not part of this repository: they are looked for in
//! `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, EvidenceKind, Outcome, Policy, Reason,
    ReferenceValues, Refusal, Tee, Verifier, appraise, fields, nitro::Document,
};
use serde_json::Value;

#[test]
fn every_sample_gets_its_verdict_and_claims() {
    let mut problems = Vec::new();
    let samples = samples();
    for sample in &samples {
        if let Err(problem) = sample.check() {
            problems.push(format!("{}: {problem}", sample.id));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(samples.len() >= 22, "{} samples", samples.len());
}

#[test]
fn production_policy_refuses_debug_enclaves_and_nothing_else() {
    for sample in samples().iter().filter(|sample| sample.is_accepted()) {
        let verdict = sample.appraise(&Policy::strict());
        match sample.claims["debug"] {
            Value::Bool(true) => {
                let refusal = verdict.unwrap_err();
                assert_eq!(
                    (refusal.failed, refusal.reason),
                    (CheckName::Debug, Reason::Policy),
                    "{}",
                    sample.id
                );
            }
            _ => assert_eq!(verdict.unwrap().tee, Tee::Nitro, "{}", sample.id),
        }
    }
}

#[test]
fn a_document_is_refused_outside_of_its_certificates_validity() {
    for sample in samples().iter().filter(|sample| sample.is_accepted()) {
        let [from, until] = [&sample.valid_from, &sample.valid_until].map(|date| seconds(date));
        for (now, check) in [
            (from - 1, CheckName::CollateralValidity),
            (until + 1, CheckName::CollateralValidity),
            (0, CheckName::CollateralValidity),
            (sample.made() - 1, CheckName::EvidenceTime),
        ] {
            let refusal = sample
                .appraise_at(&Policy::strict().allow_debug(), now)
                .unwrap_err();
            assert_eq!(refusal.reason, Reason::Stale, "{} at {now}", sample.id);
            if now >= from {
                assert_eq!(refusal.failed, check, "{} at {now}", sample.id);
            }
        }
        let at_the_end = sample.appraise_at(&Policy::strict().allow_debug(), until);
        assert!(at_the_end.is_ok(), "{}: {at_the_end:?}", sample.id);
    }
}

#[test]
fn one_flipped_bit_in_a_genuine_document_is_refused() {
    let samples = samples();
    let sample = samples
        .iter()
        .find(|sample| sample.is_accepted() && sample.claims["debug"] == Value::Bool(false))
        .expect("the manifest has a genuine document of a production enclave");
    let verifier = Verifier::new(Policy::strict());
    let is_accepted = |document: &[u8]| {
        verifier
            .appraise(
                &Evidence::Nitro(document.to_vec()),
                &Collateral::none(),
                &ReferenceValues::default(),
                at(sample.now),
            )
            .is_ok()
    };
    assert!(is_accepted(&sample.document), "{} is genuine", sample.id);
    for at in 0..sample.document.len() {
        let mut flipped = sample.document.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(!is_accepted(&flipped), "byte {at} does not matter");
    }
    assert!(!is_accepted(&[sample.document.as_slice(), &[0]].concat()));
}

#[test]
fn a_document_that_is_cut_off_is_malformed() {
    let policy = Policy::strict();
    for sample in samples().iter().take(3) {
        for end in 0..sample.document.len() {
            let evidence = Evidence::Nitro(sample.document[..end].to_vec());
            let refusal = appraise(
                &evidence,
                &Collateral::none(),
                &policy,
                &ReferenceValues::default(),
                at(sample.now),
            )
            .unwrap_err();
            assert_eq!(refusal.failed, CheckName::EvidenceFormat);
        }
    }
}

#[test]
fn reference_values_and_nonce_are_compared_over_all_bytes() {
    let samples = samples();
    let sample = samples
        .iter()
        .find(|sample| sample.is_accepted() && sample.claims["nonce"].is_string())
        .expect("the manifest has a document with a nonce");
    let nonce = hex::decode(sample.claims["nonce"].as_str().unwrap()).unwrap();
    let pcr4 = hex::decode(sample.claims["pcrs"]["4"].as_str().unwrap()).unwrap();
    let policy = Policy::strict().allow_debug();
    let with = |nonce: Vec<u8>, pcr4: Vec<u8>| ReferenceValues {
        nonce: Some(nonce),
        claims: [
            ("pcr4".to_owned(), pcr4),
            (
                "module_id".to_owned(),
                sample.claims["module_id"].as_str().unwrap().into(),
            ),
        ]
        .into(),
        ..ReferenceValues::default()
    };
    let judge = |expected: &ReferenceValues| {
        appraise(
            &Evidence::parse(&sample.document).unwrap(),
            &Collateral::none(),
            &policy,
            expected,
            at(sample.now),
        )
    };
    judge(&with(nonce.clone(), pcr4.clone())).unwrap();
    let short = nonce[..nonce.len() - 1].to_vec();
    let padded = [nonce.as_slice(), &[0]].concat();
    for wrong in [short, padded, Vec::new()] {
        let refusal = judge(&with(wrong, pcr4.clone())).unwrap_err();
        assert_eq!(refusal.failed, CheckName::Nonce);
    }
    for wrong in [vec![0; 48], pcr4[..47].to_vec(), Vec::new()] {
        let refusal = judge(&with(nonce.clone(), wrong)).unwrap_err();
        assert_eq!(
            (refusal.failed, refusal.reason),
            (CheckName::ReferenceValue, Reason::Mismatch)
        );
    }
}

#[test]
fn a_nitrotpm_document_is_told_apart_from_an_enclave() {
    let fixture = fs::read(evidence_dir().join("tpm/vaportpm-nitro/test-nitro-fixture.json"))
        .expect("the NitroTPM sample is there");
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let document = hex::decode(
        fixture["attestation"]["nitro"]["document"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let now = at(1_770_116_400);
    let judge = |policy: &Policy, expected: &ReferenceValues| {
        appraise(
            &Evidence::parse(&document).unwrap(),
            &Collateral::none(),
            policy,
            expected,
            now,
        )
    };
    let pcr4 = hex::decode(fixture["pcrs"]["sha384"]["4"].as_str().unwrap()).unwrap();
    let expect = |name: &str| ReferenceValues {
        nonce: Some(hex::decode(fixture["nonce"].as_str().unwrap()).unwrap()),
        claims: [(name.to_owned(), pcr4.clone())].into(),
        ..ReferenceValues::default()
    };
    let appraisal = judge(&Policy::strict(), &expect("nitrotpm_pcr4")).unwrap();
    assert_eq!(appraisal.tee, Tee::Tpm);
    let claims = serde_json::to_value(&appraisal.claims).unwrap();
    assert_eq!(claims["nitrotpm"], true);
    assert_eq!(claims["npcrs"], 24);
    for (index, value) in fixture["pcrs"]["sha384"].as_object().unwrap() {
        let is_zero = value.as_str().unwrap().bytes().all(|digit| digit == b'0');
        let expected = if is_zero { &Value::Null } else { value };
        assert_eq!(&claims["pcrs"][index], expected, "PCR {index}");
    }

    // Nothing that is named as a value of an enclave fits it,
    let refusal = judge(&Policy::strict(), &expect("pcr4")).unwrap_err();
    assert_eq!(refusal.failed, CheckName::ReferenceValue);
    let policy = Policy::strict().require_reference("nitro.pcr4", pcr4.clone());
    let refusal = judge(&policy, &ReferenceValues::default()).unwrap_err();
    assert_eq!(refusal.failed, CheckName::ReferenceValue);
    let policy = Policy::strict().require_reference("nitro.nitrotpm_pcr4", pcr4.clone());
    judge(&policy, &ReferenceValues::default()).unwrap();
}

#[test]
fn a_warm_verifier_gives_the_same_answer() {
    for sample in samples() {
        let policy = Policy::strict().allow_debug();
        let verifier = Verifier::new(policy.clone());
        let cold = sample.appraise(&policy);
        for _ in 0..3 {
            let warm = verifier.appraise(
                &Evidence::parse(&sample.document).unwrap(),
                &Collateral::none(),
                &ReferenceValues::default(),
                at(sample.now),
            );
            match (&cold, &warm) {
                (Ok(cold), Ok(warm)) => assert_eq!(cold.checks, warm.checks, "{}", sample.id),
                (Err(cold), Err(warm)) => assert_eq!(cold.checks, warm.checks, "{}", sample.id),
                _ => panic!("{}: {cold:?} {warm:?}", sample.id),
            }
        }
    }
}

#[test]
fn revocation_is_skipped_loudly_without_crls() {
    let samples = samples();
    let sample = samples.iter().find(|sample| sample.is_accepted()).unwrap();
    let appraisal = sample.appraise(&Policy::strict().allow_debug()).unwrap();
    let revocation = appraisal
        .checks
        .iter()
        .find(|check| check.name == CheckName::Revocation)
        .unwrap();
    assert!(matches!(revocation.outcome, Outcome::Skipped { .. }));
}

#[test]
fn every_document_is_described() {
    for sample in samples() {
        let document = Document::parse(&sample.document).unwrap();
        let fields = fields(&Evidence::parse(&sample.document).unwrap()).unwrap();
        let names: BTreeSet<_> = fields.iter().map(|field| field.name.clone()).collect();
        assert_eq!(names.len(), fields.len(), "no name is there twice");
        assert_eq!(
            fields.len(),
            9 + document.pcrs().len() + document.cabundle().len(),
            "{}",
            sample.id
        );
    }
}

struct Sample {
    id: String,
    document: Vec<u8>,
    expected: String,
    now: u64,
    valid_from: String,
    valid_until: String,
    claims: Value,
}

impl Sample {
    /// The manifest judges without a policy about debug mode.
    fn is_accepted(&self) -> bool {
        self.expected == "accept"
    }

    /// The second in which the document was made.
    fn made(&self) -> u64 {
        self.claims["timestamp"].as_u64().unwrap() / 1000
    }

    fn appraise(&self, policy: &Policy) -> Result<Appraisal, Refusal> {
        self.appraise_at(policy, self.now)
    }

    fn appraise_at(&self, policy: &Policy, now: u64) -> Result<Appraisal, Refusal> {
        appraise(
            &Evidence::Nitro(self.document.clone()),
            &Collateral::none(),
            policy,
            &ReferenceValues::default(),
            at(now),
        )
    }

    fn check(&self) -> Result<(), String> {
        let evidence = Evidence::parse(&self.document).map_err(|error| error.to_string())?;
        if evidence.kind() != EvidenceKind::Nitro {
            return Err(format!("it is taken for {}", evidence.kind()));
        }
        let verdict = self.appraise(&Policy::strict().allow_debug());
        let claims = match (&verdict, self.expected.as_str()) {
            (Ok(appraisal), "accept") => serde_json::to_value(&appraisal.claims),
            (Err(refusal), expected) if expected.starts_with("reject") => {
                let check = if expected.contains("cose_sig") {
                    CheckName::QuoteSignature
                } else {
                    CheckName::RootOfTrust
                };
                if refusal.failed != check {
                    return Err(format!("{} refuses it: {refusal}", refusal.failed));
                }
                serde_json::to_value(&refusal.claims)
            }
            (verdict, expected) => return Err(format!("`{expected}`, but {verdict:?}")),
        };
        let claims = claims.map_err(|error| error.to_string())?;
        if claims != self.claims {
            return Err(format!("claims {claims} instead of {}", self.claims));
        }
        Ok(())
    }
}

fn samples() -> Vec<Sample> {
    let dir = evidence_dir();
    let manifest = fs::read_to_string(dir.join("MANIFEST.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let manifest = serde_json::to_value(manifest).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    manifest["sample"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|sample| sample["kind"] == "nitro")
        .map(|sample| Sample {
            id: text(&sample["id"]),
            document: fs::read(dir.join(text(&sample["files"][0]["path"]))).unwrap(),
            expected: text(&sample["expected"]),
            now: sample["now"].as_u64().unwrap(),
            valid_from: text(&sample["valid_from"]),
            valid_until: text(&sample["valid_until"]),
            claims: sample["claims"].clone(),
        })
        .collect()
}

fn evidence_dir() -> PathBuf {
    let dir = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    assert!(
        dir.join("MANIFEST.toml").is_file(),
        "no samples in `{}`: set MSE_EVIDENCE_DIR to the directory with their MANIFEST.toml",
        dir.display()
    );
    dir
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// `2023-01-18 13:07:13+00:00` as unix seconds.
fn seconds(date: &str) -> u64 {
    let timestamp: jiff::Timestamp = date.parse().unwrap();
    u64::try_from(timestamp.as_second()).unwrap()
}
