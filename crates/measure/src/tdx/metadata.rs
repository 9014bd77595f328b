//! The metadata of a TDVF image: *Intel TDX Virtual Firmware Design Guide*, section 11.

use std::fmt;

use thiserror::Error;

use crate::PAGE;
use crate::bytes::Cursor;
use crate::firmware::{Firmware, FirmwareError, Guid};

/// The most sections; OVMF has eight, td-shim about ten.
const MAX_SECTIONS: u32 = 64;
/// The most memory that is added before the start: 1 GiB.
const MAX_ADDED: u64 = 1 << 30;
/// The most memory whose contents are measured: 128 MiB.
const MAX_EXTENDED: u64 = 128 << 20;
/// Guest-physical addresses have at most 52 bits.
const MAX_ADDRESS: u64 = 1 << 52;

const TDX_METADATA: Guid = Guid::new(
    0xe47a_6535,
    0x984a,
    0x4798,
    *b"\x86\x5e\x46\x85\xa7\xbf\x8e\xc2",
);

/// A section of guest memory that the hypervisor sets up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdvfSection<'a> {
    /// What it is for.
    pub kind: TdvfSectionKind,
    /// Guest-physical address, page-aligned.
    pub address: u64,
    /// Its size in memory: whole pages.
    pub size: u64,
    /// What it begins with; the rest is zero.
    pub contents: &'a [u8],
    /// Whether the contents are measured (`MR.EXTEND`), not only the address.
    pub extended: bool,
    /// Whether the guest accepts the memory itself later (`PAGE.AUG`): it is not measured then.
    pub added_later: bool,
}

impl TdvfSection<'_> {
    /// Whether anything of it is measured. A section of which nothing is may be of any size.
    pub(crate) fn is_measured(&self) -> bool {
        self.extended || !self.added_later
    }

    /// The offsets of its pages.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.size).step_by(PAGE)
    }
}

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TdvfSectionKind {
    /// Boot firmware volume: the code.
    Bfv,
    /// Configuration firmware volume: the variables.
    Cfv,
    /// Where the hypervisor puts the TD HOB.
    TdHob,
    /// Memory for the start.
    TempMem,
    /// Memory that stays.
    PermMem,
    /// A kernel (td-shim).
    Payload,
    /// Its command line (td-shim).
    PayloadParam,
    /// A description of the image (td-shim).
    TdInfo,
    /// Parameters of the TD (td-shim).
    TdParams,
}

impl fmt::Display for TdvfSectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bfv => "BFV",
            Self::Cfv => "CFV",
            Self::TdHob => "TD_HOB",
            Self::TempMem => "TempMem",
            Self::PermMem => "PermMem",
            Self::Payload => "Payload",
            Self::PayloadParam => "PayloadParam",
            Self::TdInfo => "TD_INFO",
            Self::TdParams => "TD_PARAMS",
        })
    }
}

pub(crate) fn sections_of<'a>(firmware: &Firmware<'a>) -> Result<Vec<TdvfSection<'a>>, TdvfError> {
    let descriptor = firmware
        .pointed_at(TDX_METADATA)?
        .ok_or(TdvfError::Missing)?;
    let mut cursor = Cursor::new(descriptor);
    let header = (
        cursor.array::<4>(),
        cursor.u32(),
        cursor.u32(),
        cursor.u32(),
    );
    let (Some(signature), Some(length), Some(version), Some(count)) = header else {
        return Err(TdvfError::Truncated);
    };
    if signature != *b"TDVF" {
        return Err(TdvfError::Signature {
            found: hex::encode(signature),
        });
    }
    if version != 1 {
        return Err(TdvfError::Version { version });
    }
    if !(1..=MAX_SECTIONS).contains(&count) || length != 16 + 32 * count {
        return Err(TdvfError::Count { count, length });
    }
    let mut sections = Vec::new();
    let (mut added, mut extended) = (0, 0);
    for index in 0..count {
        let section = section_of(&mut cursor, index, firmware.image())?;
        if !section.added_later {
            added += section.size;
        }
        if section.extended {
            extended += section.size;
        }
        if added > MAX_ADDED || extended > MAX_EXTENDED {
            return Err(TdvfError::Memory { index });
        }
        sections.push(section);
    }
    Ok(sections)
}

