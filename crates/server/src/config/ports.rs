//! Ranges of ports.

use std::str::FromStr;

/// Ports to give to apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRange {
    /// Whatever is free.
    Any,
    /// From the first to the last, both included.
    Within {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
}

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPortRange(text.chars().take(80).collect());
        if text == "0" {
            return Ok(Self::Any);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = first.parse().map_err(|_| invalid())?;
        let last = last.parse().map_err(|_| invalid())?;
        if first == 0 || first > last {
            return Err(invalid());
        }
        Ok(Self::Within { first, last })
    }
}

/// The text is no range of ports.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a range of ports: write `20000-20999`, one port, or `0` for any free one")]
pub struct InvalidPortRange(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_read_strictly() {
        assert_eq!("0".parse::<PortRange>().unwrap(), PortRange::Any);
        assert_eq!(
            "7".parse::<PortRange>().unwrap(),
            PortRange::Within { first: 7, last: 7 }
        );
        for bad in ["", "0-5", "9-8", "a-b", "1-70000", "1-2-3"] {
            bad.parse::<PortRange>().unwrap_err();
        }
    }
}
