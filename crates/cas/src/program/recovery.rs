//! An instance without a root key: it shows what it is, and takes shares of the key from the
//! custodians whom its workload names, until there are enough.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use mse_api::cas::{CasError, CasErrorCode};
use mse_audit::entry::{Event, KeyHash};
use mse_crypto::Digest;
use mse_crypto::hpke::{KeyPair, PublicKey};
use mse_ratls::ChannelBinding;
use mse_ratls::cas::recovery::{GivenShare, Recovering, RecoveryProgress, SHARE};
use mse_ratls::cas::{ATTEST, DESCRIBE};
use mse_tee::attester::Attester;
use mse_tee::crowd::Crowd;
use mse_tee::host::HostLink;
use mse_workload::CasWorkload;
use mse_workload::launch::{CasLaunch, Phase};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};

use super::attestation::{Attestation, Facts};
use super::certificate::Certificate;
use super::routes::{attest, problem};
use super::state::{Adoption, Place, PlatformKey, State, StateError};
use super::{ProgramError, seats};
use crate::api::error_response;
use crate::audit_log;
use crate::identity::Identity;
use crate::keys::shares::{CombineError, Share, combine};
use crate::keys::{KeyId, RootKey};
use crate::listen::{self, Channel, Service, json};

/// A request of a custodian is much shorter.
const MAX_REQUEST: usize = 16 * 1024;

/// Waits for shares on `listener` until they open the store, and gives what they opened.
pub(super) async fn recover(
    host: &HostLink,
    launch: &CasLaunch,
    workload: &CasWorkload,
    attester: &Attester,
    key_id: &str,
    listener: TcpListener,
) -> Result<State, ProgramError> {
    let key_id: KeyId = key_id.parse().map_err(StateError::from)?;
    let policy = workload.recovery.as_ref().ok_or(StateError::NoCustodians)?;
    let custodians = policy.custodians().map_err(StateError::from)?;
    let platform = PlatformKey::if_any(attester).await?;
    let place = Place::of(launch)?;
    let lock = place.vacate(platform.as_ref(), Some(key_id))?;
    let key = KeyPair::generate();
    let identity = Identity::generate(SystemTime::now())?;
    // For the time being: nothing of it outlives the recovery.
    let attestation = Attestation::new(
        attester.clone(),
        Facts {
            root: &RootKey::generate(),
            identity: &identity,
            store_id: "00".repeat(16),
            workload,
            recovering: Some(Recovering {
                key_id: key_id.to_string(),
                share_key: hex::encode(key.public().0),
            }),
        },
    )
    .await?;
    let (recovered, awaited) = oneshot::channel();
    let room = Arc::new(WaitingRoom {
        attestation,
        key,
        key_id,
        custodians,
        threshold: policy.threshold,
        safe: Arc::new(Safe {
            place,
            platform,
            as_found: launch.as_found,
        }),
        given: Mutex::default(),
        outcome: BlockingMutex::new(Some((recovered, lock))),
    });
    let port = listener
        .local_addr()
        .map_err(ProgramError::listener)?
        .port();
    let certificate = Certificate::new(&identity, launch.names.clone())?;
    let tls = certificate.current();
    let serving = tokio::spawn(listen::serve(
        listener,
        tls,
        Crowd::new(seats(mse_tee::program::raise_open_files())),
        room,
    ));
    host.listening(port);
    host.phase(Phase::AwaitingProvisioning);
    tracing::warn!(
        %key_id,
        threshold = policy.threshold,
        "this CAS has no root key: it waits for shares of its custodians, `mse cas recovery give`"
    );
    let state = tokio::select! {
        state = awaited => state.map_err(|_| StateError::Shares)?,
        never = certificate.renew(&identity) => match never {},
    };
    serving.abort();
    // Until it has ended, it would take connections of those who look for the CAS.
    let _ = serving.await;
    host.phase(Phase::Starting);
    Ok(state)
}

