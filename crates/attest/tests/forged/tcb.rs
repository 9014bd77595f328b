//! Levels, statuses, advisories and the quoting enclave.

use mse_attest::{Appraisal, CheckName, Outcome, Reason, TcbStatus};
use mse_simtee::testing::{CertificateForm, SgxExtension, documents};
use serde_json::{Value, json};

use crate::{
    Row,
    documents::{qe_identity, tcb_info},
    world::{Case, days, now, sgx},
};

pub(crate) const REFUSED: &[Row] = &[
    (
        "a platform older than all levels",
        || platform(SgxExtension::of([1; 16], 11)),
        CheckName::TcbStatus,
        Reason::Policy,
        "the platform meets no TCB level",
    ),
    (
        "a platform whose PCE is older than all levels",
        || platform(SgxExtension::of([5; 16], 4)),
        CheckName::TcbStatus,
        Reason::Policy,
        "the platform meets no TCB level",
    ),
    (
        "a level that asks for 255: no wildcard",
        || {
            tcb_info(|info| {
                for level in 0..2 {
                    info["tcbLevels"][level]["tcb"]["sgxtcbcomponents"][3]["svn"] = json!(255);
                }
            })
        },
        CheckName::TcbStatus,
        Reason::Policy,
        "the platform meets no TCB level",
    ),
    (
        "a platform out of date, with its advisories",
        || platform(SgxExtension::of([4; 16], 11)),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDate; advisories: FORGED-SA-PLATFORM",
    ),
    (
        "a level that needs configuration",
        || status("ConfigurationNeeded"),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is ConfigurationNeeded",
    ),
    (
        "a level that needs configuration and hardening",
        || status("ConfigurationAndSWHardeningNeeded"),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is ConfigurationAndSWHardeningNeeded",
    ),
    (
        "a level out of date that needs configuration",
        || status("OutOfDateConfigurationNeeded"),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDateConfigurationNeeded",
    ),
    (
        "a revoked level",
        || status("Revoked"),
        CheckName::TcbStatus,
        Reason::Revoked,
        "the platform's TCB is revoked",
    ),
    (
        "a revoked QE, though the policy lists every status",
        || {
            let mut case = sgx(3, |parts| {
                parts.qe_identity["tcbLevels"][0]["tcbStatus"] = json!("Revoked");
            })
            .case();
            for status in TOLERABLE.iter().chain(&[TcbStatus::Revoked]) {
                case.policy = case.policy.accept_status(*status);
            }
            case
        },
        CheckName::TcbStatus,
        Reason::Revoked,
        "the platform's TCB is revoked",
    ),
    (
        "a QE out of date",
        || qe(|qe| qe.isv_svn = 7),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDate; advisories: FORGED-SA-QE",
    ),
    (
        "a QE older than all levels",
        || qe(|qe| qe.isv_svn = 1),
        CheckName::QeReport,
        Reason::Policy,
        "security version `1` meets no level of its identity",
    ),
    (
        "a QE of another signer than its identity says",
        || qe(|qe| qe.mrsigner[31] ^= 1),
        CheckName::QeReport,
        Reason::Mismatch,
        "another signer than Intel's",
    ),
    (
        "another enclave of the QE's signer",
        || qe(|qe| qe.isv_prod_id = 2),
        CheckName::QeReport,
        Reason::Mismatch,
        "another product id than Intel's",
    ),
    (
        "a QE with another MISCSELECT",
        || qe(|qe| qe.misc_select = 1),
        CheckName::QeReport,
        Reason::Mismatch,
        "another MISCSELECT than Intel's",
    ),
    (
        "a QE without the provisioning key",
        || qe(|qe| qe.flags &= !0x10),
        CheckName::QeReport,
        Reason::Mismatch,
        "another set of attributes than Intel's",
    ),
    (
        "a QE in debug mode, though its identity's masks are zero",
        || {
            sgx(3, |parts| {
                parts.qe_identity["attributesMask"] = json!("00".repeat(16))
            })
            .case_with(|quote| quote.qe_report.flags |= 2)
        },
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave runs in debug mode",
    ),
    (
        "a QE in debug mode, under a policy that allows debug mode",
        || {
            sgx(3, |parts| parts.policy = parts.policy.clone().allow_debug())
                .case_with(|quote| quote.qe_report.flags |= 2)
        },
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave runs in debug mode",
    ),
    (
        "an advisory of the QE that is not tolerated",
        || {
            let mut case = qe(|qe| qe.isv_svn = 7);
            case.policy = case
                .policy
                .accept_status(TcbStatus::OutOfDate)
                .tolerate_advisory("FORGED-SA-PLATFORM", now());
            case
        },
        CheckName::Advisories,
        Reason::Policy,
        "does not tolerate apply: FORGED-SA-QE",
    ),
    (
        "a TCB info of an evaluation that the policy finds too old",
        || {
            let mut case = tcb_info(|info| info["tcbEvaluationDataNumber"] = json!(16));
            case.policy = case.policy.require_min_tcb_evaluation_number(17);
            case
        },
        CheckName::TcbEvaluation,
        Reason::Stale,
        "does not know the TCB recovery",
    ),
    (
        "a QE identity of an evaluation that the policy finds too old",
        || {
            let mut case = qe_identity(|identity| identity["tcbEvaluationDataNumber"] = json!(16));
            case.policy = case.policy.require_min_tcb_evaluation_number(17);
            case
        },
        CheckName::TcbEvaluation,
        Reason::Stale,
        "does not know the TCB recovery",
    ),
];

