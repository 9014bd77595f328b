//! The part of YAML that is read, with the place of every node.
//!
//! One document of maps, lists and scalars. Keys are scalars and occur once. Anchors and aliases
//! are followed within the budget of nodes; merge keys and tags (but `!!str` and those of the
//! [`Language`]) are not known. Plain scalars are `null`, `true`, `false` and numbers as in YAML 1.2, and texts
//! where a field wants a text: `version: 0.3` is what it looks like.

use std::collections::BTreeMap;
use std::ops::Range;

use mse_crypto::Zeroizing;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::Value;

use crate::diagnostic::{Code, Position, Report, Severity, Spot, shown};
use crate::variables::{Covered, Uncovering, Undefined, Variables};

/// Bytes of a document's text.
pub const MAX_BYTES: usize = 1024 * 1024;
/// How deep maps and lists may stand in each other.
pub(crate) const MAX_DEPTH: usize = 32;
/// Maps, lists and scalars, keys among them, and those behind aliases counted each time.
pub(crate) const MAX_NODES: usize = 20_000;
/// Bytes of all scalars, those behind aliases counted each time.
pub(crate) const MAX_SCALARS: usize = 8 * MAX_BYTES;
/// Nodes that are kept for aliases: those in anchors that stand in each other count in each.
const MAX_KEPT_NODES: usize = 4 * MAX_NODES;

/// What the documents of a kind have of their own.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// `a session`: for messages.
    pub document: &'static str,
    /// The suffixes of the tags `!suffix` that it has.
    pub tags: &'static [&'static str],
    /// What becomes of `{{name}}`.
    pub mesh_variables: MeshVariables,
}

/// What becomes of `{{name}}`, which is for the mesh builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshVariables {
    /// It should have been replaced: an error in a template, a warning in a final text.
    /// `\\{{` is `{{`.
    Refused,
    /// It stays, quoted or not, and so does `\\{{`: the reader of the text understands both.
    Kept,
}

/// A node of the document.
#[derive(Clone)]
pub struct Node {
    /// Where it stands; None for what did not come from a text.
    pub at: Option<Position>,
    /// What it is.
    pub content: Content,
    /// The suffix of a tag `!suffix`.
    pub tag: Option<String>,
}

