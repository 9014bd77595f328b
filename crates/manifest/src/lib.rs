//! `mse.toml`: what an owner writes to have an app deployed.
//!
//! Three steps, each of which reports *everything* that is wrong, with file, line, value and fix:
//!
//! 1. [`Manifest::load`] reads the file: syntax, keys, types, lengths, shapes. Nothing else is
//!    opened.
//! 2. [`Loaded::check`] opens what the file names (code, secrets, certificate, private key) and
//!    holds it against the clock that the caller gives. After it, a deploy can fail for no reason
//!    that was visible on this machine.
//! 3. [`Manifest::to_toml`] writes a manifest back, with its keys in their canonical order.
//!
//! ```
//! use std::path::Path;
//!
//! use mse_manifest::{CloudSection, Manifest};
//!
//! let text = "name = 'hello'\npyton_application = 'app:app'\n";
//! let Err(faults) = Manifest::parse(Path::new("mse.toml"), text, CloudSection::Optional) else {
//!     panic!("a misspelt key must not pass");
//! };
//! assert!(faults.to_string().contains("did you mean `python_application`?"));
//! ```
//!
//! # The file
//!
//! | Key | Type | Rule |
//! | --- | --- | --- |
//! | `name` | string | 1 to 255 characters, trimmed |
//! | `python_application` | string | `module:variable`, both Python identifiers, the module may be dotted |
//! | `healthcheck_endpoint` | string | 1 to 255 characters, starts with `/` |
//! | `tests_cmd` | string | may be empty |
//! | `tests_requirements` | list of strings | |
//! | `cloud.code`, `cloud.tests` | path | relative to the directory of the file |
//! | `cloud.docker` | string | image reference with a digest or a tag that is not `latest` |
//! | `cloud.project` | string | 1 to 255 characters, trimmed |
//! | `cloud.hardware` | string | 1 to 16 characters, trimmed |
//! | `cloud.secrets` | path, optional | a JSON object of at most 1 MiB |
//! | `cloud.expiration_date` | date-time, optional | TOML or ISO 8601 text, or seconds since 1970 |
//! | `cloud.ssl` | table, optional | `domain_name`, `private_key`, `certificate`: all three |
//! | `cloud.environment` | table, optional | names to strings: measured, but visible to the operator |
//!
//! Unknown keys are errors, values are never converted, and `cloud.dev_mode` is ignored with a
//! warning: only the command line may set it.

mod application;
mod certificate;
mod check;
mod diagnostic;
mod environment;
mod expiration;
mod image;
mod load;
mod manifest;
mod private_key;
mod reader;
mod secrets;
mod sections;
mod source;

#[cfg(test)]
mod fixtures;

pub use crate::application::{InvalidApplication, PythonApplication};
pub use crate::certificate::OwnerCertificate;
pub use crate::check::{CheckOptions, Checked, TlsChoice};
pub use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
pub use crate::environment::{EnvironmentName, InvalidEnvironmentName};
pub use crate::expiration::{ExpirationDate, InvalidExpirationDate};
pub use crate::image::{ImageReference, InvalidImageReference};
pub use crate::load::{CloudSection, Loaded};
pub use crate::manifest::{Cloud, Manifest, Ssl, WrittenPath};
pub use crate::private_key::PrivateKeyPem;
pub use crate::secrets::SecretsJson;
