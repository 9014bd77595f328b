//! Every forgery is refused by the check that is for it, with an error of its own.
//!
//! A row is a name, the case, the check that must decide, the class of the refusal and a part of
//! its message. Rows with the same part are the same fault in another place; any two others must
//! not share a message: whoever reads a refusal can tell what is wrong.

#[path = "forged/chains.rs"]
mod chains;
mod common;
#[path = "forged/documents.rs"]
mod documents;
#[path = "forged/pem_text.rs"]
mod pem_text;
#[path = "forged/platform.rs"]
mod platform;
#[path = "forged/quotes.rs"]
mod quotes;
#[path = "forged/revocation.rs"]
mod revocation;
#[path = "forged/tcb.rs"]
mod tcb;
#[path = "forged/tdx.rs"]
mod tdx;
#[path = "forged/world.rs"]
mod world;

use std::{collections::BTreeMap, sync::LazyLock};

use mse_attest::{CheckName, Outcome, Reason, Refusal, Verifier};
use world::{Case, sgx, td};

/// Name, case, the check that must decide, class, a part of the message.
type Row = (&'static str, fn() -> Case, CheckName, Reason, &'static str);

const TABLES: &[&[Row]] = &[
    chains::REFUSED,
    revocation::REFUSED,
    documents::REFUSED,
    tcb::REFUSED,
    quotes::REFUSED,
    tdx::REFUSED,
    pem_text::REFUSED,
];

/// All rows, whatever makes their cases.
fn rows() -> impl Iterator<Item = (&'static str, Case, CheckName, Reason, &'static str)> {
    let of_platform = platform::REFUSED
        .iter()
        .map(|(name, case, check, reason, part)| (*name, case().into(), *check, *reason, *part));
    let of_forge = TABLES
        .iter()
        .copied()
        .flatten()
        .map(|(name, case, check, reason, part)| (*name, case(), *check, *reason, *part));
    of_platform.chain(of_forge)
}

#[test]
fn every_forgery_is_refused_with_an_error_of_its_own() {
    let mut problems = Vec::new();
    let mut parts_of: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for (name, case, check, reason, part) in rows() {
        let Err(refusal) = case.appraise() else {
            problems.push(format!("{name}: accepted"));
            continue;
        };
        if (refusal.failed, refusal.reason) != (check, reason) || !refusal.why.contains(part) {
            problems.push(format!("{name}: {:?} by {refusal}", refusal.reason));
            continue;
        }
        problems.extend(
            form_problems(&refusal)
                .into_iter()
                .chain(warm_problems(&case, &refusal))
                .map(|problem| format!("{name}: {problem}")),
        );
        parts_of.entry(refusal.why).or_default().insert(part, name);
    }
    for (why, parts) in &parts_of {
        if parts.len() > 1 {
            problems.push(format!("different faults, one message `{why}`: {parts:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let parts: std::collections::BTreeSet<_> = parts_of.values().flat_map(BTreeMap::keys).collect();
    println!(
        "{} forgeries, {} kinds of fault",
        rows().count(),
        parts.len()
    );
}

/// What every refusal has: one line that names its check, which is recorded as failed and is the
/// first that failed.
fn form_problems(refusal: &Refusal) -> Vec<String> {
    let mut problems = Vec::new();
    let line = refusal.to_string();
    if line.contains('\n') || !line.contains(refusal.failed.as_str()) {
        problems.push(format!("not one line that names the check: {line}"));
    }
    let first = refusal
        .checks
        .iter()
        .find(|check| matches!(check.outcome, Outcome::Failed { .. }));
    if first.map(|check| check.name) != Some(refusal.failed) {
        problems.push(format!("the first failure is {first:?}"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for check in &refusal.checks {
        // Reference values are a check each.
        if check.name != CheckName::ReferenceValue && !seen.insert(check.name) {
            problems.push(format!("{} is recorded twice", check.name));
        }
    }
    problems
}

/// A verifier that has seen honest evidence, and this very case, says the same.
fn warm_problems(case: &Case, cold: &Refusal) -> Option<String> {
    let verifier = Verifier::new(case.policy.clone());
    let appraise =
        |case: &Case| verifier.appraise(&case.evidence, &case.collateral, &case.expected, case.now);
    static HONEST: LazyLock<[Case; 2]> =
        LazyLock::new(|| [sgx(3, |_| ()).case(), td(|_| ()).case()]);
    for honest in &*HONEST {
        let _ = appraise(honest);
    }
    let _ = appraise(case);
    match appraise(case) {
        Err(warm) if warm.checks == cold.checks => None,
        Err(warm) => Some(format!("a warm verifier says: {warm}")),
        Ok(_) => Some("a warm verifier accepts it".into()),
    }
}

#[test]
fn no_case_has_the_name_of_another() {
    let mut names = std::collections::BTreeSet::new();
    for (name, ..) in rows() {
        assert!(names.insert(name), "`{name}` is there twice");
    }
}
