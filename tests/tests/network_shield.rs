//! The network shield: real services that speak plain TCP, and what of it is seen on the network.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener as StdTcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mse_tests::programs::program;
use mse_tests::services::{Service, ServiceMachine};
use mse_workload::launch::{ServiceCheck, ServiceEnd};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CANARY: &str = "canary-in-clear-0123456789";
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each line with its reverse, on every address of its own network.
const SERVER: &str = r#"
import os, socket, threading
listener = socket.create_server(("", int(os.environ["PORT"])))
print("listening", flush=True)
def serve(connection):
    with connection, connection.makefile("rw") as lines:
        for line in lines:
            lines.write(line.strip()[::-1] + "\n")
            lines.flush()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Asks the server at `$SERVER`, as often as it takes until it is there.
const CLIENT: &str = r#"
import os, socket, sys, time
host, port = os.environ["SERVER"].split(":")
print("found", socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0], flush=True)
for attempt in range(200):
    try:
        with socket.create_connection((host, port)) as connection, connection.makefile("rw") as lines:
            lines.write(os.environ["CANARY"] + "\n")
            lines.flush()
            answer = lines.readline()
            if answer:
                print("answer", answer, end="", flush=True)
                sys.exit()
    except ConnectionError:
        pass
    time.sleep(0.05)
print("no answer")
"#;

/// Tries every way out that a program has.
const ESCAPE: &str = r#"
import os, socket
def tried(name, way):
    try:
        way()
        print(name, "WENT OUT", flush=True)
    except OSError as error:
        print(name, "failed", flush=True)
