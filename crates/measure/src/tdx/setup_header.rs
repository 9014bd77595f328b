//! The setup header of a Linux kernel, as QEMU fills it in before the firmware gets it.
//!
//! Fields and offsets: `Documentation/arch/x86/boot.rst` of Linux. What QEMU writes:
//! `x86_load_linux` in its `hw/i386/x86-common.c`.

use thiserror::Error;

/// What QEMU's PC machines keep for ACPI tables.
pub const DEFAULT_ACPI_DATA: u32 = 0x2_8000;

const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const HEAP_END_PTR: usize = 0x224;
const CMD_LINE_PTR: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOADFLAGS: usize = 0x236;

const LOADED_HIGH: u8 = 0x01;
const CAN_USE_HEAP: u8 = 0x80;
const CAN_BE_LOADED_ABOVE_4G: u16 = 0x02;
const QEMU_LOADER: u8 = 0xb0;
/// Where QEMU says it puts the setup code, and the command line.
const SETUP_ADDRESS: u32 = 0x1_0000;
const COMMAND_LINE_ADDRESS: u32 = 0x2_0000;
/// Where initrds of kernels without other wishes end.
const USUAL_INITRD_MAX: u32 = 0x37ff_ffff;
/// With less memory, a q35 machine has all of it below 4 GiB; with more, 2 GiB of it.
const LOW_MEMORY_LIMIT: u64 = 0xb000_0000;
const LOW_MEMORY_WHEN_SPLIT: u64 = 0x8000_0000;

/// Fills in the header in `head`, the beginning of a kernel.
pub(crate) fn fill(
    head: &mut [u8],
    initrd_size: u32,
    memory: u64,
    acpi_data: u32,
) -> Result<(), SetupHeaderError> {
    if head.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(b"HdrS") || head.len() < 0x1000 {
        return Err(SetupHeaderError::NotLinux);
    }
    let version = crate::bytes::u16_at(head, VERSION).unwrap_or_default();
    let loadflags = head.get(LOADFLAGS).copied().unwrap_or_default();
    if version < 0x206 || loadflags & LOADED_HIGH == 0 {
        return Err(SetupHeaderError::TooOld { version });
    }
    put(
        head,
        TYPE_OF_LOADER,
        &[QEMU_LOADER, loadflags | CAN_USE_HEAP],
    );
    let heap_end = COMMAND_LINE_ADDRESS - SETUP_ADDRESS - 0x200;
    put(head, HEAP_END_PTR, &heap_end.to_le_bytes());
    put(head, CMD_LINE_PTR, &COMMAND_LINE_ADDRESS.to_le_bytes());
    if initrd_size > 0 {
        let address = initrd_address(head, version, initrd_size, memory, acpi_data)?;
        put(head, RAMDISK_IMAGE, &address.to_le_bytes());
        put(head, RAMDISK_SIZE, &initrd_size.to_le_bytes());
    }
    Ok(())
}

/// As high as the kernel allows, below the ACPI tables.
fn initrd_address(
    head: &[u8],
    version: u16,
    size: u32,
    memory: u64,
    acpi_data: u32,
) -> Result<u32, SetupHeaderError> {
    let xloadflags = crate::bytes::u16_at(head, XLOADFLAGS).unwrap_or_default();
    let wish = if version >= 0x20c && xloadflags & CAN_BE_LOADED_ABOVE_4G != 0 {
        u32::MAX
    } else {
        match crate::bytes::u32_at(head, INITRD_ADDR_MAX) {
            Some(0) | None => USUAL_INITRD_MAX,
            Some(max) => max,
        }
    };
    let low_memory = if memory >= LOW_MEMORY_LIMIT {
        LOW_MEMORY_WHEN_SPLIT
    } else {
        memory
    };
    let does_not_fit = SetupHeaderError::Memory { memory, size };
    let Some(below_acpi) = low_memory
        .checked_sub(u64::from(acpi_data) + 1)
        .and_then(|limit| u32::try_from(limit).ok())
    else {
        return Err(does_not_fit);
    };
    match wish.min(below_acpi).checked_sub(size) {
        Some(address) if address > 0 => Ok(address & !0xfff),
        _ => Err(does_not_fit),
    }
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in head.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Why QEMU would not fill in a header.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SetupHeaderError {
    /// No Linux kernel.
    #[error("the kernel has no Linux setup header (`HdrS` at 0x202): give a bzImage")]
    NotLinux,
    /// A protocol from before bzImages could be loaded as today.
    #[error(
        "the kernel has the boot protocol `{version:#x}` or is a zImage: give a kernel of protocol 2.06 or later"
    )]
    TooOld {
        /// The protocol's version.
        version: u16,
    },
    /// The guest is too small.
    #[error(
        "an initrd of `{size}` bytes does not fit into a guest with `{memory}` bytes of memory: give the memory as in `-m`, in bytes"
    )]
    Memory {
        /// The guest's memory.
        memory: u64,
        /// The initrd's size.
        size: u32,
    },
}
