//! YAML as tools write it: read into the JSON value that it stands for.
//!
//! Only what emitters of evidence and collateral use is known: block mappings and sequences,
//! integers, `true`, `false`, `null`, empty collections, double-quoted strings with JSON's
//! escapes, plain words, and literal (`|`) and folded (`>`) text. Everything else is an error:
//! anchors, aliases, tags, flow collections, comments, several documents. What is read this way
//! is verified afterwards, so the worst that a difference between this reader and another one can
//! do is a refusal.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use thiserror::Error;

/// How deep collections may stand in each other.
const MAX_DEPTH: usize = 16;

/// Why a text is not of the supported part of YAML.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("line {line}: {why}")]
pub struct YamlError {
    line: usize,
    why: &'static str,
}

/// Reads one document. The caller bounds its size.
pub(crate) fn read(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader {
        lines: text.lines().map(Cow::Borrowed).collect(),
        at: 0,
    };
    if reader.lines.first().is_some_and(|line| *line == "---") {
        reader.at = 1;
    }
    let value = match reader.indent_of_next()? {
        Some(0) => reader.node(0, 0)?,
        Some(_) => return Err(reader.error("the document starts with an indent")),
        None => return Err(reader.error("the document is empty")),
    };
    match reader.indent_of_next()? {
        None => Ok(value),
        Some(_) => Err(reader.error("something follows the document")),
    }
}

struct Reader<'t> {
    lines: Vec<Cow<'t, str>>,
    at: usize,
}

impl Reader<'_> {
    /// The indent of the next line that is not blank, which then is the current one.
    fn indent_of_next(&mut self) -> Result<Option<usize>, YamlError> {
        while let Some(line) = self.lines.get(self.at) {
            let content = line.trim_start_matches(' ');
            if content.trim_end().is_empty() {
                self.at += 1;
                continue;
            }
            if content.starts_with(['\t', '#', '%', '&', '*', '!', '{', '[', '@', '`', '?'])
                && !is_empty_collection(content)
            {
                return Err(self.error("this part of YAML is not supported"));
            }
            return Ok(Some(line.len() - content.len()));
        }
        Ok(None)
    }

    /// The mapping or sequence that starts at the current line, whose indent is `indent`.
    fn node(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        if depth == MAX_DEPTH {
            return Err(self.error("collections stand too deep in each other"));
        }
        let content = self.lines[self.at].trim();
        if is_empty_collection(content) {
            let value = scalar(content).map_err(|why| self.error(why));
            self.at += 1;
            return value;
        }
        if self.item(indent).is_some() {
            self.sequence(indent, depth)
        } else {
            self.mapping(indent, depth)
        }
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        while let Some(found) = self.indent_of_next()? {
            if found < indent || (found == indent && self.item(indent).is_some()) {
                break;
            }
            if found > indent {
                return Err(self.error("the indent fits no collection"));
            }
            let line = self.lines[self.at][indent..].to_owned();
            let Some((key, rest)) = split_key(&line) else {
                return Err(self.error("a line is not `key: value`"));
            };
            let value = self.value(rest, indent, depth, AfterKey::Yes)?;
            if map.insert(key.to_owned(), value).is_some() {
                return Err(self.error("a key stands twice in one mapping"));
            }
        }
        Ok(Value::Object(map))
    }

    fn sequence(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        while let Some(found) = self.indent_of_next()? {
            if found < indent {
                break;
            }
            let Some(rest) = self.item(indent).filter(|_| found == indent) else {
                if found == indent {
                    break;
                }
                return Err(self.error("the indent fits no collection"));
            };
            let rest = rest.to_owned();
            let nests = rest.starts_with("- ") || rest == "-" || split_key(&rest).is_some();
            items.push(if nests {
                // A collection that starts on the line of its dash: as if the dash were a space.
                self.lines[self.at] = Cow::Owned(format!("{}{rest}", " ".repeat(indent + 2)));
                self.node(indent + 2, depth + 1)?
            } else {
                self.value(&rest, indent, depth, AfterKey::No)?
            });
        }
        Ok(Value::Array(items))
    }

    /// What follows the dash of a sequence's item on the current line.
    fn item(&self, indent: usize) -> Option<&str> {
        let content = self.lines.get(self.at)?.get(indent..)?;
        match content.strip_prefix("- ") {
            Some(rest) => Some(rest.trim_start_matches(' ')),
            None if content.trim_end() == "-" => Some(""),
            None => None,
        }
    }

    /// The value whose first line is `rest`, in a collection of this indent.
    fn value(
        &mut self,
        rest: &str,
        indent: usize,
        depth: usize,
        after: AfterKey,
    ) -> Result<Value, YamlError> {
        let rest = rest.trim_end();
        self.at += 1;
        if let Some(style) = TextStyle::of(rest) {
            return self.text(style, indent).map(Value::String);
        }
        if !rest.is_empty() {
            return scalar(rest).map_err(|why| YamlError { line: self.at, why });
        }
        match self.indent_of_next()? {
            Some(found) if found > indent => self.node(found, depth + 1),
            // Sequences may stand right under their key.
            Some(found)
                if found == indent && after == AfterKey::Yes && self.item(indent).is_some() =>
            {
                self.node(indent, depth + 1)
            }
            _ => Ok(Value::Null),
        }
    }

    /// Literal or folded text: the lines that are indented more than `parent`.
    fn text(&mut self, style: TextStyle, parent: usize) -> Result<String, YamlError> {
        let mut indent = None;
        let mut lines: Vec<&str> = Vec::new();
        while let Some(line) = self.lines.get(self.at) {
            let content = line.trim_start_matches(' ');
            let found = line.len() - content.len();
            if content.is_empty() {
                lines.push("");
            } else if found <= parent {
                break;
            } else {
                let indent = *indent.get_or_insert(found);
                if found < indent {
                    return Err(self.error("a line of a text is indented less than the first"));
                }
                lines.push(&line[indent..]);
            }
            self.at += 1;
        }
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        let mut text = if style.folds {
            if lines
                .iter()
                .any(|line| line.is_empty() || line.starts_with(' '))
            {
                return Err(self.error("folded text of several paragraphs is not supported"));
            }
            lines.join(" ")
        } else {
            lines.join("\n")
        };
        if !style.strips && !text.is_empty() {
            text.push('\n');
        }
        Ok(text)
    }

    fn error(&self, why: &'static str) -> YamlError {
        YamlError {
            line: self.at + 1,
            why,
        }
    }
}

