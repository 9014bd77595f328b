//! `security`.

use mse_yaml::{Code, Field, Spot, did_you_mean, optional, or_default, shown};

use super::{Reader, SessionField};
use crate::check::Compatibility;
use crate::model::{
    Advisories, Advisory, AttestationMode, AttestationSettings, Feature, OrReference, Security,
    Terms, Tolerance, Tolerated,
};
use crate::template::{HostArguments, Template};

pub(crate) fn security(r: &mut Reader, field: &Field<'_>) -> Option<Security> {
    r.uses(Feature::SecuritySection, &field.spot);
    let mut fields = field.map(r)?;
    let attestation = optional(fields.get("attestation"), |field| {
        field.or_reference(r, |field, r| settings(r, field))
    });
    let token = optional(fields.get("service_access_token"), |field| {
        r.uses(Feature::ServiceAccessToken, &field.spot);
        secret_text(r, &field, "the token")
    });
    let singleton = or_default(fields.get("singleton_enclaves"), |field| {
        r.uses(Feature::SingletonEnclaves, &field.spot);
        field.boolean(r)
    });
    fields.finish(r);
    Some(Security {
        attestation: attestation?.filter(
            |settings| !matches!(settings, OrReference::Given(given) if *given == AttestationSettings::default()),
        ),
        service_access_token: token?,
        singleton_enclaves: singleton?,
    })
}

/// A secret that should not stand in the text.
fn secret_text(r: &mut Reader, field: &Field<'_>, what: &str) -> Option<Template> {
    let template = field.template(r, HostArguments::Literal)?;
    if template.as_literal().is_some() {
        field.warn_of_explicit(r, what);
    }
    Some(template)
}

/// The secret of one-time passwords: base32 of at least 128 bits, or from a secret.
pub(super) fn one_time_password(r: &mut Reader, field: &Field<'_>) -> Option<Template> {
    r.uses(Feature::OneTimePasswords, &field.spot);
    let template = secret_text(r, field, "the secret of the one-time passwords")?;
    if let Some(text) = template.as_literal() {
        let digits = text.trim_end_matches('=');
        let is_base32 = digits
            .bytes()
            .all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
        // 26 digits of 5 bits.
        if !is_base32 || digits.len() < 26 {
            r.report.error(
                Code::BadValue,
                &field.spot,
                "the secret of one-time passwords is base32 of at least 128 bits (26 digits)",
            );
            return None;
        }
    }
    Some(template)
}

pub(crate) fn settings(r: &mut Reader, field: &Field<'_>) -> Option<AttestationSettings> {
    let mut fields = field.map(r)?;
    let tolerate = or_default(fields.get("tolerate"), |field| tolerances(r, &field));
    let ignore_advisories = or_default(fields.get("ignore_advisories"), |field| {
        advisories(r, &field)
    });
    let url = fields.get("url");
    let mode = or_default(fields.get("mode"), |field| {
        mode(r, &field, url.is_some(), tolerate.as_deref())
    });
    let url = optional(url, |field| url_of(r, &field));
    let local = or_default(fields.get("must_be_sgx_local"), |field| {
        r.uses(Feature::LocalAttestation, &field.spot);
        field.boolean(r)
    });
    let certificates = or_default(fields.get("certificates"), |field| {
        let certificates: Vec<_> = field
            .items(r)
            .iter()
            .map(|item| item.text(r).map(|text| text.trim().to_owned()))
            .collect();
        certificates.into_iter().collect::<Option<Vec<_>>>()
    });
    let one_time_password = optional(fields.get("one_time_password_shared_secret"), |field| {
        one_time_password(r, &field)
    });
    for (key, why) in [
        (
            "trusted_scone_qe_pubkeys",
            "SCONE's own quoting enclave is gone since 7.0",
        ),
        ("min_rsa_signing_key_size", "it has no effect since 5.8"),
    ] {
        if let Some(field) = fields.get(key) {
            r.report
                .warn(Code::NoEffect, &field.spot, why, format!("remove `{key}`"));
        }
    }
    fields.finish(r);
    Some(AttestationSettings {
        mode: mode?,
        tolerate: tolerate?,
        ignore_advisories: ignore_advisories?,
        must_be_sgx_local: local?,
        url: url?,
        certificates: certificates?,
        one_time_password: one_time_password?,
    })
}

fn url_of(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let url = field.line(r, 512)?;
    if url.starts_with("https://") {
        return Some(url);
    }
    r.report.error(
        Code::BadValue,
        &field.spot,
        "the address of an attestation service begins with `https://`",
    );
    None
}

fn mode(
    r: &mut Reader,
    field: &Field<'_>,
    has_url: bool,
    tolerate: Option<&[OrReference<Tolerance>]>,
) -> Option<AttestationMode> {
    let (word, terms) = Terms::beside(r, field, "what")?;
    let text = word.text(r)?;
    if terms.is_some() && text != "none" {
        let message = format!("`{}` needs no terms", shown(text));
        r.report
            .error_with(Code::Conflict, &field.spot, message, "write the word only");
        return None;
    }
    match text {
        "hardware" => Some(AttestationMode::Hardware),
        "maa" => {
            r.uses(Feature::Maa, &field.spot);
            let trusts_maa = tolerate.is_none_or(|all| {
                all.iter().any(|one| match one {
                    OrReference::Given(tolerance) => tolerance.what == Tolerated::MaaManagedTcb,
                    OrReference::From(_) => true,
                })
            });
            if !trusts_maa {
                r.report.error_with(
                    Code::Conflict,
                    &field.spot,
                    "with the mode `maa`, Microsoft judges the TCB",
                    "add `maa-managed-tcb` to `tolerate`",
                );
            }
            if !has_url {
                let message = "the mode `maa` needs the address of the provider";
                r.report
                    .error_with(Code::MissingKey, &field.spot, message, "add `url`");
            }
            (trusts_maa && has_url).then_some(AttestationMode::Maa)
        }
        "none" => {
            let what = "attestation is off: whoever asks gets the secrets";
            dangerous(r, &field.spot, "mode", "none", what, terms.as_ref());
            Some(AttestationMode::None(terms))
        }
        other => {
            let known = ["hardware", "maa", "none"];
            let help = did_you_mean(other, &known)
                .unwrap_or_else(|| "write `hardware`, `maa` or `none`".to_owned());
            let message = format!("`{}` is no mode of attestation", shown(other));
            r.report
                .error_with(Code::BadValue, &field.spot, message, help);
            None
        }
    }
}

