//! From a Meshfile and what its images say about themselves to the sessions of a CAS.
//!
//! | session | what |
//! | --- | --- |
//! | the namespace, and those above it | who may create sessions in it |
//! | `<namespace>/access`, `<namespace>/security` | policies that all others import, unless the Meshfile names existing ones |
//! | `<namespace>/image-<image>` | the measurements of the services that run the image: its version of now, and the stable one |
//! | `<namespace>/secrets` | all secrets that services define, each given to the services that use it |
//! | `<namespace>/<service>` | what a service is told, and what it must prove |
//!
//! Pure: the same input gives the same sessions. What only a CAS knows (predecessors, salts) is
//! added by [`PlannedSession::text`].

mod command;
mod error;
mod evidence;
mod policies;
mod secrets;
mod service;
mod sessions;
mod shield;

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use mse_crypto::CodeKey;
use mse_crypto::signing::VerifyingKey;
use mse_session::{KeyHash, SessionName, VolumeName};
use mse_workload::image::ImageFacts;
use mse_workload::{CasKey, EnclaveDigest, Measurement, Resources, ServiceWorkload};

pub use self::error::CompileError;
pub use self::sessions::{MADE_BY, PlannedSession, SessionRole, made_by};
use crate::model::{ImageReference, Meshfile, Probe, ServiceName};
use crate::template::ServiceTemplate;
use crate::values::MeshValues;

/// An image as the mesh builder knows it: pulled by its digest.
#[derive(Clone)]
pub struct MeshImage {
    /// With its digest.
    pub reference: ImageReference,
    /// What is measured of it.
    pub facts: ImageFacts,
    /// What its manifest says.
    pub template: ServiceTemplate,
    /// The key of its encrypted part, if it has one.
    pub key: Option<CodeKey>,
    /// What is measured of the version before, which keeps running until an update is done.
    pub stable: Option<StableImage>,
}

/// The version of an image before.
#[derive(Clone)]
pub struct StableImage {
    /// With its digest.
    pub reference: ImageReference,
    /// What is measured of it.
    pub facts: ImageFacts,
}

/// What the mesh is compiled for.
pub struct Target<'a> {
    /// The CAS of the services' sessions.
    pub cas_key: CasKey,
    /// Whether services may run on the simulated TEE, which proves nothing; else in the machines that
    /// the Meshfile names.
    pub simulated: bool,
    /// The name of this installation: two of them in one namespace are two meshes.
    pub release: &'a str,
    /// Whose the sessions are.
    pub owner: &'a Ownership,
    /// The images, by the services that run them.
    pub images: &'a BTreeMap<ServiceName, MeshImage>,
    /// Certificates (PEM) of those who vouch for hosts outside of the mesh, by the names of their
    /// files in the Meshfile.
    pub authorities: &'a BTreeMap<String, String>,
}

/// Whose the sessions of a mesh are.
#[derive(Clone, Debug)]
pub enum Ownership {
    /// Whoever sends them.
    Sender,
    /// Who has this key, whoever carries them, sealed.
    Holder(KeyHash),
    /// Who signs them, whoever sends them. A signature reads nothing, so that a key of a connection
    /// may read them.
    Signer {
        /// Whose signature it takes to change them.
        signer: VerifyingKey,
        /// Who may read them.
        reader: KeyHash,
    },
}

/// A compiled mesh.
pub struct Plan {
    /// The sessions, each after those that it needs.
    pub sessions: Vec<PlannedSession>,
    /// The services, in the order of the Meshfile.
    pub services: Vec<PlannedService>,
    /// What whoever applies the mesh has to know.
    pub warnings: Vec<String>,
}

/// A service of a compiled mesh: all that it takes to run it.
#[derive(Clone)]
pub struct PlannedService {
    /// Its name in the mesh.
    pub name: ServiceName,
    /// Its image, with the digest.
    pub image: ImageReference,
    /// Its session.
    pub session: SessionName,
    /// The service in the session: the program's name.
    pub service: mse_session::ServiceName,
    /// What is measured when it runs.
    pub workload: ServiceWorkload,
    /// The enclave program of the image.
    pub enclave: EnclaveDigest,
    /// The measurement on the simulated TEE.
    pub measurement: Measurement,
    /// The ports that it serves, in order.
    pub ports: Vec<NonZeroU16>,
    /// How it shows that it is well and how it is asked, by the Meshfile or its manifest.
    pub health: Option<Probe>,
    /// Its encrypted volumes.
    pub volumes: Vec<VolumeName>,
    /// The values of mesh variables that it has: the chart's defaults among them.
    pub values: MeshValues,
}

#[cfg(test)]
mod tests;

/// What a service has if the Meshfile does not say.
const DEFAULT_RESOURCES: Resources = Resources {
    memory_mib: 1024,
    millicores: 1000,
};

/// Compiles a mesh.
pub fn compile(mesh: &Meshfile, target: &Target<'_>) -> Result<Plan, CompileError> {
    let names = policies::Names::of(mesh)?;
    let mut warnings = Vec::new();
    let mut sessions = policies::sessions(mesh, &names, target.owner, &mut warnings)?;
    let services: Vec<_> = mesh
        .services
        .iter()
        .map(|service| service::Compiled::of(mesh, service, target, &names))
        .collect::<Result<_, _>>()?;
    for service in &services {
        service.warn(&mut warnings);
    }
    let tees = evidence::Tees::of(mesh, target)?;
    sessions.extend(evidence::sessions(&services, tees, &names)?);
    let shield = shield::Shield::of(mesh, &services, target.authorities)?;
    shield.warn(&mut warnings);
    sessions.extend(secrets::session(&services, &shield, &names)?);
    for service in &services {
        sessions.push(service.session(&shield, &names)?);
    }
    unique(&sessions)?;
    let maker = format!("{}@{}", mesh.policy.namespace, target.release);
    for session in &mut sessions {
        session.mark(&maker, target.owner);
    }
    Ok(Plan {
        sessions,
        services: services
            .into_iter()
            .map(service::Compiled::into_planned)
            .collect(),
        warnings,
    })
}

/// Two images can have names that differ only in what names of sessions do not have.
fn unique(sessions: &[PlannedSession]) -> Result<(), CompileError> {
    for (at, session) in sessions.iter().enumerate() {
        let earlier = sessions[..at].iter().find(|one| one.name == session.name);
        if let Some(earlier) = earlier {
            return Err(CompileError::Collision {
                name: session.name.to_string(),
                first: format!("of the kind `{}`", earlier.role.as_str()),
                second: format!("one of the kind `{}`", session.role.as_str()),
            });
        }
    }
    Ok(())
}
