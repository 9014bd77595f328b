use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::{Offset, TimeZone};

/// When the app shall end, as written in the manifest.
///
/// Without an offset it means the local zone of whoever reads the manifest: another instant on
/// another machine. [`ExpirationDate::instant`] therefore wants to be told the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpirationDate {
    wall: DateTime,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Utc,
    Offset(Offset),
    Local,
}

impl ExpirationDate {
    /// The time passed since 1970-01-01 UTC.
    pub fn from_epoch(passed: Duration) -> Result<Self, InvalidExpirationDate> {
        // The seeds read larger numbers as milliseconds: such guessing ends apps at wrong times.
        const LATEST: Duration = Duration::from_secs(20_000_000_000);
        if passed > LATEST {
            return Err(InvalidExpirationDate::Epoch);
        }
        let instant = Timestamp::UNIX_EPOCH
            .checked_add(passed)
            .map_err(|_| InvalidExpirationDate::Epoch)?;
        Ok(instant.into())
    }

    /// Whether it means the same instant everywhere.
    pub fn has_zone(&self) -> bool {
        self.zone != Zone::Local
    }

    /// The instant meant, where `local` is the zone of a date that has none of its own.
    pub fn instant(&self, local: &TimeZone) -> Result<Timestamp, InvalidExpirationDate> {
        match self.zone {
            Zone::Utc => Offset::UTC.to_timestamp(self.wall),
            Zone::Offset(offset) => offset.to_timestamp(self.wall),
            Zone::Local => local.to_timestamp(self.wall),
        }
        .map_err(|_| InvalidExpirationDate::Range)
    }
}

impl FromStr for ExpirationDate {
    type Err = InvalidExpirationDate;

    /// Reads an ISO 8601 date with or without time and offset; a date alone means its midnight.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pieces = Pieces::parse(text.trim()).map_err(|_| InvalidExpirationDate::Form)?;
        if pieces.time_zone_annotation().is_some() {
            return Err(InvalidExpirationDate::Annotation);
        }
        let zone = match pieces.offset() {
            None => Zone::Local,
            Some(PiecesOffset::Zulu) => Zone::Utc,
            Some(_) => Zone::Offset(pieces.to_numeric_offset().unwrap_or(Offset::UTC)),
        };
        let time = pieces.time().unwrap_or(Time::midnight());
        Ok(Self {
            wall: pieces.date().to_datetime(time),
            zone,
        })
    }
}

impl From<Timestamp> for ExpirationDate {
    fn from(instant: Timestamp) -> Self {
        Self {
            wall: Offset::UTC.to_datetime(instant),
            zone: Zone::Utc,
        }
    }
}

/// The form of RFC 3339, which is also that of a TOML date-time.
impl fmt::Display for ExpirationDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wall)?;
        match self.zone {
            Zone::Utc => f.write_str("Z"),
            Zone::Offset(offset) => {
                let minutes = offset.seconds() / 60;
                let sign = if minutes < 0 { '-' } else { '+' };
                write!(
                    f,
                    "{sign}{:02}:{:02}",
                    minutes.abs() / 60,
                    minutes.abs() % 60
                )
            }
            Zone::Local => Ok(()),
        }
    }
}

/// Why a value is no [`ExpirationDate`]; worded to follow the name of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpirationDate {
    /// Not ISO 8601.
    #[error("must be a date and time")]
    Form,
    /// A zone by name: its rules change, so that the instant would too.
    #[error("must give its zone as an offset, not by name")]
    Annotation,
    /// Negative, no number, or far beyond any expiry.
    #[error("must be seconds since 1970, at most 20000000000")]
    Epoch,
    /// The year 9999 in a zone far west, and the like.
    #[error("is beyond the dates that can be represented")]
    Range,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ExpirationDate {
        text.parse().unwrap()
    }

    #[test]
    fn offsets_decide_the_instant() {
        let berlin = TimeZone::fixed(Offset::constant(1));
        for (text, instant, has_zone) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", true),
            ("2027-01-01T00:00:00+02:00", "2026-12-31T22:00:00Z", true),
            ("2027-01-01 00:00:00-0330", "2027-01-01T03:30:00Z", true),
            ("2027-01-01T00:00", "2026-12-31T23:00:00Z", false),
            ("2027-01-01", "2026-12-31T23:00:00Z", false),
        ] {
            let date = parse(text);

            assert_eq!(
                date.instant(&berlin).unwrap().to_string(),
                instant,
                "{text}"
            );
            assert_eq!(date.has_zone(), has_zone, "{text}");
        }
    }

    #[test]
    fn is_written_as_it_was_read() {
        for text in [
            "2027-01-01T00:00:00Z",
            "2027-01-01T00:00:00+00:00",
            "2027-01-01T00:00:00.25-03:30",
            "2027-01-01T00:00:00",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn epoch_seconds() {
        let date = ExpirationDate::from_epoch(Duration::from_millis(1_710_404_610_500)).unwrap();

        assert_eq!(date.to_string(), "2024-03-14T08:23:30.5Z");
        assert_eq!(
            ExpirationDate::from_epoch(Duration::from_secs(1_710_404_610_500)),
            Err(InvalidExpirationDate::Epoch)
        );
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "tomorrow",
            "2027-13-01",
            "10:00:00",
            "2027-01-01T25:00:00Z",
        ] {
            assert_eq!(
                text.parse::<ExpirationDate>(),
                Err(InvalidExpirationDate::Form),
                "{text}"
            );
        }
        assert_eq!(
            "2027-01-01T00:00:00+01:00[Europe/Berlin]".parse::<ExpirationDate>(),
            Err(InvalidExpirationDate::Annotation)
        );
    }
}
