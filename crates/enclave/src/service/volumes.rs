//! Volumes: ciphertext in folders of the host's, plaintext in the sandbox's memory only.
//!
//! ```text
//! host's folder ──open, restore──▶ tmpfs of the sandbox ◀── the program
//!       ▲                               │
//!       └──── publish ◀─ CAS ◀─ prepare ┘   every 10 seconds, when asked, at the end
//! ```
//!
//! At the start a folder is opened at the state that the CAS grants, or refused
//! ([`Order::open`]). A commit ([`Keeper`]) makes a new state durable beside the old one, has the CAS
//! record it, and only then gives up the old one. So whatever ends the enclave, the folder holds the
//! state that the CAS has recorded:
//!
//! | it ends | recorded | the next start has |
//! | --- | --- | --- |
//! | before the report reaches the CAS | the old state | the old state; it is given up only by a later commit |
//! | before the answer comes | either | whichever it is: both are durable |
//! | before `publish` | the new state | the new state; `head` is only a hint |
//!
//! While an answer is awaited no other state is prepared: there is never more than one that the CAS
//! may have recorded unknown to the enclave. The same report is repeated until it is answered.

mod commit;
mod error;
mod keeper;
mod order;
mod record;
mod tree;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

pub(crate) use self::error::VolumeError;
pub(super) use self::keeper::Keeper;
pub(super) use self::order::Order;
pub(crate) use self::order::OrderError;
pub(super) use self::record::Record;

/// A path to an open directory, whatever lies where it was opened.
fn path_of(directory: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}