/// Where the custodians come to.
struct WaitingRoom {
    attestation: Attestation,
    /// Shares are sealed to it.
    key: KeyPair,
    key_id: KeyId,
    custodians: Vec<PublicKey>,
    threshold: u8,
    safe: Arc<Safe>,
    /// By index, which is also who gave it.
    given: Mutex<BTreeMap<u8, Share>>,
    /// Taken when the key is there.
    outcome: BlockingMutex<Option<(oneshot::Sender<State>, File)>>,
}

/// What the key has to open.
struct Safe {
    place: Place,
    platform: Option<PlatformKey>,
    as_found: bool,
}

impl WaitingRoom {
    async fn take(
        &self,
        body: &[u8],
        channel: &ChannelBinding,
    ) -> Result<RecoveryProgress, CasError> {
        let share = self.read(body, channel)?;
        let index = share.index();
        let mut given = self.given.lock().await;
        if self.is_over() {
            return Err(CasError::new(
                CasErrorCode::Conflict,
                "the root key is there again: no more shares are needed",
            ));
        }
        let before = given.insert(index, share.clone());
        let repeated = before.is_some_and(|before| *before.to_text() == *share.to_text());
        tracing::info!(
            index,
            repeated,
            given = given.len(),
            "a custodian gave a share"
        );
        let recovered = given.len() >= usize::from(self.threshold);
        if recovered {
            let root = self.put_together(&given, index)?;
            self.open(root, given.keys().copied().collect()).await?;
        }
        let progress = RecoveryProgress {
            given: given.keys().copied().collect(),
            threshold: self.threshold,
            repeated,
            recovered,
        };
        if recovered {
            // Connections that stay open keep this room; the shares are of no use any more.
            given.clear();
        }
        Ok(progress)
    }

    /// The share, if it is one that a custodian gave who has it, of the key that is waited for.
    fn read(&self, body: &[u8], channel: &ChannelBinding) -> Result<Share, CasError> {
        let refused = |code, message: String| Err(CasError::new(code, message));
        let given: GivenShare = serde_json::from_slice(body).map_err(|error| {
            CasError::new(
                CasErrorCode::Malformed,
                format!("this is not how a share is given: {error}"),
            )
        })?;
        let named = self
            .custodians
            .iter()
            .position(|custodian| hex::encode(custodian.0) == given.custodian);
        let Some(at) = named else {
            return refused(
                CasErrorCode::Forbidden,
                "the key that the share was given with is not that of a custodian of this CAS's workload".into(),
            );
        };
        let text = given
            .open(&self.custodians[at], &self.key, channel)
            .map_err(|error| {
                CasError::new(CasErrorCode::Forbidden, format!("the share: {error}"))
            })?;
        let share = std::str::from_utf8(&text)
            .map_err(|_| crate::keys::shares::InvalidShare::NotAShare)
            .and_then(str::parse::<Share>)
            .map_err(|error| CasError::new(CasErrorCode::Invalid, error.to_string()))?;
        if share.key() != self.key_id {
            return refused(
                CasErrorCode::Invalid,
                format!(
                    "share {} is of root key {}, and this CAS waits for those of {}",
                    share.index(),
                    share.key(),
                    self.key_id
                ),
            );
        }
        if usize::from(share.index()) != at + 1 || share.threshold() != self.threshold {
            return refused(
                CasErrorCode::Invalid,
                format!(
                    "this is share {} of those of which {} are needed; the workload has this custodian at place {}, and {} needed: it was dealt for other custodians",
                    share.index(),
                    share.threshold(),
                    at + 1,
                    self.threshold
                ),
            );
        }
        Ok(share)
    }

