//! Bytes from one side to the other, in both directions, until both have ended.
//!
//! The end of one direction is passed on and the other goes on: TCP's half-close is TLS's
//! `close_notify`. A connection that ends without it was cut, by whoever is in between, and must not
//! look like one that is complete: the program gets a reset.
//!
//! Both directions collect what there is, up to four TLS records, before they write it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::buffers::{Found, Held};
use crate::counters::Counters;

/// Returns when both directions have ended, or one of them broke.
pub(crate) async fn relay<S>(
    outer: &mut S,
    inside: &mut TcpStream,
    counters: &Counters,
) -> io::Result<()>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let mut inwards = Inwards {
        direction: Direction::Open,
        held: None,
    };
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
struct Inwards {
    direction: Direction,
    held: Option<Held>,
}

impl Inwards {
    fn poll<S: AsyncBufRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        outer: &mut S,
        inside: &mut TcpStream,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.direction {
                Direction::Open => {
                    let filled = self.fill(context, outer)?;
                    let Some(held) = &mut self.held else {
                        ready!(filled);
                        self.direction = Direction::Ending;
                        continue;
                    };
                    let written = ready!(Pin::new(&mut *inside).poll_write(context, held.bytes()))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    counters.inwards.add(written as u64);
                    held.consume(written);
                    if held.is_empty() {
                        self.held = None;
                    }
                }
                Direction::Ending => {
                    ready!(Pin::new(&mut *inside).poll_shutdown(context))?;
                    self.direction = Direction::Ended;
                }
                Direction::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Collects what there is. Ready when the end was read, or there is no more room.
    fn fill<S: AsyncBufRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        outer: &mut S,
    ) -> Poll<io::Result<()>> {
        loop {
            let bytes = ready!(Pin::new(&mut *outer).poll_fill_buf(context))?;
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let taken = self.held.get_or_insert_with(Held::empty).take(bytes);
            if taken == 0 {
                return Poll::Ready(Ok(()));
            }
            Pin::new(&mut *outer).consume(taken);
        }
    }
}

/// From the program to the network.
struct Outwards {
    direction: Direction,
    held: Option<Held>,
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
                        match Held::read(inside)? {
                            Found::Bytes(held) => self.held = Some(held),
                            Found::Nothing => {}
                            Found::End => self.direction = Direction::Ending,
                        }
                        continue;
                    };
                    let written = ready!(Pin::new(&mut *outer).poll_write(context, held.bytes()))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    counters.outwards.add(written as u64);
                    held.consume(written);
                    if held.is_empty() {
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
}
