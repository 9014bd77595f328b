//! Ten thousand files pass through a few megabytes. Alone in its program: it reads the memory of
//! the whole process.

mod common;

use std::fmt::Write as _;
use std::fs;

use common::{Stored, stored, tempdir};
use mse_volume::{Protection, Volume};

const FILES: u32 = 10_000;
const BOUND: u64 = 24 << 20;

#[test]
fn ten_thousand_files_in_bounded_memory() {
    let source = tempdir();
    for i in 0..FILES {
        if i % 1000 == 0 {
            fs::create_dir(source.path().join(format!("d{}", i / 1000))).unwrap();
        }
        // Some in one directory, whose listing takes several chunks.
        let name = if i % 2 == 0 {
            format!("f{i}")
        } else {
            format!("d{}/f{i}", i / 1000)
        };
        fs::write(source.path().join(name), content(i)).unwrap();
    }
    let big = fs::File::create(source.path().join("big")).unwrap();
    let pattern: Vec<u8> = (1..=251).cycle().take(1 << 20).collect();
    for _ in 0..64 {
        std::io::Write::write_all(&mut &big, &pattern).unwrap();
    }

    let before = resident();
    forget_peak();
    let Stored {
        key,
        dir,
        source,
        root,
    } = stored(source, Protection::Encrypted);
    let target = tempdir();
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    volume.restore_into(target.path()).unwrap();
    fs::write(source.path().join("f0"), "changed").unwrap();
    volume.commit(source.path()).unwrap();
    volume.garbage_collect(&[]).unwrap();
    let used = peak().saturating_sub(before);
    assert!(used < BOUND, "{used} bytes");

    for i in (0..FILES).step_by(777) {
        let name = if i % 2 == 0 {
            format!("f{i}")
        } else {
            format!("d{}/f{i}", i / 1000)
        };
        assert_eq!(
            fs::read_to_string(target.path().join(name)).unwrap(),
            content(i)
        );
    }
    assert_eq!(volume.summary().files, u64::from(FILES) + 1);
}

fn content(i: u32) -> String {
    let mut content = String::new();
    for line in 0..i % 97 {
        writeln!(content, "line {line} of file {i}, which is a small one").unwrap();
    }
    content
}

fn resident() -> u64 {
    status("VmRSS:")
}

fn peak() -> u64 {
    status("VmHWM:")
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}
