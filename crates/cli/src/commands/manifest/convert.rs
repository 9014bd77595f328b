//! `mse manifest convert`

use std::path::PathBuf;

use clap::Args;
use mse_mesh::check_text;
use mse_session::MAX_BYTES;
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::Findings;
use crate::private_file::{self, Creation};
use crate::text_input::{VariableArgs, is_stdin, shown_path, text_of};
use crate::ui::{Report, print};

/// Write a service manifest or Meshfile of any dialect in the form of `mse/v1`
///
/// The result means the same. Comments are lost, and variables `$NAME` have been replaced: each
/// needs a value.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse manifest convert Appfile.yml
  mse manifest convert mesh.yml.template --use-env -o mesh.yml")]
pub(super) struct Convert {
    /// The document; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the result to this file, which must be new and which only you may read [default:
    /// standard output]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    variables: VariableArgs,
}

impl Convert {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let variables = self.variables.variables()?;
        let text = text_of(&self.file, MAX_BYTES)?;
        let outcome = check_text(&text, &variables);
        let Some(document) = outcome.document else {
            return Err(Findings::of(outcome.diagnostics).into_failure(&self.file, "manifest"));
        };
        let yaml = document.to_yaml();
        if has_comments(&text) {
            scene.ui.advice("comments are not converted");
        }
        let Some(output) = self.output.filter(|output| !is_stdin(output)) else {
            if scene.ui.is_json() {
                return scene.ui.report(&Converted { document: yaml });
            }
            return print(yaml.trim_end());
        };
        match private_file::write_new(&output, yaml.as_bytes())? {
            Creation::Written => Ok(()),
            Creation::Exists => Err(Failure::new(
                Exit::Conflict,
                format!("`{}` exists, and is not overwritten", shown_path(&output)),
            )
            .with_hint("name another file with `--output`, or remove that one")),
        }
    }
}

/// Whether there is something that looks like a comment.
fn has_comments(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with('#') || line.contains(" #")
    })
}

#[derive(Serialize)]
struct Converted {
    document: String,
}

impl Report for Converted {
    fn text(&self) -> String {
        self.document.clone()
    }
}
