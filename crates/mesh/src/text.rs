//! Texts that the mesh builder completes: `{{name}}` stands for a value that the Meshfile gives.

use std::fmt;

use mse_crypto::Zeroizing;
use mse_yaml::command::{self, Unit};
use mse_yaml::mesh_variable;

/// A text with mesh variables: `{{name}}`, `{{{name}}}`, `{{ name | default(value="x") }}`.
///
/// References to secrets (`$$SCONE::name$$`) are characters like all others: they are for the CAS.
/// `\{{` is `{{`; backslashes have a meaning before `{{` only, where two stand for one.
///
/// `Debug` shows the variables only: what is between them may be secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MeshText(Vec<MeshPiece>);

/// A piece of a [`MeshText`].
#[derive(Clone, PartialEq, Eq)]
pub enum MeshPiece {
    /// Characters as they are.
    Literal(Zeroizing<String>),
    /// A variable.
    Variable(MeshVariable),
}

/// A variable of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshVariable {
    name: String,
    default: Option<String>,
}

impl MeshVariable {
    /// Letters, digits, `_`, `-` and `.`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value if nobody gives one.
    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }
}

impl MeshText {
    /// Reads a text. Every text is one: what is no variable is meant for somebody else.
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let slashes = rest.len() - rest.trim_start_matches('\\').len();
            let after = &rest[slashes..];
            if let Some(inner) = after.strip_prefix("{{") {
                for _ in 0..slashes / 2 {
                    literal.push('\\');
                }
                if slashes % 2 == 1 {
                    literal.push_str("{{");
                    rest = inner;
                } else if let Some(found) = mesh_variable(after) {
                    if !literal.is_empty() {
                        pieces.push(MeshPiece::Literal(literal.clone()));
                        literal.clear();
                    }
                    rest = &after[found.length..];
                    pieces.push(MeshPiece::Variable(MeshVariable {
                        name: found.name.to_owned(),
                        default: found.default,
                    }));
                } else {
                    literal.push('{');
                    rest = &after[1..];
                }
                continue;
            }
            let taken = slashes.max(first.len_utf8());
            literal.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        if !literal.is_empty() {
            pieces.push(MeshPiece::Literal(literal));
        }
        Self(pieces)
    }

    /// These characters, whatever they look like.
    pub fn literal(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self(vec![MeshPiece::Literal(Zeroizing::new(text.to_owned()))])
    }

    /// The pieces, in order; no two literals are next to each other.
    pub fn pieces(&self) -> &[MeshPiece] {
        &self.0
    }

    /// Whether it has no characters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &MeshVariable> {
        self.0.iter().filter_map(|piece| match piece {
            MeshPiece::Variable(variable) => Some(variable),
            MeshPiece::Literal(_) => None,
        })
    }

    /// The text, where nothing in it is a variable.
    pub fn as_literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [MeshPiece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Puts values in the place of variables: what `lookup` gives, else the default. A value is not
    /// looked into.
    pub fn resolve<'v>(
        &self,
        lookup: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<Zeroizing<String>, UndefinedMeshVariable> {
        let mut parts = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            parts.push(match piece {
                MeshPiece::Literal(text) => text.as_str(),
                MeshPiece::Variable(variable) => lookup(&variable.name)
                    .or(variable.default.as_deref())
                    .ok_or_else(|| UndefinedMeshVariable {
                        name: variable.name.clone(),
                        place: None,
                    })?,
            });
        }
        // Room for all of it: a buffer that grows leaves copies behind.
        let length = parts.iter().map(|part| part.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for part in parts {
            text.push_str(part);
        }
        Ok(text)
    }

    /// The words of a command line. A variable is a part of one word, whatever its value. None: a
    /// quote is not closed.
    pub fn words(&self) -> Option<Vec<Self>> {
        let units = self.0.iter().flat_map(|piece| match piece {
            MeshPiece::Literal(text) => text.chars().map(Unit::Character).collect(),
            MeshPiece::Variable(variable) => vec![Unit::Piece(variable)],
        });
        let words = command::split(units)?.into_iter();
        Some(words.map(Self::of_units).collect())
    }

    fn of_units(units: Vec<Unit<&MeshVariable>>) -> Self {
        let mut pieces = Vec::new();
        for unit in units {
            match (unit, pieces.last_mut()) {
                (Unit::Piece(variable), _) => pieces.push(MeshPiece::Variable(variable.clone())),
                (Unit::Character(c), Some(MeshPiece::Literal(text))) => text.push(c),
                (Unit::Character(c), _) => {
                    pieces.push(MeshPiece::Literal(Zeroizing::new(c.to_string())));
                }
            }
        }
        Self(pieces)
    }

    /// The same text with other literals.
    pub(crate) fn map_literals(&self, mut map: impl FnMut(&str) -> Zeroizing<String>) -> Self {
        let pieces = self.0.iter().map(|piece| match piece {
            MeshPiece::Literal(text) => MeshPiece::Literal(map(text)),
            MeshPiece::Variable(variable) => MeshPiece::Variable(variable.clone()),
        });
        Self(pieces.collect())
    }

    /// The text in its one spelling, which [`Self::parse`] reads as this.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for (index, piece) in self.0.iter().enumerate() {
            match piece {
                MeshPiece::Literal(literal) => {
                    let before_variable = index + 1 < self.0.len();
                    escape(literal, before_variable, &mut text);
                }
                MeshPiece::Variable(MeshVariable { name, default }) => {
                    let default = default.as_ref().map_or_else(String::new, |value| {
                        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                        format!(" | default(value=\"{value}\") ")
                    });
                    // After a brace, two more would be read as the beginning of three.
                    let (open, close) = if text.ends_with('{') {
                        ("{{{", "}}}")
                    } else {
                        ("{{", "}}")
                    };
                    text.extend([open, name, &default, close]);
                }
            }
        }
        text
    }
}

