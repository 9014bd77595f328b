//! Warnings about peers, at a bounded rate: a stranger must not be able to fill the log.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::policy::RuleName;

/// So many warnings of a rule are written…
const BURST: u32 = 5;
/// …in so much time.
const WINDOW: Duration = Duration::from_secs(10);

/// The warnings of one rule.
pub(crate) struct Complaints {
    rule: RuleName,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    seen: u32,
}

/// What becomes of one more warning.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    /// It is written; so many before it were not.
    Write {
        unwritten: u32,
    },
    Drop,
}

impl Complaints {
    pub(crate) fn new(rule: RuleName) -> Self {
        Self {
            rule,
            window: Mutex::new(Window {
                began: Instant::now(),
                seen: 0,
            }),
        }
    }

    /// `what` happened, with a peer or at the program, because of `why`.
    pub(crate) fn warn(&self, what: &'static str, peer: impl fmt::Display, why: impl fmt::Display) {
        let verdict = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.judge(Instant::now())
        };
        if let Verdict::Write { unwritten } = verdict {
            tracing::warn!(rule = %self.rule, %peer, %why, unwritten, "network shield: {what}");
        }
    }
}

impl Window {
    fn judge(&mut self, now: Instant) -> Verdict {
        let unwritten = if now.duration_since(self.began) >= WINDOW {
            let unwritten = self.seen.saturating_sub(BURST);
            *self = Self {
                began: now,
                seen: 0,
            };
            unwritten
        } else {
            0
        };
        self.seen = self.seen.saturating_add(1);
        if self.seen <= BURST {
            Verdict::Write { unwritten }
        } else {
            Verdict::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_warnings_becomes_a_few_and_a_number() {
        let began = Instant::now();
        let mut window = Window { began, seen: 0 };
        let written = (0..100)
            .filter(|_| window.judge(began) != Verdict::Drop)
            .count();
        assert_eq!(written, 5);
        let later = window.judge(began + WINDOW);
        assert_eq!(later, Verdict::Write { unwritten: 95 });
        let next = window.judge(began + WINDOW);
        assert_eq!(next, Verdict::Write { unwritten: 0 });
    }
}
