//! The shares of the root key, as the custodians of the workload have them: dealt once for each set of
//! custodians, kept in the store, and written to the folder for the day when the store is all that
//! is left.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use mse_crypto::{Digest, Zeroizing};
use mse_ratls::cas::recovery::{SealedShare, SealedShares};
use mse_workload::RecoveryPolicy;

use super::state::{StateError, replace};
use crate::keys::{RootKey, shares};
use crate::store::{Store, Write};

/// The folder of the sealed shares, in that of the CAS.
pub(super) const FOLDER: &str = "recovery";

/// The shares for the custodians of `policy`: those that were dealt, or new ones. They are in
/// `folder`, too, when this returns.
pub(super) async fn keep(
    store: &Store,
    root: &RootKey,
    policy: &RecoveryPolicy,
    folder: &Path,
) -> Result<SealedShares, StateError> {
    let setting = setting(policy)?;
    let kept = if let Some(json) = store.setting(&setting).await? {
        json
    } else {
        let dealt = deal(root, policy)?;
        let json = serde_json::to_vec(&dealt).map_err(|_| StateError::Shares)?;
        let write = Write::new().put_setting(&setting, Zeroizing::new(json));
        store.commit(write).await?;
        // Of two replicas that deal at the same time the later one counts.
        store.setting(&setting).await?.ok_or(StateError::Shares)?
    };
    let kept: SealedShares = serde_json::from_slice(&kept).map_err(|_| StateError::Shares)?;
    write_files(&kept, &folder.join(FOLDER))?;
    Ok(kept)
}

/// Another set of custodians has other shares.
fn setting(policy: &RecoveryPolicy) -> Result<String, StateError> {
    let canonical = serde_json_canonicalizer::to_vec(policy).map_err(|_| StateError::Shares)?;
    Ok(format!("recovery {}", Digest::of(&canonical)))
}

fn deal(root: &RootKey, policy: &RecoveryPolicy) -> Result<SealedShares, StateError> {
    let custodians = policy.custodians()?;
    let people = u8::try_from(custodians.len()).map_err(|_| StateError::Shares)?;
    let dealt = shares::split(root, policy.threshold, people).map_err(|_| StateError::Shares)?;
    let key_id = root.id().to_string();
    let sealed = dealt.iter().zip(&custodians).map(|(share, custodian)| {
        SealedShare::seal(&key_id, share.index(), custodian, &share.to_text())
            .map_err(|_| StateError::Custodian(hex::encode(custodian.0)))
    });
    Ok(SealedShares {
        shares: sealed.collect::<Result<_, _>>()?,
        key_id,
        threshold: policy.threshold,
    })
}

fn write_files(shares: &SealedShares, folder: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| StateError::file(folder, source))?;
    for share in &shares.shares {
        let path = folder.join(format!("{}.share", share.index));
        let json = serde_json::to_vec(share).map_err(|_| StateError::Shares)?;
        if fs::read(&path).is_ok_and(|found| found == json) {
            continue;
        }
        replace(&path, &json).map_err(|source| StateError::file(&path, source))?;
    }
    Ok(())
}
