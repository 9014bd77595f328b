//! Two simulated platforms and the good case that each test spoils in one place.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use mse_attest::{
    Appraisal, CheckName, Collateral, DcapCollateral, Evidence, Outcome, Policy, ReferenceValues,
    Refusal, TcbStatus, appraise,
};
use mse_simtee::{
    Platform,
    testing::{CollateralOptions, QuoteOptions},
};

pub(crate) const MRENCLAVE: [u8; 32] = [0x5e; 32];
pub(crate) const REPORT_DATA: [u8; 64] = [0xd4; 64];

pub(crate) fn now() -> SystemTime {
    "2026-11-23T12:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .try_into()
        .unwrap()
}

pub(crate) fn days(days: u64) -> Duration {
    Duration::from_hours(days * 24)
}

pub(crate) fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(new_platform)
}

pub(crate) fn other_platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(new_platform)
}

fn new_platform() -> Platform {
    let dir = tempfile::tempdir().unwrap();
    Platform::create(&dir.path().join("platform"), now()).unwrap()
}

/// Everything that goes into an appraisal. [`Case::good`] is accepted.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: DcapCollateral,
    pub(crate) policy: Policy,
    pub(crate) expected: ReferenceValues,
    pub(crate) now: SystemTime,
}

impl Case {
    pub(crate) fn good() -> Self {
        Self {
            quote: platform().quote(MRENCLAVE, &REPORT_DATA).unwrap(),
            collateral: platform().collateral(now()).unwrap(),
            policy: Policy::strict().with_simulated(platform().trust_anchor().clone()),
            expected: ReferenceValues {
                mrenclave: Some(MRENCLAVE),
                mrsigner: Some(platform().mrsigner()),
                report_data: Some(REPORT_DATA),
                ..ReferenceValues::default()
            },
            now: now(),
        }
    }

    /// The good case with another quote of the same platform.
    pub(crate) fn with_quote(change: impl FnOnce(&mut QuoteOptions)) -> Self {
        let mut options = QuoteOptions::default();
        change(&mut options);
        Self {
            quote: platform()
                .quote_with(MRENCLAVE, &REPORT_DATA, &options)
                .unwrap(),
            ..Self::good()
        }
    }

    /// The good case with other collateral of the same platform.
    pub(crate) fn with_collateral(change: impl FnOnce(&mut CollateralOptions)) -> Self {
        let mut options = CollateralOptions::honest(now());
        change(&mut options);
        Self {
            collateral: platform().collateral_with(&options).unwrap(),
            ..Self::good()
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::SgxDcap(self.quote.clone())
    }

    pub(crate) fn collateral(&self) -> Collateral {
        self.collateral.clone().into()
    }

    pub(crate) fn appraise(&self) -> Result<Appraisal, Refusal> {
        appraise(
            &self.evidence(),
            &self.collateral(),
            &self.policy,
            &self.expected,
            self.now,
        )
    }
}

/// Offset of the quote's signature: header, report body and a length come before.
pub(crate) const SIGNATURE: usize = 48 + 384 + 4;

pub(crate) fn flipped(at: usize, mask: u8) -> Case {
    let mut case = Case::good();
    case.quote[at] ^= mask;
    case
}

pub(crate) fn changed_in_last_bit<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[N - 1] ^= 1;
    bytes
}

pub(crate) fn hardening_needed(policy: impl FnOnce(Policy) -> Policy) -> Case {
    let mut case = Case::with_collateral(|options| {
        options.tcb_status = TcbStatus::SWHardeningNeeded;
        options.advisory_ids = vec!["SIM-SA-1".into(), "SIM-SA-2".into()];
    });
    case.policy = policy(case.policy.accept_status(TcbStatus::SWHardeningNeeded));
    case
}

/// The outcome of the one check of this name.
#[track_caller]
pub(crate) fn outcome(checks: &[mse_attest::Check], name: CheckName) -> &Outcome {
    let found: Vec<_> = checks.iter().filter(|check| check.name == name).collect();
    assert_eq!(found.len(), 1, "{name} is there {} times", found.len());
    &found[0].outcome
}
