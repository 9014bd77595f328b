//! The language of service manifests (`kind: genservice`) and Meshfiles (`kind: mesh`).

mod model;
mod template;
mod text;

pub use crate::model::*;
pub use crate::template::ServiceTemplate;
pub use crate::text::{MeshPiece, MeshText, MeshVariable, UndefinedMeshVariable};
