//! The store, on both databases.

mod backups;
mod contents;
mod crash;
mod places;
mod power;
mod replicas;
mod rollback;
mod semantics;
mod tampering;
