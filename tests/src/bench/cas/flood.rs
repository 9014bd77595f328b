//! Strangers who open connections and say nothing, and the honest clients beside them.
//!
//! The strangers are another machine, a network namespace: their ends of 100,000 connections would
//! otherwise be sockets in the network stack that the honest clients use.

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

use super::load::{Load, drive};
use super::releases::{Releasing, Renewing};
use super::side::Side;
use super::wire::{Server, server_name};
use crate::bench::process::resident;
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};
use crate::namespaces::Network;

pub(in crate::bench) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let strangers = bench.effort.choose(100_000, 10_000);
    let duration = Duration::from_secs(bench.effort.choose(20, 3));
    let network = Network::new(1).context(
        "this machine makes no network namespaces, and the strangers need one: run it as root",
    )?;
    for source in sources() {
        network.add_address(STRANGERS, source);
    }
    let side = Side::start(SESSIONS).await?;
    let crowd = |from, count| Crowd::come(&side, &network, from, count);
    let honest = |duration| honest(&side, duration);
    // What honest clients take is there before anything is measured.
    honest(duration / 4).await?;
    let idle = resident(side.pid())?;
    let calm = honest(duration).await?;
    let seats = crowd(0, SEATS).await?;
    let seated = resident(side.pid())?;
    seats.go().await?;
    let tenth = crowd(SEATS, strangers / 10).await?;
    honest(duration / 4).await?;
    let few = resident(side.pid())?;
    tenth.go().await?;
    say(format!("flood: {strangers} strangers come"));
    let beside = async {
        let coming = honest(Duration::from_secs_f64(seconds(strangers) * 0.8)).await?;
        Ok((coming, resident(side.pid())?))
    };
    let (crowd, (coming, most)) = tokio::try_join!(crowd(SEATS, strangers), beside)?;
    let held = honest(duration).await?;
    let many = resident(side.pid())?;
    crowd.go().await?;
    let after = honest(duration).await?;

    let memory = |what: String, ours: u64, theirs: u64, goal| Measured {
        what,
        unit: Unit::Mebibytes,
        ours: vec![mebibytes(ours)],
        theirs: vec![mebibytes(theirs)],
        goal,
    };
    let tenth = strangers / 10;
    let mut rows = vec![
        memory(
            format!("RSS with {SEATS} strangers, as many as there are seats; theirs: none"),
            seated,
            idle,
            None,
        ),
        memory(
            format!("RSS when {tenth} have come; theirs: {SEATS}"),
            few,
            seated,
            None,
        ),
        memory(
            format!("RSS while {strangers} come; theirs: when {tenth} had come"),
            most,
            few,
            Some(Goal::More(3.0)),
        ),
        memory(
            format!("RSS while {strangers} hold on; theirs: when {tenth} had come"),
            many,
            few,
            Some(Goal::More(3.0)),
        ),
    ];
    let stages = [
        ("while they come", coming, None),
        ("while they hold on", held, Some(Goal::More(2.0))),
        ("when they have gone", after, None),
    ];
    for (stage, (releases, renewals), goal) in stages {
        for (what, load, before) in [
            ("Release", releases, &calm.0),
            ("Release in a session", renewals, &calm.1),
        ] {
            rows.push(Measured {
                what: format!("{what}, p99 {stage}; theirs: before"),
                unit: Unit::Milliseconds,
                ours: vec![load.percentile(99)],
                theirs: vec![before.percentile(99)],
                goal,
            });
        }
    }
    Ok(rows)
}

/// Services that are released to at a pace, and others that ask again.
async fn honest(side: &Arc<Side>, duration: Duration) -> anyhow::Result<(Load, Load)> {
    let pace = Some(Duration::from_millis(50));
    let releases = drive::<Releasing>(side, 4, duration, pace);
    let renewals = drive::<Renewing>(side, 4, duration, pace);
    tokio::try_join!(releases, renewals)
}

/// Processes that hold connections until this is dropped: no process may have so many.
struct Crowd(Vec<Child>);

impl Crowd {
    /// Opens `count` connections at [`RATE`]; they are kept, whoever closes them on the other side.
    async fn come(
        side: &Side,
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
                .arg(format!("{}:{}", network.gateway(), side.port()))
                .arg(side.key().to_string())
                .arg((from + part * PER_PROCESS).to_string())
                .arg(own.to_string())
                .arg(parts.to_string())
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
    async fn go(mut self) -> anyhow::Result<()> {
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
                held.push(stranger(&server, from + number).await?);
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
async fn stranger(server: &Server, number: usize) -> anyhow::Result<TcpStream> {
    let source = server.neighbour(usize::from(FIRST_SOURCE) + number % SOURCES)?;
    let reached = timeout(PATIENCE, server.reach_from(source));
    let mut stream = reached.await?.context("a stranger cannot connect")?;
    match number % 3 {
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
fn sources() -> impl Iterator<Item = u8> {
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
fn seconds(connections: usize) -> f64 {
    connections as f64 / RATE
}

#[allow(clippy::cast_precision_loss)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
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
const STRANGERS: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connections the CAS has at once.
const SEATS: usize = 1024;
const SESSIONS: usize = 100;
