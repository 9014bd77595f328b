//! XSalsa20-Poly1305 (NaCl `crypto_secretbox`), the cipher of the code bundle.
//!
//! A sealed file is `nonce (24) ‖ tag (16) ‖ ciphertext`, [`OVERHEAD`] bytes longer than the
//! plaintext. The first 32 bytes of key stream make the one-time Poly1305 key, the ciphertext
//! uses the stream from there on. [`Sealer`] and [`Opener`] work in pieces, so a file of any
//! size needs one buffer; there is no associated data in this format, hence the workload binds
//! every path to its ciphertext (see `mse-workload`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit as _, UniversalHash};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest::{Digest, Hasher};
use crate::random;

/// Bytes of the nonce in front of a sealed file.
pub const NONCE_LEN: usize = 24;
/// Bytes of the Poly1305 tag behind the nonce.
pub const TAG_LEN: usize = 16;
/// What sealing adds to a file's length.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// The tag of a sealed file.
pub type Tag = [u8; TAG_LEN];

/// The key that opens a code bundle: 32 random bytes, made by the app's owner, one per
/// deployment. Wiped when dropped; it has no `Debug` and is written only by [`CodeKey::to_hex`].
#[derive(Clone)]
pub struct CodeKey(Zeroizing<[u8; 32]>);

impl CodeKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(random::secret_bytes())
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Parses 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, InvalidCodeKey> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| InvalidCodeKey)?;
        Ok(Self(bytes))
    }

    /// The key check value: SHA-256 over `"mse-code-key-v1" ‖ 0 ‖ key`. It tells the right key
    /// from another without a ciphertext, and nothing of the key: that is 256 random bits.
    pub fn check_value(&self) -> Digest {
        let mut hasher = Hasher::with_domain("mse-code-key-v1");
        hasher.update(self.0.as_ref());
        hasher.finish()
    }

    /// The nonce of the file at `path` whose content has the SHA-256 `plaintext`: the first 24
    /// bytes of HMAC-SHA256 under `HMAC-SHA256(key, "mse-file-nonce-v1")` over the length of the
    /// path (8 bytes, big-endian), the path, and the digest.
    ///
    /// Two files have one nonce only if path and content are the same, and then their ciphertext
    /// may be. Who compares two bundles of one key learns which files did not change.
    pub fn derived_nonce(&self, path: &str, plaintext: &Digest) -> Nonce {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let subkey = hmac::sign(&key, b"mse-file-nonce-v1");
        let subkey = hmac::Key::new(hmac::HMAC_SHA256, subkey.as_ref());
        let mut context = hmac::Context::with_key(&subkey);
        context.update(&(path.len() as u64).to_be_bytes());
        context.update(path.as_bytes());
        context.update(&plaintext.0);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&context.sign().as_ref()[..NONCE_LEN]);
        Nonce(nonce)
    }

    /// 64 hex digits, wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0))
    }
}

/// The text is not 64 hex digits. It is not repeated here: it may be most of a key.
#[derive(Debug, thiserror::Error)]
#[error("the code key is not 64 hexadecimal digits")]
pub struct InvalidCodeKey;

/// The 24-byte nonce of one file, shown as 48 hex digits. Never use one twice with a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; NONCE_LEN]);

impl Nonce {
    /// A fresh nonce; 192 random bits do not repeat.
    pub fn generate() -> Self {
        Self(random::bytes())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = InvalidNonce;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; NONCE_LEN];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(InvalidNonce(text.chars().take(64).collect())),
        }
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The text is not 48 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a nonce: 48 hexadecimal digits are expected")]
pub struct InvalidNonce(String);

/// The tag does not fit: another key, or changed bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the ciphertext does not open with this key: wrong key, or changed bytes")]
pub struct DoesNotOpen;

/// Seals `plaintext` whole: `nonce ‖ tag ‖ ciphertext`.
pub fn seal(key: &CodeKey, nonce: &Nonce, plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; OVERHEAD + plaintext.len()];
    sealed[..NONCE_LEN].copy_from_slice(&nonce.0);
    sealed[OVERHEAD..].copy_from_slice(plaintext);
    let mut sealer = Sealer::new(key, nonce);
    sealer.seal_in_place(&mut sealed[OVERHEAD..]);
    let tag = sealer.finish();
    sealed[NONCE_LEN..OVERHEAD].copy_from_slice(&tag);
    sealed
}

/// Opens `nonce ‖ tag ‖ ciphertext`. The plaintext is given out only after the tag was checked.
pub fn open(key: &CodeKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG_LEN>().ok_or(DoesNotOpen)?;
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    let mut opener = Opener::new(key, &Nonce(*nonce));
    opener.open_in_place(&mut plaintext);
    opener.finish(tag)?;
    Ok(plaintext)
}

