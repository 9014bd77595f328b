//! A network of the app's own: a loopback interface, and nothing beyond it.
//!
//! No packet of the app leaves, whatever it does. What is to get in or out goes through
//! `mse-enclave`, over sockets that belong to the app's network and that `mse-enclave` holds: a
//! socket stays in the network that it was made in, whoever uses it. Stage 1 makes them:
//!
//! ```text
//! mse-enclave                                    │ network of the app
//!   accepts on listeners made by stage 1 ◀───────┼── app connects to 127.77.0.1:5432
//!   connects with sockets made by stage 1 ───────┼─▶ app listens on 127.0.0.1:6379
//! ```
//!
//! Entering the network would need rights over it, and a process with one thread.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockProtocol, SockType, listen, recv, send, socket,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;

use super::failure::{Doing, StageError};
use super::launcher::SandboxError;
use super::report::SandboxEntry;
use super::volumes::Up;
use super::wire::{self, Event, Kind};

/// A network has at most this many listeners.
pub const MAX_LISTENERS: usize = 63;
/// Descriptors that go up at once.
pub(super) const MAX_DESCRIPTORS: usize = MAX_LISTENERS + 1;
/// So many sockets are asked for at once.
const BATCH: u8 = 32;

/// Which network the app has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// One of its own.
    Own(OwnNetwork),
}

/// A network that has a loopback interface only.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnNetwork {
    /// Where `mse-enclave` listens in it: at most [`MAX_LISTENERS`] addresses.
    pub listen: Vec<SocketAddr>,
    /// Addresses of the loopback interface beside its own.
    pub addresses: Vec<IpAddr>,
    /// Names for `/etc/hosts`. Nothing else is asked for names.
    pub hosts: Vec<(String, IpAddr)>,
}

