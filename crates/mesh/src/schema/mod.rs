//! JSON Schemas of both documents, for editors.
//!
//! They describe the current form, not the older spellings that are read besides. What one value
//! says about another is beyond them: [`crate::check_text`] is the judge.

mod manifest;
mod meshfile;

use serde_json::{Value, json};

use crate::check::Kind;

/// The JSON Schema (draft 2020-12) of a kind of document.
pub fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Service => manifest::schema(),
        Kind::Mesh => meshfile::schema(),
    }
}

/// A map with these keys and no others.
fn map(what: &str, required: &[&str], properties: &Value) -> Value {
    json!({
        "description": what,
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn list(what: &str, items: &Value) -> Value {
    json!({ "description": what, "type": "array", "items": items })
}

/// A text; numbers and truth values are the texts that they look like.
fn text(what: &str) -> Value {
    json!({ "description": what, "type": ["string", "number", "boolean"] })
}

fn string(what: &str) -> Value {
    json!({ "description": what, "type": "string" })
}

fn flag(what: &str, default: bool) -> Value {
    json!({ "description": what, "type": "boolean", "default": default })
}

fn word<'w>(what: &str, words: impl IntoIterator<Item = &'w str>) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    json!({ "description": what, "enum": words })
}

fn whole(what: &str, least: u32, most: u32) -> Value {
    json!({ "description": what, "type": "integer", "minimum": least, "maximum": most })
}

fn port(what: &str) -> Value {
    whole(what, 1, 65535)
}

fn path(what: &str) -> Value {
    json!({ "description": what, "type": "string", "pattern": "^/" })
}

fn paths(what: &str) -> Value {
    list(what, &json!({ "type": "string", "pattern": "^/." }))
}

fn api_version() -> Value {
    json!({
        "description": "The version of the language.",
        "type": "string",
        "pattern": r"^(mse/v1|scone/[0-9]+\.[0-9]+(\.[0-9]+)?)$",
    })
}

fn service_name(what: &str) -> Value {
    json!({
        "description": what,
        "type": "string",
        "pattern": "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
    })
}

fn name(what: &str) -> Value {
    json!({ "description": what, "type": "string", "pattern": "^[A-Za-z0-9_.~-]{1,128}$" })
}

fn hex(what: &str) -> Value {
    json!({ "description": what, "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" })
}

fn http_or_tcp(what: &str, more: &Value) -> Value {
    let mut properties = json!({
        "http": map(
            "A GET is answered by a status below 400.",
            &["path", "port"],
            &json!({ "path": path("The path."), "port": port("The port.") }),
        ),
        "tcp": port("A connection to this port is accepted."),
    });
    if let (Some(properties), Some(more)) = (properties.as_object_mut(), more.as_object()) {
        properties.extend(more.clone());
    }
    let mut schema = map(what, &[], &properties);
    schema["oneOf"] = json!([{ "required": ["http"] }, { "required": ["tcp"] }]);
    schema
}

/// A word, or a map with it, a reason and an end.
fn with_terms(key: &str, word: &Value) -> Value {
    json!({
        "oneOf": [
            word,
            map(
                "On terms.",
                &[key, "reason", "until"],
                &json!({
                    key: word,
                    "reason": string("Why."),
                    "until": string("The last day or instant: `2027-01-31`."),
                }),
            ),
        ],
    })
}
