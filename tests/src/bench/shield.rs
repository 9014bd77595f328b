//! TCP through the network shield, against plain TCP and against stunnel and HAProxy, which do the
//! same with OpenSSL: TLS 1.3 on all, mutual, each side a process of its own, all over loopback.
//!
//! ```text
//! this process ──▶ client's side ──TLS──▶ server's side ──▶ this process
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mse_shield::{Inside, Listeners, Policy, Shield};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio::net::{TcpSocket, TcpStream};
use zeroize::Zeroizing;

use super::process::Running;
use super::report::{Goal, Measured, Unit};
use super::{Bench, free_port, say};

const NAME: &str = "db.example";
/// What is written and read at once.
const PIECE: usize = 64 * 1024;
/// Connections that are made at once.
const MAKERS: usize = 4;

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let (rounds, mebibytes, seconds, trips) =
        bench.effort.choose((5, 1024, 5, 20_000), (1, 64, 1, 1000));
    let folder = tempfile::tempdir_in(&bench.scratch)?;
    let sink = Sink::start()?;
    let files = Files::make(folder.path())?;
    let ways = [
        None,
        Some(Way::shield(&files, sink.port)?),
        Some(Way::stunnel(&files, sink.port)?),
        Some(Way::haproxy(&files, sink.port)?),
    ];
    let measure = move || -> anyhow::Result<Vec<Measured>> {
        let ports = ways
            .each_ref()
            .map(|way| way.as_ref().map_or(sink.port, |way| way.port));
        let mut samples: [Vec<Sample>; WAYS] = Default::default();
        for round in 1..=rounds {
            for (port, samples) in std::iter::zip(ports, &mut samples) {
                samples.push(Sample::take(port, mebibytes, seconds, trips)?);
            }
            let each = samples
                .each_ref()
                .map(|samples| format!("{:.0}", samples[round - 1].throughput));
            say(format!(
                "shield: round {round} of {rounds}: {} MiB/s (plain, shield, stunnel, HAProxy)",
                each.join(", ")
            ));
        }
        drop(ways);
        Ok(rows(&samples))
    };
    tokio::task::spawn_blocking(measure).await?
}

/// Plain TCP, the shield and its peers.
const WAYS: usize = 4;

fn rows([plain, shield, stunnel, haproxy]: &[Vec<Sample>; WAYS]) -> Vec<Measured> {
    let row = |what: &str, unit, theirs: &[Sample], goal, value: fn(&Sample) -> f64| Measured {
        what: format!("Network shield: {what}"),
        unit,
        ours: shield.iter().map(value).collect(),
        theirs: theirs.iter().map(value).collect(),
        goal,
    };
    let better = Some(Goal::TimesBetter(1.0));
    let mut rows = Vec::new();
    for (peer, theirs, goal) in [
        ("stunnel", stunnel, better),
        ("HAProxy", haproxy, better),
        ("plain TCP", plain, None),
    ] {
        rows.push(row(
            &format!("one connection; theirs: {peer}"),
            Unit::MebibytesPerSecond,
            theirs,
            goal,
            |sample| sample.throughput,
        ));
        rows.push(row(
            &format!("short connections; theirs: {peer}"),
            Unit::PerSecond,
            theirs,
            goal,
            |sample| sample.connections,
        ));
        rows.push(row(
            &format!("a byte there and back; theirs: {peer}"),
            Unit::Microseconds,
            theirs,
            goal,
            |sample| sample.round_trip,
        ));
    }
    rows
}

/// What one round found out about one way to the sink.
struct Sample {
    /// MiB/s of one connection, in one direction.
    throughput: f64,
    /// Connections per second, each with a byte there and back.
    connections: f64,
    /// Microseconds of a byte there and back.
    round_trip: f64,
}

impl Sample {
    fn take(port: u16, mebibytes: u32, seconds: u64, trips: u32) -> anyhow::Result<Self> {
        Ok(Self {
            throughput: throughput(port, mebibytes)?,
            connections: connections(port, Duration::from_secs(seconds))?,
            round_trip: round_trip(port, trips)?,
        })
    }
}

