//! Azure's paravisor on TDX.

use mse_attest::{
    CheckName, Collateral, Evidence, EvidenceKind, Outcome, Policy, Tee, vtpm::VtpmEvidence,
};
use serde_json::{Value, json};

use super::{Case, assert_vtpm_part_holds, at, claims, outcomes, read, read_json};

pub(super) const FLASHBOTS: &str =
    "azure-tdx-vtpm/flashbots-ak-intermediates/azure-tdx-with-ak-intermediates-1780922561.yaml";

fn flashbots() -> Case {
    let collateral = read(
        "azure-tdx-vtpm/flashbots-ak-intermediates/azure-collateral-with-ak-intermediates-1780922561.yaml",
    );
    let mut case = Case::of(&read(FLASHBOTS));
    case.now = at(1_780_922_561);
    case.collateral = Collateral::parse(&collateral).unwrap();
    case
}

#[test]
fn azure_tdx_is_accepted_with_its_collateral() {
    let case = flashbots();
    assert_eq!(case.evidence.kind(), EvidenceKind::AzureTdxVtpm);
    let Evidence::Vtpm(evidence) = &case.evidence else {
        panic!("another kind");
    };
    let nonce = evidence.stated_nonce().unwrap().to_vec();
    let case = Case {
        policy: Policy::strict(),
        ..case
    }
    .with_nonce(&nonce);
    let appraisal = case
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Tdx);
    assert_vtpm_part_holds(&appraisal.checks, FLASHBOTS);
    let claims = claims(&appraisal);
    assert_eq!(claims["hcl_report_type"], "tdx");
    assert_eq!(claims["user_data"], "00".repeat(64));
    assert_eq!(
        claims["pcr3"],
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    );
    assert!(claims["mr_td"].is_string());
}

#[test]
fn without_collateral_only_the_vtpm_part_holds() {
    for (path, nonce) in [
        ("azure-tdx-vtpm/trustee-v0/evidence-v0.json", "challenge"),
        ("azure-tdx-vtpm/trustee-v1/evidence-v1.json", "challenge"),
        (
            "azure-tdx-vtpm/attestation-rs-live/live-evidence.json",
            "attestation-test-fixture",
        ),
    ] {
        let case = Case::of(&read(path)).with_nonce(nonce.as_bytes());
        assert_eq!(case.evidence.kind(), EvidenceKind::AzureTdxVtpm);
        let refusal = case.refusal();
        assert_eq!(refusal.failed, CheckName::CollateralFormat, "{path}");
        assert_eq!(refusal.tee, None, "{path}");
        assert_vtpm_part_holds(&refusal.checks, path);
    }
}

#[test]
fn an_envelope_around_the_evidence_is_read() {
    let inner = read_json("azure-tdx-vtpm/attestation-rs-live/live-evidence.json");
    let outer = json!({ "platform": "az-tdx", "evidence": inner });
    assert!(
        Evidence::parse(outer.to_string().as_bytes()).unwrap()
            == Evidence::parse(inner.to_string().as_bytes()).unwrap()
    );
    let twice = json!({ "platform": "az-tdx", "evidence": outer });
    assert!(Evidence::parse(twice.to_string().as_bytes()).is_err());
}

#[test]
fn the_td_quote_must_be_one_of_this_vm() {
    let mut mine = read_json("azure-tdx-vtpm/trustee-v1/evidence-v1.json");
    let other = read_json("azure-tdx-vtpm/attestation-rs-live/live-evidence.json");
    mine["td_quote"] = other["td_quote"].clone();
    let refusal = Case::of(mine.to_string().as_bytes()).refusal();
    let bindings = outcomes(&refusal.checks, CheckName::HardwareBinding);
    assert_eq!(bindings.len(), 2);
    assert!(
        bindings
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Failed { .. })),
        "{bindings:?}"
    );
}

#[test]
fn another_td_quote_is_refused_even_with_genuine_collateral() {
    let Evidence::Vtpm(evidence) = flashbots().evidence else {
        panic!("another kind");
    };
    let quote = evidence.td_quote().unwrap().to_vec();
    let report = read("azure-tdx-vtpm/trustee-v1/hcl-report.bin");
    let tpm_quote = read("azure-tdx-vtpm/trustee-v1/tpm-quote-v1.json");
    let mixed = VtpmEvidence::parse(&report)
        .unwrap()
        .with_part(&tpm_quote)
        .unwrap()
        .with_part(&quote)
        .unwrap();
    let case = Case {
        evidence: Evidence::Vtpm(Box::new(mixed)),
        policy: Policy::strict(),
        ..flashbots()
    };
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::HardwareBinding);
}

#[test]
fn a_td_report_alone_is_not_signed() {
    let report = read("azure-tdx-vtpm/trustee-v1/hcl-report.bin");
    let tpm_quote = read("azure-tdx-vtpm/trustee-v1/tpm-quote-v1.json");
    let evidence = VtpmEvidence::parse(&report)
        .unwrap()
        .with_part(&tpm_quote)
        .unwrap();
    let case = Case {
        evidence: Evidence::Vtpm(Box::new(evidence)),
        ..flashbots()
    };
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    assert_eq!(refusal.tee, None);
}

#[test]
fn padding_behind_a_td_quote_must_be_zero() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE};

    let mut file = read_json("azure-tdx-vtpm/trustee-v1/evidence-v1.json");
    let mut quote = URL_SAFE.decode(file["td_quote"].as_str().unwrap()).unwrap();
    *quote.last_mut().unwrap() = 1;
    file["td_quote"] = Value::String(URL_SAFE.encode(quote));
    let refusal = Case::of(file.to_string().as_bytes()).refusal();
    assert_eq!(refusal.failed, CheckName::EvidenceFormat);
}
