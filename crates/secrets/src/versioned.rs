//! A value and the one before it: what a rotation leaves behind for a time.

use std::time::{Duration, SystemTime};

use mse_crypto::Zeroizing;

use crate::{InvalidValue, Validity, Value, frame};

/// The current value of a secret, and its predecessor until a time of grace ends.
///
/// Programs get the current version at their next start; what still runs keeps the one before. Both
/// are accepted until the grace ends, then only the current one. There are never three.
#[derive(Clone)]
pub struct Versioned<T> {
    current: Version<T>,
    previous: Option<Previous<T>>,
}

/// A value with its number. The first is 1, each rotation adds 1.
#[derive(Clone)]
pub struct Version<T> {
    /// The number.
    pub number: u64,
    /// The value.
    pub value: T,
}

#[derive(Clone)]
struct Previous<T> {
    version: Version<T>,
    until: SystemTime,
}

impl<T> Versioned<T> {
    /// Version 1.
    pub fn new(value: T) -> Self {
        Self {
            current: Version { number: 1, value },
            previous: None,
        }
    }

    /// What programs get.
    pub fn current(&self) -> &Version<T> {
        &self.current
    }

    /// Makes `value` the current version; gives its number. The one that was current is accepted for
    /// the time of `grace` from `now`, or no more if there is none; the one before it is dropped,
    /// whatever was left of its grace.
    pub fn rotate(&mut self, value: T, now: SystemTime, grace: Option<Validity>) -> u64 {
        let number = self.current.number + 1;
        let before = std::mem::replace(&mut self.current, Version { number, value });
        // Past the end of the clock there is no grace.
        self.previous = grace
            .and_then(|grace| grace.after(now))
            .map(|until| Previous {
                version: before,
                until,
            });
        number
    }

    /// What is accepted at `now`: the current version first.
    pub fn accepted(&self, now: SystemTime) -> Accepted<'_, T> {
        let previous = self
            .previous
            .as_ref()
            .filter(|previous| now < previous.until)
            .map(|previous| &previous.version);
        Accepted {
            current: Some(&self.current),
            previous,
        }
    }

    /// The value of one version, if it is accepted at `now`.
    pub fn get(&self, number: u64, now: SystemTime) -> Result<&T, NotAccepted> {
        self.accepted(now)
            .find(|version| version.number == number)
            .map(|version| &version.value)
            .ok_or(if number > self.current.number || number == 0 {
                NotAccepted::Unknown {
                    number,
                    current: self.current.number,
                }
            } else {
                NotAccepted::Past {
                    number,
                    current: self.current.number,
                }
            })
    }

    /// When the grace of the previous version ends, if there is one.
    pub fn grace_until(&self) -> Option<SystemTime> {
        self.previous.as_ref().map(|previous| previous.until)
    }

    /// Drops, and thereby wipes, a previous version whose grace has ended. True if there was one:
    /// then this is to be stored again.
    pub fn forget_past(&mut self, now: SystemTime) -> bool {
        let past = self.grace_until().is_some_and(|until| until <= now);
        if past {
            self.previous = None;
        }
        past
    }
}

impl Versioned<Value> {
    /// The compact form. It holds the secrets: seal it. The end of the grace is cut to seconds.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let number = self.current.number.to_be_bytes();
        let current = self.current.value.to_bytes();
        match &self.previous {
            None => frame::write(TAG, &[&number, &current]),
            Some(previous) => {
                let until = previous
                    .until
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs();
                frame::write(
                    TAG,
                    &[
                        &number,
                        &current,
                        &previous.version.number.to_be_bytes(),
                        &previous.version.value.to_bytes(),
                        &until.to_be_bytes(),
                    ],
                )
            }
        }
    }

    /// Reads what [`Versioned::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidValue> {
        let version = |number: &[u8], value: &[u8]| {
            Ok(Version {
                number: frame::number(number).ok_or(InvalidValue)?,
                value: Value::from_bytes(value)?,
            })
        };
        let (current, previous) = match frame::read(bytes) {
            Some((TAG, fields)) => match fields[..] {
                [number, current] => (version(number, current)?, None),
                [number, current, before, previous, until] => (
                    version(number, current)?,
                    Some(Previous {
                        version: version(before, previous)?,
                        until: frame::number(until)
                            .and_then(|until| {
                                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until))
                            })
                            .ok_or(InvalidValue)?,
                    }),
                ),
                _ => return Err(InvalidValue),
            },
            _ => return Err(InvalidValue),
        };
        let follows = |previous: &Previous<Value>| {
            previous.version.number.checked_add(1) == Some(current.number)
        };
        if current.number == 0 || !previous.as_ref().is_none_or(follows) {
            return Err(InvalidValue);
        }
        Ok(Self { current, previous })
    }
}

const TAG: u8 = 0x80;

/// The versions that are accepted, the current one first.
pub struct Accepted<'a, T> {
    current: Option<&'a Version<T>>,
    previous: Option<&'a Version<T>>,
}

