//! The binary form of what is sealed: fields in order, numbers big-endian, byte strings after their
//! length. It is never shown to anybody else, so it has no names and no versions: a change of a
//! form is a migration.

use mse_crypto::{Digest, Zeroizing};

/// Writes fields.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// Room for as many bytes: no copy of a secret is left behind when the buffer grows.
    pub(super) fn with_room_for(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn optional_i64(&mut self, value: Option<i64>) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                self.i64(value);
            }
        }
    }

    pub(super) fn optional_digest(&mut self, digest: Option<&Digest>) {
        match digest {
            None => self.u8(0),
            Some(digest) => {
                self.u8(1);
                self.fixed(digest.as_ref());
            }
        }
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn finish_secret(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0)
    }
}

/// Reads fields.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.fixed::<1>()?[0])
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.fixed()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub(super) fn optional_i64(&mut self) -> Result<Option<i64>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(self.i64()?)),
            _ => Err(Malformed),
        }
    }

    pub(super) fn optional_digest(&mut self) -> Result<Option<Digest>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Digest(self.fixed()?))),
            _ => Err(Malformed),
        }
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn bytes(&mut self, at_most: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u64()?).map_err(|_| Malformed)?;
        if length > at_most {
            return Err(Malformed);
        }
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// The bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;
