//! Tickets: what a service brings instead of evidence, the next time.
//!
//! A ticket is sealed to the CAS itself, so that the CAS keeps nothing for it. What it buys is
//! sealed to the key that was attested: who stole the ticket can open nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_crypto::Digest;
use mse_crypto::hpke::PublicKey;
use mse_crypto::sealing::SealingKey;
use mse_ratls::release::Target;
use serde::{Deserialize, Serialize};

use super::proven::Proven;

/// How long a ticket may be used: after that a service attests again, so that collateral that has
/// changed meanwhile counts.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How far clocks of replicas may be apart.
const SKEW: Duration = Duration::from_secs(10);
/// A ticket is at most this long.
const MAX_BYTES: usize = 4096;

/// What was shown, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// What was released.
    pub target: Target,
    /// The key that it was sealed to.
    #[serde(with = "hex::serde")]
    pub x25519: [u8; 32],
    /// The program that attested.
    pub proven: Proven,
    /// When it attested, unix seconds.
    pub attested_at: u64,
    /// On what terms its evidence was appraised: what was tolerated then, and is not any more, has to
    /// be shown again.
    pub terms: Digest,
}

impl Ticket {
    /// The key that the next release is sealed to.
    pub fn key(&self) -> PublicKey {
        PublicKey(self.x25519)
    }
}

/// Makes tickets and reads its own.
pub struct Tickets(SealingKey);

impl Tickets {
    /// All replicas of a CAS have the same key.
    pub fn new(key: SealingKey) -> Self {
        Self(key)
    }

    /// Seals a ticket.
    pub fn seal(&self, ticket: &Ticket) -> Result<Vec<u8>, TicketError> {
        let json = serde_json::to_vec(ticket).map_err(|_| TicketError::Foreign)?;
        Ok(self.0.seal(AAD, &json))
    }

    /// Opens a ticket that was made here, or in another replica, not too long before `now`.
    pub fn open(&self, sealed: &[u8], now: SystemTime) -> Result<Ticket, TicketError> {
        if sealed.len() > MAX_BYTES {
            return Err(TicketError::Foreign);
        }
        let json = self.0.open(AAD, sealed).map_err(|_| TicketError::Foreign)?;
        let ticket: Ticket = serde_json::from_slice(&json).map_err(|_| TicketError::Foreign)?;
        let attested = UNIX_EPOCH + Duration::from_secs(ticket.attested_at);
        if attested > now + SKEW || attested + LIFETIME < now {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }
}

const AAD: &[u8] = b"mse-release-ticket-v1";

/// Why a ticket is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Made by somebody else, or changed.
    #[error("the ticket is not one of this CAS: attest again")]
    Foreign,
    /// Too old.
    #[error("the ticket is more than {} h old: attest again", LIFETIME.as_secs() / 3600)]
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::proven::simulated;

    #[test]
    fn a_ticket_is_read_by_who_made_it_within_its_lifetime() {
        let tickets = Tickets::new(SealingKey::from_bytes([1; 32]));
        let replica = Tickets::new(SealingKey::from_bytes([1; 32]));
        let stranger = Tickets::new(SealingKey::from_bytes([2; 32]));
        let now = SystemTime::now();
        let ticket = Ticket {
            target: Target {
                session: "a".into(),
                service: "b".into(),
            },
            x25519: [3; 32],
            proven: simulated(4),
            attested_at: now.duration_since(UNIX_EPOCH).unwrap().as_secs(),
            terms: Digest::of(b"terms"),
        };
        let sealed = tickets.seal(&ticket).unwrap();
        assert_eq!(replica.open(&sealed, now), Ok(ticket));
        assert_eq!(stranger.open(&sealed, now), Err(TicketError::Foreign));
        assert_eq!(
            tickets.open(&sealed, now + LIFETIME * 2),
            Err(TicketError::Expired)
        );
        assert_eq!(
            tickets.open(&sealed, now - SKEW * 2),
            Err(TicketError::Expired)
        );
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(tickets.open(&changed, now), Err(TicketError::Foreign));
        assert_eq!(
            tickets.open(&vec![0; MAX_BYTES + 1], now),
            Err(TicketError::Foreign)
        );
    }
}
