//! Trust domains: module, relaunch, attributes, service TDs, reference values.

use mse_attest::{Appraisal, CheckName, Outcome, Reason, ReferenceValues, TcbStatus};
use mse_simtee::testing::{TdBody, TdForm, documents};
use serde_json::{Value, json};

use crate::{
    Row,
    tcb::{status_of, tolerated},
    world::{Case, Parts, domain, now, td, td_of},
};

pub(crate) const REFUSED: &[Row] = &[
    // --- TCB info.
    (
        "a level without components of TDX",
        || {
            tcb_info(|info| {
                let tcb = &mut info["tcbLevels"][0]["tcb"];
                tcb.as_object_mut().unwrap().remove("tdxtcbcomponents");
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "lacks the components of TDX",
    ),
    (
        "fifteen components of TDX",
        || {
            tcb_info(|info| {
                let components = &mut info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"];
                components.as_array_mut().unwrap().pop();
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "invalid length 15",
    ),
    (
        "a module identity without levels",
        || tcb_info(|info| info["tdxModuleIdentities"][0]["tcbLevels"] = json!([])),
        CheckName::TcbInfo,
        Reason::Malformed,
        "the identity `TDX_01` of the TDX module has no TCB levels",
    ),
    (
        "two identities of one module",
        || tcb_info(|info| info["tdxModuleIdentities"][1]["id"] = json!("tdx_01")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "has the identity `tdx_01` of the TDX module twice",
    ),
    (
        "a module with a mask of seven bytes",
        || tcb_info(|info| info["tdxModule"]["attributesMask"] = json!("FF".repeat(7))),
        CheckName::TcbInfo,
        Reason::Malformed,
        "is not `8` bytes",
    ),
    // --- The module.
    (
        "a module of a version that nobody knows",
        || domain(|domain| domain.tee_tcb_svn[1] = 2).case(),
        CheckName::TdxModule,
        Reason::Mismatch,
        "does not know TDX modules of version `2`",
    ),
    (
        "a module of version 1 in a TCB info without identities",
        || {
            tcb_info(|info| {
                info.as_object_mut().unwrap().remove("tdxModuleIdentities");
            })
        },
        CheckName::TdxModule,
        Reason::Mismatch,
        "does not know TDX modules of version `1`",
    ),
    (
        "a module of version 0 in a TCB info without module",
        || {
            version_0(|parts| {
                parts.tcb_info.as_object_mut().unwrap().remove("tdxModule");
            })
            .case()
        },
        CheckName::TdxModule,
        Reason::Mismatch,
        "does not know TDX modules of version `0`",
    ),
    (
        "a module of another signer",
        || domain(|domain| domain.mr_signer_seam[47] = 1).case(),
        CheckName::TdxModule,
        Reason::Mismatch,
        "the TDX module's signer is `",
    ),
    (
        "a module of version 0 of another signer",
        || version_0(|parts| body(parts).mr_signer_seam[0] = 1).case(),
        CheckName::TdxModule,
        Reason::Mismatch,
        "the TDX module's signer is `",
    ),
    (
        "a module in debug mode",
        || domain(|domain| domain.seam_attributes[0] = 1).case(),
        CheckName::TdxModule,
        Reason::Mismatch,
        "the TDX module has the attributes `0100000000000000`",
    ),
    (
        "a module of version 0 with a high attribute",
        || version_0(|parts| body(parts).seam_attributes[7] = 0x80).case(),
        CheckName::TdxModule,
        Reason::Mismatch,
        "the TDX module has the attributes `0000000000000080`",
    ),
    (
        "a module older than all levels of its identity",
        || domain(|domain| (domain.tee_tcb_svn[0], domain.tee_tcb_svn2[0]) = (1, 1)).case(),
        CheckName::TdxModule,
        Reason::Policy,
        "security version `1` meets no level of its identity",
    ),
    (
        "a module that is in force now and that nobody knows",
        || domain(|domain| domain.tee_tcb_svn2[1] = 4).case(),
        CheckName::TdxModule,
        Reason::Policy,
        "does not know TDX modules of version `4`",
    ),
    (
        "a module out of date",
        || domain(|domain| (domain.tee_tcb_svn[0], domain.tee_tcb_svn2[0]) = (4, 4)).case(),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDate; advisories: FORGED-SA-MODULE",
    ),
    (
        "a revoked module",
        || tcb_info(|info| module(info)["tcbLevels"][0]["tcbStatus"] = json!("Revoked")),
        CheckName::TcbStatus,
        Reason::Revoked,
        "the platform's TCB is revoked",
    ),
    (
        "a trust domain launched before the update that is in force",
        || domain(|domain| domain.tee_tcb_svn[0] = 4).case(),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is TDRelaunchAdvised",
    ),
    (
        "a trust domain under a module that went out of date since its launch",
        || domain(|domain| domain.tee_tcb_svn2[0] = 4).case(),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDate; advisories: FORGED-SA-MODULE",
    ),
    (
        "a trust domain under a module that was revoked since its launch",
        || {
            td(|parts| {
                body(parts).tee_tcb_svn2[1] = 3;
                body(parts).tee_tcb_svn2[0] = 6;
                parts.tcb_info["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] =
                    json!("Revoked");
            })
            .case()
        },
        CheckName::TcbStatus,
        Reason::Revoked,
        "the platform's TCB is revoked",
    ),
    // --- Attributes.
    (
        "a trust domain in debug mode",
        || domain(|domain| domain.td_attributes |= 1).case(),
        CheckName::Debug,
        Reason::Policy,
        "the code runs in debug mode",
    ),
    (
        "a trust domain open to profiling",
        || domain(|domain| domain.td_attributes |= 1 << 4).case(),
        CheckName::Attributes,
        Reason::Policy,
        "open to profiling or other untrusted debugging",
    ),
    (
        "a trust domain with a reserved attribute",
        || domain(|domain| domain.td_attributes |= 1 << 40).case(),
        CheckName::Attributes,
        Reason::Policy,
        "reserved bits are set",
    ),
    (
        "a trust domain that can be moved",
        || domain(|domain| domain.td_attributes |= 1 << 29).case(),
        CheckName::Attributes,
        Reason::Policy,
        "can be moved to another machine",
    ),
    (
        "a trust domain whose host may inject faults",
        || domain(|domain| domain.td_attributes = 0).case(),
        CheckName::Attributes,
        Reason::Policy,
        "SEPT_VE_DISABLE is not set",
    ),
    // --- Service TDs.
    (
        "a service TD",
        || domain(|domain| domain.mr_service_td[0] = 1).case(),
        CheckName::ServiceTd,
        Reason::Policy,
        SERVICE_TD,
    ),
    (
        "a service TD that was bound at launch",
        || extended(|domain| domain.init_service_td_hash[0] = 1).case(),
        CheckName::ServiceTd,
        Reason::Policy,
        SERVICE_TD,
    ),
    (
        "a service TD that was bound later",
        || extended(|domain| domain.cur_service_td_hash[47] = 1).case(),
        CheckName::ServiceTd,
        Reason::Policy,
        SERVICE_TD,
    ),
    (
        "a service TD besides the one that the policy names",
        || {
            let mut parts = extended(|domain| {
                domain.mr_service_td = [1; 48];
                domain.cur_service_td_hash = [2; 48];
            });
            parts.policy = parts.policy.allow_tdx_service_td([1; 48]);
            parts.case()
        },
        CheckName::ServiceTd,
        Reason::Policy,
        SERVICE_TD,
    ),
    // --- Reference values.
    (
        "another MRTD",
        || expected("mr_td", &[0; 48]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`mr_td` differs",
    ),
    (
        "another MRCONFIGID",
        || expected("mr_config_id", &[0xc2; 48]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`mr_config_id` differs",
    ),
    (
        "an RTMR3 that is a prefix of the expected one",
        || expected("rtmr3", &[0x13; 49]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`rtmr3` differs",
    ),
    (
        "an RTMR0 of which only a prefix is expected",
        || expected("rtmr0", &[0x10; 47]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`rtmr0` differs",
    ),
    (
        "an RTMR1 that is expected to be empty",
        || expected("rtmr1", &[]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`rtmr1` differs",
    ),
    (
        "another RTMR2 than the policy's",
        || {
            let mut parts = domain(|_| ());
            parts.policy = parts.policy.require_reference("tdx.rtmr2", vec![0; 48]);
            parts.case()
        },
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`rtmr2` differs",
    ),
    (
        "a value that is accepted by the policy and not the caller's",
        || {
            let mut case = expected("mr_owner", &[0; 48]);
            let honest = vec![0x0e; 48];
            case.policy = case.policy.require_reference("tdx.mr_owner", honest);
            case
        },
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "`mr_owner` differs",
    ),
    (
        "a value for something that a trust domain does not have",
        || expected("pcr0", &[0; 48]),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "a value is expected for `pcr0`",
    ),
    (
        "an MRENCLAVE for a trust domain",
        || {
            domain(|_| ()).case().with(|case| {
                case.expected = ReferenceValues {
                    mrenclave: Some([0; 32]),
                    ..ReferenceValues::default()
                };
            })
        },
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "a value is expected for `mrenclave`",
    ),
    (
        "an MRSIGNER for a trust domain",
        || {
            domain(|_| ()).case().with(|case| {
                case.expected = ReferenceValues {
                    mrsigner: Some([0; 32]),
                    ..ReferenceValues::default()
                };
            })
        },
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "a value is expected for `mrsigner`",
    ),
    (
        "report data of a trust domain that differs in the last byte",
        || {
            let mut data = [0xd4; 64];
            data[63] = 0;
            domain(|_| ()).case().with(|case| {
                case.expected = ReferenceValues {
                    report_data: Some(data),
                    ..ReferenceValues::default()
                };
            })
        },
        CheckName::ReportData,
        Reason::Mismatch,
        "made for other keys or for another connection",
    ),
    (
        "a nonce for a trust domain",
        || {
            domain(|_| ()).case().with(|case| {
                case.expected = ReferenceValues {
                    nonce: Some(vec![1; 32]),
                    ..ReferenceValues::default()
                };
            })
        },
        CheckName::Nonce,
        Reason::Mismatch,
        "nonce is expected, and evidence of this kind has no such field",
    ),
];

const SERVICE_TD: &str = "a service TD that the policy does not name is bound";

#[test]
fn each_component_of_tdx_counts_where_it_should() {
    let lowered = |version: u8, component: usize| {
        td(|parts| {
            let domain = body(parts);
            for svn in [&mut domain.tee_tcb_svn, &mut domain.tee_tcb_svn2] {
                svn[0] = 6;
                svn[1] = version;
                svn[component] = 4;
            }
            // The module's own levels are beside the point here.
            for identity in parts.tcb_info["tdxModuleIdentities"]
                .as_array_mut()
                .unwrap()
            {
                identity["tcbLevels"] = json!([documents::level(&json!({ "isvsvn": 0 }))]);
            }
            parts.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][1]["svn"] = json!(0);
            parts.tcb_info["tcbLevels"][1]["tcb"]["tdxtcbcomponents"][1]["svn"] = json!(0);
        })
        .case()
    };
    for component in 0..16 {
        // Component 1 is the version itself.
        if component == 1 {
            continue;
        }
        let own_levels = component < 2;
        for version in [1, 3] {
            let expected = if own_levels {
                TcbStatus::UpToDate
            } else {
                TcbStatus::OutOfDate
            };
            let found = status_of(lowered(version, component));
            assert_eq!(found, expected, "version {version}, component {component}");
        }
        let found = status_of(lowered(0, component));
        assert_eq!(
            found,
            TcbStatus::OutOfDate,
            "version 0, component {component}"
        );
    }
}

#[test]
fn with_a_module_of_version_1_components_0_and_1_of_levels_do_not_count() {
    let asked = |component: usize| {
        tcb_info(|info| {
            info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][component]["svn"] = json!(255);
        })
    };
    for component in 0..16 {
        let expected = if component < 2 {
            TcbStatus::UpToDate
        } else {
            TcbStatus::OutOfDate
        };
        assert_eq!(
            status_of(asked(component)),
            expected,
            "component {component}"
        );
    }
    // With version 0 they do, and so does each component of SGX.
    for component in 0..16 {
        for kind in ["tdxtcbcomponents", "sgxtcbcomponents"] {
            let case = version_0(|parts| {
                parts.tcb_info["tcbLevels"][0]["tcb"][kind][component]["svn"] = json!(255);
            });
            let found = status_of(case.case());
            assert_eq!(found, TcbStatus::OutOfDate, "{kind}, component {component}");
        }
    }
}

#[test]
fn the_identity_of_a_module_is_found_by_its_version_in_hexadecimal() {
    let with_version = |version: u8, id: &str| {
        td(|parts| {
            let domain = body(parts);
            (domain.tee_tcb_svn[1], domain.tee_tcb_svn2[1]) = (version, version);
            module(&mut parts.tcb_info)["id"] = json!(id);
        })
        .case()
        .appraise()
    };
    assert!(with_version(0x10, "TDX_10").is_ok());
    assert!(with_version(0x0a, "TDX_0A").is_ok());
    assert!(with_version(10, "TDX_10").is_err());
    assert!(with_version(1, "TDX_1").is_err());
}

#[test]
fn masks_say_which_attributes_of_the_module_count() {
    let masked = |mask: &str| {
        td(|parts| {
            body(parts).seam_attributes[0] = 1;
            module(&mut parts.tcb_info)["attributesMask"] = json!(mask);
        })
        .case()
        .appraise()
    };
    assert!(masked("FEFFFFFFFFFFFFFF").is_ok());
    assert!(masked("0100000000000000").is_err());
}

#[test]
fn statuses_of_platform_module_and_quoting_enclave_converge() {
    use TcbStatus::{
        ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, SWHardeningNeeded, UpToDate,
    };
    for (platform, module_status, qe, expected) in [
        ("UpToDate", "UpToDate", "UpToDate", UpToDate),
        ("UpToDate", "OutOfDate", "UpToDate", OutOfDate),
        ("UpToDate", "UpToDate", "OutOfDate", OutOfDate),
        (
            "SWHardeningNeeded",
            "UpToDate",
            "UpToDate",
            SWHardeningNeeded,
        ),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate", OutOfDate),
        (
            "ConfigurationNeeded",
            "UpToDate",
            "UpToDate",
            ConfigurationNeeded,
        ),
        (
            "ConfigurationNeeded",
            "OutOfDate",
            "UpToDate",
            OutOfDateConfigurationNeeded,
        ),
        (
            "ConfigurationNeeded",
            "UpToDate",
            "OutOfDate",
            OutOfDateConfigurationNeeded,
        ),
        ("OutOfDate", "UpToDate", "UpToDate", OutOfDate),
    ] {
        let found = status_of(three_statuses(platform, module_status, qe));
        assert_eq!(found, expected, "{platform}, {module_status}, {qe}");
    }
    for (platform, module_status, qe) in [
        ("Revoked", "UpToDate", "UpToDate"),
        ("UpToDate", "Revoked", "OutOfDate"),
        ("OutOfDate", "OutOfDate", "Revoked"),
    ] {
        let refusal = three_statuses(platform, module_status, qe)
            .appraise()
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::Revoked);
        assert_eq!(refusal.tcb.unwrap().status, TcbStatus::Revoked);
    }
}

#[test]
fn relaunch_is_advised_where_it_would_help() {
    use TcbStatus::{
        OutOfDate, OutOfDateConfigurationNeeded, TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded, UpToDate,
    };
    // SVN of the module at launch, SVN now, status of the platform.
    for (launched, current, platform, expected) in [
        (5, 5, "UpToDate", UpToDate),
        (4, 5, "UpToDate", TDRelaunchAdvised),
        (4, 5, "SWHardeningNeeded", TDRelaunchAdvised),
        (
            4,
            5,
            "ConfigurationNeeded",
            TDRelaunchAdvisedConfigurationNeeded,
        ),
        (4, 4, "UpToDate", OutOfDate),
        (5, 4, "UpToDate", OutOfDate),
        (5, 4, "ConfigurationNeeded", OutOfDateConfigurationNeeded),
        (4, 5, "OutOfDate", OutOfDate),
    ] {
        let case = td(|parts| {
            let domain = body(parts);
            (domain.tee_tcb_svn[0], domain.tee_tcb_svn2[0]) = (launched, current);
            parts.tcb_info["tcbLevels"][0]["tcbStatus"] = json!(platform);
        });
        let found = status_of(case.case());
        assert_eq!(
            found, expected,
            "launched {launched}, now {current}, {platform}"
        );
    }
    // A QE out of date is not healed by a relaunch.
    let case = td(|parts| body(parts).tee_tcb_svn[0] = 4);
    let found = status_of(case.case_with(|quote| quote.qe_report.isv_svn = 7));
    assert_eq!(found, OutOfDate);
    // TDX 1.0 has no second SVN.
    let found = status_of(td_of(4, TdForm::V10, |parts| body(parts).tee_tcb_svn[0] = 4).case());
    assert_eq!(found, OutOfDate);
}

#[test]
fn advisories_of_all_three_are_merged_and_the_oldest_date_counts() {
    let appraisal = tolerated(
        td(|parts| {
            let domain = body(parts);
            (domain.tee_tcb_svn[0], domain.tee_tcb_svn2[0]) = (4, 4);
            parts.tcb_info["tcbLevels"][0]["advisoryIDs"] = json!(["FORGED-SA-PLATFORM"]);
            module(&mut parts.tcb_info)["tcbLevels"][1]["tcbDate"] = json!("2020-02-02T00:00:00Z");
        })
        .case_with(|quote| quote.qe_report.isv_svn = 7),
    );
    let tcb = appraisal.tcb.as_ref().unwrap();
    assert_eq!(
        tcb.advisory_ids,
        ["FORGED-SA-PLATFORM", "FORGED-SA-MODULE", "FORGED-SA-QE"]
    );
    assert_eq!(tcb.date, "2020-02-02T00:00:00Z");
    assert_eq!(
        outcomes(&appraisal),
        [CheckName::TcbStatus, CheckName::Advisories]
    );
}

#[test]
fn every_attribute_of_a_trust_domain_is_judged() {
    // SEPT_VE_DISABLE must be set, LASS, PKS, KL, TPA and PERFMON may be.
    const HARMLESS: [u32; 6] = [27, 28, 30, 31, 62, 63];
    for bit in 0..64 {
        let parts = domain(|domain| domain.td_attributes |= 1 << bit);
        let check = match parts.case().appraise() {
            Ok(_) => {
                assert!(HARMLESS.contains(&bit), "bit {bit} is accepted");
                continue;
            }
            Err(refusal) => refusal.failed,
        };
        assert!(!HARMLESS.contains(&bit), "bit {bit} is refused");
        let expected = if bit == 0 {
            CheckName::Debug
        } else {
            CheckName::Attributes
        };
        assert_eq!(check, expected, "bit {bit}");

        // No tolerance lets another bit through than the one it is for.
        let mut loose = parts.clone();
        loose.policy = loose
            .policy
            .allow_debug()
            .allow_tdx_sept_ve()
            .allow_tdx_migration();
        assert_eq!(
            loose.case().appraise().is_ok(),
            bit == 0 || bit == 29,
            "bit {bit}"
        );
    }
}

#[test]
fn each_tolerance_for_a_trust_domain_says_so() {
    let loose = |change: fn(&mut TdBody), check: CheckName| {
        let mut parts = extended(change);
        parts.policy = parts
            .policy
            .allow_debug()
            .allow_tdx_sept_ve()
            .allow_tdx_migration()
            .allow_tdx_service_td([1; 48]);
        let appraisal = parts.case().appraise().unwrap();
        assert_eq!(outcomes(&appraisal), [check]);
    };
    loose(|domain| domain.td_attributes |= 1, CheckName::Debug);
    loose(|domain| domain.td_attributes = 0, CheckName::Attributes);
    loose(
        |domain| domain.td_attributes |= 1 << 29,
        CheckName::Attributes,
    );
    loose(
        |domain| domain.mr_service_td = [1; 48],
        CheckName::ServiceTd,
    );
    loose(
        |domain| domain.cur_service_td_hash = [1; 48],
        CheckName::ServiceTd,
    );
}

#[test]
fn every_measured_value_is_compared_over_all_bytes() {
    let honest: [(&str, Vec<u8>); 12] = [
        ("mr_td", vec![0x7d; 48]),
        ("mr_config_id", vec![0xc1; 48]),
        ("mr_owner", vec![0x0e; 48]),
        ("mr_owner_config", vec![0x0c; 48]),
        ("rtmr0", vec![0x10; 48]),
        ("rtmr1", vec![0x11; 48]),
        ("rtmr2", vec![0x12; 48]),
        ("rtmr3", vec![0x13; 48]),
        ("mr_seam", vec![0x5e; 48]),
        ("mr_signer_seam", vec![0; 48]),
        ("xfam", 0xe7_u64.to_le_bytes().to_vec()),
        ("mr_service_td", vec![0; 48]),
    ];
    let all = domain(|_| ()).case().with(|case| {
        let named = honest
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        case.expected.claims = named.collect();
    });
    let appraisal = all.appraise().unwrap();
    let compared = appraisal.checks.iter().filter(|check| {
        check.name == CheckName::ReferenceValue && check.outcome == Outcome::Passed
    });
    assert_eq!(compared.count(), honest.len());
    for (name, value) in &honest {
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            let refusal = expected(name, &other).appraise().unwrap_err();
            assert_eq!(
                refusal.failed,
                CheckName::ReferenceValue,
                "{name}, byte {at}"
            );
        }
        // One of the values that the policy names is enough; a value of another section is not
        // asked for.
        let mut parts = domain(|_| ());
        parts.policy = parts
            .policy
            .require_reference(format!("tdx.{name}"), vec![0xff; value.len()])
            .require_reference(format!("tdx.{name}"), value.clone())
            .require_reference(format!("snp.{name}"), vec![0xff; value.len()]);
        parts.case().appraise().unwrap();
    }
}

fn outcomes(appraisal: &Appraisal) -> Vec<CheckName> {
    appraisal.tolerated().map(|check| check.name).collect()
}

fn expected(name: &str, value: &[u8]) -> Case {
    domain(|_| ()).case().with(|case| {
        case.expected.claims.insert(name.to_owned(), value.to_vec());
    })
}

fn three_statuses(platform: &str, module_status: &str, qe: &str) -> Case {
    td(|parts| {
        parts.tcb_info["tcbLevels"][0]["tcbStatus"] = json!(platform);
        module(&mut parts.tcb_info)["tcbLevels"][0]["tcbStatus"] = json!(module_status);
        parts.qe_identity["tcbLevels"][0]["tcbStatus"] = json!(qe);
    })
    .case()
}

fn tcb_info(change: impl FnOnce(&mut Value)) -> Case {
    td(|parts| change(&mut parts.tcb_info)).case()
}

/// The identity of modules of version 1.
fn module(info: &mut Value) -> &mut Value {
    &mut info["tdxModuleIdentities"][0]
}

/// A trust domain of TDX 1.5ex.
fn extended(change: impl FnOnce(&mut TdBody)) -> Parts {
    td_of(5, TdForm::V15Ex, |parts| change(body(parts)))
}

/// A trust domain under a module of version 0, whose TCB info asks for no version.
fn version_0(change: impl FnOnce(&mut Parts)) -> Parts {
    td(|parts| {
        parts.tcb_info = documents::tcb_info_tdx(now());
        for level in 0..2 {
            parts.tcb_info["tcbLevels"][level]["tcb"]["tdxtcbcomponents"][1]["svn"] = json!(0);
        }
        let domain = body(parts);
        (domain.tee_tcb_svn[1], domain.tee_tcb_svn2[1]) = (0, 0);
        change(parts);
    })
}

fn body(parts: &mut Parts) -> &mut TdBody {
    parts.domain.as_mut().unwrap()
}
