//! `mse session`

mod check;
pub(crate) mod diff;
mod encrypt;
mod hash;
mod keygen;
mod list;
mod output;
mod proposals;
mod read;
mod revoke;
pub(crate) mod secrecy;
mod show;
pub(crate) mod sign;
mod source;
pub(crate) mod stored;
mod verify;
mod vote;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// Check, compare, sign and encrypt sessions, and bring them to a CAS: what it is to tell to which
/// services
///
/// Commands about FILEs alone need neither a login nor a network; the others speak to a CAS that
/// was attested (`mse cas attest`). Where a session is read, `-` stands for standard input. Values
/// of secrets that stand in a session are not shown.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session check session.yml
  mse session diff old.yml session.yml
  mse session keygen --output alice.pem
  mse session sign session.yml --key alice.pem --output session.signed
  mse session verify session.signed
  mse session encrypt session.signed --to cas.key --output session.sealed
  mse session create session.yml
  mse session update session.yml --latest
  mse session list")]
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
    Create(stored::Create),
    Update(stored::Update),
    Read(read::Read),
    List(list::List),
    History(list::History),
    Revoke(revoke::Revoke),
    Propose(proposals::Propose),
    Proposals(proposals::Proposals),
    Proposal(proposals::Proposal),
    Approve(vote::Approve),
    Withdraw(vote::Withdraw),
    Drop(proposals::Drop),
}

impl SessionCommand {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Check(command) => command.run(scene),
            Action::Hash(command) => command.run(scene),
            Action::Show(command) => command.run(scene),
            Action::Diff(command) => command.run(scene).await,
            Action::Keygen(command) => command.run(scene),
            Action::Sign(command) => command.run(scene),
            Action::Verify(command) => command.run(scene),
            Action::Encrypt(command) => command.run(scene),
            Action::Create(command) => command.run(scene).await,
            Action::Update(command) => command.run(scene).await,
            Action::Read(command) => command.run(scene).await,
            Action::List(command) => command.run(scene).await,
            Action::History(command) => command.run(scene).await,
            Action::Revoke(command) => command.run(scene).await,
            Action::Propose(command) => command.run(scene).await,
            Action::Proposals(command) => command.run(scene).await,
            Action::Proposal(command) => command.run(scene).await,
            Action::Approve(command) => command.run(scene).await,
            Action::Withdraw(command) => command.run(scene).await,
            Action::Drop(command) => command.run(scene).await,
        }
    }
}
