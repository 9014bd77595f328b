//! Bytes as text that people write down and type: Bech32m (BIP 350) in groups of five.
//!
//! Its 32 characters leave out `1`, `b`, `i` and `o`; case does not matter. Six characters of checksum find
//! every change of up to four characters, wherever they are, in a text of at most 90 characters.

use mse_crypto::Zeroizing;

/// `mse1…` in groups, for these bytes. Secret, if they are.
pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut symbols = to_symbols(bytes);
    let checksum = checksum(&symbols);
    symbols.extend(checksum);
    // No copy is left behind by a text that grows.
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 1 + symbols.len() * 2));
    text.push_str(PREFIX);
    text.push('1');
    for (at, symbol) in symbols.iter().enumerate() {
        if at % GROUP == 0 && at > 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(*symbol)]));
    }
    text
}

/// The bytes of a text that [`encode`] made. Spaces, hyphens and case do not matter.
pub(super) fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, Mistyped> {
    let mut characters = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_lowercase());
    for expected in PREFIX.chars().chain(['1']) {
        if characters.next() != Some(expected) {
            return Err(Mistyped::NotAShare);
        }
    }
    let mut symbols = Zeroizing::new(Vec::with_capacity(MAX_CHARACTERS));
    for (at, character) in characters.enumerate() {
        if at + PREFIX.len() + 1 == MAX_CHARACTERS {
            return Err(Mistyped::TooLong);
        }
        let symbol = ALPHABET
            .iter()
            .position(|known| char::from(*known) == character)
            .and_then(|symbol| u8::try_from(symbol).ok())
            .ok_or(Mistyped::Character {
                character,
                place: Place::of(at),
            })?;
        symbols.push(symbol);
    }
    if symbols.len() < CHECKSUM || remainder(&symbols) != BECH32M {
        return Err(Mistyped::Checksum {
            characters: symbols.len(),
            suspect: only_suspect(&mut symbols),
        });
    }
    let length = symbols.len() - CHECKSUM;
    symbols.truncate(length);
    from_symbols(&symbols).ok_or(Mistyped::NotAShare)
}

/// Where a character stands; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which group, the first being the one after `mse1`.
    pub group: usize,
    /// Which character of it.
    pub character: usize,
}

impl Place {
    fn of(at: usize) -> Self {
        Self {
            group: at / GROUP + 1,
            character: at % GROUP + 1,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "character {} of group {}", self.character, self.group)
    }
}

/// Why a text does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistyped {
    /// It is something else.
    NotAShare,
    /// It has more characters than the checksum protects.
    TooLong,
    /// A character is none of the 32.
    Character { character: char, place: Place },
    /// A character is wrong, or several; if it can only be one, the place of it.
    Checksum {
        /// How many there are after the prefix.
        characters: usize,
        suspect: Option<Place>,
    },
}

/// The place of a character whose change makes the checksum right. Right texts differ in at least
/// five places, so with two or three wrong characters no single change leads to one: what this names
/// is the one wrong character, unless four or more are.
fn only_suspect(symbols: &mut [u8]) -> Option<Place> {
    for at in 0..symbols.len() {
        let given = symbols[at];
        let right = (0..32).any(|symbol| {
            symbols[at] = symbol;
            remainder(symbols) == BECH32M
        });
        symbols[at] = given;
        if right {
            return Some(Place::of(at));
        }
    }
    None
}

/// Groups of 5 bits, filled up with zero bits.
fn to_symbols(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut symbols = Zeroizing::new(Vec::with_capacity(bytes.len() * 8 / 5 + 1 + CHECKSUM));
    let (mut bits, mut held) = (0_u16, 0);
    for byte in bytes {
        bits = (bits << 8) | u16::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            symbols.push(((bits >> held) & 31) as u8);
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        symbols.push(((bits << (5 - held)) & 31) as u8);
    }
    symbols
}

