//! The REST types that the server, the CAS and the CLI share; those of the CAS are in [`cas`].
//!
//! The wire forms are those of the system we replace (`GET /apps`, `POST /apps` as multipart, …),
//! so that its clients can be served without a second API; fields of ours are added beside
//! theirs and documented as such. The OpenAPI document is made from these types.

mod app;
pub mod cas;
mod error;
mod platform;

pub use app::{App, AppStatus, CreateApp, Environment, LogEntry, LogStream, Logs, PartialApp};
pub use error::{ApiError, ErrorCode};
pub use platform::{AppDefaults, Hardware, Login, PlatformInfo, Project, SessionToken, User};

/// The multipart part of `POST /apps` that carries the encrypted bundle.
pub const PART_CODE: &str = "code";
/// The multipart part of `POST /apps` that carries [`CreateApp`] as JSON.
pub const PART_CONF: &str = "conf";
/// Makes a repeated `POST /apps` answer with the app the first one made.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The largest JSON part of a request: 256 KiB.
pub const MAX_CONF: usize = 256 * 1024;
