//! Strangers: processes that open connections, say nothing, and hold them.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use mse_workload::CasKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::ClientConnection;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bench::cas::wire::{Server, server_name};
use crate::namespaces::Network;

/// To whom strangers come.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) port: &'a str,
    pub(super) key: CasKey,
    /// Whether they say nothing at all, since it would not be understood.
    pub(super) silent: bool,
}

/// Processes that hold connections until this is dropped: no process may have so many.
pub(super) struct Crowd(Vec<Child>);

impl Crowd {
    /// Opens `count` connections at [`RATE`]; they are kept, whoever closes them on the other side.
    pub(super) async fn come(
        host: Host<'_>,
        network: &Network,
        from: usize,
        count: usize,
    ) -> anyhow::Result<Self> {
        let parts = count.div_ceil(PER_PROCESS);
        let mut children = Vec::with_capacity(parts);
        for part in 0..parts {
            let own = count / parts + usize::from(part < count % parts);
            let program = std::env::current_exe()?;
            let mut command = Command::new("nice");
            command
                .args(["-n", YIELDING])
                .args(network.wrapped(STRANGERS, &program))
                .arg("strangers")
                .arg(format!("{}:{}", network.gateway(), host.port))
                .arg(host.key.to_string())
                .arg((from + part * PER_PROCESS).to_string())
                .arg(own.to_string())
                .arg(parts.to_string())
                .args(host.silent.then_some("--silent"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true);
            children.push(command.spawn()?);
        }
        for child in &mut children {
            let output = child.stdout.take().context("a stranger has no output")?;
            let line = BufReader::new(output).lines().next_line().await?;
            ensure!(line.as_deref() == Some(HELD), "strangers could not connect");
        }
        Ok(Self(children))
    }

    /// Closes all connections.
    pub(super) async fn go(mut self) -> anyhow::Result<()> {
        for child in &mut self.0 {
            drop(child.stdin.take());
            child.wait().await?;
        }
        Ok(())
    }
}

/// What a process of [`Crowd`] does: opens `count` connections, says so, and holds them until its
/// standard input ends. `processes` share the rate.
pub async fn hold(
    address: &str,
    key: CasKey,
    from: usize,
    count: usize,
    processes: usize,
    silent: bool,
) -> anyhow::Result<()> {
    raise_limit(count)?;
    let server = Arc::new(Server::new(address, key)?);
    let (began, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..OPENERS / processes.clamp(1, OPENERS) {
        let (server, next) = (Arc::clone(&server), Arc::clone(&next));
        tasks.spawn(async move {
            let mut held = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(held);
                }
                let turn = Duration::from_secs_f64(seconds(number * processes));
                sleep_until(began + turn).await;
                held.push(stranger(&server, from + number, silent).await?);
            }
        });
    }
    let mut held = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        held.extend(done??);
    }
    println!("{HELD}");
    let end = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    tokio::task::spawn_blocking(end).await??;
    drop(held);
    Ok(())
}

/// One who stops before the handshake, in it, or after it.
async fn stranger(server: &Server, number: usize, silent: bool) -> anyhow::Result<TcpStream> {
    let source = server.neighbour(usize::from(FIRST_SOURCE) + number % SOURCES)?;
    let reached = timeout(PATIENCE, server.reach_from(source));
    let mut stream = reached.await?.context("a stranger cannot connect")?;
    match number % 3 {
        _ if silent => Ok(stream),
        0 => Ok(stream),
        1 => {
            let mut hello = Vec::new();
            ClientConnection::new(Arc::clone(server.tls()), server_name())?
                .write_tls(&mut hello)?;
            stream.write_all(&hello[..hello.len() / 2]).await?;
            Ok(stream)
        }
        _ => {
            let wire = timeout(PATIENCE, server.shake_hands(stream)).await?;
            let wire = wire.context("a stranger is not let in")?;
            Ok(wire.stall().await?)
        }
    }
}

/// The addresses that strangers come from, by their last number.
pub(super) fn sources() -> impl Iterator<Item = u8> {
    (FIRST_SOURCE..).take(SOURCES)
}

/// The process may hold so many connections, and some more.
fn raise_limit(connections: usize) -> anyhow::Result<()> {
    let wanted = u64::try_from(connections)? + 500;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        wanted <= most,
        "a process may have only {most} files open, and {wanted} are needed: `ulimit -Hn {wanted}`"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, most)?)
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(connections: usize) -> f64 {
    connections as f64 / RATE
}

/// How much strangers yield to the server and its honest clients, who share their cores here and
/// would not elsewhere.
const YIELDING: &str = "15";
/// New connections in a second.
const RATE: f64 = 2_000.0;
/// As many at once, in all processes together.
const OPENERS: usize = 64;
/// Connections of one process: the limit of files is 20,000 on many machines.
const PER_PROCESS: usize = 15_000;
/// What a process says when it has opened all of its connections.
const HELD: &str = "held";
/// Addresses that they come from: each has some 28,000 ports.
const SOURCES: usize = 16;
/// The first of them, in the strangers' network.
const FIRST_SOURCE: u8 = 10;
/// Which machine of the network they are.
pub(super) const STRANGERS: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