/// Writes characters so that they are read as such, also where a variable follows.
fn escape(literal: &str, before_variable: bool, text: &mut String) {
    let mut rest = literal;
    while let Some(first) = rest.chars().next() {
        let slashes = rest.len() - rest.trim_start_matches('\\').len();
        let after = &rest[slashes..];
        let is_before_braces = after.starts_with("{{");
        let doubled = is_before_braces || (before_variable && after.is_empty());
        for _ in 0..slashes * if doubled { 2 } else { 1 } {
            text.push('\\');
        }
        if is_before_braces {
            text.push_str("\\{{");
            rest = &after[2..];
        } else if slashes > 0 {
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
}

impl fmt::Debug for MeshText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|piece| match piece {
                MeshPiece::Literal(_) => "…".to_owned(),
                MeshPiece::Variable(variable) => format!("{{{{{}}}}}", variable.name),
            }))
            .finish()
    }
}

/// A mesh variable without value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}the mesh variable `{{{{{name}}}}}` has no value: give it one in the Meshfile's `env`, or a default", .place.as_ref().map_or_else(String::new, |place| format!("{place}: ")))]
pub struct UndefinedMeshVariable {
    /// The variable.
    pub name: String,
    /// The field that needs it: `injection_files[0].content`.
    pub place: Option<String>,
}

impl UndefinedMeshVariable {
    /// Says where the variable stands.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        Self {
            place: Some(place.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        MeshText::parse(text)
            .resolve(|name| match name {
                "a" => Some("1"),
                "cas.cas.cas_url" => Some("cas:1"),
                "braces" => Some("{{a}}"),
                _ => None,
            })
            .map(|text| text.to_string())
            .map_err(|error| error.name)
    }

    #[test]
    fn variables_and_nothing_else_are_replaced() {
        for (text, expected) in [
            ("x{{a}}y", "x1y"),
            ("{{{a}}}", "1"),
            ("{{ a }}{{ b | default(value=\"d\") }}", "1d"),
            ("{{ b | default(value='it\\'s }}') }}", "it's }}"),
            ("{{ a | default( value = \"d\" )}}", "1"),
            ("{{cas.cas.cas_url}}", "cas:1"),
            ("{\"k\":{{a}}}", "{\"k\":1}"),
            ("{{{a}}", "{1"),
            ("\\{{a}} \\\\{{a}} \\\\\\{{a}}", "{{a}} \\1 \\{{a}}"),
            (
                "{{ with secret \"x\" }} {{}} \\n",
                "{{ with secret \"x\" }} {{}} \\n",
            ),
            ("{{braces}}", "{{a}}"),
            ("$$SCONE::x:pem$$ $${{a}}", "$$SCONE::x:pem$$ $$1"),
        ] {
            assert_eq!(resolved(text), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(resolved("{{a}}{{nobody}}"), Err("nobody".into()));
    }

    #[test]
    fn a_missing_value_is_named_with_its_place() {
        let error = MeshText::parse("{{b}}").resolve(|_| None).unwrap_err();
        let error = error.at("environment.local[0].value");
        assert_eq!(
            error.to_string(),
            "environment.local[0].value: the mesh variable `{{b}}` has no value: give it one in \
             the Meshfile's `env`, or a default"
        );
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        assert_eq!(
            format!("{:?}", MeshText::parse("hush{{a}}")),
            "[\"…\", \"{{a}}\"]"
        );
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(
            text in "([ab\\\\{} |]|\\{\\{a\\}\\}|\\{\\{\\{b\\}\\}\\}|\\{\\{ a \\| default\\(value=\"[ab\\\\}]{0,3}\"\\) \\}\\}){0,12}",
        ) {
            let parsed = MeshText::parse(&text);
            prop_assert_eq!(MeshText::parse(&parsed.to_text()), parsed.clone(), "{:?} {:?}", text, parsed.to_text());
            // What cannot be in a file can come from a value.
            let literal = MeshText::literal(&text);
            prop_assert_eq!(MeshText::parse(&literal.to_text()), literal);
        }

        #[test]
        fn references_to_secrets_are_left_alone(
            before in "[a{}\\\\ ]{0,6}",
            name in "[a-z_]{1,8}(:hex|\\.crt|:pem)?",
            value in "[a-z${}]{0,6}",
        ) {
            let text = format!("{before} $$SCONE::{name}$$ {{{{a}}}} $$MSE::{name}$$");
            let resolved = MeshText::parse(&text)
                .resolve(|name| (name == "a").then_some(value.as_str()))
                .unwrap();
            let scone = format!(" $$SCONE::{name}$$ ");
            let mse = format!(" $$MSE::{name}$$");
            prop_assert!(resolved.contains(&scone) && resolved.ends_with(&mse));
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let parsed = MeshText::parse(&text);
            prop_assert_eq!(MeshText::parse(&parsed.to_text()), parsed);
        }
    }
}
