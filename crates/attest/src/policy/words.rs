//! A policy in words: what passes, what is tolerated, what is dangerous.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{
    Policy, claims::SECTIONS, exceptions::Exception, sections::DEMANDS, tolerance::day_or_date,
};
use crate::{
    Tee, TrustAnchor, anchor::Pki, judge::join, nitro::AcceptedAttesters, snp::SnpTcb, vtpm,
};

/// Something that a policy says, or what its reader should know about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Statement {
    /// What sort of statement it is.
    pub kind: StatementKind,
    /// The key of the policy file that it is about.
    pub key: String,
    /// The statement: a sentence without a full stop.
    pub text: String,
}

/// The sorts of [`Statement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StatementKind {
    /// What passes, or what has to be so for it.
    Rule,
    /// An exception that is in force.
    Tolerance,
    /// What is likely not meant, or will not be so for long.
    Warning,
    /// What lets others in.
    Danger,
}

impl Policy {
    /// Says in words what the policy means at `now`: rules first, then exceptions, then warnings
    /// and dangers.
    pub fn describe(&self, now: SystemTime) -> Vec<Statement> {
        let mut words = Words(Vec::new());
        self.describe_rules(&mut words);
        self.describe_snp_and_nitro(&mut words);
        self.describe_tpms(&mut words);
        self.describe_code(&mut words);
        self.describe_exceptions(&mut words, now);
        self.describe_gaps(&mut words, now);
        words.0.sort_by_key(|statement| statement.kind);
        words.0
    }

    fn describe_rules(&self, words: &mut Words) {
        words.rule(
            "tees",
            match &self.tees {
                None => "evidence of every TEE whose vendor's root is compiled in may pass".into(),
                Some(tees) => format!(
                    "only evidence of {} may pass",
                    join(tees.iter().map(|tee| tee.as_str()))
                ),
            },
        );
        words.rule(
            "accept_status",
            "platforms with the TCB status UpToDate pass; Revoked never does".into(),
        );
        if let Some(age) = self.max_collateral_age {
            words.rule(
                "max_collateral_age",
                format!(
                    "collateral is refused when its oldest document is older than {}",
                    in_units(age.as_secs())
                ),
            );
        }
        if self.min_tcb_evaluation_number > 0 {
            words.rule(
                "min_tcb_evaluation_number",
                format!(
                    "collateral is refused unless its TCB evaluation data number is at least {}",
                    self.min_tcb_evaluation_number
                ),
            );
        }
        for (name, values) in &self.references {
            let what = match values.as_slice() {
                [value] => format!("`{name}` must be {}", hex::encode(value)),
                values => format!(
                    "`{name}` must be one of {}",
                    join(values.iter().map(hex::encode))
                ),
            };
            words.rule(name, what);
            if values
                .iter()
                .any(|value| value.iter().all(|byte| *byte == 0))
            {
                words.warning(
                    name,
                    format!("`{name}` may be zero, which is what code that measures nothing has"),
                );
            }
        }
        if let Some(id) = self.sgx.isv_prod_id {
            words.rule(
                "sgx.isv_prod_id",
                format!("the SGX product id must be {id}"),
            );
        }
        if self.sgx.min_isv_svn > 0 {
            words.rule(
                "sgx.min_isv_svn",
                format!(
                    "the SGX security version must be at least {}",
                    self.sgx.min_isv_svn
                ),
            );
        }
        if self.tdx.min_tee_tcb_svn != [0; 16] {
            words.rule(
                "tdx.min_tee_tcb_svn",
                format!(
                    "each component of the TDX module's TEE_TCB_SVN must be at least that of {}",
                    hex::encode(self.tdx.min_tee_tcb_svn)
                ),
            );
        }
    }

