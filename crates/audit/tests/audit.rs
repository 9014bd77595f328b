//! What the auditor says about logs that somebody meddled with.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Key, at, check, created, grow, grow_at_once, lines};
use mse_audit::entry::Entry;
use mse_audit::export::{ImportError, import};
use mse_audit::head::{Head, SignedHead};
use mse_audit::log::{CHECKPOINT_EVERY, Log, MAX_APPEND};
use mse_audit::storage::{MemoryStorage, Storage as _};
use mse_audit::verify::{Verdict, audit};
use mse_audit::witness::Witness;
use mse_crypto::Digest;
use proptest::prelude::*;

/// A witness that has audited the log as it is.
fn witness_of(log: &Log<MemoryStorage>, key: &Key) -> Witness {
    let mut witness = Witness::new(log.id());
    see(&mut witness, log, key);
    witness
}

fn see(witness: &mut Witness, log: &Log<MemoryStorage>, key: &Key) {
    let report = check(&lines(log, 0), key, Some(witness));
    witness.record(&report).unwrap();
}

/// The log as it would be if its storage were copied here and opened elsewhere.
fn copy(log: &Log<MemoryStorage>, key: &Key) -> Log<MemoryStorage> {
    Log::open(log.storage().clone(), key.again()).unwrap()
}

fn head_line(head: &SignedHead) -> String {
    format!(
        r#"{{"head":{}}}"#,
        String::from_utf8(head.to_json()).unwrap()
    )
}

#[test]
fn a_faithful_log_passes() {
    let key = Key::generate();
    let mut log = key.log();
    let report = check(&lines(&log, 0), &key, None);
    assert_eq!((report.verdict, report.entries), (Verdict::Ok, 0));

    grow(&mut log, 9);
    let report = check(&lines(&log, 0), &key, None);
    assert_eq!(
        (report.verdict, report.entries, report.witnessed),
        (Verdict::Ok, 9, None),
        "{report:?}"
    );
    assert!(report.detail.contains("without a witness"), "{report:?}");
    assert_eq!(report.head.as_ref(), Some(log.head().head()));

    let mut witness = witness_of(&log, &key);
    grow(&mut log, 1);
    see(&mut witness, &log, &key);
    grow(&mut log, 20);
    let report = check(&lines(&log, 0), &key, Some(&witness));
    assert_eq!(
        (report.verdict, report.witnessed),
        (Verdict::Ok, Some(2)),
        "{report:?}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "ok");
    assert_eq!(json["code"], 0);
    assert_eq!(json["head"]["tree_size"], 30);
}

#[test]
fn checkpoints_are_in_the_export_and_are_compared() {
    let key = Key::generate();
    let mut log = key.log();
    for _ in 0..3 {
        grow_at_once(&mut log, CHECKPOINT_EVERY - 1);
        grow(&mut log, 2);
    }
    grow_at_once(&mut log, MAX_APPEND as u64);
    let export = lines(&log, 0);
    let checkpoints = export
        .iter()
        .filter(|line| line.starts_with(r#"{"head":"#))
        .count();
    assert!(checkpoints >= 3, "{checkpoints}");
    let report = check(&export, &key, None);
    assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
    assert_eq!(report.checkpoints, checkpoints as u64);

    // A change is found between the heads that it lies between.
    let mut changed = export.clone();
    changed[300] = changed[300].replacen("app-", "App-", 1);
    let report = check(&changed, &key, None);
    assert_eq!(report.verdict, Verdict::Changed);
    assert!(
        report.detail.contains("up to 256 a signed head agrees"),
        "{report:?}"
    );
}

#[test]
fn the_newest_entries_are_missing() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 9);
    let export = lines(&log, 0);
    for missing in 1..=9 {
        let report = check(&export[..export.len() - missing], &key, None);
        assert_eq!(report.verdict, Verdict::TruncatedRecent, "{report:?}");
        assert_eq!(report.entries, 9 - missing as u64);
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_told() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 4);
    let text = lines(&log, 0).join("\n");
    let header = text.find('\n').unwrap();
    for end in 0..text.len() {
        let report = audit(&mut &text.as_bytes()[..end], &key.public(), None).unwrap();
        let expected = if end < header {
            Verdict::Malformed
        } else {
            Verdict::TruncatedRecent
        };
        assert_eq!(report.verdict, expected, "{end}: {report:?}");
    }
    // The last line needs no end.
    let report = audit(&mut text.as_bytes(), &key.public(), None).unwrap();
    assert_eq!(report.verdict, Verdict::Ok);
}

#[test]
fn the_oldest_entries_are_missing() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 6);
    let mut witness = witness_of(&log, &key);
    grow(&mut log, 7);

    // Plainly cut out, they are a gap.
    let mut cut = lines(&log, 0);
    cut.drain(1..4);
    assert_eq!(check(&cut, &key, None).verdict, Verdict::Gap);

    // An export from entry 6 on is enough for who saw the first 6, and for nobody else.
    let part = lines(&log, 6);
    let report = check(&part, &key, None);
    assert_eq!(report.verdict, Verdict::TruncatedOld, "{report:?}");
    let report = check(&part, &key, Some(&witness));
    assert_eq!(
        (
            report.verdict,
            report.start,
            report.entries,
            report.witnessed
        ),
        (Verdict::Ok, 6, 7, Some(1)),
        "{report:?}"
    );
    witness.record(&report).unwrap();
    assert_eq!(
        check(&lines(&log, 5), &key, Some(&witness)).verdict,
        Verdict::TruncatedOld
    );
    // What the header says of the missing ones is checked like the entries.
    let other = part[0].replacen(
        &log.root_at(4).unwrap().to_string(),
        &Digest::of(b"x").to_string(),
        1,
    );
    assert_ne!(other, part[0]);
    let forged = [&[other], &part[1..]].concat();
    assert_eq!(
        check(&forged, &key, Some(&witness)).verdict,
        Verdict::Changed
    );
}

