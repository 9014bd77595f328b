//! Checks that evidence of several kinds is put to in the same way.

use std::time::Duration;

use crate::{
    CheckName, Policy, Reason, ReferenceValues,
    appraise::Case,
    ledger::{Failure, Holds, Ledger, hint_for},
    policy::Tolerance,
};

/// Debug mode: whoever runs the code could read its memory.
pub(crate) fn judge_debug(ledger: &mut Ledger, is_debug: bool, case: &Case<'_>) {
    if !is_debug {
        ledger.passed(
            CheckName::Debug,
            "production mode".into(),
            "production mode",
        );
        return;
    }
    judge_exception(
        ledger,
        &Exception {
            check: CheckName::Debug,
            found: "debug mode".into(),
            with: "production mode",
            what: "debug mode: whoever runs the code can read its memory",
            why: "the code runs in debug mode: whoever runs it can read its memory",
            hint: "launch it in production mode",
        },
        case.policy.debug.as_ref(),
        case,
    );
}

/// Something that is refused unless the policy tolerates it.
pub(crate) struct Exception {
    pub(crate) check: CheckName,
    pub(crate) found: String,
    pub(crate) with: &'static str,
    /// For a tolerance: what the policy allows, and what that means.
    pub(crate) what: &'static str,
    /// For a refusal: what is wrong.
    pub(crate) why: &'static str,
    /// What to do if it is refused.
    pub(crate) hint: &'static str,
}

/// Records an exception: tolerated as long as `tolerance` is in force, else refused.
pub(crate) fn judge_exception(
    ledger: &mut Ledger,
    exception: &Exception,
    tolerance: Option<&Tolerance>,
    case: &Case<'_>,
) {
    let Exception {
        check,
        ref found,
        with,
        what,
        why,
        hint,
    } = *exception;
    match tolerance {
        Some(tolerance) if tolerance.is_in_force(case.time()) => ledger.tolerated(
            check,
            found.clone(),
            with,
            format!("the policy allows {what}{}", with_terms(tolerance)),
        ),
        expired => ledger.failed(
            check,
            found.clone(),
            with.to_owned(),
            Failure {
                reason: Reason::Policy,
                why: format!("{why}{}", expired.map_or_else(String::new, was_tolerated)),
                hint,
            },
        ),
    }
}

/// For a refusal: what the policy let through before.
pub(crate) fn was_tolerated(expired: &Tolerance) -> String {
    format!("; the policy tolerated it{}", expired.terms())
}

/// For what is let through: on which terms, if there are any.
fn with_terms(tolerance: &Tolerance) -> String {
    match tolerance.terms() {
        terms if terms.is_empty() => terms,
        terms => format!(" (tolerated{terms})"),
    }
}

/// Holds each measured value against those that policy (`section.name`) and caller (`name`) give
/// for it, and refuses if one of them names a claim that this evidence does not have.
pub(crate) fn judge_references(
    ledger: &mut Ledger,
    section: &str,
    measured: &[(&str, &[u8])],
    policy: &Policy,
    expected: &ReferenceValues,
) {
    for (name, value) in measured {
        let accepted = policy.references.get(&format!("{section}.{name}"));
        let wanted = expected.claims.get(*name);
        judge_value(
            ledger,
            CheckName::ReferenceValue,
            name,
            value,
            accepted,
            wanted.map(Vec::as_slice),
        );
    }
    let of_policy = policy.references.keys().filter_map(|name| {
        let (of, name) = name.split_once('.')?;
        (of == section).then_some(name)
    });
    let unknown = expected
        .claims
        .keys()
        .map(String::as_str)
        .chain(of_policy)
        .chain(expected.mrenclave.map(|_| "mrenclave"))
        .chain(expected.mrsigner.map(|_| "mrsigner"))
        // SGX has checks of their own for these two.
        .filter(|name| !(section == "sgx" && ["mrenclave", "mrsigner"].contains(name)))
        .find(|name| !measured.iter().any(|(measured, _)| measured == name));
    if let Some(name) = unknown {
        ledger.failed(
            CheckName::ReferenceValue,
            format!("evidence of {section}"),
            name.to_owned(),
            Failure {
                reason: Reason::Mismatch,
                why: format!("a value is expected for `{name}`, which this evidence does not have"),
                hint: "give reference values of the TEE that runs the code",
            },
        );
    }
}

