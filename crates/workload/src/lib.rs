//! What runs in an enclave, described completely, and the code it runs, encrypted.
//!
//! - [`Workload`]: everything that decides what runs and what may be told to it. Its digest is
//!   measured by the TEE, so whoever knows the workload knows what the enclave is.
//! - [`ServiceWorkload`]: the same for a service, any program that a CAS tells the rest.
//! - [`CasWorkload`]: the same for a CAS: who owns it.
//! - [`Measured`]: what these have in common, their canonical form and digest.
//! - [`image`]: the image that such a service may run, its root file system and its facts.
//! - [`bundle`]: the owner's code, encrypted file by file under a key only the owner has.
//! - [`measurement`]: the measurement an enclave of a workload must have, computed natively.
//! - [`launch`]: what the (untrusted) launcher and the enclave say to each other.

pub mod bundle;
mod cas;
mod description;
pub mod image;
pub mod launch;
mod measured;
pub mod measurement;
mod service;

pub use cas::{
    CAS_FORMAT, CasWorkload, MAX_CAS_JSON, MAX_MODULES, MAX_PEOPLE, OpenToken, RecoveryPolicy,
    TokenLibrary, UpgradePolicy,
};
pub use description::{
    AppId, FORMAT, HealthEndpoint, ImageIdentity, MAX_JSON, Provisioning, Resources, Tls,
    TlsOrigin, Workload, image_digest,
};
pub use measured::{InvalidWorkload, Measured};
pub use measurement::{EnclaveDigest, Measurement, WorkloadDigest};
pub use service::{Base, CasKey, MAX_SERVICE_JSON, SERVICE_FORMAT, ServiceWorkload};
