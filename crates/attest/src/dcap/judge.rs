//! What policy and reference values say about a platform and an enclave.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    CheckName, Policy, Reason, ReferenceValues, TcbStatus, TrustAnchor,
    dcap::Endorsement,
    ledger::{Failure, Holds, Ledger, hint_for},
    policy::DebugEnclaves,
    quote::Report,
};

/// What the policy says about platform and collateral.
pub(crate) fn judge_platform(
    ledger: &mut Ledger,
    endorsement: &Endorsement,
    policy: &Policy,
    now: SystemTime,
) {
    let age = now
        .duration_since(UNIX_EPOCH + Duration::from_secs(endorsement.issued))
        .unwrap_or_default();
    let issued = format!("oldest document issued {}", date(endorsement.issued));
    match policy.max_collateral_age {
        None => ledger.skipped(CheckName::CollateralAge, issued, "the policy sets no limit"),
        Some(limit) => ledger.compare(
            CheckName::CollateralAge,
            format!("{issued}, {} s ago", age.as_secs()),
            format!("at most {} s", limit.as_secs()),
            Holds(age <= limit),
            || Failure {
                reason: Reason::Stale,
                why: "the collateral is older than the policy allows".into(),
                hint: hint_for(Reason::Stale),
            },
        ),
    }
    ledger.compare(
        CheckName::TcbEvaluation,
        endorsement.tcb_evaluation_number.to_string(),
        format!("at least {}", policy.min_tcb_evaluation_number),
        Holds(endorsement.tcb_evaluation_number >= policy.min_tcb_evaluation_number),
        || Failure {
            reason: Reason::Stale,
            why: "the collateral does not know the TCB recovery that the policy asks for".into(),
            hint: hint_for(Reason::Stale),
        },
    );
    ledger.compare(
        CheckName::TcbStatus,
        endorsement.tcb_status.to_string(),
        join(policy.accepted_statuses.iter().map(|status| status.as_str())),
        Holds(
            endorsement.tcb_status != TcbStatus::Revoked
                && policy.accepted_statuses.contains(&endorsement.tcb_status),
        ),
        || Failure {
            reason: Reason::Policy,
            why: format!(
                "the platform's TCB status is {}, as of {}{}",
                endorsement.tcb_status,
                endorsement.tcb_date,
                match endorsement.advisory_ids.as_slice() {
                    [] => String::new(),
                    ids => format!("; advisories: {}", join(ids)),
                }
            ),
            hint: "have the platform's microcode, firmware and settings brought up to date; or accept the status in the policy, if you know what the advisories mean for you",
        },
    );
    judge_advisories(ledger, endorsement, policy, now);
}

fn judge_advisories(
    ledger: &mut Ledger,
    endorsement: &Endorsement,
    policy: &Policy,
    now: SystemTime,
) {
    let ids = &endorsement.advisory_ids;
    if endorsement.tcb_status == TcbStatus::UpToDate || ids.is_empty() {
        let why = if ids.is_empty() {
            "none applies"
        } else {
            "the platform is up to date: they are fixed"
        };
        ledger.skipped(CheckName::Advisories, join(ids), why);
        return;
    }
    let tolerated = |id: &&String| {
        policy
            .tolerated_advisories
            .iter()
            .any(|tolerated| tolerated.id.eq_ignore_ascii_case(id) && now <= tolerated.until)
    };
    let open: Vec<_> = ids.iter().filter(|id| !tolerated(id)).collect();
    ledger.compare(
        CheckName::Advisories,
        join(ids),
        format!(
            "tolerated today: {}",
            join(
                policy
                    .tolerated_advisories
                    .iter()
                    .filter(|tolerated| now <= tolerated.until)
                    .map(|tolerated| tolerated.id.as_str())
            )
        ),
        Holds(open.is_empty()),
        || Failure {
            reason: Reason::Policy,
            why: format!("advisories that the policy does not tolerate apply: {}", join(&open)),
            hint: "have the platform updated; or tolerate each advisory in the policy, by name and until a date",
        },
    );
}

