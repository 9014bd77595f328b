//! `mse session approve` and `mse session withdraw`

use std::path::PathBuf;

use clap::Args;
use mse_api::cas::{
    APPROVAL_DOMAIN, PROPOSAL_APPROVE, PROPOSAL_WITHDRAW, ProposalState, ProposalView, Vote,
    WITHDRAWAL_DOMAIN,
};
use mse_crypto::signing::SigningKey;

use super::diff::Difference;
use super::proposals::{Line, Proposed, Shown, Which};
use super::sign::read_key;
use super::stored::Current;
use crate::cas::{CasChoice, KnownCas};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::Report;

/// Approve a proposal, with a signature over it
///
/// Shows what the proposal changes, and asks. Signed is the hash of what is shown, computed here,
/// for this one proposal; the CAS's word for it is not taken.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session approve team/shop $ID --key alice.pem
  mse session approve team/shop $ID --key alice.pem --yes --json")]
pub(super) struct Approve {
    #[command(flatten)]
    which: Which,
    /// Your private key (PKCS#8, PEM), which the session names in `access_policy.update`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cas: CasChoice,
}

impl Approve {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let key = read_key(&self.key)?;
        let mut cas = self.cas.open(scene).await?;
        cas.show_signer(&key);
        let proposed = Proposed::read(&mut cas, &self.which).await?;
        prove_open(&proposed.view)?;
        let shown = shown(scene, &mut cas, &proposed).await?;
        scene.ui.say(&shown.text())?;
        let question = format!("Approve this change of `{}`?", printable(&self.which.name));
        scene.ui.agreed(self.yes, &question).await?;
        let vote = vote(&self.which, &proposed, &key, APPROVAL_DOMAIN);
        let view: ProposalView = cas.post(PROPOSAL_APPROVE, &vote).await?;
        scene.ui.report(&Line::of(&view))
    }
}

/// Take an approval back, for good: the same key cannot approve this proposal again
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session withdraw team/shop $ID --key alice.pem")]
pub(super) struct Withdraw {
    #[command(flatten)]
    which: Which,
    /// The private key that approved
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    cas: CasChoice,
}

impl Withdraw {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let key = read_key(&self.key)?;
        let mut cas = self.cas.open(scene).await?;
        cas.show_signer(&key);
        let proposed = Proposed::read(&mut cas, &self.which).await?;
        prove_open(&proposed.view)?;
        let vote = vote(&self.which, &proposed, &key, WITHDRAWAL_DOMAIN);
        let view: ProposalView = cas.post(PROPOSAL_WITHDRAW, &vote).await?;
        scene.ui.report(&Line::of(&view))
    }
}

/// The change, or the whole session for who may not read what it changes.
async fn shown(
    scene: &Scene<'_>,
    cas: &mut KnownCas,
    proposed: &Proposed,
) -> Result<Shown, Failure> {
    let name = proposed.session.name.as_str();
    let Some(current) = Current::read_if_let(cas, name).await? else {
        scene
            .ui
            .warn("you may not read the current version: this is all of the proposed one, not what changes");
        return proposed.whole();
    };
    if proposed.session.predecessor != Some(current.hash) {
        return Err(over(
            "was overtaken: the session has another version by now",
        ));
    }
    Ok(Shown {
        proposal: Line::of(&proposed.view),
        diff: Some(Difference::between(&current.session, &proposed.session)?),
        session: None,
    })
}

fn prove_open(view: &ProposalView) -> Result<(), Failure> {
    match view.state {
        ProposalState::Open => Ok(()),
        ProposalState::Lapsed => Err(over("has lapsed")),
        ProposalState::Overtaken => Err(over("was overtaken by another update")),
        ProposalState::Taken => Err(over("was taken already")),
    }
}

fn over(why: &str) -> Failure {
    Failure::new(Exit::Conflict, format!("the proposal {why}"))
        .with_hint("`mse session proposals NAME` shows those that are open")
}

/// Signs for this proposal, over the hash of the session that was read.
fn vote(which: &Which, proposed: &Proposed, key: &SigningKey, domain: &str) -> Vote {
    let message = [which.id.0, proposed.session.hash().0].concat();
    Vote {
        session: which.name.clone(),
        id: which.id.to_string(),
        signer: key.public().to_pem(),
        signature: hex::encode(key.sign(domain, &message)),
    }
}
