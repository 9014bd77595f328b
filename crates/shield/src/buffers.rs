//! Buffers that a connection has only while bytes are on their way, and reading ahead.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once: four TLS records.
const BUFFER: usize = 64 * 1024;
/// So many buffers are kept for the next connections that need one.
const SPARE: usize = 64;

static SPARES: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Bytes that were read and are not passed on yet.
pub(crate) struct Held {
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

/// What there was to read.
pub(crate) enum Found {
    Bytes(Held),
    Nothing,
    End,
}

impl Held {
    pub(crate) fn empty() -> Self {
        let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self {
            buffer: spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()),
            from: 0,
            to: 0,
        }
    }

    /// Reads what `stream` has.
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Found> {
        let mut held = Self::empty();
        match stream.try_read(&mut held.buffer) {
            Ok(0) => Ok(Found::End),
            Ok(read) => {
                held.to = read;
                Ok(Found::Bytes(held))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.from = self.to.min(self.from + count);
    }

    /// Takes as much of `bytes` as there is room for, and says how much.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let room = &mut self.buffer[self.to..];
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.to += count;
        count
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARE {
            spares.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// A connection that is read in large pieces: rustls by itself asks for 4 KiB at a time.
pub(crate) struct Ahead {
    stream: TcpStream,
    held: Option<Held>,
}

impl Ahead {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, held: None }
    }
}

impl AsyncBufRead for Ahead {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.held.is_none() {
            ready!(this.stream.poll_read_ready(context))?;
            match Held::read(&this.stream)? {
                Found::Bytes(held) => this.held = Some(held),
                Found::Nothing => {}
                Found::End => return Poll::Ready(Ok(&[])),
            }
        }
        Poll::Ready(Ok(this.held.as_ref().map_or(&[], Held::bytes)))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let held = &mut self.get_mut().held;
        if let Some(bytes) = held {
            bytes.consume(count);
            if bytes.is_empty() {
                *held = None;
            }
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
