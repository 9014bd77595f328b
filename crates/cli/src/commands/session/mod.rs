//! `mse session`

mod check;
mod diff;
mod encrypt;
mod findings;
mod hash;
mod keygen;
mod output;
mod secrecy;
mod show;
mod sign;
mod source;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// Check, compare, sign and encrypt sessions: what a CAS is to tell to which services
///
/// Works on files and needs neither a login nor a network. Where a session is read, `-` stands for
/// standard input. Values of secrets that stand in a session are not shown.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session check session.yml
  mse session diff old.yml session.yml
  mse session keygen --output alice.pem
  mse session sign session.yml --key alice.pem --output session.signed
  mse session verify session.signed
  mse session encrypt session.signed --to cas.key --output session.sealed")]
pub(crate) struct SessionCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Check(check::Check),
    Hash(hash::Hash),
    Show(show::Show),
    Diff(diff::Diff),
    Keygen(keygen::Keygen),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Encrypt(encrypt::Encrypt),
}

impl SessionCommand {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Check(command) => command.run(scene),
            Action::Hash(command) => command.run(scene),
            Action::Show(command) => command.run(scene),
            Action::Diff(command) => command.run(scene),
            Action::Keygen(command) => command.run(scene),
            Action::Sign(command) => command.run(scene),
            Action::Verify(command) => command.run(scene),
            Action::Encrypt(command) => command.run(scene),
        }
    }
}
