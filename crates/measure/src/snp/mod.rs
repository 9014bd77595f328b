//! The launch measurement of an SEV-SNP guest.
//!
//! The AMD secure processor keeps a chain: for each page that the hypervisor adds it hashes a
//! `PAGE_INFO` structure, which holds the digest so far, the digest of the page's contents, its
//! type and its guest-physical address, with SHA-384 (*SEV Secure Nested Paging Firmware ABI
//! Specification*, publication 56860, section 8.17). The end of the chain is `MEASUREMENT` in the
//! guest's reports. Hypervisors add, in this order: the firmware image, the pages that the
//! firmware's metadata names, one VMSA page (the registers) per virtual CPU.
//!
//! Not computed: guests under an SVSM (a paravisor in VMPL0), and IGVM images.

mod cpu;
mod hashes;
mod metadata;
mod vmsa;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use cpu::{CPU_MODELS, CpuSignature, UnknownCpu};
pub use hashes::{KernelHashes, KernelHashesError};
pub use metadata::{Section, SectionKind, SevMetadata, SevMetadataError};
pub use vmsa::vmsa_page;

use crate::digest::Sha384;
use crate::firmware::Firmware;
use crate::{PAGE, Sha384Digest};

/// The most virtual CPUs: what a KVM guest can have.
pub const MAX_VCPUS: u32 = 4096;

/// Everything beside the firmware that decides the launch measurement.
#[derive(Clone, Debug)]
pub struct SnpLaunch {
    /// How many virtual CPUs the guest is started with: 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Which processor the guest sees. Counts under QEMU only.
    pub cpu: CpuSignature,
    /// `SEV_FEATURES` of each virtual CPU.
    pub guest_features: GuestFeatures,
    /// Who starts the guest.
    pub vmm: Vmm,
    /// Kernel, initrd and command line, if the hypervisor was told to measure them
    /// (`kernel-hashes=on` with QEMU).
    pub kernel: Option<KernelHashes>,
}

impl SnpLaunch {
    /// The launch measurement of a guest with this `firmware`.
    pub fn measure(&self, firmware: &Firmware<'_>) -> Result<Sha384Digest, SnpError> {
        self.measure_from(ovmf_hash(firmware), firmware)
    }

    /// The same from the chain after the firmware's pages, see [`ovmf_hash`]: of `firmware` only
    /// the metadata counts. So one does not need to keep the images of all releases.
    pub fn measure_from(
        &self,
        ovmf_hash: Sha384Digest,
        firmware: &Firmware<'_>,
    ) -> Result<Sha384Digest, SnpError> {
        if !(1..=MAX_VCPUS).contains(&self.vcpus) {
            return Err(SnpError::Vcpus { vcpus: self.vcpus });
        }
        let metadata = SevMetadata::parse(firmware)?;
        let mut chain = LaunchChain(ovmf_hash);
        self.add_sections(&mut chain, &metadata)?;
        self.add_vcpus(&mut chain, &metadata)?;
        Ok(chain.0)
    }

    fn add_sections(
        &self,
        chain: &mut LaunchChain,
        metadata: &SevMetadata,
    ) -> Result<(), SnpError> {
        let mut kernel = self.kernel.as_ref();
        for section in &metadata.sections {
            let filled = match section.kind {
                SectionKind::SecMem if self.vmm == Vmm::Gce => PageType::Unmeasured,
                SectionKind::SecMem | SectionKind::SvsmCaa => PageType::Zero,
                SectionKind::Secrets => PageType::Secrets,
                SectionKind::Cpuid if self.vmm.adds_cpuid_last() => continue,
                SectionKind::Cpuid => PageType::Cpuid,
                SectionKind::KernelHashes => match kernel.take() {
                    Some(hashes) => {
                        let page = hashes.page(section, metadata.hashes_table)?;
                        chain.add(PageType::Normal, section.address, Sha384Digest::of(&page));
                        continue;
                    }
                    None => PageType::Zero,
                },
            };
            chain.add_filled(filled, section);
        }
        if self.vmm.adds_cpuid_last() {
            for section in &metadata.sections {
                if section.kind == SectionKind::Cpuid {
                    chain.add_filled(PageType::Cpuid, section);
                }
            }
        }
        match kernel {
            Some(_) => Err(SnpError::NoKernelHashes),
            None => Ok(()),
        }
    }

    fn add_vcpus(&self, chain: &mut LaunchChain, metadata: &SevMetadata) -> Result<(), SnpError> {
        let page = |reset| {
            let page = vmsa_page(reset, self.vmm, self.cpu, self.guest_features);
            Sha384Digest::of(&page)
        };
        chain.add(PageType::Vmsa, VMSA_ADDRESS, page(BOOT_CPU_RESET));
        if self.vcpus == 1 {
            return Ok(());
        }
        let others = page(metadata.ap_reset.ok_or(SnpError::NoApReset)?);
        for _ in 1..self.vcpus {
            chain.add(PageType::Vmsa, VMSA_ADDRESS, others);
        }
        Ok(())
    }
}

