//! The language from outside.

mod bounds;
mod compatibility;
mod curated;
mod properties;
mod schemas;
mod templates;
mod variables;
