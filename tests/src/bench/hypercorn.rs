//! The other side's server: hypercorn, started as the system that MSE replaces starts it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use tempfile::TempDir;

use super::process::Running;
use super::{asset, free_port};

/// A server that answers. Killed when dropped.
pub(super) struct Hypercorn {
    process: Running,
    port: u16,
    /// From the start of its process to its first answer.
    pub(super) start_up: Duration,
    _files: TempDir,
}

/// How its clients reach it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// HTTP.
    Plain,
    /// TLS under an EC P-256 key, the kind that enclaves have as well.
    Tls,
}

impl Hypercorn {
    /// Serves `app:app` of the folder `code`; comes back with its first answer.
    pub(super) async fn start(
        python: &Path,
        code: &Path,
        transport: Transport,
    ) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let port = free_port().context("there is no free port")?;
        let mut command = Command::new(python);
        command
            .arg(asset("serve_hypercorn.py"))
            .arg("--app-dir")
            .arg(code)
            .args(["--app", "app:app", "--bind", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(files.path().join("log"))?);
        if transport == Transport::Tls {
            let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
            write_certificate(&certificate, &key)?;
            command
                .arg("--certificate")
                .arg(certificate)
                .arg("--key")
                .arg(key);
        }
        let url = match transport {
            Transport::Plain => format!("http://127.0.0.1:{port}/"),
            Transport::Tls => format!("https://localhost:{port}/"),
        };
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let began = Instant::now();
        let mut process = Running::start(&mut command)?;
        loop {
            if let Ok(answer) = client.get(&url).send().await
                && answer.status() == StatusCode::OK
            {
                break;
            }
            if let Some(status) = process.ended()? {
                let log = fs::read_to_string(files.path().join("log"))?;
                bail!("hypercorn ended with {status}:\n{log}");
            }
            if began.elapsed() > PATIENCE {
                bail!("hypercorn does not answer on port {port}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self {
            process,
            port,
            start_up: began.elapsed(),
            _files: files,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The root of its process tree.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

fn write_certificate(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let pair = KeyPair::generate()?;
    let signed = CertificateParams::new(["localhost".to_owned()])?.self_signed(&pair)?;
    fs::write(certificate, signed.pem())?;
    fs::write(key, pair.serialize_pem())?;
    Ok(())
}
