//! The part of CBOR (RFC 8949) that Nitro documents use, read item by item without copying.
//!
//! A general decoder builds whatever tree the sender likes before anyone looks at it, and most
//! keep only one of two equal keys. Here the caller asks for the item that must come next, so
//! nothing nests deeper than the format does, and no item is skipped unread.

use thiserror::Error;

/// Reads `bytes` from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The items of an array, or the pairs of a map, that are still to come.
pub(super) enum Items {
    /// So many.
    Left(u64),
    /// All up to a "break".
    UpToBreak,
}

/// What is wrong with the CBOR of a document, and at which byte of the part that was read.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CborError {
    /// The bytes end within an item.
    #[error("it ends within the item at byte `{at}`")]
    Truncated {
        /// Where the item starts.
        at: usize,
    },
    /// A number or length is not in its shortest form, or in none that RFC 8949 knows.
    #[error("the number at byte `{at}` is not in its shortest form")]
    NotShortest {
        /// Where the item starts.
        at: usize,
    },
    /// Another type than the format has there.
    #[error("at byte `{at}` stands {found} instead of {expected}")]
    Unexpected {
        /// Where the item starts.
        at: usize,
        /// What stands there.
        found: &'static str,
        /// What the format has there.
        expected: &'static str,
    },
    /// A text that is not UTF-8.
    #[error("the text at byte `{at}` is not UTF-8")]
    NotUtf8 {
        /// Where the item starts.
        at: usize,
    },
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were not read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn array(&mut self) -> Result<Items, CborError> {
        self.items(ARRAY, "an array")
    }

    pub(super) fn map(&mut self) -> Result<Items, CborError> {
        self.items(MAP, "a map")
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, CborError> {
        self.definite(UNSIGNED, "an unsigned number")
    }

    /// A number of either sign, if 64 bits hold it.
    pub(super) fn integer(&mut self) -> Result<i128, CborError> {
        match self.peek()? >> 5 {
            NEGATIVE => {
                let value = self.definite(NEGATIVE, "a number")?;
                Ok(-1 - i128::from(value))
            }
            _ => self.unsigned().map(i128::from),
        }
    }

    pub(super) fn byte_string(&mut self) -> Result<&'a [u8], CborError> {
        self.string(BYTES, "a byte string")
    }

    /// A byte string, or `None` for null.
    pub(super) fn byte_string_or_null(&mut self) -> Result<Option<&'a [u8]>, CborError> {
        if self.peek()? == NULL {
            self.at += 1;
            return Ok(None);
        }
        self.string(BYTES, "a byte string or null").map(Some)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, CborError> {
        let at = self.at;
        let text = self.string(TEXT, "a text")?;
        std::str::from_utf8(text).map_err(|_| CborError::NotUtf8 { at })
    }

    /// The number of a tag, if one stands here.
    pub(super) fn tag(&mut self) -> Result<Option<u64>, CborError> {
        match self.peek()? >> 5 {
            TAG => self.definite(TAG, "a tag").map(Some),
            _ => Ok(None),
        }
    }

    /// Whether another item of `items` follows. Takes the "break" off when it comes.
    pub(super) fn has_next(&mut self, items: &mut Items) -> Result<bool, CborError> {
        match items {
            Items::Left(0) => Ok(false),
            Items::Left(left) => {
                *left -= 1;
                Ok(true)
            }
            Items::UpToBreak if self.peek()? == BREAK => {
                self.at += 1;
                *items = Items::Left(0);
                Ok(false)
            }
            Items::UpToBreak => Ok(true),
        }
    }

    fn items(&mut self, major: u8, expected: &'static str) -> Result<Items, CborError> {
        Ok(match self.head(major, expected)? {
            Some(count) => Items::Left(count),
            None => Items::UpToBreak,
        })
    }

    fn string(&mut self, major: u8, expected: &'static str) -> Result<&'a [u8], CborError> {
        let at = self.at;
        let length = self.definite(major, expected)?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length));
        let content = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(CborError::Truncated { at })?;
        self.at += content.len();
        Ok(content)
    }

    fn definite(&mut self, major: u8, expected: &'static str) -> Result<u64, CborError> {
        let at = self.at;
        self.head(major, expected)?.ok_or(CborError::Unexpected {
            at,
            found: "an item of indefinite length",
            expected,
        })
    }

    /// Reads the head of an item of type `major`: its number, or `None` for indefinite length.
    fn head(&mut self, major: u8, expected: &'static str) -> Result<Option<u64>, CborError> {
        let at = self.at;
        let initial = self.peek()?;
        if initial >> 5 != major {
            return Err(CborError::Unexpected {
                at,
                found: name_of(initial),
                expected,
            });
        }
        let info = initial & 0x1f;
        let (size, least) = match info {
            0..=23 => {
                self.at += 1;
                return Ok(Some(u64::from(info)));
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            INDEFINITE => {
                self.at += 1;
                return Ok(None);
            }
            _ => return Err(CborError::NotShortest { at }),
        };
        let value = self
            .bytes
            .get(at + 1..at + 1 + size)
            .ok_or(CborError::Truncated { at })?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        if value < least {
            return Err(CborError::NotShortest { at });
        }
        self.at += 1 + size;
        Ok(Some(value))
    }

    fn peek(&self) -> Result<u8, CborError> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(CborError::Truncated { at: self.at })
    }
}