/// Whether the enclave is the expected one. Reads the evidence only, so it needs no trust in it.
pub(crate) fn judge_enclave(
    ledger: &mut Ledger,
    report: Report<'_>,
    policy: &Policy,
    anchor: Option<&TrustAnchor>,
    expected: &ReferenceValues,
) {
    ledger.compare(
        CheckName::Debug,
        if report.is_debug() {
            "debug enclave"
        } else {
            "production enclave"
        },
        match policy.debug_enclaves {
            DebugEnclaves::Refused => "production enclave",
            DebugEnclaves::Allowed => "any (the policy allows debug enclaves)",
        },
        Holds(!report.is_debug() || policy.debug_enclaves == DebugEnclaves::Allowed),
        || Failure {
            reason: Reason::Policy,
            why: "the enclave is in debug mode: whoever runs it can read its memory".into(),
            hint: "launch it as a production enclave",
        },
    );
    match &expected.mrenclave {
        None => ledger.skipped(
            CheckName::MrEnclave,
            hex::encode(report.mrenclave()),
            NOT_GIVEN,
        ),
        Some(mrenclave) => ledger.compare(
            CheckName::MrEnclave,
            hex::encode(report.mrenclave()),
            hex::encode(mrenclave),
            Holds(report.mrenclave() == mrenclave),
            || Failure {
                reason: Reason::Mismatch,
                why: "another program runs there: the measurement differs".into(),
                hint: "compare code, configuration and release of the enclave with what you measured",
            },
        ),
    }
    judge_signer(ledger, report, policy, anchor, expected);
    match policy.isv_prod_id {
        None => ledger.skipped(
            CheckName::IsvProdId,
            report.isv_prod_id().to_string(),
            "the policy names none",
        ),
        Some(id) => ledger.compare(
            CheckName::IsvProdId,
            report.isv_prod_id().to_string(),
            id.to_string(),
            Holds(report.isv_prod_id() == id),
            || Failure {
                reason: Reason::Mismatch,
                why: "the enclave is another product of its signer".into(),
                hint: "check the product id in the policy",
            },
        ),
    }
    ledger.compare(
        CheckName::IsvSvn,
        report.isv_svn().to_string(),
        format!("at least {}", policy.min_isv_svn),
        Holds(report.isv_svn() >= policy.min_isv_svn),
        || Failure {
            reason: Reason::Policy,
            why: "the enclave's security version is below the policy's minimum".into(),
            hint: "launch a newer release of the enclave",
        },
    );
    match &expected.report_data {
        None => ledger.skipped(
            CheckName::ReportData,
            hex::encode(report.report_data()),
            NOT_GIVEN,
        ),
        Some(data) => ledger.compare(
            CheckName::ReportData,
            hex::encode(report.report_data()),
            hex::encode(data),
            Holds(report.report_data() == data),
            || Failure {
                reason: Reason::Mismatch,
                why: "the evidence was made for other keys or for another connection".into(),
                hint: "someone may be relaying or replaying it; connect to the enclave directly and ask again",
            },
        ),
    }
}

/// The signer must be each of those that reference values, policy and anchor name.
fn judge_signer(
    ledger: &mut Ledger,
    report: Report<'_>,
    policy: &Policy,
    anchor: Option<&TrustAnchor>,
    expected: &ReferenceValues,
) {
    let named: Vec<_> = [
        expected.mrsigner,
        policy.mrsigner,
        anchor.and_then(TrustAnchor::mrsigner),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = hex::encode(report.mrsigner());
    if named.is_empty() {
        ledger.skipped(CheckName::MrSigner, found, NOT_GIVEN);
        return;
    }
    let different = named.iter().find(|named| *named != report.mrsigner());
    ledger.compare(
        CheckName::MrSigner,
        found,
        hex::encode(different.unwrap_or(&named[0])),
        Holds(different.is_none()),
        || Failure {
            reason: Reason::Mismatch,
            why: "the enclave has another signer".into(),
            hint: "check who released this enclave, and the signer that policy and trust anchor name",
        },
    );
}

const NOT_GIVEN: &str = "no expected value was given";

fn join<I>(items: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(item.as_ref());
    }
    if text.is_empty() {
        text.push_str("none");
    }
    text
}

/// Unix seconds as an RFC 3339 date; a number beyond the calendar stays a number.
pub(crate) fn date(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |timestamp| timestamp.to_string())
}