/// Encrypts a file in pieces. Every piece but the last must be a multiple of 64 bytes long.
pub struct Sealer(Stream);

impl Sealer {
    /// A sealer for one file.
    pub fn new(key: &CodeKey, nonce: &Nonce) -> Self {
        Self(Stream::new(key, nonce))
    }

    /// Turns the next piece of plaintext into ciphertext.
    pub fn seal_in_place(&mut self, piece: &mut [u8]) {
        self.0.cipher.apply_keystream(piece);
        self.0.authenticate(piece);
    }

    /// The tag over all pieces.
    pub fn finish(self) -> Tag {
        self.0.tag()
    }
}

/// Decrypts a file in pieces of multiples of 64 bytes. What comes out must not be used before
/// [`Opener::finish`] said yes.
pub struct Opener(Stream);

impl Opener {
    /// An opener for one file.
    pub fn new(key: &CodeKey, nonce: &Nonce) -> Self {
        Self(Stream::new(key, nonce))
    }

    /// Turns the next piece of ciphertext into (not yet authenticated) plaintext.
    pub fn open_in_place(&mut self, piece: &mut [u8]) {
        self.0.authenticate(piece);
        self.0.cipher.apply_keystream(piece);
    }

    /// Compares the tag, in constant time.
    pub fn finish(self, tag: &Tag) -> Result<(), DoesNotOpen> {
        if bool::from(self.0.tag().ct_eq(tag)) {
            Ok(())
        } else {
            Err(DoesNotOpen)
        }
    }
}

struct Stream {
    cipher: XSalsa20,
    mac: Poly1305,
    /// A piece that is no multiple of Poly1305's block can only be the last.
    tail: Option<([u8; 16], usize)>,
}

impl Stream {
    fn new(key: &CodeKey, nonce: &Nonce) -> Self {
        let mut cipher = XSalsa20::new((&*key.0).into(), (&nonce.0).into());
        let mut mac_key = Zeroizing::new([0; 32]);
        cipher.apply_keystream(mac_key.as_mut());
        Self {
            cipher,
            mac: Poly1305::new((&*mac_key).into()),
            tail: None,
        }
    }

    fn authenticate(&mut self, piece: &[u8]) {
        assert!(self.tail.is_none(), "only the last piece may be uneven");
        let (blocks, tail) = piece.as_chunks::<16>();
        self.mac
            .update(poly1305::Block::cast_slice_from_core(blocks));
        if !tail.is_empty() {
            let mut block = [0; 16];
            block[..tail.len()].copy_from_slice(tail);
            self.tail = Some((block, tail.len()));
        }
    }

    fn tag(self) -> Tag {
        match self.tail {
            None => self.mac.finalize().into(),
            Some((block, length)) => self.mac.compute_unpadded(&block[..length]).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> CodeKey {
        CodeKey::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    fn nonce() -> Nonce {
        Nonce(std::array::from_fn(|i| 0x64 + u8::try_from(i).unwrap()))
    }

    /// Vectors made with libsodium, `reference/cosmian-enclave.md` §4.5.
    #[test]
    fn known_answers_of_libsodium() {
        for (plain, expected) in [
            (
                &b"Hello World!"[..],
                "2046b50aea12249cebf6984f159d43c64adcf5a555969986c29147b5",
            ),
            (b"", "f49572d6194281e3c87fbb4e2106932c"),
        ] {
            let sealed = seal(&key(), &nonce(), plain);
            assert_eq!(sealed[..NONCE_LEN], nonce().0);
            assert_eq!(hex::encode(&sealed[NONCE_LEN..]), expected);
            assert_eq!(&*open(&key(), &sealed).unwrap(), plain);
        }
    }

    #[test]
    fn a_changed_bit_anywhere_does_not_open() {
        let sealed = seal(&key(), &nonce(), b"some code");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open(&key(), &changed).unwrap_err(),
                DoesNotOpen,
                "bit {bit}"
            );
        }
        assert!(open(&CodeKey::generate(), &sealed).is_err());
        assert!(open(&key(), &sealed[..OVERHEAD - 1]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_bytes_as_the_whole(plain in proptest::collection::vec(any::<u8>(), 0..1000), cut in 0usize..8) {
            let mut pieces = plain.clone();
            let mut sealer = Sealer::new(&key(), &nonce());
            let cut = (cut * 64).min(pieces.len() / 64 * 64);
            let (first, second) = pieces.split_at_mut(cut);
            sealer.seal_in_place(first);
            sealer.seal_in_place(second);
            let tag = sealer.finish();
            let whole = seal(&key(), &nonce(), &plain);
            prop_assert_eq!(&whole[NONCE_LEN..OVERHEAD], &tag);
            prop_assert_eq!(&whole[OVERHEAD..], &pieces);
        }
    }
}
