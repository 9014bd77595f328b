//! Updates that several people have to approve: proposed, approved one by one, and taken when there
//! are enough.
//!
//! An approval is a signature over one proposal and the hash of what is proposed, so it counts
//! nowhere else and never again: who took an approval back cannot be made to have given it by
//! somebody who kept the signature. A signature over the session itself, made offline, is another
//! matter: it counts wherever that very version is brought, until the session has another one.

use std::collections::BTreeSet;
use std::time::SystemTime;

use jiff::Timestamp;
use mse_api::cas::{APPROVAL_DOMAIN, NewProposal, ProposalState, Vote, WITHDRAWAL_DOMAIN};
use mse_audit::entry::{Event, SessionOperation};
use mse_crypto::signing::VerifyingKey;
use mse_crypto::{Digest, Zeroizing, random};
use mse_session::{KeyHash, Operation, SessionHash, SessionName};
use serde::{Deserialize, Serialize};

use super::Sessions;
use super::access::Asker;
use super::change::{prove_supported, successor_text};
use super::error::SessionError;
use super::load::Loaded;
use super::upload::Received;
use crate::audit_log;
use crate::store::{Approval, Proposal, Refused, StoreError, Write};

/// A proposal, with what was said to it.
pub struct Proposed {
    /// The session.
    pub session: SessionName,
    /// Names it.
    pub id: Digest,
    /// The hash that the session will have.
    pub hash: SessionHash,
    /// The version that it replaces.
    pub predecessor: SessionHash,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// Who approved, and whether they took it back.
    pub approvals: Vec<(VerifyingKey, bool)>,
    /// Where it stands.
    pub state: ProposalState,
    /// What is proposed: canonical text.
    pub text: Zeroizing<String>,
    /// Who proposed it, if by a TLS key.
    proposer: Option<KeyHash>,
}

impl Sessions {
    /// Proposes an update. Signatures in it count at once; if they are enough, it is taken.
    pub async fn propose(
        &self,
        new: &NewProposal,
        asker: &Asker,
    ) -> Result<Proposed, SessionError> {
        if !SPAN.contains(&new.expires_in) {
            return Err(SessionError::Field {
                field: "expires_in",
                what: format!(
                    "`{}` is not between {} and {} seconds",
                    new.expires_in,
                    SPAN.start(),
                    SPAN.end()
                ),
            });
        }
        let received = self.receive(&new.upload, asker)?;
        prove_supported(&received.session)?;
        let predecessor = received
            .session
            .predecessor
            .ok_or_else(|| SessionError::Field {
                field: "predecessor",
                what: "is missing: a proposal changes a session that exists".into(),
            })?;
        let name = received.session.name.clone();
        let before = self.taking_part(&name, &received.asker).await?;
        // No value is made and nothing is fetched for what nobody has agreed to.
        let (received, hash) = successor_text(received, &before, predecessor)?;
        let id = Digest(random::bytes());
        let expires = i64::try_from(new.expires_in).unwrap_or(i64::MAX);
        let expires_at = Timestamp::now() + jiff::SignedDuration::from_secs(expires);
        let kept = Kept {
            text: received.session.to_text(),
            hash,
            predecessor,
            proposer: received.asker.tls.map(|key| key.to_string()),
        };
        let json = serde_json::to_vec(&kept)
            .map(Zeroizing::new)
            .map_err(|_| broken_proposal(&name))?;
        let entry = |event, actor| audit_log::leaf(event, Some((&name, Some(hash))), actor);
        let mut write = Write::new()
            .propose(name.as_str(), id, json, expires_at)
            .audit(entry(
                Event::SessionProposed { proposal: id },
                received.asker.actor(),
            ));
        for (count, (signer, signature)) in (1..).zip(received.signatures) {
            let event = Event::SessionApproved {
                approvals: count,
                required: before.threshold(),
            };
            let key = key_digest(&signer);
            write = write
                .approve(name.as_str(), id, key, said(&signer, &signature)?)
                .audit(entry(event, Some(key.0)));
        }
        self.commit(&name, write).await?;
        self.settle(&name, id, asker).await
    }

