//! How long something holds, as sessions write it.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A length of time that an owner wrote: `90 days`, `1 year`, `59d`, `24h`, `1d 12h`.
///
/// Parts of a whole number and a unit, the larger unit first, each unit once, with or without white
/// space between them. Units: `s`, `sec`, `second`, `m`, `min`, `minute`, `h`, `hour`, `d`, `day`,
/// `w`, `week`, `month` (30 days), `y`, `year` (365 days), and the plural of each word. At least one
/// second, at most [`Validity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Validity {
    seconds: u64,
}

impl Validity {
    /// 100 years of 365 days. What is to hold longer has no `valid_for`.
    pub const MAX: Self = Self {
        seconds: 100 * 365 * 24 * 60 * 60,
    };

    /// The time between its beginning and its end.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Its end when it begins at `start`. None past what the clock can say.
    pub fn after(self, start: SystemTime) -> Option<SystemTime> {
        start.checked_add(self.duration())
    }

    fn of_seconds(seconds: u64) -> Option<Self> {
        (1..=Self::MAX.seconds)
            .contains(&seconds)
            .then_some(Self { seconds })
    }
}

impl FromStr for Validity {
    type Err = InvalidValidity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidValidity {
            text: text.chars().take(40).collect(),
        };
        let mut rest = text;
        let mut seconds = 0_u64;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start_matches(' ');
            let letters = after.len()
                - after
                    .trim_start_matches(|c: char| c.is_ascii_lowercase())
                    .len();
            let (unit, after) = after.split_at(letters);
            let unit = unit_seconds(unit)
                .filter(|unit| *unit < smallest)
                .ok_or_else(invalid)?;
            smallest = unit;
            seconds = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(unit))
                .and_then(|part| seconds.checked_add(part))
                .ok_or_else(invalid)?;
            rest = after.trim_start_matches(' ');
            // White space stands between parts, not behind the last.
            if rest.is_empty() && !after.is_empty() {
                return Err(invalid());
            }
        }
        Self::of_seconds(seconds).ok_or_else(invalid)
    }
}

/// In the largest unit that it is a whole number of, up to days.
impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, letter) = [(86400, 'd'), (3600, 'h'), (60, 'm')]
            .into_iter()
            .find(|(unit, _)| self.seconds.is_multiple_of(*unit))
            .unwrap_or((1, 's'));
        write!(f, "{}{letter}", self.seconds / unit)
    }
}

fn unit_seconds(unit: &str) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60;
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "month" | "months" => 30 * DAY,
        "y" | "year" | "years" => 365 * DAY,
        _ => return None,
    })
}

/// No length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no validity: write a number and a unit, as in `90 days`, `1 year`, `24h` or `1d 12h`, from one second to 100 years"
)]
pub struct InvalidValidity {
    /// What was given, cut at 40 characters.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_that_sessions_use() {
        for (text, seconds) in [
            ("90 days", 90 * 86400),
            ("1 year", 365 * 86400),
            ("59d", 59 * 86400),
            ("24h", 86400),
            ("1 month", 30 * 86400),
            ("2 weeks", 14 * 86400),
            ("1d 12h", 129_600),
            ("1d12h30m", 131_400),
            ("1 hour 1 second", 3601),
            ("007s", 7),
        ] {
            assert_eq!(
                text.parse::<Validity>().map(|v| v.duration().as_secs()),
                Ok(seconds),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_else() {
        for text in [
            "",
            " ",
            "1",
            "d",
            "0d",
            "-1d",
            "+1d",
            "1.5h",
            "1 d ",
            " 1d",
            "1D",
            "1 fortnight",
            "1h 1d",
            "1d 1d",
            "1d,2h",
            "101 years",
            "99999999999999999999d",
            "18446744073709551615y",
            "1\td",
            "١d",
            "1d\n",
        ] {
            assert!(text.parse::<Validity>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 1..=Validity::MAX.seconds) {
            let validity = Validity { seconds };
            prop_assert_eq!(validity.to_string().parse::<Validity>(), Ok(validity));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z \u{e9}-]{0,30}") {
            let _ = text.parse::<Validity>();
        }
    }
}