#[test]
fn an_entry_was_changed() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 5);
    let export = lines(&log, 0);
    for at in 1..export.len() {
        let mut changed = export.clone();
        changed[at] = changed[at].replacen("app-", "spy-", 1);
        let report = check(&changed, &key, None);
        assert_eq!(report.verdict, Verdict::Changed, "{report:?}");
        assert_eq!(report.code, 23);
    }
}

#[test]
fn entries_are_in_another_order_or_twice_or_away() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 6);
    let export = lines(&log, 0);

    let mut reordered = export.clone();
    reordered.swap(2, 4);
    assert_eq!(check(&reordered, &key, None).verdict, Verdict::Gap);

    let mut doubled = export.clone();
    doubled.insert(3, export[3].clone());
    assert_eq!(check(&doubled, &key, None).verdict, Verdict::Gap);
    doubled = export.clone();
    doubled.push(export[6].clone());
    assert_eq!(check(&doubled, &key, None).verdict, Verdict::Gap);

    let mut missing = export.clone();
    missing.remove(3);
    assert_eq!(check(&missing, &key, None).verdict, Verdict::Gap);

    // With the numbers put right, the signature tells.
    let renumber = |lines: &mut Vec<String>| {
        for (index, line) in lines[1..].iter_mut().enumerate() {
            let mut entry = Entry::from_canonical(line.as_bytes()).unwrap();
            entry.index = index as u64;
            *line = String::from_utf8(entry.to_canonical().unwrap()).unwrap();
        }
    };
    renumber(&mut reordered);
    assert_eq!(check(&reordered, &key, None).verdict, Verdict::Changed);
    renumber(&mut missing);
    assert_eq!(
        check(&missing, &key, None).verdict,
        Verdict::TruncatedRecent
    );
    renumber(&mut doubled);
    assert_eq!(
        check(&doubled, &key, None).verdict,
        Verdict::CannotRuleOut,
        "the seventh stands behind the signed six"
    );
}

#[test]
fn entries_that_nobody_signed_for() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 3);
    let short = lines(&log, 0);
    grow(&mut log, 1);
    let long = lines(&log, 0);
    let report = check(&[&short[..1], &long[1..]].concat(), &key, None);
    assert_eq!(report.verdict, Verdict::CannotRuleOut, "{report:?}");
}

