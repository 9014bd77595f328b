//! `mse mesh diff`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Which;
use crate::cli::Scene;
use crate::commands::apply::compose::{Composed, Composing};
use crate::commands::apply::{MeshArgs, context};
use crate::commands::session::diff::Difference;
use crate::commands::session::secrecy::Documents as Secrecy;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{
    Change, Documents, FileChange, ImagePrograms, MeshDocument, Prepared, RegistryArgs, hide_texts,
};
use crate::text_input::{VariableArgs, wrong_usage};
use crate::ui::{Report, bad, caution, counted, good};

/// Say what applying a Meshfile would change: policies at its CAS, path by path, and files in the
/// folder `target`
///
/// The CAS is attested and asked, and nothing is sent or written. Values of secrets are never shown,
/// and what programs are told (commands, variables, files) only with `--show-values`. For signed
/// policies, `--session-key` may be the public key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh diff -f mesh.yaml
  mse mesh diff -f mesh.yaml --show-values
  mse mesh diff -f mesh.yaml --exit-code || mse apply -f mesh.yaml
  mse mesh diff -f mesh.yaml --json | jq '.sessions[] | select(.change != \"same\")'")]
pub(super) struct Diff {
    /// The Meshfile; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Show what programs are told
    #[arg(long)]
    show_values: bool,
    /// End with 24 if there are changes
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    variables: VariableArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    programs: ImagePrograms,
    #[command(flatten)]
    mesh: MeshArgs,
}

impl Diff {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let documents = Documents {
            variables: &self.variables,
        };
        let MeshDocument::Mesh(mesh) = documents.read(scene, &self.filename)? else {
            return Err(wrong_usage(
                "the file is a service manifest: there is no policy to compare yet",
                "name a Meshfile, `kind: mesh`",
            ));
        };
        let composing = Composing {
            given: &self.mesh,
            registry: &self.registry,
            programs: &self.programs,
            context: context(&self.filename)?,
            applies: false,
        };
        let composed = composing.compose(scene, *mesh).await?;
        let differences = self.differences(&composed)?;
        let is_different = differences.changed;
        scene.ui.report(&differences)?;
        if is_different && self.exit_code {
            return Err(Failure::new(Exit::Different, "applying would change this"));
        }
        Ok(())
    }

    fn differences(&self, composed: &Composed) -> Result<Differences, Failure> {
        let sessions = composed.changes.0.iter();
        let sessions = sessions
            .map(|prepared| self.session(prepared))
            .collect::<Result<Vec<_>, _>>()?;
        let target = self.which.target();
        let mut files = target.plan_change(&composed.plan)?;
        files.extend(target.object_changes("helm", &composed.chart)?);
        files.extend(target.object_changes("manifests", &composed.manifests)?);
        let changed = !files.is_empty() || sessions.iter().any(|one| one.change != Change::Same);
        Ok(Differences {
            changed,
            cas: composed.known.name.to_string(),
            simulated: composed.simulated,
            target: self.which.target.display().to_string(),
            sessions,
            files,
        })
    }

    fn session(&self, prepared: &Prepared) -> Result<SessionDifference, Failure> {
        let documents = |session| {
            let mut documents = Secrecy::of(session)?;
            if !self.show_values {
                hide_texts(&mut documents.shown);
            }
            Ok::<_, Failure>(documents)
        };
        let difference = match (&prepared.before, prepared.change) {
            (Some(before), Change::Update) => {
                let mut after = prepared.session.clone();
                after.creator.clone_from(&before.creator);
                // That it replaces the version before is no news.
                let mut compared = after.clone();
                compared.predecessor = before.predecessor;
                let (old, new) = (documents(before)?, documents(&compared)?);
                Some(Difference::between_documents(before, &after, &old, &new))
            }
            _ => None,
        };
        Ok(SessionDifference {
            role: prepared.role.as_str(),
            name: prepared.session.name.to_string(),
            change: prepared.change,
            difference,
        })
    }
}

#[derive(Serialize)]
struct Differences {
    /// Whether there is any.
    changed: bool,
    cas: String,
    simulated: bool,
    target: String,
    sessions: Vec<SessionDifference>,
    /// Below `target`.
    files: Vec<FileChange>,
}

#[derive(Serialize)]
struct SessionDifference {
    role: &'static str,
    name: String,
    change: Change,
    /// Of a session that gets another version.
    #[serde(flatten)]
    difference: Option<Difference>,
}

impl Report for Differences {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for one in &self.sessions {
            let what = format!("{} ({})", one.name, one.role);
            match (one.change, &one.difference) {
                (Change::Same, _) => {}
                (Change::Create, _) => lines.push(good(format!("+ session {what}"))),
                (Change::Update, difference) => {
                    lines.push(caution(format!("~ session {what}")));
                    let changes = difference.iter().flat_map(Difference::lines);
                    lines.extend(changes.map(|line| indented(&line)));
                }
            }
        }
        for one in &self.files {
            lines.push(one.line());
        }
        if !self.changed {
            return format!(
                "{} at the CAS `{}` and in `{}`",
                good("Nothing would change"),
                self.cas,
                self.target
            );
        }
        let count = |change| {
            self.sessions
                .iter()
                .filter(|one| one.change == change)
                .count()
        };
        lines.push(format!(
            "{} created, {} updated, {} as they are; {}",
            counted(count(Change::Create), "session", "sessions"),
            count(Change::Update),
            count(Change::Same),
            counted(self.files.len(), "file changed", "files changed"),
        ));
        if self.simulated {
            lines.push(bad("SIMULATED: no hardware protects this CAS"));
        }
        lines.join("\n")
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}
