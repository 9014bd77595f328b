//! A host that changes the backing directory, or brings another one.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Stored, Tree, copy, files, restored, rich_tree, snapshot, stored, tempdir, write};
use mse_crypto::sealing::SealingKey;
use mse_volume::policy::{Decision, Record, Refusal, Tracked, decide};
use mse_volume::{Found, OpenError, Protection, ReadError, RestoreError, UpdatePolicy, Volume};

/// What opening and restoring gives, or the message of the refusal.
fn outcome(dir: &Path, stored: &Stored) -> Result<Tree, String> {
    let mut volume =
        Volume::open(dir, &stored.key, stored.root).map_err(|error| error.to_string())?;
    restored(&mut volume).map_err(|error| error.to_string())
}

#[test]
fn every_file_matters_in_every_way() {
    for protection in [Protection::Encrypted, Protection::AuthenticatedOnly] {
        let stored = stored(rich_tree(), protection);
        Volume::open(stored.dir.path(), &stored.key, stored.root)
            .unwrap()
            .garbage_collect(&[])
            .unwrap();
        let tree = snapshot(stored.source.path());
        let all = files(stored.dir.path());
        let contents: Vec<_> = all.iter().map(|file| fs::read(file).unwrap()).collect();
        for (at, file) in all.iter().enumerate() {
            let content = &contents[at];
            // Neither the hint nor the lock is trusted for anything.
            let matters = !file.ends_with("head") && !file.ends_with("lock");
            let check = |what: &str| {
                let outcome = outcome(stored.dir.path(), &stored);
                if matters {
                    let message = outcome.expect_err(what);
                    assert!(!message.contains("deep") && !message.contains("small"));
                } else {
                    assert_eq!(outcome.as_ref(), Ok(&tree), "{what}");
                }
            };
            let flips = [0, content.len() / 3, content.len().saturating_sub(1)];
            for flip in flips.into_iter().filter(|flip| *flip < content.len()) {
                let mut changed = content.clone();
                changed[flip] ^= 0x40;
                fs::write(file, changed).unwrap();
                check("one bit");
            }
            for length in [0, content.len() / 2, content.len().saturating_sub(1)] {
                if length < content.len() {
                    fs::write(file, &content[..length]).unwrap();
                    check("truncated");
                }
            }
            fs::write(file, [content, &b"\0"[..]].concat()).unwrap();
            check("longer");
            fs::write(file, vec![0; 1 << 20]).unwrap();
            check("huge");
            fs::remove_file(file).unwrap();
            check("removed");
            if matters {
                fs::create_dir(file).unwrap();
                check("a directory");
                fs::remove_dir(file).unwrap();
                symlink(&all[(at + 1) % all.len()], file).unwrap();
                check("a link");
                fs::remove_file(file).unwrap();
            }
            // The content of each other file in its place: swapped, or there twice.
            for other in contents.iter().filter(|other| *other != content) {
                fs::write(file, other).unwrap();
                check("another's content");
            }
            fs::write(file, content).unwrap();
        }
        assert_eq!(outcome(stored.dir.path(), &stored), Ok(tree));
    }
}

#[test]
fn what_was_changed_is_said() {
    let stored = stored(rich_tree(), Protection::Encrypted);
    let object = files(&stored.dir.path().join("objects")).pop().unwrap();
    let name = object.file_name().unwrap().to_str().unwrap().to_owned();
    let content = fs::read(&object).unwrap();
    let open = || Volume::open(stored.dir.path(), &stored.key, stored.root);
    fs::write(&object, "x").unwrap();
    let error = restored(&mut open().unwrap()).unwrap_err();
    assert!(matches!(error, RestoreError::Read(ReadError::Changed(changed)) if changed == name));
    assert!(open().unwrap().verify().is_err());
    fs::remove_file(&object).unwrap();
    let error = restored(&mut open().unwrap()).unwrap_err();
    assert!(matches!(error, RestoreError::Read(ReadError::Missing(missing)) if missing == name));
    fs::write(&object, content).unwrap();

    let other = Volume::open(stored.dir.path(), &SealingKey::generate(), stored.root);
    assert!(matches!(other, Err(OpenError::WrongKey(_))));
    let manifest = stored
        .dir
        .path()
        .join("roots")
        .join(stored.root.to_string());
    let content = fs::read(&manifest).unwrap();
    fs::write(&manifest, &content[1..]).unwrap();
    assert!(matches!(open(), Err(OpenError::Changed(_))));
    fs::write(&manifest, content).unwrap();
    // Another volume's header, well formed.
    let other = tempdir();
    Volume::create(other.path(), &stored.key, Protection::AuthenticatedOnly).unwrap();
    let header = fs::read(stored.dir.path().join("volume")).unwrap();
    fs::copy(
        other.path().join("volume"),
        stored.dir.path().join("volume"),
    )
    .unwrap();
    assert!(matches!(open(), Err(OpenError::Changed(_))));
    fs::write(stored.dir.path().join("volume"), "mse-volume-v2\n").unwrap();
    assert!(matches!(open(), Err(OpenError::Header)));
    fs::write(stored.dir.path().join("volume"), header).unwrap();
    restored(&mut open().unwrap()).unwrap();
}

