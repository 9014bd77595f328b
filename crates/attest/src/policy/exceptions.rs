//! What a policy lets through for the time being, in one list.

use super::{Policy, TcbStatus, Tolerance};
use crate::snp::Concession;

/// Something that a policy lets through, for the time being.
pub(crate) struct Exception<'p> {
    /// The key of the policy file.
    pub(crate) key: String,
    /// Who passes by it.
    pub(crate) what: String,
    /// What it opens to others, if it does.
    pub(super) danger: Option<&'static str>,
    pub(crate) tolerance: &'p Tolerance,
}

impl Policy {
    /// Every exception of the policy, in force or not.
    pub(crate) fn exceptions(&self) -> Vec<Exception<'_>> {
        let mut all = Vec::new();
        for accepted in &self.accepted_statuses {
            all.push(Exception {
                key: "accept_status".into(),
                what: format!("platforms in TCB status {}", accepted.status),
                danger: match accepted.status {
                    TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded => {
                        Some("known holes of such platforms are open")
                    }
                    _ => None,
                },
                tolerance: &accepted.tolerance,
            });
        }
        for tolerated in &self.tolerated_advisories {
            all.push(Exception {
                key: "tolerate_advisory".into(),
                what: format!("platforms to which {} applies", tolerated.id),
                danger: None,
                tolerance: &tolerated.tolerance,
            });
        }
        let single = [
            (
                "debug",
                "code in debug mode",
                Some("whoever runs the code can read its memory"),
                &self.debug,
            ),
            (
                "tdx.tolerate",
                "trust domains that a service TD can move to another machine",
                Some("that machine is attested by the service TD, and by nobody else"),
                &self.tdx.migration,
            ),
            (
                "tdx.tolerate",
                "trust domains whose host may inject faults on pages that they have accepted",
                None,
                &self.tdx.sept_ve,
            ),
        ];
        for (key, what, danger, tolerance) in single {
            if let Some(tolerance) = tolerance {
                all.push(Exception {
                    key: key.into(),
                    what: what.into(),
                    danger,
                    tolerance,
                });
            }
        }
        for service_td in &self.tdx.service_tds {
            all.push(Exception {
                key: "tdx.tolerate".into(),
                what: format!(
                    "trust domains to which the service TD {} is bound",
                    hex::encode(service_td.mr_service_td)
                ),
                danger: Some("that service TD may act for them"),
                tolerance: &service_td.tolerance,
            });
        }
        for (concession, tolerance) in &self.snp.concessions {
            let (what, danger) = match concession {
                Concession::MigrationAgent => (
                    "SNP guests that a migration agent can move to another machine",
                    Some("nobody but the agent attests that machine"),
                ),
                Concession::MaskedChip => ("SNP reports that do not name their chip", None),
            };
            all.push(Exception {
                key: "snp.tolerate".into(),
                what: what.into(),
                danger,
                tolerance,
            });
        }
        if let Some((max, tolerance)) = &self.snp.vmpl {
            all.push(Exception {
                key: "snp.tolerate".into(),
                what: format!("SNP reports of VMPL 1 to {max}"),
                danger: Some("what runs in the guest at VMPL 0 can read and change that code"),
                tolerance,
            });
        }
        all
    }
}
