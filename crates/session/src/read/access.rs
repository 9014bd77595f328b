//! `access_policy`.

use std::collections::BTreeSet;

use mse_yaml::{Code, Field, optional, shown};

use super::{Reader, SessionField};
use crate::model::{AccessPolicy, AccessRule, Acl, Feature, Identity, KeyHash, Operation};

/// How deep rules may stand in each other.
pub(crate) const MAX_RULE_DEPTH: usize = 8;

pub(crate) fn policy(r: &mut Reader, field: &Field<'_>) -> Option<AccessPolicy> {
    let mut fields = field.map(r)?;
    let read = fields.get("read");
    let update = fields.get("update");
    let create_sessions = fields.get("create_sessions");
    let list_sessions = fields.get("list_sessions");
    if let Some(field) = &list_sessions {
        r.uses(Feature::ListSessions, &field.spot);
    }
    fields.finish(r);
    // All are read before the first fault ends it.
    let mut read_acl =
        |field: Option<Field<'_>>, operation| optional(field, |field| acl(r, &field, operation));
    let read = read_acl(read, Operation::Read);
    let update = read_acl(update, Operation::Update);
    let create_sessions = read_acl(create_sessions, Operation::CreateSessions);
    let list_sessions = read_acl(list_sessions, Operation::ListSessions);
    let read = read?.unwrap_or_else(Acl::creator);
    let update = update?.unwrap_or_else(Acl::creator);
    // What is said twice is said once, so that both ways have the same hash.
    Some(AccessPolicy {
        create_sessions: create_sessions?.filter(|acl| *acl != update),
        list_sessions: list_sessions?.filter(|acl| *acl != read),
        read,
        update,
    })
}

pub(crate) fn acl(r: &mut Reader, field: &Field<'_>, operation: Operation) -> Option<Acl> {
    if let Some(reference) = field.reference(r) {
        r.uses(Feature::SectionReferences, &field.spot);
        return Some(Acl::From(reference));
    }
    let items = field.one_or_many(r);
    if items.is_empty() {
        if field.is_list() {
            r.report.error_with(
                Code::BadAccessRule,
                &field.spot,
                format!("nobody may `{}`", operation.as_str()),
                "write `NONE` if that is meant",
            );
        }
        return None;
    }
    if let Some(index) = items
        .iter()
        .position(|item| matches!(item.scalar(), Some("ANY" | "NONE")))
    {
        let item = &items[index];
        if items.len() > 1 {
            let message = format!("`{}` stands with other rules", item.scalar().unwrap_or(""));
            r.report
                .error_with(Code::BadAccessRule, &item.spot, message, "leave it alone");
            return None;
        }
        if item.scalar() == Some("NONE") {
            return Some(Acl::None);
        }
        r.report.warn(
            Code::OpenAccess,
            &item.spot,
            format!("everybody who reaches the CAS may `{}`", operation.as_str()),
            "name those who may",
        );
        return Some(Acl::Any);
    }
    rules(r, &items, operation, 1).map(Acl::OneOf)
}