/// Every status but those that no policy needs to name or can name.
pub(crate) const TOLERABLE: [TcbStatus; 7] = [
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::TDRelaunchAdvised,
    TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
];

/// The verdict under a policy that tolerates all that can be tolerated.
#[track_caller]
pub(crate) fn tolerated(mut case: Case) -> Appraisal {
    for status in TOLERABLE {
        case.policy = case.policy.accept_status(status);
    }
    for advisory in ["FORGED-SA-PLATFORM", "FORGED-SA-QE", "FORGED-SA-MODULE"] {
        case.policy = case.policy.tolerate_advisory(advisory, now() + days(1));
    }
    case.appraise().unwrap()
}

#[track_caller]
pub(crate) fn status_of(case: Case) -> TcbStatus {
    let appraisal = tolerated(case);
    let tcb = appraisal.tcb.as_ref().unwrap();
    let by_tolerance = appraisal
        .tolerated()
        .any(|check| check.name == CheckName::TcbStatus);
    assert_eq!(by_tolerance, tcb.status != TcbStatus::UpToDate);
    tcb.status
}

#[test]
fn each_component_counts() {
    assert_eq!(status_of(sgx(3, |_| ()).case()), TcbStatus::UpToDate);
    for component in 0..16 {
        let mut svns = [5; 16];
        svns[component] = 4;
        let status = status_of(platform(SgxExtension::of(svns, 11)));
        assert_eq!(status, TcbStatus::OutOfDate, "component {component}");
        svns[component] = 255;
        let status = status_of(platform(SgxExtension::of(svns, 11)));
        assert_eq!(status, TcbStatus::UpToDate, "component {component}");
        // 255 in a level is a number like any other.
        let status = status_of(tcb_info(|info| {
            info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][component]["svn"] = json!(255);
        }));
        assert_eq!(status, TcbStatus::OutOfDate, "component {component}");
        let status = status_of(v2(|info| {
            let name = format!("sgxtcbcomp{:02}svn", component + 1);
            info["tcbLevels"][0]["tcb"][name] = json!(6);
        }));
        assert_eq!(status, TcbStatus::OutOfDate, "component {component}");
    }
}

#[test]
fn the_pce_counts_and_in_the_right_direction() {
    for (pce_svn, expected) in [
        (10, TcbStatus::OutOfDate),
        (11, TcbStatus::UpToDate),
        (12, TcbStatus::UpToDate),
        (300, TcbStatus::UpToDate),
    ] {
        let status = status_of(platform(SgxExtension::of([5; 16], pce_svn)));
        assert_eq!(status, expected, "PCESVN {pce_svn}");
    }
}

#[test]
fn the_order_of_levels_does_not_matter() {
    let reverse = |document: &mut Value| {
        document["tcbLevels"].as_array_mut().unwrap().reverse();
    };
    assert_eq!(status_of(tcb_info(reverse)), TcbStatus::UpToDate);
    assert_eq!(status_of(v2(reverse)), TcbStatus::UpToDate);
    assert_eq!(status_of(qe_identity(reverse)), TcbStatus::UpToDate);
}

