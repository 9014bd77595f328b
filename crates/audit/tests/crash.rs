//! A log in a folder, after crashes and faults of the disk.

mod common;

use std::fs;
use std::path::Path;

use common::{Key, at, check, created, grow, grow_at_once, lines};
use mse_audit::log::{CHECKPOINT_EVERY, Log, LogError, MAX_APPEND};
use mse_audit::storage::{FileStorage, SealedStorage, StorageError};
use mse_audit::tree::InvalidProof;
use mse_audit::verify::Verdict;
use mse_crypto::sealing::SealingKey;
use tempfile::TempDir;

/// In memory where that is possible: a sync to the disk for each byte of a log takes its time.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The files of a log that is not open.
#[derive(Clone)]
struct Files {
    entries: Vec<u8>,
    checkpoints: Vec<u8>,
    state: Vec<u8>,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let read = |name| fs::read(folder.join(name)).unwrap();
        Self {
            entries: read("entries"),
            checkpoints: read("checkpoints"),
            state: read("state"),
        }
    }

    fn put(&self, folder: &Path) {
        fs::write(folder.join("entries"), &self.entries).unwrap();
        fs::write(folder.join("checkpoints"), &self.checkpoints).unwrap();
        fs::write(folder.join("state"), &self.state).unwrap();
    }
}

fn open(folder: &Path, key: &Key) -> Result<(Log<FileStorage>, u64), LogError> {
    let (storage, repaired) = FileStorage::open(folder)?;
    Ok((Log::open(storage, key.again())?, repaired.cut_bytes))
}

fn create(folder: &Path, key: &Key) -> Log<FileStorage> {
    Log::create(FileStorage::create(folder).unwrap(), key.again(), at(0)).unwrap()
}

/// A log before and after a last batch.
fn before_and_after(
    key: &Key,
    before: impl Fn(&mut Log<FileStorage>),
    last: u64,
) -> (TempDir, Files, Files) {
    let folder = folder();
    let mut log = create(folder.path(), key);
    before(&mut log);
    let first = Files::of(folder.path());
    grow_at_once(&mut log, last);
    drop(log);
    let second = Files::of(folder.path());
    (folder, first, second)
}

#[test]
fn a_log_is_opened_again_and_goes_on() {
    let key = Key::generate();
    let folder = folder();
    let path = folder.path().join("log");
    let mut log = create(&path, &key);
    grow(&mut log, 5);
    grow_at_once(&mut log, MAX_APPEND as u64);
    let head = log.head().clone();
    let export = lines(&log, 0);
    drop(log);
    let (mut log, cut) = open(&path, &key).unwrap();
    assert_eq!((log.head(), cut), (&head, 0));
    assert_eq!(lines(&log, 0), export);
    grow(&mut log, 70);
    log.receipt(3).unwrap().verify(&key.public()).unwrap();
    log.receipt(840).unwrap().verify(&key.public()).unwrap();
    log.check_extends(&head).unwrap();
    // Not aligned with anything inside.
    let entries = log.entries(61..131).unwrap();
    assert_eq!(entries[0].index, 61);
    assert_eq!(check(&lines(&log, 0), &key, None).verdict, Verdict::Ok);
}

#[test]
fn a_torn_batch_is_cut_off_wherever_it_tore() {
    let key = Key::generate();
    let (folder, before, after) = before_and_after(&key, |log| grow(log, 2), 3);
    let acknowledged = before.entries.len();
    for end in acknowledged..=after.entries.len() {
        Files {
            entries: after.entries[..end].to_vec(),
            ..before.clone()
        }
        .put(folder.path());
        let (mut log, cut) = open(folder.path(), &key).unwrap();
        assert_eq!(cut, (end - acknowledged) as u64);
        assert_eq!(log.size(), 2);
        let kept = folder.path().join(format!("cut-{acknowledged}"));
        if cut > 0 {
            assert_eq!(fs::read(&kept).unwrap(), after.entries[acknowledged..end]);
            fs::remove_file(kept).unwrap();
        } else {
            assert!(!kept.exists());
        }
        assert_eq!(
            fs::read(folder.path().join("entries")).unwrap(),
            before.entries
        );
        if end % 100 == 0 {
            grow(&mut log, 1);
            assert_eq!(check(&lines(&log, 0), &key, None).verdict, Verdict::Ok);
        }
    }
}

