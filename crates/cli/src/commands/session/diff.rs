//! `mse session diff`

mod changes;

use std::path::{Path, PathBuf};

use clap::Args;
use mse_session::{Session, SessionHash};
use serde::Serialize;
use serde_json::Value;

use self::changes::{Change, Side, What, changes};
use super::secrecy::Documents;
use super::source::{Reading, Rules, one_standard_input};
use super::stored::{self, Current};
use crate::cas::{CasChoice, KnownCas};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{printable, printable_json};
use crate::text_input::wrong_usage;
use crate::ui::{Report, bad, caution, counted, good, pairs};

/// Say what changes between two sessions, path by path, however they are written
///
/// Compared is what they mean: the canonical form, and the salt. Values of secrets are compared
/// and shown as `(secret value)`. Items of lists are matched by their names where they have some,
/// else by their places. Ends with 0 whether there are changes or not.
///
/// `cas:NAME` is the current version of a session at a CAS, `cas:NAME@HASH` any version. What a
/// file leaves to the CAS (`creator`, `predecessor`) is then taken as an update would fill it in.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session diff old.yml session.yml
  mse session diff session.yml session.signed
  mse session diff cas:team/shop session.yml
  mse session diff old.yml session.yml --json | jq .identical")]
pub(super) struct Diff {
    /// The session before, plain or signed; `-` is standard input, `cas:NAME` is at a CAS
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The session after
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    cas: CasChoice,
}

impl Diff {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        one_standard_input([self.old.as_path(), &self.new])?;
        let rules = self.reading.rules()?;
        let places = [Place::of(&self.old)?, Place::of(&self.new)?];
        let mut cas = match places {
            [Place::File(_), Place::File(_)] => None,
            _ => Some(self.cas.open(scene).await?),
        };
        let [old, new] = places;
        let old = old.session(&rules, cas.as_mut()).await?;
        let mut new = new.session(&rules, cas.as_mut()).await?;
        if let (Some(current), None) = (&old.stored, &new.stored)
            && old.session.name == new.session.name
            && !new.is_signed
        {
            stored::complete(&mut new.session, current);
        }
        scene
            .ui
            .report(&Difference::between(&old.session, &new.session)?)
    }
}

/// Where a session is.
enum Place<'a> {
    File(&'a Path),
    Cas(&'a str, Option<&'a str>),
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Result<Self, Failure> {
        let Some(place) = path.to_str().and_then(|path| path.strip_prefix("cas:")) else {
            return Ok(Self::File(path));
        };
        match place.split_once('@') {
            _ if place.is_empty() => Err(wrong_usage(
                "`cas:` stands before the name of a session",
                "write `cas:NAME`, or `./cas:` for a file of this name",
            )),
            Some((name, hash)) => Ok(Self::Cas(name, Some(hash))),
            None => Ok(Self::Cas(place, None)),
        }
    }

    async fn session(self, rules: &Rules, cas: Option<&mut KnownCas>) -> Result<Compared, Failure> {
        match (self, cas) {
            (Self::Cas(name, hash), Some(cas)) => {
                let stored = Current::read(cas, name, hash).await?;
                Ok(Compared {
                    session: stored.session.clone(),
                    is_signed: false,
                    stored: Some(stored),
                })
            }
            (Self::File(file), _) => {
                let loaded = rules.load(file).map_err(|failure| match failure.exit() {
                    Exit::NotFound => failure.with_hint(
                        "`cas:NAME` is a session at a CAS; `-` stands for standard input",
                    ),
                    _ => failure,
                })?;
                Ok(Compared {
                    is_signed: loaded.signed.is_some(),
                    session: loaded.session,
                    stored: None,
                })
            }
            (Self::Cas(..), None) => Err(Failure::other("there is no CAS to ask")),
        }
    }
}

/// One of the two sessions.
struct Compared {
    session: Session,
    /// Nothing can be filled in.
    is_signed: bool,
    stored: Option<Current>,
}

#[derive(Serialize)]
pub(crate) struct Difference {
    identical: bool,
    old: Version,
    new: Version,
    changes: Vec<Change>,
}

impl Difference {
    pub(super) fn between(old: &Session, new: &Session) -> Result<Self, Failure> {
        let (before, after) = (Documents::of(old)?, Documents::of(new)?);
        Ok(Self::between_documents(old, new, &before, &after))
    }

    /// With documents that show less, say.
    pub(crate) fn between_documents(
        old: &Session,
        new: &Session,
        before: &Documents,
        after: &Documents,
    ) -> Self {
        let changes = changes(Side::of(before), Side::of(after));
        Self {
            identical: changes.is_empty(),
            old: Version::of(old),
            new: Version::of(new),
            changes,
        }
    }

    /// One text for each change, of one line or three.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.changes.iter().map(text)
    }
}

#[derive(Serialize)]
struct Version {
    name: String,
    hash: SessionHash,
}

impl Version {
    fn of(session: &Session) -> Self {
        Self {
            name: session.name.to_string(),
            hash: session.hash(),
        }
    }
}

impl Report for Difference {
    fn text(&self) -> String {
        if self.identical {
            return format!("{} {}", good("The sessions mean the same:"), self.new.hash);
        }
        let mut lines = vec![pairs(&[
            ("Old", format!("{} {}", self.old.name, self.old.hash)),
            ("New", format!("{} {}", self.new.name, self.new.hash)),
        ])];
        lines.extend(self.lines());
        let count = |what| self.changes.iter().filter(|one| one.what == what).count();
        lines.push(format!(
            "{}: {} added, {} removed, {} changed",
            counted(self.changes.len(), "change", "changes"),
            count(What::Added),
            count(What::Removed),
            count(What::Changed)
        ));
        lines.join("\n")
    }
}

fn text(change: &Change) -> String {
    let path = printable(&change.path);
    let mut lines = vec![match change.what {
        What::Added => good(format!("+ {path}")),
        What::Removed => bad(format!("- {path}")),
        What::Changed => caution(format!("~ {path}")),
    }];
    for (mark, value) in [('-', &change.old), ('+', &change.new)] {
        if let Some(value) = value {
            lines.push(format!("    {mark} {}", shown(value)));
        }
    }
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    printable_json(&value.to_string())
}
