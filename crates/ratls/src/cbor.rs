//! The part of CBOR (RFC 8949) that tagged evidence uses: heads of definite length, strings that
//! are borrowed. Whoever reads asks for the item that must come next, so nothing nests deeper
//! than the format does.

/// Reads `bytes` from the front.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

/// Major types of RFC 8949, section 3.1.
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Why bytes are not the CBOR that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// Another type stands where this one must.
    #[error("{0} must stand where something else does")]
    Expected(&'static str),
    /// It breaks off.
    #[error("it breaks off")]
    Truncated,
    /// Of indefinite length, or a length that is not in its shortest form.
    #[error("a length is indefinite or not in its shortest form")]
    Length,
    /// Bytes that belong to nothing.
    #[error("bytes follow its end")]
    Trailing,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The number of a tag.
    pub(crate) fn tag(&mut self) -> Result<u64, CborError> {
        self.head(TAG, "a tag")
    }

    /// How many items the array has.
    pub(crate) fn array(&mut self) -> Result<u64, CborError> {
        self.head(ARRAY, "an array")
    }

    /// How many pairs the map has.
    pub(crate) fn map(&mut self) -> Result<u64, CborError> {
        self.head(MAP, "a map")
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, CborError> {
        self.head(UNSIGNED, "an unsigned number")
    }

    pub(crate) fn byte_string(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES, "a byte string")?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CborError> {
        let length = self.head(TEXT, "a text")?;
        std::str::from_utf8(self.take(length)?).map_err(|_| CborError::Text)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), CborError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(CborError::Trailing)
        }
    }

    fn head(&mut self, major: u8, expected: &'static str) -> Result<u64, CborError> {
        let (&initial, rest) = self.bytes.split_first().ok_or(CborError::Truncated)?;
        if initial >> 5 != major {
            return Err(CborError::Expected(expected));
        }
        let (size, least) = match initial & 0x1f {
            info @ 0..=23 => {
                self.bytes = rest;
                return Ok(info.into());
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(CborError::Length),
        };
        let (argument, rest) = rest.split_at_checked(size).ok_or(CborError::Truncated)?;
        let value = argument
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        if value < least {
            return Err(CborError::Length);
        }
        self.bytes = rest;
        Ok(value)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.split_at_checked(length))
            .ok_or(CborError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Writes items one behind the other.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn tag(mut self, number: u64) -> Self {
        self.head(TAG, number);
        self
    }

    pub(crate) fn array(mut self, items: u64) -> Self {
        self.head(ARRAY, items);
        self
    }

    pub(crate) fn map(mut self, pairs: u64) -> Self {
        self.head(MAP, pairs);
        self
    }

    pub(crate) fn unsigned(mut self, value: u64) -> Self {
        self.head(UNSIGNED, value);
        self
    }

    pub(crate) fn byte_string(mut self, bytes: &[u8]) -> Self {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.head(TEXT, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) {
        let bytes = value.to_be_bytes();
        let (info, size) = match value {
            0..=23 => (bytes[7], 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.0.push(major << 5 | info);
        self.0.extend_from_slice(&bytes[8 - size..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in [0, 23, 24, 255, 256, 65535, 65536, u64::from(u32::MAX) + 1] {
            let written = Writer::default().unsigned(value).finish();
            let mut reader = Reader::new(&written);
            assert_eq!(reader.unsigned(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let read = |bytes: &'static [u8]| Reader::new(bytes).byte_string();
        assert_eq!(read(b"\x5f\x41a\xff"), Err(CborError::Length));
        assert_eq!(read(b"\x58\x01a"), Err(CborError::Length));
        assert_eq!(read(b"\x5c"), Err(CborError::Length));
        assert_eq!(read(b"\x42a"), Err(CborError::Truncated));
        assert_eq!(read(b"\x59\x01"), Err(CborError::Truncated));
        assert_eq!(
            read(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(CborError::Truncated)
        );
        assert_eq!(read(b"\x61a"), Err(CborError::Expected("a byte string")));
        assert_eq!(Reader::new(b"\x61\xff").text(), Err(CborError::Text));
        assert_eq!(Reader::new(b"\x00").end(), Err(CborError::Trailing));
    }
}
