//! The record of the CAS: no state counts before it is there.

use std::sync::Arc;

use mse_ratls::release::RefusalCode;
use mse_tee::attester::Attester;
use mse_volume::VolumeRoot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::Problem;
use crate::service::cas::{Cas, CasError, NewState, Standing};
use crate::service::renewal::{Backoff, grace_of};

/// Until when the CAS is waited for; nothing as long as the program runs.
pub(super) type Ending = watch::Receiver<Option<Instant>>;

/// The way to the record.
#[derive(Clone)]
pub(in crate::service) struct Record {
    pub(in crate::service) cas: Arc<Cas>,
    pub(in crate::service) attester: Arc<Attester>,
    pub(in crate::service) standing: Arc<Standing>,
}

impl Record {
    /// Repeats the report until it is answered: for the grace of a renewal, and once the program
    /// has ended not longer than `ending` says.
    pub(super) async fn put(
        &self,
        name: &str,
        previous: u64,
        root: VolumeRoot,
        ending: &mut Ending,
    ) -> Result<u64, Problem> {
        let state = NewState {
            name,
            sequence: previous.saturating_add(1),
            root: root.to_string(),
            previous,
        };
        let begun = Instant::now();
        let mut deadline = begun + grace_of(self.standing.renew_in());
        let mut backoff = Backoff::new();
        let mut last = None;
        loop {
            let end = *ending.borrow_and_update();
            deadline = end.map_or(deadline, |end| deadline.min(end));
            match timeout_at(deadline, self.ask(&state)).await {
                Ok(Ok(())) => return Ok(state.sequence),
                Ok(Err(error)) => {
                    if let Some(refusal) = error.refusal() {
                        return Err(Problem::Refused(refusal.clone()));
                    }
                    tracing::warn!(volume = name, %error, "the new state could not be recorded; asking again");
                    last = Some(error);
                }
                Err(_) => {}
            }
            let pause = backoff.next();
            if Instant::now() + pause >= deadline {
                return Err(Problem::NotRecorded {
                    seconds: begun.elapsed().as_secs(),
                    last: last.map_or_else(|| "no answer".to_owned(), |error| error.to_string()),
                });
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = ending.changed(), if end.is_none() => {}
            }
        }
    }

    async fn ask(&self, state: &NewState<'_>) -> Result<(), CasError> {
        match self.cas.record(&self.standing.ticket(), state).await {
            Err(CasError::Refused(refusal)) if refusal.code == RefusalCode::Ticket => {
                tracing::info!("the ticket is taken no more; showing evidence again");
                let lease = self.cas.release(&self.attester, None).await?;
                self.standing.renewed(&lease);
                self.cas.record(&self.standing.ticket(), state).await
            }
            recorded => recorded,
        }
    }
}
