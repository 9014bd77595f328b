//! How strictly a CAS is attested.

use mse_session::{Hex, KeyHash, Terms};

/// What a CAS must prove before the mesh builder gives it anything. The default is the strictest:
/// a production enclave on up-to-date hardware, of the expected measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CasTrust {
    /// What it must be.
    pub pins: Pins,
    /// What is let pass, each once.
    pub tolerate: Vec<TrustTolerance>,
    /// Whose simulated evidence is believed; None: nobody's.
    pub simulated: Option<SimulatedTrust>,
}

/// What a CAS must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// One of these measurements; none: not said here.
    pub mrenclave: Vec<Hex<32>>,
    /// One of these signers; none: not said here.
    pub mrsigner: Vec<Hex<32>>,
    /// This product.
    pub isvprodid: Option<u16>,
    /// This security version, or a later one.
    pub isvsvn: Option<u16>,
    /// The hash of the key that all instances of its software have.
    pub software_key: Option<KeyHash>,
}

impl Pins {
    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One relaxation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustTolerance {
    /// What is let pass.
    pub what: CasTolerance,
    /// Why, and until when; None: for ever.
    pub terms: Option<Terms>,
}

/// Whose simulated evidence is believed. It proves nothing about hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulatedTrust {
    /// This machine's.
    ThisMachine,
    /// That of the platform whose trust anchor is in this file.
    Anchor(String),
}

/// What attestation of a CAS can let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CasTolerance {
    /// The machine's configuration is to be looked at: hyper-threading, for one.
    ConfigurationNeeded,
    /// Holes that software must close.
    SoftwareHardeningNeeded,
    /// A machine whose firmware has known holes.
    OutdatedTcb,
    /// A debuggable enclave: whoever runs it reads everything.
    DebugMode,
    /// Any signer.
    AnySigner,
    /// Any program.
    AnyEnclave,
}

/// What a [`CasTolerance`] does to security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Less of it.
    Weaker,
    /// Attacks are known.
    Dangerous,
    /// None is left.
    NoProtection,
}

impl CasTolerance {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ConfigurationNeeded,
        Self::SoftwareHardeningNeeded,
        Self::OutdatedTcb,
        Self::DebugMode,
        Self::AnySigner,
        Self::AnyEnclave,
    ];

    /// As written in a Meshfile.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigurationNeeded => "configuration-needed",
            Self::SoftwareHardeningNeeded => "software-hardening-needed",
            Self::OutdatedTcb => "outdated-tcb",
            Self::DebugMode => "debug-mode",
            Self::AnySigner => "any-signer",
            Self::AnyEnclave => "any-enclave",
        }
    }

    /// What it does to security.
    pub fn effect(self) -> Effect {
        match self {
            Self::ConfigurationNeeded | Self::SoftwareHardeningNeeded => Effect::Weaker,
            Self::OutdatedTcb => Effect::Dangerous,
            Self::DebugMode | Self::AnySigner | Self::AnyEnclave => Effect::NoProtection,
        }
    }

    /// What it means, for warnings.
    pub fn harm(self) -> &'static str {
        match self {
            Self::ConfigurationNeeded => "a CAS on a machine that is set up insecurely is believed",
            Self::SoftwareHardeningNeeded => {
                "a CAS on a machine whose holes software must close is believed"
            }
            Self::OutdatedTcb => "a CAS on a machine whose firmware has known holes is believed",
            Self::DebugMode => {
                "NO PROTECTION: a debuggable CAS is believed, and whoever runs it reads every secret"
            }
            Self::AnySigner => {
                "NO PROTECTION unless `mrenclave` is pinned: a CAS that anybody signed is believed"
            }
            Self::AnyEnclave => "NO PROTECTION: any program is believed to be the CAS",
        }
    }
}