/// One measured value: must be one of `accepted` and must be `wanted`, as far as they are given.
pub(crate) fn judge_value(
    ledger: &mut Ledger,
    check: CheckName,
    name: &str,
    value: &[u8],
    accepted: Option<&Vec<Vec<u8>>>,
    wanted: Option<&[u8]>,
) {
    let found = format!("{name} {}", hex::encode(value));
    if accepted.is_none() && wanted.is_none() {
        ledger.skipped(check, found, NOT_GIVEN);
        return;
    }
    let is_accepted = accepted.is_none_or(|accepted| accepted.iter().any(|one| one == value));
    let is_wanted = wanted.is_none_or(|wanted| wanted == value);
    let with = match (wanted, accepted) {
        (Some(wanted), _) if !is_wanted => hex::encode(wanted),
        (_, Some(accepted)) => join(accepted.iter().map(hex::encode)),
        (Some(wanted), None) => hex::encode(wanted),
        (None, None) => String::new(),
    };
    ledger.compare(check, found, with, Holds(is_accepted && is_wanted), || {
        Failure {
            reason: Reason::Mismatch,
            why: format!("something else runs there than expected: `{name}` differs"),
            hint: "compare code, configuration and release with what you measured",
        }
    });
}

/// The report data, all 64 bytes.
pub(crate) fn judge_report_data(ledger: &mut Ledger, found: &[u8; 64], expected: &ReferenceValues) {
    match &expected.report_data {
        None => ledger.skipped(CheckName::ReportData, hex::encode(found), NOT_GIVEN),
        Some(data) => ledger.compare(
            CheckName::ReportData,
            hex::encode(found),
            hex::encode(data),
            Holds(found == data),
            || Failure {
                reason: Reason::Mismatch,
                why: "the evidence was made for other keys or for another connection".into(),
                hint: "someone may be relaying or replaying it; connect to the enclave directly and ask again",
            },
        ),
    }
    if expected.nonce.is_some() {
        refuse_unknown_expectation(ledger, CheckName::Nonce, "nonce");
    }
}

/// The challenge, all bytes, for evidence that has a field for it instead of report data.
pub(crate) fn judge_nonce(ledger: &mut Ledger, found: Option<&[u8]>, expected: &ReferenceValues) {
    let stated = found.map_or_else(|| "none".to_owned(), hex::encode);
    match &expected.nonce {
        None => ledger.skipped(CheckName::Nonce, stated, NOT_GIVEN),
        Some(nonce) => ledger.compare(
            CheckName::Nonce,
            stated,
            hex::encode(nonce),
            Holds(found == Some(nonce.as_slice())),
            || Failure {
                reason: Reason::Mismatch,
                why: "the evidence answers another challenge than this one".into(),
                hint: "someone may be replaying it; ask again with a fresh challenge",
            },
        ),
    }
    if expected.report_data.is_some() {
        refuse_unknown_expectation(ledger, CheckName::ReportData, "report data");
    }
}

fn refuse_unknown_expectation(ledger: &mut Ledger, check: CheckName, what: &str) {
    ledger.failed(
        check,
        "no such field".into(),
        what.to_owned(),
        Failure {
            reason: Reason::Mismatch,
            why: format!("{what} is expected, and evidence of this kind has no such field"),
            hint: hint_for(Reason::Mismatch),
        },
    );
}

/// The time `now` against the validity of what was verified.
pub(crate) fn judge_validity(ledger: &mut Ledger, validity: crate::x509::Validity, now: u64) {
    ledger.compare(
        CheckName::CollateralValidity,
        date(now),
        format!("{} to {}", date(validity.from), date(validity.until)),
        Holds(validity.contains(now)),
        || Failure {
            reason: Reason::Stale,
            why: "certificates or collateral are not valid at this time".into(),
            hint: hint_for(Reason::Stale),
        },
    );
}

/// The age at `now` of collateral whose oldest document was issued at `issued`.
pub(crate) fn judge_collateral_age(ledger: &mut Ledger, issued: u64, policy: &Policy, now: u64) {
    let age = now.saturating_sub(issued);
    let issued = format!("oldest document issued {}", date(issued));
    let Some(limit) = policy.max_collateral_age else {
        ledger.skipped(CheckName::CollateralAge, issued, "the policy sets no limit");
        return;
    };
    ledger.compare(
        CheckName::CollateralAge,
        format!("{issued}, {age} s ago"),
        format!("at most {} s", limit.as_secs()),
        Holds(Duration::from_secs(age) <= limit),
        || Failure {
            reason: Reason::Stale,
            why: "the collateral is older than the policy allows".into(),
            hint: hint_for(Reason::Stale),
        },
    );
}

pub(crate) const NOT_GIVEN: &str = "no expected value was given";

pub(crate) fn join<I>(items: I) -> String
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
