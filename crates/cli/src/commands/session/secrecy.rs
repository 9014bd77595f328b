//! Secret values that stand in a session: which they are, and the document without them.

use mse_session::{HostArguments, Piece, Session, Template};
use serde_json::Value;

use crate::failure::Failure;

/// What is shown in the place of a value.
pub(crate) const HIDDEN: &str = "(secret value)";

/// Where the language has secret values. `*` is each item of a list.
const PLACES: &[&[&str]] = &[
    &["salt"],
    &["secrets", "*", "value"],
    &["secrets", "*", "application_secret"],
    &["secrets", "*", "private_key"],
    &["services", "*", "fspf_key"],
    &["services", "*", "one_time_password_shared_secret"],
    &["volumes", "*", "fspf_key"],
    &["security", "service_access_token"],
    &["security", "attestation", "one_time_password_shared_secret"],
];

/// A session as the document that travels (the canonical form and the salt), with and without
/// what is secret in it.
pub(crate) struct Documents {
    /// With it: to compare, never to show.
    pub(crate) real: Value,
    /// The same, but for [`HIDDEN`] in the place of secret values.
    pub(crate) shown: Value,
    /// How many values are hidden, without the salt, which is in no canonical form.
    pub(crate) hidden: usize,
}

impl Documents {
    pub(crate) fn of(session: &Session) -> Result<Self, Failure> {
        let real: Value = serde_json::from_str(&session.to_text())
            .map_err(|error| Failure::other(format!("the canonical form is no JSON: {error}")))?;
        let mut shown = real.clone();
        let hidden: usize = PLACES.iter().map(|place| hide(&mut shown, place)).sum();
        Ok(Self {
            hidden: hidden - usize::from(session.salt.is_some()),
            real,
            shown,
        })
    }
}

fn hide(value: &mut Value, place: &[&str]) -> usize {
    match (place, value) {
        (["*", rest @ ..], Value::Array(items)) => {
            items.iter_mut().map(|item| hide(item, rest)).sum()
        }
        ([key], Value::Object(entries)) => {
            let kind = entries
                .get("kind")
                .and_then(Value::as_str)
                .map(str::to_owned);
            match entries.get_mut(*key) {
                Some(value) if is_secret(key, kind.as_deref(), value) => {
                    *value = HIDDEN.into();
                    1
                }
                _ => 0,
            }
        }
        ([key, rest @ ..], Value::Object(entries)) => {
            entries.get_mut(*key).map_or(0, |value| hide(value, rest))
        }
        _ => 0,
    }
}

fn is_secret(key: &str, kind: Option<&str>, value: &Value) -> bool {
    let is_public = match (key, kind) {
        ("value", Some("public-key" | "x509" | "x509-ca")) => true,
        // Elsewhere it is the name of a secret.
        ("private_key", kind) => kind != Some("aad-token"),
        _ => false,
    };
    !is_public && !is_made_of_references(value)
}

/// A value that is taken from secrets says nothing of them.
fn is_made_of_references(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        Template::parse(text, HostArguments::Literal).is_ok_and(|parsed| {
            let pieces = parsed.template.pieces();
            let is_reference = |piece: &Piece| matches!(piece, Piece::Reference(_));
            !pieces.is_empty() && pieces.iter().all(is_reference)
        })
    })
}
