//! SHA-384 digests, and hashing what comes from a reader.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::str::FromStr;

use aws_lc_rs::digest::{Algorithm, Context, Digest, SHA256, SHA384, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The largest kernel or initrd that is read: 4 GiB.
pub const MAX_BOOT_FILE: u64 = 4 << 30;

/// A SHA-384 digest (FIPS 180-4): 48 bytes, shown and stored as 96 lower-case hex digits.
///
/// SNP launch measurements, MRTD and RTMRs are all of this form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha384Digest(pub [u8; 48]);

impl Sha384Digest {
    /// What a measurement starts from, and an RTMR that nothing was extended into.
    pub const ZERO: Self = Self([0; 48]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_backend(&digest(&SHA384, bytes))
    }

    fn from_backend(digest: &Digest) -> Self {
        let mut bytes = [0; 48];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for Sha384Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha384Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha384Digest({self})")
    }
}

impl FromStr for Sha384Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 48];
        match hex::decode_to_slice(text.trim(), &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(InvalidDigest(text.chars().take(120).collect())),
        }
    }
}

impl Serialize for Sha384Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha384Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no SHA-384 digest.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a SHA-384 digest: give 96 hexadecimal digits")]
pub struct InvalidDigest(String);

/// What went wrong with a file that is measured.
#[derive(Debug, Error)]
pub enum InputError {
    /// It is larger than anything sensible.
    #[error("the {what} is larger than `{limit}` bytes: give the file that the guest boots")]
    TooLarge {
        /// Which file.
        what: &'static str,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// It cannot be read.
    #[error("the {what} cannot be read ({source}): give a file that can be read to its end")]
    Read {
        /// Which file.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// SHA-384 of all that `reader` gives, read in pieces; `what` names it in errors. More than
/// [`MAX_BOOT_FILE`] bytes are an error.
pub fn sha384_of_reader(reader: impl Read, what: &'static str) -> Result<Sha384Digest, InputError> {
    of_reader(&SHA384, reader, what).map(|digest| Sha384Digest::from_backend(&digest))
}

/// SHA-256 likewise.
pub(crate) fn sha256_of_reader(
    reader: impl Read,
    what: &'static str,
) -> Result<[u8; 32], InputError> {
    of_reader(&SHA256, reader, what).map(|digest| sha256_bytes(&digest))
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256_bytes(&digest(&SHA256, bytes))
}

fn sha256_bytes(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

fn of_reader(
    algorithm: &'static Algorithm,
    mut reader: impl Read,
    what: &'static str,
) -> Result<Digest, InputError> {
    let mut context = Context::new(algorithm);
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return Ok(context.finish()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(InputError::Read { what, source }),
        };
        total = total.saturating_add(length as u64);
        if total > MAX_BOOT_FILE {
            return Err(InputError::TooLarge {
                what,
                limit: MAX_BOOT_FILE,
            });
        }
        context.update(buffer.get(..length).unwrap_or(&buffer));
    }
}

/// SHA-384 of what comes in pieces.
pub(crate) struct Sha384(Context);

impl Sha384 {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA384))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha384Digest {
        Sha384Digest::from_backend(&self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_180_4_example() {
        let expected = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                        8086072ba1e7cc2358baeca134c825a7";
        assert_eq!(Sha384Digest::of(b"abc").to_string(), expected);
        assert_eq!(
            sha384_of_reader(&b"abc"[..], "text").unwrap().to_string(),
            expected
        );
        assert_eq!(
            serde_json::from_str::<Sha384Digest>(&format!("\"{expected}\"")).unwrap(),
            Sha384Digest::of(b"abc")
        );
    }

    #[test]
    fn half_a_digest_is_none() {
        let error = "abcd".parse::<Sha384Digest>().unwrap_err();
        assert!(error.to_string().contains("`abcd`"), "{error}");
    }

    #[test]
    fn endless_input_comes_to_an_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no disk"))
            }
        }
        let error = sha256_of_reader(Broken, "kernel").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the kernel cannot be read (no disk)"),
            "{error}"
        );
    }
}
