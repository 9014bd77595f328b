//! Updates of sessions against the disk's own flushes, and a store with very many sessions.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mse_ratls::cas::client::CasClient;

use super::load::{Client, Dice, Load, drive};
use super::releases::Releasing;
use super::side::Side;
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};

pub(in crate::bench) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(4, 1);
    let duration = Duration::from_secs(bench.effort.choose(10, 3));
    let many = bench.effort.choose(100_000, 2_000);
    let few = Side::start(FEW).await?;
    let (mut updated, mut flushed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        flushed.push(flushes(few.folder(), duration / 4)?);
        updated.push(drive::<Updating>(&few, WRITERS, duration, None).await?);
        flushed.push(flushes(few.folder(), duration / 4)?);
    }
    say(format!("sessions: {many} are being created"));
    let began = Instant::now();
    let crowded = Side::start(many).await?;
    say(format!(
        "sessions: it took {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    // Releases and updates, each with the many sessions and with the few.
    let mut loads: [[Vec<Load>; 2]; 2] = Default::default();
    for round in 1..=rounds {
        // Whoever comes first meets the disk as the load before has left it.
        let mut order = [&few, &crowded];
        if round % 2 == 0 {
            order.reverse();
        }
        for side in order {
            let pace = Some(Duration::from_millis(40));
            let released = drive::<Releasing>(side, 4, duration, pace).await?;
            let changed = drive::<Updating>(side, 4, duration, pace).await?;
            let is_few = Arc::ptr_eq(side, &few);
            for (of, load) in [(0, released), (1, changed)] {
                loads[of][usize::from(is_few)].push(load);
            }
        }
        say(format!("sessions: round {round} of {rounds}"));
    }
    let mut rows = vec![
        Measured {
            what: format!("Session updates, {WRITERS} at once; theirs: fdatasync of 4 KiB"),
            unit: Unit::PerSecond,
            ours: updated.iter().map(Load::per_second).collect(),
            theirs: flushed,
            goal: None,
        },
        Measured {
            what: "Session updates: server CPU".to_owned(),
            unit: Unit::Microseconds,
            ours: updated.iter().map(Load::cpu_us).collect(),
            theirs: Vec::new(),
            goal: None,
        },
        Measured {
            what: format!("Session updates, {WRITERS} at once: p99"),
            unit: Unit::Milliseconds,
            ours: updated.iter().map(|load| load.percentile(99)).collect(),
            theirs: Vec::new(),
            goal: None,
        },
    ];
    for (what, [ours, theirs]) in ["release", "update"].into_iter().zip(&loads) {
        for (percent, goal) in [(50, None), (99, Some(Goal::TimesBetter(0.9)))] {
            rows.push(Measured {
                what: format!("{many} sessions, {what}: p{percent}; theirs: {FEW} sessions"),
                unit: Unit::Milliseconds,
                ours: ours.iter().map(|load| load.percentile(percent)).collect(),
                theirs: theirs.iter().map(|load| load.percentile(percent)).collect(),
                goal,
            });
        }
    }
    Ok(rows)
}

/// One session after the other is changed; each client has sessions of its own.
struct Updating {
    side: Arc<Side>,
    owner: CasClient,
    number: usize,
    dice: Dice,
}

impl Client for Updating {
    async fn come(side: Arc<Side>, number: usize) -> anyhow::Result<Self> {
        Ok(Self {
            owner: side.owner().await?,
            dice: Dice::new(number),
            side,
            number,
        })
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        let own = self.side.sessions() / WRITERS;
        let session = self.number * own + self.dice.below(own);
        self.side.update(&mut self.owner, session).await
    }
}

/// How often in a second the disk makes an appended page lasting: what a write-ahead log asks for.
#[allow(clippy::cast_precision_loss)] // some thousands
fn flushes(folder: &Path, duration: Duration) -> anyhow::Result<f64> {
    let path = folder.join("flushed");
    let mut file = File::create(&path)?;
    // The place is there already, as in a log that is written anew.
    file.write_all(&vec![1; PAGE * PAGES])?;
    file.sync_all()?;
    let (began, mut count) = (Instant::now(), 0_usize);
    while began.elapsed() < duration {
        file.seek(SeekFrom::Start((count % PAGES * PAGE) as u64))?;
        file.write_all(&[2; PAGE])?;
        file.sync_data()?;
        count += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(count as f64 / seconds)
}

const FEW: usize = 1_000;
const WRITERS: usize = 32;
const PAGE: usize = 4096;
const PAGES: usize = 256;
