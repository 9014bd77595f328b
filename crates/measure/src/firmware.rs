//! Firmware images, and the table at their end.
//!
//! OVMF and TDVF images are mapped so that they end at 4 GiB. 32 bytes before that end lies a
//! table of entries, each *data, size (2 bytes, little-endian, of the whole entry), GUID*: it is
//! read backwards. The last entry, the footer, gives the size of the whole table. edk2 writes it
//! in `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`, QEMU reads it in `hw/i386/pc_sysfw_ovmf.c`.

use std::fmt;

use thiserror::Error;

use crate::PAGE;
use crate::bytes::{array, u16_at, u32_at};

/// The largest firmware image: 64 MiB.
pub const MAX_FIRMWARE: usize = 64 << 20;
/// The most entries that a table may have; OVMF's has six.
pub const MAX_TABLE_ENTRIES: usize = 64;

const FOUR_GIB: u64 = 1 << 32;
/// Between the table and the end: the reset vector.
const AFTER_TABLE: usize = 32;
/// Size and GUID of an entry.
const ENTRY_HEADER: usize = 18;
const FOOTER: Guid = Guid::new(
    0x96b5_82de,
    0x1fb2,
    0x45f7,
    *b"\xba\xea\xa3\x66\xc5\x5a\x08\x2d",
);

/// A firmware image with its table.
#[derive(Clone, Debug)]
pub struct Firmware<'a> {
    image: &'a [u8],
    entries: Vec<(Guid, &'a [u8])>,
}

impl<'a> Firmware<'a> {
    /// Reads the table of `image`, the whole firmware file.
    pub fn parse(image: &'a [u8]) -> Result<Self, FirmwareError> {
        let size = image.len();
        if size > MAX_FIRMWARE {
            return Err(FirmwareError::TooLarge { size });
        }
        if size == 0 || !size.is_multiple_of(PAGE) {
            return Err(FirmwareError::Unaligned { size });
        }
        let table_end = size - AFTER_TABLE;
        let footer = table_end - ENTRY_HEADER;
        if guid_at(image, footer + 2) != Some(FOOTER) {
            return Err(FirmwareError::NoTable);
        }
        let table_size = usize::from(u16_at(image, footer).unwrap_or_default());
        let table = table_end
            .checked_sub(table_size)
            .and_then(|start| image.get(start..footer))
            .ok_or(FirmwareError::TableSize { size: table_size })?;
        Ok(Self {
            image,
            entries: entries_of(table)?,
        })
    }

    /// The whole image.
    pub fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Where the image begins in the guest's memory.
    pub fn address(&self) -> u64 {
        FOUR_GIB - self.image.len() as u64
    }

    /// The data of the entry `guid`, if the table has it.
    pub fn entry(&self, guid: Guid) -> Option<&'a [u8]> {
        self.entries
            .iter()
            .find(|(name, _)| *name == guid)
            .map(|(_, data)| *data)
    }

    /// All entries, from the end of the image.
    pub fn entries(&self) -> impl Iterator<Item = (Guid, &'a [u8])> {
        self.entries.iter().copied()
    }

    /// What is at the offset from the end of the image that the entry `guid` gives.
    pub(crate) fn pointed_at(&self, guid: Guid) -> Result<Option<&'a [u8]>, FirmwareError> {
        let Some(data) = self.entry(guid) else {
            return Ok(None);
        };
        let offset = u32_at(data, 0).ok_or(FirmwareError::EntryData {
            guid,
            size: data.len(),
        })?;
        usize::try_from(offset)
            .ok()
            .and_then(|offset| self.image.len().checked_sub(offset))
            .and_then(|at| self.image.get(at..))
            .map(Some)
            .ok_or(FirmwareError::Offset { guid, offset })
    }
}

