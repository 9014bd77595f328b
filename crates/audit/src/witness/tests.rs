use std::os::unix::fs::PermissionsExt as _;

use mse_crypto::signing::{Algorithm, SigningKey};

use super::*;
use crate::entry::{Event, UnixMillis};
use crate::export::export;
use crate::log::{Log, NewEntry};
use crate::storage::MemoryStorage;
use crate::verify::audit;

fn at() -> UnixMillis {
    UnixMillis::try_from(5).unwrap()
}

fn new_log() -> (Log<MemoryStorage>, VerifyingKey) {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let public = key.public();
    (
        Log::create(MemoryStorage::new(), key, at()).unwrap(),
        public,
    )
}

/// Appends an entry and returns the new head.
fn grow(log: &mut Log<MemoryStorage>) -> SignedHead {
    let event = Event::LogRepaired { cut_bytes: 1 };
    log.append(vec![NewEntry::of(event)], at()).unwrap();
    log.head().clone()
}

fn report(log: &Log<MemoryStorage>, key: &VerifyingKey, witness: &Witness) -> Report {
    let mut lines = Vec::new();
    export(log, 0, &mut lines).unwrap();
    audit(&mut lines.as_slice(), key, Some(witness)).unwrap()
}

#[test]
fn a_witness_moves_forward_with_proofs_only() {
    let (mut log, key) = new_log();
    let mut witness = Witness::new(log.id());
    for _ in 0..3 {
        grow(&mut log);
    }
    let first = log.head().clone();
    let unused = log.prove_consistency(0).unwrap();
    witness.advance(first.clone(), &unused, &key).unwrap();
    for _ in 0..5 {
        grow(&mut log);
    }
    let second = log.head().clone();
    let proof = log.prove_consistency(3).unwrap();
    let mut broken = proof.clone();
    broken.path[0].0[0] ^= 1;
    assert!(matches!(
        witness.advance(second.clone(), &broken, &key),
        Err(WitnessError::Proof(_))
    ));
    let other = log.prove_consistency(2).unwrap();
    assert!(matches!(
        witness.advance(second.clone(), &other, &key),
        Err(WitnessError::OtherProof {
            first: 3,
            second: 8
        })
    ));
    witness.advance(second.clone(), &proof, &key).unwrap();
    // And not back.
    let same = log.prove_consistency(8).unwrap();
    assert!(matches!(
        witness.advance(first.clone(), &same, &key),
        Err(WitnessError::Conflict(Conflict::Rollback { .. }))
    ));
    witness.advance(second.clone(), &same, &key).unwrap();
    assert_eq!(witness.heads(), [first, second]);
}

#[test]
fn only_a_good_audit_is_recorded() {
    let (mut log, key) = new_log();
    grow(&mut log);
    let mut witness = Witness::new(log.id());
    let mut lines = Vec::new();
    export(&log, 0, &mut lines).unwrap();
    let bad = audit(&mut &lines[..lines.len() - 5], &key, Some(&witness)).unwrap();
    assert!(matches!(
        witness.record(&bad),
        Err(WitnessError::NotOk(Verdict::TruncatedRecent))
    ));
    let old = report(&log, &key, &witness);
    grow(&mut log);
    let new = report(&log, &key, &witness);
    witness.record(&new).unwrap();
    // Neither one that did not know what the witness knows now, nor one without a witness.
    assert!(matches!(witness.record(&old), Err(WitnessError::NotUsed)));
    grow(&mut log);
    let mut lines = Vec::new();
    export(&log, 0, &mut lines).unwrap();
    let without = audit(&mut lines.as_slice(), &key, None).unwrap();
    assert_eq!(without.verdict, Verdict::Ok);
    assert!(matches!(
        witness.record(&without),
        Err(WitnessError::NotUsed)
    ));
    assert_eq!(witness.newest().map(SignedHead::head), new.head.as_ref());
    assert_eq!(witness.heads().len(), 1);
}

