//! Exceptions: until when they hold, and why they were made.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::judge::date;

/// The terms on which a policy lets something through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tolerance {
    /// The last instant at which it is in force; for ever, if there is none.
    until: Option<SystemTime>,
    reason: Option<String>,
}

impl Tolerance {
    pub(crate) fn until(until: SystemTime) -> Self {
        Self {
            until: Some(until),
            reason: None,
        }
    }

    pub(crate) fn with_reason(mut self, reason: String) -> Self {
        self.reason = Some(reason);
        self
    }

    /// What is out of date is as if it were not there.
    pub(crate) fn is_in_force(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now <= until)
    }

    /// Unix seconds of the last instant.
    pub(crate) fn last_second(&self) -> Option<u64> {
        self.until.map(|until| {
            until
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        })
    }

    /// The terms, to go on with after what is let through: ` until …: reason`.
    pub(crate) fn terms(&self) -> String {
        let until = self
            .last_second()
            .map_or_else(String::new, |last| format!(" until {}", day_or_date(last)));
        let reason = self
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        until + &reason
    }
}

/// A last second that ends a day as that day, which is how people write it; else RFC 3339.
pub(super) fn day_or_date(last: u64) -> String {
    let text = date(last);
    match text.strip_suffix("T23:59:59Z") {
        Some(day) => format!("the end of {day} (UTC)"),
        None => text,
    }
}
