//! What OVMF tells a hypervisor about an SEV guest.
//!
//! Layouts: `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm` and `Ia16/ResetVectorVtf0.asm` in edk2.

use thiserror::Error;

use crate::PAGE;
use crate::bytes::{Cursor, u32_at};
use crate::firmware::{Firmware, FirmwareError, Guid};

/// The most sections; OVMF has seven.
const MAX_SECTIONS: u32 = 64;
/// The most memory that all sections may have together: 256 MiB. OVMF's have 128 KiB.
const MAX_MEMORY: u64 = 256 << 20;

const SEV_METADATA: Guid = Guid::new(
    0xdc88_6566,
    0x984a,
    0x4798,
    *b"\xa7\x5e\x55\x85\xa7\xbf\x67\xcc",
);
const SEV_HASHES: Guid = Guid::new(
    0x7255_371f,
    0x3a3b,
    0x4b04,
    *b"\x92\x7b\x1d\xa6\xef\xa8\xd4\x54",
);
const SEV_ES_RESET: Guid = Guid::new(
    0x00f7_71de,
    0x1a7e,
    0x4fcb,
    *b"\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e",
);

/// The SEV metadata of a firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SevMetadata {
    /// Memory that the hypervisor adds before the start, in its order.
    pub sections: Vec<Section>,
    /// Address and size of the table for the kernel's hashes, if the firmware reads one.
    pub hashes_table: Option<(u32, u32)>,
    /// Where all virtual CPUs but the first start (the SEV-ES reset block).
    pub ap_reset: Option<u32>,
}

/// A range of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Guest-physical address, page-aligned.
    pub address: u64,
    /// Size in bytes: whole pages, at least one.
    pub size: u64,
    /// What it is for.
    pub kind: SectionKind,
}

impl Section {
    /// The addresses of its pages.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        (self.address..self.address + self.size).step_by(PAGE)
    }
}

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `SNP_SEC_MEM`: memory that the firmware uses before it can validate any.
    SecMem,
    /// `SNP_SECRETS`: one page for the secrets of the secure processor.
    Secrets,
    /// `CPUID`: one page of CPUID values.
    Cpuid,
    /// `SVSM_CAA`: the calling area of an SVSM.
    SvsmCaa,
    /// `SNP_KERNEL_HASHES`: one page with the hashes of what is booted.
    KernelHashes,
}

impl SevMetadata {
    /// Reads the metadata of `firmware`.
    pub fn parse(firmware: &Firmware<'_>) -> Result<Self, SevMetadataError> {
        let descriptor = firmware
            .pointed_at(SEV_METADATA)?
            .ok_or(SevMetadataError::Missing)?;
        Ok(Self {
            sections: sections_of(descriptor)?,
            hashes_table: hashes_table(firmware)?,
            ap_reset: ap_reset(firmware)?,
        })
    }
}

fn sections_of(descriptor: &[u8]) -> Result<Vec<Section>, SevMetadataError> {
    let mut cursor = Cursor::new(descriptor);
    let header = (
        cursor.array::<4>(),
        cursor.u32(),
        cursor.u32(),
        cursor.u32(),
    );
    let (Some(signature), Some(length), Some(version), Some(count)) = header else {
        return Err(SevMetadataError::Truncated);
    };
    if signature != *b"ASEV" {
        return Err(SevMetadataError::Signature {
            found: hex::encode(signature),
        });
    }
    if version != 1 {
        return Err(SevMetadataError::Version { version });
    }
    if !(1..=MAX_SECTIONS).contains(&count) || length < 16 + 12 * count {
        return Err(SevMetadataError::Count { count, length });
    }
    let mut sections = Vec::new();
    let mut memory = 0;
    for index in 0..count {
        let fields = (cursor.u32(), cursor.u32(), cursor.u32());
        let (Some(address), Some(size), Some(kind)) = fields else {
            return Err(SevMetadataError::Truncated);
        };
        let section = Section {
            address: address.into(),
            size: size.into(),
            kind: section_kind(kind).ok_or(SevMetadataError::Kind { index, kind })?,
        };
        let page = PAGE as u64;
        let one_page = matches!(
            section.kind,
            SectionKind::Secrets | SectionKind::Cpuid | SectionKind::KernelHashes
        );
        if !section.address.is_multiple_of(page)
            || !section.size.is_multiple_of(page)
            || section.size == 0
            || (one_page && section.size != page)
        {
            return Err(SevMetadataError::Range {
                index,
                address,
                size,
            });
        }
        memory += section.size;
        if memory > MAX_MEMORY {
            return Err(SevMetadataError::Memory);
        }
        sections.push(section);
    }
    Ok(sections)
}

