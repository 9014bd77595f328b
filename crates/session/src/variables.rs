//! `$NAME` and `${NAME}`: what the author of a template leaves open for whoever uploads it.
//!
//! Replaced once, on the author's side, before the session is signed. A value takes the place of
//! characters *inside* a scalar of the YAML text; it can never add a key, a list or a line to the
//! document. To this end each variable is first covered by as many private-use characters as it
//! is long (so that every column stays true), and uncovered once the text is parsed.

use std::collections::BTreeMap;

use crate::diagnostic::Position;

/// Values for the variables of a template.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Template,
    Final,
}

impl Variables {
    /// No values: each variable of the text is an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a text in which all variables have been replaced: `$`, `\$` and `{{` are characters
    /// like all others. This is how a CAS reads what it is sent.
    pub fn replaced() -> Self {
        Self {
            values: BTreeMap::new(),
            mode: Mode::Final,
        }
    }

    /// Gives `name` a value, and takes back an earlier one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        Self {
            values: iter
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            mode: Mode::Template,
        }
    }
}

/// A text whose variables are covered.
pub(crate) struct Covered<'v> {
    pub(crate) text: String,
    under: Vec<Under>,
    variables: &'v Variables,
}

enum Under {
    Variable(String),
    /// `\$` or `\{{`: the characters without the backslash.
    Escaped(&'static str),
    /// `{{name}}`, as written.
    Mustache(String),
}

/// Something that uncovering found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Uncovering {
    Undefined(String),
    Mustache(String),
}

/// The first cover; further ones count up from it.
const FIRST: u32 = 0xF_0000;
/// Covers are below this one, which fills up to the length of what is covered.
const FILL: char = '\u{10_FFFD}';
const MOST: usize = 60_000;

impl<'v> Covered<'v> {
    /// Covers the variables of `text`; an error is where a text holds what is used as cover, or
    /// more variables than there are covers.
    pub(crate) fn cover(text: &str, variables: &'v Variables) -> Result<Self, Position> {
        let mut covered = Self {
            text: String::with_capacity(text.len()),
            under: Vec::new(),
            variables,
        };
        if let Some(index) = text.find(|c| u32::from(c) >= FIRST) {
            return Err(position(text, index));
        }
        let mut rest = text;
        let mut in_reference = false;
        while let Some(first) = rest.chars().next() {
            let (length, under) = covered.next(rest, &mut in_reference);
            let length = length.max(first.len_utf8());
            let (taken, after) = rest.split_at(length);
            match under {
                Some(under) => {
                    if covered.under.len() == MOST {
                        return Err(position(text, text.len() - rest.len()));
                    }
                    let number = FIRST + u32::try_from(covered.under.len()).unwrap_or(u32::MAX);
                    covered
                        .text
                        .push(char::from_u32(number).expect("below the fill: MOST is small"));
                    covered.text.extend(taken.chars().skip(1).map(|_| FILL));
                    covered.under.push(under);
                }
                None => covered.text.push_str(taken),
            }
            rest = after;
        }
        Ok(covered)
    }

    /// How much of `rest` belongs together, and what is to be covered in it.
    fn next(&self, rest: &str, in_reference: &mut bool) -> (usize, Option<Under>) {
        let is_template = self.variables.mode == Mode::Template;
        if let Some(length) = mustache(rest) {
            return (length, Some(Under::Mustache(rest[..length].to_owned())));
        }
        if let Some(inner) = rest.strip_prefix("$$") {
            *in_reference =
                !*in_reference && (inner.starts_with("SCONE::") || inner.starts_with("MSE::"));
            // Neither the dollars that close a reference nor a shell's `$$` begin a variable.
            let word = if *in_reference { 0 } else { word(inner) };
            return (2 + word, None);
        }
        if rest.starts_with(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
            *in_reference = false;
        }
        if !is_template {
            return (1, None);
        }
        if rest.starts_with("\\$") {
            return (2, Some(Under::Escaped("$")));
        }
        if rest.starts_with("\\{{") {
            return (3, Some(Under::Escaped("{{")));
        }
        if rest.starts_with("\\\\") {
            return (2, None);
        }
        if let Some(inner) = rest.strip_prefix("${") {
            let length = word(inner);
            if length > 0 && inner[length..].starts_with('}') {
                let name = inner[..length].to_owned();
                return (3 + length, Some(Under::Variable(name)));
            }
        } else if let Some(inner) = rest.strip_prefix('$') {
            let length = word(inner);
            if length > 0 {
                let name = inner[..length].to_owned();
                return (1 + length, Some(Under::Variable(name)));
            }
        }
        (1, None)
    }