    fn describe_snp_and_nitro(&self, words: &mut Words) {
        let snp = &self.snp;
        for (key, which, floors) in [
            ("snp.min_tcb", "reported", &snp.min_tcb),
            ("snp.min_launch_tcb", "launch", &snp.min_launch_tcb),
        ] {
            for (product, floor) in floors {
                words.rule(
                    key,
                    format!(
                        "the {which} TCB of SNP platforms of {product} must be at least {floor}"
                    ),
                );
                if *floor == SnpTcb::default() {
                    words.warning(key, format!("the floor for {product} asks for nothing"));
                }
            }
        }
        if snp.min_abi > (0, 0) {
            let (major, minor) = snp.min_abi;
            words.rule(
                "snp.min_abi",
                format!("SNP guests must ask for the firmware ABI {major}.{minor} at least"),
            );
        }
        if snp.min_guest_svn > 0 {
            words.rule(
                "snp.min_guest_svn",
                format!(
                    "the SNP guest's security version must be at least {}",
                    snp.min_guest_svn
                ),
            );
        }
        for (name, demand) in DEMANDS {
            if snp.demands.contains(&demand) {
                words.rule(
                    "snp.require",
                    format!("SNP guests and platforms must have: {name}"),
                );
            }
        }
        if !snp.csp_ids.is_empty() {
            words.rule(
                "snp.csp_ids",
                format!(
                    "VLEKs must be those of the providers {}",
                    join(&snp.csp_ids)
                ),
            );
        }
        if snp.require_crl {
            words.rule(
                "snp.require_crl",
                "SNP reports need AMD's revocation list".into(),
            );
        }
        let may_be_snp = self
            .tees
            .as_ref()
            .is_none_or(|tees| tees.contains(&Tee::Snp));
        if may_be_snp && snp.min_tcb.is_empty() {
            words.warning(
                "snp.min_tcb",
                "SNP platforms pass with any firmware that AMD has certified, however old: AMD does not say what is out of date, and no floor is named".into(),
            );
        }
        if let Some(age) = self.nitro.max_age {
            words.rule(
                "nitro.max_age",
                format!(
                    "Nitro documents must be at most {} old",
                    in_units(age.as_secs())
                ),
            );
        }
        if self.nitro.attesters == AcceptedAttesters::EnclavesOnly {
            words.rule(
                "nitro.enclaves_only",
                "Nitro documents must be of enclaves, not of EC2 instances".into(),
            );
        }
    }

    /// Whether the policy says which code passes, for each TEE that may.
    fn describe_code(&self, words: &mut Words) {
        let names = |name: &str| self.references.contains_key(name);
        let names_any = |prefix: &str| self.references.keys().any(|name| name.starts_with(prefix));
        for spec in SECTIONS {
            let accepted = |tee: &Tee| self.tees.as_ref().is_none_or(|tees| tees.contains(tee));
            if !accepted(&spec.tee) {
                // A vTPM may stand on SNP or TDX; a NitroTPM's documents count as those of a TPM.
                let others: &[Tee] = match spec.tee {
                    Tee::Tpm => &[Tee::Snp, Tee::Tdx],
                    Tee::Nitro => &[Tee::Tpm],
                    _ => &[],
                };
                if !others.iter().any(accepted) && names_any(&format!("{}.", spec.name)) {
                    words.warning(
                        spec.name,
                        format!(
                            "`[{}]` has no effect: `tees` does not name `{}`",
                            spec.name, spec.tee
                        ),
                    );
                }
                continue;
            }
            let code: &[&str] = match spec.tee {
                Tee::Sgx => &["sgx.mrenclave", "sgx.mrsigner"],
                Tee::Tdx => &["tdx.mr_td"],
                Tee::Snp => &[
                    "snp.measurement",
                    "snp.id_key_digest",
                    "snp.author_key_digest",
                ],
                Tee::Nitro => &["nitro.pcr", "nitro.nitrotpm_pcr"],
                _ => &["vtpm.pcr"],
            };
            if !code.iter().any(|name| names_any(name)) {
                words.danger(
                    spec.name,
                    format!(
                        "any code in {} passes: no value of {} is named, so whoever appraises must name what to expect",
                        spec.tee,
                        join(code.iter().map(|name| {
                            name.split_once('.').map_or(*name, |(_, name)| name)
                        }))
                    ),
                );
                continue;
            }
            match spec.tee {
                Tee::Sgx if !names("sgx.mrenclave") => self.describe_signer(words),
                Tee::Sgx if !names("sgx.mrsigner") => words.warning(
                    "sgx.mrsigner",
                    "the signer of the SGX enclave may be anybody: no mrsigner is named (the measurement alone says which code it is)".into(),
                ),
                Tee::Tdx if !names("tdx.rtmr1") || !names("tdx.rtmr2") => words.warning(
                    "tdx.mr_td",
                    "mr_td names the firmware of the trust domain: without rtmr1 and rtmr2 any boot loader, kernel and command line pass".into(),
                ),
                _ => (),
            }
        }
    }

    fn describe_signer(&self, words: &mut Words) {
        let any = match (self.sgx.isv_prod_id, self.sgx.min_isv_svn) {
            (None, 0) => "every product in every version",
            (None, _) => "every product",
            (Some(_), 0) => "every version, those with known holes too,",
            (Some(_), _) => return,
        };
        words.warning(
            "sgx.mrsigner",
            format!("any SGX enclave of the signer passes: {any} of it, as mrenclave is not named"),
        );
    }

