//! How strictly evidence is judged, and what else a program must have.

use crate::model::{Advisory, OrReference, Terms, Tolerance};
use crate::template::Template;

/// The section `security`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// How evidence is judged.
    pub attestation: Option<OrReference<AttestationSettings>>,
    /// What CAS and program must both know. Everybody who may read the session can read it, unless
    /// it is a reference.
    pub service_access_token: Option<Template>,
    /// Whether each instance of a program is attested once only, to one session.
    pub singleton_enclaves: bool,
}

/// The section `security.attestation`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttestationSettings {
    /// By whom.
    pub mode: AttestationMode,
    /// What is let pass.
    pub tolerate: Vec<OrReference<Tolerance>>,
    /// Which security advisories are let pass.
    pub ignore_advisories: Advisories,
    /// Only local attestation, on the machine of the CAS.
    pub must_be_sgx_local: bool,
    /// The address of the MAA provider.
    pub url: Option<String>,
    /// The certificates of the MAA provider, PEM.
    pub certificates: Vec<String>,
    /// The secret of one-time passwords (base32).
    pub one_time_password: Option<Template>,
}

/// By whom evidence is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttestationMode {
    /// By the CAS: the hardware's signatures.
    #[default]
    Hardware,
    /// By Microsoft's attestation service.
    Maa,
    /// By nobody: whoever asks is served. It has [`Terms`], unless the session was imported.
    None(Option<Terms>),
}

/// Security advisories that are let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advisories {
    /// Every one, also those that nobody knows yet. It has [`Terms`], unless the session was
    /// imported.
    All(Option<Terms>),
    /// These.
    Listed(Vec<OrReference<Advisory>>),
}

impl Default for Advisories {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}
