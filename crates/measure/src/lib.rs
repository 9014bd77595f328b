//! Reference values of confidential guests, recomputed from what they boot.
//!
//! Whoever verifies an attestation compares a measurement with a value he must get from somewhere.
//! Here he computes it himself, from the same files that the guest was started from:
//!
//! - [`snp`]: the launch measurement of an SEV-SNP guest (`MEASUREMENT` in its reports), from the
//!   OVMF image, kernel, initrd, command line and virtual CPUs.
//! - [`tdx`]: MRTD of a TDX guest from its TDVF image; RTMR1 and RTMR2 of a direct boot; replaying
//!   digests into RTMRs.
//! - [`event_log`]: reads the event log of a TDX guest (CCEL) and replays it into RTMR0 to RTMR3.
//! - [`firmware`]: the table in OVMF and TDVF images that tells where all of this is.
//! - [`authenticode`]: the digest under which UEFI measures a program, such as a kernel.
//!
//! Nothing here does I/O but through the readers that callers hand in, and all of it takes its
//! input for hostile: sizes are bounded before they are used, and no input makes it panic.
//!
//! ```
//! use mse_measure::firmware::Firmware;
//! use mse_measure::snp::{CpuSignature, GuestFeatures, KernelHashes, SnpLaunch, Vmm};
//!
//! # fn measure(ovmf: &[u8], kernel: &[u8], initrd: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let launch = SnpLaunch {
//!     vcpus: 4,
//!     cpu: "EPYC-Milan".parse::<CpuSignature>()?,
//!     guest_features: GuestFeatures(0x1),
//!     vmm: Vmm::Qemu,
//!     kernel: Some(KernelHashes::of(kernel, Some(initrd), "console=ttyS0")?),
//! };
//! println!("{}", launch.measure(&Firmware::parse(ovmf)?)?);
//! # Ok(())
//! # }
//! ```
//!
//! What it was checked against, value by value and published or computed, is in the crate's
//! `README.md`.

pub mod authenticode;
mod bytes;
mod digest;
pub mod event_log;
pub mod firmware;
pub mod snp;
pub mod tdx;

pub use digest::{InputError, InvalidDigest, MAX_BOOT_FILE, Sha384Digest, sha384_of_reader};

/// The size of a page of guest memory: what both TEEs measure memory in.
pub const PAGE: usize = 4096;
