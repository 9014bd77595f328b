//! The way in: from a text to a session, or to what is wrong with it.

use mse_yaml::{
    Diagnostic, Faults, Field, Language, MeshVariables, Node, Report, Severity, Variables,
};
use serde_json::Value;

use crate::model::{
    AccessPolicy, Acl, AttestationEntry, AttestationSettings, Operation, Security, Session,
};
use crate::read::{self, Reader};

const LANGUAGE: Language = Language {
    document: "a session",
    tags: &["cas", "akv"],
    mesh_variables: MeshVariables::Refused,
};

/// How strict the check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// What is dangerous must be explained and dated, and versions must fit.
    #[default]
    Strict,
    /// For sessions that were written for SCONE: dangerous relaxations without reason and end, a
    /// missing `version`, and constructs of a later version than the session's are warnings.
    Import,
}

/// What checking a text gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The session, if there is no error.
    pub session: Option<Session>,
    /// Everything that was found: errors, then warnings, each in the order of checking.
    pub diagnostics: Vec<Diagnostic>,
}

impl Outcome {
    /// The session with its warnings, or all that was found.
    pub fn into_result(self) -> Result<(Session, Vec<Diagnostic>), Faults> {
        match self.session {
            Some(session) => Ok((session, self.diagnostics)),
            None => Err(Faults(self.diagnostics)),
        }
    }

    /// What stops the session.
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

/// Checks the text of a session. It never panics, and takes no more than time and memory in
/// proportion to the text, of which 1 MiB is read at most.
///
/// Whatever is wrong is reported, each fault once, with its place. What is checked needs nothing
/// but the text: that other sessions exist and give what is imported is for the CAS.
pub fn check_text(text: &str, variables: &Variables, compatibility: Compatibility) -> Outcome {
    let mut report = Report::default();
    let node = mse_yaml::parse(text, &LANGUAGE, variables, &mut report);
    let mut r = Reader::new(report, compatibility);
    let session = node.and_then(|node| read::session(&mut r, &node));
    outcome(session, r.report)
}

fn outcome(session: Option<Session>, mut report: Report) -> Outcome {
    let session = session.filter(|_| !report.has_errors());
    if session.is_none() {
        report.ensure_error();
    }
    Outcome {
        session,
        diagnostics: report.finish(),
    }
}

impl AccessPolicy {
    /// Reads the policy that a config-fragment holds. References in it are kept, and let nobody
    /// in.
    pub fn from_fragment(value: &Value) -> Result<Self, Faults> {
        from_fragment(value, Compatibility::Strict, read::policy)
    }
}

impl Acl {
    /// Reads the rules of one operation that a secret holds: a rule, or a list of them.
    pub fn from_fragment(value: &Value, operation: Operation) -> Result<Self, Faults> {
        from_fragment(value, Compatibility::Strict, |r, field| {
            read::acl(r, field, operation)
        })
    }
}

impl Security {
    /// Reads the section that a config-fragment holds.
    pub fn from_fragment(value: &Value, compatibility: Compatibility) -> Result<Self, Faults> {
        from_fragment(value, compatibility, read::security)
    }
}

impl AttestationSettings {
    /// Reads the section that a config-fragment holds.
    pub fn from_fragment(value: &Value, compatibility: Compatibility) -> Result<Self, Faults> {
        from_fragment(value, compatibility, read::settings)
    }
}

impl AttestationEntry {
    /// Reads what a config-fragment in `attestation` holds: one entry, or a list of which one must
    /// hold. References in it are kept, and match nothing.
    pub fn list_from_fragment(value: &Value) -> Result<Vec<Self>, Faults> {
        from_fragment(value, Compatibility::Strict, read::attestation_entries)
    }
}

fn from_fragment<T>(
    value: &Value,
    compatibility: Compatibility,
    read: impl FnOnce(&mut Reader, &Field<'_>) -> Option<T>,
) -> Result<T, Faults> {
    let node = Node::from_json(value);
    let mut r = Reader::new(Report::default(), compatibility);
    r.declared.is_fragment = true;
    let read = read(&mut r, &Field::root(&node));
    if let Some(value) = read.filter(|_| !r.report.has_errors()) {
        return Ok(value);
    }
    r.report.ensure_error();
    Err(Faults(r.report.finish()))
}
