//! Which events carry what was measured.

use serde::Serialize;

use super::{Event, EventKind};
use crate::Sha384Digest;
use crate::bytes::Cursor;

/// What an event's digest says about its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataCheck {
    /// The digest is that of the data: whoever trusts the register knows the data.
    Measured,
    /// The kind of event says that the data was measured, but it has another digest: either the
    /// log was changed, or the firmware notes something else than it measures. The data says
    /// nothing.
    Differs,
    /// The data only describes what was measured, or was not extended at all.
    NotMeasured,
}

pub(super) fn check(event: &Event) -> DataCheck {
    let Some(measured) = measured(event) else {
        return DataCheck::NotMeasured;
    };
    if Sha384Digest::of(measured) == event.digest {
        DataCheck::Measured
    } else {
        DataCheck::Differs
    }
}

/// The part of the data that should have been measured.
fn measured(event: &Event) -> Option<&[u8]> {
    let data = &event.data[..];
    match event.kind {
        EventKind::SEPARATOR
        | EventKind::ACTION
        | EventKind::EFI_ACTION
        | EventKind::S_CRTM_VERSION
        | EventKind::EFI_VARIABLE_DRIVER_CONFIG
        | EventKind::EFI_VARIABLE_BOOT2
        | EventKind::EFI_VARIABLE_AUTHORITY
        | EventKind::EFI_GPT_EVENT => Some(data),
        EventKind::EFI_VARIABLE_BOOT => variable_contents(data),
        EventKind::IPL => grub_text(data),
        _ => None,
    }
}

/// `UEFI_VARIABLE_DATA`: namespace (16 bytes), length of the name in UTF-16 units (8), length of
/// the contents (8), both.
fn variable_contents(data: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(data);
    cursor.take(16)?;
    let (name, contents) = (cursor.u64()?, cursor.u64()?);
    cursor.take(usize::try_from(name).ok()?.checked_mul(2)?)?;
    let rest = cursor.rest();
    (rest.len() as u64 == contents).then_some(rest)
}

/// GRUB measures the text of a command and notes it behind a prefix, with a NUL at the end.
fn grub_text(data: &[u8]) -> Option<&[u8]> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    [&b"grub_cmd: "[..], b"kernel_cmdline: ", b"module_cmdline: "]
        .into_iter()
        .find_map(|prefix| data.strip_prefix(prefix))
}
