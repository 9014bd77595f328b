//! TCB statuses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// TCB status of a platform, in Intel's words (PCS API v4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TcbStatus {
    /// All known fixes are in.
    UpToDate,
    /// Fixed, if the enclave's own code has the mitigations that the advisories ask for.
    SWHardeningNeeded,
    /// Fixed, if the platform is configured as the advisories ask (for instance: SMT off).
    ConfigurationNeeded,
    /// Both of the two above.
    ConfigurationAndSWHardeningNeeded,
    /// Fixes are missing.
    OutOfDate,
    /// Fixes are missing, and configuration is needed besides.
    OutOfDateConfigurationNeeded,
    /// The platform's keys are not trusted any more: always refused.
    Revoked,
    /// TDX 1.5: launched before an update that is in force now; a relaunch makes it up to date.
    TDRelaunchAdvised,
    /// The one above, and configuration is needed besides.
    TDRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    pub(super) const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
    ];

    /// Intel's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TcbStatus {
    type Err = UnknownTcbStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownTcbStatus(text.to_owned()))
    }
}

/// The text is not the name of a TCB status.
#[derive(Debug, Error)]
#[error("`{0}` is not a TCB status; use one of Intel's names, for instance `UpToDate`")]
pub struct UnknownTcbStatus(String);
