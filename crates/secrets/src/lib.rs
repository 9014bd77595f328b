//! Secrets that nobody sees: generated inside, formatted as programs want them.

mod format;
mod kind;

pub use format::{Format, PgpEncoding, PgpHalf, UnknownFormat};
pub use kind::{KeyType, Kind, UnknownKeyType, UnknownKind};