#[test]
fn a_checkpoint_shows_what_is_missing_before_it() {
    let key = Key::generate();
    let mut log = key.log();
    grow_at_once(&mut log, CHECKPOINT_EVERY);
    grow(&mut log, 1);
    let export = lines(&log, 0);
    assert!(export[257].starts_with(r#"{"head":"#));

    let mut missing = export.clone();
    missing.remove(256);
    assert_eq!(check(&missing, &key, None).verdict, Verdict::Gap);
    let mut moved = export.clone();
    moved.swap(257, 258);
    assert_eq!(check(&moved, &key, None).verdict, Verdict::Malformed);
    let mut broken = export.clone();
    broken[257] = broken[257].replacen(r#""time":1"#, r#""time":2"#, 1);
    assert_eq!(check(&broken, &key, None).verdict, Verdict::BadSignature);
    let mut twice = export.clone();
    twice.insert(257, export[257].clone());
    assert_eq!(check(&twice, &key, None).verdict, Verdict::Ok);
    // Without it, the newest head still covers all.
    let mut without = export;
    without.remove(257);
    assert_eq!(check(&without, &key, None).verdict, Verdict::Ok);
}

#[test]
fn only_a_witness_sees_that_a_log_was_set_back() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 5);
    let backup = copy(&log, &key);
    grow(&mut log, 3);
    let witness = witness_of(&log, &key);

    let export = lines(&backup, 0);
    assert_eq!(check(&export, &key, None).verdict, Verdict::Ok);
    let report = check(&export, &key, Some(&witness));
    assert_eq!(report.verdict, Verdict::Rollback, "{report:?}");
    assert!(
        report.detail.contains("had 8 entries and has 5 now"),
        "{report:?}"
    );

    // It goes on: first it is still smaller, then not any more.
    let mut set_back = backup;
    for size in 6..12 {
        grow(&mut set_back, 1);
        let export = lines(&set_back, 0);
        assert_eq!(check(&export, &key, None).verdict, Verdict::Ok);
        let report = check(&export, &key, Some(&witness));
        let expected = if size < 8 {
            Verdict::Rollback
        } else {
            Verdict::Fork
        };
        assert_eq!(report.verdict, expected, "{size}: {report:?}");
    }
}

#[test]
fn a_forked_log_is_told_by_who_saw_the_other_branch() {
    let key = Key::generate();
    let mut one = key.log();
    grow(&mut one, 10);
    let mut other = copy(&one, &key);
    let mut witness = witness_of(&one, &key);
    grow(&mut one, 2);
    grow(&mut other, 5);
    // Both pass with the witness of what they share.
    for branch in [&one, &other] {
        let report = check(&lines(branch, 0), &key, Some(&witness));
        assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
    }
    see(&mut witness, &one, &key);
    let report = check(&lines(&other, 0), &key, Some(&witness));
    assert_eq!(report.verdict, Verdict::Fork, "{report:?}");
    // If the heads alone show it, missing entries do not hide it.
    grow(&mut one, 3);
    let same_size = witness_of(&one, &key);
    let report = check(&lines(&other, 0)[..5], &key, Some(&same_size));
    assert_eq!(report.verdict, Verdict::Fork, "{report:?}");
    // Two witnesses that compare what they saw find it too, without entries.
    let witness_of_other = witness_of(&other, &key);
    assert!(same_size.clone().merge(&witness_of_other).is_err());
}

#[test]
fn a_fork_is_told_by_a_checkpoint_of_the_other_branch() {
    let key = Key::generate();
    let mut one = key.log();
    grow(&mut one, 2);
    let mut other = copy(&one, &key);
    grow(&mut one, 4);
    grow_at_once(&mut other, 2);
    grow_at_once(&mut other, 1);
    let mut export = lines(&one, 0);
    export.insert(6, head_line(other.head()));
    let report = check(&export, &key, None);
    assert_eq!(report.verdict, Verdict::Fork, "{report:?}");
}

#[test]
fn a_head_that_is_larger_than_the_newest_shows_a_rollback() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 4);
    let mut export = lines(&log, 0);
    grow(&mut log, 2);
    export.push(head_line(log.head()));
    let report = check(&export, &key, None);
    assert_eq!(report.verdict, Verdict::Rollback, "{report:?}");
    assert!(
        report.detail.contains("had 6 entries and has 4 now"),
        "{report:?}"
    );
}

