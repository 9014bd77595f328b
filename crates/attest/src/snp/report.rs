//! Layout of SEV-SNP attestation reports: versions 2 to 5, and 1 to look at.
//!
//! Follows AMD's *SEV Secure Nested Paging Firmware ABI Specification* (56860), table
//! `ATTESTATION_REPORT`: 672 signed bytes, then the signature in 512. Integers are little-endian.

use std::fmt;

use thiserror::Error;

use super::{GuestPolicy, PlatformInfo};

/// The size of every report, in bytes.
pub const REPORT_BYTES: usize = 1184;

/// How many of them, from the first one, are signed.
const SIGNED_BYTES: usize = 0x2a0;

/// An attestation report of the exact layout, borrowed from its bytes. Nothing vouches for it.
#[derive(Clone, Debug)]
pub struct Report<'a>(&'a [u8; REPORT_BYTES]);

impl<'a> Report<'a> {
    /// Reads one report: exactly [`REPORT_BYTES`], version 1 to 5, signature algorithm 1, and zero
    /// wherever the ABI reserves bytes in that version.
    ///
    /// Version 1 is of firmware before its first release and of made-up samples. It is read so
    /// that it can be shown; no appraisal accepts it.
    ///
    /// The mitigation vectors came with version 5, and some firmware fills them in reports that
    /// say version 4: both versions may hold them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReportError> {
        let report: &[u8; REPORT_BYTES] = bytes
            .try_into()
            .map_err(|_| ReportError::Size { size: bytes.len() })?;
        let report = Self(report);
        let version = report.version();
        if !(1..=5).contains(&version) {
            return Err(ReportError::Version { version });
        }
        let algorithm = u32::from_le_bytes(*report.part::<0x34, 4>());
        if algorithm != ECDSA_P384_SHA384 {
            return Err(ReportError::SignatureAlgorithm { algorithm });
        }
        for reserved in RESERVED {
            let Reserved(field, from, until, versions) = reserved;
            if versions.contains(&version) && report.0[*from..*until].iter().any(|byte| *byte != 0)
            {
                return Err(ReportError::Reserved { field });
            }
        }
        if report.flags() & !KNOWN_FLAGS != 0 {
            return Err(ReportError::Reserved { field: "flags" });
        }
        let signing_key = report.signing_key_bits();
        if SigningKey::of(signing_key).is_none() {
            return Err(ReportError::SigningKey { value: signing_key });
        }
        Ok(report)
    }

    /// Version of the report: which fields it has.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(*self.part::<0, 4>())
    }

    /// Security version of the guest, from its ID block.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(*self.part::<0x04, 4>())
    }

    /// The policy under which the guest was launched.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(*self.part::<0x08, 8>()))
    }

    /// Family of the guest's image, from its ID block.
    pub fn family_id(&self) -> &'a [u8; 16] {
        self.part::<0x10, 16>()
    }

    /// The guest's image, from its ID block.
    pub fn image_id(&self) -> &'a [u8; 16] {
        self.part::<0x20, 16>()
    }

    /// Privilege level that asked for the report: 0 to 3; `0xffff_ffff` if the host did.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(*self.part::<0x30, 4>())
    }

    /// `CURRENT_TCB`: what runs now. See [`super::SnpProduct::tcb`] for its parts.
    pub fn current_tcb(&self) -> &'a [u8; 8] {
        self.part::<0x38, 8>()
    }

    /// What the platform is and does.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(*self.part::<0x40, 8>()))
    }

    /// Bit 0 `AUTHOR_KEY_EN`, bit 1 `MASK_CHIP_KEY`, bits 2 to 4 `SIGNING_KEY`.
    pub fn flags(&self) -> u32 {
        u32::from_le_bytes(*self.part::<0x48, 4>())
    }

    /// Whether the guest's ID key was signed by an author key.
    pub fn author_key_en(&self) -> bool {
        self.flags() & 1 != 0
    }

    /// Whether the host keeps firmware from using the chip's own key.
    pub fn mask_chip_key(&self) -> bool {
        self.flags() & 2 != 0
    }

    /// Whether the version is one that firmware in use writes.
    pub(super) fn check_version(&self) -> Result<(), ReportError> {
        match self.version() {
            2.. => Ok(()),
            version => Err(ReportError::Version { version }),
        }
    }

    /// Which key signed the report.
    pub fn signing_key(&self) -> SigningKey {
        // `parse` lets no other value through.
        SigningKey::of(self.signing_key_bits()).unwrap_or(SigningKey::None)
    }

    /// 64 bytes that the guest chose.
    pub fn report_data(&self) -> &'a [u8; 64] {
        self.part::<0x50, 64>()
    }

    /// Launch measurement of the guest's memory and CPU state.
    pub fn measurement(&self) -> &'a [u8; 48] {
        self.part::<0x90, 48>()
    }

    /// 32 bytes that the host chose at launch.
    pub fn host_data(&self) -> &'a [u8; 32] {
        self.part::<0xc0, 32>()
    }

    /// SHA-384 of the public key that signed the ID block.
    pub fn id_key_digest(&self) -> &'a [u8; 48] {
        self.part::<0xe0, 48>()
    }

    /// SHA-384 of the public key that signed the ID key.
    pub fn author_key_digest(&self) -> &'a [u8; 48] {
        self.part::<0x110, 48>()
    }

    /// Id of this guest, new with each launch.
    pub fn report_id(&self) -> &'a [u8; 32] {
        self.part::<0x140, 32>()
    }

    /// Report id of the guest's migration agent; all ones without one.
    pub fn report_id_ma(&self) -> &'a [u8; 32] {
        self.part::<0x160, 32>()
    }

    /// `REPORTED_TCB`: what the VEK was derived for.
    pub fn reported_tcb(&self) -> &'a [u8; 8] {
        self.part::<0x180, 8>()
    }

    /// CPUID family, model and stepping; zero before version 3.
    pub fn cpuid(&self) -> &'a [u8; 3] {
        self.part::<0x188, 3>()
    }

    /// Id of the chip; zero if the host masks it. Turin uses the first 8 bytes only.
    pub fn chip_id(&self) -> &'a [u8; 64] {
        self.part::<0x1a0, 64>()
    }

    /// `COMMITTED_TCB`: what the platform cannot be rolled back below.
    pub fn committed_tcb(&self) -> &'a [u8; 8] {
        self.part::<0x1e0, 8>()
    }

    /// Firmware that runs now.
    pub fn current_version(&self) -> FirmwareVersion {
        FirmwareVersion::of(*self.part::<0x1e8, 3>())
    }

    /// Firmware that the platform cannot be rolled back below.
    pub fn committed_version(&self) -> FirmwareVersion {
        FirmwareVersion::of(*self.part::<0x1ec, 3>())
    }

    /// `LAUNCH_TCB`: what ran when the guest was launched or moved here.
    pub fn launch_tcb(&self) -> &'a [u8; 8] {
        self.part::<0x1f0, 8>()
    }

    /// Mitigations that were in force at launch; `None` before version 4.
    pub fn launch_mit_vector(&self) -> Option<u64> {
        (self.version() >= 4).then(|| u64::from_le_bytes(*self.part::<0x1f8, 8>()))
    }

    /// Mitigations that are in force; `None` before version 4.
    pub fn current_mit_vector(&self) -> Option<u64> {
        (self.version() >= 4).then(|| u64::from_le_bytes(*self.part::<0x200, 8>()))
    }

    /// Whether the host has the chip id left out.
    pub fn is_chip_id_masked(&self) -> bool {
        *self.chip_id() == [0; 64]
    }

    /// What the signature covers.
    pub(super) fn signed(&self) -> &'a [u8; SIGNED_BYTES] {
        self.part::<0, SIGNED_BYTES>()
    }

    /// The signature as `r ‖ s`, big-endian. The report has both little-endian in 72 bytes, of
    /// which the last 24 are zero.
    pub(super) fn signature(&self) -> [u8; 96] {
        let mut signature = [0; 96];
        let (r, s) = signature.split_at_mut(48);
        r.copy_from_slice(self.part::<R, 48>());
        s.copy_from_slice(self.part::<S, 48>());
        r.reverse();
        s.reverse();
        signature
    }

    fn signing_key_bits(&self) -> u8 {
        (self.0[0x48] >> 2) & 0b111
    }

    /// `N` bytes from `AT`; both are constants, so an overrun is an error of compilation.
    fn part<const AT: usize, const N: usize>(&self) -> &'a [u8; N] {
        const { assert!(AT + N <= REPORT_BYTES) };
        self.0[AT..]
            .first_chunk()
            .expect("AT + N <= REPORT_BYTES holds at compile time")
    }
}

