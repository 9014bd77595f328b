//! The policies that are made for a mesh.

use mse_session::{SessionName, Terms, Tolerated};

use super::Machine;

/// The policies that are made for a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The namespace of its sessions. Nobody else uses it on that CAS.
    pub namespace: SessionName,
    /// Where the policies of the images are; None: in `namespace`.
    pub image_policy_namespace: Option<SessionName>,
    /// On hardware, the confidential virtual machines that services may run in.
    pub machines: Vec<Machine>,
    /// What attestation of the services lets pass.
    pub tolerate: Vec<Tolerance>,
    /// Which security advisories are let pass.
    pub ignore_advisories: Advisories,
    /// Microsoft's attestation service, which then judges evidence.
    pub maa: Option<String>,
    /// A session with the access policy, in the place of one that is made.
    pub access_policy_name: Option<SessionName>,
    /// A session with the security policy, in the place of one that is made.
    pub security_policy_name: Option<SessionName>,
    /// A session with the attestation policy, in the place of one that is made.
    pub attestation_policy_name: Option<SessionName>,
}

/// One relaxation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// What is let pass.
    pub what: Tolerated,
    /// Why, and until when; None: for ever.
    pub terms: Option<Terms>,
}

/// Security advisories that are let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advisories {
    /// Every one, also those that nobody knows yet.
    All(Option<Terms>),
    /// These.
    Listed(Vec<Advisory>),
}

impl Default for Advisories {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// A security advisory that is let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// `INTEL-SA-00615`.
    pub id: String,
    /// Why, and until when; None: for ever.
    pub terms: Option<Terms>,
}
