//! `mse session create` and `mse session update`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_api::cas::{SESSION, SESSIONS, SessionState, SessionView, StoredSession, Upload};
use mse_session::{Compatibility, EncryptedSession, Session, SessionHash, Variables, check_text};
use serde::Serialize;

use super::source::{Loaded, Reading, Sendable};
use crate::cas::{CasChoice, KnownCas};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{Findings, lines_of_warnings, printable};
use crate::private_file;
use crate::text_input::shown_path;
use crate::ui::{Report, good, pairs};

/// Bring a new session to a CAS
///
/// The session is checked here first, as `mse session check` does. A plain one is sent with its
/// variables replaced, and you are its creator; a signed or encrypted one is sent as it is. One
/// that exists already is left alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session create session.yml
  mse session create template.yml -e IMAGE=api --hash-file session.hash
  mse session create session.sealed --cas prod")]
pub(super) struct Create {
    /// The session: plain, signed or encrypted; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sending: Sending,
}

/// Replace the current version of a session at a CAS
///
/// The session names the version that it replaces as `predecessor`, so that nobody's change is
/// lost; `--latest` fills in the current one, whatever it is: look at it before, with
/// `mse session diff cas:NAME FILE`. Where the session's rules ask for several people, it takes
/// their signatures (`mse session sign`), or a proposal (`mse session propose`).
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session update session.yml
  mse session update session.yml --latest --hash-file session.hash
  mse session update session.signed --cas prod")]
pub(super) struct Update {
    /// The session: plain, signed or encrypted; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the current version, whatever it is
    #[arg(long)]
    latest: bool,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args)]
struct Sending {
    /// Write the hash of the new version to this file, which only you may read
    #[arg(long, value_name = "FILE")]
    hash_file: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    cas: CasChoice,
}

impl Create {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let sendable = self.sending.reading.rules()?.sendable(&self.file)?;
        if let Sendable::Read(loaded) = &sendable
            && let Some(predecessor) = loaded.session.predecessor
        {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`{}` has the predecessor {predecessor}: it is an update",
                    shown_path(&self.file)
                ),
            )
            .with_hint("`mse session update` sends it; for a new session remove `predecessor`"));
        }
        let mut cas = self.sending.cas.open(scene).await?;
        let upload = upload(scene, &cas, sendable)?;
        self.sending.send(scene, &mut cas, &upload).await
    }
}

impl Update {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let sendable = self.sending.reading.rules()?.sendable(&self.file)?;
        if !self.latest {
            prove_update(&self.file, &sendable)?;
        }
        let mut cas = self.sending.cas.open(scene).await?;
        let sendable = if self.latest {
            latest(&mut cas, &self.file, sendable).await?
        } else {
            sendable
        };
        let upload = upload(scene, &cas, sendable)?;
        self.sending.send(scene, &mut cas, &upload).await
    }
}

impl Sending {
    async fn send(
        &self,
        scene: &Scene<'_>,
        cas: &mut KnownCas,
        upload: &Upload,
    ) -> Result<(), Failure> {
        let stored: StoredSession = cas.post(SESSIONS, upload).await?;
        if let Some(file) = &self.hash_file {
            private_file::write(file, format!("{}\n", stored.hash).as_bytes())?;
        }
        // What is in the text itself was shown before it was sent.
        if let Upload::Encrypted(_) = upload {
            for warning in lines_of_warnings(&stored.warnings) {
                scene.ui.warn(warning);
            }
        }
        scene.ui.report(&Accepted {
            name: stored.name,
            hash: stored.hash,
            number: stored.number,
            predecessor: stored.predecessor,
            cas: cas.name.to_string(),
        })
    }
}

#[derive(Serialize)]
struct Accepted {
    name: String,
    hash: String,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    predecessor: Option<String>,
    cas: String,
}

impl Report for Accepted {
    fn text(&self) -> String {
        let word = match self.predecessor {
            None => "Created the session",
            Some(_) => "Updated the session",
        };
        format!(
            "{} {} at `{}`\n{}",
            good(word),
            printable(&self.name),
            self.cas,
            pairs(&[
                ("Hash", printable(&self.hash)),
                ("Version", self.number.to_string())
            ])
        )
    }
}

