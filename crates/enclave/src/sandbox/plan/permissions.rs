//! Who the app is on the host, and what may be done with its files.

use serde::{Deserialize, Serialize};

use super::InvalidPlan;

/// A user id of the host that belongs to no account: one app's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct AppUid(u32);

impl AppUid {
    /// The first of the ids that systemd, too, keeps for users without account.
    pub const FIRST: u32 = 61184;
    /// The last of them.
    pub const LAST: u32 = 65519;

    /// The id as the kernel wants it.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// One of the ids for the `index`-th app; they repeat after 4,336 apps.
    pub fn nth(index: u32) -> Self {
        Self(Self::FIRST + index % (Self::LAST - Self::FIRST + 1))
    }
}

impl TryFrom<u32> for AppUid {
    type Error = InvalidPlan;

    fn try_from(uid: u32) -> Result<Self, Self::Error> {
        match uid {
            Self::FIRST..=Self::LAST => Ok(Self(uid)),
            _ => Err(InvalidPlan::Uid(uid)),
        }
    }
}

impl From<AppUid> for u32 {
    fn from(uid: AppUid) -> Self {
        uid.0
    }
}

/// Permission bits of a private file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct FileMode(u32);

impl FileMode {
    /// Read by its owner alone: secrets.
    pub const SECRET: Self = Self(0o400);
    /// Read by all.
    pub const READABLE: Self = Self(0o444);
    /// Read and run by all.
    pub const EXECUTABLE: Self = Self(0o555);

    /// The bits, as in `0o444`.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl From<u32> for FileMode {
    /// Keeps the nine permission bits: set-id and sticky bits have no use here.
    fn from(bits: u32) -> Self {
        Self(bits & 0o777)
    }
}

impl From<FileMode> for u32 {
    fn from(mode: FileMode) -> Self {
        mode.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_lose_set_id_bits() {
        assert_eq!(FileMode::from(0o6755).bits(), 0o755);
    }

    #[test]
    fn uids_are_never_an_account_s() {
        assert_eq!(AppUid::nth(0).as_u32(), 61184);
        assert_eq!(AppUid::nth(4336).as_u32(), 61184);
        assert!(AppUid::try_from(1000).is_err());
    }
}
