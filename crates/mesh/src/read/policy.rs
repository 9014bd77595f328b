//! `policy` of a Meshfile.

use mse_session::{Terms, Tolerated};
use mse_yaml::{Code, Field, Spot, optional, or_default, shown};

use super::{Reader, machine, parsed, word_of, words};
use crate::model::{Advisories, Advisory, Policy, Tolerance};

pub(super) fn policy(r: &mut Reader, field: &Field<'_>) -> Option<Policy> {
    let mut fields = field.map(r)?;
    let namespace = fields
        .require(r, "namespace")
        .and_then(|field| field.parse(r, Code::BadName));
    let image_policy_namespace = parsed(r, fields.get("image_policy_namespace"), Code::BadName);
    let machines = or_default(fields.get("machines"), |field| machine::machines(r, &field));
    let tolerate = match fields.get("tolerate") {
        Some(field) => tolerances(r, &field),
        None => Some(Vec::new()),
    };
    let ignore_advisories = match fields.get("ignore_advisories") {
        Some(field) => advisories(r, &field),
        None => Some(Advisories::default()),
    };
    let maa = optional(fields.get("maa"), |field| {
        let url = field.line(r, 512)?;
        if !url.starts_with("https://") {
            r.bad_value(
                &field.spot,
                format!("`{}` is no address of an attestation service", shown(&url)),
                "write one that begins with `https://`",
            );
            return None;
        }
        Some(url)
    });
    let access_policy_name = parsed(r, fields.get("access_policy_name"), Code::BadName);
    let security_policy_name = parsed(r, fields.get("security_policy_name"), Code::BadName);
    let attestation_policy_name = parsed(r, fields.get("attestation_policy_name"), Code::BadName);
    fields.finish(r);
    Some(Policy {
        namespace: namespace?,
        image_policy_namespace: image_policy_namespace?,
        machines: machines?,
        tolerate: tolerate?,
        ignore_advisories: ignore_advisories?,
        maa: maa?,
        access_policy_name: access_policy_name?,
        security_policy_name: security_policy_name?,
        attestation_policy_name: attestation_policy_name?,
    })
}

fn tolerances(r: &mut Reader, field: &Field<'_>) -> Option<Vec<Tolerance>> {
    let mut all = words(r, field, |r, item, word| {
        let (text, terms) = if let Some(word) = word {
            (word, None)
        } else {
            let (word, terms) = Terms::beside(r, item, "what")?;
            (word.text(r)?.trim(), terms)
        };
        let known: Vec<&str> = Tolerated::ALL.iter().map(|one| one.as_str()).collect();
        let what = word_of(
            r,
            &item.spot,
            text,
            "thing that attestation can tolerate",
            &known,
            |text| text.parse().ok(),
        )?;
        if Tolerated::is_dangerous(what) {
            let harm = match what {
                Tolerated::DebugMode => {
                    "debuggable enclaves are accepted: whoever runs them can read every secret"
                }
                Tolerated::OutdatedTcb => "machines whose firmware has known holes are accepted",
                _ => "machines that are set up insecurely are accepted",
            };
            dangerous(r, &item.spot, what.as_str(), harm, terms.as_ref());
        }
        Some(Tolerance { what, terms })
    })?;
    all.sort_by_key(|one| one.what);
    all.dedup();
    if let Some([one, _]) = all
        .array_windows()
        .find(|[one, next]| one.what == next.what)
    {
        let message = format!(
            "`{}` stands there twice, on different terms",
            one.what.as_str()
        );
        r.conflict(&field.spot, message, "keep one of them");
        return None;
    }
    Some(all)
}

fn advisories(r: &mut Reader, field: &Field<'_>) -> Option<Advisories> {
    if field.is_map() {
        let listed = advisory(r, field, None)?;
        return of_list(r, field, vec![listed]);
    }
    let listed = words(r, field, advisory)?;
    of_list(r, field, listed)
}

fn of_list(r: &mut Reader, field: &Field<'_>, mut listed: Vec<Advisory>) -> Option<Advisories> {
    if let [Advisory { id, terms }] = listed.as_slice()
        && id == "*"
    {
        return Some(Advisories::All(terms.clone()));
    }
    if listed.iter().any(|one| one.id == "*") {
        r.conflict(
            &field.spot,
            "`*` stands with other advisories",
            "leave it alone",
        );
        return None;
    }
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    listed.dedup();
    if let Some([one, _]) = listed.array_windows().find(|[one, next]| one.id == next.id) {
        let message = format!("`{}` stands there twice, on different terms", one.id);
        r.conflict(&field.spot, message, "keep one of them");
        return None;
    }
    Some(Advisories::Listed(listed))
}

fn advisory(r: &mut Reader, item: &Field<'_>, word: Option<&str>) -> Option<Advisory> {
    let (text, terms) = if let Some(word) = word {
        (word, None)
    } else {
        let (word, terms) = Terms::beside(r, item, "id")?;
        (word.text(r)?.trim(), terms)
    };
    if text == "*" {
        let harm = "every security advisory is ignored, also those that nobody knows yet";
        dangerous(r, &item.spot, "*", harm, terms.as_ref());
        return Some(Advisory {
            id: "*".to_owned(),
            terms,
        });
    }
    let is_id = text.len() <= 64
        && text.contains('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    if !is_id {
        r.bad_value(
            &item.spot,
            format!("`{}` is no advisory", shown(text)),
            "write ids such as `INTEL-SA-00615`",
        );
        return None;
    }
    Some(Advisory {
        id: text.to_owned(),
        terms,
    })
}

fn dangerous(r: &mut Reader, spot: &Spot, word: &str, harm: &str, terms: Option<&Terms>) {
    let key = if word == "*" {
        "id: \"*\""
    } else {
        &format!("what: {word}")
    };
    match terms {
        Some(terms) => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("{harm}, until {}", terms.until),
            format!("remove `{word}` before that"),
        ),
        None => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("`{word}`: {harm}, WITHOUT A REASON AND FOR EVER"),
            format!("write `{{{key}, reason: …, until: 2027-01-31}}`"),
        ),
    }
}
