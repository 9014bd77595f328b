//! Kinds of events, and their names.

use std::fmt;

use serde::{Serialize, Serializer};

/// The kind of an event: `TCG_EVENTTYPE` of the *PC Client Platform Firmware Profile*, table 27.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKind(pub u32);

impl EventKind {
    /// Informative: not extended.
    pub const NO_ACTION: Self = Self(0x3);
    /// Between the firmware's events and those of what it boots.
    pub const SEPARATOR: Self = Self(0x4);
    /// Something was done; the data is the text that was measured.
    pub const ACTION: Self = Self(0x5);
    /// Tagged data of an operating system: Linux' command line and initrd.
    pub const EVENT_TAG: Self = Self(0x6);
    /// The firmware's version.
    pub const S_CRTM_VERSION: Self = Self(0x8);
    /// Configuration: with OVMF, ACPI tables and other files of the hypervisor.
    pub const PLATFORM_CONFIG_FLAGS: Self = Self(0xa);
    /// What boot loaders do and load.
    pub const IPL: Self = Self(0xd);
    /// A variable that configures the firmware, such as those of Secure Boot.
    pub const EFI_VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// A boot variable; only its contents are measured.
    pub const EFI_VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// A program that was loaded.
    pub const EFI_BOOT_SERVICES_APPLICATION: Self = Self(0x8000_0003);
    /// A driver that was loaded.
    pub const EFI_BOOT_SERVICES_DRIVER: Self = Self(0x8000_0004);
    /// A partition table.
    pub const EFI_GPT_EVENT: Self = Self(0x8000_0006);
    /// Something was done; the data is the text that was measured.
    pub const EFI_ACTION: Self = Self(0x8000_0007);
    /// A part of the firmware.
    pub const EFI_PLATFORM_FIRMWARE_BLOB: Self = Self(0x8000_0008);
    /// Tables that are handed over.
    pub const EFI_HANDOFF_TABLES: Self = Self(0x8000_0009);
    /// A part of the firmware, with a name.
    pub const EFI_PLATFORM_FIRMWARE_BLOB2: Self = Self(0x8000_000a);
    /// Tables that are handed over, with a name: the TD HOB.
    pub const EFI_HANDOFF_TABLES2: Self = Self(0x8000_000b);
    /// A boot variable, measured with its name.
    pub const EFI_VARIABLE_BOOT2: Self = Self(0x8000_000c);
    /// The key that allowed a program to start.
    pub const EFI_VARIABLE_AUTHORITY: Self = Self(0x8000_00e0);

    /// Its name in the specification.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_ACTION => "EV_NO_ACTION",
            Self::SEPARATOR => "EV_SEPARATOR",
            Self::ACTION => "EV_ACTION",
            Self::EVENT_TAG => "EV_EVENT_TAG",
            Self::S_CRTM_VERSION => "EV_S_CRTM_VERSION",
            Self::PLATFORM_CONFIG_FLAGS => "EV_PLATFORM_CONFIG_FLAGS",
            Self::IPL => "EV_IPL",
            Self::EFI_VARIABLE_DRIVER_CONFIG => "EV_EFI_VARIABLE_DRIVER_CONFIG",
            Self::EFI_VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
            Self::EFI_BOOT_SERVICES_APPLICATION => "EV_EFI_BOOT_SERVICES_APPLICATION",
            Self::EFI_BOOT_SERVICES_DRIVER => "EV_EFI_BOOT_SERVICES_DRIVER",
            Self::EFI_GPT_EVENT => "EV_EFI_GPT_EVENT",
            Self::EFI_ACTION => "EV_EFI_ACTION",
            Self::EFI_PLATFORM_FIRMWARE_BLOB => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
            Self::EFI_HANDOFF_TABLES => "EV_EFI_HANDOFF_TABLES",
            Self::EFI_PLATFORM_FIRMWARE_BLOB2 => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            Self::EFI_HANDOFF_TABLES2 => "EV_EFI_HANDOFF_TABLES2",
            Self::EFI_VARIABLE_BOOT2 => "EV_EFI_VARIABLE_BOOT2",
            Self::EFI_VARIABLE_AUTHORITY => "EV_EFI_VARIABLE_AUTHORITY",
            _ => return None,
        })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
