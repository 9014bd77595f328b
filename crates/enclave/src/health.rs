//! Whether the app is well: what its health endpoint answers on the private socket.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::app_socket::AppSocket;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the health endpoint said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// A success or a redirection.
    Well,
    /// Another status.
    Status(StatusCode),
    /// Nothing.
    NoAnswer,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("it is well"),
            Self::Status(status) => write!(f, "it answers `{status}`"),
            Self::NoAnswer => f.write_str("nothing answers"),
        }
    }
}

/// Asks `path` of the app on `socket` once.
pub(crate) async fn check(socket: &AppSocket, path: &str) -> Health {
    let asked = async { status(socket.connect().await.ok()?, path).await };
    match timeout(PATIENCE, asked).await {
        Ok(Some(status)) if status.is_success() || status.is_redirection() => Health::Well,
        Ok(Some(status)) => Health::Status(status),
        Ok(None) | Err(_) => Health::NoAnswer,
    }
}

/// What a GET of `path` is answered with.
pub(crate) async fn status<S>(stream: S, path: &str) -> Option<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .ok()?;
    Some(sender.send_request(request).await.ok()?.status())
}