impl Network {
    /// Files of `/etc` for this network, made from those of the host.
    pub(super) fn adapt(&self, mut files: Vec<(&'static str, Vec<u8>)>) -> EtcFiles {
        if let Self::Own(network) = self {
            let own = network.etc_files();
            files.retain(|(name, _)| own.iter().all(|(own, _)| own != name));
            files.extend(own);
        }
        files
    }
}

/// Files of `/etc`, by name.
type EtcFiles = Vec<(&'static str, Vec<u8>)>;

impl OwnNetwork {
    fn etc_files(&self) -> EtcFiles {
        let mut hosts = "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 enclave\n".to_owned();
        for (name, address) in &self.hosts {
            // Writing to a text does not fail.
            let _ = writeln!(hosts, "{address} {name}");
        }
        vec![
            ("hosts", hosts.into_bytes()),
            (
                "resolv.conf",
                b"# there is no name server in this network\n".into(),
            ),
            (
                "nsswitch.conf",
                b"passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"
                    .into(),
            ),
        ]
    }
}

// --- Stage 1 -------------------------------------------------------------------------------

/// The app's own network, made and not handed up yet.
pub(super) struct Made {
    listeners: Vec<TcpListener>,
}

/// Makes the network: the work of stage 1, once it has a user namespace with every right over it.
pub(super) fn make(network: &Network) -> Result<(Option<Made>, Vec<SandboxEntry>), StageError> {
    let Network::Own(network) = network else {
        return Ok((None, Vec::new()));
    };
    let hosts = namespace()?;
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".into())?;
    // A call that returned without error is not trusted to have done its work.
    if namespace()? == hosts {
        return Err(StageError::Unconfined {
            measure: "the own network",
            detail: "the process is still in the host's".into(),
        });
    }
    let route = Route::open()?;
    route.loopback_up()?;
    for address in &network.addresses {
        route.add(*address)?;
    }
    // Good to have: an app that listens below 1024 has no capability for it.
    let low_ports = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let listeners = network
        .listen
        .iter()
        .map(|address| bind(*address).doing(|| format!("listen on {address} in the app's network")))
        .collect::<Result<_, _>>()?;
    let low_ports = match low_ports {
        Ok(()) => "ports below 1024 included",
        Err(_) => "ports from 1024 on",
    };
    let detail = format!("loopback only; {low_ports}; every other packet goes nowhere");
    Ok((
        Some(Made { listeners }),
        vec![SandboxEntry::applied("own network", detail)],
    ))
}

/// The kernel's name of the network that this process is in.
fn namespace() -> Result<PathBuf, StageError> {
    fs::read_link("/proc/self/ns/net").doing(|| "find out which network this is".into())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // More than the standard library asks for.
    listen(&listener, Backlog::new(1024)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Made {
    /// Hands listeners up the channel, and what more sockets can be asked for with.
    pub(super) fn hand_up(self, channel: &mut UnixStream) -> Result<Supply, StageError> {
        let action = || "hand up the app's network".to_owned();
        let (ours, theirs) = UnixStream::pair().doing(action)?;
        let mut descriptors = vec![theirs.as_fd()];
        descriptors.extend(self.listeners.iter().map(AsFd::as_fd));
        let mut frame = Vec::new();
        wire::write_frame(&mut frame, Kind::Event, &wire::encode(&Event::Network)?)?;
        let sent = send_with(&*channel, &frame, &descriptors).doing(action)?;
        channel.write_all(&frame[sent..]).doing(action)?;
        Ok(Supply(ours))
    }
}

/// What `mse-enclave` asks for sockets in the app's network with.
pub(super) struct Supply(UnixStream);

/// Makes sockets for `mse-enclave`, as long as it asks.
pub(super) struct Supplying(Option<tokio::net::UnixStream>);

impl Supplying {
    pub(super) fn new(supply: Option<Supply>) -> Result<Self, StageError> {
        let stream = supply
            .map(|Supply(stream)| {
                stream.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(stream)
            })
            .transpose()
            .doing(|| "supply sockets".into())?;
        Ok(Self(stream))
    }

    /// Answers the next request; never returns when there is nobody to ask.
    pub(super) async fn next(&mut self) {
        if let Some(stream) = &self.0 {
            let answered = stream.readable().await.and_then(|()| answer(stream));
            match answered {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.0 = None,
            }
        }
        std::future::pending::<()>().await;
    }
}

/// One byte asks for that many. The answer is one byte, and with it come as many as could be made.
fn answer(stream: &tokio::net::UnixStream) -> io::Result<()> {
    let mut wanted = [0];
    if stream.try_read(&mut wanted)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let make = || socket(AddressFamily::Inet, SockType::Stream, flags, None);
    let made: Vec<OwnedFd> = (0..wanted[0].min(BATCH))
        .map_while(|_| make().ok())
        .collect();
    let descriptors: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    send_with(stream, &wanted, &descriptors).map(drop)
}

fn send_with(
    channel: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(
        channel,
        &bytes,
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

/// rtnetlink(7), as much of it as a loopback interface needs.
struct Route(OwnedFd);

impl Route {
    /// Index of the loopback interface, the first of every network.
    const LOOPBACK: u32 = 1;

    fn open() -> Result<Self, StageError> {
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map(Self)
        .doing(|| "configure the app's network".into())
    }

    fn loopback_up(&self) -> Result<(), StageError> {
        const NEW_LINK: u16 = 16;
        const UP: u32 = 1;
        // struct ifinfomsg: family, type, index, flags, which flags to change.
        let mut body = vec![0; 4];
        for word in [Self::LOOPBACK, UP, UP] {
            body.extend(word.to_ne_bytes());
        }
        self.ask(NEW_LINK, 0, &body)
            .doing(|| "start the loopback interface of the app's network".into())
    }

    fn add(&self, address: IpAddr) -> Result<(), StageError> {
        const NEW_ADDRESS: u16 = 20;
        const CREATE: u16 = 0x400;
        const HOST_SCOPE: u8 = 254;
        const NO_DUPLICATE_DETECTION: u8 = 2;
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let (Ok(family), Ok(bits)) = (u8::try_from(family), u8::try_from(octets.len() * 8)) else {
            return Ok(());
        };
        // struct ifaddrmsg: family, prefix, flags, scope, index.
        let mut body = vec![family, bits, NO_DUPLICATE_DETECTION, HOST_SCOPE];
        body.extend(Self::LOOPBACK.to_ne_bytes());
        // IFA_ADDRESS and IFA_LOCAL: length with its header, kind, value.
        for kind in [1_u16, 2] {
            let length = if octets.len() == 4 { 8_u16 } else { 20 };
            body.extend(length.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(&octets);
        }
        self.ask(NEW_ADDRESS, CREATE, &body)
            .doing(|| format!("give the address {address} to the app's network"))
    }

    /// Sends one request and reads what became of it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        const HEADER: usize = 16;
        const REQUEST_WITH_ANSWER: u16 = 5;
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST_WITH_ANSWER).to_ne_bytes());
        // Sequence number and sender.
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 512];
        let received = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // struct nlmsgerr: the negative error number comes first; 0 is success.
        let number = answer[..received]
            .get(HEADER..HEADER + 4)
            .and_then(|number| number.try_into().ok())
            .map(i32::from_ne_bytes)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        match number {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

// --- mse-enclave ---------------------------------------------------------------------------

/// The app's own network, from outside.
pub struct InsideNetwork {
    /// One for each of [`OwnNetwork::listen`].
    pub listeners: Vec<tokio::net::TcpListener>,
    /// For connections to the app.
    pub sockets: InsideSockets,
}

impl InsideNetwork {
    /// From what [`Made::hand_up`] handed up.
    pub(super) fn receive(descriptors: &[OwnedFd]) -> Result<Self, SandboxError> {
        let broken = |error: io::Error| SandboxError::Channel(error.to_string());
        let copied = descriptors
            .iter()
            .map(OwnedFd::try_clone)
            .collect::<io::Result<Vec<_>>>()
            .map_err(broken)?;
        let mut copied = copied.into_iter();
        let supply = copied.next().ok_or_else(|| {
            SandboxError::Channel("the app's network came without descriptors".into())
        })?;
        Ok(Self {
            sockets: InsideSockets::new(supply.into()).map_err(broken)?,
            listeners: copied
                .map(|listener| tokio::net::TcpListener::from_std(listener.into()))
                .collect::<io::Result<_>>()
                .map_err(broken)?,
        })
    }
}

/// Connects to the app.
pub struct InsideSockets {
    supply: Mutex<Spare>,
}

struct Spare {
    sockets: Vec<OwnedFd>,
    answers: Up,
    requests: OwnedWriteHalf,
}

impl InsideSockets {
    fn new(supply: UnixStream) -> io::Result<Self> {
        supply.set_nonblocking(true)?;
        let (answers, requests) = tokio::net::UnixStream::from_std(supply)?.into_split();
        Ok(Self {
            supply: Mutex::new(Spare {
                sockets: Vec::new(),
                answers: Up::new(answers),
                requests,
            }),
        })
    }

    /// Connects to `port` of the app's 127.0.0.1.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.supply.lock().await.take().await?;
        // "Stream" says what kind of socket it is, not that it is connected.
        TcpSocket::from_std_stream(socket.into())
            .connect((Ipv4Addr::LOCALHOST, port).into())
            .await
    }
}

impl Spare {
    /// A socket that is not connected. Whoever awaits it may give up: what was asked for arrives
    /// for the next.
    async fn take(&mut self) -> io::Result<OwnedFd> {
        if let Some(socket) = self.sockets.pop() {
            return Ok(socket);
        }
        self.requests.writable().await?;
        self.requests.try_write(&[BATCH])?;
        self.answers.read_u8().await?;
        self.sockets = self.answers.take_descriptors();
        self.sockets
            .pop()
            .ok_or_else(|| io::Error::other("no socket can be made in the app's network"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_are_those_of_the_plan_and_nobody_is_asked_for_more() {
        let of_host = || vec![("hosts", b"x\n".to_vec()), ("localtime", b"y".to_vec())];
        assert_eq!(Network::Host.adapt(of_host()), of_host());
        let network = Network::Own(OwnNetwork {
            hosts: vec![("db".into(), Ipv4Addr::new(127, 77, 0, 1).into())],
            ..OwnNetwork::default()
        });
        let files: BTreeMap<_, _> = network
            .adapt(of_host())
            .into_iter()
            .map(|(name, content)| (name, String::from_utf8(content).unwrap()))
            .collect();
        let names: Vec<_> = files.keys().copied().collect();
        assert_eq!(
            names,
            ["hosts", "localtime", "nsswitch.conf", "resolv.conf"]
        );
        assert!(files["hosts"].ends_with("\n127.77.0.1 db\n"), "{files:?}");
        assert!(files["nsswitch.conf"].contains("hosts: files\n"));
    }

    #[tokio::test]
    async fn sockets_come_in_batches_and_connect() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut supplying = Supplying::new(Some(Supply(theirs))).unwrap();
        tokio::spawn(async move {
            loop {
                supplying.next().await;
            }
        });
        let sockets = InsideSockets::new(ours).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for _ in 0..=usize::from(BATCH) {
            let stream = sockets.connect(port).await.unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(stream.local_addr().unwrap(), peer);
        }
        let spare = sockets.supply.lock().await.sockets.len();
        assert_eq!(spare, usize::from(BATCH) - 1);
    }
}