#[test]
fn statuses_of_platform_and_quoting_enclave_converge() {
    use TcbStatus::{OutOfDate, OutOfDateConfigurationNeeded, SWHardeningNeeded, UpToDate};
    for (platform, qe, expected) in [
        ("UpToDate", "UpToDate", UpToDate),
        ("UpToDate", "OutOfDate", OutOfDate),
        ("SWHardeningNeeded", "UpToDate", SWHardeningNeeded),
        ("SWHardeningNeeded", "OutOfDate", OutOfDate),
        (
            "ConfigurationNeeded",
            "OutOfDate",
            OutOfDateConfigurationNeeded,
        ),
        (
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            OutOfDateConfigurationNeeded,
        ),
        ("OutOfDate", "UpToDate", OutOfDate),
        ("OutOfDate", "OutOfDate", OutOfDate),
        (
            "OutOfDateConfigurationNeeded",
            "OutOfDate",
            OutOfDateConfigurationNeeded,
        ),
    ] {
        let status = status_of(
            sgx(3, |parts| {
                parts.tcb_info["tcbLevels"][0]["tcbStatus"] = json!(platform);
                parts.qe_identity["tcbLevels"][0]["tcbStatus"] = json!(qe);
            })
            .case(),
        );
        assert_eq!(status, expected, "{platform} with {qe}");
    }
}

#[test]
fn advisories_are_merged_and_the_oldest_date_counts() {
    let appraisal = tolerated(
        sgx(3, |parts| {
            parts.tcb_info["tcbLevels"][0]["tcbStatus"] = json!("SWHardeningNeeded");
            parts.tcb_info["tcbLevels"][0]["advisoryIDs"] =
                json!(["FORGED-SA-PLATFORM", "FORGED-SA-QE", "FORGED-SA-PLATFORM"]);
        })
        .case_with(|quote| quote.qe_report.isv_svn = 7),
    );
    let tcb = appraisal.tcb.as_ref().unwrap();
    assert_eq!(tcb.advisory_ids, ["FORGED-SA-PLATFORM", "FORGED-SA-QE"]);
    assert_eq!(tcb.date, documents::OLD_TCB_DATE);
    assert_eq!(tcb.status, TcbStatus::OutOfDate);
}

#[test]
fn each_tolerance_says_so() {
    let case = platform(SgxExtension::of([4; 16], 11));
    let appraisal = tolerated(case);
    let tolerated: Vec<_> = appraisal.tolerated().map(|check| check.name).collect();
    assert_eq!(tolerated, [CheckName::TcbStatus, CheckName::Advisories]);

    let mut debug = sgx(3, |parts| {
        parts.enclave.flags |= 2;
        parts.policy = parts.policy.clone().allow_debug();
    })
    .case();
    let appraisal = debug.appraise().unwrap();
    let tolerated: Vec<_> = appraisal.tolerated().collect();
    assert!(
        matches!(tolerated.as_slice(), [check] if check.name == CheckName::Debug),
        "{tolerated:?}"
    );
    debug.policy = crate::world::policy();
    let refusal = debug.appraise().unwrap_err();
    assert!(
        refusal
            .checks
            .iter()
            .any(|check| check.name == CheckName::Debug
                && matches!(check.outcome, Outcome::Failed { .. }))
    );
}

#[test]
fn masks_say_which_attributes_of_the_quoting_enclave_count() {
    let mut parts = sgx(3, |parts| {
        parts.qe_identity["attributesMask"] = json!("00".repeat(16));
        parts.qe_identity["miscselectMask"] = json!("00000000");
    });
    let change = |quote: &mut mse_simtee::testing::QuoteForm| {
        quote.qe_report.misc_select = 7;
        quote.qe_report.xfrm = 3;
    };
    parts.case_with(change).appraise().unwrap();
    parts.qe_identity = documents::qe_identity(now());
    assert!(parts.case_with(change).appraise().is_err());
}

/// The enclave on another platform.
fn platform(extension: SgxExtension) -> Case {
    sgx(3, |_| ()).case_under(|forge| {
        let form = CertificateForm::pck(&extension, now());
        forge.pck = forge.pck.with_certificate(&form, &forge.pck_ca).unwrap();
    })
}

fn qe(change: impl FnOnce(&mut mse_simtee::testing::EnclaveBody)) -> Case {
    sgx(3, |_| ()).case_with(|quote| change(&mut quote.qe_report))
}

fn status(status: &str) -> Case {
    tcb_info(|info| info["tcbLevels"][0]["tcbStatus"] = json!(status))
}

fn v2(change: impl FnOnce(&mut Value)) -> Case {
    sgx(3, |parts| {
        parts.tcb_info = documents::tcb_info_v2(now());
        change(&mut parts.tcb_info);
    })
    .case()
}