#[test]
fn old_copies_forks_and_other_volumes_are_refused_by_root() {
    let Stored {
        key,
        dir,
        source,
        root: first,
    } = stored(rich_tree(), Protection::Encrypted);
    let old_copy = tempdir();
    copy(dir.path(), old_copy.path());

    // The service goes on, and a fork goes on from the same state.
    write(source.path(), &[("small-2", b"of the line")]);
    let mut volume = Volume::open(dir.path(), &key, first).unwrap();
    let newest = volume.commit(source.path()).unwrap();
    let record = Tracked {
        root: newest,
        generation: Some(volume.state().generation),
    };
    drop(volume);
    let fork = tempdir();
    copy(old_copy.path(), fork.path());
    write(source.path(), &[("small-2", b"of the fork")]);
    Volume::open(fork.path(), &key, first)
        .unwrap()
        .commit(source.path())
        .unwrap();

    let decided = |dir: &Path| {
        let found = Volume::inspect(dir, &key, Some(newest)).unwrap();
        decide(
            UpdatePolicy::RollbackProtected,
            Record::Tracked(record),
            &found,
        )
    };
    assert_eq!(decided(dir.path()), Ok(Decision::Open(newest)));
    assert_eq!(
        decided(old_copy.path()),
        Err(Refusal::Stale {
            expected: 3,
            found: 2
        })
    );
    assert_eq!(
        decided(fork.path()),
        Err(Refusal::Forked {
            expected: 3,
            found: 3
        })
    );
    for other in [&old_copy, &fork] {
        assert!(matches!(
            Volume::open(other.path(), &key, newest),
            Err(OpenError::NotHeld { expected, found: Some(_) }) if expected == newest
        ));
    }
    // The newest manifest alone does not make an old copy new.
    let manifest = Path::new("roots").join(newest.to_string());
    fs::copy(dir.path().join(&manifest), old_copy.path().join(&manifest)).unwrap();
    let mut volume = Volume::open(old_copy.path(), &key, newest).unwrap();
    assert!(restored(&mut volume).is_err());

    // Nor does an old manifest under the newest's name: it opens under the key, and is not it.
    let old = dir.path().join("roots").join(first.to_string());
    let newest_manifest = fs::read(dir.path().join(&manifest)).unwrap();
    fs::copy(old, dir.path().join(&manifest)).unwrap();
    assert!(matches!(
        Volume::open(dir.path(), &key, newest),
        Err(OpenError::Changed(root)) if root == newest
    ));
    assert!(Volume::inspect(dir.path(), &key, Some(newest)).is_err());
    fs::write(dir.path().join(&manifest), newest_manifest).unwrap();

    // A head that the host turns back does not matter to who tracks the root.
    fs::write(dir.path().join("head"), format!("{first}\n")).unwrap();
    assert_eq!(decided(dir.path()), Ok(Decision::Open(newest)));

    let missing = tempdir();
    for empty in [
        missing.path().to_owned(),
        missing.path().join("not-even-a-directory"),
    ] {
        assert_eq!(
            Volume::inspect(&empty, &key, Some(newest)).unwrap(),
            Found::Nothing
        );
        assert_eq!(decided(&empty), Err(Refusal::Gone));
        assert!(matches!(
            Volume::open(&empty, &key, newest),
            Err(OpenError::NoVolume)
        ));
    }
}

#[test]
fn no_canary_is_in_the_backing_directory() {
    const CANARIES: [&str; 5] = [
        "canary-directory",
        "canary-file",
        "canary-target",
        "canary-content",
        "canary-in-a-big-file",
    ];
    for protection in [Protection::Encrypted, Protection::AuthenticatedOnly] {
        let source = tempdir();
        let big = CANARIES[4].repeat(20_000);
        write(
            source.path(),
            &[
                ("canary-directory/canary-file", CANARIES[3].as_bytes()),
                ("big", big.as_bytes()),
            ],
        );
        symlink("canary-target", source.path().join("link")).unwrap();
        let digests: Vec<String> = [CANARIES[3], &big, &big[..65536]]
            .iter()
            .map(|content| mse_crypto::Digest::of(content.as_bytes()).to_string())
            .collect();
        let Stored {
            key,
            dir,
            source,
            root,
        } = stored(source, protection);
        // More than one state, with something prepared and left.
        let mut volume = Volume::open(dir.path(), &key, root).unwrap();
        write(
            source.path(),
            &[("canary-directory/more", CANARIES[3].as_bytes())],
        );
        volume.commit(source.path()).unwrap();
        write(source.path(), &[("canary-file", CANARIES[4].as_bytes())]);
        volume.prepare(source.path()).unwrap();

        let mut seen = [false; CANARIES.len()];
        let mut contents = Vec::new();
        for file in files(dir.path()) {
            let path = file
                .strip_prefix(dir.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            assert!(digests.iter().all(|digest| !path.contains(digest)));
            let content = fs::read(&file).unwrap();
            for (canary, seen) in CANARIES.iter().zip(&mut seen) {
                let in_content = content
                    .windows(canary.len())
                    .any(|part| part == canary.as_bytes());
                *seen |= in_content || path.contains(canary);
            }
            contents.push(content);
        }
        match protection {
            Protection::Encrypted => {
                assert_eq!(seen, [false; 5]);
                // Equal contents of two files do not show.
                contents.sort();
                let all = contents.len();
                contents.dedup();
                assert_eq!(contents.len(), all);
            }
            Protection::AuthenticatedOnly => assert_eq!(seen, [false, false, false, true, true]),
        }
    }
}
