//! The formats, as files that were written once and must stay readable: `tests/data`. What they
//! say was checked by the Python program in `docs/audit.md` and by OpenSSL.

use std::io::Cursor;

use mse_audit::entry::Entry;
use mse_audit::export::import;
use mse_audit::head::LogId;
use mse_audit::log::Receipt;
use mse_audit::storage::{MemoryStorage, Storage as _};
use mse_audit::tree::{Frontier, leaf_hash};
use mse_audit::verify::{Verdict, audit};
use mse_audit::witness::Witness;
use mse_crypto::signing::VerifyingKey;

const LOG: &str = include_str!("data/log.jsonl");
const KEY: &str = include_str!("data/log.pub.pem");
const RECEIPT: &str = include_str!("data/receipt.json");
const WITNESS: &str = include_str!("data/witness.json");
const DOCUMENT: &str = include_str!("../../../docs/audit.md");

fn key() -> VerifyingKey {
    VerifyingKey::from_pem(KEY).unwrap()
}

#[test]
fn the_log_passes_with_its_witness() {
    let witness = Witness::from_json(WITNESS.as_bytes(), &key()).unwrap();
    assert_eq!(String::from_utf8(witness.to_json()).unwrap(), WITNESS);
    let report = audit(&mut LOG.as_bytes(), &key(), Some(&witness)).unwrap();
    assert_eq!(
        (report.verdict, report.entries, report.witnessed),
        (Verdict::Ok, 5, Some(1)),
        "{report:?}"
    );
    assert_eq!(
        LogId::of(&key()).to_string(),
        "6b31dea10d3e3a3c4d4f066e4e6ebce6607dc91930de8197654ed7ded63f4f75"
    );
    let mut storage = MemoryStorage::new();
    import(&mut Cursor::new(LOG), &key(), Some(&witness), &mut storage).unwrap();
    let records = storage.read(0..5).unwrap();
    let entries: Vec<_> = LOG.lines().skip(1).map(str::as_bytes).collect();
    assert_eq!(records, entries);
}

#[test]
fn every_entry_is_under_the_root() {
    let mut frontier = Frontier::new();
    for (index, line) in (0..).zip(LOG.lines().skip(1)) {
        let entry = Entry::from_canonical(line.as_bytes()).unwrap();
        assert_eq!(entry.index, index);
        assert_eq!(entry.leaf_hash().unwrap(), leaf_hash(line.as_bytes()));
        frontier.append(leaf_hash(line.as_bytes()), |_| {});
    }
    assert_eq!(
        frontier.root().to_string(),
        "d07d37c43f43fe07300e7a977b52d47b7e77ecec4cb25dec1802dd778d828757"
    );
}

#[test]
fn the_receipt_holds() {
    let receipt: Receipt = serde_json::from_str(RECEIPT).unwrap();
    receipt.verify(&key()).unwrap();
    assert_eq!(receipt.entry.event.name(), "service-attested");
}

/// The document shows these files and all exit codes.
#[test]
fn the_document_tells_the_truth() {
    for line in LOG.lines().chain(WITNESS.lines()) {
        assert!(DOCUMENT.contains(line), "{line}");
    }
    for verdict in Verdict::ALL {
        let row = format!("| {} | `{}` |", verdict.code(), verdict.name());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
