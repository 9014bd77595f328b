//! Outcomes of appraisals as EAR claims sets.

mod common;
mod corpus;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Case, MRENCLAVE, platform};
use corpus::{Corpus, at};
use mse_attest::ear::{Issue, PROFILE, claims};
use mse_attest::{
    Appraisal, Collateral, Evidence, Policy, ReferenceValues, Refusal, TcbStatus, appraise,
};
use mse_simtee::testing::QuoteOptions;
use serde_json::{Value, json};

fn issue(now: SystemTime) -> Issue<'static> {
    Issue {
        now,
        build: "mse 0.1.0",
        developer: "MSE",
        nonce: None,
    }
}

/// The claims set, and its only submodule by its name.
fn ear(result: &Result<Appraisal, Refusal>, label: &str) -> (Value, Value) {
    let ear = claims(result, &issue(at(1_700_000_000)));
    assert_eq!(ear["submods"].as_object().unwrap().len(), 1);
    let submodule = ear["submods"][label].clone();
    assert!(submodule.is_object(), "{ear:#}");
    assert_eq!(ear["ear_status"], submodule["ear_status"]);
    (ear, submodule)
}

/// Status, vector, verdict and whether it says `simulated`.
fn summary(submodule: &Value) -> Value {
    let verifier = &submodule["ear_verifier_claims"];
    json!([
        submodule["ear_status"],
        submodule["ear_trustworthiness_vector"],
        verifier["verdict"],
        verifier["simulated"],
    ])
}

#[test]
fn an_accepted_simulated_quote_is_contraindicated_for_others() {
    let (mut ear, submodule) = ear(&Case::good().appraise(), "simulated");
    let vector = json!({
        "configuration": 3,
        "executables": 3,
        "hardware": 96,
        "runtime-opaque": 96,
    });
    assert_eq!(
        summary(&submodule),
        json!(["contraindicated", vector, "accepted", true])
    );
    assert_eq!(
        submodule["ear_attester_claims"]["mrenclave"],
        hex::encode(MRENCLAVE)
    );
    assert_eq!(
        submodule["ear_verifier_claims"]["tcb"]["status"],
        "UpToDate"
    );
    let checks = submodule["ear_verifier_claims"]["checks"].as_array();
    assert!(checks.is_some_and(|checks| checks.len() > 20));
    ear.as_object_mut().unwrap().remove("submods");
    assert_eq!(
        ear,
        json!({
            "eat_profile": "tag:ietf.org,2026:rats/ear#04",
            "iat": 1_700_000_000,
            "ear_status": "contraindicated",
            "ear_verifier_id": { "developer": "MSE", "build": "mse 0.1.0" },
        })
    );
    assert_eq!(ear["eat_profile"], PROFILE);
}

#[test]
fn a_refused_simulated_quote_proves_nothing() {
    let case = Case {
        policy: Policy::strict(),
        ..Case::good()
    };
    let (_, submodule) = ear(&case.appraise(), "unknown");
    assert_eq!(
        summary(&submodule),
        json!([
            "contraindicated",
            { "hardware": 97, "runtime-opaque": 96 },
            "refused",
            true,
        ])
    );
    let verifier = &submodule["ear_verifier_claims"];
    assert_eq!(verifier["failed"], "root-of-trust");
    assert_eq!(verifier["reason"], "simulated-evidence");
    assert!(verifier["stated_not_proven"]["mrenclave"].is_string());
    assert!(submodule.get("ear_attester_claims").is_none());
}