    /// Takes a signer's approval, and the proposal with it if that was the last it needed.
    pub async fn approve(&self, vote: &Vote, asker: &Asker) -> Result<Proposed, SessionError> {
        let (name, id, signer) = read_vote(vote)?;
        let proposed = self.proposed(&name, id).await?;
        let asker = voter(asker, &signer);
        let before = self.taking_part(&name, &asker).await?;
        prove_open(&proposed)?;
        let signature = verified(vote, &signer, &proposed, APPROVAL_DOMAIN)?;
        match proposed.approvals.iter().find(|(one, _)| *one == signer) {
            Some((_, true)) => Err(SessionError::Approval(
                "this signer took the approval back, and cannot give it to the same proposal again: propose anew".into(),
            )),
            // Perhaps whoever was to settle it then was cut off.
            Some((_, false)) => match self.settle(&name, id, &asker).await? {
                taken if taken.state == ProposalState::Taken => Ok(taken),
                _ => Err(SessionError::Approval(
                    "this signer has approved already".into(),
                )),
            },
            None => {
                let given = proposed.approvals.iter().filter(|(_, withdrawn)| !withdrawn);
                let event = Event::SessionApproved {
                    approvals: given.count() as u64 + 1,
                    required: before.threshold(),
                };
                // Who approved is who signed, whoever brought it.
                let actor = Some(key_digest(&signer).0);
                let leaf = audit_log::leaf(event, Some((&name, Some(proposed.hash))), actor);
                let said = said(&signer, &signature)?;
                let write = Write::new()
                    .approve(name.as_str(), id, key_digest(&signer), said)
                    .audit(leaf);
                self.commit(&name, write).await?;
                match self.settle(&name, id, &asker).await {
                    // Another request has settled it meanwhile.
                    Err(SessionError::NoProposal { .. })
                        if self.load(&name).await?.hash() == proposed.hash =>
                    {
                        Ok(Proposed {
                            state: ProposalState::Taken,
                            ..proposed
                        })
                    }
                    settled => settled,
                }
            }
        }
    }

    /// Takes an approval back, for good.
    pub async fn withdraw(&self, vote: &Vote) -> Result<Proposed, SessionError> {
        let (name, id, signer) = read_vote(vote)?;
        let proposed = self.proposed(&name, id).await?;
        prove_open(&proposed)?;
        verified(vote, &signer, &proposed, WITHDRAWAL_DOMAIN)?;
        if !proposed.approvals.contains(&(signer.clone(), false)) {
            return Err(SessionError::Approval(
                "there is no approval of this signer to take back".into(),
            ));
        }
        let key = key_digest(&signer);
        let event = Event::SessionApprovalWithdrawn { proposal: id };
        let leaf = audit_log::leaf(event, Some((&name, Some(proposed.hash))), Some(key.0));
        let write = Write::new()
            .withdraw_approval(name.as_str(), id, key)
            .audit(leaf);
        self.commit(&name, write).await?;
        self.proposed(&name, id).await
    }

    /// Drops a proposal: its proposer, or who may update the session.
    pub async fn drop_proposal(
        &self,
        name: &SessionName,
        id: Digest,
        asker: &Asker,
    ) -> Result<(), SessionError> {
        let proposed = self.proposed(name, id).await?;
        let is_proposer = asker.tls.is_some() && proposed.proposer == asker.tls;
        if !is_proposer {
            self.permitted(name, Operation::Update, SessionOperation::Update, asker)
                .await?;
        }
        let event = Event::SessionProposalDropped { proposal: id };
        let leaf = audit_log::leaf(event, Some((name, Some(proposed.hash))), asker.actor());
        let write = Write::new().settle_proposal(name.as_str(), id).audit(leaf);
        self.commit(name, write).await
    }

    /// All proposals for a session, for who may read it or takes part in its updates.
    pub async fn proposals(
        &self,
        name: &SessionName,
        asker: &Asker,
    ) -> Result<Vec<Proposed>, SessionError> {
        self.reading_or_taking_part(name, asker).await?;
        let mut all = Vec::new();
        for proposal in self.store.proposals(name.as_str()).await? {
            all.push(self.standing(name, proposal).await?);
        }
        Ok(all)
    }

