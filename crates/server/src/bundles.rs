//! Encrypted bundles for pods of a cluster, over plain HTTP: `GET /bundles/<app id>/<digest>`.
//!
//! What is sent is ciphertext under the owner's key. Who fetches it knows the digest, checks it,
//! and so does the enclave: nobody on the way can change what runs. Only bundles of live apps are
//! sent, and only to who names app and digest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mse_crypto::Digest;
use mse_workload::AppId;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::api::{ApiListener, ListenError, Room};
use crate::deploy::Fleet;

/// A listener for the routes, in which no pod takes the room of the others.
pub async fn listen(address: SocketAddr) -> Result<ApiListener, ListenError> {
    Ok(ApiListener::bind(address, None).await?.with_room(ROOM))
}

/// The routes, for such a listener.
pub fn router(fleet: Fleet) -> Router {
    Router::new()
        .route("/bundles/{app}/{digest}", get(bundle))
        .route("/health", get(|| async { "ok" }))
        .with_state(Arc::new(fleet))
}

async fn bundle(
    State(fleet): State<Arc<Fleet>>,
    Path((app, digest)): Path<(String, String)>,
) -> Response {
    let (Ok(app), Ok(digest)) = (app.parse::<AppId>(), digest.parse::<Digest>()) else {
        return nothing();
    };
    let platform = fleet.platform();
    match platform.store.app(app).await {
        Ok(Some(found)) if !found.status.is_terminated() && found.app.workload.bundle == digest => {
        }
        Ok(_) => return nothing(),
        Err(error) => {
            tracing::error!(%app, %error, "a bundle cannot be looked up");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    let opened = async {
        let file = File::open(platform.blobs.path(app)).await?;
        let length = file.metadata().await?.len();
        Ok::<_, std::io::Error>((file, length))
    };
    match opened.await {
        Ok((file, length)) => (
            [
                (header::CONTENT_LENGTH, length.to_string()),
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            ],
            Body::from_stream(ReaderStream::with_capacity(file, PIECE)),
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%app, %error, "a bundle cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The same for all that is not there: nobody learns which apps there are.
fn nothing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

const PIECE: usize = 64 * 1024;

/// A pod's launcher takes one connection, and fetches again when it breaks. More than one pod may have
/// one address, behind the translation of a node.
const ROOM: Room = Room {
    connections: 4096,
    of_one_peer: 32,
    unread: Duration::from_secs(30),
};

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn listening(room: Room, routes: Router) -> SocketAddr {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.address();
        let listener = listener.with_room(room);
        tokio::spawn(listener.serve(routes, CancellationToken::new()));
        address
    }

    /// A connection from one of this machine's own addresses.
    async fn from(last: u8, server: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind((Ipv4Addr::new(127, 0, 0, last), 0).into())
            .unwrap();
        // A small one, so that what is not read is soon not sent.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(server).await.unwrap()
    }

    /// Empty if the connection is closed without an answer.
    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    fn small() -> Router {
        Router::new().route("/health", get(|| async { "ok" }))
    }

    #[tokio::test]
    async fn one_peer_does_not_take_the_room_of_another() {
        let server = listening(ROOM, small()).await;
        let mut greedy = Vec::new();
        for _ in 0..ROOM.of_one_peer {
            let mut stream = from(1, server).await;
            assert!(ask(&mut stream, "/health").await.contains("200 OK"));
            greedy.push(stream);
        }
        assert_eq!(ask(&mut from(1, server).await, "/health").await, "");
        let other = ask(&mut from(2, server).await, "/health").await;
        assert!(other.contains("200 OK"), "{other}");
        // What it gives back, it may have again.
        drop(greedy.pop());
        let again = async {
            while ask(&mut from(1, server).await, "/health").await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, again).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_read_loses_the_connection() {
        /// Says when the answer that holds it is given up.
        struct Told(mpsc::UnboundedSender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (ended, mut told) = mpsc::unbounded_channel();
        let endless = move || {
            let held = Told(ended.clone());
            let pieces = futures_util::stream::repeat_with(move || {
                let _ = &held;
                Ok::<_, std::io::Error>(vec![0_u8; PIECE])
            });
            async move { Body::from_stream(pieces) }
        };
        let room = Room {
            connections: 1,
            unread: Duration::from_millis(100),
            ..ROOM
        };
        let routes = small().route("/endless", get(endless));
        let server = listening(room, routes).await;
        let mut silent = from(1, server).await;
        let answer = ask(&mut silent, "/endless").await;
        assert!(answer.contains("200 OK"), "{answer}");
        // It stays, and reads no more: the answer is given up, and its only seat is another's.
        told.recv().await.unwrap();
        let other = ask(&mut from(2, server).await, "/health").await;
        assert!(other.contains("200 OK"), "{other}");
        drop(silent);
    }

    #[tokio::test]
    async fn who_reads_slowly_gets_everything() {
        const LONG: usize = 16 << 20;
        let room = Room {
            unread: Duration::from_secs(1),
            ..ROOM
        };
        let long = || async { vec![7_u8; LONG] };
        let routes = Router::new().route("/long", get(long));
        let server = listening(room, routes).await;
        let mut slow = TcpStream::connect(server).await.unwrap();
        slow.write_all(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut all = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            // The writer waits in each pause, and in all of them for longer than it may in one.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let read = slow.read(&mut piece).await.unwrap();
            if read == 0 {
                break;
            }
            all.extend_from_slice(&piece[..read]);
        }
        assert!(all.len() > LONG && all.ends_with(&[7; 1024]));
    }
}
