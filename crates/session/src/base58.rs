//! Base58Check, in which the CLI of SCONE shows hashes of keys and short ids of signers:
//! a version byte, 32 bytes, and the first 4 bytes of the double SHA-256 of both.

use mse_crypto::Digest;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Version byte, 32 bytes, checksum.
const LENGTH: usize = 37;
/// Digits of the largest such number: 37 bytes in base 58.
const MAX_DIGITS: usize = 51;

/// The payload, if `text` is Base58Check with this version byte.
pub(crate) fn decode(version: u8, text: &str) -> Option<[u8; 32]> {
    if text.is_empty() || text.len() > MAX_DIGITS {
        return None;
    }
    let mut bytes = [0u8; LENGTH];
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|symbol| *symbol == digit)?;
        let mut carry = u32::try_from(value).ok()?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            [_, _, _, *byte] = carry.to_be_bytes();
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    let (payload, checksum) = bytes.split_at(33);
    if payload[0] != version || checksum_of(payload) != checksum {
        return None;
    }
    payload[1..].try_into().ok()
}

/// The text of `payload` under this version byte (which is not 0: such texts begin with `1`s).
pub(crate) fn encode(version: u8, payload: &[u8; 32]) -> String {
    let mut bytes = vec![version];
    bytes.extend_from_slice(payload);
    let checksum = checksum_of(&bytes);
    bytes.extend_from_slice(&checksum);
    let mut digits = Vec::with_capacity(MAX_DIGITS);
    while bytes.iter().any(|byte| *byte != 0) {
        let mut remainder = 0u32;
        for byte in &mut bytes {
            let value = remainder << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 58).expect("below 58 * 256, divided by 58");
            remainder = value % 58;
        }
        digits.push(ALPHABET[remainder as usize]);
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(*digit))
        .collect()
}

fn checksum_of(payload: &[u8]) -> [u8; 4] {
    let digest = Digest::of(&Digest::of(payload).0);
    [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn form_as_the_cli_shows_it() {
        // By a few lines of Python.
        for (version, byte, text) in [
            (
                0x01,
                0x00,
                "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3",
            ),
            (
                0x0a,
                0x07,
                "LVYGiNkpXucxDfRfDnWLJjn5ELwdg2m8HuLPvuk3EKg3W4vHfP",
            ),
            (
                0x0a,
                0xff,
                "NPBwYwMNgSVV2PkyNpzVXbX5Fmu9kGdf2nBgeZrwD5GRkdTZTx",
            ),
        ] {
            assert_eq!(encode(version, &[byte; 32]), text);
            assert_eq!(decode(version, text), Some([byte; 32]));
            assert_eq!(decode(version + 1, text), None);
        }
    }

    proptest! {
        #[test]
        fn round_trip(payload in any::<[u8; 32]>(), version in 1u8..) {
            prop_assert_eq!(decode(version, &encode(version, &payload)), Some(payload));
        }

        #[test]
        fn never_panics(text in ".{0,80}") {
            let _ = decode(1, &text);
        }

        #[test]
        fn one_changed_digit_is_noticed(payload in any::<[u8; 32]>(), index in 0usize..50) {
            let mut text = encode(1, &payload).into_bytes();
            let index = index % text.len();
            text[index] = if text[index] == b'x' { b'y' } else { b'x' };
            prop_assert_eq!(decode(1, std::str::from_utf8(&text).unwrap()), None);
        }
    }
}