#[test]
fn whatever_stands_behind_the_acknowledged_bytes_does_no_harm() {
    let key = Key::generate();
    let (folder, before, after) = before_and_after(&key, |log| grow(log, 2), 3);
    for tail in [vec![0; 5000], vec![0xff; 77], after.entries.clone()] {
        let mut files = after.clone();
        files.entries.extend(&tail);
        files.put(folder.path());
        let (log, cut) = open(folder.path(), &key).unwrap();
        assert_eq!((log.size(), cut), (5, tail.len() as u64));
    }
    // But so much was not left by a crash: `state` is old.
    before.put(folder.path());
    let entries = fs::File::options()
        .write(true)
        .open(folder.path().join("entries"))
        .unwrap();
    entries.set_len(9_000_000).unwrap();
    let error = open(folder.path(), &key).err().unwrap();
    assert!(error.to_string().contains("may be an older one"), "{error}");
    assert_eq!(
        entries.metadata().unwrap().len(),
        9_000_000,
        "nothing is cut"
    );
}

#[test]
fn acknowledged_entries_that_are_missing_are_an_error() {
    let key = Key::generate();
    let (folder, _, after) = before_and_after(&key, |log| grow(log, 1), 2);
    for end in 0..after.entries.len() {
        Files {
            entries: after.entries[..end].to_vec(),
            ..after.clone()
        }
        .put(folder.path());
        let error = open(folder.path(), &key).err().unwrap();
        assert!(
            matches!(error, LogError::Storage(StorageError::Damaged { .. })),
            "{end}: {error}"
        );
        assert_eq!(fs::read(folder.path().join("entries")).unwrap().len(), end);
    }
}

#[test]
fn a_crash_between_any_two_files_leaves_the_log_as_it_was() {
    let key = Key::generate();
    let (folder, before, after) =
        before_and_after(&key, |log| grow_at_once(log, 20), CHECKPOINT_EVERY);
    assert!(before.checkpoints.is_empty() && !after.checkpoints.is_empty());
    for end in 0..=after.checkpoints.len() {
        Files {
            checkpoints: after.checkpoints[..end].to_vec(),
            state: before.state.clone(),
            entries: if end % 2 == 0 {
                after.entries.clone()
            } else {
                before.entries.clone()
            },
        }
        .put(folder.path());
        let (log, _) = open(folder.path(), &key).unwrap();
        assert_eq!(log.size(), 20);
        drop(log);
        let files = Files::of(folder.path());
        assert_eq!(files.entries, before.entries);
        assert!(files.checkpoints.is_empty());
    }
    // With the state of after, all of it must be there.
    for end in 0..after.checkpoints.len() {
        Files {
            checkpoints: after.checkpoints[..end].to_vec(),
            ..after.clone()
        }
        .put(folder.path());
        let error = open(folder.path(), &key).err().unwrap();
        assert!(
            matches!(error, LogError::Storage(StorageError::Damaged { .. })),
            "{end}: {error}"
        );
    }
    after.put(folder.path());
    assert_eq!(open(folder.path(), &key).unwrap().0.size(), 276);
}

#[test]
fn any_flipped_bit_is_found() {
    let key = Key::generate();
    let (folder, _, good) = before_and_after(&key, |log| grow(log, 2), 2);
    for at in 0..good.entries.len() {
        let mut bad = good.clone();
        bad.entries[at] ^= 1 << (at % 8);
        bad.put(folder.path());
        assert!(open(folder.path(), &key).is_err(), "entries, byte {at}");
        assert_eq!(
            fs::read(folder.path().join("entries")).unwrap(),
            bad.entries
        );
    }
    for at in 0..good.state.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad.state[at] ^= 1 << bit;
            bad.put(folder.path());
            assert!(open(folder.path(), &key).is_err(), "state, byte {at}");
        }
    }
    for end in 0..good.state.len() {
        let mut bad = good.clone();
        bad.state.truncate(end);
        bad.put(folder.path());
        assert!(open(folder.path(), &key).is_err(), "state, end {end}");
    }
    good.put(folder.path());
    assert_eq!(open(folder.path(), &key).unwrap().0.size(), 4);
}

#[test]
fn any_flipped_bit_of_a_checkpoint_is_found() {
    let key = Key::generate();
    let (folder, _, good) = before_and_after(&key, |log| grow_at_once(log, CHECKPOINT_EVERY), 1);
    for at in 0..good.checkpoints.len() {
        let mut bad = good.clone();
        bad.checkpoints[at] ^= 1 << (at % 8);
        bad.put(folder.path());
        assert!(open(folder.path(), &key).is_err(), "byte {at}");
    }
    good.put(folder.path());
    open(folder.path(), &key).unwrap();
}

