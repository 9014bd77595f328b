//! Whether the program is well, by the check that the session names: `MSE_HEALTH` is
//! `http:PORT/PATH` or `tcp:PORT`.
//!
//! The check is made here, inside of the program's own network, and is none of the host's choice:
//! who may choose it may ask the program, behind its network shield, for whatever it likes. The host
//! learns one bit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mse_crypto::Zeroizing;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::health::status;
use crate::sandbox::InsideSockets;
use mse_tee::host::HostLink;
use mse_workload::launch::HEALTH;

/// A path is at most this long.
const MAX_PATH: usize = 1024;
/// How often it is asked until it is well for the first time.
const WAITING: Duration = Duration::from_millis(100);
/// And from then on.
const WATCHING: Duration = Duration::from_secs(2);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a program shows that it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    port: NonZeroU16,
    /// A GET is answered by a success or a redirection; without a path, a connection is accepted.
    path: Option<String>,
}

/// How the enclave gets to the program's loopback.
pub(super) enum Way {
    /// It is the enclave's as well.
    Shared,
    /// The program has a network of its own.
    Own(Arc<InsideSockets>),
}

impl Check {
    /// Takes it out of what the session gives the program.
    pub(super) fn take(
        environment: &mut BTreeMap<String, Zeroizing<String>>,
    ) -> Result<Option<Self>, InvalidCheck> {
        let given = environment.remove(HEALTH);
        given.map(|text| text.parse()).transpose()
    }

    /// Asks again and again, and tells when the answer is another one.
    pub(super) async fn watch(&self, host: &HostLink, way: &Way) -> Infallible {
        let (mut was_well, mut pause) = (false, WAITING);
        loop {
            let is_well = self.is_well(way).await;
            if is_well != was_well {
                tracing::info!(is_well, "the health of the program");
                host.health(is_well);
                was_well = is_well;
                pause = WATCHING;
            }
            sleep(pause).await;
        }
    }

    async fn is_well(&self, way: &Way) -> bool {
        let asked = async {
            let stream = way.connect(self.port.get()).await.ok()?;
            match &self.path {
                None => Some(true),
                Some(path) => {
                    let status = status(stream, path).await?;
                    Some(status.is_success() || status.is_redirection())
                }
            }
        };
        matches!(timeout(PATIENCE, asked).await, Ok(Some(true)))
    }
}

impl Way {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match self {
            Self::Shared => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
            Self::Own(sockets) => sockets.connect(port).await,
        }
    }
}

impl FromStr for Check {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        let (port, path) = match text.split_once(':') {
            Some(("tcp", port)) => (port, None),
            Some(("http", rest)) => {
                let path = rest.find('/').ok_or(InvalidCheck)?;
                (&rest[..path], Some(rest[path..].to_owned()))
            }
            _ => return Err(InvalidCheck),
        };
        let is_path = |path: &String| {
            path.len() <= MAX_PATH && path.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !path.as_ref().is_none_or(is_path) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidCheck);
        }
        let port = port.parse().map_err(|_| InvalidCheck)?;
        Ok(Self { port, path })
    }
}

/// Another text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session's variable `{HEALTH}` names no health check: write `http:8080/health` or `tcp:8080`"
)]
pub(crate) struct InvalidCheck;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn checks_are_read_and_other_texts_refused() {
        let check: Check = "http:8080/health?deep=1".parse().unwrap();
        assert_eq!(check.port.get(), 8080);
        assert_eq!(check.path.as_deref(), Some("/health?deep=1"));
        assert_eq!("tcp:1".parse::<Check>().unwrap().path, None);
        let long = format!("http:1/{}", "x".repeat(MAX_PATH));
        for bad in [
            "",
            "8080",
            "tcp:",
            "tcp:0",
            "tcp:65536",
            "tcp:+1",
            "tcp:1/x",
            "http:8080",
            "http:/health",
            "http:x/health",
            "http:1/a b",
            "http:1/\r\n",
            "https:1/",
            "udp:1",
            long.as_str(),
        ] {
            assert_eq!(bad.parse::<Check>(), Err(InvalidCheck), "{bad:?}");
        }
    }

    #[test]
    fn the_program_does_not_get_the_variable() {
        let mut environment = BTreeMap::from([
            (HEALTH.to_owned(), Zeroizing::new("tcp:80".to_owned())),
            ("OTHER".to_owned(), Zeroizing::new(String::new())),
        ]);
        assert!(Check::take(&mut environment).unwrap().is_some());
        assert_eq!(environment.len(), 1);
        assert!(Check::take(&mut environment).unwrap().is_none());
    }

    async fn answering(answer: &'static str) -> Check {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Check {
            port: port.try_into().unwrap(),
            path: Some("/health".into()),
        }
    }

    #[tokio::test]
    async fn good_answers_are_well_and_others_are_not() {
        for (answer, well) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 503 No\r\n\r\n", false),
            ("", false),
        ] {
            let check = answering(answer).await;
            assert_eq!(check.is_well(&Way::Shared).await, well, "{answer}");
        }
    }

    #[tokio::test]
    async fn an_open_port_is_enough_without_a_path() {
        let mut check = answering("").await;
        check.path = None;
        assert!(check.is_well(&Way::Shared).await);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        check.port = closed.local_addr().unwrap().port().try_into().unwrap();
        drop(closed);
        assert!(!check.is_well(&Way::Shared).await);
    }
}
