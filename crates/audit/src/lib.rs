//! An append-only log whose history cannot be changed unnoticed.

pub mod entry;
pub mod export;
pub mod head;
pub mod log;
pub mod storage;
pub mod tree;
pub mod verify;
pub mod witness;
