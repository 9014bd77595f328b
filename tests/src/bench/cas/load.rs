//! Many clients at once, each asking again as soon as it is answered, or at a pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::side::Side;
use crate::bench::process::cpu_seconds;

/// What came of a load.
pub(super) struct Load {
    /// From the first answer that counts to the last.
    seconds: f64,
    /// What the server spent meanwhile, on all cores.
    cpu_seconds: f64,
    /// Of each answer, in milliseconds, sorted.
    latencies: Vec<f64>,
}

impl Load {
    #[allow(clippy::cast_precision_loss)] // some millions at most
    fn count(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub(super) fn per_second(&self) -> f64 {
        self.count() / self.seconds
    }

    /// Processor time of the server for each answer, in microseconds.
    pub(super) fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.count()
    }

    /// The latency that `percent` of the answers did not exceed, in milliseconds.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().max(1) - 1);
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// One of those who ask.
pub(super) trait Client: Sized + Send + 'static {
    /// The one with this number.
    fn come(side: Arc<Side>, number: usize) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Asks once, and waits for the answer.
    fn ask(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// When clients shall end, and whether what they do counts.
struct Meter {
    counting: AtomicBool,
    over: AtomicBool,
    pace: Option<Duration>,
}

impl Meter {
    /// Has a client ask to the end; gives the latencies of what counts.
    async fn repeat<C: Client>(&self, mut client: C) -> anyhow::Result<Vec<f64>> {
        let mut latencies = Vec::new();
        let mut ticks = self.pace.map(|pace| {
            let mut ticks = interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        while !self.over.load(Ordering::Relaxed) {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let began = Instant::now();
            client.ask().await?;
            if self.counting.load(Ordering::Relaxed) {
                latencies.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(latencies)
    }
}

/// Has `clients` ask `side` for `duration`, after a warm-up; with `pace`, each at most once in so
/// long.
pub(super) async fn drive<C: Client>(
    side: &Arc<Side>,
    clients: usize,
    duration: Duration,
    pace: Option<Duration>,
) -> anyhow::Result<Load> {
    let meter = Arc::new(Meter {
        counting: AtomicBool::new(false),
        over: AtomicBool::new(false),
        pace,
    });
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (side, meter) = (Arc::clone(side), Arc::clone(&meter));
        tasks.spawn(async move { meter.repeat(C::come(side, number).await?).await });
    }
    sleep(duration.mul_f64(0.15)).await;
    let (began, before) = (Instant::now(), cpu_seconds(side.pid())?);
    meter.counting.store(true, Ordering::Relaxed);
    sleep(duration).await;
    meter.counting.store(false, Ordering::Relaxed);
    let (seconds, after) = (began.elapsed().as_secs_f64(), cpu_seconds(side.pid())?);
    meter.over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_by(f64::total_cmp);
    Ok(Load {
        seconds,
        cpu_seconds: after - before,
        latencies,
    })
}

/// Numbers below a bound, the same for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// One below `bound`.
    #[allow(clippy::cast_possible_truncation)] // the remainder is below a `usize`
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
