//! Nonces that the CAS knows again without having kept them: a flood of strangers who ask for
//! challenges costs no memory.
//!
//! A nonce is `time (8, unix ms, big-endian) ‖ random (8) ‖ tag (16)`, the tag being the first half
//! of HMAC-SHA256. It may be answered any number of times within its lifetime: evidence is bound to
//! the connection that it is sent on, so a repeated answer says nothing that was not said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_crypto::mac::MacKey;
use mse_crypto::random;
use mse_ratls::binding::Nonce;

/// How long a nonce may be answered.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// How far clocks of replicas may be apart.
const SKEW: Duration = Duration::from_secs(10);

const STAMP: usize = 16;

/// Makes nonces and knows its own.
pub struct Challenges(MacKey);

impl Challenges {
    /// All replicas of a CAS have the same key, so that each takes the others' nonces.
    pub fn new(key: MacKey) -> Self {
        Self(key)
    }

    /// A nonce to be answered from `now` on.
    pub fn issue(&self, now: SystemTime) -> Nonce {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&millis(now).to_be_bytes());
        nonce[8..STAMP].copy_from_slice(&random::bytes::<8>());
        let tag = self.0.tag(&[DOMAIN, &nonce[..STAMP]]);
        nonce[STAMP..].copy_from_slice(&tag[..16]);
        Nonce(nonce)
    }

    /// Checks that `nonce` is one of this CAS and can still be answered at `now`.
    pub fn check(&self, nonce: &Nonce, now: SystemTime) -> Result<(), ChallengeError> {
        let (stamp, tag) = nonce.0.split_at(STAMP);
        if !self.0.verify_half(&[DOMAIN, stamp], tag) {
            return Err(ChallengeError::Foreign);
        }
        let mut issued = [0; 8];
        issued.copy_from_slice(&stamp[..8]);
        let issued = UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(issued));
        if issued > now + SKEW {
            return Err(ChallengeError::Future);
        }
        if issued + LIFETIME < now {
            return Err(ChallengeError::Expired);
        }
        Ok(())
    }
}

const DOMAIN: &[u8] = b"mse-release-challenge-v1\0";

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// Why a nonce is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Made by somebody else.
    #[error("the challenge is not one of this CAS: ask it for one")]
    Foreign,
    /// Too old.
    #[error("the challenge is more than {} s old: ask for another", LIFETIME.as_secs())]
    Expired,
    /// A replica's clock is far ahead.
    #[error("the challenge is from the future: the clocks of the CAS's replicas differ")]
    Future,
}

#[cfg(test)]
mod tests {
    use mse_crypto::sealing::SealingKey;

    use super::*;

    fn key(byte: u8) -> MacKey {
        MacKey::new(&SealingKey::from_bytes([byte; 32]))
    }

    #[test]
    fn a_nonce_is_taken_within_its_lifetime_by_those_who_share_the_key() {
        let (one, other) = (Challenges::new(key(7)), Challenges::new(key(7)));
        let now = SystemTime::now();
        let nonce = one.issue(now);
        assert_eq!(other.check(&nonce, now), Ok(()));
        assert_eq!(other.check(&nonce, now + LIFETIME / 2), Ok(()));
        assert_eq!(
            other.check(&nonce, now + LIFETIME * 2),
            Err(ChallengeError::Expired)
        );
        assert_eq!(
            other.check(&nonce, now - SKEW * 2),
            Err(ChallengeError::Future)
        );
        assert!(one.issue(now) != nonce);
        let foreign = Challenges::new(key(8));
        assert_eq!(foreign.check(&nonce, now), Err(ChallengeError::Foreign));
    }

    #[test]
    fn no_changed_nonce_is_taken() {
        let challenges = Challenges::new(key(7));
        let now = SystemTime::now();
        let nonce = challenges.issue(now);
        for at in 0..32 {
            let mut changed = nonce;
            changed.0[at] ^= 1;
            assert_eq!(
                challenges.check(&changed, now),
                Err(ChallengeError::Foreign),
                "byte {at}"
            );
        }
    }
}
