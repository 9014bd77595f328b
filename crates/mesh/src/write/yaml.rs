//! YAML in block style.
//!
//! A writer of our own, for what no other knows: `$NAME` has a meaning in our documents, so
//! dollars that would be read as one must be escaped. Whatever is not plainly harmless is quoted.

use std::fmt::Write;

use mse_yaml::is_left_alone;
use serde_json::Value;

/// A document.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A value that begins on a line of its own, at `indent`; it ends its line.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                pad(indent, text);
                text.push_str(&key_text(key));
                text.push(':');
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        text.push('\n');
                        block(value, indent + 2, text);
                    }
                    Value::Array(items) if !items.is_empty() => {
                        text.push('\n');
                        block(value, indent, text);
                    }
                    _ => {
                        text.push(' ');
                        scalar(value, indent + 2, text);
                    }
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                // The first line of the item follows the dash.
                let mut inner = String::new();
                if matches!(item, Value::String(_)) {
                    pad(indent + 2, &mut inner);
                    scalar(item, indent + 2, &mut inner);
                } else {
                    block(item, indent + 2, &mut inner);
                }
                pad(indent, text);
                text.push_str("- ");
                text.push_str(&inner[indent + 2..]);
            }
        }
        _ => {
            pad(indent, text);
            scalar(value, indent, text);
        }
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// A single value, or an empty list or map; further lines of it stand at `indent`.
fn scalar(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Array(_) => text.push_str("[]"),
        Value::Object(_) => text.push_str("{}"),
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(&value.to_string()),
        Value::Number(value) => text.push_str(&value.to_string()),
        Value::String(value) if is_plain(value) => text.push_str(value),
        Value::String(value) if is_block(value) => {
            text.push('|');
            if !value.ends_with('\n') {
                text.push('-');
            }
            let lines = value.strip_suffix('\n').unwrap_or(value);
            for line in lines.split('\n') {
                text.push('\n');
                if !line.is_empty() {
                    pad(indent, text);
                    text.push_str(line);
                }
            }
        }
        Value::String(value) => text.push_str(&quoted(value)),
    }
    text.push('\n');
}

fn key_text(key: &str) -> String {
    if is_plain(key) && !key.contains([':', '$', ' ']) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// Whether a text can stand without quotes, and is then this text for every reader of YAML.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "merge",
    ];
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '$'));
    let is_harmless = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                ' ' | '_'
                    | '.'
                    | '/'
                    | '@'
                    | ':'
                    | '+'
                    | '='
                    | ','
                    | '-'
                    | '$'
                    | '('
                    | ')'
                    | '~'
                    | ';'
            )
    };
    begins
        && text.chars().all(is_harmless)
        && !text.contains(": ")
        && !text.contains("  ")
        && !text.ends_with([':', ' '])
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
        && is_left_alone(text)
}

/// Whether a text of several lines can stand as such.
fn is_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let is_shown = |c: char| c == '\n' || (c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric());
    lines.contains('\n')
        && lines.chars().all(is_shown)
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && !lines
            .split('\n')
            .any(|line| line.ends_with(' ') || line.starts_with("---") || line.starts_with("..."))
        && is_left_alone(text)
}

fn quoted(text: &str) -> String {
    let mut inner = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        match character {
            '"' => inner.push_str("\\\""),
            '\\' => inner.push_str("\\\\"),
            '\n' => inner.push_str("\\n"),
            '\t' => inner.push_str("\\t"),
            '\r' => inner.push_str("\\r"),
            ' '..='~' => inner.push(character),
            other if other.is_alphanumeric() && u32::from(other) < 0xF_0000 => inner.push(other),
            other => {
                let number = u32::from(other);
                let _ = if number <= 0xFFFF {
                    write!(inner, "\\u{number:04x}")
                } else {
                    write!(inner, "\\U{number:08x}")
                };
            }
        }
    }
    if !is_left_alone(&inner) {
        inner = inner.replace('$', "\\x24");
    }
    format!("\"{inner}\"")
}
