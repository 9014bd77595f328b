//! `mse completions`

use clap::Args;
use clap_complete::{Shell, generate};

use crate::cli;
use crate::failure::Failure;
use crate::ui::{ColorChoice, print};

/// Print what makes a shell complete `mse` commands
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse completions bash > ~/.local/share/bash-completion/completions/mse
  mse completions zsh > \"${fpath[1]}/_mse\"")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(
            self.shell,
            &mut cli::command(ColorChoice::Never),
            "mse",
            &mut script,
        );
        print(String::from_utf8_lossy(&script).trim_end())
    }
}
