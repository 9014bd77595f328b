//! `mse session propose`, `proposals`, `proposal` and `drop`

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use mse_api::cas::{
    Done, NewProposal, PROPOSAL, PROPOSAL_DROP, PROPOSALS, ProposalId, ProposalList, ProposalState,
    ProposalView,
};
use mse_crypto::Digest;
use mse_crypto::signing::VerifyingKey;
use mse_session::Session;
use serde::Serialize;
use serde_json::Value;

use super::diff::Difference;
use super::secrecy::Documents;
use super::sign::read_key;
use super::source::Reading;
use super::stored::{Current, latest, mismatch, prove_update, understood, upload};
use super::verify::Signer;
use crate::cas::{CasChoice, KnownCas, Span};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::{printable, printable_json};
use crate::ui::{Report, bad, caution, good, heading, local, pairs, remaining, table};

/// Propose an update that several people have to approve
///
/// Signatures in a signed session count as approvals. Once enough of those whom the session names
/// have approved (`mse session approve`), the CAS takes the update.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session propose session.yml --latest
  mse session propose session.signed --expires 2d --json | jq -r .id")]
pub(super) struct Propose {
    /// The session: plain, signed or encrypted; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the current version, whatever it is
    #[arg(long)]
    latest: bool,
    /// When the proposal lapses: `12h`, `7d`, at most `30d`
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    expires: Span,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    cas: CasChoice,
}

impl Propose {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut sendable = self.reading.rules()?.sendable(&self.file)?;
        if !self.latest {
            prove_update(&self.file, &sendable)?;
        }
        let mut cas = self.cas.open(scene).await?;
        if self.latest {
            sendable = latest(&mut cas, &self.file, sendable).await?;
        }
        let new = NewProposal {
            upload: upload(scene, &cas, sendable)?,
            expires_in: self.expires.seconds(),
        };
        let view: ProposalView = cas.post(PROPOSALS, &new).await?;
        scene.ui.report(&Line::of(&view))
    }
}

/// Somebody whom a session knows by a signing key.
#[derive(Args)]
struct Member {
    /// Your private key (PKCS#8, PEM), if the session knows you by that and not by `mse cas whoami`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Member {
    fn show(&self, cas: &mut KnownCas) -> Result<(), Failure> {
        if let Some(key) = &self.key {
            cas.show_signer(&read_key(key)?);
        }
        Ok(())
    }
}

/// List the proposals for a session
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session proposals team/shop")]
pub(super) struct Proposals {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    member: Member,
    #[command(flatten)]
    cas: CasChoice,
}

impl Proposals {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        self.member.show(&mut cas)?;
        let list: ProposalList = cas.get(PROPOSALS, &[("session", &self.name)]).await?;
        scene.ui.report(&Listed {
            proposals: list.proposals.iter().map(Line::of).collect(),
        })
    }
}

/// Show a proposal: what it says, or with `--diff` what it changes
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session proposal team/shop $ID --diff
  mse session proposal team/shop $ID --json | jq .proposal.approvals")]
pub(super) struct Proposal {
    #[command(flatten)]
    which: Which,
    /// Show what it changes in the current version
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    member: Member,
    #[command(flatten)]
    cas: CasChoice,
}

impl Proposal {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        self.member.show(&mut cas)?;
        let proposed = Proposed::read(&mut cas, &self.which).await?;
        if !self.diff {
            return scene.ui.report(&proposed.whole()?);
        }
        let current = Current::read(&mut cas, &self.which.name, None).await?;
        scene.ui.report(&Shown {
            proposal: Line::of(&proposed.view),
            diff: Some(Difference::between(&current.session, &proposed.session)?),
            session: None,
        })
    }
}

/// Drop a proposal: its proposer may, and who may update the session
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session drop team/shop $ID")]
pub(super) struct Drop {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    cas: CasChoice,
}

impl Drop {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let id = ProposalId {
            session: self.which.name,
            id: self.which.id.to_string(),
        };
        let Done {} = cas.post(PROPOSAL_DROP, &id).await?;
        scene.ui.report(&Dropped(id))
    }
}

/// A proposal, on the command line.
#[derive(Args)]
pub(super) struct Which {
    /// The session
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// The proposal, as `mse session proposals` names it
    #[arg(value_name = "ID")]
    pub(super) id: Digest,
}

/// A proposal as the CAS gave it, and the session that it means: read here, with the hash that it
/// has by what was read.
pub(super) struct Proposed {
    pub(super) view: ProposalView,
    pub(super) session: Session,
}

impl Proposed {
    pub(super) async fn read(cas: &mut KnownCas, which: &Which) -> Result<Self, Failure> {
        let id = which.id.to_string();
        let view: ProposalView = cas
            .get(PROPOSAL, &[("session", &which.name), ("id", &id)])
            .await?;
        Self::of(view, which)
    }

    fn of(view: ProposalView, which: &Which) -> Result<Self, Failure> {
        let text = view
            .text
            .as_deref()
            .ok_or_else(|| mismatch("a proposal without its text"))?;
        let session = understood(text)?;
        let hash = session.hash();
        if view.session != which.name
            || session.name.as_str() != which.name
            || view.id != which.id.to_string()
        {
            return Err(mismatch(&format!(
                "it gives the proposal `{}` for `{}`, with a session `{}`, when asked for `{}` for `{}`",
                view.id, view.session, session.name, which.id, which.name
            )));
        }
        if view.hash != hash.to_string() {
            return Err(mismatch(&format!(
                "the proposed session has the hash {hash}, and it says {}",
                view.hash
            )));
        }
        if session.predecessor.map(|hash| hash.to_string()).as_ref() != Some(&view.predecessor) {
            return Err(mismatch("the proposed session names another predecessor"));
        }
        Ok(Self { view, session })
    }

