//! Requests per second, latency and memory: the enclave's TLS front and the server behind it,
//! against hypercorn with TLS, serving the same app.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mse_workload::launch::Phase;
use serde::Deserialize;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::hypercorn::{Hypercorn, Transport};
use super::process::{cpu_seconds, proportional_set_size};
use super::report::{Goal, Measured, Unit};
use super::{Bench, HELLO, asset, say};
use crate::enclave::{FASTAPI, FLASK, Machine};
use crate::programs::program;

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let mut all = Vec::new();
    for framework in [Framework::Flask, Framework::FastApi] {
        all.extend(compare(bench, framework).await?);
    }
    Ok(all)
}

#[derive(Clone, Copy)]
enum Framework {
    Flask,
    FastApi,
}

impl Framework {
    fn name(self) -> &'static str {
        match self {
            Self::Flask => "Flask",
            Self::FastApi => "FastAPI",
        }
    }

    fn image(self) -> &'static str {
        match self {
            Self::Flask => FLASK,
            Self::FastApi => FASTAPI,
        }
    }

    /// The folder with the app.
    fn code(self) -> std::path::PathBuf {
        asset("apps").join(self.name().to_lowercase())
    }
}

async fn compare(bench: &Bench, framework: Framework) -> anyhow::Result<Vec<Measured>> {
    let (rounds, load) = bench.effort.choose((3, 8), (1, 2));
    let load = Duration::from_secs(load);
    let name = framework.name();
    let ours = Ours::start(framework).await?;
    let theirs = Hypercorn::start(&bench.python, &framework.code(), Transport::Tls).await?;
    let warm_up = Duration::from_secs(2);
    for port in [ours.port, theirs.port()] {
        check_answer(port).await?;
        wrk(port, warm_up).await?;
    }
    let mut seen = Vec::new();
    for round in 1..=rounds {
        let both = (
            Load::put_on(ours.port, ours.pid, load).await?,
            Load::put_on(theirs.port(), theirs.pid(), load).await?,
        );
        say(format!(
            "requests: {name}, round {round} of {rounds}: {:.0} and {:.0} req/s",
            both.0.seen.rate(),
            both.1.seen.rate()
        ));
        seen.push(both);
    }
    let memory = (
        proportional_set_size(ours.pid)?,
        proportional_set_size(theirs.pid())?,
    );
    let row = |what: &str, unit, goal, value: fn(&Load) -> f64| Measured {
        what: format!("{name} over TLS: {what}"),
        unit,
        ours: seen.iter().map(|(ours, _)| value(ours)).collect(),
        theirs: seen.iter().map(|(_, theirs)| value(theirs)).collect(),
        goal,
    };
    Ok(vec![
        row(
            "requests",
            Unit::RequestsPerSecond,
            Some(Goal::TimesBetter(3.0)),
            |load| load.seen.rate(),
        ),
        row("p50", Unit::Milliseconds, None, |load| load.seen.p50_ms),
        row("p99", Unit::Milliseconds, None, |load| load.seen.p99_ms),
        row(
            "CPU time per request",
            Unit::Microseconds,
            None,
            Load::cpu_microseconds,
        ),
        Measured {
            what: format!("{name} over TLS: memory (PSS)"),
            unit: Unit::Mebibytes,
            ours: vec![mebibytes(memory.0)],
            theirs: vec![mebibytes(memory.1)],
            goal: None,
        },
    ])
}

/// A running enclave.
struct Ours {
    port: u16,
    pid: u32,
    events: JoinHandle<()>,
    _machine: Machine,
}

impl Ours {
    /// Launches an enclave of the app, verifies and provisions it as its owner would.
    async fn start(framework: Framework) -> anyhow::Result<Self> {
        let machine = Machine::with_image(&program("mse-enclave"), framework.image()).await;
        let source = framework.code().join("app.py");
        let source = std::fs::read_to_string(&source)
            .with_context(|| format!("`{}` cannot be read", source.display()))?;
        let app = machine.app(&[("app.py", &source)]);
        let mut launched = machine.launch(&app).await;
        let mut channel = machine.connect(&launched.endpoint, &app.workload).await?;
        channel.provision(&app.payload(None)).await?;
        let (phase, log) = launched.settle().await;
        if phase != Phase::Running {
            bail!("the enclave is {phase:?} and does not run: {log:#?}");
        }
        let (_, port) = launched
            .endpoint
            .address
            .rsplit_once(':')
            .context("an address has a port")?;
        let (port, pid) = (port.parse()?, launched.enclave.pid());
        // Nobody would read what it reports, and it ends when this is dropped.
        let events = tokio::spawn(async move { while launched.enclave.next().await.is_some() {} });
        Ok(Self {
            port,
            pid,
            events,
            _machine: machine,
        })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// A server under load.
struct Load {
    seen: Seen,
    cpu_seconds: f64,
}

impl Load {
    /// On the server on `port` that the process `pid` is the root of.
    async fn put_on(port: u16, pid: u32, duration: Duration) -> anyhow::Result<Self> {
        let before = cpu_seconds(pid)?;
        let seen = wrk(port, duration).await?;
        Ok(Self {
            seen,
            cpu_seconds: cpu_seconds(pid)? - before,
        })
    }

    #[allow(clippy::cast_precision_loss)] // a count of requests is far below 2^52
    fn cpu_microseconds(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.seen.requests as f64
    }
}

/// What one run of wrk saw.
#[derive(Deserialize)]
struct Seen {
    requests: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
    failed: u64,
}

impl Seen {
    #[allow(clippy::cast_precision_loss)] // a count of requests is far below 2^52
    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// What answers is the app: an enclave also answers before its app runs.
async fn check_answer(port: u16) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()?;
    let url = format!("https://localhost:{port}/");
    let text = client.get(&url).send().await?.text().await?;
    ensure!(
        text == HELLO,
        "`{url}` answers `{text}` instead of `{HELLO}`"
    );
    Ok(())
}

/// 32 connections from 2 threads for `duration`. The name is one that the certificate covers, and
/// that every machine resolves.
async fn wrk(port: u16, duration: Duration) -> anyhow::Result<Seen> {
    let output = Command::new("wrk")
        .args(["-t2", "-c32"])
        .arg(format!("-d{}s", duration.as_secs()))
        .arg("-s")
        .arg(asset("report.lua"))
        .arg(format!("https://localhost:{port}/"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("`wrk` cannot be run; ./x bench installs it")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let seen: Seen = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .with_context(|| {
            format!(
                "wrk reports nothing: {text}{}",
                String::from_utf8_lossy(&output.stdout)
            )
        })?;
    ensure!(
        seen.failed == 0 && seen.requests > 0,
        "{} of {} requests failed",
        seen.failed,
        seen.requests
    );
    Ok(seen)
}

#[allow(clippy::cast_precision_loss)] // no memory is that large
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
