//! Which host a TLS connection is for: the ClientHello is read, and kept to be passed on.

use std::io;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A ClientHello, as it came.
#[derive(Debug)]
pub(super) struct Hello {
    /// The server name in lower case, if the client named one.
    pub(super) server_name: Option<String>,
    /// Everything that was read, which may be more than the ClientHello.
    pub(super) bytes: Vec<u8>,
}

/// Reads a ClientHello of at most 16 KiB within 10 seconds.
///
/// rustls does the parsing, so what it would refuse is refused here, with its alert.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Hello, HelloError> {
    read_within(PATIENCE, stream).await
}

async fn read_within(
    patience: Duration,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Hello, HelloError> {
    timeout(patience, read_unhurried(stream))
        .await
        .map_err(|_| HelloError::TooSlow)?
}

/// Tells the client that nothing is served under the name it asked for (RFC 6066, 3).
pub(super) async fn refuse_name(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    // A fatal alert, unrecognized_name, in a TLS 1.2 record.
    stream.write_all(&[21, 3, 3, 0, 2, 2, 112]).await?;
    stream.shutdown().await
}

async fn read_unhurried(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Hello, HelloError> {
    let mut acceptor = Acceptor::default();
    let mut bytes = vec![0; MAX_HELLO];
    let mut length = 0;
    loop {
        if length == MAX_HELLO {
            return Err(HelloError::TooLong);
        }
        let read = stream.read(&mut bytes[length..]).await?;
        if read == 0 {
            return Err(HelloError::Ended);
        }
        let mut fresh = &bytes[length..length + read];
        length += read;
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
            match acceptor.accept() {
                Ok(None) => (),
                Ok(Some(accepted)) => {
                    let server_name = accepted.client_hello().server_name().map(str::to_lowercase);
                    bytes.truncate(length);
                    return Ok(Hello { server_name, bytes });
                }
                Err((error, mut alert)) => {
                    let mut record = Vec::new();
                    alert.write_all(&mut record)?;
                    // The client may be gone; the error is told all the same.
                    let _ = stream.write_all(&record).await;
                    return Err(HelloError::Malformed(error));
                }
            }
        }
    }
}

/// Why a connection did not begin with a ClientHello.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// No whole ClientHello in time.
    #[error("no ClientHello within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// None within the bound.
    #[error("no ClientHello within {MAX_HELLO} bytes")]
    TooLong,
    /// The client left.
    #[error("the connection ended before the ClientHello")]
    Ended,
    /// Not TLS, or not as it should be.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(#[source] rustls::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_HELLO: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::duplex;

    use super::*;

    fn hello_for(name: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(
            rustls::crypto::aws_lc_rs::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
        let name = name.try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    async fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Hello, HelloError> {
        let (mut client, mut server) = duplex(64 * 1024);
        let bytes = bytes.to_vec();
        let writer = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                // The reader may have seen enough already.
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            let mut alert = Vec::new();
            let _ = client.read_to_end(&mut alert).await;
        });
        let hello = read(&mut server).await;
        drop(server);
        writer.await.unwrap();
        hello
    }

    #[tokio::test]
    async fn the_name_is_found_however_the_bytes_come() {
        let mut bytes = hello_for("Hello.mse.localhost");
        for piece in [1, 7, 100_000] {
            let hello = read_in_pieces(&bytes, piece).await.unwrap();
            assert_eq!(hello.server_name.as_deref(), Some("hello.mse.localhost"));
            assert_eq!(hello.bytes, bytes);
        }
        bytes.extend_from_slice(b"more");
        let hello = read_in_pieces(&bytes, 100_000).await.unwrap();
        assert_eq!(hello.bytes, bytes);
        let nameless = read_in_pieces(&hello_for("127.0.0.1"), 100_000)
            .await
            .unwrap();
        assert_eq!(nameless.server_name, None);
    }

    #[tokio::test]
    async fn what_is_no_client_hello_is_refused() {
        let http = read_in_pieces(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100).await;
        assert!(matches!(http, Err(HelloError::Malformed(_))), "{http:?}");
        let half = &hello_for("a.b")[..100];
        let ended = read_in_pieces(half, 100).await;
        assert!(matches!(ended, Err(HelloError::Ended)), "{ended:?}");
        // Handshake records without end.
        let mut endless = Vec::new();
        for _ in 0..40 {
            endless.extend_from_slice(&[22, 3, 1, 2, 0]);
            endless.extend_from_slice(&[1, 0, 0xff, 0xff]);
            endless.extend_from_slice(&[0; 508]);
        }
        read_in_pieces(&endless, 4096).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let (_client, mut server) = duplex(1024);
        let silent = read_within(Duration::from_millis(20), &mut server).await;
        assert!(matches!(silent, Err(HelloError::TooSlow)), "{silent:?}");
    }
}
