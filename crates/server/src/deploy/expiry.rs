//! When an app stops by itself.

use jiff::{SignedDuration, Timestamp};

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// When the app was asked for.
    pub(super) now: Timestamp,
    /// What the owner asked for.
    pub(super) requested: Option<Timestamp>,
    /// When the owner's certificate ends, with origin `owner`.
    pub(super) certificate: Option<Timestamp>,
    /// The longest life on this hardware.
    pub(super) max_life: Option<SignedDuration>,
}

impl Expiry {
    /// The date asked for, else the end of the owner's certificate, else a year from now; never
    /// later than the hardware allows. In whole seconds, as it is measured.
    pub(super) fn decide(self) -> Result<Timestamp, AlreadyOver> {
        let wanted = self
            .requested
            .or(self.certificate)
            .unwrap_or(self.now + A_YEAR);
        let allowed = self.max_life.map(|life| self.now + life);
        let decided = allowed.map_or(wanted, |allowed| wanted.min(allowed));
        let seconds = decided.as_second() - i64::from(decided.subsec_nanosecond() < 0);
        match Timestamp::from_second(seconds) {
            Ok(whole) if whole > self.now => Ok(whole),
            _ => Err(AlreadyOver(decided)),
        }
    }
}

/// The app would have ended before it began.
#[derive(Debug, thiserror::Error)]
#[error("the app would stop at `{0}`, which is over")]
pub(super) struct AlreadyOver(Timestamp);

const A_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn expiry() -> Expiry {
        Expiry {
            now: at("2026-11-23T10:00:00.25Z"),
            requested: None,
            certificate: None,
            max_life: None,
        }
    }

    #[test]
    fn the_rules_in_their_order() {
        let requested = Some(at("2026-12-01T00:00:00Z"));
        let certificate = Some(at("2027-01-01T00:00:00Z"));
        let four_hours = Some(SignedDuration::from_hours(4));
        for (expected, rule) in [
            ("2027-11-23T10:00:00Z", expiry()),
            (
                "2027-01-01T00:00:00Z",
                Expiry {
                    certificate,
                    ..expiry()
                },
            ),
            (
                "2026-12-01T00:00:00Z",
                Expiry {
                    requested,
                    certificate,
                    ..expiry()
                },
            ),
            (
                "2026-11-23T14:00:00Z",
                Expiry {
                    max_life: four_hours,
                    ..expiry()
                },
            ),
            (
                "2026-11-23T14:00:00Z",
                Expiry {
                    max_life: four_hours,
                    requested,
                    ..expiry()
                },
            ),
            (
                "2026-11-23T11:00:00Z",
                Expiry {
                    max_life: four_hours,
                    requested: Some(at("2026-11-23T11:00:00.9Z")),
                    ..expiry()
                },
            ),
        ] {
            assert_eq!(rule.decide().unwrap(), at(expected), "{rule:?}");
        }
    }

    #[test]
    fn what_is_over_is_refused() {
        let requested = Some(at("2026-11-23T10:00:00.9Z"));
        Expiry {
            requested,
            ..expiry()
        }
        .decide()
        .unwrap_err();
        let certificate = Some(at("2020-01-01T00:00:00Z"));
        Expiry {
            certificate,
            ..expiry()
        }
        .decide()
        .unwrap_err();
    }
}
