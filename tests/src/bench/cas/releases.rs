//! Releases: with evidence on new connections, and in sessions.

use std::sync::Arc;
use std::time::Duration;

use super::floor;
use super::load::{Client, Dice, Load, drive};
use super::side::{Released, Side};
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};

pub(in crate::bench) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(3, 1);
    let duration = Duration::from_secs(bench.effort.choose(10, 3));
    let side = Side::start(SESSIONS).await?;
    let (mut full, mut renewed, mut handshakes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        full.push(drive::<Releasing>(&side, CLIENTS, duration, None).await?);
        renewed.push(drive::<Renewing>(&side, CLIENTS, duration, None).await?);
        handshakes.push(drive::<Connecting>(&side, CLIENTS, duration / 2, None).await?);
        say(format!("releases: round {round} of {rounds}"));
    }
    let floor = floor::measure(
        side.platform(),
        side.server(),
        bench.effort.choose(2000, 200),
    )?;
    let of = |loads: &[Load], what: fn(&Load) -> f64| loads.iter().map(what).collect();
    let row = |what: &str, unit, ours, goal| Measured {
        what: what.to_owned(),
        unit,
        ours,
        theirs: Vec::new(),
        goal,
    };
    let handshake: Vec<f64> = of(&handshakes, Load::cpu_us);
    Ok(vec![
        row(
            "Attested release, new connection: rate",
            Unit::PerSecond,
            of(&full, Load::per_second),
            Some(Goal::AtLeast(300.0)),
        ),
        row(
            "Attested release: server CPU",
            Unit::Microseconds,
            of(&full, Load::cpu_us),
            Some(Goal::AtMost(1500.0)),
        ),
        row(
            "Attested release: p50, 16 clients",
            Unit::Milliseconds,
            of(&full, |load| load.percentile(50)),
            None,
        ),
        row(
            "Attested release: p99, 16 clients",
            Unit::Milliseconds,
            of(&full, |load| load.percentile(99)),
            None,
        ),
        row(
            "Release in a session: rate",
            Unit::PerSecond,
            of(&renewed, Load::per_second),
            Some(Goal::AtLeast(5000.0)),
        ),
        row(
            "Release in a session: server CPU",
            Unit::Microseconds,
            of(&renewed, Load::cpu_us),
            Some(Goal::AtMost(200.0)),
        ),
        row(
            "Release in a session: p50, 16 clients",
            Unit::Milliseconds,
            of(&renewed, |load| load.percentile(50)),
            None,
        ),
        row(
            "Release in a session: p99, 16 clients",
            Unit::Milliseconds,
            of(&renewed, |load| load.percentile(99)),
            None,
        ),
        row(
            "A connection with its handshake, and nothing else: server CPU",
            Unit::Microseconds,
            handshake,
            None,
        ),
        row(
            "Floor: TLS 1.3 handshake alone, in memory",
            Unit::Microseconds,
            floor.handshake_us,
            None,
        ),
        row(
            "Floor: warm verification of a quote, in memory",
            Unit::Microseconds,
            floor.quote_us,
            None,
        ),
    ])
}

/// A service after the other is released to, each on a connection of its own.
pub(super) struct Releasing {
    side: Arc<Side>,
    dice: Dice,
}

impl Client for Releasing {
    async fn come(side: Arc<Side>, number: usize) -> anyhow::Result<Self> {
        let dice = Dice::new(number);
        Ok(Self { side, dice })
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        let session = self.dice.below(self.side.sessions());
        self.side.release(session).await.map(drop)
    }
}

/// A service asks for its release again and again.
pub(super) struct Renewing {
    released: Released,
    asked: u32,
}

impl Client for Renewing {
    async fn come(side: Arc<Side>, number: usize) -> anyhow::Result<Self> {
        let released = side.release(number % side.sessions()).await?;
        Ok(Self { released, asked: 0 })
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        self.asked += 1;
        // To open each would cost the server the cores that are measured.
        if self.asked.is_multiple_of(LOOK) {
            self.released.renew_and_open().await
        } else {
            self.released.renew().await
        }
    }
}

/// Connections are opened and closed.
struct Connecting(Arc<Side>);

impl Client for Connecting {
    async fn come(side: Arc<Side>, _: usize) -> anyhow::Result<Self> {
        Ok(Self(side))
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        self.0.server().connect().await.map(drop)
    }
}

const CLIENTS: usize = 16;
const SESSIONS: usize = 100;
/// Every so many renewals, what comes is opened.
const LOOK: u32 = 50;