fn name_of(initial: u8) -> &'static str {
    match initial >> 5 {
        UNSIGNED => "an unsigned number",
        NEGATIVE => "a negative number",
        BYTES => "a byte string",
        TEXT => "a text",
        ARRAY => "an array",
        MAP => "a map",
        TAG => "a tag",
        _ if initial == NULL => "null",
        _ if initial == BREAK => "the end of a map or array",
        _ => "a simple value",
    }
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const INDEFINITE: u8 = 31;
const NULL: u8 = 0xf6;
const BREAK: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_are_read() {
        for (bytes, value) in [
            (&[0x17][..], 23),
            (&[0x18, 0x18], 24),
            (&[0x19, 0x01, 0x00], 256),
            (&[0x1a, 0, 1, 0, 0], 65536),
            (&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
        ] {
            assert_eq!(Reader::new(bytes).unsigned(), Ok(value));
            for cut in 0..bytes.len() {
                assert_eq!(
                    Reader::new(&bytes[..cut]).unsigned(),
                    Err(CborError::Truncated { at: 0 })
                );
            }
        }
        assert_eq!(Reader::new(&[0x38, 0x22]).integer(), Ok(-35));
    }

    #[test]
    fn a_number_has_one_form() {
        for bytes in [
            &[0x18, 0x17][..],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0, 0, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0x1c],
            &[0x1e],
        ] {
            assert_eq!(
                Reader::new(bytes).unsigned(),
                Err(CborError::NotShortest { at: 0 })
            );
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        let huge = [0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(
            Reader::new(&huge).byte_string(),
            Err(CborError::Truncated { at: 0 })
        );
    }

    #[test]
    fn strings_in_chunks_are_refused() {
        let chunked = [0x5f, 0x41, 0x00, 0xff];
        assert!(matches!(
            Reader::new(&chunked).byte_string(),
            Err(CborError::Unexpected { at: 0, .. })
        ));
    }

    #[test]
    fn arrays_end_after_their_count_or_at_a_break() {
        for bytes in [&[0x82, 1, 2][..], &[0x9f, 1, 2, 0xff]] {
            let mut reader = Reader::new(bytes);
            let mut items = reader.array().unwrap();
            let mut found = Vec::new();
            while reader.has_next(&mut items).unwrap() {
                found.push(reader.unsigned().unwrap());
            }
            assert_eq!((found, reader.left()), (vec![1, 2], 0));
            assert_eq!(reader.has_next(&mut items), Ok(false));
        }
    }
}
