//! A way from the containers of a mesh to one address that this machine reaches: that of a CAS on
//! loopback, which no container reaches by itself.
//!
//! What passes is TLS that ends in an enclave and in the CAS, so whoever carries it is not trusted.
//! Nothing else of the machine's loopback is opened.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Connections at once; others wait.
const CONNECTIONS: usize = 256;

/// Connections of one container at once; more are refused, so that none keeps the others from the
/// CAS.
const OF_ONE: usize = 32;

/// An open gate. Dropping it closes it.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gate {
    /// Opens one at `gateway`, the machine's address in a network of containers, to the `host:port`
    /// `to`. The engine may make the network's interface later.
    pub fn open(gateway: IpAddr, to: String) -> io::Result<Self> {
        let listener = listen(gateway)?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, to));
        Ok(Self { address, task })
    }

    /// Where containers find what is behind it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// At an address that the machine need not have yet.
fn listen(at: IpAddr) -> io::Result<TcpListener> {
    let socket = match at {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    socket.bind((at, 0).into())?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener, to: String) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let to: Arc<str> = to.into();
    let sources = Arc::new(Sources::default());
    // Whoever dropped the gate wants no connection any more.
    let mut carried = tokio::task::JoinSet::new();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        while carried.try_join_next().is_some() {}
        let Ok((stream, source)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let Some(share) = Sources::enter(&sources, source.ip()) else {
            continue;
        };
        let to = Arc::clone(&to);
        carried.spawn(async move {
            let _seat = (seat, share);
            if let Err(error) = carry(stream, &to).await {
                tracing::debug!(%error, to = &*to, "a connection of a container ended");
            }
        });
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<IpAddr, usize>>);

/// One connection of an address, until it is dropped.
struct Share {
    sources: Arc<Sources>,
    address: IpAddr,
}

impl Sources {
    /// None: it has as many as one may have.
    fn enter(this: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let mut all = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count == OF_ONE {
            return None;
        }
        *count += 1;
        Some(Share {
            sources: Arc::clone(this),
            address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = (self.sources.0.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

async fn carry(mut inside: TcpStream, to: &str) -> io::Result<()> {
    let mut outside = TcpStream::connect(to).await?;
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    copy_bidirectional(&mut inside, &mut outside).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn no_container_takes_all_seats() {
        let sources = Arc::new(Sources::default());
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let mut taken: Vec<_> = (0..OF_ONE)
            .map(|_| Sources::enter(&sources, one).unwrap())
            .collect();
        assert!(Sources::enter(&sources, one).is_none());
        assert!(Sources::enter(&sources, other).is_some());
        taken.pop();
        assert!(Sources::enter(&sources, one).is_some());
        taken.clear();
        assert!(sources.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_sent_arrives_and_a_closed_gate_lets_nobody_through() {
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = behind.local_addr().unwrap().to_string();
        let gate = Gate::open(Ipv4Addr::LOCALHOST.into(), to).unwrap();
        let address = gate.address();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"ask").await.unwrap();
        let (mut server, _) = behind.accept().await.unwrap();
        let mut asked = [0; 3];
        server.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"ask");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(gate);
        // It closes when its task is gone.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn it_opens_before_the_machine_has_the_address() {
        let gate = Gate::open(Ipv4Addr::new(192, 0, 2, 1).into(), "127.0.0.1:1".into()).unwrap();
        assert_eq!(gate.address().ip(), Ipv4Addr::new(192, 0, 2, 1));
    }
}
