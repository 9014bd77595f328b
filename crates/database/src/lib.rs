//! Where a program keeps its rows: an SQLite file, or a PostgreSQL database that is connected to so
//! that an acknowledged write is a lasting one.
//!
//! Statements and tables are the business of the program.

mod location;
pub mod postgres;

pub use location::{InvalidLocation, Location};
