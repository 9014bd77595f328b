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
            state: Mutex::new(SeatState {
                number,
                open: 0,
                answered: None,
            }),
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
    state: Mutex<SeatState>,
}

struct SeatState {
    /// Its place in the line; an old one while it is being answered, or has to go.
    number: u64,
    /// How many of its requests are being answered.
    open: usize,
    /// Not in the line as long as there are any.
    answered: Option<Connection>,
}

impl Seat {
    /// The connection asked for something.
    pub fn spoke(&self) {
        let mut state = self.state();
        let mut line = self.crowd.line();
        // One that has to go meanwhile does not come back.
        if let Some(connection) = line.waiting.remove(&state.number) {
            state.number = line.take_number();
            line.waiting.insert(state.number, connection);
        }
    }

    /// A request of the connection is whole, and is answered until the guard is dropped; there may be
    /// several at once.
    pub fn answering(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        if state.open == 0 {
            let mut line = self.crowd.line();
            // One that has to go meanwhile does not come back.
            state.answered = line.waiting.remove(&state.number);
            line.answered += usize::from(state.answered.is_some());
        }
        state.open += 1;
        drop(state);
        Answering(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let number = self.state().number;
        self.crowd.line().waiting.remove(&number);
    }
}

/// As long as a connection is being answered, it does not have to go.
pub struct Answering(Arc<Seat>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        let Some(connection) = state.answered.take() else {
            return;
        };
        let mut line = self.0.crowd.line();
        line.answered -= 1;
        state.number = line.take_number();
        line.waiting.insert(state.number, connection);
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
    async fn several_requests_at_once_are_answered_each_to_its_end() {
        let crowd = Crowd::new(1);
        let (first, seat) = silent(&crowd);
        let (one, two) = (seat.answering(), seat.answering());
        drop(one);
        let other = tokio::spawn(pending::<()>());
        assert!(crowd.enter(connection(&other)).is_none());
        assert_eq!(crowd.len(), 1);
        drop(two);
        assert!(crowd.enter(connection(&other)).is_some());
        assert!(had_to_go(first).await);
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
