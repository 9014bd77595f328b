//! Encryption of a code tree: our bundle against what the system that MSE replaces does with
//! libsodium, each in a process of its own, so that its memory is its own.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mse_crypto::CodeKey;
use mse_workload::bundle::{CodeTree, NonceSource, SourceSalt, seal};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::report::{Goal, Measured, Unit};
use super::{Bench, asset, code_tree, process, say};

pub(super) fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let (rounds, mebibytes): (usize, u32) = bench.effort.choose((5, 1024), (1, 64));
    let code = code_tree::make(&bench.work, u64::from(mebibytes) << 20)?;
    warm(&code)?;
    let key = CodeKey::generate();
    let own = std::env::current_exe()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let scratch = Scratch::new(bench)?;
        let mut command = Command::new(&own);
        command
            .arg("seal")
            .arg(&code)
            .arg(scratch.0.path().join("code.tar"));
        ours.push(measure(&mut command, &key)?);
        drop(scratch);

        let scratch = Scratch::new(bench)?;
        let mut command = Command::new(&bench.python);
        command
            .arg(asset("encrypt_pynacl.py"))
            .arg(&code)
            .args(["output", "code.tar"].map(|name| scratch.0.path().join(name)));
        theirs.push(measure(&mut command, &key)?);
        say(format!(
            "encrypt: round {round} of {rounds}: {:.2} s and {:.2} s",
            ours[round - 1].seconds,
            theirs[round - 1].seconds
        ));
    }
    let row = |what: &str, unit, goal, value: &dyn Fn(&Sealing) -> f64| Measured {
        what: format!("Encrypting {mebibytes} MiB of code: {what}"),
        unit,
        ours: ours.iter().map(value).collect(),
        theirs: theirs.iter().map(value).collect(),
        goal,
    };
    Ok(vec![
        row(
            "throughput",
            Unit::MebibytesPerSecond,
            Some(Goal::TimesBetter(2.0)),
            &|sealing| f64::from(mebibytes) / sealing.seconds,
        ),
        row("cores kept busy", Unit::Cores, None, &|sealing| {
            sealing.cpu_seconds / sealing.seconds
        }),
        row("peak memory (RSS)", Unit::Mebibytes, None, &|sealing| {
            sealing.peak_rss_bytes / (1024.0 * 1024.0)
        }),
    ])
}

/// What either side says about itself when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sealing {
    /// From looking at the first file to having written the last byte, without the program's start.
    seconds: f64,
    /// Time on all cores together.
    cpu_seconds: f64,
    /// The most memory it had.
    peak_rss_bytes: f64,
}

/// Our side, in a process of its own: what `mse deploy` does with the folder `code`. The key comes
/// over standard input.
#[allow(clippy::cast_precision_loss)] // no memory is that large
pub fn seal_here(code: &Path, archive: &Path) -> anyhow::Result<Sealing> {
    let key = CodeKey::from_hex(&io::read_to_string(io::stdin())?)?;
    let began = Instant::now();
    let tree = CodeTree::collect(code)?;
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(archive)
        .with_context(|| format!("`{}` cannot be made", archive.display()))?;
    let salt = SourceSalt::generate();
    seal(&tree, &key, &NonceSource::Fresh, &salt, &file, &|_| ())?;
    let seconds = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let cpu: Duration = [usage.user_time(), usage.system_time()]
        .map(|time| {
            Duration::from_micros(
                time.tv_sec().unsigned_abs() * 1_000_000 + time.tv_usec().unsigned_abs(),
            )
        })
        .iter()
        .sum();
    Ok(Sealing {
        seconds,
        cpu_seconds: cpu.as_secs_f64(),
        peak_rss_bytes: process::own_peak_rss()? as f64,
    })
}

fn measure(command: &mut Command, key: &CodeKey) -> anyhow::Result<Sealing> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}` does not start", command.get_program().display()))?;
    child
        .stdin
        .take()
        .context("its standard input is a pipe")?
        .write_all(key.to_hex().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "`{}` ended with {}",
        command.get_program().display(),
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Where a round writes to: on the disk of the code, gone before the next.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(bench: &Bench) -> anyhow::Result<Self> {
        // What the round before has left to be written to the disk must not slow this one down.
        nix::unistd::sync();
        Ok(Self(tempfile::tempdir_in(&bench.work)?))
    }
}

/// Reads everything once, so that both sides find it in the page cache.
fn warm(code: &Path) -> anyhow::Result<()> {
    let tree = CodeTree::collect(code)?;
    for file in tree.files() {
        io::copy(&mut fs::File::open(tree.locate(file))?, &mut io::sink())?;
    }
    Ok(())
}
