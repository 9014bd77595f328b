//! Digests of boot events that are known before a guest boots.
//!
//! They are extended into RTMRs by TDVF (edk2's `OvmfPkg/Tcg/TdTcg2Dxe`) and by Linux' EFI stub;
//! event types are those of the *TCG PC Client Platform Firmware Profile*.

use crate::Sha384Digest;
use crate::digest::Sha384;
use crate::firmware::Guid;

/// Boot services called the boot option (`EV_EFI_ACTION`).
pub const CALLING_BOOT_OPTION: &str = "Calling EFI Application from Boot Option";
/// The operating system asks to take over (`EV_EFI_ACTION`).
pub const EXIT_BOOT_SERVICES: &str = "Exit Boot Services Invocation";
/// It has taken over (`EV_EFI_ACTION`).
pub const EXITED_BOOT_SERVICES: &str = "Exit Boot Services Returned with Success";

/// The namespace of `SecureBoot`, `PK`, `KEK` and boot options.
pub const EFI_GLOBAL_VARIABLE: Guid = Guid::new(
    0x8be4_df61,
    0x93ca,
    0x11d2,
    *b"\xaa\x0d\x00\xe0\x98\x03\x2b\x8c",
);
/// The namespace of `db` and `dbx`.
pub const EFI_IMAGE_SECURITY_DATABASE: Guid = Guid::new(
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    *b"\xa3\xbc\xda\xd0\x0e\x67\x65\x6f",
);

/// An `EV_EFI_ACTION`: its text, without a NUL.
pub fn action(text: &str) -> Sha384Digest {
    Sha384Digest::of(text.as_bytes())
}

/// The `EV_SEPARATOR` of a boot without errors: four zero bytes.
pub fn separator() -> Sha384Digest {
    Sha384Digest::of(&[0; 4])
}

/// An `EV_EFI_VARIABLE_DRIVER_CONFIG`, such as the variables of Secure Boot: `UEFI_VARIABLE_DATA`
/// with the variable's namespace, name and data (empty if there is no such variable).
pub fn variable(namespace: Guid, name: &str, data: &[u8]) -> Sha384Digest {
    let name: Vec<u16> = name.encode_utf16().collect();
    let mut hash = Sha384::new();
    hash.update(&namespace.0);
    hash.update(&(name.len() as u64).to_le_bytes());
    hash.update(&(data.len() as u64).to_le_bytes());
    for unit in name {
        hash.update(&unit.to_le_bytes());
    }
    hash.update(data);
    hash.finish()
}

/// The load options that Linux' EFI stub measures: UTF-16, little-endian, with a NUL at the end.
/// The command line must be ASCII, else firmwares differ.
pub(crate) fn load_options(command_line: &str) -> Sha384Digest {
    let mut hash = Sha384::new();
    for unit in command_line.encode_utf16().chain([0]) {
        hash.update(&unit.to_le_bytes());
    }
    hash.finish()
}
