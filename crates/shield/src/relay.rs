//! Bytes from one side to the other, in both directions, until both have ended.
//!
//! The end of one direction is passed on and the other goes on: TCP's half-close is TLS's
//! `close_notify`. A connection that ends without it was cut, by whoever is in between, and must not
//! look like one that is complete: the program gets a reset.
//!
//! Inwards nothing is copied: the decrypted bytes are written from where rustls has them. Outwards
//! there is one buffer, which a connection has only while bytes are on their way.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::counters::Counters;

/// How much is read from the program at once: four TLS records.
const BUFFER: usize = 64 * 1024;
/// So many buffers are kept for the next connections that need one.
const SPARE: usize = 64;

/// Returns when both directions have ended, or one of them broke.
pub(crate) async fn relay<S>(
    outer: &mut S,
    inside: &mut TcpStream,
    counters: &Counters,
) -> io::Result<()>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let mut inwards = Inwards(Direction::Open);
    let mut outwards = Outwards {
        direction: Direction::Open,
        held: None,
    };
    poll_fn(|context| {
        let inwards = inwards.poll(context, outer, inside, counters)?;
        let outwards = outwards.poll(context, outer, inside, counters)?;
        ready!(inwards);
        ready!(outwards);
        Poll::Ready(Ok(()))
    })
    .await
}

#[derive(Clone, Copy)]
enum Direction {
    Open,
    /// The end was read, and is being passed on.
    Ending,
    Ended,
}

/// From the network to the program.
struct Inwards(Direction);

impl Inwards {
    fn poll<S: AsyncBufRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        outer: &mut S,
        inside: &mut TcpStream,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.0 {
                Direction::Open => {
                    let bytes = ready!(Pin::new(&mut *outer).poll_fill_buf(context))?;
                    if bytes.is_empty() {
                        self.0 = Direction::Ending;
                        continue;
                    }
                    let written = ready!(Pin::new(&mut *inside).poll_write(context, bytes))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    Pin::new(&mut *outer).consume(written);
                    counters.inwards.add(written as u64);
                }
                Direction::Ending => {
                    ready!(Pin::new(&mut *inside).poll_shutdown(context))?;
                    self.0 = Direction::Ended;
                }
                Direction::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// From the program to the network.
struct Outwards {
    direction: Direction,
    held: Option<Held>,
}

/// Bytes that were read and are not written yet.
struct Held {
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Outwards {
    fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        outer: &mut S,
        inside: &TcpStream,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.direction {
                Direction::Open => {
                    let Some(held) = &mut self.held else {
                        if inside.poll_read_ready(context)?.is_pending() {
                            // What TLS still holds back must not wait for the program.
                            ready!(Pin::new(&mut *outer).poll_flush(context))?;
                            return Poll::Pending;
                        }
                        self.read(inside)?;
                        continue;
                    };
                    let bytes = &held.buffer[held.from..held.to];
                    let written = ready!(Pin::new(&mut *outer).poll_write(context, bytes))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    counters.outwards.add(written as u64);
                    held.from += written;
                    if held.from == held.to {
                        self.held = None;
                    }
                }
                Direction::Ending => {
                    ready!(Pin::new(&mut *outer).poll_shutdown(context))?;
                    self.direction = Direction::Ended;
                }
                Direction::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads what there is.
    fn read(&mut self, inside: &TcpStream) -> io::Result<()> {
        let mut held = Held {
            buffer: take_buffer(),
            from: 0,
            to: 0,
        };
        match inside.try_read(&mut held.buffer) {
            Ok(0) => self.direction = Direction::Ending,
            Ok(read) => {
                held.to = read;
                self.held = Some(held);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

static SPARES: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

fn take_buffer() -> Box<[u8]> {
    let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop();
    spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARE {
            spares.push(std::mem::take(&mut self.buffer));
        }
    }
}
