//! The page with the hashes of kernel, initrd and command line.
//!
//! QEMU (`target/i386/sev.c`) hashes what it was told to boot and puts the hashes, with GUIDs that
//! say which is which, at the address that the firmware names; the firmware then boots nothing
//! else. The kernel is hashed as it is in its file.

use std::io::Read;

use thiserror::Error;

use super::metadata::Section;
use crate::PAGE;
use crate::digest::{InputError, sha256, sha256_of_reader};
use crate::firmware::Guid;

/// The longest command line, in bytes.
const MAX_COMMAND_LINE: usize = 64 * 1024;

const TABLE: Guid = Guid::new(
    0x9438_d606,
    0x4f22,
    0x4cc9,
    *b"\xb4\x79\xa7\x93\xd4\x11\xfd\x21",
);
const COMMAND_LINE: Guid = Guid::new(
    0x97d0_2dd8,
    0xbd20,
    0x4c94,
    *b"\xaa\x78\xe7\x71\x4d\x36\xab\x2a",
);
const INITRD: Guid = Guid::new(
    0x44ba_f731,
    0x3a2f,
    0x4bd7,
    *b"\x9a\xf1\x41\xe2\x91\x69\x78\x1d",
);
const KERNEL: Guid = Guid::new(
    0x4de7_9437,
    0xabd2,
    0x427f,
    *b"\xb8\x35\xd5\xb1\x72\xd2\x04\x5b",
);

/// GUID, length, hash.
const ENTRY: usize = 16 + 2 + 32;
/// GUID, length, three entries.
const UNPADDED: usize = 16 + 2 + 3 * ENTRY;
/// The hypervisor copies whole multiples of 16 bytes.
const PADDED: usize = UNPADDED.next_multiple_of(16);

/// SHA-256 hashes of what a guest boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelHashes {
    /// Of the kernel file.
    pub kernel: [u8; 32],
    /// Of the initrd; without one, of nothing.
    pub initrd: [u8; 32],
    /// Of the command line and the NUL byte after it.
    pub command_line: [u8; 32],
}

impl KernelHashes {
    /// Hashes what a guest boots with `-kernel`, `-initrd` and `-append`.
    pub fn of(
        kernel: impl Read,
        initrd: Option<impl Read>,
        command_line: &str,
    ) -> Result<Self, KernelHashesError> {
        if command_line.contains('\0') || command_line.len() > MAX_COMMAND_LINE {
            return Err(KernelHashesError::CommandLine {
                length: command_line.len(),
            });
        }
        let mut terminated = command_line.as_bytes().to_vec();
        terminated.push(0);
        Ok(Self {
            kernel: sha256_of_reader(kernel, "kernel")?,
            initrd: match initrd {
                Some(initrd) => sha256_of_reader(initrd, "initrd")?,
                None => sha256(&[]),
            },
            command_line: sha256(&terminated),
        })
    }

    /// The page for `section`, with the table where the firmware looks for it.
    pub(crate) fn page(
        &self,
        section: &Section,
        table: Option<(u32, u32)>,
    ) -> Result<[u8; PAGE], KernelHashesError> {
        let (address, size) = table.ok_or(KernelHashesError::NoTable)?;
        let misplaced = KernelHashesError::Misplaced { address, size };
        let Some(offset) = u64::from(address)
            .checked_sub(section.address)
            .and_then(|offset| usize::try_from(offset).ok())
            .filter(|_| usize::try_from(size).is_ok_and(|size| size >= PADDED))
        else {
            return Err(misplaced);
        };
        let mut page = [0; PAGE];
        match offset
            .checked_add(PADDED)
            .and_then(|end| page.get_mut(offset..end))
        {
            Some(place) => place.copy_from_slice(&self.table()),
            None => return Err(misplaced),
        }
        Ok(page)
    }

    fn table(&self) -> [u8; PADDED] {
        let header = |guid: Guid, length: usize| {
            let [low, high, ..] = length.to_le_bytes();
            guid.0.into_iter().chain([low, high])
        };
        let table = header(TABLE, UNPADDED)
            .chain(header(COMMAND_LINE, ENTRY))
            .chain(self.command_line)
            .chain(header(INITRD, ENTRY))
            .chain(self.initrd)
            .chain(header(KERNEL, ENTRY))
            .chain(self.kernel);
        let mut padded = [0; PADDED];
        for (to, from) in padded.iter_mut().zip(table) {
            *to = from;
        }
        padded
    }
}

/// Why hashes cannot be computed or placed.
#[derive(Debug, Error)]
pub enum KernelHashesError {
    /// A file cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A command line that no hypervisor takes.
    #[error(
        "the command line of `{length}` bytes has a NUL byte or more than 64 KiB: give it as it was given to the hypervisor"
    )]
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
    /// A section for hashes, but no table.
    #[error(
        "the firmware has a section SNP_KERNEL_HASHES but names no table for hashes: the firmware is damaged, get it again or give no kernel"
    )]
    NoTable,
    /// The table is not in its section.
    #[error(
        "the firmware wants the table of hashes at `{address:#x}` with the size `{size:#x}`, which does not fit its section SNP_KERNEL_HASHES: the firmware is damaged, get it again"
    )]
    Misplaced {
        /// Where.
        address: u32,
        /// The size it reserves.
        size: u32,
    },
}