    /// The key out of as many shares as it takes, the newest among them. With more than that, one
    /// that is forged does no harm: the others are tried without it.
    fn put_together(&self, given: &BTreeMap<u8, Share>, newest: u8) -> Result<RootKey, CasError> {
        let others: Vec<&Share> = given
            .values()
            .filter(|share| share.index() != newest)
            .collect();
        let mut last = CombineError::None;
        for chosen in choices(&others, usize::from(self.threshold) - 1) {
            let shares: Vec<Share> = chosen
                .into_iter()
                .chain(given.get(&newest))
                .cloned()
                .collect();
            match combine(&shares) {
                Ok(root) if root.id() == self.key_id => return Ok(root),
                Ok(root) => {
                    last = CombineError::Wrong {
                        key: root.id(),
                        indices: given.keys().copied().collect(),
                    };
                }
                Err(error) => last = error,
            }
        }
        tracing::warn!(error = %last, "the shares give no root key");
        Err(CasError::new(CasErrorCode::Invalid, last.to_string()).with_hint(
            "the share was taken; one that is given again replaces the one before, and more than are needed help to find the wrong one",
        ))
    }

    /// Goes on with the key. Not part of the request: who hangs up does not leave it half done.
    async fn open(&self, root: RootKey, indices: Vec<u8>) -> Result<(), CasError> {
        let custodians = indices
            .iter()
            .filter_map(|index| self.custodians.get(usize::from(*index).checked_sub(1)?))
            .map(|custodian| KeyHash(Digest::of(&custodian.0)))
            .collect();
        let safe = Arc::clone(&self.safe);
        let adopted = tokio::spawn(async move { safe.open(root, custodians).await }).await;
        let unavailable = |why: String| {
            tracing::error!(
                why,
                "the root key is there again, and the CAS does not open"
            );
            CasError::new(CasErrorCode::Unavailable, why)
                .with_hint("the shares are kept: when that is mended, give any of them again")
        };
        let adopted = adopted
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))?;
        let outcome = self
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((recovered, lock)) = outcome {
            // If nobody waits, the instance is being ended.
            let _ = recovered.send(adopted.locked(lock));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }
}

impl Safe {
    async fn open(
        &self,
        root: RootKey,
        custodians: Vec<KeyHash>,
    ) -> Result<super::state::Adopted, StateError> {
        let freshness = self.place.freshness(self.as_found);
        let leaf = audit_log::leaf(Event::Recovery { custodians }, None, None);
        self.place
            .adopt(
                self.platform.as_ref(),
                root,
                Adoption {
                    freshness,
                    identity: None,
                    store: None,
                    leaf: Some(leaf),
                },
            )
            .await
    }
}

/// All choices of `count` of these.
fn choices<'a>(from: &[&'a Share], count: usize) -> Vec<Vec<&'a Share>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in from.iter().enumerate() {
        for mut rest in choices(&from[at + 1..], count - 1) {
            rest.push(first);
            all.push(rest);
        }
    }
    all
}

impl Service for WaitingRoom {
    fn max_body(&self) -> usize {
        MAX_REQUEST
    }

    async fn answer(&self, request: Request<Bytes>, channel: &Channel) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, DESCRIBE) => json(StatusCode::OK, self.attestation.description()),
            (&Method::POST, ATTEST) => attest(&self.attestation, request.body(), channel).await,
            (&Method::POST, SHARE) => match self.take(request.body(), &channel.binding).await {
                Ok(progress) => json(StatusCode::OK, &progress),
                Err(error) => error_response(&error),
            },
            _ => problem(
                CasErrorCode::Unavailable,
                "this CAS has no root key yet: it waits for shares of its custodians",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::shares::split;

    #[test]
    fn every_choice_is_tried_once() {
        let shares = split(&RootKey::generate(), 2, 5).unwrap();
        let shares: Vec<_> = shares.iter().collect();
        for (count, ways) in [(0, 1), (1, 5), (2, 10), (3, 10), (5, 1), (6, 0)] {
            let all = choices(&shares, count);
            let mut sets: Vec<Vec<u8>> = all
                .iter()
                .map(|choice| {
                    let mut indices: Vec<_> = choice.iter().map(|share| share.index()).collect();
                    indices.sort_unstable();
                    indices
                })
                .collect();
            sets.sort();
            sets.dedup();
            assert_eq!(sets.len(), ways, "{count}");
        }
    }
}
