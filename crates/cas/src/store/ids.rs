//! Which cell holds what.

use mse_crypto::Digest;

use super::cell::{CellId, Kind};
use super::records::SecretId;

pub(super) fn session(name: &str) -> CellId {
    CellId::new(Kind::SessionHead, &[name], &[])
}

pub(super) fn version(name: &str, hash: &Digest) -> CellId {
    CellId::new(Kind::SessionVersion, &[name], hash.as_ref())
}

pub(super) fn secret(id: &SecretId) -> CellId {
    let names = [id.session.as_str(), id.name.as_str()];
    CellId::new(Kind::Secret, &names, &id.version.to_be_bytes())
}

pub(super) fn volume_root(session: &str, volume: &str) -> CellId {
    CellId::new(Kind::VolumeRoot, &[session, volume], &[])
}

pub(super) fn token(token: &Digest) -> CellId {
    CellId::new(Kind::Token, &[], token.as_ref())
}

pub(super) fn used(what: &str) -> CellId {
    CellId::new(Kind::Used, &[what], &[])
}

pub(super) fn proposal(name: &str, proposal: &Digest) -> CellId {
    CellId::new(Kind::Proposal, &[name], proposal.as_ref())
}

/// The prefix of all that was said to a proposal: its own key.
pub(super) fn approvals_of(proposal: &CellId) -> CellId {
    CellId {
        kind: Kind::Approval,
        key: proposal.key.clone(),
    }
}

pub(super) fn approval(name: &str, proposal: &Digest, signer: &Digest) -> CellId {
    let mut id = approvals_of(&self::proposal(name, proposal));
    id.key.extend(signer.as_ref());
    id
}

pub(super) fn setting(name: &str) -> CellId {
    CellId::new(Kind::Setting, &[name], &[])
}
