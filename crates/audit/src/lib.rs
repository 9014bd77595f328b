//! An append-only log whose history cannot be changed unnoticed.

pub mod tree;
