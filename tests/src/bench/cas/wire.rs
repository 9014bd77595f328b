//! A client of HTTP/1.1 over TLS 1.3 that does what it must: it shares the cores with the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_ratls::ChannelBinding;
use mse_ratls::pinned::PinnedRoot;
use mse_workload::CasKey;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the CAS is, and how it is known: as [`mse_ratls::cas::client`] does it, set up once.
pub(super) struct Server {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Server {
    pub(super) fn new(address: &str, key: CasKey) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let root = PinnedRoot::new(key, provider.signature_verification_algorithms);
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(root))
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address: address.parse()?,
            tls: Arc::new(tls),
        })
    }

    pub(super) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Wire> {
        let stream = TcpStream::connect(self.address).await?;
        self.shake_hands(stream).await
    }

    /// The address with this last number in the server's network.
    pub(super) fn neighbour(&self, number: usize) -> anyhow::Result<IpAddr> {
        let IpAddr::V4(server) = self.address.ip() else {
            anyhow::bail!("the CAS is not at an IPv4 address: {}", self.address);
        };
        let [a, b, c, _] = server.octets();
        Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, u8::try_from(number)?)))
    }

    /// A TCP connection from one of this machine's addresses: each has ports of its own.
    pub(super) async fn reach_from(&self, source: IpAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // The port is chosen when it connects: one that `bind` had chosen would be kept from all other
        // clients of this machine, who would look long for one that is free.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(self.address).await
    }

    pub(super) async fn shake_hands(&self, stream: TcpStream) -> anyhow::Result<Wire> {
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(server_name(), stream).await?;
        let binding = ChannelBinding::of(stream.get_ref().1)?;
        Ok(Wire {
            stream,
            binding,
            received: Vec::with_capacity(8192),
        })
    }
}

/// The name does not count: the root's key does.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A connection.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    binding: ChannelBinding,
    received: Vec<u8>,
}

impl Wire {
    pub(super) fn binding(&self) -> ChannelBinding {
        self.binding
    }

    /// Posts JSON; gives the body of the answer, which has to be a good one.
    pub(super) async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        self.received.clear();
        let (head, length) = loop {
            self.more().await?;
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break (end + 4, self.length(end)?);
            }
        };
        while self.received.len() < head + length {
            self.more().await?;
        }
        let body = self.received[head..head + length].to_vec();
        ensure!(
            self.received.starts_with(b"HTTP/1.1 200 "),
            "the CAS refused: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Begins a request that never ends.
    pub(super) async fn stall(mut self) -> std::io::Result<TcpStream> {
        self.stream
            .write_all(b"POST /v1/release/challenge HTTP/1.1\r\nhost: ")
            .await?;
        self.stream.flush().await?;
        Ok(self.stream.into_inner().0)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.received).await?;
        ensure!(read > 0, "the CAS closed the connection");
        Ok(())
    }

    fn length(&self, end: usize) -> anyhow::Result<usize> {
        let head = std::str::from_utf8(&self.received[..end])?;
        head.lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("an answer has no length")?
            .parse()
            .context("the length of an answer is no number")
    }
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|at| at == wanted)
}

pub(super) fn decoded<T: DeserializeOwned>(json: &[u8]) -> anyhow::Result<T> {
    Ok(serde_json::from_slice(json)?)
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn plain(base64: &str) -> anyhow::Result<Vec<u8>> {
    Ok(BASE64.decode(base64)?)
}
