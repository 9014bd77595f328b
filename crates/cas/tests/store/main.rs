//! The store, on both databases.

mod places;
mod semantics;
