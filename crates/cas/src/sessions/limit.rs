//! How often something is told of the same thing: refusals cost who causes them nothing, and a line
//! of the audit log is for ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many at once, for one thing.
const BURST: u32 = 20;
/// After so long, one more.
const EVERY: Duration = Duration::from_secs(10);
/// So many things are told apart; those beyond share one allowance.
const MAX_KEYS: usize = 10_000;

/// Admits a bounded number of each key.
pub struct Limiter(Mutex<HashMap<String, Bucket>>);

struct Bucket {
    left: u32,
    at: Instant,
}

impl Limiter {
    /// Nothing was told yet.
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether one more is told of `key`.
    pub fn admit(&self, key: &str) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_KEYS && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| bucket.is_in_use());
        }
        let key = if buckets.len() >= MAX_KEYS && !buckets.contains_key(key) {
            ""
        } else {
            key
        };
        buckets
            .entry(key.to_owned())
            .or_insert_with(|| Bucket {
                left: BURST,
                at: Instant::now(),
            })
            .take()
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    fn take(&mut self) -> bool {
        let periods = self.at.elapsed().as_secs() / EVERY.as_secs();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.at = Instant::now();
        }
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }

    fn is_in_use(&self) -> bool {
        self.left < BURST && self.at.elapsed() < EVERY * BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_key_is_cut_and_others_are_not() {
        let limiter = Limiter::new();
        let admitted = (0..1000).filter(|_| limiter.admit("a")).count();
        assert!((20..100).contains(&admitted), "{admitted}");
        assert!(limiter.admit("b"));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let limiter = Limiter::new();
        for key in 0..(2 * MAX_KEYS) {
            limiter.admit(&key.to_string());
        }
        assert!(limiter.0.lock().unwrap().len() <= MAX_KEYS + 1);
    }
}
