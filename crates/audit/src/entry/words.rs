//! The small values of entries: names, hashes, times.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use mse_crypto::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last millisecond of the year 9999.
pub const MAX_TIME: u64 = 253_402_300_799_999;

/// A point in time: milliseconds since the Unix epoch, at most [`MAX_TIME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// By the system's clock. A clock before 1970 counts as 1970, one after 9999 as 9999.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_millis()).map_or(MAX_TIME, |millis| millis.min(MAX_TIME)))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for UnixMillis {
    type Error = InvalidWord;

    fn try_from(millis: u64) -> Result<Self, InvalidWord> {
        if millis <= MAX_TIME {
            Ok(Self(millis))
        } else {
            Err(InvalidWord::new(
                "time",
                &millis.to_string(),
                "milliseconds since 1970, before the year 10000",
            ))
        }
    }
}

impl From<UnixMillis> for u64 {
    fn from(time: UnixMillis) -> Self {
        time.0
    }
}

/// The hash that names a key: SHA-256 of its SubjectPublicKeyInfo. 64 hex digits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub Digest);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 16 random bytes. 32 hex digits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// A fresh one.
    pub fn generate() -> Self {
        Self(mse_crypto::random::bytes())
    }
}

impl FromStr for Salt {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| InvalidWord::new("salt", text, "32 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a TEE measured: 16 to 64 bytes, hexadecimal in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement(Vec<u8>);

impl Measurement {
    /// Takes the raw bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidWord> {
        hex::encode(bytes).parse()
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Measurement {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        match hex::decode(text) {
            Ok(bytes) if (16..=64).contains(&bytes.len()) => Ok(Self(bytes)),
            _ => Err(InvalidWord::new(
                "measurement",
                text,
                "16 to 64 bytes in hexadecimal digits",
            )),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The name of a session (with `/` between namespaces), service, secret, volume or release: 1 to
/// 512 of `A-Z a-z 0-9 - . _ ~ /`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if (1..=512).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidWord::new(
                "name",
                text,
                "1 to 512 of `A-Z a-z 0-9 - . _ ~ /`",
            ))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a check, such as `measurement` or `tcb-status`: 1 to 64 of `a-z 0-9 - .`. The
/// alphabet and the length leave no room for a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckName(String);

impl CheckName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CheckName {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        label("check", text).map(Self)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which TEE, such as `sgx` or `simulated`: 1 to 64 of `a-z 0-9 - .`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeeName(String);

impl TeeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TeeName {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        label("tee", text).map(Self)
    }
}

impl fmt::Display for TeeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn label(what: &'static str, text: &str) -> Result<String, InvalidWord> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(InvalidWord::new(what, text, "1 to 64 of `a-z 0-9 - .`"))
    }
}

macro_rules! as_text {
    ($($word:ty),*) => {$(
        impl Serialize for $word {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $word {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Salt, Measurement, Name, CheckName, TeeName);

/// A word that is not of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {expected} are expected")]
pub struct InvalidWord {
    what: &'static str,
    text: String,
    expected: &'static str,
}

impl InvalidWord {
    fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}