/// `None` if the bits that fill up are not as [`to_symbols`] leaves them.
fn from_symbols(symbols: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() * 5 / 8));
    let (mut bits, mut held) = (0_u16, 0);
    for symbol in symbols {
        bits = (bits << 5) | u16::from(*symbol);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(((bits >> held) & 255) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (held < 5 && bits == 0).then_some(bytes)
}

fn checksum(symbols: &[u8]) -> [u8; CHECKSUM] {
    let padded = symbols.iter().copied().chain([0; CHECKSUM]);
    let polymod = remainder_of(PREFIX, padded) ^ BECH32M;
    std::array::from_fn(|at| ((polymod >> (5 * (CHECKSUM - 1 - at))) & 31) as u8)
}

/// The polynomial of the prefix and the symbols modulo Bech32's generator.
fn remainder(symbols: &[u8]) -> u32 {
    remainder_of(PREFIX, symbols.iter().copied())
}

fn remainder_of(prefix: &str, symbols: impl Iterator<Item = u8>) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let expanded = high.chain([0]).chain(low);
    expanded.chain(symbols).fold(1_u32, |sum, value| {
        let top = sum >> 25;
        let mut sum = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
        for (bit, generator) in GENERATOR.iter().enumerate() {
            sum ^= generator & ((top >> bit) & 1).wrapping_neg();
        }
        sum
    })
}

const PREFIX: &str = "mse";
const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [
    0x3b6a_57b2,
    0x2650_8e6d,
    0x1ea1_19fa,
    0x3d42_33dd,
    0x2a14_62b3,
];
const BECH32M: u32 = 0x2bc8_30a3;
const CHECKSUM: usize = 6;
const GROUP: usize = 5;
/// Up to here the checksum finds any four wrong characters.
const MAX_CHARACTERS: usize = 90;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_bip_350() {
        for valid in [
            "a1lqfn3a",
            "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
            "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
            "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
            "?1v759aa",
        ] {
            let (prefix, data) = valid.rsplit_once('1').unwrap();
            let symbols: Vec<_> = data
                .bytes()
                .map(|byte| ALPHABET.iter().position(|known| *known == byte).unwrap())
                .map(|symbol| u8::try_from(symbol).unwrap())
                .collect();
            assert_eq!(
                remainder_of(prefix, symbols.into_iter()),
                BECH32M,
                "{valid}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let text = encode(&bytes);
            prop_assert_eq!(&*decode(&text).unwrap(), &bytes);
            let shouted = text.to_uppercase().replace('-', " \n");
            prop_assert_eq!(&*decode(&shouted).unwrap(), &bytes);
        }

        #[test]
        fn decoding_never_panics(text in "(mse1)?[ -~é]{0,120}") {
            let _ = decode(&text);
        }

        #[test]
        fn one_wrong_character_is_found_where_it_is(
            bytes in prop::collection::vec(any::<u8>(), 1..50),
            at in any::<prop::sample::Index>(),
            other in 1_u8..32,
        ) {
            let mut symbols = to_symbols(&bytes);
            let check = checksum(&symbols);
            symbols.extend(check);
            let at = at.index(symbols.len());
            symbols[at] ^= other;
            let text: String = symbols
                .iter()
                .map(|symbol| char::from(ALPHABET[usize::from(*symbol)]))
                .collect();
            let wrong = Mistyped::Checksum {
                characters: symbols.len(),
                suspect: Some(Place::of(at)),
            };
            prop_assert_eq!(decode(&format!("mse1{text}")).err(), Some(wrong));
        }

        #[test]
        fn up_to_four_wrong_characters_are_noticed(
            bytes in prop::collection::vec(any::<u8>(), 1..50),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..32), 1..5),
        ) {
            let mut symbols = to_symbols(&bytes);
            let check = checksum(&symbols);
            symbols.extend(check);
            let right = symbols.clone();
            for (at, other) in changes {
                let at = at.index(symbols.len());
                symbols[at] ^= other;
            }
            prop_assume!(symbols != right);
            prop_assert_ne!(remainder(&symbols), BECH32M);
        }
    }
}
