//! The language of service manifests (`kind: genservice`) and Meshfiles (`kind: mesh`).

mod check;
pub mod compile;
mod model;
mod read;
mod schema;
mod template;
mod text;
mod values;
mod write;

pub use mse_yaml::{Code, Diagnostic, Faults, Severity, Undefined, Variables};

pub use crate::check::{Document, Kind, Outcome, check_text};
pub use crate::model::*;
pub use crate::schema::schema;
pub use crate::template::{InvalidTemplate, MAX_TEMPLATE_JSON, ServiceTemplate};
pub use crate::text::{MeshPiece, MeshText, MeshVariable, UndefinedMeshVariable};
pub use crate::values::MeshValues;
