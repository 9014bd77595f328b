//! Encryption of a code tree: our bundle against what the system that MSE replaces does with
//! libsodium, each in a process of its own, so that its memory is its own.
//!
//! The results are written to memory (`scratch`). On a disk the other side, which creates two
//! files for every file of the code, pays for what the rounds before have left there: ext4 looks
//! for an inode that was not freed of late, and after a few rounds that is most of its time.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mse_crypto::CodeKey;
use mse_workload::bundle::{CodeTree, NonceSource, SourceSalt, seal};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

use super::report::{Goal, Measured, Unit};
use super::{Bench, asset, code_tree, process, say};

pub(super) fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let (rounds, mebibytes): (usize, u32) = bench.effort.choose((5, 1024), (1, 64));
    let code = code_tree::make(&bench.work, u64::from(mebibytes) << 20)?;
    check_room(&bench.scratch, u64::from(mebibytes) << 20)?;
    warm(&code)?;
    let key = CodeKey::generate();
    let own = std::env::current_exe()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let folder = tempfile::tempdir_in(&bench.scratch)?;
        let mut command = Command::new(&own);
        command
            .arg("seal")
            .arg(&code)
            .arg(folder.path().join("code.tar"));
        ours.push(measure(&mut command, &key)?);
        drop(folder);

        let folder = tempfile::tempdir_in(&bench.scratch)?;
        let mut command = Command::new(&bench.python);
        command
            .arg(asset("encrypt_pynacl.py"))
            .arg(&code)
            .args(["output", "code.tar"].map(|name| folder.path().join(name)));
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
    let encryption = Measured {
        what: format!("Encrypting {mebibytes} MiB of code: all of ours, their step 2 alone"),
        unit: Unit::Seconds,
        ours: ours.iter().map(|sealing| sealing.seconds).collect(),
        theirs: theirs
            .iter()
            .filter_map(|sealing| sealing.encrypt_seconds)
            .collect(),
        goal: None,
    };
    Ok(vec![
        row(
            "throughput",
            Unit::MebibytesPerSecond,
            Some(Goal::TimesBetter(2.0)),
            &|sealing| f64::from(mebibytes) / sealing.seconds,
        ),
        encryption,
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
    /// Of that, the encryption, where it is a step of its own.
    encrypt_seconds: Option<f64>,
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
        encrypt_seconds: None,
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

/// The other side needs the copy, the largest ciphertext next to its plaintext, and the archive.
fn check_room(scratch: &Path, code: u64) -> anyhow::Result<()> {
    let wanted = code * 5 / 2;
    let system =
        statvfs(scratch).with_context(|| format!("`{}` cannot be looked at", scratch.display()))?;
    let free = system.blocks_available() * system.fragment_size();
    ensure!(
        free >= wanted,
        "`{}` has {} MiB free and {} MiB are needed: name another folder with `--scratch`, or use `--quick`",
        scratch.display(),
        free >> 20,
        wanted >> 20
    );
    Ok(())
}

/// Reads everything once, so that both sides find it in the page cache.
fn warm(code: &Path) -> anyhow::Result<()> {
    let tree = CodeTree::collect(code)?;
    for file in tree.files() {
        io::copy(&mut fs::File::open(tree.locate(file))?, &mut io::sink())?;
    }
    Ok(())
}
