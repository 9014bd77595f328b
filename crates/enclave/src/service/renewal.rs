//! Keeping up with the CAS while the program runs.
//!
//! When `renew_in` is over, the ticket is shown on a new connection. What comes of it:
//!
//! | the CAS | then |
//! | --- | --- |
//! | sends a configuration | changed files are replaced at once, and the program gets SIGHUP |
//! | takes the ticket no more | fresh evidence is shown, as at the start |
//! | refuses: the session was revoked, or releases to this enclave no more | the program is ended |
//! | is out of reach, or something else answers in its place | asked again, less and less often, for the grace; then the program is ended |
//!
//! The grace is as long again as `renew_in`, but at least [`SHORTEST_GRACE`] and at most
//! [`LONGEST_GRACE`]: so long a host that cuts the CAS off can delay a revocation.

use std::collections::BTreeSet;
use std::time::Duration;

use mse_ratls::release::{RefusalCode, ReleaseRefusal};
use mse_workload::Base;
use mse_workload::launch::ServiceLaunch;
use tokio::time::{Instant, sleep, timeout_at};

use super::cas::{Cas, CasError, Lease, Standing};
use super::configuration::{Files, Program};
use super::shield::Shielding;
use crate::sandbox::{Notice, ReleasedFile, ReleasedFiles, SandboxPath};
use mse_tee::attester::Attester;

/// A grace is at least this long.
const SHORTEST_GRACE: Duration = Duration::from_secs(10);
/// A grace is at most this long.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// The first pause before asking again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a CAS that is out of reach is asked again, once it is time.
pub(super) fn grace_of(renew_in: Duration) -> Duration {
    renew_in.clamp(SHORTEST_GRACE, LONGEST_GRACE)
}

/// Pauses between attempts: each twice as long as the one before, less a random part of up to a
/// half, so that many services that lost their CAS do not come back to it all at once.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(LONGEST_PAUSE);
        let [random] = mse_crypto::random::bytes();
        longest.saturating_sub(longest / 2 * u32::from(random) / 255)
    }
}

/// Renews a release and puts it into effect.
pub(super) struct Renewal<'a> {
    pub(super) cas: &'a Cas,
    pub(super) attester: &'a Attester,
    /// Told of each new lease.
    pub(super) standing: &'a Standing,
    pub(super) host: &'a ServiceLaunch,
    pub(super) base: &'a Base,
    /// What the program was started with; its files are kept up to date.
    pub(super) program: Program,
    pub(super) released: ReleasedFiles,
    /// Its connections.
    pub(super) shielding: &'a Shielding,
}

impl Renewal<'_> {
    /// Returns when the program has to end, and why.
    pub(super) async fn keep_up(mut self, mut lease: Lease) -> EndOfLease {
        let places: BTreeSet<SandboxPath> = self.program.files.places().cloned().collect();
        loop {
            let grace = grace_of(lease.renew_in);
            sleep(lease.renew_in).await;
            lease = match self.next_lease(&lease, grace).await {
                Ok(next) => next,
                Err(end) => return end,
            };
            self.standing.renewed(&lease);
            self.take_effect(&lease, &places).await;
        }
    }

    async fn next_lease(&self, lease: &Lease, grace: Duration) -> Result<Lease, EndOfLease> {
        let deadline = Instant::now() + grace;
        let mut backoff = Backoff::new();
        let mut last = None;
        loop {
            match timeout_at(deadline, self.ask(lease)).await {
                Ok(Ok(next)) => return Ok(next),
                Ok(Err(error)) => {
                    if let Some(refusal) = error.refusal() {
                        return Err(EndOfLease::Refused(refusal.clone()));
                    }
                    tracing::warn!(%error, "the release could not be renewed; asking again");
                    last = Some(error);
                }
                Err(_) => {}
            }
            let pause = backoff.next();
            if Instant::now() + pause >= deadline {
                let last = last.map_or_else(|| "it gave nothing".to_owned(), |e| e.to_string());
                return Err(EndOfLease::Lapsed {
                    seconds: grace.as_secs(),
                    last,
                });
            }
            sleep(pause).await;
        }
    }

    async fn ask(&self, lease: &Lease) -> Result<Lease, CasError> {
        match self.cas.renew(lease).await {
            Err(CasError::Refused(refusal)) if refusal.code == RefusalCode::Ticket => {
                tracing::info!("the ticket is taken no more; showing evidence again");
                self.cas.release(self.attester, None).await
            }
            renewed => renewed,
        }
    }

    /// Replaces what can be replaced in a program that runs; says what has to wait for its next
    /// start. Whatever goes wrong here, the program keeps what it has.
    async fn take_effect(&mut self, lease: &Lease, places: &BTreeSet<SandboxPath>) {
        let mut next = match Program::of(&lease.configuration, self.base, self.host) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the session as it is now cannot be put into effect");
                return;
            }
        };
        self.shielding.renew(&next);
        let more = next.files.keep(places);
        let told_anew = next.name != self.program.name
            || next.arguments != self.program.arguments
            || next.environment != self.program.environment
            || next.directory != self.program.directory
            || next.mounts != self.program.mounts;
        if more > 0 || told_anew {
            tracing::warn!(
                new_files = more,
                command_environment_or_volumes = told_anew,
                "the session changed in what a program is told at its start: it takes effect at the next one"
            );
        }
        if next.files == self.program.files {
            tracing::info!("the release was renewed");
            return;
        }
        match self.replace(&next.files).await {
            Ok(notice) => {
                tracing::info!(
                    sighup = match notice {
                        Notice::Sent => "sent",
                        Notice::NotHandled => "not handled by the program, so not sent",
                    },
                    "the release was renewed, and its files were replaced"
                );
                self.program.files = next.files;
            }
            Err(error) => tracing::warn!(%error, "the release was renewed"),
        }
    }

    async fn replace(&mut self, files: &Files) -> Result<Notice, crate::sandbox::SandboxError> {
        let files: Vec<ReleasedFile<'_>> = files.iter().collect();
        self.released.replace(&files).await
    }
}

/// Why a program may run no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndOfLease {
    #[error("the CAS ended the release: {0}")]
    Refused(ReleaseRefusal),
    #[error(
        "the release lapsed: it could not be renewed for {seconds} seconds after it was due; {last}"
    )]
    Lapsed { seconds: u64, last: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_not_all_alike() {
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let mut backoff = Backoff::new();
            let mut longest = FIRST_PAUSE;
            for _ in 0..10 {
                let pause = backoff.next();
                assert!(pause <= longest && pause >= longest / 2, "{pause:?}");
                seen.insert(pause);
                longest = (longest * 2).min(LONGEST_PAUSE);
            }
        }
        assert!(seen.len() > 20);
    }
}
