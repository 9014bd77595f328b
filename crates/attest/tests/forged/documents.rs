//! TCB info and QE identity: who signed them, and what they must say.

use mse_attest::{CheckName, Reason};
use mse_simtee::testing::{Key, documents};
use serde_json::{Value, json};

use crate::{
    Row,
    world::{Case, days, forge, now, sgx, td},
};

pub(crate) const REFUSED: &[Row] = &[
    // --- Signatures.
    (
        "TCB info signed by nobody: 64 zero bytes",
        || tcb_signature(|_, _| vec![0; 64]),
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "TCB info without a signature at all",
        || tcb_signature(|_, _| Vec::new()),
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "a signature of TCB info with a byte too many",
        || {
            tcb_signature(|mut signature, _| {
                signature.push(0);
                signature
            })
        },
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "a signature of TCB info in DER",
        || tcb_signature(|_, text| forge().tcb_signer.key.sign(text).unwrap()),
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "TCB info signed by the platform's own key",
        || signed_by(&forge().pck.key),
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "TCB info signed by the attestation key",
        || signed_by(&forge().attestation_key),
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "TCB info that was written anew after signing, with the same meaning",
        || {
            sgx(3, |_| ()).case().with(|case| {
                let value: Value = serde_json::from_str(&case.dcap().tcb_info).unwrap();
                case.dcap().tcb_info = serde_json::to_string_pretty(&value).unwrap();
            })
        },
        CheckName::TcbInfo,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "QE identity with white space that was not signed",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.dcap().qe_identity.push(' '))
        },
        CheckName::QeIdentity,
        Reason::Forged,
        "the document is not signed by `CN=MSE SIMULATED FORGED TCB Signing`",
    ),
    (
        "TCB info in place of the QE identity, both signed",
        || {
            sgx(3, |_| ()).case().with(|case| {
                case.dcap().qe_identity = case.dcap().tcb_info.clone();
                case.dcap().qe_identity_signature = case.dcap().tcb_info_signature.clone();
            })
        },
        CheckName::QeIdentity,
        Reason::Malformed,
        "missing field `isvsvn`",
    ),
    // --- Form of the TCB info. All of these are signed.
    (
        "a signed TCB info that is empty",
        || sgx(3, |_| ()).case_with_tcb_info(""),
        CheckName::TcbInfo,
        Reason::Malformed,
        "EOF while parsing",
    ),
    (
        "a signed TCB info that is `{}`",
        || sgx(3, |_| ()).case_with_tcb_info("{}"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `version`",
    ),
    (
        "a signed TCB info that is an array",
        || sgx(3, |_| ()).case_with_tcb_info("[3]"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "not as specified: invalid",
    ),
    (
        "a signed TCB info in its envelope",
        || {
            let info = documents::tcb_info(now());
            sgx(3, |_| ()).case_with_tcb_info(&json!({ "tcbInfo": info }).to_string())
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `version`",
    ),
    (
        "two TCB infos, one behind the other",
        || {
            let info = documents::tcb_info(now());
            sgx(3, |_| ()).case_with_tcb_info(&format!("{info}{info}"))
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "trailing characters",
    ),
    (
        "no TCB levels",
        || tcb_info(|info| info["tcbLevels"] = json!([])),
        CheckName::TcbInfo,
        Reason::Malformed,
        "the TCB info has no TCB levels",
    ),
    (
        "no member for TCB levels",
        || without("tcbLevels"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `tcbLevels`",
    ),
    (
        "a TCB info that never expires",
        || without("nextUpdate"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `nextUpdate`",
    ),
    (
        "a TCB info about any platform",
        || without("fmspc"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `fmspc`",
    ),
    (
        "a TCB info without evaluation number",
        || without("tcbEvaluationDataNumber"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `tcbEvaluationDataNumber`",
    ),
    (
        "an unknown TCB status",
        || tcb_info(|info| info["tcbLevels"][0]["tcbStatus"] = json!("Fine")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "unknown variant `Fine`",
    ),
    (
        "an unknown TCB status in a level that does not apply",
        || tcb_info(|info| info["tcbLevels"][1]["tcbStatus"] = json!("uptodate")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "unknown variant `uptodate`",
    ),
    (
        "a misspelt status",
        || {
            tcb_info(|info| {
                let level = &mut info["tcbLevels"][0];
                level["tcbstatus"] = level["tcbStatus"].take();
                level.as_object_mut().unwrap().remove("tcbStatus");
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `tcbStatus`",
    ),
    (
        "TCB type 1",
        || tcb_info(|info| info["tcbType"] = json!(1)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "TCB type `1` is not known",
    ),
    (
        "TCB info of version 4",
        || tcb_info(|info| info["version"] = json!(4)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "TCB info of version `4` with id `SGX`",
    ),
    (
        "TCB info of version 2 with an id",
        || tcb_info(|info| info["version"] = json!(2)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "TCB info of version `2` with id `SGX`",
    ),
    (
        "TCB info of version 3 without id",
        || without("id"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "TCB info of version `3` with id `none`",
    ),
    (
        "a TCB info whose id is in lower case",
        || tcb_info(|info| info["id"] = json!("sgx")),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about `sgx`",
    ),
    (
        "a TCB info about TDX for an enclave",
        || sgx(3, |parts| parts.tcb_info = documents::tcb_info_tdx(now())).case(),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about `TDX`, the quote about SGX",
    ),
    (
        "a TCB info about SGX for a trust domain",
        || td(|parts| parts.tcb_info = documents::tcb_info(now())).case(),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about `SGX`, the quote about TDX",
    ),
    (
        "a TCB info of version 2 for a trust domain",
        || td(|parts| parts.tcb_info = documents::tcb_info_v2(now())).case(),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about `SGX`, the quote about TDX",
    ),
    (
        "fifteen components",
        || {
            tcb_info(|info| {
                let components = &mut info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"];
                components.as_array_mut().unwrap().pop();
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "invalid length 15",
    ),
    (
        "seventeen components",
        || {
            tcb_info(|info| {
                let components = &mut info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"];
                components.as_array_mut().unwrap().push(json!({ "svn": 0 }));
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "trailing characters",
    ),
    (
        "no components",
        || {
            tcb_info(|info| {
                let tcb = &mut info["tcbLevels"][0]["tcb"];
                tcb.as_object_mut().unwrap().remove("sgxtcbcomponents");
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "neither `sgxtcbcomponents` nor `sgxtcbcomp01svn`",
    ),
    (
        "a component without SVN",
        || tcb_info(|info| info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][7] = json!({})),
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `svn`",
    ),
    (
        "a component of 256",
        || tcb_info(|info| info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][7]["svn"] = json!(256)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "invalid value: integer `256`, expected u8",
    ),
    (
        "a component below zero",
        || tcb_info(|info| info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][7]["svn"] = json!(-1)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "invalid value: integer `-1`, expected u8",
    ),
    (
        "no PCESVN",
        || {
            tcb_info(|info| {
                let tcb = &mut info["tcbLevels"][0]["tcb"];
                tcb.as_object_mut().unwrap().remove("pcesvn");
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "missing field `pcesvn`",
    ),
    (
        "version 2 without the last of its components",
        || {
            sgx(3, |parts| {
                parts.tcb_info = documents::tcb_info_v2(now());
                let tcb = &mut parts.tcb_info["tcbLevels"][0]["tcb"];
                tcb.as_object_mut().unwrap().remove("sgxtcbcomp16svn");
            })
            .case()
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "neither `sgxtcbcomponents` nor `sgxtcbcomp16svn`",
    ),
    (
        "version 2 with a component twice",
        || {
            let text = documents::tcb_info_v2(now()).to_string();
            let text = text.replacen(
                "\"sgxtcbcomp01svn\":5",
                "\"sgxtcbcomp01svn\":9,\"sgxtcbcomp01svn\":5",
                1,
            );
            sgx(3, |_| ()).case_with_tcb_info(&text)
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "duplicate field `sgxtcbcomp01svn`",
    ),
    (
        "components both in a list and one by one",
        || tcb_info(|info| info["tcbLevels"][0]["tcb"]["sgxtcbcomp01svn"] = json!(0)),
        CheckName::TcbInfo,
        Reason::Malformed,
        "both in a list and one by one",
    ),
    (
        "a member twice",
        || twice("\"tcbType\":0"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "duplicate field `tcbType`",
    ),
    (
        "a status twice in one level",
        || twice("\"tcbStatus\":\"UpToDate\""),
        CheckName::TcbInfo,
        Reason::Malformed,
        "duplicate field `tcbStatus`",
    ),
    (
        "an SVN twice in one component",
        || twice("\"svn\":5"),
        CheckName::TcbInfo,
        Reason::Malformed,
        "duplicate field `svn`",
    ),
    (
        "components of TDX in a TCB info of SGX",
        || {
            tcb_info(|info| {
                info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"] = documents::components(5);
            })
        },
        CheckName::TcbInfo,
        Reason::Malformed,
        "a TCB level of SGX has components of TDX",
    ),
    (
        "an FMSPC of five bytes in the TCB info",
        || tcb_info(|info| info["fmspc"] = json!("53494D0000")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`53494D0000` is not `6` bytes",
    ),
    (
        "an FMSPC that is not hexadecimal",
        || tcb_info(|info| info["fmspc"] = json!("53494D00000G")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`53494D00000G` is not `6` bytes",
    ),
    (
        "an issue date that is none",
        || tcb_info(|info| info["issueDate"] = json!("yesterday")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`issueDate` of the signed document is `yesterday`",
    ),
    (
        "a next update before 1970",
        || tcb_info(|info| info["nextUpdate"] = json!("1969-01-01T00:00:00Z")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`nextUpdate` of the signed document is `1969",
    ),
    (
        "a TCB date that is none",
        || tcb_info(|info| info["tcbLevels"][0]["tcbDate"] = json!("soon")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`tcbDate` is `soon`",
    ),
    (
        "a TCB date in a local time",
        || tcb_info(|info| info["tcbLevels"][0]["tcbDate"] = json!("2026-01-01T00:00:00+02:00")),
        CheckName::TcbInfo,
        Reason::Malformed,
        "`tcbDate` is `2026-01-01T00:00:00+02:00`",
    ),
    (
        "a TCB info whose time is over",
        || tcb_info(|info| info["nextUpdate"] = json!(documents::date(now() - days(1)))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "TCB info: expired",
    ),
    (
        "a TCB info from the future",
        || tcb_info(|info| info["issueDate"] = json!(documents::date(now() + days(1)))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "TCB info: not valid yet",
    ),
    (
        "a TCB info about other platforms",
        || tcb_info(|info| info["fmspc"] = json!("00806F050000")),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about FMSPC `00806F050000`",
    ),
    (
        "a TCB info of another PCE",
        || tcb_info(|info| info["pceId"] = json!("0001")),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is for PCE-ID `0001`",
    ),
    // --- Form of the QE identity. All of these are signed.
    (
        "a signed QE identity that is `{}`",
        || sgx(3, |_| ()).case_with_qe_identity("{}"),
        CheckName::QeIdentity,
        Reason::Malformed,
        "missing field `id`",
    ),
    (
        "the QE identity of TDX for an enclave",
        || qe_identity(|identity| identity["id"] = json!("TD_QE")),
        CheckName::QeIdentity,
        Reason::Mismatch,
        "the identity `TD_QE` of version `2`; this quote needs `QE`",
    ),
    (
        "the QE identity of SGX for a trust domain",
        || td(|parts| parts.qe_identity = documents::qe_identity(now())).case(),
        CheckName::QeIdentity,
        Reason::Mismatch,
        "the identity `QE` of version `2`; this quote needs `TD_QE`",
    ),
    (
        "the identity of the QvE",
        || qe_identity(|identity| identity["id"] = json!("QVE")),
        CheckName::QeIdentity,
        Reason::Mismatch,
        "the identity `QVE` of version `2`; this quote needs `QE`",
    ),
    (
        "a QE identity of version 1",
        || qe_identity(|identity| identity["version"] = json!(1)),
        CheckName::QeIdentity,
        Reason::Mismatch,
        "the identity `QE` of version `1`",
    ),
    (
        "no levels of the QE",
        || qe_identity(|identity| identity["tcbLevels"] = json!([])),
        CheckName::QeIdentity,
        Reason::Malformed,
        "the QE identity has no TCB levels",
    ),
    (
        "an unknown status of the QE",
        || qe_identity(|identity| identity["tcbLevels"][1]["tcbStatus"] = json!("Odd")),
        CheckName::QeIdentity,
        Reason::Malformed,
        "unknown variant `Odd`",
    ),
    (
        "a QE identity with a short mask",
        || qe_identity(|identity| identity["attributesMask"] = json!("FBFFFFFFFFFFFFFF")),
        CheckName::QeIdentity,
        Reason::Malformed,
        "`FBFFFFFFFFFFFFFF` is not `16` bytes",
    ),
    (
        "a QE identity with a signer twice",
        || {
            let text = documents::qe_identity(now()).to_string();
            let text = text.replacen("\"isvprodid\":1", "\"isvprodid\":2,\"isvprodid\":1", 1);
            sgx(3, |_| ()).case_with_qe_identity(&text)
        },
        CheckName::QeIdentity,
        Reason::Malformed,
        "duplicate field `isvprodid`",
    ),
    (
        "a QE identity without its masks",
        || {
            qe_identity(|identity| {
                identity.as_object_mut().unwrap().remove("attributesMask");
            })
        },
        CheckName::QeIdentity,
        Reason::Malformed,
        "missing field `attributesMask`",
    ),
    (
        "a QE identity whose time is over",
        || qe_identity(|identity| identity["nextUpdate"] = json!(documents::date(now() - days(1)))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "QE identity: expired",
    ),
    (
        "a QE identity from the future",
        || qe_identity(|identity| identity["issueDate"] = json!(documents::date(now() + days(1)))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "QE identity: not valid yet",
    ),
];

#[test]
fn members_that_came_later_and_the_case_of_hexadecimal_do_not_matter() {
    let extra = |document: &mut Value| {
        document["comesLater"] = json!({ "a": [1, 2] });
        document["tcbLevels"][0]["comesLater"] = json!(null);
        document["tcbLevels"][0]["tcb"]["comesLater"] = json!(1);
    };
    for case in [
        tcb_info(extra),
        qe_identity(extra),
        tcb_info(|info| info["fmspc"] = json!("53494d000001")),
        sgx(3, |parts| parts.tcb_info = documents::tcb_info_v2(now())).case(),
        td(|parts| parts.qe_identity["version"] = json!(3)).case(),
    ] {
        case.appraise().unwrap();
    }
}

pub(crate) fn tcb_info(change: impl FnOnce(&mut Value)) -> Case {
    sgx(3, |parts| change(&mut parts.tcb_info)).case()
}

pub(crate) fn qe_identity(change: impl FnOnce(&mut Value)) -> Case {
    sgx(3, |parts| change(&mut parts.qe_identity)).case()
}

fn without(member: &str) -> Case {
    tcb_info(|info| {
        info.as_object_mut().unwrap().remove(member);
    })
}

/// A TCB info in which the first occurrence of `member` is there once more.
fn twice(member: &str) -> Case {
    let text = documents::tcb_info(now()).to_string();
    sgx(3, |_| ()).case_with_tcb_info(&text.replacen(member, &format!("{member},{member}"), 1))
}

fn tcb_signature(change: impl FnOnce(Vec<u8>, &[u8]) -> Vec<u8>) -> Case {
    sgx(3, |_| ()).case().with(|case| {
        let dcap = case.dcap();
        dcap.tcb_info_signature = change(dcap.tcb_info_signature.clone(), dcap.tcb_info.as_bytes());
    })
}

fn signed_by(key: &Key) -> Case {
    tcb_signature(|_, text| key.sign_fixed(text).unwrap())
}
