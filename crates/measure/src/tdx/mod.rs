//! What the TDX module measures of a guest.
//!
//! - **MRTD** ([`mrtd`](Tdvf::mrtd)): the memory that the hypervisor adds before the start, named
//!   by the TDVF image's metadata.
//! - **RTMR1, RTMR2** ([`DirectBoot`]): kernel, command line and initrd, when the hypervisor boots
//!   them directly (`-kernel`).
//! - Other boot paths, and RTMR0 and RTMR3: replay an [event log](crate::event_log), or digests
//!   with [`Rtmr::replay`].
//!
//! RTMR0 cannot be computed from files alone: the firmware measures the TD HOB (the memory map)
//! and the ACPI tables, which the hypervisor makes up from its version and every device.
//! [`event_digest`] computes those of its events that are known beforehand.

mod direct_boot;
pub mod event_digest;
mod metadata;
mod mrtd;
mod rtmr;
mod setup_header;

pub use direct_boot::{DirectBoot, DirectBootError, KernelForm};
pub use metadata::{TdvfError, TdvfSection, TdvfSectionKind};
pub use mrtd::{PageOrder, Tdvf, UnknownOrder};
pub use rtmr::Rtmr;
pub use setup_header::{DEFAULT_ACPI_DATA, SetupHeaderError};
