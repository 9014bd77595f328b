//! RTMR1 and RTMR2 of a guest whose kernel the hypervisor was told to boot.
//!
//! TDVF loads the kernel as a UEFI program, which it measures into RTMR1 with the actions around
//! it; the kernel's EFI stub then measures its command line and initrd into RTMR2 (Linux 6.2 and
//! later for the command line, `drivers/firmware/efi/libstub`). A boot through shim and GRUB
//! measures what those two find on the disk instead: replay its event log, and compare single
//! digests with [`authenticode`](crate::authenticode).

use std::io::{Read, Seek};

use thiserror::Error;

use super::event_digest::{
    CALLING_BOOT_OPTION, EXIT_BOOT_SERVICES, EXITED_BOOT_SERVICES, action, load_options, separator,
};
use super::rtmr::Rtmr;
use super::setup_header::{self, SetupHeaderError};
use crate::authenticode::{self, AuthenticodeError};
use crate::digest::{InputError, sha384_of_reader};
use crate::{MAX_BOOT_FILE, Sha384Digest};

/// The longest command line, in bytes.
const MAX_COMMAND_LINE: usize = 64 * 1024;
/// What TDVF adds for the EFI stub to find the initrd.
const INITRD_OPTION: &str = " initrd=initrd";

/// The digests of what is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectBoot {
    /// Authenticode digest of the kernel, as the firmware gets it.
    pub kernel: Sha384Digest,
    /// Digest of the load options; none if there is neither a command line nor an initrd.
    pub load_options: Option<Sha384Digest>,
    /// Digest of the initrd.
    pub initrd: Option<Sha384Digest>,
}

/// What the firmware gets of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelForm {
    /// The file. So it is with firmware from edk2-stable202505 on.
    AsIs,
    /// The file with a setup header that QEMU has filled in: with earlier firmware.
    FilledByQemu {
        /// The guest's memory in bytes (`-m`).
        memory: u64,
        /// What QEMU keeps for ACPI tables below 4 GiB:
        /// [`DEFAULT_ACPI_DATA`](super::DEFAULT_ACPI_DATA) unless its machine type says otherwise.
        acpi_data: u32,
    },
}

impl DirectBoot {
    /// Hashes what a guest boots with `-kernel`, `-initrd` and `-append`.
    pub fn of<I: Read>(
        mut kernel: impl Read + Seek,
        initrd: Option<I>,
        command_line: &str,
        form: KernelForm,
    ) -> Result<Self, DirectBootError> {
        if !command_line.is_ascii()
            || command_line.contains('\0')
            || command_line.len() > MAX_COMMAND_LINE
        {
            return Err(DirectBootError::CommandLine {
                length: command_line.len(),
            });
        }
        let mut initrd_size = 0;
        let initrd = match initrd {
            Some(initrd) => {
                let mut counting = Counting {
                    inner: initrd,
                    count: &mut initrd_size,
                };
                Some(sha384_of_reader(&mut counting, "initrd")?)
            }
            None => None,
        };
        // An empty file is as good as none for hypervisor, firmware and kernel.
        let initrd = initrd.filter(|_| initrd_size > 0);
        let options = match initrd {
            Some(_) => format!("{command_line}{INITRD_OPTION}"),
            None => command_line.to_owned(),
        };
        let mut head = authenticode::head_of(&mut kernel)?;
        if let KernelForm::FilledByQemu { memory, acpi_data } = form {
            let initrd_size = u32::try_from(initrd_size).map_err(|_| InputError::TooLarge {
                what: "initrd",
                limit: MAX_BOOT_FILE,
            })?;
            setup_header::fill(&mut head, initrd_size, memory, acpi_data)?;
        }
        Ok(Self {
            kernel: authenticode::sha384_with_head(&mut kernel, &head)?,
            load_options: (!options.is_empty()).then(|| load_options(&options)),
            initrd,
        })
    }

    /// RTMR1 after the kernel has left the boot services.
    pub fn rtmr1(&self) -> Rtmr {
        Rtmr::replay(&[
            self.kernel,
            action(CALLING_BOOT_OPTION),
            separator(),
            action(EXIT_BOOT_SERVICES),
            action(EXITED_BOOT_SERVICES),
        ])
    }

    /// RTMR2 as the EFI stub leaves it; the running system may extend it further.
    pub fn rtmr2(&self) -> Rtmr {
        Rtmr::replay(self.load_options.iter().chain(&self.initrd))
    }
}

/// Counts what is read through it.
struct Counting<'a, R> {
    inner: R,
    count: &'a mut u64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        *self.count = self.count.saturating_add(length as u64);
        Ok(length)
    }
}

/// Why a direct boot cannot be measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectBootError {
    /// A file cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The kernel is no UEFI program.
    #[error(transparent)]
    Kernel(#[from] AuthenticodeError),
    /// The kernel has no setup header that QEMU would fill in.
    #[error(transparent)]
    SetupHeader(#[from] SetupHeaderError),
    /// A command line whose measurement is not defined.
    #[error(
        "the command line of `{length}` bytes is not ASCII, has a NUL byte or is longer than 64 KiB: give it as it was given to the hypervisor"
    )]
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
}
