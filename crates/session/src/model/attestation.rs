//! What a service must prove.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;

use crate::model::OrReference;
use crate::reference::Reference;

/// One way to be accepted: all that an [`EvidenceRule`] says, or what a fragment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestationEntry {
    /// Everything in it must hold.
    Rule(Box<EvidenceRule>),
    /// A config-fragment: one rule, or a list of which one must hold.
    Fragment(Reference),
}

/// What must all hold for one piece of evidence. At least one of `mrenclave`, `signer`, `workload`
/// and `measurement` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceRule {
    /// SGX: one of these measurements (or lists of them, where a fragment gives one). Empty: any.
    pub mrenclave: Vec<OrReference<Hex<32>>>,
    /// SGX: who signed the enclave.
    pub signer: Option<SgxSigner>,
    /// MSE: one of these workloads, on whatever TEE. Empty: any.
    pub workload: Vec<Digest>,
    /// TDX (MRTD) and SNP (MEASUREMENT): one of these machines. Empty: none of these TEEs, since the
    /// host writes the digest of the workload there.
    pub measurement: Vec<Hex<48>>,
    /// TDX: RTMR 0 to 2, each one of these. Of RTMR 0 (the firmware's configuration) empty means any;
    /// without RTMR 1 and 2 (boot loader, kernel, command line, initial file system) no trust domain
    /// is admitted, since MRTD is only its firmware.
    pub rtmr: [Vec<Hex<48>>; 3],
    /// One of these kinds of TEE. Empty: any that can prove the rest.
    pub tee: Vec<TeeKind>,
    /// Whether evidence of the simulated TEE is as good: it proves nothing.
    pub simulated: bool,
}

impl EvidenceRule {
    /// The keys of `rtmr`.
    pub const RTMR: [&str; 3] = ["rtmr0", "rtmr1", "rtmr2"];

    /// Whether it says all that a trust domain (TDX) must have measured.
    pub fn names_a_trust_domain(&self) -> bool {
        let [_, kernel, system] = &self.rtmr;
        !self.measurement.is_empty() && !kernel.is_empty() && !system.is_empty()
    }

    /// Whether it says what the program is.
    pub fn names_a_program(&self) -> bool {
        !self.mrenclave.is_empty()
            || self.signer.is_some()
            || !self.workload.is_empty()
            || !self.measurement.is_empty()
    }
}

/// Who signed an SGX enclave, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxSigner {
    /// MRSIGNER.
    pub mrsigner: OrReference<Hex<32>>,
    /// ISVPRODID.
    pub isvprodid: OrReference<u16>,
    /// ISVSVN.
    pub isvsvn: SecurityVersion,
}

/// Which ISVSVNs are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityVersion {
    /// This one.
    Exact(OrReference<u16>),
    /// From and to, both included; None: no bound.
    Range(Option<u16>, Option<u16>),
}

/// A kind of TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TeeKind {
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
}

impl TeeKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Sgx, Self::Tdx, Self::Snp];

    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
        }
    }
}

/// A machine that attestation may come from: `INTEL_QE_ID:` and 32 hex digits, or the 64 hex
/// digits of a quoting enclave's key as SCONE wrote it before 7.0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlatformId {
    /// The id of Intel's quoting enclave on the machine.
    IntelQeId(Hex<16>),
    /// A public key of SCONE's quoting enclave: nothing has it any more.
    SconeQe(Hex<32>),
}

impl FromStr for PlatformId {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("INTEL_QE_ID:") {
            Some(id) => id.parse().map(Self::IntelQeId),
            None => text.parse().map(Self::SconeQe),
        }
    }
}

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IntelQeId(id) => write!(f, "INTEL_QE_ID:{id}"),
            Self::SconeQe(key) => key.fmt(f),
        }
    }
}

/// `N` bytes, written in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> FromStr for Hex<N> {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHex {
            text: text.to_owned(),
            digits: 2 * N,
        })?;
        Ok(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hex({self})")
    }
}

/// A text that is not so many hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {digits} hex digits", mse_yaml::shown(.text))]
pub struct InvalidHex {
    text: String,
    digits: usize,
}