fn rules(
    r: &mut Reader,
    items: &[Field<'_>],
    operation: Operation,
    depth: usize,
) -> Option<Vec<AccessRule>> {
    let read: Vec<_> = items
        .iter()
        .map(|item| rule(r, item, operation, depth))
        .collect();
    let mut seen = BTreeSet::new();
    for (item, rule) in items.iter().zip(&read) {
        if let Some(rule) = rule
            && !seen.insert(rule)
        {
            // Two of {A, A} would be met by A alone.
            r.report.error(
                Code::BadAccessRule,
                &item.spot,
                "the same rule stands in this list already",
            );
            return None;
        }
    }
    let mut rules: Vec<AccessRule> = read.into_iter().collect::<Option<_>>()?;
    // Their order means nothing.
    rules.sort();
    Some(rules)
}

fn rule(
    r: &mut Reader,
    item: &Field<'_>,
    operation: Operation,
    depth: usize,
) -> Option<AccessRule> {
    if item.is_map() {
        return rule_in_map(r, item, operation, depth);
    }
    if let Some(reference) = item.reference(r) {
        r.uses(Feature::SectionReferences, &item.spot);
        return Some(AccessRule::From(reference));
    }
    let text = item.text(r)?;
    if text == "CREATOR" {
        return Some(AccessRule::Creator);
    }
    if text.trim_start().starts_with("-----BEGIN CERTIFICATE") {
        let key = KeyHash::of_certificate_pem(text);
        let key = item.or_report(r, Code::BadAccessRule, key)?;
        return Some(AccessRule::Identity(Identity::Tls(key)));
    }
    if let Ok(key) = text.parse::<KeyHash>() {
        r.uses(Feature::KeyHashRules, &item.spot);
        return Some(AccessRule::Identity(Identity::Tls(key)));
    }
    let help = if text.contains("-----BEGIN PUBLIC KEY") {
        "a public key is a signer: write `signer: |` before it"
    } else {
        "rules are `CREATOR`, `ANY` or `NONE` alone, the hash of a key, a certificate in PEM, \
         `signer: …`, `require-all: …`, `require-at-least-N: …`, or a reference"
    };
    let message = format!("`{}` is no access rule", shown(text));
    r.report
        .error_with(Code::BadAccessRule, &item.spot, message, help);
    None
}

fn rule_in_map(
    r: &mut Reader,
    item: &Field<'_>,
    operation: Operation,
    depth: usize,
) -> Option<AccessRule> {
    let fields = item.map(r)?;
    let entries: Vec<_> = fields.all().collect();
    let [(key, value)] = entries.as_slice() else {
        let message = "a rule has one of `signer`, `require-all`, `require-at-least-N`";
        r.report.error(Code::BadAccessRule, &item.spot, message);
        return None;
    };
    let counts = ["signer", "require-all"].contains(key) || key.starts_with("require-at-least-");
    if counts && !operation.takes_signatures() {
        r.report.error_with(
            Code::BadAccessRule,
            &value.spot,
            format!(
                "`{}` has no signatures: `{key}` is for `update` and `create_sessions`",
                operation.as_str()
            ),
            "name who may by a certificate or the hash of a key",
        );
        return None;
    }
    if *key == "signer" {
        r.uses(Feature::SignerRules, &value.spot);
        let text = value.text(r)?;
        let signer = Identity::parse_signer(text);
        let signer = value.or_report(r, Code::BadAccessRule, signer)?;
        return Some(AccessRule::Identity(Identity::Signer(signer)));
    }
    let threshold = match key.strip_prefix("require-at-least-") {
        Some(number) => Some(number.parse::<usize>().ok().filter(|n| *n > 0)),
        None if *key == "require-all" => None,
        None => {
            let help =
                mse_yaml::did_you_mean(key, &["signer", "require-all", "require-at-least-2"]);
            let message = format!("`{}` is no access rule", shown(key));
            match help {
                Some(help) => r
                    .report
                    .error_with(Code::UnknownKey, &value.spot, message, help),
                None => r.report.error(Code::UnknownKey, &value.spot, message),
            }
            return None;
        }
    };
    r.uses(Feature::Governance, &value.spot);
    if depth == MAX_RULE_DEPTH {
        let message = format!("rules stand in each other more than {MAX_RULE_DEPTH} deep");
        r.report.error(Code::TooLarge, &value.spot, message);
        return None;
    }
    let items = value.items(r);
    if items.is_empty() {
        if value.is_list() {
            let message = "there is no rule that could be met";
            r.report.error(Code::BadAccessRule, &value.spot, message);
        }
        return None;
    }
    let rules = rules(r, &items, operation, depth + 1)?;
    match threshold {
        None => Some(AccessRule::All(rules)),
        Some(Some(count)) if count <= rules.len() => Some(AccessRule::AtLeast(count, rules)),
        Some(_) => {
            let message = format!(
                "`{}` of {} rules cannot be met: it is a number from 1 to that",
                shown(key),
                rules.len()
            );
            r.report.error(Code::BadAccessRule, &value.spot, message);
            None
        }
    }
}
