use mse_crypto::signing::Algorithm;

use super::*;
use crate::storage::MemoryStorage;
use crate::tree::{HashStore, NodeId};

fn again(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem()).unwrap()
}

fn at(millis: u64) -> UnixMillis {
    UnixMillis::try_from(millis).unwrap()
}

fn event(number: u64) -> NewEntry {
    NewEntry::of(Event::LogRepaired { cut_bytes: number })
}

fn log_of(key: &SigningKey, size: u64) -> Log<MemoryStorage> {
    let mut log = Log::create(MemoryStorage::new(), again(key), at(1)).unwrap();
    for number in 0..size {
        log.append(vec![event(number)], at(number)).unwrap();
    }
    log
}

#[test]
fn what_is_appended_is_read_again() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 0);
    assert_eq!(log.head().head().root, empty_root());
    assert_eq!(log.append(vec![], at(1)).unwrap(), 0..0);
    assert_eq!(log.append(vec![event(7)], at(5)).unwrap(), 0..1);
    assert_eq!(log.append(vec![event(8), event(9)], at(4)).unwrap(), 1..3);
    let entries = log.entries(0..3).unwrap();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.index, index as u64);
        assert_eq!(entry.event, event(7 + entry.index).event);
    }
    assert_ne!(entries[1].salt, entries[2].salt);
    assert_eq!(log.entries(3..3).unwrap(), []);
    assert!(log.entries(2..4).is_err());
    assert_eq!(log.id(), LogId::of(&key.public()));

    let opened = Log::open(log.storage().clone(), again(&key)).unwrap();
    assert_eq!(opened.head(), log.head());
    assert_eq!(opened.entries(0..3).unwrap(), entries);
}

#[test]
fn each_head_names_the_one_before() {
    let key = SigningKey::generate(Algorithm::P384);
    let mut log = log_of(&key, 0);
    let mut heads = vec![log.head().clone()];
    for number in 0..5 {
        log.append(vec![event(number)], at(number)).unwrap();
        heads.push(log.head().clone());
    }
    assert_eq!(heads[0].head().previous, None);
    for pair in heads.windows(2) {
        let new = pair[1].verify(&key.public()).unwrap();
        assert_eq!(new.previous, Some(pair[0].head().digest()));
        assert_eq!(new.follows(pair[0].head()), Ok(()));
        log.check_extends(&pair[0]).unwrap();
    }
}

#[test]
fn all_or_nothing_is_appended() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 2);
    let head = log.head().clone();
    let too_many = vec![event(1); MAX_APPEND + 1];
    assert!(matches!(
        log.append(too_many, at(3)),
        Err(LogError::TooMany(_))
    ));
    let without_session = NewEntry::of(Event::SessionRead {});
    assert!(matches!(
        log.append(vec![event(1), without_session], at(3)),
        Err(LogError::Entry { index: 3, .. })
    ));
    assert_eq!((log.size(), log.head()), (2, &head));
    log.append(vec![event(1); MAX_APPEND], at(3)).unwrap();
}

#[test]
fn checkpoints_are_kept_so_that_a_batch_holds_what_follows_them() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 0);
    for count in [255, 768, 1, 255, 768, 300, 10] {
        log.append(vec![event(1); count], at(3)).unwrap();
    }
    let sizes: Vec<u64> = log
        .storage()
        .checkpoints(0, 100)
        .unwrap()
        .iter()
        .map(|head| head.head().tree_size)
        .collect();
    assert_eq!(sizes, [1023, 1279, 2047, 2347]);
    assert!(
        sizes
            .windows(2)
            .all(|pair| pair[1] - pair[0] <= MAX_BATCH as u64)
    );
    // Opened again, the log goes on counting where it was.
    let mut opened = Log::open(log.into_storage(), key).unwrap();
    opened.append(vec![event(1); 245], at(3)).unwrap();
    assert_eq!(opened.storage().checkpoints(2347, 9).unwrap(), []);
    opened.append(vec![event(1)], at(3)).unwrap();
    assert_eq!(opened.storage().checkpoints(2347, 9).unwrap().len(), 1);
}

#[test]
fn proofs_hold_under_the_newest_head() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 11);
    let old = log.head().clone();
    log.append(vec![event(1); 30], at(3)).unwrap();
    for index in 0..41 {
        let receipt = log.receipt(index).unwrap();
        receipt.verify(&key.public()).unwrap();
        let json = serde_json::to_vec(&receipt).unwrap();
        assert_eq!(serde_json::from_slice::<Receipt>(&json).unwrap(), receipt);
    }
    let proof = log.prove_consistency(11).unwrap();
    proof
        .verify(&old.head().root, &log.head().head().root)
        .unwrap();
    assert!(log.prove_inclusion(41).is_err());
    assert!(log.prove_consistency(42).is_err());
}

