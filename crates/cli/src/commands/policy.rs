//! `mse policy`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mse_attest::{POLICY_EXAMPLE, Statement, StatementKind};
use serde::Serialize;

use crate::cli::Scene;
use crate::failure::Failure;
use crate::moment::{Moment, rfc3339};
use crate::policy_file::read_policy;
use crate::ui::{Report, bad, caution, counted, good, heading};

/// Understand policies: which evidence is accepted
///
/// A policy file names the TEEs, platforms and code that pass, and what is let through for a while
/// with its reason and end. Without one the strict policy holds: platforms that are up to date,
/// production mode, nothing that lets others in.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse policy example > policy.toml
  mse policy check policy.toml
  mse policy check policy.toml --at 2027-02-01")]
pub(crate) struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say in words what a policy means, and what is dangerous about it
    Check {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What it means at this time [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
    },
    /// Print a policy with every key, and what each is for
    Example,
}

impl Policy {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Check { file, at } => {
                let at = at.unwrap_or_else(Moment::now);
                let policy = read_policy(&file)?;
                scene.ui.report(&Meaning {
                    description: policy.description().map(str::to_owned),
                    at: rfc3339(at.seconds()),
                    statements: policy.describe(at.time()),
                    policy: file,
                })
            }
            Action::Example => scene.ui.report(&Example {
                example: POLICY_EXAMPLE,
            }),
        }
    }
}

#[derive(Serialize)]
struct Meaning {
    policy: PathBuf,
    description: Option<String>,
    at: String,
    statements: Vec<Statement>,
}

impl Meaning {
    fn count(&self, kind: StatementKind) -> usize {
        self.statements
            .iter()
            .filter(|statement| statement.kind == kind)
            .count()
    }
}

impl Report for Meaning {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}, at {}{}",
            self.policy.display(),
            self.at,
            self.description
                .as_ref()
                .map_or_else(String::new, |description| format!(": {description}"))
        )];
        for (kind, title) in [
            (StatementKind::Rule, heading("What passes")),
            (
                StatementKind::Tolerance,
                heading("What is let through for a while"),
            ),
            (StatementKind::Warning, caution("Warnings")),
            (StatementKind::Danger, bad("Dangers")),
        ] {
            if self.count(kind) == 0 {
                continue;
            }
            lines.push(format!("\n{title}"));
            for statement in self.statements.iter().filter(|one| one.kind == kind) {
                lines.push(format!("  {}\n      {}", statement.key, statement.text));
            }
        }
        let counts = [
            (self.count(StatementKind::Danger), "danger", "dangers"),
            (self.count(StatementKind::Warning), "warning", "warnings"),
        ]
        .map(|(count, one, many)| counted(count, one, many));
        lines.push(format!(
            "\n{} {}, {}",
            good("The policy is valid:"),
            counts[0],
            counts[1]
        ));
        lines.join("\n")
    }
}

#[derive(Serialize)]
struct Example {
    example: &'static str,
}

impl Report for Example {
    fn text(&self) -> String {
        self.example.trim_end().to_owned()
    }
}