#[test]
fn a_checkpoint_that_is_smaller_than_the_one_before_shows_a_rollback() {
    let key = Key::generate();
    let mut log = key.log();
    let mut heads = Vec::new();
    for _ in 0..3 {
        grow(&mut log, 1);
        heads.push(head_line(log.head()));
    }
    let export = lines(&log, 0);
    let with = |places: [(usize, &String); 2]| {
        let mut lines = export.clone();
        for (at, line) in places {
            lines.insert(at, line.clone());
        }
        check(&lines, &key, None).verdict
    };
    assert_eq!(with([(2, &heads[0]), (4, &heads[1])]), Verdict::Ok);
    assert_eq!(with([(3, &heads[1]), (4, &heads[0])]), Verdict::Rollback);
}

#[test]
fn heads_of_the_same_predecessor_prove_a_fork_without_entries() {
    let key = Key::generate();
    let mut one = key.log();
    grow(&mut one, 4);
    let mut other = copy(&one, &key);
    grow_at_once(&mut one, 1);
    grow_at_once(&mut other, 2);
    let mut witness = Witness::new(one.id());
    witness.see(one.head().clone(), &key.public()).unwrap();
    assert!(witness.see(other.head().clone(), &key.public()).is_err());
    assert_eq!(
        check(&lines(&other, 0), &key, Some(&witness)).verdict,
        Verdict::Fork
    );
}

#[test]
fn another_log_or_another_signature() {
    let (key, stranger) = (Key::generate(), Key::generate());
    let mut log = key.log();
    grow(&mut log, 3);
    let export = lines(&log, 0);
    assert_eq!(check(&export, &stranger, None).verdict, Verdict::WrongLog);

    let mut strange = stranger.log();
    grow(&mut strange, 3);
    let witness = witness_of(&strange, &stranger);
    assert_eq!(
        check(&export, &key, Some(&witness)).verdict,
        Verdict::WrongLog
    );

    let empty = Witness::new(strange.id());
    assert_eq!(
        check(&export, &key, Some(&empty)).verdict,
        Verdict::WrongLog
    );

    // The stranger signs in the name of the log.
    let claimed = Head {
        log_id: log.id(),
        ..strange.head().head().clone()
    };
    let signature = stranger
        .again()
        .sign("mse-audit-head-v1", &claimed.canonical());
    let mut forged = lines(&strange, 0);
    let mut header: serde_json::Value = serde_json::from_str(&forged[0]).unwrap();
    header["head"]["log_id"] = log.id().to_string().into();
    header["head"]["signature"] = STANDARD.encode(signature).into();
    forged[0] = serde_json_canonicalizer::to_string(&header).unwrap();
    let report = check(&forged, &key, None);
    assert_eq!(report.verdict, Verdict::BadSignature, "{report:?}");
    assert_eq!(report.head, None);
}

