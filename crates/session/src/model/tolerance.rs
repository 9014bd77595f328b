//! Relaxations of attestation, and on what terms.

use std::fmt;
use std::str::FromStr;

use mse_yaml::{Code, Field, Fields, Reporting, shown};
use serde_json::{Value, json};

/// Why a relaxation was made, and when it ends.
///
/// The extension of MSE over SCONE's language: what opens a dangerous hole is not a word in a list
/// but a decision of somebody, and it does not stay for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Why: for readers.
    pub reason: String,
    /// The last second at which it holds.
    pub until: Until,
}

impl Terms {
    /// Reads `reason` and `until`, which a map must have.
    pub fn read(r: &mut impl Reporting, fields: &mut Fields<'_>) -> Option<Self> {
        let reason = fields
            .require(r, "reason")
            .and_then(|field| field.line(r, 1024));
        let until = fields
            .require(r, "until")
            .and_then(|field| field.parse(r, Code::BadValue));
        Some(Self {
            reason: reason?,
            until: until?,
        })
    }

    /// Reads a word, or `{key: word, reason: …, until: …}`; gives the word's field.
    pub fn beside<'n>(
        r: &mut impl Reporting,
        field: &Field<'n>,
        key: &'static str,
    ) -> Option<(Field<'n>, Option<Self>)> {
        if !field.is_map() {
            return Some((field.clone(), None));
        }
        let mut fields = field.map(r)?;
        let word = fields.require(r, key);
        let terms = Self::read(r, &mut fields);
        fields.finish(r);
        Some((word?, Some(terms?)))
    }

    /// What [`beside`](Self::beside) reads.
    pub fn written(key: &str, word: &str, terms: Option<&Self>) -> Value {
        let Some(Self { reason, until }) = terms else {
            return word.into();
        };
        json!({key: word, "reason": reason, "until": until.to_string()})
    }
}

/// The last second of a relaxation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Until {
    unix_seconds: i64,
}

impl Until {
    /// Seconds since 1970 (UTC).
    pub fn unix_seconds(self) -> i64 {
        self.unix_seconds
    }

    /// Whether it has not passed at `now`, in seconds since 1970.
    pub fn holds_at(self, now: i64) -> bool {
        now <= self.unix_seconds
    }
}

/// A day (its last second, UTC) or an instant of RFC 3339.
impl FromStr for Until {
    type Err = InvalidUntil;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidUntil(text.to_owned());
        let instant = if text.len() == 10 {
            format!("{text}T23:59:59Z")
        } else {
            text.to_owned()
        };
        let instant: jiff::Timestamp = instant.parse().map_err(|_| invalid())?;
        Ok(Self {
            unix_seconds: instant.as_second(),
        })
    }
}

/// RFC 3339, UTC.
impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.unix_seconds) {
            Ok(instant) => instant.fmt(f),
            Err(_) => write!(f, "{}", self.unix_seconds),
        }
    }
}

/// A text that is no date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no date: `2027-03-31`, or `2027-03-31T12:00:00Z`", shown(.0))]
pub struct InvalidUntil(String);

macro_rules! tolerated {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What attestation can let pass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Tolerated { $($(#[$doc])* $name,)* }

        impl Tolerated {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As written in a session.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

tolerated! {
    /// Debuggable enclaves: whoever runs them reads everything.
    DebugMode = "debug-mode",
    /// Two threads on a core.
    Hyperthreading = "hyperthreading",
    /// An integrated GPU.
    InsecureIgpu = "insecure-igpu",
    /// Holes that software must close.
    SoftwareHardeningNeeded = "software-hardening-needed",
    /// A machine that is set up insecurely.
    InsecureConfiguration = "insecure-configuration",
    /// A machine whose firmware has known holes.
    OutdatedTcb = "outdated-tcb",
    /// INTEL-SA-00657.
    AepicLeak = "aepic-leak",
    /// The TCB is judged by Microsoft.
    MaaManagedTcb = "maa-managed-tcb",
    /// Local attestation on the machine of the CAS.
    LocalAttestationTrustCasTcb = "local-attestation-trust-cas-tcb",
}

impl Tolerated {
    /// Whether it needs [`Terms`].
    pub fn is_dangerous(self) -> bool {
        matches!(
            self,
            Self::DebugMode | Self::InsecureConfiguration | Self::OutdatedTcb
        )
    }
}

impl FromStr for Tolerated {
    type Err = UnknownTolerated;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Seen in an example of attestation by MAA.
        if text == "debug" {
            return Ok(Self::DebugMode);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| UnknownTolerated(text.to_owned()))
    }
}

/// A word that names nothing that can be tolerated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is nothing that attestation can tolerate", shown(.0))]
pub struct UnknownTolerated(pub String);

/// One relaxation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// What is let pass.
    pub what: Tolerated,
    /// On what terms. A dangerous one has them, unless the session was imported.
    pub terms: Option<Terms>,
}

/// A security advisory that is let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// `INTEL-SA-00615`.
    pub id: String,
    /// On what terms.
    pub terms: Option<Terms>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_with_its_last_second() {
        let day: Until = "2027-03-31".parse().unwrap();
        assert_eq!(day.to_string(), "2027-03-31T23:59:59Z");
        assert!(day.holds_at(day.unix_seconds()));
        assert!(!day.holds_at(day.unix_seconds() + 1));
        let instant: Until = "2027-03-31T12:00:00+02:00".parse().unwrap();
        assert_eq!(instant.to_string(), "2027-03-31T10:00:00Z");
        for bad in ["", "2027-3-31", "2027-02-30", "soon", "2027-03-31 x"] {
            assert!(bad.parse::<Until>().is_err(), "{bad}");
        }
    }
}
