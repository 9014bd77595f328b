//! Whether a program answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::mesh::target::RunHealth;

const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Returns when it answers at `address`.
pub(super) async fn until_well(health: &RunHealth, address: SocketAddr) {
    while !is_well(health, address).await {
        sleep(PAUSE).await;
    }
}

async fn is_well(health: &RunHealth, address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let Some(path) = &health.path else {
            return Ok(true);
        };
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        // `HTTP/1.1 200`
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(matches!(&head[8..], [b' ', b'2' | b'3', _, _]))
    };
    matches!(timeout(PATIENCE, asked).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    async fn is_well_here(health: &RunHealth) -> bool {
        is_well(health, (Ipv4Addr::LOCALHOST, health.port.get()).into()).await
    }

    async fn answering(answer: &'static str) -> RunHealth {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        RunHealth {
            port: port.try_into().unwrap(),
            path: Some("/health".into()),
        }
    }

    #[tokio::test]
    async fn good_answers_are_well_and_others_are_not() {
        for (answer, well) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 503 No\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(
                is_well_here(&answering(answer).await).await,
                well,
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn an_open_port_is_enough_without_a_path() {
        let mut health = answering("").await;
        health.path = None;
        assert!(is_well_here(&health).await);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        health.port = closed.local_addr().unwrap().port().try_into().unwrap();
        drop(closed);
        assert!(!is_well_here(&health).await);
    }
}
