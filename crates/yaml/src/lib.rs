//! Documents in YAML that people write: read strictly, with the place of everything in them.
//!
//! Sessions, service manifests and Meshfiles have this in common: what is wrong with them is said
//! all at once, with line, column and what to do; a word that is not known is an error with a
//! suggestion; and `$NAME` is replaced inside scalars only, so that no value changes the structure.
//!
//! | module | what |
//! | --- | --- |
//! | [`node`] | the part of YAML that is read, with the place of every node |
//! | [`field`], [`fields`] | a node where a value of some type is expected; the entries of a map |
//! | [`variables`] | `$NAME`, replaced inside scalars only; `{{name}}`, found or kept |
//! | [`diagnostic`] | faults and warnings |

pub mod command;
mod diagnostic;
mod field;
mod fields;
mod node;
mod variables;

pub use crate::diagnostic::{
    Code, Diagnostic, Faults, Position, Report, Severity, Spot, did_you_mean, shown,
};
pub use crate::field::{Field, Reporting};
pub use crate::fields::{Fields, optional, or_default};
pub use crate::node::{Content, Entry, Language, MAX_BYTES, MeshVariables, Node, parse};
pub use crate::variables::{FoundMeshVariable, Undefined, Variables, is_left_alone, mesh_variable};