/// Whether a value stands behind a key, or behind a dash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterKey {
    Yes,
    No,
}

#[derive(Clone, Copy)]
struct TextStyle {
    /// Line ends within the text become spaces.
    folds: bool,
    /// The line end after the last line is not part of the text.
    strips: bool,
}

impl TextStyle {
    fn of(indicator: &str) -> Option<Self> {
        let (folds, strips) = match indicator {
            "|" => (false, false),
            "|-" => (false, true),
            ">" => (true, false),
            ">-" => (true, true),
            _ => return None,
        };
        Some(Self { folds, strips })
    }
}

/// Key and rest of a line `key: rest` or `key:`.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once(':')?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if key.is_empty() || !key.bytes().all(is_word) {
        return None;
    }
    match rest.strip_prefix(' ') {
        Some(rest) => Some((key, rest.trim_start_matches(' '))),
        None if rest.trim_end().is_empty() => Some((key, "")),
        None => None,
    }
}

fn is_empty_collection(content: &str) -> bool {
    ["[]", "{}"].contains(&content.trim_end())
}

fn scalar(text: &str) -> Result<Value, &'static str> {
    match text {
        "null" | "~" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "[]" => return Ok(Value::Array(Vec::new())),
        "{}" => return Ok(Value::Object(Map::new())),
        _ => (),
    }
    if text.starts_with('"') {
        return serde_json::from_str(text).map(Value::String).map_err(
            |_| "a quoted string is not closed, or has an escape that JSON does not know",
        );
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number
        && (text == "0" || !text.starts_with('0'))
        && let Ok(number) = text.parse::<u64>()
    {
        return Ok(Value::Number(Number::from(number)));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+/=.".contains(&byte);
    if text.bytes().all(is_plain) {
        return Ok(Value::String(text.to_owned()));
    }
    Err("a value is neither a number, nor a word, nor a quoted string")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_emitters_write() {
        let text = "\
word: aGVsbG8_-=
folded: >-
  abc
quoted: \"a\\\"b\"
nested:
  pem: |
    line 1
    line 2
  list:
  - |
    text
  - 7
  numbers:
    - - 70
      - 124
    - - 57
  none: null
  empty:
    []
after: 1
";
        // `[]` on a line of its own is what one emitter writes for an empty sequence.
        assert_eq!(
            read(text).unwrap(),
            json!({
                "word": "aGVsbG8_-=",
                "folded": "abc",
                "quoted": "a\"b",
                "nested": {
                    "pem": "line 1\nline 2\n",
                    "list": ["text\n", 7],
                    "numbers": [[70, 124], [57]],
                    "none": null,
                    "empty": [],
                },
                "after": 1,
            })
        );
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for text in [
            "",
            "a: &anchor 1\n",
            "a: {b: 1}\n",
            "a: 1\na: 2\n",
            "a: 1\n  b: 2\n",
            "a: \"open\n",
            "a: 'single'\n",
            "- a: 1\n   b: 2\n",
            "a: >-\n  x\n\n  y\n",
            "# comment\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut text = String::new();
        for depth in 0..200 {
            text.push_str(&" ".repeat(depth));
            text.push_str("a:\n");
        }
        assert!(read(&text).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[-a-c:|>\"\\[\\] \n0-9é]{0,200}") {
            let _ = read(&text);
        }
    }
}
