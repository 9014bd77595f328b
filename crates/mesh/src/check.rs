//! The way in: from a text to a document, or to what is wrong with it.

use std::fmt;

use mse_yaml::{
    Code, Diagnostic, Faults, Field, Language, MeshVariables, Report, Severity, Variables,
};

use crate::model::{Meshfile, ServiceManifest};
use crate::read::{self, Reader};

pub(crate) const LANGUAGE: Language = Language {
    document: "a manifest",
    tags: &[],
    mesh_variables: MeshVariables::Kept,
};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A [`ServiceManifest`].
    Service,
    /// A [`Meshfile`].
    Mesh,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Service, Self::Mesh];

    /// As written in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "genservice",
            Self::Mesh => "mesh",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// A service manifest.
    Service(Box<ServiceManifest>),
    /// A Meshfile.
    Mesh(Box<Meshfile>),
}

/// What checking a text gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the document is, if it says so.
    pub kind: Option<Kind>,
    /// The document, if there is no error and no variable is left open.
    pub document: Option<Document>,
    /// Everything that was found: errors, then warnings, each in the order of checking.
    pub diagnostics: Vec<Diagnostic>,
}

impl Outcome {
    /// What stops the document.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.with(Severity::Error)
    }

    /// What does not.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.with(Severity::Warning)
    }

    fn with(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(move |one| one.severity == severity)
    }
}

/// Checks the text of a service manifest or Meshfile. It never panics, and takes no more than time
/// and memory in proportion to the text, of which 1 MiB is read at most.
///
/// A variable without value is what `variables` says: with [`mse_yaml::Undefined::Left`] the rest
/// is checked, and there is no document.
pub fn check_text(text: &str, variables: &Variables) -> Outcome {
    let mut r = Reader::default();
    let node = mse_yaml::parse(text, &LANGUAGE, variables, &mut r.report);
    let Some(node) = node else {
        return outcome(None, None, r.report);
    };
    let root = Field::root(&node);
    let kind = read::kind(&mut r, &root);
    let document = match kind {
        Some(Kind::Service) => {
            read::manifest(&mut r, &root).map(|one| Document::Service(Box::new(one)))
        }
        Some(Kind::Mesh) => read::meshfile(&mut r, &root).map(|one| Document::Mesh(Box::new(one))),
        None => None,
    };
    outcome(kind, document, r.report)
}

fn outcome(kind: Option<Kind>, document: Option<Document>, mut report: Report) -> Outcome {
    let is_open = report.has_open_variables();
    let document = document.filter(|_| !report.has_errors() && !is_open);
    if document.is_none() && !is_open {
        report.ensure_error();
    }
    Outcome {
        kind,
        document,
        diagnostics: report.finish(),
    }
}

/// Reads a document of one kind, that must have no fault.
fn document_of<T>(
    text: &str,
    variables: &Variables,
    kind: Kind,
    of_kind: impl FnOnce(Document) -> Option<T>,
) -> Result<(T, Vec<Diagnostic>), Faults> {
    let outcome = check_text(text, variables);
    let is_other = outcome.kind.is_some_and(|found| found != kind);
    match outcome.document.and_then(of_kind) {
        Some(document) => Ok((document, outcome.diagnostics)),
        None if is_other => Err(Faults(vec![Diagnostic {
            code: Code::UnknownKind,
            severity: Severity::Error,
            line: None,
            column: None,
            path: "kind".into(),
            message: format!("a document with `kind: {kind}` is needed, and this is another"),
            help: None,
        }])),
        None => Err(Faults(outcome.diagnostics)),
    }
}

impl ServiceManifest {
    /// Reads a manifest: with its warnings, or all that is wrong with it.
    pub fn read(text: &str, variables: &Variables) -> Result<(Self, Vec<Diagnostic>), Faults> {
        document_of(text, variables, Kind::Service, |document| match document {
            Document::Service(manifest) => Some(*manifest),
            Document::Mesh(_) => None,
        })
    }
}

impl Meshfile {
    /// Reads a Meshfile: with its warnings, or all that is wrong with it.
    pub fn read(text: &str, variables: &Variables) -> Result<(Self, Vec<Diagnostic>), Faults> {
        document_of(text, variables, Kind::Mesh, |document| match document {
            Document::Mesh(mesh) => Some(*mesh),
            Document::Service(_) => None,
        })
    }
}
