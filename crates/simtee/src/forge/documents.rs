//! TCB info and QE identities as JSON, to be changed and signed.
//!
//! All are about the platform of [`SgxExtension::default`](super::SgxExtension): components 5,
//! PCESVN 11, TDX components 5. Each has two levels: up to date for what the platform has, out of
//! date (with an advisory) for what is below.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::quote::{QE_ATTRIBUTES, QE_ISV_PROD_ID, QE_ISV_SVN, QE_MRSIGNER};
use crate::platform::FMSPC;

/// TCB info of SGX, version 3.
pub fn tcb_info(now: SystemTime) -> Value {
    with_validity(
        json!({
            "id": "SGX",
            "version": 3,
            "fmspc": hex::encode_upper(FMSPC),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tcbLevels": [
                level(&json!({ "sgxtcbcomponents": components(5), "pcesvn": 11 })),
                out_of_date(&json!({ "sgxtcbcomponents": components(2), "pcesvn": 5 })),
            ],
        }),
        now,
    )
}

/// TCB info of SGX, version 2: no id, and a member for each component.
pub fn tcb_info_v2(now: SystemTime) -> Value {
    let numbered = |svn: u8, pce_svn: u16| {
        let mut tcb = json!({ "pcesvn": pce_svn });
        for component in 1..=16 {
            tcb[format!("sgxtcbcomp{component:02}svn")] = json!(svn);
        }
        tcb
    };
    let mut info = tcb_info(now);
    info.as_object_mut().map(|members| members.remove("id"));
    info["version"] = json!(2);
    info["tcbLevels"] = json!([level(&numbered(5, 11)), out_of_date(&numbered(2, 5))]);
    info
}

/// TCB info of TDX, version 3: with a module of version 0, and identities of modules of version
/// 1 (up to date from SVN 5 on) and 3 (from SVN 6 on).
pub fn tcb_info_tdx(now: SystemTime) -> Value {
    let tcb = |sgx: u8, tdx: u8, pce_svn: u16| {
        json!({
            "sgxtcbcomponents": components(sgx),
            "tdxtcbcomponents": components(tdx),
            "pcesvn": pce_svn,
        })
    };
    let module = || {
        json!({
            "mrsigner": "00".repeat(48),
            "attributes": "00".repeat(8),
            "attributesMask": "FF".repeat(8),
        })
    };
    let identity = |id: &str, svn: u8| {
        let mut identity = module();
        identity["id"] = json!(id);
        identity["tcbLevels"] = json!([
            level(&json!({ "isvsvn": svn })),
            with_advisory(out_of_date(&json!({ "isvsvn": 2 })), "FORGED-SA-MODULE"),
        ]);
        identity
    };
    let mut info = tcb_info(now);
    info["id"] = json!("TDX");
    info["tdxModule"] = module();
    info["tdxModuleIdentities"] = json!([identity("TDX_01", 5), identity("TDX_03", 6)]);
    info["tcbLevels"] = json!([level(&tcb(5, 5, 11)), out_of_date(&tcb(2, 2, 5))]);
    info
}

/// Identity of the quoting enclave for SGX.
pub fn qe_identity(now: SystemTime) -> Value {
    with_validity(
        json!({
            "id": "QE",
            "version": 2,
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": hex::encode_upper(QE_ATTRIBUTES),
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": hex::encode_upper(QE_MRSIGNER),
            "isvprodid": QE_ISV_PROD_ID,
            "tcbLevels": [
                level(&json!({ "isvsvn": QE_ISV_SVN })),
                with_advisory(out_of_date(&json!({ "isvsvn": 2 })), "FORGED-SA-QE"),
            ],
        }),
        now,
    )
}

/// Identity of the quoting enclave for TDX.
pub fn td_qe_identity(now: SystemTime) -> Value {
    let mut identity = qe_identity(now);
    identity["id"] = json!("TD_QE");
    identity
}

/// A level that is up to date.
pub fn level(tcb: &Value) -> Value {
    json!({ "tcb": tcb, "tcbDate": TCB_DATE, "tcbStatus": "UpToDate" })
}

/// A level that is out of date, with an advisory.
pub fn out_of_date(tcb: &Value) -> Value {
    let level = json!({ "tcb": tcb, "tcbDate": OLD_TCB_DATE, "tcbStatus": "OutOfDate" });
    with_advisory(level, "FORGED-SA-PLATFORM")
}

/// Sixteen components of this SVN.
pub fn components(svn: u8) -> Value {
    Value::Array(vec![json!({ "svn": svn }); 16])
}

/// Date of levels that are up to date.
pub const TCB_DATE: &str = "2026-01-01T00:00:00Z";

/// Date of levels that are out of date.
pub const OLD_TCB_DATE: &str = "2024-01-01T00:00:00Z";

fn with_advisory(mut level: Value, id: &str) -> Value {
    level["advisoryIDs"] = json!([id]);
    level
}

fn with_validity(mut document: Value, now: SystemTime) -> Value {
    document["issueDate"] = json!(date(now - DAY));
    document["nextUpdate"] = json!(date(now + 30 * DAY));
    document
}

/// RFC 3339 in UTC, to the second. Times that no calendar has become 1970.
pub fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

const DAY: Duration = Duration::from_hours(24);