fn throughput(port: u16, mebibytes: u32) -> anyhow::Result<f64> {
    let mut stream = connect(port)?;
    let pieces = (u64::from(mebibytes) << 20) / PIECE as u64;
    let piece = vec![7; PIECE];
    let began = Instant::now();
    stream.write_all(b"s")?;
    for _ in 0..pieces {
        stream.write_all(&piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let took = began.elapsed();
    ensure!(
        u64::from_be_bytes(count) == pieces * PIECE as u64,
        "bytes were lost on the way"
    );
    Ok(f64::from(mebibytes) / took.as_secs_f64())
}

fn connections(port: u16, time: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let makers: Vec<_> = (0..MAKERS)
        .map(|_| {
            std::thread::spawn(move || -> io::Result<u32> {
                let mut made = 0;
                while began.elapsed() < time {
                    let mut stream = connect(port)?;
                    trip(&mut stream)?;
                    made += 1;
                }
                Ok(made)
            })
        })
        .collect();
    let mut made = 0;
    for maker in makers {
        let count = maker
            .join()
            .map_err(|_| anyhow::anyhow!("a thread failed"))?;
        made += count.context("a short connection failed")?;
    }
    Ok(f64::from(made) / began.elapsed().as_secs_f64())
}

fn round_trip(port: u16, trips: u32) -> anyhow::Result<f64> {
    let mut stream = connect(port)?;
    trip(&mut stream)?;
    let began = Instant::now();
    for _ in 0..trips {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(trips))
}

fn connect(port: u16) -> io::Result<StdTcpStream> {
    let stream = StdTcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The first byte there and back.
fn trip(stream: &mut StdTcpStream) -> io::Result<()> {
    stream.write_all(b"e")?;
    stream.read_exact(&mut [0])
}

/// The program: `s` and bytes are counted to their end, `e` is sent back, and all that follows.
struct Sink {
    port: u16,
}

impl Sink {
    fn start() -> io::Result<Self> {
        let listener = StdTcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks is the other side's fault, and shows there.
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { port })
    }
}

fn serve(mut stream: StdTcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    let mut buffer = vec![0; PIECE];
    if &first == b"e" {
        stream.write_all(&first)?;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                read => stream.write_all(&buffer[..read])?,
            }
        }
    }
    let mut count = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            read => count += read as u64,
        }
    }
}

/// Two processes between this one and the sink.
struct Way {
    /// Where this process connects to.
    port: u16,
    _processes: [Running; 2],
}