fn tolerances(r: &mut Reader, field: &Field<'_>) -> Option<Vec<OrReference<Tolerance>>> {
    let read: Vec<_> = field
        .one_or_many(r)
        .iter()
        .map(|item| item.or_reference(r, |item, r| tolerance(r, item)))
        .collect();
    let read: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    as_set(r, &field.spot, read, |one| one.what.as_str().to_owned())
}

fn tolerance(r: &mut Reader, item: &Field<'_>) -> Option<Tolerance> {
    let (word, terms) = Terms::beside(r, item, "what")?;
    let text = word.text(r)?;
    let what: Tolerated = match text.parse() {
        Ok(what) => what,
        Err(error) => {
            let known: Vec<&str> = Tolerated::ALL.iter().map(|one| one.as_str()).collect();
            let help = did_you_mean(text, &known)
                .unwrap_or_else(|| format!("known are {}", known.join(", ")));
            r.report
                .error_with(Code::BadValue, &word.spot, error.to_string(), help);
            return None;
        }
    };
    match what {
        Tolerated::LocalAttestationTrustCasTcb => r.uses(Feature::LocalAttestation, &item.spot),
        Tolerated::MaaManagedTcb => r.uses(Feature::Maa, &item.spot),
        _ => {}
    }
    if what.is_dangerous() {
        let harm = match what {
            Tolerated::DebugMode => {
                "debuggable enclaves are accepted: whoever runs them can read \
                                     every secret"
            }
            Tolerated::OutdatedTcb => "machines whose firmware has known holes are accepted",
            _ => "machines that are set up insecurely are accepted",
        };
        dangerous(r, &item.spot, "what", what.as_str(), harm, terms.as_ref());
    }
    Some(Tolerance { what, terms })
}

fn advisories(r: &mut Reader, field: &Field<'_>) -> Option<Advisories> {
    let is_all = |text: Option<&str>| text == Some("*");
    let items = field.one_or_many(r);
    let mut listed = Vec::with_capacity(items.len());
    for item in &items {
        let one = item.or_reference(r, |item, r| {
            let (id, terms) = Terms::beside(r, item, "id")?;
            if is_all(id.scalar()) {
                if items.len() > 1 {
                    let message = "`*` stands with other advisories";
                    r.report
                        .error_with(Code::Conflict, &item.spot, message, "leave it alone");
                    return None;
                }
                let harm = "every security advisory is ignored, also those that nobody knows yet";
                dangerous(r, &item.spot, "id", "\"*\"", harm, terms.as_ref());
                return Some(Advisory {
                    id: "*".to_owned(),
                    terms,
                });
            }
            let text = id.line(r, 64)?;
            let is_id = text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
                && text.contains('-');
            if !is_id {
                let message = format!("`{}` is no advisory", shown(&text));
                let help = "write ids such as `INTEL-SA-00615`";
                r.report.error_with(Code::BadValue, &id.spot, message, help);
                return None;
            }
            Some(Advisory { id: text, terms })
        });
        listed.push(one);
    }
    let listed: Vec<_> = listed.into_iter().collect::<Option<_>>()?;
    if let [OrReference::Given(Advisory { id, terms })] = listed.as_slice()
        && id == "*"
    {
        return Some(Advisories::All(terms.clone()));
    }
    as_set(r, &field.spot, listed, |one| one.id.clone()).map(Advisories::Listed)
}

/// In an order, each once: what is let pass is a set. None: something stands there twice, on
/// different terms.
fn as_set<T: PartialEq>(
    r: &mut Reader,
    spot: &Spot,
    mut all: Vec<OrReference<T>>,
    name: impl Fn(&T) -> String,
) -> Option<Vec<OrReference<T>>> {
    let key = |one: &OrReference<T>| match one {
        OrReference::Given(given) => name(given),
        OrReference::From(reference) => reference.to_string(),
    };
    all.sort_by_key(key);
    all.dedup();
    if let Some([one, _]) = all
        .array_windows()
        .find(|[one, next]| key(one) == key(next))
    {
        let message = format!("`{}` stands there twice, on different terms", key(one));
        r.report
            .error_with(Code::Conflict, spot, message, "keep one of them");
        return None;
    }
    Some(all)
}

/// Something that needs terms; an imported session may go without, loudly.
fn dangerous(
    r: &mut Reader,
    spot: &Spot,
    key: &str,
    word: &str,
    harm: &str,
    terms: Option<&Terms>,
) {
    let help = format!("write `{{{key}: {word}, reason: …, until: 2027-01-31}}`");
    match (terms, r.compatibility) {
        (Some(terms), _) => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("{harm}, until {}", terms.until),
            format!("remove `{word}` before that"),
        ),
        (None, Compatibility::Strict) => r.report.error_with(
            Code::TermsMissing,
            spot,
            format!("`{word}` needs a reason and an end: {harm}"),
            help,
        ),
        (None, Compatibility::Import) => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("{harm}, WITHOUT A REASON AND FOR EVER"),
            help,
        ),
    }
}