/// Refuses a session that replaces nothing.
pub(super) fn prove_update(file: &Path, sendable: &Sendable) -> Result<(), Failure> {
    match sendable {
        Sendable::Read(loaded) if loaded.session.predecessor.is_none() => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` has no `predecessor`: it replaces nothing", shown_path(file)),
        )
        .with_hint("name the version that you have seen, or `--latest`; `mse session create` is for a new session")),
        _ => Ok(()),
    }
}

/// The session, made to replace the current version.
pub(super) async fn latest(
    cas: &mut KnownCas,
    file: &Path,
    sendable: Sendable,
) -> Result<Sendable, Failure> {
    let mut loaded = match sendable {
        Sendable::Read(loaded) if loaded.signed.is_none() => loaded,
        _ => {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`{}` is signed or encrypted: nothing can be filled in",
                    shown_path(file)
                ),
            )
            .with_hint("write `predecessor` into the session, and sign and encrypt it again"));
        }
    };
    let current = Current::read(cas, loaded.session.name.as_str(), None).await?;
    loaded.session.predecessor = Some(current.hash);
    Ok(Sendable::Read(loaded))
}

/// The form in which it is sent. Warnings are shown.
pub(super) fn upload(
    scene: &Scene<'_>,
    cas: &KnownCas,
    sendable: Sendable,
) -> Result<Upload, Failure> {
    match sendable {
        Sendable::Encrypted(encrypted) => {
            prove_recipient(cas, &encrypted)?;
            Ok(Upload::Encrypted(json(&encrypted.to_json())?))
        }
        Sendable::Read(loaded) => {
            let Loaded {
                session,
                warnings,
                signed,
                ..
            } = *loaded;
            for warning in Findings::of(warnings).warnings {
                scene.ui.warn(warning.line());
            }
            match signed {
                Some(signed) => Ok(Upload::Signed(json(&signed.to_json())?)),
                None => Ok(Upload::Text(session.to_text().to_string())),
            }
        }
    }
}

fn prove_recipient(cas: &KnownCas, encrypted: &EncryptedSession) -> Result<(), Failure> {
    let own = cas.encryption_key()?;
    match encrypted.cas_key() {
        Ok(key) if key.0 == own.0 => Ok(()),
        _ => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "the session is encrypted for another CAS than `{}`",
                cas.name
            ),
        )
        .with_hint(format!(
            "`mse session encrypt FILE --to {}`",
            hex::encode(own.0)
        ))),
    }
}

fn json(text: &str) -> Result<serde_json::Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::other(format!("the session is no JSON: {error}")))
}

/// A version of a session at a CAS: read, and its hash computed from what it says.
pub(super) struct Current {
    pub(super) session: Session,
    pub(super) hash: SessionHash,
    pub(super) view: SessionView,
}

impl Current {
    /// The version with this hash, or the current one.
    pub(super) async fn read(
        cas: &mut KnownCas,
        name: &str,
        hash: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut parameters = vec![("name", name)];
        parameters.extend(hash.map(|hash| ("hash", hash)));
        let view: SessionView = cas.get(SESSION, &parameters).await?;
        Self::of(view, name, hash)
    }

    /// The current version; `None` if it may not be read.
    pub(super) async fn read_if_let(
        cas: &mut KnownCas,
        name: &str,
    ) -> Result<Option<Self>, Failure> {
        let view: Option<SessionView> = cas.get_if_let(SESSION, &[("name", name)]).await?;
        view.map(|view| Self::of(view, name, None)).transpose()
    }

    fn of(view: SessionView, name: &str, hash: Option<&str>) -> Result<Self, Failure> {
        let session = understood(&view.text)?;
        let found = session.hash();
        let is_asked_for = hash.is_none_or(|hash| hash.eq_ignore_ascii_case(&found.to_string()));
        if session.name.as_str() != name || view.hash != found.to_string() || !is_asked_for {
            return Err(mismatch(&format!(
                "it gives `{}` with the hash {found} for `{name}` with the hash {}",
                session.name, view.hash
            )));
        }
        Ok(Self {
            session,
            hash: found,
            view,
        })
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.view.state == SessionState::Revoked
    }
}

/// The session that a CAS gave, in canonical form.
pub(crate) fn understood(text: &str) -> Result<Session, Failure> {
    // What was accepted once may break rules of today: relaxations that have ended, say.
    check_text(text, &Variables::replaced(), Compatibility::Import)
        .into_result()
        .map(|(session, _)| session)
        .map_err(|faults| {
            Failure::new(
                Exit::Platform,
                format!(
                    "the CAS gives a session that cannot be read: {}",
                    printable(&faults.to_string())
                ),
            )
            .with_hint("this `mse` may be older than the CAS: take a newer one")
        })
}

/// What the CAS says does not fit together.
pub(super) fn mismatch(what: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("the CAS contradicts itself: {}", printable(what)),
    )
    .with_hint("do not act on what it says, and tell its owner")
}

/// Fills in what the CAS does in an update, where nothing is given.
pub(super) fn complete(session: &mut Session, current: &Current) {
    if session.predecessor.is_none() {
        session.predecessor = Some(current.hash);
    }
    if session.creator.is_none() {
        session.creator.clone_from(&current.session.creator);
    }
}