#[test]
fn files_keep_what_everybody_saw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witness.json");
    let (mut log, key) = new_log();
    assert_eq!(Witness::read(&path, &key).unwrap(), None);
    let mut one = Witness::new(log.id());
    let mut other = Witness::new(log.id());
    let first = grow(&mut log);
    let second = grow(&mut log);
    one.see(second.clone(), &key).unwrap();
    one.save(&path, &key).unwrap();
    // The other does not know of it, and does not undo it.
    other.see(first.clone(), &key).unwrap();
    other.save(&path, &key).unwrap();
    let there = Witness::read(&path, &key).unwrap().unwrap();
    assert_eq!(there.heads(), [first, second]);
    assert_eq!(there, other);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read(&path).unwrap();
    assert_eq!(text, there.to_json());
}

#[test]
fn a_file_does_not_take_in_a_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witness.json");
    let key = SigningKey::generate(Algorithm::Ed25519);
    let public = key.public();
    let again = SigningKey::from_pem(&key.to_pem()).unwrap();
    let mut one = Log::create(MemoryStorage::new(), key, at()).unwrap();
    let mut other = Log::open(one.storage().clone(), again).unwrap();
    let mut honest = Witness::new(one.id());
    honest.see(grow(&mut one), &public).unwrap();
    honest.save(&path, &public).unwrap();
    let before = std::fs::read(&path).unwrap();

    let mut forked = Witness::new(one.id());
    forked.see(grow(&mut other), &public).unwrap();
    let unchanged = forked.clone();
    assert!(matches!(
        forked.save(&path, &public),
        Err(WitnessError::Conflict(Conflict::Fork { size: 1 }))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(forked, unchanged);
}

#[test]
fn files_that_are_no_witness_of_this_log_are_refused() {
    let (mut log, key) = new_log();
    let (mut strange, strange_key) = new_log();
    let mut witness = Witness::new(log.id());
    witness.see(grow(&mut log), &key).unwrap();
    let json = String::from_utf8(witness.to_json()).unwrap();
    assert_eq!(Witness::from_json(json.as_bytes(), &key).unwrap(), witness);
    assert!(matches!(
        Witness::from_json(json.as_bytes(), &strange_key),
        Err(WitnessError::Head(UnverifiedHead::WrongLog { .. }))
    ));
    for (from, to) in [
        ("witness-1", "witness-2"),
        (r#""tree_size":1"#, r#""tree_size":2"#),
        (r#""format""#, r#""x":1,"format""#),
        ("}", ""),
    ] {
        let bad = json.replacen(from, to, 1);
        assert_ne!(bad, json);
        assert!(Witness::from_json(bad.as_bytes(), &key).is_err(), "{bad}");
    }
    assert!(witness.see(grow(&mut strange), &key).is_err());
    let strangers = Witness::new(strange.id());
    assert!(witness.merge(&strangers).is_err());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    std::fs::write(&path, " ".repeat(usize::try_from(MAX_FILE).unwrap() + 1)).unwrap();
    assert!(matches!(
        Witness::read(&path, &key),
        Err(WitnessError::TooLarge)
    ));
}

#[test]
fn a_full_witness_forgets_only_what_an_audit_confirmed() {
    let (mut log, key) = new_log();
    let mut witness = Witness::new(log.id());
    for _ in 0..MAX_HEADS {
        // What `see` does, without its signature check.
        let head = grow(&mut log);
        witness.heads.push(head);
    }
    let next = grow(&mut log);
    assert!(matches!(
        witness.see(next.clone(), &key),
        Err(WitnessError::Full)
    ));
    let mut unconfirmed = report(&log, &key, &witness);
    unconfirmed.witnessed = Some(3);
    assert!(matches!(
        witness.record(&unconfirmed),
        Err(WitnessError::Full)
    ));
    let newest = witness.newest().unwrap().clone();
    let confirmed = report(&log, &key, &witness);
    assert_eq!(confirmed.verdict, Verdict::Ok);
    witness.record(&confirmed).unwrap();
    assert_eq!(witness.heads().len(), MAX_HEADS / 2 + 1);
    assert!(witness.heads().contains(&newest));
    assert_eq!(witness.newest(), Some(&next));
    assert!(witness.to_json().len() as u64 * 2 < MAX_FILE);
}
