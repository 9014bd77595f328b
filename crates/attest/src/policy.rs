//! Policy (whom to trust, and how old, how patched) and reference values (what to expect).

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::TrustAnchor;

/// The conditions under which evidence is accepted.
///
/// Starts from [`Policy::strict`]; each method that loosens it is named for what it lets through.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) anchors: Vec<TrustAnchor>,
    pub(crate) accepted_statuses: Vec<TcbStatus>,
    pub(crate) tolerated_advisories: Vec<ToleratedAdvisory>,
    pub(crate) debug_enclaves: DebugEnclaves,
    pub(crate) mrsigner: Option<[u8; 32]>,
    pub(crate) isv_prod_id: Option<u16>,
    pub(crate) min_isv_svn: u16,
    pub(crate) min_tcb_evaluation_number: u32,
    pub(crate) max_collateral_age: Option<Duration>,
}

impl Policy {
    /// Hardware roots only, TCB status [`TcbStatus::UpToDate`] only, no debug enclaves.
    pub fn strict() -> Self {
        Self {
            anchors: vec![TrustAnchor::intel_sgx()],
            accepted_statuses: vec![TcbStatus::UpToDate],
            tolerated_advisories: Vec::new(),
            debug_enclaves: DebugEnclaves::Refused,
            mrsigner: None,
            isv_prod_id: None,
            min_isv_svn: 0,
            min_tcb_evaluation_number: 0,
            max_collateral_age: None,
        }
    }

    /// Also accepts evidence under `anchor`, the root of one simulated platform. This is the only
    /// way in which simulated evidence can pass.
    #[must_use]
    pub fn with_simulated(mut self, anchor: TrustAnchor) -> Self {
        self.anchors.push(anchor);
        self
    }

    /// Also accepts platforms in this TCB status. Advisories that apply to such a platform must
    /// each be tolerated by name: see [`Policy::tolerate_advisory`].
    ///
    /// [`TcbStatus::Revoked`] is refused whatever the policy says.
    #[must_use]
    pub fn accept_status(mut self, status: TcbStatus) -> Self {
        self.accepted_statuses.push(status);
        self
    }

    /// Tolerates a security advisory (`INTEL-SA-…`) until a date, on platforms whose status is
    /// accepted without being [`TcbStatus::UpToDate`]. After `until` the platform is refused
    /// again, so no exception outlives the review it was given.
    #[must_use]
    pub fn tolerate_advisory(mut self, id: impl Into<String>, until: SystemTime) -> Self {
        self.tolerated_advisories.push(ToleratedAdvisory {
            id: id.into(),
            until,
        });
        self
    }

    /// Accepts enclaves whose memory a debugger can read. Never for anything that matters.
    #[must_use]
    pub fn allow_debug_enclaves(mut self) -> Self {
        self.debug_enclaves = DebugEnclaves::Allowed;
        self
    }

    /// Accepts only enclaves of this signer (SHA-256 of the RSA-3072 modulus, little-endian).
    #[must_use]
    pub fn require_mrsigner(mut self, mrsigner: [u8; 32]) -> Self {
        self.mrsigner = Some(mrsigner);
        self
    }

    /// Accepts only enclaves with this product id.
    #[must_use]
    pub fn require_isv_prod_id(mut self, id: u16) -> Self {
        self.isv_prod_id = Some(id);
        self
    }

    /// Accepts only enclaves with at least this security version.
    #[must_use]
    pub fn require_min_isv_svn(mut self, svn: u16) -> Self {
        self.min_isv_svn = svn;
        self
    }

    /// Accepts only collateral of at least this TCB evaluation data number, which the vendor
    /// raises at each TCB recovery.
    #[must_use]
    pub fn require_min_tcb_evaluation_number(mut self, number: u32) -> Self {
        self.min_tcb_evaluation_number = number;
        self
    }

    /// Refuses collateral of which any document (TCB info, QE identity, CRLs) was issued longer
    /// ago than `age`, even if it has not expired.
    #[must_use]
    pub fn require_max_collateral_age(mut self, age: Duration) -> Self {
        self.max_collateral_age = Some(age);
        self
    }
}

/// The values that the evidence itself must carry. What is `None` is not compared, and the result
/// says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    /// Measurement of the enclave.
    pub mrenclave: Option<[u8; 32]>,
    /// Signer of the enclave.
    pub mrsigner: Option<[u8; 32]>,
    /// What the enclave put into its report: compared over all 64 bytes.
    pub report_data: Option<[u8; 64]>,
}

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
    const ALL: [Self; 9] = [
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DebugEnclaves {
    Refused,
    Allowed,
}

#[derive(Clone, Debug)]
pub(crate) struct ToleratedAdvisory {
    pub(crate) id: String,
    pub(crate) until: SystemTime,
}
