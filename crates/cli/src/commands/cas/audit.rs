//! `mse cas audit verify`

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use mse_audit::verify::{Report as Audited, Verdict, audit};
use mse_audit::witness::Witness;
use mse_crypto::signing::VerifyingKey;
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, bad, good, pairs};

/// Verify an exported audit log: whole, unchanged, and no older than what was seen before
///
/// The log's key is to come from where the CAS was attested, not from the export. Without a witness
/// file, a log that was set back as a whole, signatures and all, looks like one that was never
/// larger.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas audit verify log.jsonl --key log.pub.pem
  mse cas audit verify log.jsonl --key log.pub.pem --witness seen.json --json

Exit codes, besides those of every command: 14 cut at its recent end, 15 its old entries are missing,
16 cannot rule out that it was, 17 gap, 18 set back, 19 another log, 20 bad signature, 21 two histories,
22 not an export of a log, 23 entries were changed.")]
pub(super) struct Verify {
    /// The export: one entry a line
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The log's public key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What earlier verifications have seen; written if the log is in order, and made if it is
    /// not there
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let pem = fs::read_to_string(&self.key).map_err(|error| unreadable(&self.key, &error))?;
        let key = VerifyingKey::from_pem(&pem).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {error}", self.key.display()),
            )
            .with_hint("give the log's public key, as the CAS shows it")
        })?;
        let name = self.file.display().to_string();
        Export {
            file: &self.file,
            name: &name,
            key: &key,
        }
        .verify(scene, self.witness.as_deref())
    }
}

/// An export of a log, to be verified.
pub(super) struct Export<'a> {
    pub(super) file: &'a Path,
    /// How people are told of it.
    pub(super) name: &'a str,
    pub(super) key: &'a VerifyingKey,
}

impl Export<'_> {
    /// Verifies and reports it; what was seen goes into the witness if the log is in order.
    pub(super) fn verify(&self, scene: &Scene<'_>, witness: Option<&Path>) -> Result<(), Failure> {
        let known = match witness {
            Some(path) => {
                Witness::read(path, self.key).map_err(|error| of_witness(path, &error))?
            }
            None => None,
        };
        let audited = self.audit(known.as_ref())?;
        scene.ui.report(&Shown(&audited))?;
        if audited.verdict != Verdict::Ok {
            return Err(Failure::new(
                Exit::Audit(audited.verdict),
                format!("`{}`: {}", self.name, audited.detail),
            )
            .with_hint(audited.sentence));
        }
        let Some(path) = witness else {
            scene.ui.warn("without `--witness FILE`, a log that was set back as a whole looks like one that was never larger");
            return Ok(());
        };
        self.record(path, known, audited)
    }

    fn record(&self, path: &Path, known: Option<Witness>, audited: Audited) -> Result<(), Failure> {
        let (mut witness, audited) = if let Some(witness) = known {
            (witness, audited)
        } else {
            // A witness takes in only what was audited with it, a new one too.
            let log = audited.head.as_ref().map(|head| head.log_id);
            let fresh = Witness::new(log.ok_or_else(|| Failure::other("the log has no head"))?);
            let again = self.audit(Some(&fresh))?;
            (fresh, again)
        };
        witness
            .record(&audited)
            .and_then(|()| witness.save(path, self.key))
            .map_err(|error| of_witness(path, &error))
    }

    fn audit(&self, witness: Option<&Witness>) -> Result<Audited, Failure> {
        File::open(self.file)
            .and_then(|file| audit(&mut BufReader::new(file), self.key, witness))
            .map_err(|error| unreadable(self.file, &error))
    }
}

fn of_witness(path: &Path, error: &impl ToString) -> Failure {
    Failure::new(
        Exit::InvalidConfiguration,
        format!("the witness `{}`: {}", path.display(), error.to_string()),
    )
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Other,
    };
    Failure::new(
        exit,
        format!("`{}` cannot be read: {error}", path.display()),
    )
}

/// The report, with a text for people.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a Audited);

impl Report for Shown<'_> {
    fn text(&self) -> String {
        let Audited {
            verdict,
            sentence,
            start,
            entries,
            checkpoints,
            witnessed,
            head,
            ..
        } = self.0;
        let word = match verdict {
            Verdict::Ok => good(*sentence),
            _ => bad(*sentence),
        };
        let mut rows = vec![
            ("Verdict", format!("{verdict}: {word}")),
            ("Entries", format!("{entries}, from number {start}")),
            ("Checkpoints", checkpoints.to_string()),
        ];
        rows.push((
            "Witness",
            witnessed.map_or_else(
                || "none".to_owned(),
                |count| format!("agrees with {count} heads that were seen before"),
            ),
        ));
        if let Some(head) = head {
            rows.push(("Log", head.log_id.to_string()));
            rows.push((
                "Root",
                format!("{} of {} entries", head.root, head.tree_size),
            ));
        }
        pairs(&rows)
    }
}