    /// One proposal, for who may read the session or takes part in its updates.
    pub async fn proposal(
        &self,
        name: &SessionName,
        id: Digest,
        asker: &Asker,
    ) -> Result<Proposed, SessionError> {
        self.reading_or_taking_part(name, asker).await?;
        self.proposed(name, id).await
    }

    /// Takes the proposal if enough have approved.
    async fn settle(
        &self,
        name: &SessionName,
        id: Digest,
        asker: &Asker,
    ) -> Result<Proposed, SessionError> {
        let mut proposed = self.proposed(name, id).await?;
        let all = Asker {
            tls: proposed.proposer,
            signers: proposed
                .approvals
                .iter()
                .filter(|(_, withdrawn)| !withdrawn)
                .map(|(signer, _)| signer.clone())
                .collect(),
            present: None,
        };
        let before = self.load(name).await?;
        if proposed.state != ProposalState::Open || !before.allows(Operation::Update, &all) {
            return Ok(proposed);
        }
        let received = Received::checked(
            super::load::parse(name, proposed.text.as_bytes())?,
            asker.clone(),
        );
        let next = self
            .successor(received, &before, proposed.predecessor)
            .await?;
        // Making values takes time, in which somebody may have taken an approval back.
        let now = self.proposed(name, id).await?;
        if now.approvals != proposed.approvals || now.state != ProposalState::Open {
            return Err(SessionError::Busy(name.to_string()));
        }
        let write = Write::new().settle_proposal(name.as_str(), id);
        match self.take(&next, &before, write).await {
            Ok(()) => {}
            // The last approvals came at once, and another request has taken it.
            Err(error) => {
                let now = self.load(name).await?;
                if now.hash() != proposed.hash {
                    return Err(error);
                }
            }
        }
        proposed.state = ProposalState::Taken;
        Ok(proposed)
    }

    async fn proposed(&self, name: &SessionName, id: Digest) -> Result<Proposed, SessionError> {
        let stored = self.stored(name, id).await?;
        self.standing(name, stored).await
    }

    /// Where a stored proposal stands.
    async fn standing(
        &self,
        name: &SessionName,
        stored: Proposal,
    ) -> Result<Proposed, SessionError> {
        let kept: Kept = serde_json::from_slice(&stored.text).map_err(|_| broken_proposal(name))?;
        let id = stored.id;
        let approvals = self.store.approvals(name.as_str(), id).await?;
        let approvals = approvals
            .iter()
            .map(|approval| read_approval(name, approval))
            .collect::<Result<_, _>>()?;
        let head = self.load(name).await?.hash();
        let state = if head != kept.predecessor {
            ProposalState::Overtaken
        } else if stored.expires_at <= Timestamp::now() {
            ProposalState::Lapsed
        } else {
            ProposalState::Open
        };
        Ok(Proposed {
            session: name.clone(),
            id,
            hash: kept.hash,
            predecessor: kept.predecessor,
            proposer: kept.proposer(),
            expires_at: stored.expires_at,
            approvals,
            state,
            text: kept.text,
        })
    }

    async fn stored(&self, name: &SessionName, id: Digest) -> Result<Proposal, SessionError> {
        self.store
            .proposal(name.as_str(), id)
            .await?
            .ok_or_else(|| SessionError::NoProposal {
                session: name.to_string(),
                id: id.to_string(),
            })
    }

    /// The session, if `asker` is one of those whose consent an update takes.
    async fn taking_part(
        &self,
        name: &SessionName,
        asker: &Asker,
    ) -> Result<std::sync::Arc<Loaded>, SessionError> {
        let forbidden = || SessionError::Forbidden {
            operation: "take part in updates of",
            name: name.to_string(),
            hint: "be named in its `access_policy.update`".into(),
        };
        let loaded = match self.load(name).await {
            Err(SessionError::NoSession(_)) => return Err(forbidden()),
            loaded => loaded?,
        };
        if loaded.names(Operation::Update, asker) {
            Ok(loaded)
        } else {
            Err(forbidden())
        }
    }

