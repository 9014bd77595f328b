//! How many connections are served at once, and how many of them one peer has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a listener has for its clients.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one address.
    pub of_one_peer: usize,
    /// A client that takes nothing of what is sent for this long is cut off.
    pub unread: Duration,
}

/// The room, as far as it is taken.
pub(super) struct Seats {
    free: Arc<Semaphore>,
    of_one_peer: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Seats {
    pub(super) fn of(room: Room) -> Self {
        Self {
            free: Arc::new(Semaphore::new(room.connections)),
            of_one_peer: room.of_one_peer,
            taken: Arc::default(),
        }
    }

    /// Waits until somebody can be served.
    pub(super) async fn free(&self) -> FreeSeat {
        // It is never closed; if it were, there would be no limit, and no wait.
        FreeSeat(Arc::clone(&self.free).acquire_owned().await.ok())
    }

    /// None: this peer has all the seats that it may have.
    pub(super) fn give(&self, seat: FreeSeat, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count >= self.of_one_peer {
            return None;
        }
        *count += 1;
        Some(Seat {
            peer,
            taken: Arc::clone(&self.taken),
            _free: seat,
        })
    }
}

/// A seat that nobody has yet.
pub(super) struct FreeSeat(#[allow(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

/// A peer's seat, until it is dropped.
pub(super) struct Seat {
    peer: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _free: FreeSeat,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