#[test]
fn a_receipt_of_anything_else_is_refused() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let log = log_of(&key, 6);
    let good = log.receipt(3).unwrap();
    let mut entry = good.clone();
    entry.entry.event = event(99).event;
    let mut other = good.clone();
    other.entry = log.receipt(4).unwrap().entry;
    let mut index = good.clone();
    index.proof.leaf_index = 4;
    index.entry.index = 4;
    let mut size = good.clone();
    size.proof.tree_size = 5;
    let mut path = good.clone();
    path.proof.path[0].0[0] ^= 1;
    let mut head = good.clone();
    head.head = log_of(&key, 6).head().clone();
    for bad in [entry, other, index, size, path, head] {
        assert!(bad.verify(&key.public()).is_err(), "{bad:?}");
    }
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    assert!(matches!(
        good.verify(&stranger.public()),
        Err(InvalidReceipt::Head(UnverifiedHead::WrongLog { .. }))
    ));
}

#[test]
fn a_log_that_was_set_back_does_not_extend_what_was_seen() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 4);
    let earlier = log.storage().clone();
    let seen_before = log.head().clone();
    log.append(vec![event(1); 3], at(3)).unwrap();
    let seen = log.head().clone();

    let mut set_back = Log::open(earlier, again(&key)).unwrap();
    set_back.check_extends(&seen_before).unwrap();
    assert!(matches!(
        set_back.check_extends(&seen),
        Err(LogError::Conflict(Conflict::Rollback { seen: 7, now: 4 }))
    ));
    set_back.append(vec![event(2); 5], at(3)).unwrap();
    assert!(matches!(
        set_back.check_extends(&seen),
        Err(LogError::Conflict(Conflict::SamePrevious { .. }))
    ));
    set_back.append(vec![event(2)], at(3)).unwrap();
    assert!(matches!(
        set_back.check_extends(&seen),
        Err(LogError::Conflict(Conflict::Fork { size: 7 }))
    ));
}

#[test]
fn opening_takes_the_key_of_the_log_and_a_log() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let storage = log_of(&key, 3).into_storage();
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    assert!(matches!(
        Log::open(storage.clone(), stranger),
        Err(LogError::Head(UnverifiedHead::WrongLog { .. }))
    ));
    assert!(matches!(
        Log::open(MemoryStorage::new(), again(&key)),
        Err(LogError::Missing)
    ));
    assert!(matches!(
        Log::create(storage, key, at(1)),
        Err(LogError::Exists)
    ));
}

/// Does what a keeper of the log can do.
struct Meddled {
    below: MemoryStorage,
    change_record: Option<u64>,
    exchange: Option<u64>,
    /// Answers with the hashes of this one, where it has any.
    hashes_of: Option<MemoryStorage>,
    change_hashes: bool,
    /// Answers with the checkpoints of this one.
    checkpoints_of: Option<MemoryStorage>,
    fail_commits: bool,
}

impl Meddled {
    fn with(below: MemoryStorage) -> Self {
        Self {
            below,
            change_record: None,
            exchange: None,
            hashes_of: None,
            change_hashes: false,
            checkpoints_of: None,
            fail_commits: false,
        }
    }
}

impl HashStore for Meddled {
    type Error = StorageError;

    fn node(&self, node: NodeId) -> Result<Digest, StorageError> {
        let other = self.hashes_of.as_ref().map(|other| other.node(node));
        let mut hash = match other {
            Some(Ok(hash)) => hash,
            _ => self.below.node(node)?,
        };
        hash.0[0] ^= u8::from(self.change_hashes);
        Ok(hash)
    }
}

impl Storage for Meddled {
    fn head(&self) -> Option<&SignedHead> {
        self.below.head()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        if self.fail_commits {
            return Err(StorageError::Other("the disk is full".into()));
        }
        self.below.commit(batch)
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        let place = |index: u64| usize::try_from(index - range.start).unwrap();
        let mut records = self.below.read(range.clone())?;
        if let Some(index) = self.change_record.filter(|index| range.contains(index)) {
            let text = String::from_utf8(records[place(index)].clone()).unwrap();
            records[place(index)] = text.replacen("cut_bytes\":", "cut_bytes\":1", 1).into();
        }
        if let Some(index) = self.exchange.filter(|index| range.contains(index)) {
            records.swap(place(index), place(index + 1));
        }
        Ok(records)
    }

