//! Text of the platform's, before anybody sees it.
//!
//! The platform, and the apps whose logs it passes on, are not trusted: a control sequence in a
//! name or a log line could rewrite what stands on the terminal above it.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads JSON, with every control character of every text but line feed and tab replaced.
pub(super) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(json)?;
    clean(&mut value);
    serde_json::from_value(value)
}

/// `text` with its control characters but line feed and tab replaced.
pub(super) fn cleaned(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
            letter => letter,
        })
        .collect()
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(char::is_control) => *text = cleaned(text),
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        let json = br#"{"url":"\u001b[A\u001b[2Kyes","lines":["a\tb\n","c\rd"]}"#;
        let value: Value = from_json(json).unwrap();
        assert_eq!(value["url"], "\u{fffd}[A\u{fffd}[2Kyes");
        assert_eq!(value["lines"], serde_json::json!(["a\tb\n", "c\u{fffd}d"]));
    }
}
