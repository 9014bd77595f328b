//! Texts with references in them: commands, environment, files, values.

use std::fmt;

use mse_crypto::Zeroizing;

use crate::reference::{ESCAPE_JSON, Escape, Reference};

/// A text in which references stand for what only the CAS knows.
///
/// `Debug` shows the references only: what is between them may be secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Piece>);

/// A piece of a [`Template`].
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Characters as they are.
    Literal(Zeroizing<String>),
    /// A reference.
    Reference(Reference),
    /// `@@N`: the N-th word of the command line that the host gives, from 1.
    HostArgument(u16),
}

/// Whether a text may ask for words of the host's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostArguments {
    /// `@@N` is a reference: in commands.
    Allowed,
    /// `@@N` is text.
    Literal,
}

impl Template {
    /// Reads a text. What is odd but has a meaning is in [`Parsed::unterminated`].
    pub fn parse(text: &str, host_arguments: HostArguments) -> Result<Parsed, InvalidReference> {
        let mut pieces = Vec::new();
        let mut unterminated = Vec::new();
        let mut literal = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = if let Some(prefix) = prefix_of(rest) {
                let (reference, after, end) = reference(rest, prefix)?;
                if end == End::Missing {
                    unterminated.push(reference.clone());
                }
                (Piece::Reference(reference), after)
            } else if host_arguments == HostArguments::Allowed
                && let Some((number, after)) = host_argument(rest)?
            {
                (Piece::HostArgument(number), after)
            } else {
                let length = rest.chars().next().map_or(0, char::len_utf8);
                let (one, after) = rest.split_at(length);
                literal.push_str(one);
                rest = after;
                continue;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.clone()));
                literal.clear();
            }
            pieces.push(piece);
            rest = after;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Parsed {
            template: Self(pieces),
            unterminated,
        })
    }

    /// The pieces, in order; no two literals are next to each other.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The references, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Literal(_) | Piece::HostArgument(_) => None,
        })
    }

    pub(crate) fn references_mut(&mut self) -> impl Iterator<Item = &mut Reference> {
        self.0.iter_mut().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Literal(_) | Piece::HostArgument(_) => None,
        })
    }

    /// The words of the host's command line that it wants.
    pub fn host_arguments(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::HostArgument(number) => Some(*number),
            Piece::Literal(_) | Piece::Reference(_) => None,
        })
    }

    /// The reference, where the text is one and nothing else.
    pub fn as_reference(&self) -> Option<&Reference> {
        match self.0.as_slice() {
            [Piece::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// The text, where nothing in it is a reference.
    pub fn as_literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Puts values in the place of references. A value is not looked into: references in it stay
    /// text.
    ///
    /// `secret` gives the bytes of a reference in the form that it asks for, before any escaping;
    /// `host` gives a word of the host's command line.
    pub fn render<E>(
        &self,
        mut secret: impl FnMut(&Reference) -> Result<Zeroizing<Vec<u8>>, E>,
        mut host: impl FnMut(u16) -> Result<String, E>,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError<E>> {
        let mut values = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            values.push(match piece {
                Piece::Literal(text) => Zeroizing::new(text.as_bytes().to_vec()),
                Piece::HostArgument(number) => {
                    Zeroizing::new(host(*number).map_err(RenderError::Value)?.into_bytes())
                }
                Piece::Reference(reference) => {
                    let value = secret(reference).map_err(RenderError::Value)?;
                    match reference.escape() {
                        Escape::None => value,
                        Escape::Json => json_escaped(&value)
                            .ok_or_else(|| RenderError::NotText(reference.clone()))?,
                    }
                }
            });
        }
        // Room for all of it: a buffer that grows leaves copies behind.
        let length = values.iter().map(|value| value.len()).sum();
        let mut rendered = Zeroizing::new(Vec::with_capacity(length));
        for value in &values {
            rendered.extend_from_slice(value);
        }
        Ok(rendered)
    }

    /// The text, with references as `$$MSE::…$$`.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Reference(reference) => text.push_str(&reference.to_string()),
                Piece::HostArgument(number) => text.push_str(&["@@", &number.to_string()].concat()),
            }
        }
        text
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|piece| match piece {
                Piece::Literal(_) => "…".to_owned(),
                Piece::Reference(reference) => reference.to_string(),
                Piece::HostArgument(number) => format!("@@{number}"),
            }))
            .finish()
    }
}

/// A [`Template`] that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The template.
    pub template: Template,
    /// References without closing dollars, as they were written before version 0.3.
    pub unterminated: Vec<Reference>,
}

/// Why a text has a reference that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// No name, or one with other characters.
    #[error("a reference is `$$SCONE::name:format$$`: {0}")]
    Name(#[from] crate::model::InvalidName),
    /// Something between the name and the closing dollars.
    #[error("`{0}` is no filter: `|escape(json)` is the only one")]
    Filter(String),
    /// `@@0`, or a number that is too large.
    #[error("`@@{0}` is no word of the host's command line: they are counted from 1 to 999")]
    HostArgument(String),
}