#[test]
fn what_was_refused_shows_in_the_claim_that_it_is_about() {
    let other_code = Case {
        expected: ReferenceValues {
            mrenclave: Some([0; 32]),
            ..ReferenceValues::default()
        },
        ..Case::good()
    };
    let other_session = Case {
        expected: ReferenceValues {
            report_data: Some([0; 64]),
            ..Case::good().expected
        },
        ..Case::good()
    };
    let mut forged = Case::good();
    // A bit of the report that the quote signs.
    forged.quote[48 + 64] ^= 1;
    let debug = Case {
        quote: platform()
            .quote_with(
                MRENCLAVE,
                &common::REPORT_DATA,
                &QuoteOptions {
                    debug: true,
                    ..QuoteOptions::default()
                },
            )
            .unwrap(),
        ..Case::good()
    };
    for (case, claim, value) in [
        (other_code, "executables", 33),
        (other_session, "instance-identity", 97),
        (forged, "hardware", 99),
        (debug, "configuration", 96),
    ] {
        let (_, submodule) = ear(&case.appraise(), "simulated");
        assert_eq!(
            submodule["ear_trustworthiness_vector"][claim], value,
            "{submodule:#}"
        );
        assert_eq!(submodule["ear_status"], "contraindicated");
    }
}

#[test]
fn a_genuine_trust_domain_is_affirmed_as_far_as_it_was_compared() {
    let corpus = Corpus::open();
    let (sample, case) = corpus
        .samples("tdx-v4")
        .find_map(|sample| {
            let case = sample.case.iter().find(|case| {
                case.expected_status.as_deref() == Some(TcbStatus::UpToDate.as_str())
            })?;
            (!sample.is_debug()).then_some((sample, case))
        })
        .expect("a sample of an up-to-date trust domain");
    let evidence = Evidence::parse(&corpus.read(&sample.file("quote").path)).unwrap();
    let collateral = corpus.collateral(&case.collateral);
    let result = |expected: &ReferenceValues, policy: &Policy| {
        appraise(&evidence, &collateral, policy, expected, at(case.now))
    };

    let reference = |names: &[&str]| {
        let value = |name| hex::decode(sample.claims[name].as_str().unwrap()).unwrap();
        names
            .iter()
            .map(|name| ((*name).to_owned(), value(*name)))
            .collect()
    };

    let mut expected = ReferenceValues::default();
    let (_, unknown_code) = ear(&result(&expected, &Policy::strict()), "tdx");
    let vector = |executables: i8| {
        json!({
            "configuration": 3,
            "executables": executables,
            "hardware": 2,
            "runtime-opaque": 2,
        })
    };
    assert_eq!(
        summary(&unknown_code),
        json!(["warning", vector(33), "accepted", false])
    );
    let firmware_only = ReferenceValues {
        claims: reference(&["mr_td"]),
        ..expected.clone()
    };
    let (_, firmware) = ear(&result(&firmware_only, &Policy::strict()), "tdx");
    assert_eq!(
        summary(&firmware),
        json!(["warning", vector(33), "accepted", false])
    );
    expected.claims = reference(&["mr_td", "rtmr1", "rtmr2"]);
    let (_, known_code) = ear(&result(&expected, &Policy::strict()), "tdx");
    assert_eq!(
        summary(&known_code),
        json!(["affirming", vector(3), "accepted", false])
    );
    let mr_td = &known_code["ear_attester_claims"]["mr_td"];
    assert_eq!(mr_td.as_str(), sample.claims["mr_td"].as_str());

    let late = appraise(
        &evidence,
        &collateral,
        &Policy::strict(),
        &expected,
        at(case.now) + Duration::from_secs(3600 * 24 * 365 * 50),
    );
    let (_, stale) = ear(&late, "tdx");
    assert_eq!(
        summary(&stale),
        json!(["contraindicated", { "hardware": 0 }, "refused", false])
    );
    let none = appraise(
        &evidence,
        &Collateral::none(),
        &Policy::strict(),
        &expected,
        at(case.now),
    );
    let ear = claims(&none, &issue(UNIX_EPOCH));
    assert_eq!(ear["ear_status"], "contraindicated");
}

#[test]
fn a_nonce_of_an_allowed_length_is_echoed() {
    let result = Case::good().appraise();
    let with = |nonce: &[u8]| {
        let issue = Issue {
            nonce: Some(nonce),
            ..issue(at(1))
        };
        claims(&result, &issue)["eat_nonce"].clone()
    };
    assert_eq!(with(b"12345678"), json!("MTIzNDU2Nzg"));
    assert_eq!(with(b"1234567"), Value::Null);
    assert_eq!(with(&[0; 65]), Value::Null);
}
