//! The vectors in `vectors/`: for whoever computes the hash of a session by other means.
//!
//! Each has `NAME.yaml`, the canonical form `NAME.json` (one line, without a newline) and the hash
//! `NAME.sha256`. `UPDATE_VECTORS=1 cargo test -p mse-session` writes the latter two anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mse_session::{Compatibility, Session, Variables, check_text};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn read(path: &Path) -> Session {
    let text = fs::read_to_string(path).unwrap();
    let outcome = check_text(&text, &Variables::new(), Compatibility::Import);
    match outcome.into_result() {
        Ok((session, _)) => session,
        Err(faults) => panic!("{}\n{faults}", path.display()),
    }
}

#[test]
fn vectors_hold() {
    let mut count = 0;
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let session = read(&path);
        let (json, hash) = (path.with_extension("json"), path.with_extension("sha256"));
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            fs::write(&json, session.canonical().as_bytes()).unwrap();
            fs::write(&hash, format!("{}\n", session.hash())).unwrap();
        }
        assert_eq!(*session.canonical(), fs::read_to_string(&json).unwrap());
        // The form is a session in itself, without any indulgence. Its salt is beside it.
        let form = fs::read_to_string(json).unwrap();
        let again = check_text(&form, &Variables::replaced(), Compatibility::Strict);
        assert_eq!(*again.session.unwrap().canonical(), form);
        assert_eq!(
            format!("{}\n", session.hash()),
            fs::read_to_string(hash).unwrap()
        );
    }
    assert!(count >= 5);
}

/// Files named `same-X-N.yaml` say the same with the same X, and have the same hash; all others
/// differ.
#[test]
fn hashes_are_those_of_meanings() {
    let mut hashes: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let meaning = match stem.strip_prefix("same-") {
            Some(rest) => rest.rsplit_once('-').unwrap().0.to_owned(),
            None => stem.to_owned(),
        };
        let hash = read(&path).hash().to_string();
        let first = hashes.entry(meaning).or_insert_with(|| hash.clone());
        assert_eq!(*first, hash, "{stem}");
    }
    let mut all: Vec<_> = hashes.values().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), hashes.len());
}
