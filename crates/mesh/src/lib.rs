//! The language of service manifests (`kind: genservice`) and Meshfiles (`kind: mesh`).
//!
//! A service manifest says how the image of a service is built, and what of its configuration the
//! image's owner decides; a Meshfile makes an application of several services. This crate reads
//! both in all dialects, says everything that is wrong with them, and writes them in one form. It
//! does no I/O and looks at no clock.
//!
//! ```
//! use mse_mesh::{Code, MeshValues, Meshfile, ServiceManifest, Variables};
//!
//! let manifest = "
//! apiVersion: mse/v1
//! kind: genservice
//! build: {name: api, kind: python, to: $REPO/api:1, command: python3 api.py}
//! environment:
//!   local: [{name: GREETING, value: hello {{WHO}}}]
//!   global: [{name: WHO, value: world}]
//! ";
//! let variables = Variables::new().with("REPO", "registry.example");
//! let (manifest, warnings) = ServiceManifest::read(manifest, &variables).expect("it has no fault");
//! assert_eq!(manifest.build.to.as_str(), "registry.example/api:1");
//! assert!(warnings.is_empty());
//!
//! let mesh = "
//! apiVersion: mse/v1
//! kind: mesh
//! cas: [{cas_url: cas.example}]
//! policy: {namespace: shop}
//! env: [{service: global, env: [{name: WHO, value: you}]}]
//! services: [{name: api, image: registry.example/api:1}]
//! ";
//! let (mesh, _) = Meshfile::read(mesh, &variables).expect("it has no fault");
//! let template = manifest.template();
//! let values = MeshValues::for_service(&mesh, &mesh.services[0].name, &template.environment, [])
//!     .expect("each variable has a value");
//! let environment = values.environment(&template.environment).expect("likewise");
//! assert_eq!(*environment[0].1, "hello you");
//!
//! let faults = Meshfile::read("apiVersion: mse/v1\nkind: mesh\nservice: []", &variables);
//! let fault = &faults.expect_err("it has some").0[0];
//! assert_eq!((fault.code, fault.line), (Code::UnknownKey, Some(3)));
//! assert_eq!(fault.help.as_deref(), Some("did you mean `services`?"));
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`check`] | the way in: [`check_text`], [`ServiceManifest::read`], [`Meshfile::read`] |
//! | [`read`] | from nodes to the model, with every dialect |
//! | [`model`] | what the documents say: values that cannot be ill-formed |
//! | [`text`] | `{{name}}` in texts |
//! | [`values`] | which of several values a mesh variable has |
//! | [`template`] | what of a manifest is in the image |
//! | [`mod@compile`] | from a Meshfile and its images to the sessions of a CAS |
//! | [`chart`] | a Helm chart that runs a compiled mesh on Kubernetes |
//! | [`curated`] | manifests of services that come with MSE |
//! | [`write`] | the canonical form |
//! | [`mod@schema`] | JSON Schemas |
//!
//! The language is described in `docs/manifest.md`, and what of SCONE's it has in
//! `docs/compatibility.md`.

pub mod chart;
mod check;
pub mod compile;
mod curated;
mod model;
mod read;
mod schema;
mod template;
mod text;
mod values;
mod write;

pub use mse_yaml::{Code, Diagnostic, Faults, Severity, Undefined, Variables};

pub use crate::check::{Document, Kind, Outcome, check_text};
pub use crate::curated::{Curated, CuratedFile, UnknownCurated};
pub use crate::model::*;
pub use crate::schema::schema;
pub use crate::template::{InvalidTemplate, MAX_TEMPLATE_JSON, ServiceTemplate};
pub use crate::text::{MeshPiece, MeshText, MeshVariable, UndefinedMeshVariable};
pub use crate::values::MeshValues;
