//! The good case of the simulated platform is accepted, and its verdict says how it came about.
//!
//! Each way of spoiling it is in `forged/platform.rs`.

mod common;

use std::time::Duration;

use common::{
    Case, MRENCLAVE, REPORT_DATA, days, flipped, hardening_needed, now, outcome, platform,
};
use mse_attest::{
    CheckName, Collateral, Evidence, Outcome, Policy, Reason, ReferenceValues, TcbStatus, Tee,
    TrustAnchor,
};

#[test]
fn the_good_case_is_accepted_and_every_check_passes() {
    let appraisal = Case::good().appraise().unwrap();
    assert_eq!(appraisal.tee, Tee::Simulated);
    let claims = appraisal.claims.sgx().unwrap();
    assert_eq!(claims.mrenclave, MRENCLAVE);
    assert_eq!(claims.mrsigner, platform().mrsigner());
    assert_eq!(claims.report_data, REPORT_DATA);
    assert_eq!(claims.isv_prod_id, 1);
    assert_eq!(claims.isv_svn, 1);
    assert!(!claims.debug);
    let tcb = appraisal.tcb.as_ref().unwrap();
    assert_eq!(tcb.status, TcbStatus::UpToDate);
    assert_eq!(tcb.fmspc, mse_simtee::FMSPC);

    let skipped: Vec<_> = appraisal
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Passed)
        .map(|check| check.name)
        .collect();
    // Nothing was said about three of them, and SGX has no TDX module.
    assert_eq!(
        skipped,
        [
            CheckName::TdxModule,
            CheckName::CollateralAge,
            CheckName::Advisories,
            CheckName::IsvProdId
        ]
    );
    assert_eq!(appraisal.checks.len(), 23);
}

#[test]
fn what_is_not_expected_is_skipped_and_says_so() {
    let case = Case {
        expected: ReferenceValues::default(),
        ..Case::good()
    };
    let appraisal = case.appraise().unwrap();
    for name in [CheckName::MrEnclave, CheckName::ReportData] {
        assert!(matches!(
            outcome(&appraisal.checks, name),
            Outcome::Skipped { .. }
        ));
    }
}

#[test]
fn what_the_policy_loosens_passes() {
    let accepted: [(&str, Case); 4] = [
        (
            "tolerated advisories",
            hardening_needed(|policy| {
                policy
                    .tolerate_advisory("SIM-SA-1", now() + days(1))
                    .tolerate_advisory("sim-sa-2", now())
            }),
        ),
        (
            "advisories of an up-to-date platform",
            Case::with_collateral(|options| options.advisory_ids = vec!["SIM-SA-1".into()]),
        ),
        ("a debug enclave", {
            let mut case = Case::with_quote(|options| options.debug = true);
            case.policy = case.policy.allow_debug();
            case
        }),
        ("limits that are met exactly", {
            let mut case = Case::good();
            case.policy = case
                .policy
                .require_isv_prod_id(1)
                .require_min_isv_svn(1)
                .require_min_tcb_evaluation_number(1)
                .require_mrsigner(platform().mrsigner())
                .require_max_collateral_age(Duration::from_hours(1));
            case
        }),
    ];
    for (name, case) in accepted {
        if let Err(refusal) = case.appraise() {
            panic!("`{name}` must be accepted: {refusal}");
        }
    }
}

#[test]
fn the_signature_chain_decides_before_the_binding_and_both_are_reported() {
    let mut case = flipped(48 + 64, 1);
    case.expected.report_data = Some([0; 64]);
    let refusal = case.appraise().unwrap_err();
    assert_eq!(refusal.failed, CheckName::QuoteSignature);
    for name in [CheckName::MrEnclave, CheckName::ReportData] {
        assert!(matches!(
            outcome(&refusal.checks, name),
            Outcome::Failed { .. }
        ));
    }
    assert!(matches!(
        outcome(&refusal.checks, CheckName::TcbStatus),
        Outcome::Skipped { .. }
    ));
}

#[test]
fn results_serialise_with_the_names_of_the_checks() {
    let refusal = Case::with_quote(|options| options.debug = true)
        .appraise()
        .unwrap_err();
    let json = serde_json::to_value(&refusal).unwrap();
    assert_eq!(json["failed"], "debug");
    assert_eq!(json["reason"], "policy");
    let appraisal = serde_json::to_value(Case::good().appraise().unwrap()).unwrap();
    assert_eq!(appraisal["tee"], "simulated");
    assert_eq!(appraisal["claims"]["mrenclave"], hex::encode(MRENCLAVE));
    assert_eq!(appraisal["checks"][0]["name"], "evidence-format");
    assert_eq!(appraisal["checks"][0]["outcome"]["result"], "passed");
}

#[test]
fn collateral_survives_its_json_form() {
    let collateral = platform().collateral(now()).unwrap();
    let json = serde_json::to_vec(&collateral).unwrap();
    let collateral = Collateral::from(collateral);
    assert_eq!(Collateral::from_json(&json).unwrap(), collateral);
    let json = collateral.to_json();
    assert_eq!(Collateral::from_json(json.as_bytes()).unwrap(), collateral);
}

#[test]
fn a_quote_is_explained_field_by_field() {
    let evidence = Evidence::parse(&Case::good().quote).unwrap();
    let fields = mse_attest::fields(&evidence).unwrap();
    let value = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        field
            .unwrap_or_else(|| panic!("no field `{name}`"))
            .value
            .clone()
    };
    assert_eq!(value("report.mrenclave"), hex::encode(MRENCLAVE));
    assert_eq!(value("report.report_data"), hex::encode(REPORT_DATA));
    assert_eq!(value("signature_data.certification_data.type"), "5");
    assert!(value("signature_data.certification_data").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(fields.iter().all(|field| !field.meaning.is_empty()));
}

#[test]
fn a_trust_anchor_of_intels_key_does_not_make_evidence_hardware() {
    // Hardware first: whoever adds Intel's root as simulated gains nothing by it.
    let intel = TrustAnchor::intel();
    let fake = TrustAnchor::simulated(intel.root_der(), None).unwrap();
    let case = Case {
        policy: Policy::strict().with_simulated(fake),
        ..Case::good()
    };
    assert_eq!(
        case.appraise().unwrap_err().reason,
        Reason::SimulatedEvidence
    );
}

/// All simulated platforms have the same names, so what a refusal compares is their ids.
#[test]
fn another_simulated_platform_is_told_apart_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let other = mse_simtee::Platform::create(folder.path(), now()).unwrap();
    let case = Case {
        policy: Policy::strict().with_simulated(other.trust_anchor().clone()),
        ..Case::good()
    };
    let refusal = case.appraise().unwrap_err();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    let ids = [platform().trust_anchor().id(), other.trust_anchor().id()];
    assert_ne!(ids[0], ids[1]);
    assert!(refusal.found.contains(&ids[0]), "{}", refusal.found);
    assert!(refusal.expected.contains(&ids[1]), "{}", refusal.expected);
    assert!(!refusal.expected.contains(&ids[0]), "{}", refusal.expected);
}
