//! The two bit fields of a report: what the guest asked for, and what the platform is.

/// Guest policy (`POLICY`): the conditions that the guest's owner set at launch and that firmware
/// enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Minor version of the firmware ABI that the guest asks for at least.
    pub fn abi_minor(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Major version of the firmware ABI that the guest asks for at least.
    pub fn abi_major(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// The guest may run where a core runs two threads.
    pub fn smt(self) -> bool {
        self.bit(16)
    }

    /// A migration agent may be bound to the guest: it can move the guest's memory elsewhere.
    pub fn migrate_ma(self) -> bool {
        self.bit(18)
    }

    /// The host may read and write the guest's memory.
    pub fn debug(self) -> bool {
        self.bit(19)
    }

    /// The guest may run on one socket only.
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// CXL devices and memory may be present.
    pub fn cxl_allowed(self) -> bool {
        self.bit(21)
    }

    /// Memory must be encrypted with AES-256-XTS.
    pub fn mem_aes_256_xts(self) -> bool {
        self.bit(22)
    }

    /// Power meters (RAPL) must be off.
    pub fn rapl_disabled(self) -> bool {
        self.bit(23)
    }

    /// The host must not even see ciphertext in memory.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }

    /// The host must not move or swap the guest's pages.
    pub fn page_swap_disabled(self) -> bool {
        self.bit(25)
    }

    /// Whether bit 17, which is reserved, is one as the ABI wants it.
    pub(super) fn has_fixed_bit(self) -> bool {
        self.bit(17)
    }

    /// The bits that no version of the ABI up to 1.58 gives a meaning.
    pub(super) fn unknown_bits(self) -> u64 {
        self.0 >> 26 << 26
    }

    fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// What the platform is (`PLATFORM_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Cores run two threads.
    pub fn smt_enabled(self) -> bool {
        self.bit(0)
    }

    /// All memory is encrypted with one key, besides the guests' own.
    pub fn tsme_enabled(self) -> bool {
        self.bit(1)
    }

    /// Memory has error correction.
    pub fn ecc_enabled(self) -> bool {
        self.bit(2)
    }

    /// Power meters (RAPL) are off.
    pub fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// The host does not see ciphertext in memory.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(4)
    }

    /// Firmware has checked that no two addresses lead to the same memory (against BadRAM,
    /// CVE-2024-21944).
    pub fn alias_check_complete(self) -> bool {
        self.bit(5)
    }

    /// Devices can be attested and given to guests (SEV-TIO).
    pub fn tio_enabled(self) -> bool {
        self.bit(7)
    }

    fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}