fn section_of<'a>(
    cursor: &mut Cursor<'_>,
    index: u32,
    image: &'a [u8],
) -> Result<TdvfSection<'a>, TdvfError> {
    let place = (cursor.u32(), cursor.u32(), cursor.u64(), cursor.u64());
    let (Some(offset), Some(raw), Some(address), Some(size)) = place else {
        return Err(TdvfError::Truncated);
    };
    let (Some(kind), Some(attributes)) = (cursor.u32(), cursor.u32()) else {
        return Err(TdvfError::Truncated);
    };
    let kind = section_kind(kind).ok_or(TdvfError::Kind { index, kind })?;
    if attributes & !0b11 != 0 {
        return Err(TdvfError::Attributes { index, attributes });
    }
    let page = PAGE as u64;
    if !address.is_multiple_of(page)
        || !size.is_multiple_of(page)
        || address
            .checked_add(size)
            .is_none_or(|end| end > MAX_ADDRESS)
    {
        return Err(TdvfError::Range {
            index,
            address,
            size,
        });
    }
    // A section that only describes the image has a place in it, but none in memory.
    let in_memory = kind != TdvfSectionKind::TdInfo || size > 0;
    if in_memory && u64::from(raw) > size {
        return Err(TdvfError::Raw { index, raw, size });
    }
    let contents = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(raw).ok())
        .and_then(|(offset, raw)| image.get(offset..)?.get(..raw))
        .ok_or(TdvfError::Contents { index, offset, raw })?;
    Ok(TdvfSection {
        kind,
        address,
        size,
        contents,
        extended: attributes & 1 != 0,
        added_later: attributes & 2 != 0,
    })
}

fn section_kind(kind: u32) -> Option<TdvfSectionKind> {
    use TdvfSectionKind as Kind;
    let kinds = [
        Kind::Bfv,
        Kind::Cfv,
        Kind::TdHob,
        Kind::TempMem,
        Kind::PermMem,
        Kind::Payload,
        Kind::PayloadParam,
        Kind::TdInfo,
        Kind::TdParams,
    ];
    kinds.get(usize::try_from(kind).ok()?).copied()
}

/// Why a TDVF image cannot be measured.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TdvfError {
    /// The table in the firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// No TDX metadata.
    #[error(
        "the firmware has no TDX metadata, so no TD can be started with it: give an OVMF built from `OvmfPkg/IntelTdx` or with TDX support, or a td-shim"
    )]
    Missing,
    /// It ends too early.
    #[error("the TDX metadata ends before its last section: the firmware is damaged, get it again")]
    Truncated,
    /// Wrong signature.
    #[error(
        "the TDX metadata begins with `{found}` instead of `54445646` (TDVF): the firmware is damaged, get it again"
    )]
    Signature {
        /// In hex.
        found: String,
    },
    /// Unknown version.
    #[error("the TDX metadata has version `{version}`, known is 1: use a newer `mse`")]
    Version {
        /// The version it gives.
        version: u32,
    },
    /// An impossible number of sections.
    #[error(
        "the TDX metadata gives `{count}` sections in `{length}` bytes: the firmware is damaged, get it again"
    )]
    Count {
        /// The number it gives.
        count: u32,
        /// The length it gives.
        length: u32,
    },
    /// Unknown type of section.
    #[error("section {index} of the TDX metadata has the unknown type `{kind}`: use a newer `mse`")]
    Kind {
        /// Which section, from 0.
        index: u32,
        /// The type it gives.
        kind: u32,
    },
    /// Unknown attributes.
    #[error(
        "section {index} of the TDX metadata has the unknown attributes `{attributes:#x}`: use a newer `mse`"
    )]
    Attributes {
        /// Which section, from 0.
        index: u32,
        /// The attributes it gives.
        attributes: u32,
    },
    /// Not whole pages, or not in the guest's address space.
    #[error(
        "section {index} of the TDX metadata is at `{address:#x}` with the size `{size:#x}`, which are not whole pages of a guest's memory: the firmware is damaged, get it again"
    )]
    Range {
        /// Which section, from 0.
        index: u32,
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
    },
    /// More contents than memory.
    #[error(
        "section {index} of the TDX metadata puts `{raw}` bytes into `{size}` bytes of memory: the firmware is damaged, get it again"
    )]
    Raw {
        /// Which section, from 0.
        index: u32,
        /// Size of the contents.
        raw: u32,
        /// Size in memory.
        size: u64,
    },
    /// Contents outside the image.
    #[error(
        "section {index} of the TDX metadata has `{raw}` bytes at the offset `{offset:#x}`, outside the image: give the whole image, code and variables together (`OVMF.fd`)"
    )]
    Contents {
        /// Which section, from 0.
        index: u32,
        /// Where in the image.
        offset: u32,
        /// How much.
        raw: u32,
    },
    /// More memory than any firmware needs.
    #[error(
        "with section {index} the TDX metadata adds more than 1 GiB of memory, or measures more than 128 MiB: the firmware is damaged, get it again"
    )]
    Memory {
        /// Which section, from 0.
        index: u32,
    },
}