#[test]
fn what_is_no_export_is_malformed() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 3);
    let export = lines(&log, 0);
    let with = |at: usize, line: &str| {
        let mut changed = export.clone();
        changed[at] = line.to_owned();
        changed
    };
    let one_hash = format!(r#""frontier":["{}"]"#, Digest::of(b"x"));
    let beyond = export[0]
        .replacen(r#""start":0"#, r#""start":4"#, 1)
        .replacen(r#""frontier":[]"#, &one_hash, 1);
    for bad in [
        Vec::new(),
        vec![String::new()],
        export[1..].to_vec(),
        with(0, "{}"),
        with(0, &export[0].replacen("export-1", "export-2", 1)),
        with(0, &export[0].replacen(r#""start":0"#, r#""start":4"#, 1)),
        with(0, &beyond),
        vec![beyond.clone()],
        with(0, &export[0].replacen(r#""start":0"#, r#""start":2"#, 1)),
        with(2, ""),
        with(2, "null"),
        with(2, &format!("{} ", export[2])),
        with(2, &"x".repeat(100_000)),
        with(2, r#"{"head":{}}"#),
        with(2, &export[0]),
    ] {
        let report = check(&bad, &key, None);
        assert_eq!(report.verdict, Verdict::Malformed, "{report:?}");
    }
}

#[test]
fn importing_restores_a_log_that_goes_on() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 3);
    grow_at_once(&mut log, MAX_APPEND as u64);
    grow_at_once(&mut log, CHECKPOINT_EVERY - 1);
    grow_at_once(&mut log, MAX_APPEND as u64);
    grow(&mut log, 2);
    let text = lines(&log, 0).join("\n") + "\n";
    let witness = witness_of(&log, &key);

    let mut storage = MemoryStorage::new();
    let report = import(
        &mut std::io::Cursor::new(&text),
        &key.public(),
        Some(&witness),
        &mut storage,
    )
    .unwrap();
    assert_eq!(report.verdict, Verdict::Ok);
    let mut again = Log::open(storage, key.again()).unwrap();
    assert_eq!(again.head(), log.head());
    assert_eq!(lines(&again, 0), lines(&log, 0));
    grow(&mut again, 300);
    assert_eq!(
        check(&lines(&again, 0), &key, Some(&witness)).verdict,
        Verdict::Ok
    );
}

#[test]
fn what_does_not_pass_is_not_imported() {
    let key = Key::generate();
    let mut log = key.log();
    grow(&mut log, 300);
    let export = lines(&log, 0);
    let mut storage = MemoryStorage::new();
    let import_lines = |lines: &[String], storage: &mut MemoryStorage| {
        let mut text = std::io::Cursor::new(lines.join("\n"));
        import(&mut text, &key.public(), None, storage)
    };
    for bad in [&export[..280], &lines(&log, 10)] {
        assert!(import_lines(bad, &mut storage).is_err());
        assert!(storage.head().is_none(), "nothing is written");
    }
    import_lines(&export, &mut storage).unwrap();
    assert!(matches!(
        import_lines(&export, &mut storage),
        Err(ImportError::NotEmpty)
    ));
}

#[test]
fn an_export_is_audited_whatever_wrote_the_entries() {
    // Events of a later version, in a log that this version only reads.
    let key = Key::generate();
    let mut log = key.log();
    log.append(vec![created("a")], at(1)).unwrap();
    let later = r#"{"event":{"moon":"full","type":"moon-landed"},"index":0,"salt":"000102030405060708090a0b0c0d0e0f","time":7}"#;
    let mut frontier = mse_audit::tree::Frontier::new();
    frontier.append(mse_audit::tree::leaf_hash(later.as_bytes()), |_| {});
    let head = Head {
        root: frontier.root(),
        ..log.head().head().clone()
    }
    .sign(&key.again());
    let header = format!(
        r#"{{"export":"mse-audit-export-1","frontier":[],"head":{},"start":0}}"#,
        String::from_utf8(head.to_json()).unwrap()
    );
    let report = check(&[header, later.to_owned()], &key, None);
    assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to the bytes of an export, it does not pass as another log.
    #[test]
    fn a_changed_byte_is_found(place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let key = Key::generate();
        let mut log = key.log();
        grow(&mut log, 3);
        let mut bytes = (lines(&log, 0).join("\n") + "\n").into_bytes();
        let at = place.index(bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        let report = audit(&mut bytes.as_slice(), &key.public(), None).unwrap();
        prop_assert_ne!(report.verdict, Verdict::Ok);
    }

    #[test]
    fn anything_is_read_without_panic(text in "(\\{\"head\":|\\{\"export\":|[\\[\\]{}:,\"a-z0-9\n ]){0,200}") {
        let report = audit(&mut text.as_bytes(), &Key::generate().public(), None).unwrap();
        prop_assert_ne!(report.verdict, Verdict::Ok);
    }
}