/// What a [`Node`] is.
#[derive(Clone)]
pub enum Content {
    /// A single value.
    Scalar {
        /// Its characters.
        text: Zeroizing<String>,
        /// Without quotes, so that `true` and `~` are no texts.
        is_plain: bool,
        /// With a variable that has no value, which was reported.
        is_open: bool,
        /// Where in it the values of variables stand.
        given: Vec<Range<usize>>,
    },
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Option<Position>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The same in JSON, whose depth serde_json has bounded.
    pub fn from_json(value: &Value) -> Self {
        let scalar = |text: String, is_plain| Content::Scalar {
            text: Zeroizing::new(text),
            is_plain,
            is_open: false,
            given: Vec::new(),
        };
        let content = match value {
            Value::Null => scalar(String::new(), true),
            Value::Bool(value) => scalar(value.to_string(), true),
            Value::Number(value) => scalar(value.to_string(), true),
            Value::String(value) => scalar(value.clone(), false),
            Value::Array(items) => Content::List(items.iter().map(Self::from_json).collect()),
            Value::Object(entries) => Content::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        at: None,
                        value: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self {
            at: None,
            content,
            tag: None,
        }
    }

    /// `~`, `null`, or nothing at all.
    pub fn is_null(&self) -> bool {
        self.tag.is_none()
            && matches!(&self.content, Content::Scalar { text, is_plain: true, is_open: false, .. }
                if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether a variable in it has no value, so that nobody knows yet what it is.
    pub fn is_open(&self) -> bool {
        matches!(&self.content, Content::Scalar { is_open: true, .. })
    }

    /// What the node is, for messages.
    pub fn type_name(&self) -> &'static str {
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

    /// Bytes of the scalars in it.
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Scalar { text, .. } => text.len(),
            Content::List(items) => items.iter().map(Self::bytes).sum(),
            Content::Map(entries) => entries
                .iter()
                .map(|entry| entry.key.len() + entry.value.bytes())
                .sum(),
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
pub fn parse(
    text: &str,
    language: &Language,
    variables: &Variables,
    report: &mut Report,
) -> Option<Node> {
    let whole = Spot::default();
    if text.len() > MAX_BYTES {
        report.error_with(
            Code::TooLarge,
            &whole,
            format!("the text has {} bytes", text.len()),
            format!("{} has at most {MAX_BYTES}", language.document),
        );
        return None;
    }
    let covered = match Covered::cover(text, variables, language.mesh_variables) {
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
        language,
        covered: &covered,
        report,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        bytes: 0,
        kept_nodes: 0,
        kept_bytes: 0,
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
    language: &'a Language,
    covered: &'a Covered<'a>,
    report: &'a mut Report,
    open: Vec<Open>,
    /// Finished nodes only: an alias inside its own anchor finds nothing.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    /// What is in `anchors`: each level of anchors has a copy of all below.
    kept_nodes: usize,
    kept_bytes: usize,
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
                let Scalar {
                    text,
                    is_open,
                    given,
                } = self.uncover(&text, at);
                self.bytes += text.len();
                let is_plain = style == ScalarStyle::Plain && tag.as_deref() != Some("!str");
                let tag = tag.filter(|tag| tag != "!str");
                let content = Content::Scalar {
                    text,
                    is_plain,
                    is_open,
                    given,
                };
                self.finish(Node { at, content, tag }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return self.fail(Code::Syntax, at, "an alias for something that it is in");
                };
                // Before it is copied.
                self.nodes += node.size();
                self.bytes += node.bytes();
                self.within_budget(at)?;
                let node = self.anchors[&anchor].clone();
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
                let message = format!("a second document: {} is one", self.language.document);
                self.fail(Code::Syntax, at, message)
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

    fn within_budget(&mut self, at: Option<Position>) -> Option<()> {
        let message = if self.kept_nodes > MAX_KEPT_NODES || self.kept_bytes > MAX_SCALARS {
            "too many anchors within anchors".to_owned()
        } else if self.nodes > MAX_NODES {
            format!("more than {MAX_NODES} values")
        } else if self.bytes > MAX_SCALARS {
            format!("more than {MAX_SCALARS} bytes, with what aliases stand for")
        } else {
            return Some(());
        };
        self.fail(Code::TooLarge, at, message)
    }

    /// Puts a whole node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        self.within_budget(node.at)?;
        if anchor != 0 {
            self.kept_nodes += node.size();
            self.kept_bytes += node.bytes();
            self.within_budget(node.at)?;
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
            ("!", suffix) if self.language.tags.contains(&suffix) => Some(Some(suffix.to_owned())),
            // `! text` is YAML's other way to say that it is a text.
            ("tag:yaml.org,2002:", "str") | ("", "!") => Some(Some("!str".to_owned())),
            _ => {
                let message = format!("a tag that {} does not have", self.language.document);
                self.fail(Code::Syntax, at, message).map(|()| None)
            }
        }
    }

    /// The scalar as it is meant.
    fn uncover(&mut self, scalar: &str, at: Option<Position>) -> Scalar {
        let mut found = Vec::new();
        let mut is_open = false;
        let (text, given) = self.covered.uncover(scalar, &mut found);
        for one in found {
            match one {
                Uncovering::Undefined(name) => {
                    let severity = match self.covered.undefined() {
                        Undefined::Refused => Severity::Error,
                        Undefined::Left => Severity::Warning,
                    };
                    is_open = true;
                    self.report.push(
                        severity,
                        Code::UndefinedVariable,
                        &spot(at),
                        format!("the variable `{name}` has no value"),
                        Some(format!(
                            "give it one with `-e {name}=VALUE`, or `--use-env` for those of the environment; `\\${name}` means these characters"
                        )),
                    );
                }
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
        Scalar {
            text: Zeroizing::new(text),
            is_open,
            given,
        }
    }

    fn fail(&mut self, code: Code, at: Option<Position>, message: impl Into<String>) -> Option<()> {
        self.report.error(code, &spot(at), message);
        None
    }
}

/// A scalar without covers.
struct Scalar {
    text: Zeroizing<String>,
    /// A variable in it has no value.
    is_open: bool,
    given: Vec<Range<usize>>,
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

    const SESSION: Language = Language {
        document: "a session",
        tags: &["cas", "akv"],
        mesh_variables: MeshVariables::Refused,
    };

    fn faults(text: &str) -> Vec<(Code, Option<usize>, Option<usize>)> {
        let mut report = Report::default();
        parse(text, &SESSION, &Variables::new(), &mut report);
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
        let heavy = format!(
            "- &a {}\n{}",
            "x".repeat(MAX_BYTES / 2),
            "- *a\n".repeat(100)
        );
        assert_eq!(faults(&heavy)[0].0, Code::TooLarge);
        // Each of these anchors would keep a copy of the whole text.
        let nested = |count: usize| {
            let open = (0..count).fold(String::new(), |text, n| format!("{text}&a{n} ["));
            let text = "x".repeat(MAX_BYTES / 2);
            format!("- {open}{text}{}", "]".repeat(count))
        };
        assert_eq!(faults(&nested(10)), []);
        assert_eq!(faults(&nested(20))[0].0, Code::TooLarge);
        let many = format!(
            "- {}{}]]]]]]",
            "&a [".repeat(6),
            "x, ".repeat(MAX_NODES - 100)
        );
        assert_eq!(faults(&many)[0].0, Code::TooLarge);
        assert_eq!(faults(&"- x\n".repeat(MAX_NODES))[0].0, Code::TooLarge);
        assert_eq!(faults(&" ".repeat(MAX_BYTES + 1))[0].0, Code::TooLarge);
    }

    #[test]
    fn a_value_cannot_add_structure() {
        let variables = Variables::new().with("V", "x\nb: 2\n");
        let mut report = Report::default();
        let node = parse("a: $V\n", &SESSION, &variables, &mut report).unwrap();
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
