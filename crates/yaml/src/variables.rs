//! `$NAME` and `${NAME}`: what the author of a template leaves open for whoever uploads it.
//!
//! Replaced once, on the author's side, before anything is signed. A value takes the place of
//! characters *inside* a scalar of the YAML text; it can never add a key, a list or a line to the
//! document. To this end each variable is first covered by as many private-use characters as it
//! is long (so that every column stays true), and uncovered once the text is parsed.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::diagnostic::Position;
use crate::node::MeshVariables;

/// Values for the variables of a template.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
    mode: Mode,
    undefined: Undefined,
}

/// What a variable without value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undefined {
    /// An error.
    #[default]
    Refused,
    /// A warning: the text is looked at before all values are known.
    Left,
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
            mode: Mode::Final,
            ..Self::default()
        }
    }

    /// Says what a variable without value is.
    #[must_use]
    pub fn with_undefined(mut self, undefined: Undefined) -> Self {
        self.undefined = undefined;
        self
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
            ..Self::default()
        }
    }
}

/// A text whose variables are covered.
pub(crate) struct Covered<'v> {
    pub(crate) text: String,
    under: Vec<Under>,
    variables: &'v Variables,
    mesh_variables: MeshVariables,
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
    pub(crate) fn cover(
        text: &str,
        variables: &'v Variables,
        mesh_variables: MeshVariables,
    ) -> Result<Self, Position> {
        let mut covered = Self {
            text: String::with_capacity(text.len()),
            under: Vec::new(),
            variables,
            mesh_variables,
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
        if let Some(found) = mesh_variable(rest) {
            let written = rest[..found.length].to_owned();
            return (found.length, Some(Under::Mustache(written)));
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
            let stays = match self.mesh_variables {
                MeshVariables::Refused => "{{",
                MeshVariables::Kept => "\\{{",
            };
            return (3, Some(Under::Escaped(stays)));
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

    /// The scalar as it is meant, where values stand in it, and what is wrong in it.
    pub(crate) fn uncover(
        &self,
        scalar: &str,
        found: &mut Vec<Uncovering>,
    ) -> (String, Vec<Range<usize>>) {
        let mut text = String::with_capacity(scalar.len());
        let mut given = Vec::new();
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
                    Some(value) => {
                        given.push(text.len()..text.len() + value.len());
                        text.push_str(value);
                    }
                    None => found.push(Uncovering::Undefined(name.clone())),
                },
                Under::Mustache(written) => {
                    text.push_str(written);
                    if self.mesh_variables == MeshVariables::Refused {
                        found.push(Uncovering::Mustache(written.clone()));
                    }
                }
            }
        }
        (text, given)
    }

    /// Whether a `{{name}}` stops the session or is a matter for a warning: in a final text it may
    /// be content for another program.
    pub(crate) fn is_template(&self) -> bool {
        self.variables.mode == Mode::Template
    }

    pub(crate) fn undefined(&self) -> Undefined {
        self.variables.undefined
    }
}

/// Whether `text` can stand in a scalar of a document whose `{{name}}` are kept, and means what it
/// looks like: nothing in it is read as `$NAME`, or as the escape of something.
pub fn is_left_alone(text: &str) -> bool {
    let none = Variables::new();
    Covered::cover(text, &none, MeshVariables::Kept).is_ok_and(|covered| {
        covered.under.iter().all(|under| match under {
            Under::Mustache(_) => true,
            Under::Escaped(stays) => stays.len() == 3,
            Under::Variable(_) => false,
        })
    })
}

/// Bytes of the variable's name that `text` begins with; 0 if it begins with none.
fn word(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// A `{{name}}` that a text begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMeshVariable<'t> {
    /// Bytes of all of it.
    pub length: usize,
    /// Its name: letters, digits, `_`, `-` and `.`.
    pub name: &'t str,
    /// The value that it has if nobody gives one.
    pub default: Option<String>,
}

/// Reads the `{{name}}`, `{{{name}}}` or `{{ name | default(value="x") }}` that `text` begins
/// with. None: it begins with something else, which may be meant for another program.
pub fn mesh_variable(text: &str) -> Option<FoundMeshVariable<'_>> {
    let braced = |open: &str, close: &str| {
        let inner = text.strip_prefix(open)?.trim_start_matches(' ');
        let length = inner
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))
            .unwrap_or(inner.len());
        let (name, after) = inner.split_at(length);
        if name.is_empty() {
            return None;
        }
        let after = after.trim_start_matches(' ');
        let (default, after) = match after.strip_prefix('|') {
            Some(filter) => {
                let (default, after) = default_filter(filter)?;
                (Some(default), after)
            }
            None => (None, after),
        };
        let end = after.trim_start_matches(' ').strip_prefix(close)?;
        Some(FoundMeshVariable {
            length: text.len() - end.len(),
            name,
            default,
        })
    };
    braced("{{{", "}}}").or_else(|| braced("{{", "}}"))
}

/// Reads `default(value="x")`; `\\` before a quote or backslash takes away its meaning.
fn default_filter(text: &str) -> Option<(String, &str)> {
    let mut rest = text.trim_start_matches(' ');
    for word in ["default", "(", "value", "="] {
        rest = rest.strip_prefix(word)?.trim_start_matches(' ');
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut value = String::new();
    let mut characters = rest[1..].char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            _ if character == quote => {
                let after = rest[1 + index + 1..].trim_start_matches(' ');
                return Some((value, after.strip_prefix(')')?));
            }
            '\\' => value.push(characters.next()?.1),
            '\n' => return None,
            _ => value.push(character),
        }
    }
    None
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
        let covered = Covered::cover(text, variables, MeshVariables::Refused).unwrap();
        assert_eq!(covered.text.chars().count(), text.chars().count());
        let mut found = Vec::new();
        (covered.uncover(&covered.text, &mut found).0, found)
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
        let at = Covered::cover("a\nb\u{F0000}", &Variables::new(), MeshVariables::Refused).err();
        assert_eq!(at, Some(Position { line: 2, column: 2 }));
    }
}
