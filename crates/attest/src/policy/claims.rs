//! Which keys the section of each TEE has.

use super::{PolicyError, read::Item};
use crate::Tee;

/// The section of a TEE: which claims can have reference values, and its other keys.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) tee: Tee,
    pub(super) claims: &'static [Claim],
    pub(super) others: &'static [&'static str],
}

impl Spec {
    pub(super) fn claim(&self, name: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.is_named(name))
    }
}

/// A claim, or a row of numbered ones (`pcr0`, `pcr1`, …).
pub(super) struct Claim {
    pub(super) name: &'static str,
    /// How many there are of a row.
    registers: Option<u8>,
    lengths: &'static [usize],
}

impl Claim {
    const fn of(name: &'static str, lengths: &'static [usize]) -> Self {
        Self {
            name,
            registers: None,
            lengths,
        }
    }

    const fn row(name: &'static str, registers: u8, lengths: &'static [usize]) -> Self {
        Self {
            name,
            registers: Some(registers),
            lengths,
        }
    }

    fn is_named(&self, name: &str) -> bool {
        match self.registers {
            None => name == self.name,
            // Written in one way only: `pcr07` is not `pcr7`.
            Some(registers) => name.strip_prefix(self.name).is_some_and(|number| {
                (0..registers).any(|register| register.to_string() == number)
            }),
        }
    }

    pub(super) fn value(&self, item: &Item<'_>) -> Result<Vec<u8>, PolicyError> {
        match self.lengths {
            [] => item.hex(|length| (1..=MAX_VALUE).contains(&length), "the value"),
            lengths => item.hex(
                |length| lengths.contains(&length),
                &format!(
                    "{} bytes",
                    lengths
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            ),
        }
    }
}

/// Where a key that stands in the wrong place belongs.
pub(super) fn home_of(name: &str) -> Option<&'static str> {
    SECTIONS
        .iter()
        .find(|spec| {
            spec.claim(name).is_some() || (name != "tolerate" && spec.others.contains(&name))
        })
        .map(|spec| spec.name)
}

/// The longest value of a claim that has no length of its own.
const MAX_VALUE: usize = 1024;

pub(super) static SECTIONS: &[Spec] = &[
    Spec {
        name: "sgx",
        tee: Tee::Sgx,
        claims: &[Claim::of("mrenclave", &[32]), Claim::of("mrsigner", &[32])],
        others: &["isv_prod_id", "min_isv_svn"],
    },
    Spec {
        name: "tdx",
        tee: Tee::Tdx,
        claims: &[
            Claim::of("mr_td", &[48]),
            Claim::row("rtmr", 4, &[48]),
            Claim::of("mr_config_id", &[48]),
            Claim::of("mr_owner", &[48]),
            Claim::of("mr_owner_config", &[48]),
            Claim::of("mr_seam", &[48]),
            Claim::of("mr_signer_seam", &[48]),
            Claim::of("td_attributes", &[8]),
            Claim::of("xfam", &[8]),
        ],
        others: &["min_tee_tcb_svn", "tolerate"],
    },
    Spec {
        name: "snp",
        tee: Tee::Snp,
        claims: &[
            Claim::of("measurement", &[48]),
            Claim::of("host_data", &[32]),
            Claim::of("family_id", &[16]),
            Claim::of("image_id", &[16]),
            Claim::of("id_key_digest", &[48]),
            Claim::of("author_key_digest", &[48]),
            Claim::of("report_id", &[32]),
            Claim::of("report_id_ma", &[32]),
            Claim::of("chip_id", &[64]),
        ],
        others: &[
            "min_tcb",
            "min_launch_tcb",
            "min_abi",
            "min_guest_svn",
            "require",
            "csp_ids",
            "require_crl",
            "tolerate",
        ],
    },
    Spec {
        name: "nitro",
        tee: Tee::Nitro,
        claims: &[
            Claim::row("pcr", 32, &[48]),
            Claim::row("nitrotpm_pcr", 24, &[48]),
            Claim::of("user_data", &[]),
            Claim::of("public_key", &[]),
        ],
        others: &["max_age", "enclaves_only"],
    },
    Spec {
        name: "vtpm",
        tee: Tee::Tpm,
        claims: &[
            Claim::row("pcr", 24, &[32, 48, 64]),
            Claim::of("user_data", &[]),
            Claim::of("ak_sha256", &[32]),
        ],
        others: &["pinned_aks", "roots"],
    },
];
