//! An append-only log whose history cannot be changed unnoticed.

pub mod entry;
pub mod head;
pub mod tree;