fn entries_of(mut table: &[u8]) -> Result<Vec<(Guid, &[u8])>, FirmwareError> {
    let mut entries: Vec<(Guid, &[u8])> = Vec::new();
    while !table.is_empty() {
        let left = table.len();
        let header = left
            .checked_sub(ENTRY_HEADER)
            .ok_or(FirmwareError::EntrySize { size: left, left })?;
        let size = usize::from(u16_at(table, header).unwrap_or_default());
        let guid = guid_at(table, header + 2).ok_or(FirmwareError::NoTable)?;
        let start = left
            .checked_sub(size)
            .filter(|_| size >= ENTRY_HEADER)
            .ok_or(FirmwareError::EntrySize { size, left })?;
        if entries.iter().any(|(other, _)| *other == guid) {
            return Err(FirmwareError::Duplicate { guid });
        }
        if entries.len() == MAX_TABLE_ENTRIES {
            return Err(FirmwareError::TooManyEntries);
        }
        let (rest, entry) = table.split_at(start);
        entries.push((guid, entry.get(..size - ENTRY_HEADER).unwrap_or_default()));
        table = rest;
    }
    Ok(entries)
}

fn guid_at(bytes: &[u8], at: usize) -> Option<Guid> {
    array(bytes, at).map(Guid)
}

/// A GUID in the form UEFI stores it: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID with these fields, as they are written in text.
    pub const fn new(first: u32, second: u16, third: u16, last: [u8; 8]) -> Self {
        let a = first.to_le_bytes();
        let b = second.to_le_bytes();
        let c = third.to_le_bytes();
        let d = last;
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f1, g, h, i, j, rest @ ..] = self.0;
        let first = u32::from_le_bytes([a, b, c, d]);
        let second = u16::from_le_bytes([e, f1]);
        let third = u16::from_le_bytes([g, h]);
        write!(
            f,
            "{first:08x}-{second:04x}-{third:04x}-{i:02x}{j:02x}-{}",
            hex::encode(rest)
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

/// Why an image is not one that can be measured.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FirmwareError {
    /// Larger than any firmware.
    #[error("the firmware has `{size}` bytes, more than 64 MiB: give an OVMF or TDVF image")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Not whole pages.
    #[error(
        "the firmware has `{size}` bytes, which are not whole pages of 4096: give the unchanged image"
    )]
    Unaligned {
        /// Its size in bytes.
        size: usize,
    },
    /// No table.
    #[error(
        "the firmware has no table of GUIDs before its end: give an OVMF or TDVF image for confidential guests (`OVMF.fd` or the code part, not the variables)"
    )]
    NoTable,
    /// The footer's size is not possible.
    #[error(
        "the footer of the firmware's table gives the size `{size}`, which does not fit the image: the image is damaged, get it again"
    )]
    TableSize {
        /// The size it gives.
        size: usize,
    },
    /// An entry's size is not possible.
    #[error(
        "an entry of the firmware's table has the size `{size}` where `{left}` bytes are left: the image is damaged, get it again"
    )]
    EntrySize {
        /// The size it gives.
        size: usize,
        /// What the table still has.
        left: usize,
    },
    /// More entries than [`MAX_TABLE_ENTRIES`].
    #[error("the firmware's table has more than 64 entries: the image is damaged, get it again")]
    TooManyEntries,
    /// The same GUID twice: which one counts is not defined.
    #[error(
        "the firmware's table has the entry `{guid}` twice: the image is damaged, get it again"
    )]
    Duplicate {
        /// Which.
        guid: Guid,
    },
    /// An entry is too short for what it should hold.
    #[error(
        "the entry `{guid}` of the firmware's table has only `{size}` bytes: the image is damaged, get it again"
    )]
    EntryData {
        /// Which.
        guid: Guid,
        /// Its size in bytes.
        size: usize,
    },
    /// An entry points outside the image.
    #[error(
        "the entry `{guid}` of the firmware's table points `{offset}` bytes before the end, outside the image: the image is damaged, get it again"
    )]
    Offset {
        /// Which.
        guid: Guid,
        /// Where to, from the end.
        offset: u32,
    },
}

#[cfg(test)]
mod tests;
