//! Amounts of memory, processors and time.

use std::fmt;
use std::str::FromStr;

use mse_yaml::shown;

/// An amount of memory: `512Mi`, `1G`. At least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    /// In bytes.
    pub fn get(self) -> u64 {
        self.0
    }

    /// In MiB, rounded up.
    pub fn mebibytes(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

const BINARY: [(&str, u64); 4] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
];
const DECIMAL: [(&str, u64); 4] = [
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// A whole number with a unit, as in Kubernetes.
impl FromStr for Bytes {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBytes(text.to_owned());
        let (number, factor) = BINARY
            .iter()
            .chain(&DECIMAL)
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .ok_or_else(invalid)?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| (1..1 << 60).contains(bytes));
        bytes.map(Self).ok_or_else(invalid)
    }
}

/// In the largest unit that it is a whole number of.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = BINARY
            .iter()
            .chain(&DECIMAL)
            .find(|(_, factor)| self.0.is_multiple_of(*factor));
        match fits {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A text that is no amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no amount of memory: write a whole number and a unit, such as `512Mi` or `1Gi`", shown(.0))]
pub struct InvalidBytes(String);

/// Thousandths of a processor core: `0.5`, `2`, `1500m`. From 1 to 1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millicores(u32);

impl Millicores {
    /// In thousandths.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Millicores {
    type Err = InvalidMillicores;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMillicores(text.to_owned());
        let number = |text: &str| {
            let is_number =
                (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>()
                .ok()
                .filter(|_| is_number)
                .ok_or_else(invalid)
        };
        let thousandths = if let Some(thousandths) = text.strip_suffix('m') {
            Some(number(thousandths)?)
        } else if let Some((whole, part)) = text.split_once('.') {
            if part.len() > 3 {
                return Err(invalid());
            }
            let part = number(&format!("{part:0<3}")).and_then(|n| number(part).map(|_| n))?;
            number(whole)?
                .checked_mul(1000)
                .and_then(|whole| whole.checked_add(part))
        } else {
            number(text)?.checked_mul(1000)
        };
        match thousandths {
            Some(thousandths @ 1..=1_000_000) => Ok(Self(thousandths)),
            _ => Err(invalid()),
        }
    }
}

/// Whole cores, or thousandths with `m`.
impl fmt::Display for Millicores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

/// A text that is no number of cores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no number of cores: write `2`, `0.5` or `500m`, of at most 1000 cores", shown(.0))]
pub struct InvalidMillicores(String);

/// A time in whole seconds: from one to a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seconds(u32);

impl Seconds {
    /// The longest.
    pub const MAX: u32 = 24 * 3600;

    /// None: not from one to a day.
    pub fn new(seconds: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    pub fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory() {
        for (text, bytes, mebibytes) in [
            ("512Mi", 512 << 20, 512),
            ("1G", 1_000_000_000, 954),
            ("2Gi", 2 << 30, 2048),
            ("1500k", 1_500_000, 2),
        ] {
            let amount: Bytes = text.parse().unwrap();
            assert_eq!(
                (amount.get(), amount.mebibytes()),
                (bytes, mebibytes),
                "{text}"
            );
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        for bad in [
            "",
            "512",
            "Mi",
            "-1Mi",
            "1.5Gi",
            "0Mi",
            "+1M",
            "99999999999999999999Gi",
            "9999999Ti",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cores() {
        for (text, thousandths) in [
            ("2", 2000),
            ("0.5", 500),
            ("1500m", 1500),
            ("1.25", 1250),
            ("0.001", 1),
        ] {
            let cores: Millicores = text.parse().unwrap();
            assert_eq!(cores.get(), thousandths, "{text}");
            assert_eq!(cores.to_string().parse(), Ok(cores));
        }
        for bad in [
            "",
            "0",
            "m",
            ".5",
            "1.",
            "1.2345",
            "-1",
            "+1",
            "1e3",
            "1001",
            "0m",
            "99999999999",
        ] {
            assert!(bad.parse::<Millicores>().is_err(), "{bad}");
        }
    }
}
