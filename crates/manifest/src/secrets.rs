use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

/// Secrets larger than this are refused.
pub(crate) const MAX_SECRETS_BYTES: u64 = 1 << 20;

/// The content of a secrets file: a JSON object, in UTF-8, of at most 1 MiB, byte by byte as the
/// owner wrote it. Wiped from memory when dropped.
pub struct SecretsJson(Zeroizing<Vec<u8>>);

impl SecretsJson {
    /// The JSON text. Keep copies as short-lived as this.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Self, InvalidSecrets> {
        serde_json::from_slice::<JsonObject>(&bytes).map_err(|error| match error.classify() {
            Category::Data => InvalidSecrets::NoObject,
            Category::Io | Category::Syntax | Category::Eof => InvalidSecrets::Syntax {
                line: error.line(),
                column: error.column(),
            },
        })?;
        Ok(Self(bytes))
    }
}

/// Says nothing of the content, unlike the errors of serde_json; worded to follow the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSecrets {
    #[error("is no valid JSON (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("holds JSON, but no object")]
    NoObject,
}

/// Accepts any JSON object and keeps nothing of it.
struct JsonObject;

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JsonObject)
    }
}

impl<'de> Visitor<'de> for JsonObject {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Vec<u8>, InvalidSecrets> {
        SecretsJson::parse(Zeroizing::new(text.to_vec())).map(|secrets| secrets.expose().to_vec())
    }

    #[test]
    fn objects_are_kept_byte_by_byte() {
        for text in [
            "{}",
            " {\"a\": {\"b\": [1, null]}}\n",
            "{\"ä\\n\": \"\\u00e4\"}",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn anything_else_is_refused_without_its_content() {
        for text in ["[]", "\"canary\"", "null", "1"] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(InvalidSecrets::NoObject),
                "{text}"
            );
        }
        for text in [
            "",
            "canary",
            "{\"canary\"",
            "{\"a\": canary}",
            "{} {}",
            "{1: 2}",
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, InvalidSecrets::Syntax { .. }), "{text}");
            assert!(!error.to_string().contains("canary"));
        }
        assert_eq!(
            parse(b"{\n\"a\": \xff}"),
            Err(InvalidSecrets::Syntax { line: 2, column: 6 })
        );
    }

    #[test]
    fn deep_nesting_is_no_crash() {
        let text = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));

        // Refused or not: parsing must come back.
        let _ = parse(text.as_bytes());
    }
}
