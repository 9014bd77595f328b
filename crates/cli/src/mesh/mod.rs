//! Service manifests and Meshfiles on this machine: images, the CAS, what was compiled.
//!
//! ```text
//! service manifest ─▶ recipe ─▶ (mse-image) ─▶ store ─▶ registry
//! Meshfile ─▶ images (store, registry) ─▶ (mse-mesh) ─▶ cas (attested) ─▶ upload ─▶ target ─▶ run
//! ```

mod building;
mod cas;
pub(crate) mod curated;
mod documents;
mod images;
mod keys;
mod programs;
mod ready;
mod recipe;
mod registry;
pub(crate) mod run;
mod store;
mod target;
mod upload;

pub(crate) use building::Workshop;
pub(crate) use cas::{CasArgs, CasTolerances, MeshCas};
pub(crate) use documents::{Documents, MeshDocument, read_files};
pub(crate) use images::{MeshImages, Pulling};
pub(crate) use keys::{ImageKeys, SigningKeyFile, image_key};
pub(crate) use programs::ImagePrograms;
pub(crate) use ready::ReadyImage;
pub(crate) use recipe::{Recipe, spec_of};
pub(crate) use registry::RegistryArgs;
pub(crate) use store::{ImageStore, reference as reference_of};
pub(crate) use target::{FileChange, RunCas, RunPlan, RunService, TargetDir, hide_texts};
pub(crate) use upload::{Change, Changes, Owner, Prepared};
