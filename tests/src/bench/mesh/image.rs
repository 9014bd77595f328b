//! Building the image of a service: `mse apply -f service.yaml --no-push`.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;

use anyhow::Context;
use tokio::task::block_in_place;

use super::{owner, timed};
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, say};
use crate::owner::Owner;

/// A warm build is faster than this, in seconds.
const WARM: f64 = 5.0;

pub(in crate::bench) fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let (cold, warm) = bench.effort.choose((3, 7), (1, 1));
    block_in_place(|| measure(cold, warm))
}

fn measure(cold: usize, warm: usize) -> anyhow::Result<Vec<Measured>> {
    let mut samples = Samples::default();
    let owner = owner();
    for round in 1..=cold {
        forget_all(&owner)?;
        samples.from_nothing.push(built(&owner, PLAIN));
        forget_layers(&owner)?;
        samples.without_layers.push(built(&owner, PLAIN));
        say(format!(
            "image: cold round {round} of {cold}: {:.2} s, with Debian's packages there {:.2} s",
            last(&samples.from_nothing),
            last(&samples.without_layers)
        ));
    }
    owner.done(SEALED);
    for round in 1..=warm {
        samples.unchanged.push(built(&owner, PLAIN));
        change(&owner, round)?;
        samples.changed.push(built(&owner, PLAIN));
        samples.sealed.push(built(&owner, SEALED));
        say(format!(
            "image: warm round {round} of {warm}: {:.2} s, after a change {:.2} s, encrypted {:.2} s",
            last(&samples.unchanged),
            last(&samples.changed),
            last(&samples.sealed)
        ));
    }
    Ok(samples.rows())
}

const PLAIN: &[&str] = &["apply", "-f", "service.yaml", "--no-push"];
const SEALED: &[&str] = &["apply", "-f", "sealed.yaml", "--no-push"];

/// Seconds of each build.
#[derive(Default)]
struct Samples {
    from_nothing: Vec<f64>,
    without_layers: Vec<f64>,
    unchanged: Vec<f64>,
    changed: Vec<f64>,
    sealed: Vec<f64>,
}

impl Samples {
    fn rows(self) -> Vec<Measured> {
        let row = |what: &str, ours, goal| Measured {
            what: format!("Image build, {what}"),
            unit: Unit::Seconds,
            ours,
            theirs: Vec::new(),
            goal,
        };
        let goal = Some(Goal::Below(WARM));
        vec![
            row("cold: everything is downloaded", self.from_nothing, None),
            row(
                "cold: Debian's packages are there, PyPI's are not",
                self.without_layers,
                None,
            ),
            row("warm: one source file changed", self.changed, goal),
            row("warm: the same, encrypted", self.sealed, goal),
            row("warm: nothing changed", self.unchanged, goal),
        ]
    }
}

/// As on a machine that never built anything.
fn forget_all(owner: &Owner) -> anyhow::Result<()> {
    remove(owner, "cache")
}

/// Only what was downloaded from Debian stays, and what was chosen of it.
fn forget_layers(owner: &Owner) -> anyhow::Result<()> {
    for made in ["blobs", "steps", "indexes"] {
        remove(owner, &format!("cache/images/build/{made}"))?;
    }
    remove(owner, "cache/images/layouts")
}

fn remove(owner: &Owner, name: &str) -> anyhow::Result<()> {
    let path = owner.path(name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("`{}` cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// The seconds of a build.
fn built(owner: &Owner, words: &[&str]) -> f64 {
    timed(owner, words).0
}

/// Makes the program another one.
fn change(owner: &Owner, round: usize) -> anyhow::Result<()> {
    let path = owner.path("app.py");
    let mut text = fs::read_to_string(&path)?;
    writeln!(text, "# {round}")?;
    Ok(fs::write(path, text)?)
}

fn last(samples: &[f64]) -> f64 {
    samples.last().copied().unwrap_or(f64::NAN)
}
