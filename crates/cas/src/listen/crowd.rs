//! How many connections there are at once: a bounded crowd that strangers cannot fill.
//!
//! Opening connections is free for whoever floods a server with them. When all seats are taken, who
//! has been silent longest has to go; whoever asks for something moves to the end of that line, so
//! that a client that comes to work keeps its seat for longer than one request takes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
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
    waiting: BTreeMap<u64, Connection>,
    /// How many are being answered: they are not in the line.
    answered: usize,
    /// How many had to go.
    evicted: u64,
}

/// What ends a connection.
pub struct Connection {
    /// Its task.
    pub task: AbortHandle,
    /// Its socket, to be closed without farewell: of one that has to go the kernel shall keep
    /// nothing either. None: it takes its leave as usual.
    pub socket: Option<OwnedFd>,
}

impl Connection {
    fn end(self) {
        if let Some(socket) = &self.socket {
            // If that fails, the kernel keeps it for a minute.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.task.abort();
    }
}

impl Crowd {
    /// A crowd of at most `capacity`, at least one.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: capacity.max(1),
            line: Mutex::default(),
        })
    }

    /// A seat for `connection`; if there is none, somebody else's connection is ended for it. `None`
    /// if all are being answered: nobody is cut off in that.
    pub fn enter(self: &Arc<Self>, connection: Connection) -> Option<Seat> {
        let mut line = self.line();
        if line.waiting.len() + line.answered >= self.capacity {
            let (_, silent) = line.waiting.pop_first()?;
            silent.end();
            line.evicted += 1;
        }
        let number = line.take_number();
        line.waiting.insert(number, connection);
        drop(line);
        Some(Seat {
            crowd: Arc::clone(self),
            number: Mutex::new(number),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let line = self.line();
        line.waiting.len() + line.answered
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

/// As long as a connection is being answered, it does not have to go.
pub struct Answering<'a> {
    seat: &'a Seat,
    connection: Option<Connection>,
}

impl Seat {
    /// The connection's request is whole, and is answered until the guard is dropped.
    pub fn answering(&self) -> Answering<'_> {
        let number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = self.crowd.line();
        // One that has to go meanwhile does not come back.
        let connection = line.waiting.remove(&number);
        line.answered += usize::from(connection.is_some());
        Answering {
            seat: self,
            connection,
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let seat = self.seat;
        let mut number = seat.number.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = seat.crowd.line();
        line.answered -= 1;
        *number = line.take_number();
        line.waiting.insert(*number, connection);
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
        let seat = Arc::new(crowd.enter(connection(&task)).expect("a seat"));
        (task, seat)
    }

    fn connection(task: &JoinHandle<()>) -> Connection {
        Connection {
            task: task.abort_handle(),
            socket: None,
        }
    }

    async fn had_to_go(task: JoinHandle<()>) -> bool {
        task.await.is_err_and(|error| error.is_cancelled())
    }

    #[tokio::test]
    async fn who_is_being_answered_does_not_have_to_go() {
        let crowd = Crowd::new(2);
        let (first, answered) = silent(&crowd);
        let (second, gone) = silent(&crowd);
        let answering = answered.answering();
        let (third, also) = silent(&crowd);
        assert!(second.await.unwrap_err().is_cancelled());
        assert!(!first.is_finished());
        drop(gone);
        let _both = also.answering();
        let refused = tokio::spawn(pending::<()>());
        assert!(crowd.enter(connection(&refused)).is_none());
        assert_eq!(crowd.len(), 2);
        drop(answering);
        assert!(crowd.enter(connection(&refused)).is_some());
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(!third.is_finished());
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
