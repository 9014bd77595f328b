//! Times on the command line.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::{Timestamp, tz::Offset};
use thiserror::Error;

/// An instant that the user names: RFC 3339, a day (its beginning, in UTC), or unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()).min(LAST))
    }

    /// Unix seconds.
    pub(crate) fn seconds(self) -> u64 {
        self.0
    }

    pub(crate) fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

/// Unix seconds as RFC 3339.
pub(crate) fn rfc3339(seconds: u64) -> String {
    timestamp(seconds).map_or_else(|| seconds.to_string(), |instant| instant.to_string())
}

/// Unix seconds as an instant, if the calendar goes so far.
pub(crate) fn timestamp(seconds: u64) -> Option<Timestamp> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
}

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not = || NotAMoment(text.to_owned());
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .ok()
                .filter(|seconds| *seconds <= LAST)
                .map(Self)
                .ok_or_else(not);
        }
        let instant = match text.parse::<Timestamp>() {
            Ok(instant) => instant,
            Err(_) => text
                .parse::<Date>()
                .ok()
                .filter(|_| text.len() == "2027-01-31".len())
                .and_then(|day| Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok())
                .ok_or_else(not)?,
        };
        u64::try_from(instant.as_second())
            .map(Self)
            .map_err(|_| not())
    }
}

/// The text names no instant.
#[derive(Debug, Error)]
#[error(
    "`{0}` is no time; write `2027-01-31`, `2027-01-31T18:00:00Z` or unix seconds from 1970 on"
)]
pub(crate) struct NotAMoment(String);

/// The end of the year 9999: no calendar here goes further.
const LAST: u64 = 253_402_207_200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_three_ways() {
        for text in [
            "2027-01-31",
            "2027-01-31T00:00:00Z",
            "2027-01-31T02:00:00+02:00",
            "1801353600",
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(rfc3339(moment.seconds()), "2027-01-31T00:00:00Z", "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "2027-02-30",
            "2027-01-31T18:00:00",
            "1969-12-31",
            "-1",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