host = ("127.0.0.1", int(os.environ["HOST_PORT"]))
tried("host", lambda: socket.create_connection(host, 2))
tried("address", lambda: socket.create_connection(("192.0.2.1", 80), 2))
tried("six", lambda: socket.create_connection(("2001:db8::1", 80), 2))
tried("name", lambda: socket.getaddrinfo("example.org", 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tried("udp", lambda: udp.sendto(b"x", ("192.0.2.1", 53)))
tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
tried("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
print(sorted(name for index, name in socket.if_nameindex()), flush=True)
print(sorted(name for name in os.environ if "SHIELD" in name), flush=True)
"#;

async fn machine() -> ServiceMachine {
    ServiceMachine::new(&program("mse-enclave")).await
}

/// Has the CAS of `machine` release this program, with variables of the shield without the
/// beginning of their names.
fn release(
    machine: &ServiceMachine,
    python: &str,
    environment: &[(&str, String)],
    shield: &[(&str, String)],
) {
    let mut policies = machine.cas.policies();
    policies.arguments = ["/usr/bin/python3", "-c", python].map(str::to_owned).into();
    let own = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let shield = shield
        .iter()
        .map(|(name, value)| (format!("MSE_NETWORK_SHIELD{name}"), value.clone()));
    policies.environment = own.chain(shield).collect::<BTreeMap<_, _>>();
}

fn server_shield(port: u16, identity: &str, authority: &str) -> Vec<(&'static str, String)> {
    vec![
        ("", "protected".into()),
        ("_SERVER_db", "protected".into()),
        ("_SERVER_db_PORT", format!("TCP:{port}")),
        ("_SERVER_db_IDENTITY", identity.into()),
        ("_SERVER_db_CLIENT_AUTH", authority.into()),
    ]
}

fn free_port() -> u16 {
    let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Key and certificate in PEM.
    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    fn server(&self) -> String {
        self.issue("db.example", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> String {
        self.issue("web.example", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// As a peer on the network.
    async fn connect(&self, port: u16, identity: Option<&str>) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(pem) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("db.example").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// Says a line and reads the answer.
async fn ask(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    line: &str,
) -> io::Result<String> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let read = timeout(PATIENCE, stream.read_u8());
        answer.push(read.await.expect("an answer in time")?);
    }
    answer.pop();
    Ok(String::from_utf8(answer).unwrap())
}

/// What passes between two ports, in each direction of each connection.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

impl Record {
    /// Relays connections to `to` and keeps all that passes. Gives the port to connect to.
    async fn relay(&self, to: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = self.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(("127.0.0.1", to)).await else {
                    continue;
                };
                let (from_read, from_write) = from.into_split();
                let (to_read, to_write) = to.into_split();
                tokio::spawn(record.clone().copy(from_read, to_write));
                tokio::spawn(record.clone().copy(to_read, from_write));
            }
        });
        port
    }

    async fn copy(self, mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
        let number = {
            let mut streams = self.0.lock().unwrap();
            streams.push(Vec::new());
            streams.len() - 1
        };
        let mut buffer = [0; 4096];
        while let Ok(read) = from.read(&mut buffer).await {
            self.0.lock().unwrap()[number].extend(&buffer[..read]);
            if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }

    fn streams(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

/// The kinds of the TLS records that `stream` consists of; panics if it is anything else.
fn records(mut stream: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while !stream.is_empty() {
        let [kind, 3, 1..=4, high, low, rest @ ..] = stream else {
            panic!("no TLS record: {:?}", &stream[..stream.len().min(40)]);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(rest.len() >= length, "a record is cut");
        kinds.push(*kind);
        stream = &rest[length..];
    }
    kinds
}

fn contains(stream: &[u8], text: &str) -> bool {
    stream
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_speak_plain_tcp_and_the_network_sees_tls() {
    let ca = Authority::new();
    let authority = ca.0.pem();
    let (db, web) = (machine().await, machine().await);
    let port = free_port();
    release(
        &db,
        SERVER,
        &[("PORT", port.to_string())],
        &server_shield(port, &ca.server(), &authority),
    );
    let mut server = db.launch(db.spec()).await;
    server.until_line("listening").await;

    let record = Record::default();
    let seen_port = record.relay(port).await;
    release(
        &web,
        CLIENT,
        &[
            ("SERVER", format!("db.example:{seen_port}")),
            ("CANARY", CANARY.into()),
        ],
        &[
            ("", "protected".into()),
            ("_CLIENT_1", "protected".into()),
            (
                "_CLIENT_1_DESTINATION",
                format!("TCP:db.example:{seen_port}"),
            ),
            ("_CLIENT_1_DESTINATION_IP", "127.0.0.1".into()),
            ("_CLIENT_1_IDENTITY", ca.client()),
            ("_CLIENT_1_SERVER_AUTH", authority.clone()),
        ],
    );
    let client = web.run().await;
    let reversed: String = CANARY.chars().rev().collect();
    assert_eq!(
        client.lines,
        ["found 127.77.0.1".to_owned(), format!("answer {reversed}")],
        "{client:#?} {server:#?}"
    );

    // On the network: TLS records and nothing else. Change cipher spec (20) is the empty one that
    // TLS 1.3 sends for old middle boxes.
    let streams = record.streams();
    assert!(streams.len() >= 2);
    let mut kinds = Vec::new();
    for stream in &streams {
        kinds.extend(records(stream));
        assert!(!contains(stream, CANARY) && !contains(stream, &reversed));
        assert!(
            !contains(stream, "web.example"),
            "certificates are encrypted"
        );
    }
    assert!(
        kinds.iter().all(|kind| matches!(kind, 20 | 22 | 23)),
        "{kinds:?}"
    );
    assert!(kinds.contains(&22) && kinds.contains(&23));

    // Who has no certificate of that CA does not get in; who has one does.
    let mut good = ca.connect(port, Some(&ca.client())).await.unwrap();
    assert_eq!(ask(&mut good, "abc").await.unwrap(), "cba");
    for identity in [None, Some(Authority::new().client())] {
        let outcome = match ca.connect(port, identity.as_deref()).await {
            Ok(mut stream) => ask(&mut stream, "abc").await,
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "{outcome:?}");
    }
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(ask(&mut plain, "abc").await.is_err());

    server.enclave.stop(Duration::from_secs(5));
    server.finish().await;
    let told = |service: &Service, text: &str| {
        assert!(
            service.log.iter().any(|line| line.contains(text)),
            "{text}: {service:#?}"
        );
    };
    told(
        &server,
        &format!("protected {port}: mutual TLS, clients of CA sha256:"),
    );
    told(&server, "a client was refused");
    told(&server, "2 connections (0 resumed), 3 refused");
    told(
        &client,
        &format!("protected to db.example:{seen_port}: mutual TLS, server of CA"),
    );
    let log = server.log.join("\n") + &client.log.join("\n");
    assert!(!log.contains(CANARY) && !log.contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shielded_program_has_no_other_way_out() {
    let machine = machine().await;
    // It would get through to this one without the shield.
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host_port = host.local_addr().unwrap().port().to_string();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let environment = [("HOST_PORT", host_port)];
    release(&machine, ESCAPE, &environment, &[("", "protected".into())]);
    let service = machine.run().await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Program { code: 0 }),
        "{service:#?}"
    );
    assert_eq!(service.lines.len(), 9, "{service:#?}");
    for line in &service.lines[..7] {
        assert!(line.ends_with(" failed"), "{service:#?}");
    }
    assert_eq!(service.lines[7..], ["['lo']", "[]"]);
    let reached = timeout(Duration::from_millis(20), host.accept()).await;
    assert!(reached.is_err());

    // The same program without a shield does reach the host: the test can fail.
    release(&machine, ESCAPE, &environment, &[("", "disabled".into())]);
    let service = machine.run().await;
    assert_eq!(service.lines[0], "host WENT OUT", "{service:#?}");
    assert_eq!(service.lines[8], "[]", "{service:#?}");
    let warned = service.log.iter().any(|line| line.contains("UNPROTECTED"));
    assert!(warned, "{service:#?}");
}

/// Asks each of `$SERVERS`, host and port with a blank in between.
const ASK_ALL: &str = r#"
import os, socket
for server in os.environ["SERVERS"].split(","):
    host, port = server.split(" ")
    with socket.create_connection((host, port)) as connection, connection.makefile("rw") as lines:
        lines.write("abc\n")
        lines.flush()
        print(host, lines.readline(), end="", flush=True)
"#;

/// Answers each line with its reverse, on the host.
async fn reversing_host() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut line = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    line.insert(0, byte);
                    if byte == b'\n' {
                        line.rotate_left(1);
                        let _ = stream.write_all(&line).await;
                        line.clear();
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_found_by_name_and_by_address() {
    let machine = machine().await;
    let port = reversing_host().await;
    let hosts = ["192.0.2.7", "[2001:db8::7]", "cache", "localhost"];
    let servers = hosts.map(|host| format!("{} {port}", host.trim_matches(['[', ']'])));
    let mut shield = vec![("", "protected".to_owned())];
    #[rustfmt::skip]
    let names = [
        ["_CLIENT_0", "_CLIENT_0_DESTINATION", "_CLIENT_0_DESTINATION_IP"],
        ["_CLIENT_1", "_CLIENT_1_DESTINATION", "_CLIENT_1_DESTINATION_IP"],
        ["_CLIENT_2", "_CLIENT_2_DESTINATION", "_CLIENT_2_DESTINATION_IP"],
        ["_CLIENT_3", "_CLIENT_3_DESTINATION", "_CLIENT_3_DESTINATION_IP"],
    ];
    for (host, [rule, destination, address]) in std::iter::zip(hosts, names) {
        shield.push((rule, "unprotected".into()));
        shield.push((destination, format!("TCP:{host}:{port}")));
        shield.push((address, "127.0.0.1".into()));
    }
    release(
        &machine,
        ASK_ALL,
        &[("SERVERS", servers.join(","))],
        &shield,
    );
    let service = machine.run().await;
    assert_eq!(
        service.lines,
        [
            "192.0.2.7 cba",
            "2001:db8::7 cba",
            "cache cba",
            "localhost cba"
        ],
        "{service:#?}"
    );
    let warnings = service
        .log
        .iter()
        .filter(|line| line.contains("WARN UNPROTECTED to"));
    assert_eq!(warnings.count(), 4, "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_reach_new_connections_and_disturb_nobody() {
    let ca = Authority::new();
    let machine = machine().await;
    let port = free_port();
    let shield = server_shield(port, "file:/tls/db.pem", "file:/tls/ca.pem");
    release(&machine, SERVER, &[("PORT", port.to_string())], &shield);
    let first = ca.server();
    {
        let mut policies = machine.cas.policies();
        policies.renew_in = 1;
        policies.files = vec![
            ("/tls/db.pem".into(), 0o400, first),
            ("/tls/ca.pem".into(), 0o400, ca.0.pem()),
        ];
    }
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("listening").await;
    let following = tokio::spawn(async move {
        service.finish().await;
        service
    });
    let client = ca.client();
    let mut open = ca.connect(port, Some(&client)).await.unwrap();
    assert_eq!(ask(&mut open, "one").await.unwrap(), "eno");
    let shown = |stream: &TlsStream<TcpStream>| {
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        certificates[0].clone()
    };
    let old = shown(&open);
    machine.cas.policies().files[0].2 = ca.server();
    loop {
        assert!(!following.is_finished(), "{:#?}", following.await);
        let mut fresh = ca.connect(port, Some(&client)).await.unwrap();
        assert_eq!(ask(&mut fresh, "two").await.unwrap(), "owt");
        if shown(&fresh) != old {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&mut open, "three").await.unwrap(), "eerht");
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_cannot_be_kept_end_the_start() {
    let ca = Authority::new();
    let machine = machine().await;
    let identity = ca.server();
    let good = server_shield(free_port(), &identity, &ca.0.pem());
    let changed = |name: &'static str, value: &str| {
        let mut shield = good.clone();
        shield.retain(|(other, _)| *other != name);
        shield.push((name, value.to_owned()));
        shield
    };
    let taken = StdTcpListener::bind("[::]:0").unwrap();
    let taken_port = format!("TCP:{}", taken.local_addr().unwrap().port());
    for (shield, check, expected) in [
        (
            changed("", "on"),
            ServiceCheck::Configuration,
            "`MSE_NETWORK_SHIELD`: `on` is not one of",
        ),
        (
            changed("_SERVER_db_PORT", "unix:/run/db.sock"),
            ServiceCheck::Configuration,
            "Unix sockets are not shielded",
        ),
        (
            changed("_SERVER_db_PORT", "UDP:53"),
            ServiceCheck::Configuration,
            "only TCP is shielded",
        ),
        (
            changed("_SERVER_db_IDENTITY", "file:/tls/db.pem"),
            ServiceCheck::Configuration,
            "injects no file `/tls/db.pem`",
        ),
        (
            changed("_SERVER_db_CLIENT_AUTH", &identity),
            ServiceCheck::Configuration,
            "is not that of a CA",
        ),
        (
            changed("_SERVER_db_PORT", &taken_port),
            ServiceCheck::Machine,
            "cannot listen on port",
        ),
    ] {
        release(&machine, "print('it ran')", &[], &shield);
        let service = machine.run().await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Refused { check }),
            "{service:#?}"
        );
        assert!(service.reason().contains(expected), "{service:#?}");
        assert!(service.lines.is_empty(), "{service:#?}");
    }
}