/// `state` with the head of one state and the lengths of another, and the right checksum.
fn mixed_state(head: &[u8], lengths: &[u8], which: &str) -> Vec<u8> {
    let parse = |state: &[u8]| -> serde_json::Value {
        let end = state.iter().position(|byte| *byte == b'\n').unwrap();
        serde_json::from_slice(&state[..end]).unwrap()
    };
    let mut mixed = parse(head);
    mixed[which] = parse(lengths)[which].clone();
    let line = serde_json_canonicalizer::to_string(&mixed).unwrap();
    let checksum = mse_crypto::Digest::of(line.as_bytes());
    format!("{line}\n{checksum}\n").into_bytes()
}

#[test]
fn a_state_that_does_not_fit_the_files_is_an_error() {
    let key = Key::generate();
    let (folder, before, after) =
        before_and_after(&key, |log| grow_at_once(log, 20), CHECKPOINT_EVERY);
    for (state, what) in [
        (
            mixed_state(&before.state, &after.state, "entries_bytes"),
            "it has 276 records, and 20 were acknowledged",
        ),
        (
            mixed_state(&before.state, &after.state, "checkpoints_bytes"),
            "the checkpoints are not in order",
        ),
        (
            mixed_state(&after.state, &before.state, "entries_bytes"),
            "it has 20 records, and 276 were acknowledged",
        ),
    ] {
        Files {
            state,
            ..after.clone()
        }
        .put(folder.path());
        let error = open(folder.path(), &key).err().unwrap();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_log_has_one_writer_and_one_beginning() {
    let key = Key::generate();
    let folder = folder();
    let path = folder.path().join("log");
    assert!(matches!(
        FileStorage::open(&path),
        Err(StorageError::Missing(_))
    ));
    // A creation that a crash stopped is begun again.
    fs::create_dir(&path).unwrap();
    fs::write(path.join("entries"), b"mse-au").unwrap();
    let log = create(&path, &key);
    assert!(matches!(
        FileStorage::open(&path),
        Err(StorageError::InUse(_))
    ));
    assert!(matches!(
        FileStorage::create(&path),
        Err(StorageError::Exists(_))
    ));
    drop(log);
    assert_eq!(open(&path, &key).unwrap().0.size(), 0);
    // Entries without `state` are no empty log.
    let mut log = open(&path, &key).unwrap().0;
    grow(&mut log, 1);
    drop(log);
    fs::remove_file(path.join("state")).unwrap();
    assert!(matches!(
        FileStorage::create(&path),
        Err(StorageError::Exists(_))
    ));
    assert!(matches!(
        FileStorage::open(&path),
        Err(StorageError::Missing(_))
    ));
}

#[test]
fn damaged_hashes_make_no_proof_and_are_made_anew() {
    let key = Key::generate();
    let folder = folder();
    let mut log = create(folder.path(), &key);
    grow(&mut log, 9);
    let hashes = folder.path().join("hashes");
    let mut bytes = fs::read(&hashes).unwrap();
    assert_eq!(bytes.len() % 32, 0);
    for byte in &mut bytes {
        *byte ^= 1;
    }
    fs::write(&hashes, bytes).unwrap();
    assert!(matches!(
        log.prove_inclusion(4),
        Err(LogError::Proof(InvalidProof::Root))
    ));
    fs::write(&hashes, b"").unwrap();
    assert!(matches!(
        log.prove_inclusion(4),
        Err(LogError::Storage(StorageError::NoSuchNode(_)))
    ));
    drop(log);
    let (log, _) = open(folder.path(), &key).unwrap();
    log.prove_inclusion(4).unwrap();
}

#[test]
fn sealed_records_say_nothing_and_open_in_their_place_only() {
    let key = Key::generate();
    let root = SealingKey::generate();
    let folder = folder();
    let id = mse_audit::head::LogId::of(&key.public());
    let sealed = |root| SealedStorage::new(FileStorage::open(folder.path()).unwrap().0, root, id);
    let below = FileStorage::create(folder.path()).unwrap();
    let mut log = Log::create(SealedStorage::new(below, &root, id), key.again(), at(0)).unwrap();
    log.append(vec![created("canary/of-the-session")], at(1))
        .unwrap();
    log.append(vec![created("canary/of-the-session")], at(1))
        .unwrap();
    let export = lines(&log, 0);
    drop(log);
    for file in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"canary"));
    }
    let log = Log::open(sealed(&root), key.again()).unwrap();
    assert_eq!(lines(&log, 0), export);
    assert_eq!(check(&export, &key, None).verdict, Verdict::Ok);
    drop(log);
    assert!(matches!(
        Log::open(sealed(&SealingKey::generate()), key.again()),
        Err(LogError::Storage(StorageError::DoesNotOpen(0)))
    ));
}
