//! Two services that have no TLS (Redis and a Flask app, as Debian ships them) talk through network
//! shields, with certificates that the CAS issues, across renewals.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mse_session::{Compatibility, Variables, check_text};
use mse_tests::programs::repository;
use mse_tests::releases::ReleaseMachine;
use mse_tests::services::Service;
use tokio::time::sleep;

/// Certificates live so long, and are renewed after two thirds of it.
const LIFETIME: Duration = Duration::from_secs(6);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The example's session with its variables replaced, as `mse session create` sends it.
fn session(service: &str, variables: &[(&str, String)]) -> String {
    let path = example().join(service).join("session.yml");
    let variables = variables
        .iter()
        .fold(Variables::new(), |all, (name, value)| {
            all.with(*name, value)
        });
    let text = std::fs::read_to_string(path).unwrap();
    let checked = check_text(&text, &variables, Compatibility::Strict);
    checked.into_result().unwrap().0.to_text().to_string()
}

fn example() -> PathBuf {
    repository().join("examples/network_shield")
}

async fn visit(port: u16) -> Result<String, String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("{status}: {text}"))
    }
}

/// What Redis answers to a stranger.
fn ping(port: u16, options: &[&str]) -> Output {
    Command::new("redis-cli")
        .args(options)
        .args(["-p", &port.to_string(), "PING"])
        .output()
        .unwrap()
}

/// The serial number of the certificate that the shield of Redis shows.
fn serial(port: u16) -> Option<String> {
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = text.find("-----END CERTIFICATE-----")?;
    let pem = &text[begin..end + 26];
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    Some(pem.parse_x509().ok()?.raw_serial_as_string())
}

fn alive(service: &Service) {
    assert!(service.how.is_none(), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_without_tls_talk_mutual_tls_across_renewals() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let machine = ReleaseMachine::new().await;
    let (db_port, web_port) = (free_port(), free_port());
    let measured = |tree: &str, session: &str, service: &str| {
        let workload = machine.workload(&example().join(tree), session, service);
        machine.measure(&workload).0.to_string()
    };
    let db = session(
        "db",
        &[
            ("DB_MEASUREMENT", measured("db", "db", "redis")),
            ("DB_SALT", "0b".repeat(16)),
            ("DB_PORT", db_port.to_string()),
            // Idle connections end at once: each visit has a new handshake.
            ("IDLE", "1".into()),
            ("LIFETIME", format!("{} s", LIFETIME.as_secs())),
        ],
    );
    let web = session(
        "web",
        &[
            ("WEB_MEASUREMENT", measured("web", "web", "flask")),
            ("WEB_SALT", "0c".repeat(16)),
            ("DB_PORT", db_port.to_string()),
            ("DB_ADDRESS", "127.0.0.1".into()),
            ("WEB_PORT", web_port.to_string()),
        ],
    );
    machine.upload(&db).await.unwrap();
    machine.upload(&web).await.unwrap();
    let redis = machine
        .launch(machine.spec(&example().join("db"), "db", "redis"))
        .await;
    let flask = machine
        .launch(machine.spec(&example().join("web"), "web", "flask"))
        .await;
    let redis = tokio::spawn(follow(redis));
    let flask = tokio::spawn(follow(flask));

    // Both have to come up.
    let began = Instant::now();
    while let Err(error) = visit(web_port).await {
        assert!(!redis.is_finished(), "{:#?}", redis.await.unwrap());
        assert!(!flask.is_finished(), "{:#?}", flask.await.unwrap());
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        sleep(Duration::from_millis(200)).await;
    }
    // Without a certificate of that CA there is no way in, nor without TLS.
    for options in [&["--tls", "--insecure"][..], &[]] {
        let stranger = ping(db_port, options);
        assert!(
            !String::from_utf8_lossy(&stranger.stdout).contains("PONG"),
            "{stranger:?}"
        );
    }

    // Over three lives of a certificate, no visit fails.
    let (began, mut serials, mut visits) = (Instant::now(), BTreeSet::new(), 0);
    while began.elapsed() < 3 * LIFETIME {
        match visit(web_port).await {
            Ok(_) => visits += 1,
            Err(error) => {
                flask.abort();
                redis.abort();
                panic!("after {visits} visits and {:?}: {error}", began.elapsed());
            }
        }
        serials.extend(serial(db_port));
        sleep(Duration::from_millis(1200)).await;
    }
    assert!(serials.len() >= 3, "{serials:?}");
    assert!(!redis.is_finished() && !flask.is_finished());
    redis.abort();
    flask.abort();
}

/// Follows a service that should not end.
async fn follow(mut service: Service) -> Service {
    alive(&service);
    service.finish().await;
    service
}
