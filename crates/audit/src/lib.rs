//! An append-only log whose history cannot be changed unnoticed: what the CAS did, to which
//! session, asked by whom.
//!
//! The entries are the leaves of a Merkle tree ([`tree`], RFC 9162). After each append the log
//! signs how many there are and their root ([`head`]). From that follow proofs: that an entry is
//! in the log, and that the log of today is that of yesterday with entries added.
//!
//! | module | what |
//! | --- | --- |
//! | [`entry`] | what an entry says; its one canonical form |
//! | [`tree`] | the tree, its proofs and their verification |
//! | [`head`] | signed heads, and what two of them show |
//! | [`storage`] | where a log is kept: a folder, sealed or not; memory; a trait for others |
//! | [`log`] | the writer: append, prove, give receipts |
//! | [`mod@export`] | a log as a stream of lines, and back |
//! | [`verify`] | the auditor: reads an export and gives a verdict |
//! | [`witness`] | the heads that a verifier has seen: what shows that a log was set back |
//!
//! Formats, exit codes, and what all this cannot show: `docs/audit.md`.
//!
//! ```
//! use mse_audit::entry::{Event, UnixMillis};
//! use mse_audit::log::{Log, NewEntry};
//! use mse_audit::storage::MemoryStorage;
//! use mse_audit::verify::{Verdict, audit};
//! use mse_audit::witness::Witness;
//! use mse_crypto::signing::{Algorithm, SigningKey};
//!
//! // The CAS writes.
//! let key = SigningKey::generate(Algorithm::Ed25519);
//! let public = key.public();
//! let mut log = Log::create(MemoryStorage::new(), key, UnixMillis::now())?;
//! let event = Event::BackupMade { backup: mse_crypto::Digest::of(b"the backup") };
//! log.append(vec![NewEntry::of(event)], UnixMillis::now())?;
//! log.receipt(0)?.verify(&public)?;
//!
//! // An auditor reads, and remembers what it saw.
//! let mut lines = Vec::new();
//! mse_audit::export::export(&log, 0, &mut lines)?;
//! let mut witness = Witness::new(log.id());
//! let report = audit(&mut lines.as_slice(), &public, Some(&witness))?;
//! assert_eq!(report.verdict, Verdict::Ok);
//! witness.record(&report)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod entry;
pub mod export;
pub mod head;
pub mod log;
pub mod storage;
pub mod tree;
pub mod verify;
pub mod witness;
