//! The part of YAML that sessions are written in, with the place of every node.
//!
//! One document of maps, lists and scalars. Keys are scalars and occur once. Anchors and aliases
//! are followed within the budget of nodes; merge keys and tags (but `!cas`, `!akv` and `!!str`)
//! are not known. Plain scalars are `null`, `true`, `false` and numbers as in YAML 1.2, and texts
//! where a field wants a text: `version: 0.3` is what it looks like.

use std::collections::BTreeMap;

use mse_crypto::Zeroizing;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::{Code, Position, Report, Severity, Spot, shown};
use crate::variables::{Covered, Uncovering, Variables};

/// Bytes of a session's text.
pub const MAX_BYTES: usize = 1024 * 1024;
/// How deep maps and lists may stand in each other.
pub(crate) const MAX_DEPTH: usize = 32;
/// Maps, lists and scalars, keys among them, and those behind aliases counted each time.
pub(crate) const MAX_NODES: usize = 20_000;

/// A node of the document.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) at: Option<Position>,
    pub(crate) content: Content,
    /// The suffix of a tag `!suffix`.
    pub(crate) tag: Option<String>,
}

#[derive(Clone)]
pub(crate) enum Content {
    Scalar {
        text: Zeroizing<String>,
        /// Without quotes, so that `true` and `~` are no texts.
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Option<Position>,
    pub(crate) value: Node,
}

impl Node {
    /// `~`, `null`, or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        self.tag.is_none()
            && matches!(&self.content, Content::Scalar { text, is_plain: true }
                if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What the node is, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.content {
            _ if self.is_null() => "nothing",
            Content::Scalar { .. } => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// Nodes in it, itself included.
    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => items.iter().map(Self::size).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }

    /// How deep maps and lists stand in each other.
    fn depth(&self) -> usize {
        match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Content::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.value.depth())
                    .max()
                    .unwrap_or(0)
            }
        }
    }
}

/// Reads `text`; what is wrong goes into `report`, and without a syntax error there is a node.
pub(crate) fn parse(text: &str, variables: &Variables, report: &mut Report) -> Option<Node> {
    let whole = Spot {
        path: String::new(),
        at: None,
    };
    if text.len() > MAX_BYTES {
        report.error_with(
            Code::TooLarge,
            &whole,
            format!("the text has {} bytes", text.len()),
            format!("a session has at most {MAX_BYTES}"),
        );
        return None;
    }
    let covered = match Covered::cover(text, variables) {
        Ok(covered) => covered,
        Err(at) => {
            report.error(
                Code::Syntax,
                &spot(Some(at)),
                "private-use characters of the planes 15 and 16, or too many variables",
            );
            return None;
        }
    };
    let mut builder = Builder {
        covered: &covered,
        report,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(&covered.text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let marker = error.marker();
                let at = Position {
                    line: marker.line(),
                    column: marker.col() + 1,
                };
                let what = error.info().chars().filter(|c| u32::from(*c) < 0xF_0000);
                let what = what.collect::<String>();
                builder
                    .report
                    .error(Code::Syntax, &spot(Some(at)), format!("not YAML: {what}"));
                return None;
            }
        }
    }
    if builder.root.is_none() {
        report.error(Code::Syntax, &whole, "the document is empty");
        return None;
    }
    builder.root
}

struct Builder<'a> {
    covered: &'a Covered<'a>,
    report: &'a mut Report,
    open: Vec<Open>,
    /// Finished nodes only: an alias inside its own anchor finds nothing.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A map or list that is being read.
struct Open {
    node: Node,
    anchor: usize,
    /// In a map: the key whose value comes next.
    key: Option<(String, Option<Position>)>,
    /// In a map: the lines of the keys so far.
    seen: BTreeMap<String, usize>,
}