    fn describe_exceptions(&self, words: &mut Words, now: SystemTime) {
        let now_second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        for exception in self.exceptions() {
            let Exception {
                key,
                what,
                danger,
                tolerance,
            } = exception;
            let last = tolerance.last_second();
            if !tolerance.is_in_force(now) {
                words.warning(
                    &key,
                    format!(
                        "{what}: not accepted any more; tolerated{}",
                        tolerance.terms()
                    ),
                );
                continue;
            }
            words.push(
                StatementKind::Tolerance,
                &key,
                format!("{what}: accepted{}", tolerance.terms()),
            );
            if let Some(danger) = danger {
                words.danger(&key, format!("{what}: {danger}"));
            }
            if let Some(last) = last {
                let left = last.saturating_sub(now_second);
                if left <= SOON {
                    words.warning(
                        &key,
                        format!(
                            "{what}: accepted for another {} only, until {}",
                            in_units(left + 1),
                            day_or_date(last)
                        ),
                    );
                }
            } else {
                words.warning(
                    &key,
                    format!("{what}: accepted for ever, as the exception has no end"),
                );
            }
        }
    }

    /// TPMs whose keys are trusted as such.
    fn describe_tpms(&self, words: &mut Words) {
        const MEANING: &str = "what it quotes is what it was told: nothing binds it to a confidential VM, and whoever runs the machine can read its memory";
        for fingerprint in &self.vtpm.pinned_aks {
            words.rule(
                "vtpm.pinned_aks",
                format!(
                    "quotes of the TPM with the attestation key {} may pass",
                    hex::encode(fingerprint)
                ),
            );
        }
        if !self.vtpm.pinned_aks.is_empty() {
            words.warning(
                "vtpm.pinned_aks",
                format!("of a TPM whose key is pinned: {MEANING}"),
            );
        }
        let compiled_in = vtpm::hardware_anchors();
        let added = self
            .anchors
            .iter()
            .filter(|anchor| anchor.pki() == Pki::Tpm && !compiled_in.contains(anchor));
        for anchor in added {
            words.warning(
                "vtpm.roots",
                format!(
                    "any TPM with a certificate under `{}` may pass; {MEANING}",
                    anchor.subject().replace(char::is_control, "\u{fffd}")
                ),
            );
        }
    }

    /// What has no effect, and who passes without hardware.
    fn describe_gaps(&self, words: &mut Words, now: SystemTime) {
        let accepts_more = self
            .accepted_statuses
            .iter()
            .any(|accepted| accepted.tolerance.is_in_force(now));
        let tolerates = self
            .tolerated_advisories
            .iter()
            .any(|tolerated| tolerated.tolerance.is_in_force(now));
        if tolerates && !accepts_more {
            words.warning(
                "tolerate_advisory",
                "tolerated advisories have no effect: they count only for platforms that are not UpToDate, and no other status is accepted".into(),
            );
        }
        if accepts_more && !tolerates {
            words.warning(
                "accept_status",
                "platforms to which advisories apply are refused all the same: no advisory is tolerated by name".into(),
            );
        }
        if self.max_collateral_age.is_none() {
            words.warning(
                "max_collateral_age",
                "collateral is accepted until it expires, which is about 30 days: whoever serves it can hold a newer one back for so long".into(),
            );
        }
        for anchor in self.anchors.iter().filter(|anchor| anchor.is_simulated()) {
            words.danger("trust_anchor", simulated(anchor));
        }
    }
}

fn simulated(anchor: &TrustAnchor) -> String {
    format!(
        "simulated evidence under `{}` passes{}: no hardware stands behind it",
        anchor.subject().replace(char::is_control, "\u{fffd}"),
        anchor
            .mrsigner()
            .map_or_else(String::new, |mrsigner| format!(
                " for enclaves of the signer {}",
                hex::encode(mrsigner)
            ))
    )
}

struct Words(Vec<Statement>);

impl Words {
    fn rule(&mut self, key: &str, text: String) {
        self.push(StatementKind::Rule, key, text);
    }

    fn warning(&mut self, key: &str, text: String) {
        self.push(StatementKind::Warning, key, text);
    }

    fn danger(&mut self, key: &str, text: String) {
        self.push(StatementKind::Danger, key, text);
    }

    fn push(&mut self, kind: StatementKind, key: &str, text: String) {
        self.0.push(Statement {
            kind,
            key: key.to_owned(),
            text,
        });
    }
}

/// Seconds in the largest unit that is not too coarse: `30 days`, `5 hours`.
pub(crate) fn in_units(seconds: u64) -> String {
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        120.. => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{count} {unit}")
}

/// Exceptions that end within 30 days are worth a warning.
const SOON: u64 = 30 * 86_400;