impl Way {
    fn shield(files: &Files, sink: u16) -> anyhow::Result<Self> {
        let (outer, port) = (free_port()?, free_port()?);
        let read = |path: &Path| fs::read_to_string(path);
        let (server, client) = (read(&files.server)?, read(&files.client)?);
        let authority = read(&files.authority)?;
        let sides = [
            (
                "server.json",
                [
                    ("", "protected".to_owned()),
                    ("_SERVER_1", "protected".to_owned()),
                    ("_SERVER_1_PORT", format!("TCP:{outer}")),
                    ("_SERVER_1_IDENTITY", server),
                    ("_SERVER_1_CLIENT_AUTH", authority.clone()),
                ]
                .to_vec(),
                (outer, sink),
            ),
            (
                "client.json",
                [
                    ("", "protected".to_owned()),
                    ("_CLIENT_1", "protected".to_owned()),
                    ("_CLIENT_1_DESTINATION", format!("TCP:{NAME}:{outer}")),
                    ("_CLIENT_1_DESTINATION_IP", "127.0.0.1".to_owned()),
                    ("_CLIENT_1_IDENTITY", client),
                    ("_CLIENT_1_SERVER_AUTH", authority),
                ]
                .to_vec(),
                (port, sink),
            ),
        ];
        let mut processes = Vec::new();
        for (name, variables, (listen, to)) in sides {
            let path = files.folder.join(name);
            let variables: BTreeMap<String, String> = variables
                .into_iter()
                .map(|(name, value)| (format!("MSE_NETWORK_SHIELD{name}"), value))
                .collect();
            fs::write(&path, serde_json::to_vec(&variables)?)?;
            let mut command = Command::new(std::env::current_exe()?);
            command
                .arg("shield")
                .arg(&path)
                .args([listen.to_string(), to.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            processes.push(Running::start(&mut command)?);
        }
        Self::ready(port, processes)
    }

    fn stunnel(files: &Files, sink: u16) -> anyhow::Result<Self> {
        let (outer, port) = (free_port()?, free_port()?);
        let mut processes = Vec::new();
        for (name, identity, is_client, accept, connect) in [
            ("server.conf", &files.server, "no", outer, sink),
            ("client.conf", &files.client, "yes", port, outer),
        ] {
            let path = files.folder.join(name);
            let check = if is_client == "yes" {
                format!("checkHost = {NAME}\n")
            } else {
                String::new()
            };
            fs::write(
                &path,
                format!(
                    "foreground = yes\npid =\nsyslog = no\ndebug = 3\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
                     [db]\nclient = {is_client}\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n\
                     cert = {}\nCAfile = {}\nverifyChain = yes\n{check}sslVersionMin = TLSv1.3\n",
                    identity.display(),
                    files.authority.display(),
                ),
            )?;
            let mut command = Command::new("stunnel");
            command.arg(&path).stderr(Stdio::null());
            processes.push(
                Running::start(&mut command).context(
                    "`stunnel` is what the shield is compared with; ./x bench installs it",
                )?,
            );
        }
        Self::ready(port, processes)
    }

    fn haproxy(files: &Files, sink: u16) -> anyhow::Result<Self> {
        let (outer, port) = (free_port()?, free_port()?);
        let authority = files.authority.display();
        let certificates = |identity: &Path| {
            format!(
                "ssl crt {} ca-file {authority} verify required ssl-min-ver TLSv1.3",
                identity.display()
            )
        };
        let server = format!(
            "bind 127.0.0.1:{outer} {}\n    server program 127.0.0.1:{sink}",
            certificates(&files.server)
        );
        let client = format!(
            "bind 127.0.0.1:{port}\n    server peer 127.0.0.1:{outer} {} sni str({NAME}) verifyhost {NAME}",
            certificates(&files.client)
        );
        let mut processes = Vec::new();
        for (name, side) in [("server.cfg", server), ("client.cfg", client)] {
            let path = files.folder.join(name);
            fs::write(
                &path,
                format!(
                    "global\n    maxconn 4096\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\nlisten db\n    {side}\n"
                ),
            )?;
            let mut command = Command::new("haproxy");
            command
                .args(["-db", "-f"])
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            processes.push(
                Running::start(&mut command).context(
                    "`haproxy` is what the shield is compared with; ./x bench installs it",
                )?,
            );
        }
        Self::ready(port, processes)
    }

    fn ready(port: u16, processes: Vec<Running>) -> anyhow::Result<Self> {
        let began = Instant::now();
        while let Err(error) = connect(port).and_then(|mut stream| trip(&mut stream)) {
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "there is no way through to the sink: {error}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let processes = <[Running; 2]>::try_from(processes)
            .map_err(|_| anyhow::anyhow!("a path has two sides"))?;
        Ok(Self {
            port,
            _processes: processes,
        })
    }
}

/// Keys and certificates in PEM.
struct Files {
    folder: PathBuf,
    authority: PathBuf,
    server: PathBuf,
    client: PathBuf,
}

impl Files {
    fn make(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Bench CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name: &str, purpose| -> anyhow::Result<String> {
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.extended_key_usages = vec![purpose];
            // OpenSSL takes a certificate whose issuer has its own name for self-signed.
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?;
            Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
        };
        let files = Self {
            folder: folder.to_owned(),
            authority: folder.join("ca.pem"),
            server: folder.join("server.pem"),
            client: folder.join("client.pem"),
        };
        fs::write(&files.authority, authority.pem())?;
        let server = issue(NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = issue("web.example", ExtendedKeyUsagePurpose::ClientAuth)?;
        fs::write(&files.server, server)?;
        fs::write(&files.client, client)?;
        Ok(files)
    }
}

/// One side, in a process of its own, until the standard input ends.
pub async fn serve_side(variables: &Path, listen: u16, to: u16) -> anyhow::Result<()> {
    let variables: BTreeMap<String, String> = serde_json::from_slice(&fs::read(variables)?)?;
    let mut environment = variables
        .into_iter()
        .map(|(name, value)| (name, Zeroizing::new(value)))
        .collect();
    let policy = Policy::take(&mut environment)?.context("there is no policy")?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, listen).into())?;
    let (outside, inside) = if policy.servers.is_empty() {
        (Vec::new(), vec![socket.listen(1024)?])
    } else {
        (vec![socket], Vec::new())
    };
    let listeners = Listeners { outside, inside };
    let shield = Shield::start(policy, &|_| None, listeners, Loopback(to))?;
    shield.open()?;
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    shield.finish().await;
    Ok(())
}

/// The program listens at this port, whichever the policy names.
struct Loopback(u16);

impl Inside for Loopback {
    async fn connect(&self, _: u16) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.0)).await
    }
}
