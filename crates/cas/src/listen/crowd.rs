//! How many connections there are at once: a bounded crowd that strangers cannot fill.
//!
//! Opening connections is free for whoever floods a server with them. When all seats are taken, who
//! has been silent longest has to go; whoever asks for something moves to the end of that line, so
//! that a client that comes to work keeps its seat for longer than one request takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The connections of a listener.
pub struct Crowd {
    capacity: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    next: u64,
    /// By number: the longest silent first.
    waiting: BTreeMap<u64, AbortHandle>,
    /// How many had to go.
    evicted: u64,
}

impl Crowd {
    /// A crowd of at most `capacity`, at least one.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: capacity.max(1),
            line: Mutex::default(),
        })
    }

    /// A seat for the connection whose task `connection` ends; if there is none, somebody else's
    /// connection is ended for it.
    pub fn enter(self: &Arc<Self>, connection: AbortHandle) -> Seat {
        let mut line = self.line();
        if line.waiting.len() >= self.capacity
            && let Some((_, silent)) = line.waiting.pop_first()
        {
            silent.abort();
            line.evicted += 1;
        }
        let number = line.take_number();
        line.waiting.insert(number, connection);
        drop(line);
        Seat {
            crowd: Arc::clone(self),
            number: Mutex::new(number),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.line().waiting.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were ended to make room.
    pub fn evicted(&self) -> u64 {
        self.line().evicted
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A place in the crowd, given back when dropped.
pub struct Seat {
    crowd: Arc<Crowd>,
    number: Mutex<u64>,
}

impl Seat {
    /// The connection asked for something.
    pub fn spoke(&self) {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = self.crowd.line();
        // One that has to go meanwhile does not come back.
        if let Some(connection) = line.waiting.remove(&number) {
            *number = line.take_number();
            line.waiting.insert(*number, connection);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let number = *self.number.lock().unwrap_or_else(PoisonError::into_inner);
        self.crowd.line().waiting.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;

    /// A connection that stays silent.
    fn silent(crowd: &Arc<Crowd>) -> (JoinHandle<()>, Arc<Seat>) {
        let task = tokio::spawn(pending::<()>());
        let seat = Arc::new(crowd.enter(task.abort_handle()));
        (task, seat)
    }

    async fn had_to_go(task: JoinHandle<()>) -> bool {
        task.await.is_err_and(|error| error.is_cancelled())
    }

    #[tokio::test]
    async fn who_is_silent_longest_goes() {
        let crowd = Crowd::new(2);
        let (first, first_seat) = silent(&crowd);
        let (second, second_seat) = silent(&crowd);
        first_seat.spoke();
        let (_third, _third_seat) = silent(&crowd);
        assert!(had_to_go(second).await);
        assert!(!first.is_finished());
        assert_eq!((crowd.len(), crowd.evicted()), (2, 1));
        // Its seat is somebody else's by now: neither word nor leaving changes that.
        second_seat.spoke();
        drop(second_seat);
        assert_eq!(crowd.len(), 2);
        drop(first_seat);
        assert_eq!(crowd.len(), 1);
    }

    #[tokio::test]
    async fn a_flood_of_silent_ones_does_not_reach_who_speaks() {
        let crowd = Crowd::new(10);
        let (honest, honest_seat) = silent(&crowd);
        let mut flood = Vec::new();
        for number in 0..1000 {
            if number % 5 == 0 {
                honest_seat.spoke();
            }
            flood.push(silent(&crowd));
        }
        assert!(!honest.is_finished());
        assert_eq!(crowd.len(), 10);
        drop(flood);
        assert_eq!(crowd.len(), 1);
    }
}
