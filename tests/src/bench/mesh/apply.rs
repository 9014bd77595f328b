//! Applying a mesh: `mse apply -f mesh.yaml` of `examples/mesh` against a CAS that runs.

use anyhow::{Context, ensure};
use tokio::task::block_in_place;

use super::timed;
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};
use crate::owner::Owner;
use crate::programs::repository;

/// It takes less than this, in seconds.
const GOAL: f64 = 1.0;

pub(in crate::bench) fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(11, 1);
    block_in_place(|| measure(rounds))
}

fn measure(rounds: usize) -> anyhow::Result<Vec<Measured>> {
    let mut owner = Owner::new();
    owner.take(&repository().join("examples/mesh"));
    for service in ["counter/service.yaml", "web/service.yaml"] {
        owner.done(&["apply", "-f", service, "--no-push"]);
    }
    owner.run_cas("127.0.0.1:0");
    let mesh = std::fs::read_to_string(owner.path("mesh.yaml"))?;
    ensure!(
        mesh.contains(VALUE),
        "`examples/mesh/mesh.yaml` has no `{VALUE}` any more"
    );
    let (mut first, mut changed, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        // Sessions of its own in each round: a namespace is created once.
        let namespace = format!("shop-{round}");
        let words = [APPLY, &["--policy-namespace", &namespace]].concat();
        owner.write("mesh.yaml", &mesh);
        first.push(applied(&owner, &words, ["create"; SESSIONS])?);
        owner.write("mesh.yaml", &mesh.replace(VALUE, "value: Hello"));
        let mut one = ["same"; SESSIONS];
        one[SESSIONS - 1] = "update";
        changed.push(applied(&owner, &words, one)?);
        same.push(applied(&owner, &words, ["same"; SESSIONS])?);
        say(format!(
            "mesh: round {round} of {rounds}: first {:.3} s, changed {:.3} s, the same {:.3} s",
            first[round - 1],
            changed[round - 1],
            same[round - 1]
        ));
    }
    let row = |what: &str, ours| Measured {
        what: format!("Applying a mesh of two services, {what}"),
        unit: Unit::Milliseconds,
        ours: milliseconds(ours),
        theirs: Vec::new(),
        goal: Some(Goal::Below(GOAL * 1000.0)),
    };
    Ok(vec![
        row("the first time: eight sessions", first),
        row("one value changed", changed),
        row("nothing changed", same),
    ])
}

const APPLY: &[&str] = &["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"];
/// Of that mesh; that of `web`, which has the changed value, is the last.
const SESSIONS: usize = 8;
/// What the changed mesh has otherwise.
const VALUE: &str = "value: Welcome";

/// The seconds of one apply, which must have done this to the sessions.
fn applied(owner: &Owner, words: &[&str], changes: [&str; SESSIONS]) -> anyhow::Result<f64> {
    let (seconds, told) = timed(owner, words);
    let sessions = told["sessions"]
        .as_array()
        .context("there are no sessions")?;
    ensure!(
        sessions.iter().map(|one| &one["change"]).eq(&changes),
        "the sessions are not as expected ({changes:?}): {told}"
    );
    Ok(seconds)
}

fn milliseconds(seconds: Vec<f64>) -> Vec<f64> {
    seconds.into_iter().map(|one| one * 1000.0).collect()
}
