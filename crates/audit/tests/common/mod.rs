//! Logs to test with.

// Each test program uses a part of this.
#![allow(dead_code)]

use mse_audit::entry::{Event, KeyHash, SessionVersion, UnixMillis};
use mse_audit::export::export;
use mse_audit::log::{Log, NewEntry};
use mse_audit::storage::{MemoryStorage, Storage};
use mse_audit::verify::{Report, audit};
use mse_audit::witness::Witness;
use mse_crypto::Digest;
use mse_crypto::signing::{Algorithm, SigningKey, VerifyingKey};

/// A key that can be used for several logs.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn generate() -> Self {
        Self(SigningKey::generate(Algorithm::Ed25519))
    }

    pub(crate) fn again(&self) -> SigningKey {
        SigningKey::from_pem(&self.0.to_pem()).unwrap()
    }

    pub(crate) fn public(&self) -> VerifyingKey {
        self.0.public()
    }

    pub(crate) fn log(&self) -> Log<MemoryStorage> {
        Log::create(MemoryStorage::new(), self.again(), at(0)).unwrap()
    }
}

pub(crate) fn at(millis: u64) -> UnixMillis {
    UnixMillis::try_from(1_764_140_000_000 + millis).unwrap()
}

pub(crate) fn created(name: &str) -> NewEntry {
    NewEntry {
        event: Event::SessionCreated {},
        session: Some(SessionVersion {
            hash: Some(Digest::of(name.as_bytes())),
            name: name.parse().unwrap(),
        }),
        actor: Some(KeyHash(Digest::of(b"alice"))),
    }
}

/// Appends `count` entries, each by itself.
pub(crate) fn grow<S: Storage>(log: &mut Log<S>, count: u64) {
    for _ in 0..count {
        let size = log.size();
        log.append(vec![created(&format!("app-{size}"))], at(size))
            .unwrap();
    }
}

/// Appends `count` entries together.
pub(crate) fn grow_at_once<S: Storage>(log: &mut Log<S>, count: u64) {
    let size = log.size();
    let entries = (size..size + count)
        .map(|index| created(&format!("app-{index}")))
        .collect();
    log.append(entries, at(size)).unwrap();
}

pub(crate) fn lines<S: Storage>(log: &Log<S>, start: u64) -> Vec<String> {
    let mut out = Vec::new();
    export(log, start, &mut out).unwrap();
    String::from_utf8(out)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

pub(crate) fn check(lines: &[String], key: &Key, witness: Option<&Witness>) -> Report {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    audit(&mut text.as_bytes(), &key.public(), witness).unwrap()
}
