//! Steps that run programs: in a sandbox over the layers so far; what they change is a layer.

pub(crate) mod python;
mod sandbox;
mod worktree;

pub use python::PythonError;
pub use sandbox::StepError;
pub(crate) use sandbox::{Mount, Sandbox};
pub(crate) use worktree::WorkTree;
pub use worktree::WorkTreeError;