/// Which key signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningKey {
    /// The chip's own (versioned chip endorsement key).
    Vcek,
    /// One that AMD gave to a cloud provider for its chips (versioned loaded endorsement key).
    Vlek,
    /// None: the report is not signed.
    None,
}

impl SigningKey {
    /// AMD's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::None => "none",
        }
    }

    fn of(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Vcek),
            1 => Some(Self::Vlek),
            7 => Some(Self::None),
            _ => None,
        }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Version of the SEV firmware; displays as `1.55.29`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Major version of the ABI.
    pub major: u8,
    /// Minor version of the ABI.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl FirmwareVersion {
    fn of([build, minor, major]: [u8; 3]) -> Self {
        Self {
            major,
            minor,
            build,
        }
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Why bytes are not a report of a supported version.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Cut off, or followed by something.
    #[error(
        "an SNP report has {REPORT_BYTES} bytes, this has `{size}`; give the report alone and complete"
    )]
    Size {
        /// The size found, in bytes.
        size: usize,
    },
    /// Of a version whose fields are not known.
    #[error(
        "version `{version}` of an SNP report is not supported; 2 to 5 are: update firmware or verifier"
    )]
    Version {
        /// The version found.
        version: u32,
    },
    /// Another algorithm.
    #[error(
        "signature algorithm `{algorithm}` of an SNP report is not supported; only 1 (ECDSA on P-384 with SHA-384) is"
    )]
    SignatureAlgorithm {
        /// The algorithm found.
        algorithm: u32,
    },
    /// A key that does not exist.
    #[error(
        "`{value}` stands for no signing key of an SNP report; 0 (VCEK), 1 (VLEK) and 7 (none) do"
    )]
    SigningKey {
        /// The value found.
        value: u8,
    },
    /// Bytes that the ABI reserves are not zero: changed on the way, or of a newer version.
    #[error(
        "reserved bytes of the SNP report are not zero at `{field}`; get the report again, unchanged"
    )]
    Reserved {
        /// Where they are.
        field: &'static str,
    },
}

