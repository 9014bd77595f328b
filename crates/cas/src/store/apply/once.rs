//! What works once, and for a time.

use jiff::Timestamp;
use mse_crypto::{Digest, Zeroizing};

use super::{View, governance};
use crate::store::cell::Kind;
use crate::store::error::StoreError;
use crate::store::ids;
use crate::store::refused::Refused;
use crate::store::write::FORGET_AT_ONCE;

pub(super) fn issue_token(
    view: &mut View<'_>,
    token: &Digest,
    stands_for: &Zeroizing<Vec<u8>>,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let id = ids::token(token);
    if view.exists(&id) {
        return Err(Refused::TokenExists.into());
    }
    view.put_until(id, stands_for, Some(expires_at.as_millisecond()));
    Ok(())
}

pub(super) fn redeem_token(
    view: &mut View<'_>,
    token: &Digest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = ids::token(token);
    // Opened although its value does not matter: a changed row is no token.
    let known = view.get::<Zeroizing<Vec<u8>>>(&id)?.is_some();
    let expired = view
        .expires(&id)
        .is_none_or(|expires| expires <= now.as_millisecond());
    if !known || expired {
        return Err(Refused::NoToken.into());
    }
    view.remove(id);
    Ok(())
}

pub(super) fn use_once(
    view: &mut View<'_>,
    what: &str,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let id = ids::used(what);
    if view.exists(&id) {
        return Err(Refused::AlreadyUsed { what: what.into() }.into());
    }
    let nothing = Zeroizing::new(Vec::new());
    view.put_until(id, &nothing, Some(expires_at.as_millisecond()));
    Ok(())
}

pub(super) fn forget_expired(view: &mut View<'_>, now: Timestamp) {
    for kind in [Kind::Token, Kind::Used, Kind::Proposal] {
        let expired = view
            .memory
            .expired(kind, now.as_millisecond(), FORGET_AT_ONCE);
        for id in expired {
            // What this batch touched is not the cell that expired.
            if view.pending(&id).is_some() {
                continue;
            }
            match kind {
                Kind::Proposal => governance::settle(view, id),
                _ => view.remove(id),
            }
        }
    }
}