    /// The scalar as it is meant, and what is wrong in it.
    pub(crate) fn uncover(&self, scalar: &str, found: &mut Vec<Uncovering>) -> String {
        let mut text = String::with_capacity(scalar.len());
        for character in scalar.chars() {
            let number = u32::from(character);
            if number < FIRST {
                text.push(character);
                continue;
            }
            // The fill has no number that is in use.
            let Some(under) = self.under.get((number - FIRST) as usize) else {
                continue;
            };
            match under {
                Under::Escaped(literal) => text.push_str(literal),
                Under::Variable(name) => match self.variables.values.get(name) {
                    Some(value) => text.push_str(value),
                    None => found.push(Uncovering::Undefined(name.clone())),
                },
                Under::Mustache(written) => {
                    text.push_str(written);
                    found.push(Uncovering::Mustache(written.clone()));
                }
            }
        }
        text
    }

    /// Whether a `{{name}}` stops the session or is a matter for a warning: in a final text it may
    /// be content for another program.
    pub(crate) fn is_template(&self) -> bool {
        self.variables.mode == Mode::Template
    }
}

/// Bytes of the variable's name that `text` begins with; 0 if it begins with none.
fn word(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// Bytes of the `{{name}}` or `{{{a.b}}}` that `text` begins with.
fn mustache(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("{{")?;
    let inner = inner.strip_prefix('{').unwrap_or(inner);
    let name = inner.trim_start_matches(' ');
    let after = name.trim_start_matches(|c: char| {
        c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-'
    });
    if after.len() == name.len() {
        return None;
    }
    let end = after.trim_start_matches(' ').strip_prefix("}}")?;
    let end = end.strip_prefix('}').unwrap_or(end);
    Some(text.len() - end.len())
}

fn position(text: &str, index: usize) -> Position {
    let before = &text[..index];
    Position {
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, variables: &Variables) -> (String, Vec<Uncovering>) {
        let covered = Covered::cover(text, variables).unwrap();
        assert_eq!(covered.text.chars().count(), text.chars().count());
        let mut found = Vec::new();
        (covered.uncover(&covered.text, &mut found), found)
    }

    #[test]
    fn variables_and_nothing_else_are_replaced() {
        let variables: Variables = [("A", "1"), ("B_2", "$A")].into_iter().collect();
        for (text, expected) in [
            ("$A ${A} ${B_2}x", "1 1 $Ax"),
            (
                "$$SCONE::A$$ $$SCONE::A:hex$$A",
                "$$SCONE::A$$ $$SCONE::A:hex$$A",
            ),
            (
                "$$SCONE::p_$A:pem$$$$SCONE::q$$$A",
                "$$SCONE::p_1:pem$$$$SCONE::q$$1",
            ),
            ("$$MSE::x_${A}$$", "$$MSE::x_1$$"),
            ("\\$A \\\\$A", "$A \\\\1"),
            ("!#what!$# $1 $ ${} ${A", "!#what!$# $1 $ ${} ${A"),
            ("$$A $$", "$$A $$"),
            ("\\{{name}}", "{{name}}"),
            (
                "{{ with secret \"x\" }} {{}}",
                "{{ with secret \"x\" }} {{}}",
            ),
        ] {
            assert_eq!(
                expand(text, &variables),
                (expected.to_owned(), vec![]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_left_open_is_found() {
        let (_, found) = expand("$X {{a}} {{{b.c}}} {{ d }}", &Variables::new());
        assert_eq!(
            found,
            [
                Uncovering::Undefined("X".into()),
                Uncovering::Mustache("{{a}}".into()),
                Uncovering::Mustache("{{{b.c}}}".into()),
                Uncovering::Mustache("{{ d }}".into()),
            ]
        );
    }

    #[test]
    fn a_final_text_is_left_alone() {
        let (text, found) = expand("$X \\$X ${X}", &Variables::replaced());
        assert_eq!((text.as_str(), found.len()), ("$X \\$X ${X}", 0));
    }

    #[test]
    fn covers_cannot_be_forged() {
        let at = Covered::cover("a\nb\u{F0000}", &Variables::new()).err();
        assert_eq!(at, Some(Position { line: 2, column: 2 }));
    }
}
