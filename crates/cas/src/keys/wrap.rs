//! The root key at rest: wrapped for an enclave identity.
//!
//! A wrapped key is `MSECASK1` (8 bytes) ‖ key id (12) ‖ what the platform sealed. The id is in
//! clear, so that an operator sees which key a file holds; it is checked against the key that
//! comes out.

use mse_crypto::Zeroizing;

use super::{KeyId, RootKey};

/// Seals bytes so that only an enclave of the same identity opens them: on SGX the seal key of
/// the processor (MRSIGNER or MRENCLAVE policy), elsewhere what the platform has.
pub trait SealToEnclave {
    /// Why it did not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Seals `bytes`.
    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, Self::Error>;

    /// Opens what [`SealToEnclave::seal`] made for the same identity.
    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Self::Error>;
}

/// The root key as a file holds it.
pub fn wrap<P: SealToEnclave>(key: &RootKey, platform: &P) -> Result<Vec<u8>, P::Error> {
    let mut wrapped = MAGIC.to_vec();
    wrapped.extend(key.id().0);
    wrapped.extend(platform.seal(key.expose())?);
    Ok(wrapped)
}

/// Which root key a file holds, by its own word.
pub fn named(wrapped: &[u8]) -> Option<KeyId> {
    let (id, _) = wrapped.strip_prefix(MAGIC)?.split_first_chunk()?;
    Some(KeyId(*id))
}

/// The root key out of what [`wrap`] made.
pub fn unwrap<P: SealToEnclave>(
    wrapped: &[u8],
    platform: &P,
) -> Result<RootKey, UnwrapError<P::Error>> {
    if wrapped.len() > MAX_WRAPPED {
        return Err(UnwrapError::NotAWrappedKey);
    }
    let rest = wrapped
        .strip_prefix(MAGIC)
        .ok_or(UnwrapError::NotAWrappedKey)?;
    let (id, sealed) = rest
        .split_first_chunk::<12>()
        .ok_or(UnwrapError::NotAWrappedKey)?;
    let id = KeyId(*id);
    let opened = platform
        .open(sealed)
        .map_err(|source| UnwrapError::Platform { id, source })?;
    let bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| UnwrapError::OtherKey(id))?;
    let key = RootKey::from_bytes(bytes);
    if key.id() == id {
        Ok(key)
    } else {
        Err(UnwrapError::OtherKey(id))
    }
}

/// Why a wrapped root key did not come out.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError<E: std::error::Error + 'static> {
    /// It is another kind of file.
    #[error("this is no wrapped root key: it would begin with `MSECASK1`; give the CAS's key file")]
    NotAWrappedKey,
    /// The platform refused.
    #[error(
        "the platform does not open root key {id}: {source}; it was wrapped for another machine or enclave: register this one with a running CAS, or recover the key from its shares"
    )]
    Platform {
        /// Which key.
        id: KeyId,
        /// Why.
        source: E,
    },
    /// What came out is not the key that the file names.
    #[error("the file names root key {0} but holds another one: it was changed")]
    OtherKey(KeyId),
}

const MAGIC: &[u8] = b"MSECASK1";
const MAX_WRAPPED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use mse_crypto::sealing::{DoesNotOpen, SealingKey};

    use super::*;

    struct InMemory(SealingKey);

    impl SealToEnclave for InMemory {
        type Error = DoesNotOpen;

        fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
            Ok(self.0.seal(b"enclave", bytes))
        }

        fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
            self.0.open(b"enclave", sealed)
        }
    }

    #[test]
    fn a_wrapped_key_opens_for_the_same_identity_only() {
        let platform = InMemory(SealingKey::generate());
        let key = RootKey::generate();
        let wrapped = wrap(&key, &platform).unwrap();
        assert_eq!(unwrap(&wrapped, &platform).ok().unwrap().id(), key.id());
        assert_eq!(named(&wrapped), Some(key.id()));
        let other = InMemory(SealingKey::generate());
        assert!(matches!(
            unwrap(&wrapped, &other),
            Err(UnwrapError::Platform { id, .. }) if id == key.id()
        ));
    }

    #[test]
    fn no_changed_byte_and_no_part_of_a_wrapped_key_opens() {
        let platform = InMemory(SealingKey::generate());
        let wrapped = wrap(&RootKey::generate(), &platform).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(unwrap(&changed, &platform).is_err(), "byte {at}");
            assert!(unwrap(&wrapped[..at], &platform).is_err(), "{at} bytes");
        }
    }
}
