//! Strangers who open connections and say nothing, and the honest clients beside them.
//!
//! The strangers are another machine, a network namespace: their ends of 100,000 connections would
//! otherwise be sockets in the network stack that the honest clients use. What so many sockets cost the
//! machine that all this shares is measured as well, by strangers who go [`elsewhere`].

mod elsewhere;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
pub use strangers::hold;

use self::elsewhere::Elsewhere;
use self::strangers::{Crowd, Host, STRANGERS, seconds, sources};
use super::load::{Load, drive};
use super::releases::{Releasing, Renewing};
use super::side::Side;
use crate::bench::process::resident;
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};
use crate::namespaces::Network;

pub(in crate::bench) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let strangers = bench.effort.choose(100_000, 10_000);
    let rounds = bench.effort.choose(3, 1);
    let duration = Duration::from_secs(bench.effort.choose(20, 3));
    let network = Network::new(1).context(
        "this machine makes no network namespaces, and the strangers need one: run it as root",
    )?;
    for source in sources() {
        network.add_address(STRANGERS, source);
    }
    let side = Side::start(SESSIONS).await?;
    let elsewhere = Elsewhere::open().await?;
    let cas = Host {
        port: side.port(),
        key: side.key(),
        silent: false,
    };
    let others = Host {
        port: elsewhere.port(),
        silent: true,
        ..cas
    };
    let crowd = |host, from, count| Crowd::come(host, &network, from, count);
    let honest = |duration| honest(&side, duration);
    // What honest clients take is there before anything is measured.
    honest(duration / 4).await?;

    let mut memory = Memory {
        none: resident(side.pid())?,
        ..Memory::default()
    };
    let seats = crowd(cas, 0, SEATS).await?;
    memory.seated = resident(side.pid())?;
    seats.go().await?;
    let tenth = crowd(cas, SEATS, strangers / 10).await?;
    honest(duration / 4).await?;
    memory.few = resident(side.pid())?;
    tenth.go().await?;

    let mut latencies = Latencies::default();
    for round in 1..=rounds {
        say(format!("flood: round {round} of {rounds}"));
        latencies.before.add(&honest(duration).await?);
        let crowd_elsewhere = crowd(others, SEATS, strangers).await?;
        latencies.elsewhere.add(&honest(duration).await?);
        crowd_elsewhere.go().await?;
        say(format!("flood: {strangers} strangers come"));
        let beside = async {
            let coming = honest(Duration::from_secs_f64(seconds(strangers) * 0.8)).await?;
            anyhow::Ok((coming, resident(side.pid())?))
        };
        let (all, (coming, most)) = tokio::try_join!(crowd(cas, SEATS, strangers), beside)?;
        latencies.coming.add(&coming);
        latencies.held.add(&honest(duration).await?);
        memory.coming.push(most);
        memory.held.push(resident(side.pid())?);
        all.go().await?;
    }
    let mut rows = memory.rows(strangers);
    rows.extend(latencies.rows(strangers));
    Ok(rows)
}

/// Services that are released to at a pace, and others that ask again.
async fn honest(side: &Arc<Side>, duration: Duration) -> anyhow::Result<(Load, Load)> {
    let pace = Some(Duration::from_millis(50));
    let releases = drive::<Releasing>(side, 4, duration, pace);
    let renewals = drive::<Renewing>(side, 4, duration, pace);
    tokio::try_join!(releases, renewals)
}

/// Resident memory of the CAS, in bytes.
#[derive(Default)]
struct Memory {
    none: u64,
    seated: u64,
    few: u64,
    /// Of each round, as in what follows.
    coming: Vec<u64>,
    held: Vec<u64>,
}

impl Memory {
    fn rows(&self, strangers: usize) -> Vec<Measured> {
        let tenth = strangers / 10;
        let row = |what: String, ours: &[u64], theirs: u64, goal| Measured {
            what,
            unit: Unit::Mebibytes,
            ours: ours.iter().copied().map(mebibytes).collect(),
            theirs: vec![mebibytes(theirs)],
            goal,
        };
        vec![
            row(
                format!("RSS with {SEATS} strangers, as many as there are seats; theirs: none"),
                &[self.seated],
                self.none,
                None,
            ),
            row(
                format!("RSS when {tenth} have come; theirs: {SEATS}"),
                &[self.few],
                self.seated,
                None,
            ),
            row(
                format!("RSS while {strangers} come; theirs: when {tenth} had come"),
                &self.coming,
                self.few,
                Some(Goal::More(3.0)),
            ),
            row(
                format!("RSS while {strangers} hold on; theirs: when {tenth} had come"),
                &self.held,
                self.few,
                Some(Goal::More(3.0)),
            ),
        ]
    }
}

/// What honest clients wait, by stage; of each round.
#[derive(Default)]
struct Latencies {
    before: Stage,
    elsewhere: Stage,
    coming: Stage,
    held: Stage,
}

/// 99 of 100 waited no longer than this, in milliseconds.
#[derive(Default)]
struct Stage {
    releases: Vec<f64>,
    renewals: Vec<f64>,
}

impl Stage {
    fn add(&mut self, (releases, renewals): &(Load, Load)) {
        self.releases.push(releases.percentile(99));
        self.renewals.push(renewals.percentile(99));
    }
}

impl Latencies {
    fn rows(&self, strangers: usize) -> Vec<Measured> {
        let goal = Some(Goal::More(2.0));
        let apart = format!("while {strangers} hold on to another server");
        let comparisons = [
            ("they come", "before", &self.coming, &self.before, None),
            ("they hold on", "before", &self.held, &self.before, goal),
            ("they hold on", &apart, &self.held, &self.elsewhere, goal),
        ];
        let mut rows = Vec::new();
        for (stage, against, ours, theirs, goal) in comparisons {
            for (what, ours, theirs) in [
                ("Release", &ours.releases, &theirs.releases),
                ("Release in a session", &ours.renewals, &theirs.renewals),
            ] {
                rows.push(Measured {
                    what: format!("{what}, p99 while {stage}; theirs: {against}"),
                    unit: Unit::Milliseconds,
                    ours: ours.clone(),
                    theirs: theirs.clone(),
                    goal,
                });
            }
        }
        rows
    }
}

#[allow(clippy::cast_precision_loss)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How many connections the CAS has at once.
const SEATS: usize = 1024;
const SESSIONS: usize = 100;
