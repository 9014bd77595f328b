//! A node where a value of some type is expected.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Zeroizing;

use crate::command;
use crate::diagnostic::{Code, Report, Spot, did_you_mean, shown};
use crate::fields::Fields;
use crate::node::{Content, Node};

/// What collects diagnostics, besides whatever else it knows about the document.
pub trait Reporting {
    /// Where they go.
    fn report(&mut self) -> &mut Report;
}

impl Reporting for Report {
    fn report(&mut self) -> &mut Report {
        self
    }
}

/// A node, and where it stands in the document.
///
/// Where the node is not of the type that is asked for, that is reported and nothing comes out. A
/// scalar with a variable that has no value is of no type: nothing comes out, and the variable has
/// been reported.
#[derive(Clone)]
pub struct Field<'n> {
    /// The node.
    pub node: &'n Node,
    /// Where it stands.
    pub spot: Spot,
}

impl<'n> Field<'n> {
    /// The whole document.
    pub fn root(node: &'n Node) -> Self {
        let spot = Spot {
            path: String::new(),
            at: node.at,
        };
        Self { node, spot }
    }

    fn wrong_type(&self, r: &mut impl Reporting, wanted: &str) {
        let message = format!(
            "{wanted} is expected, and this is {}",
            self.node.type_name()
        );
        r.report().error(Code::WrongType, &self.spot, message);
    }

    fn refuse_tag(&self, r: &mut impl Reporting) -> Option<()> {
        let Some(tag) = &self.node.tag else {
            return Some(());
        };
        let message = format!("the tag `!{tag}` does not belong here");
        r.report().error(Code::WrongType, &self.spot, message);
        None
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.node.content, Content::Map(_))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.content, Content::List(_))
    }

    /// The characters of a scalar, of whatever type; nothing is reported.
    pub fn scalar(&self) -> Option<&'n str> {
        match &self.node.content {
            Content::Scalar { text, .. } if !self.node.is_null() && !self.node.is_open() => {
                Some(text.as_str())
            }
            _ => None,
        }
    }

    /// A text: not empty of type, without control characters but tabs and line ends.
    pub fn text(&self, r: &mut impl Reporting) -> Option<&'n str> {
        self.refuse_tag(r)?;
        if self.node.is_open() {
            return None;
        }
        let Some(text) = self.scalar() else {
            self.wrong_type(r, "a text");
            return None;
        };
        if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            r.report().error(
                Code::BadValue,
                &self.spot,
                "a control character other than tab and line ends",
            );
            return None;
        }
        Some(text)
    }

    /// A command line in which each value of a variable is a part of one word, whatever is in it.
    pub fn command_line(&self, r: &mut impl Reporting) -> Option<Zeroizing<String>> {
        let text = self.text(r)?;
        let given = match &self.node.content {
            Content::Scalar { given, .. } => given.as_slice(),
            Content::List(_) | Content::Map(_) => &[],
        };
        self.prove_no_host_word(r)?;
        Some(Zeroizing::new(command::quoted(text, given)))
    }

    /// Refuses a word of a command that asks the host because of a variable's value.
    pub fn prove_no_host_word(&self, r: &mut impl Reporting) -> Option<()> {
        let Content::Scalar { text, given, .. } = &self.node.content else {
            return Some(());
        };
        if !command::asks_host(text, given) {
            return Some(());
        }
        r.report().error_with(
            Code::BadValue,
            &self.spot,
            "the value of a variable makes `@@N`, and the host would say what stands there",
            "give another value, or write `@@N` into the command itself",
        );
        None
    }

    /// A text on one line, of at most `most` bytes.
    pub fn line(&self, r: &mut impl Reporting, most: usize) -> Option<String> {
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
        r.report().error(Code::BadValue, &self.spot, why);
        None
    }

    /// An absolute path.
    pub fn path(&self, r: &mut impl Reporting) -> Option<String> {
        let path = self.line(r, 4096)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let message = format!("`{}` is no absolute path without `..`", shown(&path));
            r.report().error(Code::BadValue, &self.spot, message);
            return None;
        }
        Some(path)
    }

    /// A text that `T` reads; its error says what is wrong.
    pub fn parse<T>(&self, r: &mut impl Reporting, code: Code) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(r)?;
        self.or_report(r, code, text.parse())
    }

    /// The value, or what is wrong with the text that it was read from.
    pub fn or_report<T>(
        &self,
        r: &mut impl Reporting,
        code: Code,
        result: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                r.report().error(code, &self.spot, error.to_string());
                None
            }
        }
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, r: &mut impl Reporting, words: &[(&str, T)]) -> Option<T> {
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
        r.report()
            .error_with(Code::BadValue, &self.spot, message, help);
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, r: &mut impl Reporting) -> Option<bool> {
        self.refuse_tag(r)?;
        match &self.node.content {
            _ if self.node.is_open() => return None,
            Content::Scalar {
                text,
                is_plain: true,
                ..
            } => match text.as_str() {
                "true" | "True" | "TRUE" => return Some(true),
                "false" | "False" | "FALSE" => return Some(false),
                _ => {}
            },
            Content::Scalar { .. } | Content::List(_) | Content::Map(_) => {}
        }
        r.report()
            .error(Code::WrongType, &self.spot, "`true` or `false` is expected");
        None
    }

    /// A number that `T` can hold.
    pub fn number<T: FromStr>(&self, r: &mut impl Reporting) -> Option<T> {
        let text = self.text(r)?;
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        if number.is_none() {
            let message = format!("`{}` is no number that can stand here", shown(text));
            r.report().error(Code::BadValue, &self.spot, message);
        }
        number
    }

    /// The items of a list.
    pub fn items(&self, r: &mut impl Reporting) -> Vec<Field<'n>> {
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
    pub fn one_or_many(&self, r: &mut impl Reporting) -> Vec<Field<'n>> {
        if self.is_list() {
            self.items(r)
        } else {
            vec![self.clone()]
        }
    }

    /// The entries of a map.
    pub fn map(&self, r: &mut impl Reporting) -> Option<Fields<'n>> {
        self.refuse_tag(r)?;
        self.map_with_tag(r)
    }

    /// As [`Self::map`], where a tag says what the map is.
    pub fn map_with_tag(&self, r: &mut impl Reporting) -> Option<Fields<'n>> {
        let Content::Map(entries) = &self.node.content else {
            self.wrong_type(r, "a map");
            return None;
        };
        Some(Fields::new(self.spot.clone(), entries))
    }
}
