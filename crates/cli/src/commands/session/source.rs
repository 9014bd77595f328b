//! Where sessions are read from: files and standard input; plain, signed and encrypted ones.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use mse_crypto::Zeroizing;
use mse_crypto::signing::VerifyingKey;
use mse_session::{
    Compatibility, Diagnostic, EncryptedSession, Session, SignedSession, SignedSessionError,
    Variables, check_text,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{Findings, printable};
use crate::text_input::{VariableArgs, is_stdin, shown_path, text_of, wrong_usage};

/// What is read at most: a signed session, whose JSON is longer than its text.
const MAX_BYTES: usize = 8 * mse_session::MAX_BYTES;

/// How the text of a session is read.
#[derive(Args)]
pub(super) struct Reading {
    #[command(flatten)]
    variables: VariableArgs,
    #[command(flatten)]
    strictness: Strictness,
}

/// How strictly a session is judged.
#[derive(Args)]
pub(super) struct Strictness {
    /// Judge a session that was written for SCONE: relaxations without reason and end, a missing
    /// `version`, and constructs of a later version are warnings
    #[arg(long)]
    import: bool,
}

impl Strictness {
    pub(super) fn compatibility(&self) -> Compatibility {
        if self.import {
            Compatibility::Import
        } else {
            Compatibility::Strict
        }
    }
}

impl Reading {
    pub(super) fn rules(&self) -> Result<Rules, Failure> {
        Ok(Rules {
            variables: self.variables.variables()?,
            compatibility: self.strictness.compatibility(),
        })
    }
}

/// [`Reading`], understood.
pub(super) struct Rules {
    variables: Variables,
    compatibility: Compatibility,
}

/// A session without faults.
pub(super) struct Loaded {
    pub(super) session: Session,
    pub(super) warnings: Vec<Diagnostic>,
    /// Who signed it: each signature holds.
    pub(super) signers: BTreeSet<VerifyingKey>,
    /// Where it was a signed one.
    pub(super) signed: Option<SignedSession>,
}

impl Rules {
    /// Reads what must be the text of a session: all that is wrong with it.
    pub(super) fn check(&self, file: &Path) -> Findings {
        match read(file) {
            Ok(Document::Text(text)) => Findings::of(self.outcome(&text)),
            Ok(Document::Signed(_)) => Findings::unreadable(
                &not_text("signed").with_hint("`mse session verify` checks signed sessions"),
            ),
            Ok(Document::Encrypted(_)) => Findings::unreadable(
                &not_text("encrypted").with_hint("only its CAS can read it: check it before"),
            ),
            Err(failure) => Findings::unreadable(&failure),
        }
    }

    fn outcome(&self, text: &str) -> Vec<Diagnostic> {
        check_text(text, &self.variables, self.compatibility).diagnostics
    }

    /// Reads a session, plain or signed, that must have no fault.
    pub(super) fn load(&self, file: &Path) -> Result<Loaded, Failure> {
        self.loaded(file, read(file)?)
    }

    fn loaded(&self, file: &Path, document: Document) -> Result<Loaded, Failure> {
        match document {
            Document::Text(text) => {
                let (session, warnings) = check_text(&text, &self.variables, self.compatibility)
                    .into_result()
                    .map_err(|faults| Findings::of(faults.0).into_failure(file, "session"))?;
                Ok(Loaded {
                    session,
                    warnings,
                    signers: BTreeSet::new(),
                    signed: None,
                })
            }
            Document::Signed(signed) => verified(file, signed, self.compatibility),
            Document::Encrypted(_) => Err(encrypted(file)),
        }
    }

    /// Reads a session of any form, to be sent.
    pub(super) fn sendable(&self, file: &Path) -> Result<Sendable, Failure> {
        match read(file)? {
            Document::Encrypted(encrypted) => Ok(Sendable::Encrypted(encrypted)),
            other => self
                .loaded(file, other)
                .map(|one| Sendable::Read(Box::new(one))),
        }
    }
}

/// Reads a session that must be a signed one.
pub(super) fn load_signed(file: &Path, strictness: &Strictness) -> Result<Loaded, Failure> {
    match read(file)? {
        Document::Signed(signed) => verified(file, signed, strictness.compatibility()),
        Document::Text(_) => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is not signed", shown_path(file)),
        )
        .with_hint("`mse session sign` signs a session")),
        Document::Encrypted(_) => Err(encrypted(file)),
    }
}

fn verified(
    file: &Path,
    signed: SignedSession,
    compatibility: Compatibility,
) -> Result<Loaded, Failure> {
    let verified = signed
        .verify(compatibility)
        .map_err(|error| signature_failure(file, error))?;
    Ok(Loaded {
        session: verified.session,
        warnings: verified.warnings,
        signers: verified.signers,
        signed: Some(signed),
    })
}

/// The failure of a command that needs the signed session in `file`.
pub(super) fn signature_failure(file: &Path, error: SignedSessionError) -> Failure {
    let exit = match error {
        SignedSessionError::Faults(faults) => {
            return Findings::of(faults.0).into_failure(file, "session");
        }
        SignedSessionError::Bad { .. }
        | SignedSessionError::NoKey { .. }
        | SignedSessionError::Twice { .. } => Exit::Refused,
        SignedSessionError::TooLarge(_)
        | SignedSessionError::Json(_)
        | SignedSessionError::TooMany(_)
        | SignedSessionError::OtherSession { .. } => Exit::InvalidConfiguration,
    };
    Failure::new(
        exit,
        format!("`{}`: {}", shown_path(file), printable(&error.to_string())),
    )
}

/// Refuses a second `-`: standard input can be read once.
pub(super) fn one_standard_input<'f>(
    files: impl IntoIterator<Item = &'f Path>,
) -> Result<(), Failure> {
    if files.into_iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(wrong_usage(
            "`-` stands for standard input, which can be read only once",
            "name files for the others",
        ));
    }
    Ok(())
}

enum Document {
    Text(Zeroizing<String>),
    Signed(SignedSession),
    Encrypted(EncryptedSession),
}

/// What is sent to a CAS.
pub(super) enum Sendable {
    /// One that was read and has no fault.
    Read(Box<Loaded>),
    /// One that only its CAS can read.
    Encrypted(EncryptedSession),
}

/// The keys that tell the JSON of MSE's own from a session in JSON.
#[derive(Deserialize)]
struct Outline {
    signatures: Option<IgnoredAny>,
    sealed: Option<IgnoredAny>,
}

fn read(file: &Path) -> Result<Document, Failure> {
    let text = text_of(file, MAX_BYTES)?;
    let outline = text
        .trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str::<Outline>(&text).ok())
        .flatten();
    match outline {
        Some(Outline {
            signatures: Some(_),
            ..
        }) => SignedSession::from_json(&text)
            .map(Document::Signed)
            .map_err(|error| signature_failure(file, error)),
        Some(Outline {
            sealed: Some(_), ..
        }) => EncryptedSession::from_json(&text)
            .map(Document::Encrypted)
            .map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {}", shown_path(file), printable(&error.to_string())),
                )
            }),
        _ => Ok(Document::Text(text)),
    }
}

fn not_text(what: &str) -> Failure {
    Failure::new(
        Exit::InvalidConfiguration,
        format!("this is a session that is {what} already"),
    )
}

fn encrypted(file: &Path) -> Failure {
    Failure::new(
        Exit::InvalidConfiguration,
        format!("`{}` is encrypted", shown_path(file)),
    )
    .with_hint("only its CAS can read it: take the session that was encrypted")
}
