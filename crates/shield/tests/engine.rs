//! The shield over real sockets: who gets in, who does not, and that no byte is lost or in clear.

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Authority, Loopback, Side, client_policy, free_port, server_policy, server_policy_for, shield,
    try_shield,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Accepts one connection and gives back what it reads to the end, changed.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut whole = Vec::new();
            if stream.read_to_end(&mut whole).await.is_ok() {
                whole.reverse();
                let _ = stream.write_all(&whole).await;
                let _ = stream.shutdown().await;
            }
        });
    }
}

/// Says `request`, ends that direction, and reads the answer to its end.
async fn ask<S>(mut stream: S, request: &[u8]) -> io::Result<Vec<u8>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let asked = async {
        stream.write_all(request).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

/// Both sides of a connection, as two services have them.
struct Pair {
    server: Side,
    client: Side,
}

impl Pair {
    async fn new(ca: &Authority) -> Self {
        let inside = free_port();
        tokio::spawn(echo(
            TcpListener::bind(("127.0.0.1", inside)).await.unwrap(),
        ));
        let server = shield(
            &server_policy(&ca.server("db.example"), &ca.pem()),
            Loopback(inside),
        )
        .await;
        let client = shield(
            &client_policy("db.example", server.port, &ca.client(), &ca.pem()),
            Loopback(0),
        )
        .await;
        Self { server, client }
    }

    async fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        ask(
            TcpStream::connect(("127.0.0.1", self.client.port)).await?,
            request,
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_talk_and_each_direction_ends_by_itself() {
    let pair = Pair::new(&Authority::new()).await;
    for _ in 0..3 {
        // The server answers only after the end of the request.
        assert_eq!(pair.ask(b"hello").await.unwrap(), b"olleh");
    }
    assert_eq!(pair.ask(b"").await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bytes_pass_both_ways_at_once_unchanged() {
    let ca = Authority::new();
    let inside = free_port();
    let listener = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let server = shield(
        &server_policy(&ca.server("db.example"), &ca.pem()),
        Loopback(inside),
    )
    .await;
    let client = shield(
        &client_policy("db.example", server.port, &ca.client(), &ca.pem()),
        Loopback(0),
    )
    .await;
    let sent: Vec<u8> = (0..8 << 20_u32)
        .map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let sent = Arc::new(sent);
    let connections: Vec<_> = (0..4)
        .map(|_| {
            let (sent, port) = (Arc::clone(&sent), client.port);
            tokio::spawn(async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut read, mut write) = stream.into_split();
                let to_send = Arc::clone(&sent);
                let writing = tokio::spawn(async move {
                    write.write_all(&to_send).await.unwrap();
                    write.shutdown().await.unwrap();
                });
                let mut received = Vec::new();
                read.read_to_end(&mut received).await.unwrap();
                writing.await.unwrap();
                assert!(received == *sent, "{} of {}", received.len(), sent.len());
            })
        })
        .collect();
    for connection in connections {
        timeout(PATIENCE, connection).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_of_the_named_authority_get_in() {
    let (ca, other) = (Authority::new(), Authority::new());
    let pair = Pair::new(&ca).await;
    let port = pair.server.port;
    assert_eq!(
        ask(ca.connect(port, Some(ca.client())).await.unwrap(), b"ab")
            .await
            .unwrap(),
        b"ba"
    );
    for (identity, who) in [
        (None, "without certificate"),
        (Some(other.client()), "of another authority"),
        (Some(ca.expired_client()), "expired"),
        (Some(ca.server("db.example")), "of a server"),
    ] {
        // The refusal may come with the handshake or right after it.
        let outcome = match ca.connect(port, identity).await {
            Ok(stream) => ask(stream, b"canary").await,
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "{who}: {outcome:?}");
    }
    // Who speaks no TLS at all.
    let plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let answer = ask(plain, b"GET / HTTP/1.0\r\n\r\n")
        .await
        .unwrap_or_default();
    assert!(!answer.windows(4).any(|part| part == b"PTTH"), "{answer:?}");
    // The others are still served.
    assert_eq!(pair.ask(b"xyz").await.unwrap(), b"zyx");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_clients_of_an_authority_only_those_that_are_named_get_in() {
    let (ca, other) = (Authority::new(), Authority::new());
    let inside = free_port();
    tokio::spawn(echo(
        TcpListener::bind(("127.0.0.1", inside)).await.unwrap(),
    ));
    let identity = ca.server("db.example");
    let named = |names| server_policy_for(&identity, &ca.pem(), names);
    let side = shield(&named("web, api.example"), Loopback(inside)).await;
    let answer = async |identity| match ca.connect(side.port, identity).await {
        Ok(stream) => ask(stream, b"ab").await,
        Err(error) => Err(error),
    };
    for name in ["web", "WEB", "api.example"] {
        let answer = answer(Some(ca.client_named(name))).await;
        assert_eq!(answer.unwrap(), b"ba", "{name}");
    }
    for (identity, who) in [
        (Some(ca.client_named("third")), "another service"),
        (Some(ca.client_named("web.example")), "a longer name"),
        (Some(ca.client_named("*.example")), "one for many names"),
        (Some(ca.client_nameless()), "one without a name"),
        (Some(other.client_named("web")), "of another authority"),
        (Some(ca.server("web")), "of a server"),
        (None, "without certificate"),
    ] {
        let answer = answer(identity).await;
        assert!(answer.is_err(), "{who}: {answer:?}");
    }
    // A renewal has others in, and those from before out, also with an earlier handshake.
    let web = TlsConnector::from(Arc::new(ca.config(Some(ca.client_named("web")))));
    let resuming = async || {
        let stream = TcpStream::connect(("127.0.0.1", side.port)).await?;
        let name = ServerName::try_from("db.example").unwrap();
        ask(web.connect(name, stream).await?, b"ab").await
    };
    assert_eq!(resuming().await.unwrap(), b"ba");
    assert_eq!(side.renew(&named("third")).unwrap().rules, 1);
    assert!(resuming().await.is_err());
    let third = answer(Some(ca.client_named("third"))).await;
    assert_eq!(third.unwrap(), b"ba");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_named_one_is_told_nothing() {
    let (ca, other) = (Authority::new(), Authority::new());
    for (identity, who) in [
        (ca.server("mallory.example"), "of another name"),
        (other.server("db.example"), "of another authority"),
        (ca.expired_server("db.example"), "expired"),
        (ca.client_named("db.example"), "of a client"),
    ] {
        let inside = free_port();
        let program = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
        let server = shield(&server_policy(&identity, &ca.pem()), Loopback(inside)).await;
        let client = shield(
            &client_policy("db.example", server.port, &ca.client(), &ca.pem()),
            Loopback(0),
        )
        .await;
        let outcome = match TcpStream::connect(("127.0.0.1", client.port)).await {
            Ok(stream) => ask(stream, b"canary").await,
            Err(error) => Err(error),
        };
        // Reset, and not a quiet end, which a program could take for an empty answer.
        assert!(outcome.is_err(), "{who}: {outcome:?}");
        let reached = timeout(Duration::from_millis(50), program.accept()).await;
        assert!(reached.is_err(), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_does_not_look_complete() {
    let ca = Authority::new();
    let inside = free_port();
    let program = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
    let server = shield(
        &server_policy(&ca.server("db.example"), &ca.pem()),
        Loopback(inside),
    )
    .await;
    let mut stream = ca.connect(server.port, Some(ca.client())).await.unwrap();
    stream.write_all(b"half of it").await.unwrap();
    let (mut at_program, _) = program.accept().await.unwrap();
    let mut read = [0; 10];
    at_program.read_exact(&mut read).await.unwrap();
    // The end of TCP without the end of TLS, as somebody in between can make it.
    stream.get_mut().0.shutdown().await.unwrap();
    let rest = timeout(PATIENCE, at_program.read(&mut read)).await.unwrap();
    let error = rest.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_listen_is_no_quiet_end_either() {
    let ca = Authority::new();
    let server = shield(
        &server_policy(&ca.server("db.example"), &ca.pem()),
        Loopback(free_port()),
    )
    .await;
    let stream = ca.connect(server.port, Some(ca.client())).await.unwrap();
    assert!(ask(stream, b"x").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_for_programs_and_servers_that_are_started_again() {
    let ca = Authority::new();
    let inside = free_port();
    let server = shield(
        &server_policy(&ca.server("db.example"), &ca.pem()),
        Loopback(inside),
    )
    .await;
    let stream = ca.connect(server.port, Some(ca.client())).await.unwrap();
    let asked = tokio::spawn(ask(stream, b"hello"));
    // Nothing tells when the first attempt was refused.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let program = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
    tokio::spawn(echo(program));
    assert_eq!(asked.await.unwrap().unwrap(), b"olleh");

    let gone = free_port();
    let client = shield(
        &client_policy("db.example", gone, &ca.client(), &ca.pem()),
        Loopback(0),
    )
    .await;
    let _open = TcpStream::connect(("127.0.0.1", client.port))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let again = TcpListener::bind(("127.0.0.1", gone)).await.unwrap();
    timeout(PATIENCE, again.accept())
        .await
        .expect("it is reached")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_have_renewed_certificates_and_old_ones_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let inside = free_port();
    tokio::spawn(echo(
        TcpListener::bind(("127.0.0.1", inside)).await.unwrap(),
    ));
    let side = shield(
        &server_policy(&old.server("db.example"), &old.pem()),
        Loopback(inside),
    )
    .await;
    let mut open = old.connect(side.port, Some(old.client())).await.unwrap();
    open.write_all(b"begun ").await.unwrap();
    let both = format!("{}{}", old.pem(), new.pem());
    let renewed = side
        .renew(&server_policy(&new.server("db.example"), &both))
        .unwrap();
    assert_eq!(renewed.rules, 1);
    // Nothing changed: nothing is replaced, and sessions stay.
    let same = server_policy(&side.last_identity(), &both);
    assert_eq!(side.renew(&same).unwrap().rules, 0);

    assert!(old.connect(side.port, Some(old.client())).await.is_err());
    let fresh = new.connect(side.port, Some(old.client())).await.unwrap();
    assert_eq!(ask(fresh, b"12").await.unwrap(), b"21");
    assert_eq!(ask(open, b"before").await.unwrap(), b"erofeb nugeb");

    // Something is wrong: everything stays.
    let error = side.renew(&server_policy("no PEM", &both)).unwrap_err();
    assert!(error.to_string().contains("_IDENTITY`"), "{error}");
    let fresh = new.connect(side.port, Some(new.client())).await.unwrap();
    assert_eq!(ask(fresh, b"12").await.unwrap(), b"21");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_connections_resume_until_the_certificates_change() {
    let ca = Authority::new();
    let inside = free_port();
    tokio::spawn(echo(
        TcpListener::bind(("127.0.0.1", inside)).await.unwrap(),
    ));
    let identity = ca.server("db.example");
    let side = shield(&server_policy(&identity, &ca.pem()), Loopback(inside)).await;
    let connector = TlsConnector::from(Arc::new(ca.config(Some(ca.client()))));
    let resumed = async || {
        let stream = TcpStream::connect(("127.0.0.1", side.port)).await.unwrap();
        let name = ServerName::try_from("db.example").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(b"ab").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ba");
        stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    assert!(!resumed().await);
    assert!(resumed().await);
    side.renew(&server_policy(&ca.server("db.example"), &ca.pem()))
        .unwrap();
    assert!(!resumed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shield_ends_with_what_is_on_its_way() {
    let ca = Authority::new();
    let inside = free_port();
    let program = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
    let side = shield(
        &server_policy(&ca.server("db.example"), &ca.pem()),
        Loopback(inside),
    )
    .await;
    let port = side.port;
    let mut stream = ca.connect(port, Some(ca.client())).await.unwrap();
    let (mut at_program, _) = program.accept().await.unwrap();
    at_program.write_all(&vec![7; 1 << 20]).await.unwrap();
    drop(at_program);
    let ending = tokio::spawn(side.finish());
    let mut received = Vec::new();
    // The end of the peer's own direction ends the connection.
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), 1 << 20);
    timeout(PATIENCE, ending).await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_before_it_opens_or_after_it_closes_is_refused_and_who_is_there_finishes() {
    let ca = Authority::new();
    let inside = free_port();
    let program = TcpListener::bind(("127.0.0.1", inside)).await.unwrap();
    tokio::spawn(echo(program));
    let policy = server_policy(&ca.server("db.example"), &ca.pem());
    let side = try_shield(&policy, Loopback(inside)).await.unwrap();
    let port = side.port;
    let early = TcpStream::connect(("127.0.0.1", port)).await;
    assert_eq!(early.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    side.open();
    // When who came later has an answer, who came earlier is in.
    let early = ca.connect(port, Some(ca.client())).await.unwrap();
    let later = ca.connect(port, Some(ca.client())).await.unwrap();
    assert_eq!(ask(later, b"hello").await.unwrap(), b"olleh");
    side.close();
    let refused = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("nobody listens");
    assert_eq!(ask(early, b"bye").await.unwrap(), b"eyb");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_are_checked_at_the_start() {
    let (ca, other) = (Authority::new(), Authority::new());
    let good = ca.server("db.example");
    let key_of_another = format!("{}{}", ca.pem(), other.server("a.example"));
    for (identity, authorities, variable, expected) in [
        ("", &ca.pem()[..], "_IDENTITY", "is empty"),
        (&ca.pem()[..], &ca.pem()[..], "_IDENTITY", "no private key"),
        (&key_of_another, &ca.pem(), "_IDENTITY", "does not belong"),
        (
            &format!("{good}{good}"),
            &ca.pem(),
            "_IDENTITY",
            "more than one",
        ),
        (
            &ca.nameless(),
            &ca.pem(),
            "_IDENTITY",
            "subject alternative name",
        ),
        (&good, &good, "_CLIENT_AUTH", "not that of a CA"),
        (&good, "x", "_CLIENT_AUTH", "no certificate"),
        (
            "file:/tls/a.pem",
            &ca.pem(),
            "_IDENTITY",
            "injects no file `/tls/a.pem`",
        ),
    ] {
        let error = try_shield(&server_policy(identity, authorities), Loopback(0))
            .await
            .err()
            .unwrap();
        assert!(error.contains(&format!("{variable}`: ")), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("PRIVATE KEY"), "{error}");
    }
}
