//! The confidential virtual machines that services may run in.

use mse_session::{Hex, TeeKind};

/// A confidential virtual machine, by what its TEE measured when it started. The services' own
/// measurement is beside it, in a field that the host writes: a machine must be one whose image keeps
/// to that field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// An SEV-SNP guest.
    Snp {
        /// MEASUREMENT.
        measurement: Hex<48>,
    },
    /// A TDX trust domain.
    Tdx {
        /// MRTD: its firmware.
        measurement: Hex<48>,
        /// The firmware's configuration; None: any.
        rtmr0: Option<Hex<48>>,
        /// Boot loader and kernel.
        rtmr1: Hex<48>,
        /// Command line and initial file system.
        rtmr2: Hex<48>,
    },
}

impl Machine {
    /// Which TEE it is.
    pub fn tee(&self) -> TeeKind {
        match self {
            Self::Snp { .. } => TeeKind::Snp,
            Self::Tdx { .. } => TeeKind::Tdx,
        }
    }

    /// What it measured, by the keys of sessions and Meshfiles.
    pub(crate) fn measured(&self) -> Vec<(&'static str, &Hex<48>)> {
        match self {
            Self::Snp { measurement } => vec![("measurement", measurement)],
            Self::Tdx {
                measurement,
                rtmr0,
                rtmr1,
                rtmr2,
            } => {
                let mut all = vec![("measurement", measurement)];
                all.extend(rtmr0.iter().map(|register| ("rtmr0", register)));
                all.extend([("rtmr1", rtmr1), ("rtmr2", rtmr2)]);
                all
            }
        }
    }
}
