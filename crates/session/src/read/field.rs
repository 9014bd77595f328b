//! A node with its place in the session, and the types that a field may have.

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::{Code, Spot, did_you_mean, shown};
use crate::model::{Feature, Hex, OrReference, SecretKey32};
use crate::read::{Fields, Reader};
use crate::reference::Reference;
use crate::template::{HostArguments, Template};
use crate::yaml::{Content, Node};

/// A node, and where it stands in the session.
#[derive(Clone)]
pub(crate) struct Field<'n> {
    pub(crate) node: &'n Node,
    pub(crate) spot: Spot,
}

impl<'n> Field<'n> {
    pub(crate) fn root(node: &'n Node) -> Self {
        let spot = Spot {
            path: String::new(),
            at: node.at,
        };
        Self { node, spot }
    }

    fn wrong_type(&self, r: &mut Reader, wanted: &str) {
        let message = format!(
            "{wanted} is expected, and this is {}",
            self.node.type_name()
        );
        r.report.error(Code::WrongType, &self.spot, message);
    }

    fn refuse_tag(&self, r: &mut Reader) -> Option<()> {
        let Some(tag) = &self.node.tag else {
            return Some(());
        };
        let message = format!("the tag `!{tag}` belongs to `store_in` only");
        r.report.error(Code::WrongType, &self.spot, message);
        None
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.content, Content::Map(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.content, Content::List(_))
    }

