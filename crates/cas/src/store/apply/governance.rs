//! Proposals and what signers say to them.

use jiff::Timestamp;
use mse_crypto::{Digest, Zeroizing};

use super::View;
use crate::store::cell::CellId;
use crate::store::error::StoreError;
use crate::store::ids;
use crate::store::records::{Approval, Proposal};
use crate::store::refused::Refused;

pub(super) fn propose(
    view: &mut View<'_>,
    name: &str,
    proposal: Digest,
    text: &Zeroizing<Vec<u8>>,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let id = ids::proposal(name, &proposal);
    if view.exists(&id) {
        return Err(Refused::ProposalExists {
            name: name.into(),
            proposal,
        }
        .into());
    }
    let record = Proposal {
        id: proposal,
        text: text.clone(),
        expires_at,
    };
    view.put_until(id, &record, Some(expires_at.as_millisecond()));
    Ok(())
}

pub(super) fn settle_waiting(
    view: &mut View<'_>,
    name: &str,
    proposal: &Digest,
) -> Result<(), StoreError> {
    let id = waiting(view, name, proposal)?;
    settle(view, id);
    Ok(())
}

pub(super) fn approve(
    view: &mut View<'_>,
    name: &str,
    proposal: &Digest,
    signer: Digest,
    signature: &[u8],
) -> Result<(), StoreError> {
    waiting(view, name, proposal)?;
    let id = ids::approval(name, proposal, &signer);
    let before = view.get::<Approval>(&id)?;
    if before.is_some_and(|before| !before.withdrawn) {
        return Err(Refused::AlreadyApproved { signer }.into());
    }
    let approval = Approval {
        signer,
        signature: signature.to_vec(),
        withdrawn: false,
    };
    view.put(id, &approval);
    Ok(())
}

pub(super) fn withdraw(
    view: &mut View<'_>,
    name: &str,
    proposal: &Digest,
    signer: Digest,
) -> Result<(), StoreError> {
    waiting(view, name, proposal)?;
    let id = ids::approval(name, proposal, &signer);
    match view.get::<Approval>(&id)? {
        Some(before) if !before.withdrawn => {
            let withdrawn = Approval {
                withdrawn: true,
                ..before
            };
            view.put(id, &withdrawn);
            Ok(())
        }
        _ => Err(Refused::NoApproval { signer }.into()),
    }
}

/// The id of a proposal that is waiting.
fn waiting(view: &View<'_>, name: &str, proposal: &Digest) -> Result<CellId, StoreError> {
    let id = ids::proposal(name, proposal);
    if view.exists(&id) {
        Ok(id)
    } else {
        Err(Refused::NoProposal {
            name: name.into(),
            proposal: *proposal,
        }
        .into())
    }
}

/// Removes a proposal and what was said to it.
pub(super) fn settle(view: &mut View<'_>, id: CellId) {
    for said in view.ids(&ids::approvals_of(&id)) {
        view.remove(said);
    }
    view.remove(id);
}