/// The chain after the pages of the firmware, before all others. `sev-snp-measure` calls it
/// `snp:ovmf-hash`.
pub fn ovmf_hash(firmware: &Firmware<'_>) -> Sha384Digest {
    let mut chain = LaunchChain(Sha384Digest::ZERO);
    let mut address = firmware.address();
    for page in firmware.image().chunks(PAGE) {
        chain.add(PageType::Normal, address, Sha384Digest::of(page));
        address += PAGE as u64;
    }
    chain.0
}

/// `SEV_FEATURES` of a virtual CPU: bit 0 is SNP itself, bit 5 debug register swapping. What a
/// guest gets depends on the hypervisor; QEMU gives 0x1 unless told otherwise, kernels that swap
/// debug registers by default 0x21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestFeatures(pub u64);

/// Who starts the guest: they differ in the registers at reset and in the pages they add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2: RDX is 0x600 at reset, the CPUID page comes after all other sections.
    Ec2,
    /// Amazon EC2 as the `sev` crate 8.0 knows it: RDX is 0 at reset.
    Ec2ZeroRdx,
    /// Google Compute Engine: the firmware's early memory is not measured.
    Gce,
}

impl Vmm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Qemu, Self::Ec2, Self::Ec2ZeroRdx, Self::Gce];

    /// The name that is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Ec2 => "ec2",
            Self::Ec2ZeroRdx => "ec2-zero-rdx",
            Self::Gce => "gce",
        }
    }

    fn adds_cpuid_last(self) -> bool {
        matches!(self, Self::Ec2 | Self::Ec2ZeroRdx)
    }
}

impl fmt::Display for Vmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Vmm {
    type Err = UnknownVmm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|vmm| vmm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownVmm(text.chars().take(80).collect()))
    }
}

/// A name that is no hypervisor's.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a known hypervisor: give `qemu`, `ec2`, `ec2-zero-rdx` or `gce`")]
pub struct UnknownVmm(String);

/// Why a launch measurement cannot be computed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnpError {
    /// Too few or too many virtual CPUs.
    #[error("`{vcpus}` virtual CPUs are not possible: give a number from 1 to 4096")]
    Vcpus {
        /// The number given.
        vcpus: u32,
    },
    /// The firmware's SEV metadata.
    #[error(transparent)]
    Metadata(#[from] SevMetadataError),
    /// The kernel's hashes do not fit into the firmware.
    #[error(transparent)]
    KernelHashes(#[from] KernelHashesError),
    /// A kernel, but no place for its hashes.
    #[error(
        "a kernel was given, but the firmware has no section SNP_KERNEL_HASHES, so it cannot check one: give an OVMF built from `OvmfPkg/AmdSev`, or no kernel"
    )]
    NoKernelHashes,
    /// More than one virtual CPU, but nowhere to start the others.
    #[error(
        "the firmware does not say where further virtual CPUs start (no SEV-ES reset block): give `1` virtual CPU, or a firmware for SEV-ES and SNP"
    )]
    NoApReset,
}

/// Where the boot CPU starts.
const BOOT_CPU_RESET: u32 = 0xffff_fff0;
/// The address that the firmware records for VMSA pages: all ones, as far as addresses go.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;

/// Types of pages, `PAGE_TYPE` of the ABI specification.
#[derive(Clone, Copy)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// The launch digest, as the secure processor keeps it.
struct LaunchChain(Sha384Digest);

impl LaunchChain {
    /// Adds one page. `PAGE_INFO` is: digest so far (48 bytes), contents' digest (48), its own
    /// length 0x70 (2), page type (1), whether it is for an IMI (1), permissions of VMPL 3, 2 and
    /// 1 (3), reserved (1), guest-physical address (8).
    fn add(&mut self, kind: PageType, address: u64, contents: Sha384Digest) {
        let mut hash = Sha384::new();
        hash.update(&self.0.0);
        hash.update(&contents.0);
        hash.update(&[0x70, 0, kind as u8, 0, 0, 0, 0, 0]);
        hash.update(&address.to_le_bytes());
        self.0 = hash.finish();
    }

    /// Adds all pages of a section that the firmware or nobody fills: their contents count as
    /// zero.
    fn add_filled(&mut self, kind: PageType, section: &Section) {
        for address in section.pages() {
            self.add(kind, address, Sha384Digest::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypervisors_are_known_by_their_names() {
        for vmm in Vmm::ALL {
            assert_eq!(vmm.name().parse(), Ok(vmm));
        }
        let error = "xen".parse::<Vmm>().unwrap_err();
        assert!(error.to_string().contains("`xen`"), "{error}");
    }
}
