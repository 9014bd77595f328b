//! How the standings of platform, TDX module and quoting enclave become one.

use std::collections::BTreeSet;

use super::signed_json::Standing;
use crate::TcbStatus;

/// The standing of several components together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Together {
    pub(super) status: TcbStatus,
    /// In the order in which they were found, each once.
    pub(super) advisory_ids: Vec<String>,
    /// The oldest date.
    pub(super) date: String,
}

impl Together {
    pub(super) fn of(platform: &Standing) -> Self {
        let mut seen = BTreeSet::new();
        Self {
            status: platform.status,
            advisory_ids: platform
                .advisory_ids
                .iter()
                .filter(|id| seen.insert(id.as_str()))
                .cloned()
                .collect(),
            date: platform.date.clone(),
        }
    }

    /// Adds a component that the platform's level does not include.
    pub(super) fn and(mut self, component: &Standing) -> Self {
        self.status = with_component(self.status, component.status);
        for id in &component.advisory_ids {
            if !self.advisory_ids.contains(id) {
                self.advisory_ids.push(id.clone());
            }
        }
        // Both are RFC 3339 in UTC, whose text sorts as the time does.
        if component.date < self.date {
            self.date.clone_from(&component.date);
        }
        self
    }
}

impl Together {
    /// The standing of a trust domain that was launched under `self` and runs under `current`.
    pub(super) fn relaunched(mut self, current: &Self) -> Self {
        let status = with_relaunch(self.status, current.status);
        // What is worse now than at the launch is so for reasons of its own.
        if matches!(
            status,
            TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded
        ) && status != self.status
        {
            self = self.and(&Standing {
                status: current.status,
                date: current.date.clone(),
                advisory_ids: current.advisory_ids.clone(),
            });
        }
        self.status = status;
        self
    }
}

/// Status of a platform with one of its components (Intel QVL's convergence).
fn with_component(platform: TcbStatus, component: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SWHardeningNeeded, UpToDate,
    };
    match (component, platform) {
        (UpToDate, _) => platform,
        (Revoked, _) | (_, Revoked) => Revoked,
        (OutOfDate, UpToDate | SWHardeningNeeded) => OutOfDate,
        (OutOfDate, ConfigurationNeeded | ConfigurationAndSWHardeningNeeded) => {
            OutOfDateConfigurationNeeded
        }
        (OutOfDate, _) => platform,
        // Intel gives components no other status today. Should one have it, its own is the
        // better answer than to forget it.
        (other, UpToDate) => other,
        _ => platform,
    }
}

/// Status of a trust domain that was launched at `launched` on a platform that is at `current`
/// now: a module that was updated under a running domain (Intel QVL's relaunch check).
///
/// No genuine platform goes back to an older module under a running domain; should one do so, what
/// protects the domain now is what counts.
fn with_relaunch(launched: TcbStatus, current: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SWHardeningNeeded, TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded, UpToDate,
    };
    match (launched, current) {
        (_, Revoked) => Revoked,
        (OutOfDate, UpToDate | SWHardeningNeeded) => TDRelaunchAdvised,
        (
            OutOfDate | OutOfDateConfigurationNeeded,
            ConfigurationNeeded | ConfigurationAndSWHardeningNeeded,
        )
        | (OutOfDateConfigurationNeeded, UpToDate | SWHardeningNeeded) => {
            TDRelaunchAdvisedConfigurationNeeded
        }
        (UpToDate | SWHardeningNeeded, OutOfDate | OutOfDateConfigurationNeeded) => current,
        (
            ConfigurationNeeded | ConfigurationAndSWHardeningNeeded,
            OutOfDate | OutOfDateConfigurationNeeded,
        ) => OutOfDateConfigurationNeeded,
        _ => launched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [TcbStatus; 7] = [
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::Revoked,
    ];

    #[test]
    fn nothing_heals_a_revoked_part() {
        for status in ALL {
            assert_eq!(
                with_component(status, TcbStatus::Revoked),
                TcbStatus::Revoked
            );
            assert_eq!(
                with_component(TcbStatus::Revoked, status),
                TcbStatus::Revoked
            );
            assert_eq!(
                with_relaunch(status, TcbStatus::Revoked),
                TcbStatus::Revoked
            );
            assert_eq!(
                with_relaunch(TcbStatus::Revoked, status),
                TcbStatus::Revoked
            );
        }
    }

    #[test]
    fn no_component_makes_a_platform_look_better() {
        for platform in ALL {
            for component in ALL {
                let together = with_component(platform, component);
                assert!(
                    together != TcbStatus::UpToDate
                        || (platform, component) == (TcbStatus::UpToDate, TcbStatus::UpToDate),
                    "{platform} with {component}"
                );
            }
        }
    }

    #[test]
    fn a_relaunch_is_advised_only_where_it_would_help() {
        assert_eq!(
            with_relaunch(TcbStatus::OutOfDate, TcbStatus::UpToDate),
            TcbStatus::TDRelaunchAdvised
        );
        assert_eq!(
            with_relaunch(TcbStatus::OutOfDate, TcbStatus::ConfigurationNeeded),
            TcbStatus::TDRelaunchAdvisedConfigurationNeeded
        );
        assert_eq!(
            with_relaunch(TcbStatus::OutOfDate, TcbStatus::OutOfDate),
            TcbStatus::OutOfDate
        );
        assert_eq!(
            with_relaunch(TcbStatus::UpToDate, TcbStatus::OutOfDate),
            TcbStatus::OutOfDate
        );
    }
}
