//! Container images, made and moved without a container daemon.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`spec`] | what an image shall be |
//! | [`build`](mod@build) | from a spec to an image: base, requirements, files, commands, our own part |
//! | [`lock`] | what a build resolved to, to build the same again |
//! | [`debian`] | bases from Debian's packages |
//! | [`step`] | commands in a sandbox over the layers so far |
//! | [`layer`], [`tree`] | layers, and what file system they make; its digest without unpacking it |
//! | [`layout`], [`manifest`] | OCI layouts on disk |
//! | [`unpack`](mod@unpack) | an image into a folder |
//! | [`registry`], [`reference`](mod@reference) | pulling and pushing |
//! | [`attach`], [`sbom`], [`provenance`] | what is in an image, and how it was made |
//! | [`service`] | what an image says about itself |
//! | [`sign`] | who vouches for an image |
//!
//! The same spec, files, base and lock make the same manifest digest on every machine: nothing in
//! an image depends on time, user, folder or order of a directory.

pub mod attach;
pub mod build;
pub mod debian;
pub mod digest;
pub mod layer;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod progress;
mod provenance;
pub mod reference;
pub mod registry;
mod sbom;
pub mod service;
pub mod sign;
pub mod spec;
pub mod step;
pub mod tree;
pub mod unpack;

pub use build::{BuildError, Built, Site, build};
pub use digest::BlobDigest;
pub use layout::{Image, Layout};
pub use lock::ImageLock;
pub use progress::{Cancel, Event, Progress, Step};
pub use reference::Reference;
pub use registry::{Credentials, PlainHttp, Registry, RegistryOptions};
pub use service::{NotOurs, ServiceImage};
pub use spec::{Base, Epoch, ImageSpec, Kind, Own, PlatformPart, Programs, StepNetwork};
pub use unpack::{Part, file_system, unpack};
