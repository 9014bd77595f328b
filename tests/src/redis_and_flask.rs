//! Redis and a Flask app, as Debian ships them: two services of an example that talk mutual TLS with
//! certificates that the CAS issues and renews.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mse_session::{Compatibility, Variables, check_text};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::programs::repository;
use crate::releases::ReleaseMachine;
use crate::services::Service;

/// Both, running. Neither should end before this is dropped.
pub struct RedisAndFlask {
    lifetime: Duration,
    db_port: u16,
    web_port: u16,
    redis: JoinHandle<Service>,
    flask: JoinHandle<Service>,
    _machine: ReleaseMachine,
}

impl RedisAndFlask {
    /// Launches those of `examples/NAME`, and waits until they answer. Their certificates live for
    /// `lifetime`, and are renewed after two thirds of it; `more` are variables of the app's session.
    pub async fn launch(example: &str, lifetime: Duration, more: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let machine = ReleaseMachine::new().await;
        let example = repository().join("examples").join(example);
        let (db_port, web_port) = (free_port(), free_port());
        let measured = |tree: &str, service: &str| {
            let workload = machine.workload(&example.join(tree), tree, service);
            machine.measure(&workload).0.to_string()
        };
        let db = Variables::new()
            .with("DB_MEASUREMENT", measured("db", "redis"))
            .with("DB_SALT", "0b".repeat(16))
            .with("DB_PORT", db_port.to_string())
            // Idle connections end at once: each visit has a new handshake.
            .with("IDLE", "1")
            .with("LIFETIME", format!("{} s", lifetime.as_secs()));
        let web = Variables::new()
            .with("WEB_MEASUREMENT", measured("web", "flask"))
            .with("WEB_SALT", "0c".repeat(16))
            .with("DB_PORT", db_port.to_string())
            .with("WEB_PORT", web_port.to_string());
        let web = more
            .iter()
            .fold(web, |all, &(name, value)| all.with(name, value));
        for (tree, variables) in [("db", db), ("web", web)] {
            let session = session(&example.join(tree), &variables);
            machine.upload(&session).await.unwrap();
        }
        let launched = |tree: &'static str, service: &'static str| {
            let spec = machine.spec(&example.join(tree), tree, service);
            machine.launch(spec)
        };
        let redis = launched("db", "redis").await;
        let flask = launched("web", "flask").await;
        let mut both = Self {
            lifetime,
            db_port,
            web_port,
            redis: tokio::spawn(follow(redis)),
            flask: tokio::spawn(follow(flask)),
            _machine: machine,
        };
        both.come_up().await;
        both
    }

    async fn come_up(&mut self) {
        let began = Instant::now();
        while let Err(error) = self.visit().await {
            for service in [&mut self.redis, &mut self.flask] {
                assert!(!service.is_finished(), "{:#?}", service.await.unwrap());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{error}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Redis does not answer who has no certificate, and connects with these options of its client.
    pub fn assert_closed_to(&self, options: &[&str]) {
        let stranger = Command::new("redis-cli")
            .args(options)
            .args(["-p", &self.db_port.to_string(), "PING"])
            .output()
            .expect("`redis-cli` is installed by ./x setup");
        assert!(
            !String::from_utf8_lossy(&stranger.stdout).contains("PONG"),
            "{stranger:?}"
        );
    }

    /// Over three lives of a certificate, no visit fails.
    pub async fn assert_served_across_renewals(&self) {
        let (began, mut serials, mut visits) = (Instant::now(), BTreeSet::new(), 0);
        while began.elapsed() < 3 * self.lifetime {
            match self.visit().await {
                Ok(_) => visits += 1,
                Err(error) => panic!("after {visits} visits and {:?}: {error}", began.elapsed()),
            }
            serials.extend(self.serial());
            sleep(Duration::from_millis(1200)).await;
        }
        assert!(serials.len() >= 3, "{serials:?}");
        assert!(!self.redis.is_finished() && !self.flask.is_finished());
    }

    async fn visit(&self) -> Result<String, String> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/", self.web_port)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{status}: {text}"))
        }
    }

    /// The serial number of the certificate that is shown for Redis.
    fn serial(&self) -> Option<String> {
        let shown = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &format!("127.0.0.1:{}", self.db_port),
            ])
            .stdin(Stdio::null())
            .output()
            .expect("`openssl` is installed by ./x setup");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let begin = text.find("-----BEGIN CERTIFICATE-----")?;
        let end = text.find("-----END CERTIFICATE-----")?;
        let pem = &text[begin..end + 26];
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
        Some(pem.parse_x509().ok()?.raw_serial_as_string())
    }
}

impl Drop for RedisAndFlask {
    fn drop(&mut self) {
        self.redis.abort();
        self.flask.abort();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The session of an example's service with its variables replaced, as `mse session create` sends it.
fn session(tree: &Path, variables: &Variables) -> String {
    let text = std::fs::read_to_string(tree.join("session.yml")).unwrap();
    let checked = check_text(&text, variables, Compatibility::Strict);
    checked.into_result().unwrap().0.to_text().to_string()
}

/// Follows a service that should not end.
async fn follow(mut service: Service) -> Service {
    assert!(service.how.is_none(), "{service:#?}");
    service.finish().await;
    service
}