fn section_kind(kind: u32) -> Option<SectionKind> {
    Some(match kind {
        1 => SectionKind::SecMem,
        2 => SectionKind::Secrets,
        3 => SectionKind::Cpuid,
        4 => SectionKind::SvsmCaa,
        0x10 => SectionKind::KernelHashes,
        _ => return None,
    })
}

/// Firmware without support for hashes has the entry too, with zeros in it.
fn hashes_table(firmware: &Firmware<'_>) -> Result<Option<(u32, u32)>, FirmwareError> {
    let Some(data) = firmware.entry(SEV_HASHES) else {
        return Ok(None);
    };
    match (u32_at(data, 0), u32_at(data, 4)) {
        (Some(0), _) => Ok(None),
        (Some(address), Some(size)) => Ok(Some((address, size))),
        _ => Err(FirmwareError::EntryData {
            guid: SEV_HASHES,
            size: data.len(),
        }),
    }
}

fn ap_reset(firmware: &Firmware<'_>) -> Result<Option<u32>, FirmwareError> {
    let Some(data) = firmware.entry(SEV_ES_RESET) else {
        return Ok(None);
    };
    match u32_at(data, 0) {
        Some(address) => Ok(Some(address)),
        None => Err(FirmwareError::EntryData {
            guid: SEV_ES_RESET,
            size: data.len(),
        }),
    }
}

/// Why a firmware's SEV metadata cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SevMetadataError {
    /// The table in the firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// No SEV metadata.
    #[error(
        "the firmware has no SEV metadata, so no SNP guest can be started with it: give an OVMF built for SEV-SNP (edk2 of 2022 or later)"
    )]
    Missing,
    /// It ends too early.
    #[error("the SEV metadata ends before its last section: the firmware is damaged, get it again")]
    Truncated,
    /// Wrong signature.
    #[error(
        "the SEV metadata begins with `{found}` instead of `41534556` (ASEV): the firmware is damaged, get it again"
    )]
    Signature {
        /// In hex.
        found: String,
    },
    /// Unknown version.
    #[error("the SEV metadata has version `{version}`, known is 1: use a newer `mse`")]
    Version {
        /// The version it gives.
        version: u32,
    },
    /// An impossible number of sections.
    #[error(
        "the SEV metadata gives `{count}` sections in `{length}` bytes: the firmware is damaged, get it again"
    )]
    Count {
        /// The number it gives.
        count: u32,
        /// The length it gives.
        length: u32,
    },
    /// Unknown type of section.
    #[error("section {index} of the SEV metadata has the unknown type `{kind}`: use a newer `mse`")]
    Kind {
        /// Which section, from 0.
        index: u32,
        /// The type it gives.
        kind: u32,
    },
    /// A section that is not made of pages, or has the wrong number of them.
    #[error(
        "section {index} of the SEV metadata is at `{address:#x}` with the size `{size:#x}`, which are not the whole pages it must have: the firmware is damaged, get it again"
    )]
    Range {
        /// Which section, from 0.
        index: u32,
        /// Its address.
        address: u32,
        /// Its size.
        size: u32,
    },
    /// More memory than any firmware needs.
    #[error(
        "the sections of the SEV metadata have more than 256 MiB: the firmware is damaged, get it again"
    )]
    Memory,
}