impl<'a, T> Iterator for Accepted<'a, T> {
    type Item = &'a Version<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.current.take().or_else(|| self.previous.take())
    }
}

/// Why a version is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// It was replaced, and its grace has ended.
    #[error("version {number} is no longer accepted; the current one is {current}")]
    Past {
        /// What was asked for.
        number: u64,
        /// The current version.
        current: u64,
    },
    /// There never was one.
    #[error("there is no version {number}; the current one is {current}")]
    Unknown {
        /// What was asked for.
        number: u64,
        /// The current version.
        current: u64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Given, Kind};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn grace() -> Validity {
        "100s".parse().unwrap()
    }

    fn numbers<T>(versioned: &Versioned<T>, now: u64) -> Vec<u64> {
        versioned
            .accepted(at(now))
            .map(|version| version.number)
            .collect()
    }

    #[test]
    fn the_previous_version_is_accepted_until_its_grace_ends() {
        let mut secret = Versioned::new("a");
        assert_eq!(numbers(&secret, 0), [1]);
        assert_eq!(secret.rotate("b", at(1000), Some(grace())), 2);
        assert_eq!(secret.current().value, "b");
        assert_eq!(numbers(&secret, 1000), [2, 1]);
        assert_eq!(numbers(&secret, 1099), [2, 1]);
        assert_eq!(numbers(&secret, 1100), [2]);
        assert_eq!(secret.get(1, at(1099)), Ok(&"a"));
        let past = NotAccepted::Past {
            number: 1,
            current: 2,
        };
        assert_eq!(secret.get(1, at(1100)), Err(past));
        let unknown = |number| Err(NotAccepted::Unknown { number, current: 2 });
        assert_eq!(secret.get(3, at(1000)), unknown(3));
        assert_eq!(secret.get(0, at(1000)), unknown(0));
    }

    #[test]
    fn rotated_twice_within_the_grace_the_oldest_goes() {
        let mut secret = Versioned::new("a");
        secret.rotate("b", at(1000), Some(grace()));
        secret.rotate("c", at(1010), Some(grace()));
        assert_eq!(numbers(&secret, 1020), [3, 2]);
        assert!(secret.get(1, at(1020)).is_err());
        assert_eq!(secret.get(2, at(1109)), Ok(&"b"));
        assert!(secret.get(2, at(1110)).is_err());
    }

    #[test]
    fn without_grace_only_the_current_version_is_accepted() {
        let mut secret = Versioned::new("a");
        secret.rotate("b", at(1000), Some(grace()));
        secret.rotate("c", at(1000), None);
        assert_eq!(numbers(&secret, 1000), [3]);
        assert_eq!(secret.grace_until(), None);
    }

    #[test]
    fn what_is_past_is_dropped_and_stays_so_when_the_clock_goes_back() {
        let mut secret = Versioned::new("a");
        secret.rotate("b", at(1000), Some(grace()));
        assert!(!secret.forget_past(at(1099)));
        assert!(secret.forget_past(at(1100)));
        assert!(!secret.forget_past(at(1100)));
        assert_eq!(numbers(&secret, 1000), [2]);
    }

    #[test]
    fn the_stored_form_is_read_back_and_nothing_else() {
        let value = |text: &str| Given::parse(Kind::Ascii, text).unwrap().value().clone();
        let mut secret = Versioned::new(value("a"));
        assert_eq!(
            numbers(&Versioned::from_bytes(&secret.to_bytes()).unwrap(), 0),
            [1]
        );
        secret.rotate(value("b"), at(1000), Some(grace()));
        let bytes = secret.to_bytes();
        let again = Versioned::from_bytes(&bytes).unwrap();
        assert_eq!(numbers(&again, 1099), [2, 1]);
        assert_eq!(again.grace_until(), Some(at(1100)));
        assert_eq!(*again.to_bytes(), *bytes);
        for length in 0..bytes.len() {
            assert!(Versioned::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        // A gap between the two numbers.
        let mut changed = bytes.to_vec();
        changed[14] = 9;
        assert!(Versioned::from_bytes(&changed).is_err());
    }

    proptest! {
        #[test]
        fn never_three_and_always_the_current_one(
            steps in prop::collection::vec((0_u64..300, any::<bool>()), 0..20),
        ) {
            let mut secret = Versioned::new(1_u64);
            let mut now = 0;
            for (passed, with_grace) in steps {
                now += passed;
                let number = secret.current().number + 1;
                secret.rotate(number, at(now), with_grace.then(grace));
                let accepted = numbers(&secret, now);
                prop_assert_eq!(accepted[0], number);
                prop_assert_eq!(accepted.len(), 1 + usize::from(with_grace));
                prop_assert!(accepted.iter().all(|number| secret.get(*number, at(now)) == Ok(number)));
                prop_assert_eq!(numbers(&secret, now + 100), [number]);
            }
        }
    }
}