    /// All of it, for who has nothing to compare it with.
    pub(super) fn whole(&self) -> Result<Shown, Failure> {
        Ok(Shown {
            proposal: Line::of(&self.view),
            diff: None,
            session: Some(Documents::of(&self.session)?.shown),
        })
    }
}

/// What a proposal is, and changes.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) proposal: Line,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) diff: Option<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Value>,
}

impl Report for Shown {
    fn text(&self) -> String {
        let mut blocks = vec![self.proposal.text()];
        blocks.extend(self.diff.iter().map(Report::text));
        blocks.extend(
            self.session
                .iter()
                .map(|session| printable_json(&format!("{session:#}"))),
        );
        blocks.join("\n")
    }
}

/// A proposal without its text.
#[derive(Serialize)]
pub(super) struct Line {
    session: String,
    id: String,
    hash: String,
    predecessor: String,
    expires_at: Timestamp,
    state: ProposalState,
    approvals: Vec<Approval>,
}

#[derive(Serialize)]
struct Approval {
    signer: String,
    withdrawn: bool,
}

impl Line {
    pub(super) fn of(view: &ProposalView) -> Self {
        Self {
            session: view.session.clone(),
            id: view.id.clone(),
            hash: view.hash.clone(),
            predecessor: view.predecessor.clone(),
            expires_at: view.expires_at,
            state: view.state,
            approvals: view
                .approvals
                .iter()
                .map(|approval| Approval {
                    signer: approval.signer.clone(),
                    withdrawn: approval.withdrawn,
                })
                .collect(),
        }
    }

    fn standing(&self) -> usize {
        self.approvals.iter().filter(|one| !one.withdrawn).count()
    }

    fn state(&self) -> String {
        match self.state {
            ProposalState::Open => caution("open"),
            ProposalState::Lapsed => bad("lapsed"),
            ProposalState::Overtaken => bad("overtaken by another update"),
            ProposalState::Taken => good("taken: it is the current version"),
        }
    }
}

impl Report for Line {
    fn text(&self) -> String {
        let mut lines = vec![pairs(&[
            ("Session", printable(&self.session)),
            ("Proposal", printable(&self.id)),
            ("State", self.state()),
            ("Hash", printable(&self.hash)),
            ("Replaces", printable(&self.predecessor)),
            (
                "Lapses",
                format!(
                    "{} ({})",
                    local(self.expires_at),
                    remaining(self.expires_at, Timestamp::now())
                ),
            ),
        ])];
        lines.push(heading(format!("Approved by {}", self.standing())));
        lines.extend(self.approvals.iter().map(|approval| {
            let note = if approval.withdrawn {
                " (taken back)"
            } else {
                ""
            };
            format!("  {}{note}", signer(&approval.signer))
        }));
        lines.join("\n")
    }
}

/// A signer's key, on one line.
fn signer(pem: &str) -> String {
    VerifyingKey::from_pem(pem).map_or_else(|_| printable(pem), |key| Signer::of(&key).body())
}

#[derive(Serialize)]
struct Listed {
    proposals: Vec<Line>,
}

impl Report for Listed {
    fn text(&self) -> String {
        if self.proposals.is_empty() {
            return "There is no proposal".to_owned();
        }
        let rows: Vec<[String; 4]> = self
            .proposals
            .iter()
            .map(|line| {
                [
                    printable(&line.id),
                    line.state(),
                    line.standing().to_string(),
                    local(line.expires_at),
                ]
            })
            .collect();
        table(["ID", "STATE", "APPROVALS", "LAPSES"], &rows)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Dropped(ProposalId);

impl Report for Dropped {
    fn text(&self) -> String {
        format!("{} {}", good("Dropped the proposal"), printable(&self.0.id))
    }
}

#[cfg(test)]
mod tests {
    use mse_session::{Compatibility, Variables, check_text};

    use super::*;

    const ID: &str = "abababababababababababababababababababababababababababababababab";

    fn view(name: &str) -> ProposalView {
        let text = format!("name: {name}\nversion: '0.3.12'\npredecessor: {ID}\nservices: []\n");
        let checked = check_text(&text, &Variables::replaced(), Compatibility::Strict);
        let session = checked.into_result().unwrap().0;
        ProposalView {
            session: name.to_owned(),
            id: ID.to_owned(),
            hash: session.hash().to_string(),
            predecessor: ID.to_owned(),
            expires_at: Timestamp::UNIX_EPOCH,
            approvals: Vec::new(),
            state: ProposalState::Open,
            text: Some(session.to_text().to_string()),
        }
    }

    /// What is signed is the hash of what was read here, and of the proposal that was asked for.
    #[test]
    fn a_cas_that_lies_about_a_proposal_is_found_out() {
        let which = Which {
            name: "a".into(),
            id: ID.parse().unwrap(),
        };
        assert!(Proposed::of(view("a"), &which).is_ok());
        let lie = |change: fn(&mut ProposalView)| {
            let mut view = view("a");
            change(&mut view);
            Proposed::of(view, &which)
                .err()
                .map(|failure| failure.exit())
        };
        let refused = Some(crate::exit::Exit::Refused);
        assert_eq!(lie(|view| view.hash = ID.into()), refused);
        assert_eq!(lie(|view| view.id = "00".repeat(32)), refused);
        assert_eq!(lie(|view| view.predecessor = "00".repeat(32)), refused);
        assert_eq!(lie(|view| view.text = None), refused);
        assert_eq!(lie(|view| view.session = "b".into()), refused);
        let other = |view: &mut ProposalView| {
            view.text = view.text.take().map(|text| text.replace("\"a\"", "\"b\""));
        };
        assert_eq!(lie(other), refused);
    }
}