/// `SIGNATURE_ALGO`: ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// `AUTHOR_KEY_EN`, `MASK_CHIP_KEY` and `SIGNING_KEY`.
const KNOWN_FLAGS: u32 = 0b1_1111;

/// Offset of the signature's `r`, and of its `s`.
const R: usize = 0x2a0;
const S: usize = R + 72;

/// Reserved bytes: name, first, end, and the versions in which they are reserved.
struct Reserved(&'static str, usize, usize, std::ops::RangeInclusive<u32>);

const RESERVED: &[Reserved] = &[
    Reserved("reserved (0x4c)", 0x4c, 0x50, 1..=5),
    Reserved("reserved (0x188)", 0x188, 0x1a0, 1..=2),
    Reserved("reserved (0x18b)", 0x18b, 0x1a0, 3..=5),
    Reserved("reserved (0x1eb)", 0x1eb, 0x1ec, 1..=5),
    Reserved("reserved (0x1ef)", 0x1ef, 0x1f0, 1..=5),
    Reserved("reserved (0x1f8)", 0x1f8, 0x208, 1..=3),
    Reserved("reserved (0x208)", 0x208, SIGNED_BYTES, 1..=5),
    Reserved("signature.r", R + 48, S, 1..=5),
    Reserved("signature.s", S + 48, S + 72, 1..=5),
    Reserved("signature.reserved", S + 72, REPORT_BYTES, 1..=5),
];

#[cfg(test)]
mod tests;