impl Builder<'_> {
    /// None: it cannot go on, and the report says why.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = Some(Position {
            line: span.start.line(),
            column: span.start.col() + 1,
        });
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = self.tag(tag.as_deref(), at)?;
                let text = self.uncover(&text, at);
                let is_plain = style == ScalarStyle::Plain && tag.as_deref() != Some("!str");
                let tag = tag.filter(|tag| tag != "!str");
                let content = Content::Scalar { text, is_plain };
                self.finish(Node { at, content, tag }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return self.fail(Code::Syntax, at, "an alias for something that it is in");
                };
                self.nodes += node.size();
                if self.open.len() + node.depth() > MAX_DEPTH {
                    return self.fail(
                        Code::TooLarge,
                        at,
                        format!("maps and lists deeper than {MAX_DEPTH}"),
                    );
                }
                self.finish(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = self.tag(tag.as_deref(), at)?;
                self.begin(Content::List(Vec::new()), anchor, tag, at)
            }
            Event::MappingStart(anchor, tag) => {
                let tag = self.tag(tag.as_deref(), at)?;
                self.begin(Content::Map(Vec::new()), anchor, tag, at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser closes what it opened");
                self.finish(open.node, open.anchor)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                self.fail(Code::Syntax, at, "a second document: a session is one")
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Some(()),
        }
    }

    fn begin(
        &mut self,
        content: Content,
        anchor: usize,
        tag: Option<String>,
        at: Option<Position>,
    ) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            return self.fail(
                Code::TooLarge,
                at,
                format!("maps and lists deeper than {MAX_DEPTH}"),
            );
        }
        self.open.push(Open {
            node: Node { at, content, tag },
            anchor,
            key: None,
            seen: BTreeMap::new(),
        });
        Some(())
    }

    /// Puts a whole node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values");
            return self.fail(Code::TooLarge, node.at, message);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match (&mut open.node.content, open.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some((key, at))) => {
                let line = at.map_or(0, |at| at.line);
                if let Some(line) = open.seen.get(&key) {
                    let message = format!("`{}` stands in line {line} already", shown(&key));
                    self.report.error(Code::DuplicateKey, &spot(at), message);
                } else {
                    open.seen.insert(key.clone(), line);
                    entries.push(Entry {
                        key,
                        at,
                        value: node,
                    });
                }
            }
            (Content::Map(_), None) => match node.content {
                Content::Scalar { text, .. } => open.key = Some((text.to_string(), node.at)),
                Content::List(_) | Content::Map(_) => {
                    return self.fail(
                        Code::Syntax,
                        node.at,
                        "a map or list where a key is expected",
                    );
                }
            },
            (Content::Scalar { .. }, _) => unreachable!("scalars are never open"),
        }
        Some(())
    }

    /// The outer None: it is not known, and that was reported.
    #[allow(clippy::option_option)]
    fn tag(&mut self, tag: Option<&Tag>, at: Option<Position>) -> Option<Option<String>> {
        let Some(tag) = tag else { return Some(None) };
        match (tag.handle.as_str(), tag.suffix.as_str()) {
            ("!", suffix @ ("cas" | "akv")) => Some(Some(suffix.to_owned())),
            // `! text` is YAML's other way to say that it is a text.
            ("tag:yaml.org,2002:", "str") | ("", "!") => Some(Some("!str".to_owned())),
            _ => self
                .fail(Code::Syntax, at, "a tag that sessions do not have")
                .map(|()| None),
        }
    }

    fn uncover(&mut self, scalar: &str, at: Option<Position>) -> Zeroizing<String> {
        let mut found = Vec::new();
        let text = Zeroizing::new(self.covered.uncover(scalar, &mut found));
        for one in found {
            match one {
                Uncovering::Undefined(name) => self.report.error_with(
                    Code::UndefinedVariable,
                    &spot(at),
                    format!("the variable `{name}` has no value"),
                    format!("give it one, or write `\\${name}` for these characters"),
                ),
                Uncovering::Mustache(written) => {
                    let severity = if self.covered.is_template() {
                        Severity::Error
                    } else {
                        Severity::Warning
                    };
                    self.report.push(
                        severity,
                        Code::TemplateLeft,
                        &spot(at),
                        format!(
                            "`{}` is for the mesh builder, which has not replaced it",
                            shown(&written)
                        ),
                        Some("build the mesh first, or write `\\{{` for these characters".into()),
                    );
                }
            }
        }
        text
    }

    fn fail(&mut self, code: Code, at: Option<Position>, message: impl Into<String>) -> Option<()> {
        self.report.error(code, &spot(at), message);
        None
    }
}

fn spot(at: Option<Position>) -> Spot {
    Spot {
        path: String::new(),
        at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<(Code, Option<usize>, Option<usize>)> {
        let mut report = Report::default();
        parse(text, &Variables::new(), &mut report);
        report
            .finish()
            .into_iter()
            .map(|one| (one.code, one.line, one.column))
            .collect()
    }

    #[test]
    fn faults_have_places() {
        for (text, code, line, column) in [
            ("a: 1\nb: 2\na: 3\n", Code::DuplicateKey, 3, 1),
            ("a: $X\n", Code::UndefinedVariable, 1, 4),
            ("\na: [x, ${Y}]\n", Code::UndefinedVariable, 2, 8),
            ("name: {{session}}\n", Code::TemplateLeft, 1, 7),
            ("a: &x [*x]\n", Code::Syntax, 1, 8),
            ("? [a]\n: b\n", Code::Syntax, 1, 3),
            ("a: !!binary aGk=\n", Code::Syntax, 1, 4),
            ("a: 1\n---\nb: 2\n", Code::Syntax, 2, 1),
        ] {
            assert_eq!(faults(text), [(code, Some(line), Some(column))], "{text}");
        }
        assert_eq!(faults("a: [1\n")[0].0, Code::Syntax);
        assert_eq!(faults("a: \"x\n")[0].0, Code::Syntax);
        assert_eq!(faults(""), [(Code::Syntax, None, None)]);
        assert_eq!(faults("# $X and {{y}} in a comment\na: b\n"), []);
    }

    #[test]
    fn budgets_hold() {
        let deep = |count: usize| format!("a: {}{}", "[".repeat(count), "]".repeat(count));
        assert_eq!(faults(&deep(MAX_DEPTH - 1)), []);
        assert_eq!(faults(&deep(MAX_DEPTH))[0].0, Code::TooLarge);
        // The scanner stops before the reader does.
        assert_eq!(faults(&deep(100_000))[0].0, Code::Syntax);
        let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)
        });
        assert_eq!(faults(&bomb)[0].0, Code::TooLarge);
        assert_eq!(faults(&"- x\n".repeat(MAX_NODES))[0].0, Code::TooLarge);
        assert_eq!(faults(&" ".repeat(MAX_BYTES + 1))[0].0, Code::TooLarge);
    }

    #[test]
    fn a_value_cannot_add_structure() {
        let variables = Variables::new().with("V", "x\nb: 2\n");
        let mut report = Report::default();
        let node = parse("a: $V\n", &variables, &mut report).unwrap();
        let Content::Map(entries) = &node.content else {
            panic!("a map");
        };
        assert_eq!(entries.len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ \\n\\t:\\-\\[\\]{}&*!|>'\"%@`#,?a-c0$\\\\]{0,120}") {
            faults(&text);
        }

        #[test]
        fn never_panics_on_anything(text in any::<String>()) {
            faults(&text);
        }
    }
}
