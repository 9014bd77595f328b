//! What clients see of what there is.

use mse_api::cas::{
    ApprovalView, ProposalView, PublicValue, SecretLine, SessionLine, SessionState, SessionView,
    StoredSession,
};
use mse_session::SessionName;
use serde_json::json;

use crate::sessions::{ForAll, Line, Proposed, Seen, Stored};
use crate::store::{self, SessionHead};

pub(super) fn stored(stored: &Stored) -> StoredSession {
    StoredSession {
        name: stored.name.to_string(),
        hash: stored.hash.to_string(),
        number: stored.number,
        predecessor: stored.predecessor.map(|hash| hash.to_string()),
        warnings: stored.warnings.iter().map(|one| json!(one)).collect(),
    }
}

pub(super) fn line((name, head): &(SessionName, SessionHead)) -> SessionLine {
    SessionLine {
        name: name.to_string(),
        hash: head.hash.to_string(),
        number: head.number,
        state: state(head.state),
    }
}

pub(super) fn seen(name: &SessionName, seen: &Seen) -> SessionView {
    SessionView {
        name: name.to_string(),
        hash: seen.version.hash.to_string(),
        number: seen.version.number,
        predecessor: seen.version.predecessor.map(|hash| hash.to_string()),
        created_at: seen.version.created_at,
        is_current: seen.is_current,
        state: state(seen.state),
        text: String::from_utf8_lossy(&seen.version.text).into_owned(),
    }
}

pub(super) fn proposal(proposed: &Proposed, with_text: bool) -> ProposalView {
    ProposalView {
        session: proposed.session.to_string(),
        id: proposed.id.to_string(),
        hash: proposed.hash.to_string(),
        predecessor: proposed.predecessor.to_string(),
        expires_at: proposed.expires_at,
        approvals: proposed
            .approvals
            .iter()
            .map(|(signer, withdrawn)| ApprovalView {
                signer: signer.to_pem(),
                withdrawn: *withdrawn,
            })
            .collect(),
        state: proposed.state,
        text: with_text.then(|| proposed.text.to_string()),
    }
}

pub(super) fn secret(line: &Line) -> SecretLine {
    SecretLine {
        name: line.name.to_string(),
        kind: line.kind.map_or("", |kind| kind.as_str()).to_owned(),
        source: line.source.to_owned(),
        version: line.version,
        grace_until: line.grace_until,
        renew_at: line.renew_at,
    }
}

pub(super) fn public(value: &ForAll) -> PublicValue {
    PublicValue {
        kind: value.kind.as_str().to_owned(),
        value: value.value.to_string(),
    }
}

fn state(state: store::SessionState) -> SessionState {
    match state {
        store::SessionState::Active => SessionState::Active,
        store::SessionState::Revoked => SessionState::Revoked,
    }
}