    pub(super) async fn reading_or_taking_part(
        &self,
        name: &SessionName,
        asker: &Asker,
    ) -> Result<std::sync::Arc<Loaded>, SessionError> {
        match self.taking_part(name, asker).await {
            Err(SessionError::Forbidden { .. }) => {
                self.permitted(name, Operation::Read, SessionOperation::Read, asker)
                    .await
            }
            other => other,
        }
    }
}

/// A proposal as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    text: Zeroizing<String>,
    hash: SessionHash,
    predecessor: SessionHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proposer: Option<String>,
}

impl Kept {
    fn proposer(&self) -> Option<KeyHash> {
        self.proposer.as_ref()?.parse().ok()
    }
}

/// An approval as it is stored: the key in full, beside the signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    signer: String,
    signature: String,
}

fn said(signer: &VerifyingKey, signature: &[u8]) -> Result<Vec<u8>, SessionError> {
    let said = Said {
        signer: signer.to_pem(),
        signature: hex::encode(signature),
    };
    serde_json::to_vec(&said).map_err(|_| SessionError::Approval("it cannot be written".into()))
}

fn read_approval(
    name: &SessionName,
    approval: &Approval,
) -> Result<(VerifyingKey, bool), SessionError> {
    let said: Said =
        serde_json::from_slice(&approval.signature).map_err(|_| broken_proposal(name))?;
    let signer = VerifyingKey::from_pem(&said.signer).map_err(|_| broken_proposal(name))?;
    Ok((signer, approval.withdrawn))
}

fn broken_proposal(name: &SessionName) -> SessionError {
    SessionError::Broken(
        name.to_string(),
        "a proposal is not as this version of MSE writes it".into(),
    )
}

fn key_digest(signer: &VerifyingKey) -> Digest {
    Digest(KeyHash::of_spki(&signer.to_spki()).0)
}

fn voter(asker: &Asker, signer: &VerifyingKey) -> Asker {
    Asker {
        signers: BTreeSet::from([signer.clone()]),
        ..asker.clone()
    }
}

fn read_vote(vote: &Vote) -> Result<(SessionName, Digest, VerifyingKey), SessionError> {
    let field = |field, what: String| SessionError::Field { field, what };
    let name = vote
        .session
        .parse()
        .map_err(|error: mse_session::InvalidName| field("session", error.to_string()))?;
    let id = vote
        .id
        .parse()
        .map_err(|_| field("id", "is not 64 hex digits".into()))?;
    let signer = VerifyingKey::from_pem(&vote.signer).map_err(|_| {
        field(
            "signer",
            "is no public key (SPKI, PEM) of Ed25519 or P-384".into(),
        )
    })?;
    Ok((name, id, signer))
}

fn verified(
    vote: &Vote,
    signer: &VerifyingKey,
    proposed: &Proposed,
    domain: &str,
) -> Result<Vec<u8>, SessionError> {
    let wrong = || {
        SessionError::Approval(
            "its signature does not hold for this proposal: it was made for another, or is not this signer's".into(),
        )
    };
    let signature = hex::decode(&vote.signature).map_err(|_| wrong())?;
    let message = [proposed.id.0, proposed.hash.0].concat();
    signer
        .verify(domain, &message, &signature)
        .map_err(|_| wrong())?;
    Ok(signature)
}

fn prove_open(proposed: &Proposed) -> Result<(), SessionError> {
    let over = |why| SessionError::ProposalOver {
        id: proposed.id.to_string(),
        why,
    };
    match proposed.state {
        ProposalState::Open => Ok(()),
        ProposalState::Lapsed => Err(over(format!("lapsed at {}", proposed.expires_at))),
        ProposalState::Overtaken | ProposalState::Taken => Err(over(
            "was overtaken: the session has another version by now; propose anew".into(),
        )),
    }
}

impl Sessions {
    /// Forgets what has lapsed: proposals, tokens, uses.
    pub async fn forget_expired(&self) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        match self.store.commit(Write::new().forget_expired(now)).await {
            Ok(_) | Err(StoreError::Refused(Refused::NoSession { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Seconds that a proposal may wait.
const SPAN: std::ops::RangeInclusive<u64> = 1..=30 * 24 * 60 * 60;