/// Why a template has no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError<E> {
    /// A reference has none.
    #[error(transparent)]
    Value(E),
    /// Only text can be escaped for JSON.
    #[error(
        "`{0}` is not UTF-8 text, so it cannot stand in JSON: choose a format such as `:base64`"
    )]
    NotText(Reference),
}

#[derive(PartialEq, Eq)]
enum End {
    Present,
    Missing,
}

fn prefix_of(text: &str) -> Option<&'static str> {
    ["$$SCONE::", "$$MSE::"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))
}

fn reference<'t>(
    text: &'t str,
    prefix: &str,
) -> Result<(Reference, &'t str, End), InvalidReference> {
    let inner = &text[prefix.len()..];
    let length = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.~:".contains(c)))
        .unwrap_or(inner.len());
    let (body, after) = inner.split_at(length);
    let (escape, after) = match after.strip_prefix(ESCAPE_JSON) {
        Some(after) => (Escape::Json, after),
        None => (Escape::None, after),
    };
    if let Some(after) = after.strip_prefix("$$") {
        return Ok((Reference::parse_body(body, escape)?, after, End::Present));
    }
    if let Some(filter) = after.strip_prefix('|') {
        let filter: String = filter.chars().take_while(|c| *c != '$').take(40).collect();
        return Err(InvalidReference::Filter(format!("|{filter}")));
    }
    // As it was once written: the name ends where its characters end.
    let length = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)))
        .unwrap_or(inner.len());
    let (name, after) = inner.split_at(length);
    Ok((
        Reference::parse_body(name, Escape::None)?,
        after,
        End::Missing,
    ))
}

fn host_argument(text: &str) -> Result<Option<(u16, &str)>, InvalidReference> {
    let Some(inner) = text.strip_prefix("@@") else {
        return Ok(None);
    };
    let length = inner
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(inner.len());
    let (digits, after) = inner.split_at(length);
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse() {
        Ok(number @ 1..1000) if !digits.starts_with('0') => Ok(Some((number, after))),
        _ => Err(InvalidReference::HostArgument(
            digits.chars().take(20).collect(),
        )),
    }
}

fn json_escaped(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(value).ok()?;
    let quoted = Zeroizing::new(serde_json::to_string(text).ok()?);
    let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
    Some(Zeroizing::new(inside.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Template {
        Template::parse(text, HostArguments::Allowed)
            .unwrap()
            .template
    }

    fn rendered(text: &str, value: &[u8]) -> Vec<u8> {
        parse(text)
            .render::<()>(
                |_| Ok(Zeroizing::new(value.to_vec())),
                |number| Ok(format!("<{number}>")),
            )
            .unwrap()
            .to_vec()
    }

    #[test]
    fn values_take_the_place_of_references() {
        assert_eq!(rendered("a $$SCONE::x:hex$$b@@2c", b"V"), b"a Vb<2>c");
        assert_eq!(rendered("$$MSE::x$$$$SCONE::y.crt$$", b"V"), b"VV");
        assert_eq!(rendered("$$$SCONE::x$$$", b"V"), b"$V$");
        // A value is not looked into.
        assert_eq!(rendered("$$SCONE::x$$", b"$$SCONE::y$$"), b"$$SCONE::y$$");
        assert_eq!(rendered("me@@home @@", b""), b"me@@home @@");
    }

    #[test]
    fn json_cannot_be_broken_out_of() {
        let value = "\"\n\\\u{1}$$SCONE::y$$";
        let text = rendered("{\"k\":\"$$SCONE::x|escape(json)$$\"}", value.as_bytes());
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json, serde_json::json!({ "k": value }));
        let error = parse("$$SCONE::x|escape(json)$$")
            .render::<()>(|_| Ok(Zeroizing::new(vec![0xff])), |_| Err(()))
            .unwrap_err();
        assert!(matches!(error, RenderError::NotText(_)));
    }

    #[test]
    fn old_references_end_with_their_name() {
        let parsed = Template::parse("x$$SCONE::password/y", HostArguments::Literal).unwrap();
        assert_eq!(parsed.unterminated.len(), 1);
        assert_eq!(*parsed.template.to_text(), "x$$MSE::password$$/y");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in [
            "$$SCONE::$$",
            "$$SCONE::",
            "$$SCONE::a|upper$$",
            "@@0",
            "@@1000",
            "@@01",
        ] {
            assert!(
                Template::parse(bad, HostArguments::Allowed).is_err(),
                "{bad}"
            );
        }
        assert!(Template::parse("@@0", HostArguments::Literal).is_ok());
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(text in "([a$@:|]|\\$\\$|SCONE::|MSE::|@@1|\\|escape\\(json\\)){0,12}") {
            if let Ok(parsed) = Template::parse(&text, HostArguments::Allowed) {
                let again = Template::parse(&parsed.template.to_text(), HostArguments::Allowed);
                if parsed.unterminated.is_empty() {
                    prop_assert_eq!(again.unwrap().template, parsed.template);
                }
            }
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Template::parse(&text, HostArguments::Allowed);
        }
    }
}