    /// The characters of a scalar, of whatever type; nothing is reported.
    pub(crate) fn scalar(&self) -> Option<&'n str> {
        match &self.node.content {
            Content::Scalar { text, .. } if !self.node.is_null() => Some(text.as_str()),
            _ => None,
        }
    }

    /// A text: not empty of type, without control characters but tabs and line ends.
    pub(crate) fn text(&self, r: &mut Reader) -> Option<&'n str> {
        self.refuse_tag(r)?;
        let Some(text) = self.scalar() else {
            self.wrong_type(r, "a text");
            return None;
        };
        if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            r.report.error(
                Code::BadValue,
                &self.spot,
                "a control character other than tab and line ends",
            );
            return None;
        }
        Some(text)
    }

    /// A text on one line, of at most `most` bytes.
    pub(crate) fn line(&self, r: &mut Reader, most: usize) -> Option<String> {
        let text = self.text(r)?;
        let why = if text.is_empty() {
            "it is empty".to_owned()
        } else if text.len() > most {
            format!("it has more than {most} bytes")
        } else if text.contains(['\n', '\r']) {
            "it has more than one line".to_owned()
        } else {
            return Some(text.to_owned());
        };
        r.report.error(Code::BadValue, &self.spot, why);
        None
    }

    /// An absolute path.
    pub(crate) fn path(&self, r: &mut Reader) -> Option<String> {
        let path = self.line(r, 4096)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let message = format!("`{}` is no absolute path without `..`", shown(&path));
            r.report.error(Code::BadValue, &self.spot, message);
            return None;
        }
        Some(path)
    }

    /// A text that `T` reads; its error says what is wrong.
    pub(crate) fn parse<T>(&self, r: &mut Reader, code: Code) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(r)?;
        self.or_report(r, code, text.parse())
    }

    pub(crate) fn or_report<T>(
        &self,
        r: &mut Reader,
        code: Code,
        result: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                r.report.error(code, &self.spot, error.to_string());
                None
            }
        }
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&self, r: &mut Reader, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(r)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = did_you_mean(text, &known).unwrap_or_else(|| {
            let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            format!("write one of {}", known.join(", "))
        });
        let message = format!("`{}` is not known here", shown(text));
        r.report
            .error_with(Code::BadValue, &self.spot, message, help);
        None
    }

    pub(crate) fn boolean(&self, r: &mut Reader) -> Option<bool> {
        self.refuse_tag(r)?;
        match &self.node.content {
            Content::Scalar {
                text,
                is_plain: true,
            } => match text.as_str() {
                "true" | "True" | "TRUE" => return Some(true),
                "false" | "False" | "FALSE" => return Some(false),
                _ => {}
            },
            Content::Scalar { .. } | Content::List(_) | Content::Map(_) => {}
        }
        r.report
            .error(Code::WrongType, &self.spot, "`true` or `false` is expected");
        None
    }

    /// A number that `T` can hold.
    pub(crate) fn number<T: FromStr>(&self, r: &mut Reader) -> Option<T> {
        let text = self.text(r)?;
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        if number.is_none() {
            let message = format!("`{}` is no number that can stand here", shown(text));
            r.report.error(Code::BadValue, &self.spot, message);
        }
        number
    }

    /// The items of a list.
    pub(crate) fn items(&self, r: &mut Reader) -> Vec<Field<'n>> {
        if self.refuse_tag(r).is_none() {
            return Vec::new();
        }
        let Content::List(items) = &self.node.content else {
            self.wrong_type(r, "a list");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, node)| Field {
                node,
                spot: Spot {
                    path: format!("{}[{index}]", self.spot.path),
                    at: node.at,
                },
            })
            .collect()
    }

    /// The items of a list, or the one thing that stands in its place.
    pub(crate) fn one_or_many(&self, r: &mut Reader) -> Vec<Field<'n>> {
        if self.is_list() {
            self.items(r)
        } else {
            vec![self.clone()]
        }
    }

    pub(crate) fn map(&self, r: &mut Reader) -> Option<Fields<'n>> {
        self.refuse_tag(r)?;
        self.map_with_tag(r)
    }

    /// As [`Self::map`], where a tag says what the map is.
    pub(crate) fn map_with_tag(&self, r: &mut Reader) -> Option<Fields<'n>> {
        let Content::Map(entries) = &self.node.content else {
            self.wrong_type(r, "a map");
            return None;
        };
        Some(Fields::new(self.spot.clone(), entries))
    }

    /// A text with references.
    pub(crate) fn template(&self, r: &mut Reader, host: HostArguments) -> Option<Template> {
        let text = self.text(r)?;
        self.template_of(r, text, host)
    }

    pub(crate) fn template_of(
        &self,
        r: &mut Reader,
        text: &str,
        host: HostArguments,
    ) -> Option<Template> {
        let parsed = Template::parse(text, host);
        let parsed = self.or_report(r, Code::BadReference, parsed)?;
        for reference in &parsed.unterminated {
            r.report.warn(
                Code::UnterminatedReference,
                &self.spot,
                format!("the reference to `{}` has no end", reference.body()),
                format!("write `$$SCONE::{}$$`", reference.body()),
            );
        }
        let mut template = parsed.template;
        for reference in template.references_mut() {
            r.resolve(reference, &self.spot);
        }
        Some(template)
    }

    /// The reference, if the field is one and nothing else: then it comes from a secret.
    pub(crate) fn reference(&self, r: &mut Reader) -> Option<Reference> {
        let text = self.scalar()?.trim();
        if !text.starts_with("$$") || self.node.tag.is_some() {
            return None;
        }
        let parsed = Template::parse(text, HostArguments::Literal).ok()?;
        let mut reference = parsed.template.as_reference()?.clone();
        r.resolve(&mut reference, &self.spot);
        Some(reference)
    }

    /// A section, or something in one, that may come from a secret.
    pub(crate) fn or_reference<T>(
        &self,
        r: &mut Reader,
        read: impl FnOnce(&Self, &mut Reader) -> Option<T>,
    ) -> Option<OrReference<T>> {
        if let Some(reference) = self.reference(r) {
            r.uses(Feature::SectionReferences, &self.spot);
            return Some(OrReference::From(reference));
        }
        read(self, r).map(OrReference::Given)
    }

    /// A file system's key: 64 hex digits, or from a secret.
    pub(crate) fn file_system_key(&self, r: &mut Reader) -> Option<OrReference<SecretKey32>> {
        if let Some(reference) = self.reference(r) {
            r.uses(Feature::FspfKeyReference, &self.spot);
            return Some(OrReference::From(reference));
        }
        let key = SecretKey32::from_hex(self.text(r)?);
        if key.is_none() {
            r.report.error(
                Code::BadValue,
                &self.spot,
                "a key is 64 hex digits, or a reference to a binary secret",
            );
        } else {
            self.warn_of_explicit(r, "the key");
        }
        key.map(OrReference::Given)
    }

    /// A file system's tag: 32 hex digits.
    pub(crate) fn file_system_tag(&self, r: &mut Reader) -> Option<Hex<16>> {
        self.parse(r, Code::BadValue)
    }

    pub(crate) fn warn_of_explicit(&self, r: &mut Reader, what: &str) {
        r.report.warn(
            Code::ExplicitSecret,
            &self.spot,
            format!("{what} stands in the text, where everybody who handles it reads it"),
            "let the CAS generate it, or encrypt the session",
        );
    }
}
