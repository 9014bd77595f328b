//! Bytes from one stream to another, counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio_util::sync::CancellationToken;

/// What went through the gateway for one app.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    connect_micros: AtomicU64,
}

impl Traffic {
    /// Bytes from users.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes to users.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Connections that reached the enclave, ever.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How long it took to reach the enclave, on average; nothing without a connection.
    pub fn average_connect(&self) -> Option<Duration> {
        self.connect_micros
            .load(Ordering::Relaxed)
            .checked_div(self.connections())
            .map(Duration::from_micros)
    }

    /// Counts a connection for as long as the result lives.
    pub(super) fn connected(self: &Arc<Self>, after: Duration) -> OpenConnection {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connect_micros.fetch_add(micros, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// One of the open connections.
pub(super) struct OpenConnection(Arc<Traffic>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Passes bytes both ways until both sides have ended, one breaks, or `closed`.
pub(super) async fn relay(
    user: &mut (impl AsyncRead + AsyncWrite + Unpin),
    enclave: &mut (impl AsyncRead + AsyncWrite + Unpin),
    closed: &CancellationToken,
) -> io::Result<()> {
    tokio::select! {
        () = closed.cancelled() => Ok(()),
        ended = copy_bidirectional(user, enclave) => ended.map(|_| ()),
    }
}

/// A user's stream: first what was read of it already, then the rest, all of it counted.
pub(super) struct UserStream<S> {
    inner: S,
    replay: io::Cursor<Vec<u8>>,
    traffic: Arc<Traffic>,
}

impl<S> UserStream<S> {
    /// `read` was read from `inner` already.
    pub(super) fn new(inner: S, read: Vec<u8>, traffic: Arc<Traffic>) -> Self {
        Self {
            inner,
            replay: io::Cursor::new(read),
            traffic,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UserStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.replay.position() < this.replay.get_ref().len() as u64 {
            ready!(Pin::new(&mut this.replay).poll_read(context, buffer))?;
        } else {
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        }
        let fresh = (buffer.filled().len() - before) as u64;
        this.traffic.received.fetch_add(fresh, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UserStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, bytes))?;
        this.traffic
            .sent
            .fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_and_all_is_counted() {
        let traffic = Arc::new(Traffic::default());
        let (mut user, gateway) = duplex(64);
        let (mut enclave, mut upstream) = duplex(64);
        let mut stream = UserStream::new(gateway, b"hello ".to_vec(), Arc::clone(&traffic));
        let closed = CancellationToken::new();
        let relaying =
            tokio::spawn(async move { relay(&mut stream, &mut upstream, &closed).await });
        user.write_all(b"world").await.unwrap();
        user.shutdown().await.unwrap();
        let mut got = String::new();
        enclave.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "hello world");
        enclave.write_all(b"hi").await.unwrap();
        enclave.shutdown().await.unwrap();
        let mut answer = String::new();
        user.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hi");
        relaying.await.unwrap().unwrap();
        assert_eq!((traffic.received(), traffic.sent()), (11, 2));
    }

    #[tokio::test]
    async fn closing_a_route_ends_its_connections() {
        let traffic = Arc::new(Traffic::default());
        let (mut user, gateway) = duplex(64);
        let (_enclave, mut upstream) = duplex(64);
        let closed = CancellationToken::new();
        closed.cancel();
        let mut stream = UserStream::new(gateway, Vec::new(), traffic);
        relay(&mut stream, &mut upstream, &closed).await.unwrap();
        drop(stream);
        assert_eq!(user.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn averages_need_connections() {
        let traffic = Arc::new(Traffic::default());
        assert_eq!(traffic.average_connect(), None);
        let first = traffic.connected(Duration::from_micros(10));
        let _second = traffic.connected(Duration::from_micros(30));
        drop(first);
        assert_eq!(traffic.average_connect(), Some(Duration::from_micros(20)));
        assert_eq!((traffic.connections(), traffic.open()), (2, 1));
    }
}
