//! The language from outside.

mod bounds;
mod compatibility;
mod properties;
mod schemas;
mod templates;
mod variables;
