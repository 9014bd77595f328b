//! What the session language says about the secrets of a manifest: which parameters a kind has,
//! and which secrets of which kinds they name.

use mse_session::{Code, Compatibility, Variables, check_text};
use mse_yaml::{Content, Diagnostic, Field, Severity, Spot};
use serde_json::{Value, json};

use super::Reader;
use crate::model::{SecretDefinition, Secrets};

/// Stands for the values of mesh variables.
const UNKNOWN: &str = "x";

/// Checks the definitions, whose places are `items`, as the session that they become part of.
pub(super) fn check(r: &mut Reader, secrets: &Secrets, items: &[Field<'_>]) {
    let defined = secrets.global.iter().filter_map(|secret| {
        let value = secret.to_session(|_| Some(UNKNOWN));
        value.ok()
    });
    let imported = secrets.import.iter().map(|name| {
        let name = name.as_str();
        json!({ "name": name, "import": { "session": "other", "secret": name } })
    });
    let session = json!({
        "name": "manifest",
        "version": "0.3.12",
        "salt": "00000000000000000000000000000000",
        "secrets": defined.chain(imported).collect::<Vec<Value>>(),
    });
    let outcome = check_text(
        &session.to_string(),
        &Variables::replaced(),
        Compatibility::Import,
    );
    for fault in outcome.errors() {
        let Some((index, key)) = place(&fault.path) else {
            continue;
        };
        let (Some(secret), Some(item)) = (secrets.global.get(index), items.get(index)) else {
            continue;
        };
        if is_reported_elsewhere(fault) || is_open(secret, key) {
            continue;
        }
        // Another service may define what this one does not.
        let severity = match fault.code {
            Code::UnresolvedName => Severity::Warning,
            _ => Severity::Error,
        };
        let message = fault.message.replace("the session has", "the manifest has");
        r.report.push(
            severity,
            fault.code,
            &spot(item, key),
            message,
            fault.help.clone(),
        );
    }
}

/// `secrets[3].size`, or `secrets[3].dns[0]`, or `secrets[3]`.
fn place(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix("secrets[")?.split_once(']')?;
    let key = rest.strip_prefix('.').unwrap_or_default();
    let key = key.split(['.', '[']).next().unwrap_or_default();
    Some((index.parse().ok()?, key))
}

/// References and names that two have are looked at for the manifest as a whole.
fn is_reported_elsewhere(fault: &Diagnostic) -> bool {
    let is_reference = matches!(fault.code, Code::UnresolvedName | Code::UnknownFormat)
        && place(&fault.path).is_some_and(|(_, key)| matches!(key, "value" | "application_secret"));
    is_reference || fault.code == Code::DuplicateName
}

/// Whether nobody knows yet what stands there.
fn is_open(secret: &SecretDefinition, key: &str) -> bool {
    let parameters = &secret.parameters;
    let texts = match key {
        "value" => parameters.value.as_slice(),
        "common_name" => parameters.common_name.as_slice(),
        "dns" => &parameters.dns,
        "san" => &parameters.san,
        "tenant_id" => parameters.tenant_id.as_slice(),
        "client_id" => parameters.client_id.as_slice(),
        "application_secret" => parameters.application_secret.as_slice(),
        _ => return false,
    };
    texts.iter().any(|text| text.variables().next().is_some())
}

/// The place of a key of a definition; without the key, of the definition.
fn spot(item: &Field<'_>, key: &str) -> Spot {
    let mut spot = item.spot.clone();
    if let Content::Map(entries) = &item.node.content
        && let Some(entry) = entries.iter().find(|entry| entry.key == key)
    {
        spot.path = format!("{}.{key}", spot.path);
        spot.at = entry.value.at;
    }
    spot
}