    fn checkpoints(&self, above: u64, limit: usize) -> Result<Vec<SignedHead>, StorageError> {
        self.checkpoints_of
            .as_ref()
            .unwrap_or(&self.below)
            .checkpoints(above, limit)
    }

    fn write_hashes(&mut self, position: u64, hashes: &[Digest]) -> Result<(), StorageError> {
        self.below.write_hashes(position, hashes)
    }
}

#[test]
fn changed_or_exchanged_entries_are_found_when_the_log_is_opened() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let storage = log_of(&key, 8).into_storage();
    for index in 0..7 {
        let mut changed = Meddled::with(storage.clone());
        changed.change_record = Some(index);
        assert!(matches!(
            Log::open(changed, again(&key)),
            Err(LogError::Root(8))
        ));
        let mut exchanged = Meddled::with(storage.clone());
        exchanged.exchange = Some(index);
        assert!(matches!(
            Log::open(exchanged, again(&key)),
            Err(LogError::Root(8))
        ));
    }
}

#[test]
fn entries_that_are_exchanged_while_the_log_is_open_are_found() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = Log::open(Meddled::with(log_of(&key, 8).into_storage()), key).unwrap();
    log.storage.exchange = Some(3);
    assert!(matches!(
        log.entries(2..6),
        Err(LogError::Misplaced { place: 3, index: 4 })
    ));
    log.storage.exchange = None;
    log.storage.change_record = Some(3);
    assert!(matches!(
        log.receipt(3),
        Err(LogError::Proof(InvalidProof::Root))
    ));
}

#[test]
fn hashes_of_another_history_do_not_hide_that_the_log_was_set_back() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 4);
    let earlier = log.storage().clone();
    log.append(vec![event(1)], at(3)).unwrap();
    log.append(vec![event(1); 2], at(3)).unwrap();
    let seen = log.head().clone();
    let mut set_back = Log::open(Meddled::with(earlier), again(&key)).unwrap();
    for _ in 0..5 {
        set_back.append(vec![event(2)], at(4)).unwrap();
    }
    set_back.storage.hashes_of = Some(log.into_storage());
    assert!(matches!(
        set_back.check_extends(&seen),
        Err(LogError::Proof(InvalidProof::Root))
    ));
}

#[test]
fn a_log_can_be_shared_by_threads() {
    fn check<T: Send + Sync>() {}
    check::<Log<crate::storage::SealedStorage<crate::storage::FileStorage>>>();
}

#[test]
fn checkpoints_of_another_history_are_found_when_the_log_is_opened() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = log_of(&key, 0);
    let mut other = Log::open(log.storage().clone(), again(&key)).unwrap();
    for branch in [&mut log, &mut other] {
        branch.append(vec![event(1); 256], at(2)).unwrap();
        branch.append(vec![event(1)], at(3)).unwrap();
    }
    let mut meddled = Meddled::with(log.into_storage());
    meddled.checkpoints_of = Some(other.into_storage());
    assert!(matches!(Log::open(meddled, key), Err(LogError::Root(256))));
}

#[test]
fn changed_hashes_make_no_proofs() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = Log::open(Meddled::with(log_of(&key, 8).into_storage()), key).unwrap();
    log.prove_inclusion(3).unwrap();
    log.storage.change_hashes = true;
    assert!(matches!(
        log.prove_inclusion(3),
        Err(LogError::Proof(InvalidProof::Root))
    ));
    assert!(matches!(
        log.prove_consistency(3),
        Err(LogError::Proof(InvalidProof::Root))
    ));
    assert!(log.check_extends(&log.head().clone()).is_err());
}

#[test]
fn after_a_failed_write_the_log_must_be_opened_anew() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let mut log = Log::open(Meddled::with(log_of(&key, 2).into_storage()), again(&key)).unwrap();
    log.storage.fail_commits = true;
    assert!(matches!(
        log.append(vec![event(1)], at(1)),
        Err(LogError::Storage(_))
    ));
    log.storage.fail_commits = false;
    assert!(matches!(
        log.append(vec![event(1)], at(1)),
        Err(LogError::MustReopen)
    ));
    let mut log = Log::open(log.into_storage(), key).unwrap();
    assert_eq!(log.append(vec![event(1)], at(1)).unwrap(), 2..3);
}
