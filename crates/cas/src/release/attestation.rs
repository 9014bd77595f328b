//! What a session asks of a service's evidence: its words as an appraisal's policy, and its rules
//! about programs against what was proven.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::{Policy, TcbStatus, TrustAnchor};
use mse_session::{
    Advisories, AttestationEntry, AttestationMode, AttestationSettings, Compatibility,
    EvidenceRule, Hex, OrReference, Reference, Security, SecurityVersion, Service, Session,
    TeeKind, Terms, Tolerated,
};
use serde_json::Value;

use super::proven::{Program, Proven};

/// What one service must prove, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// One of them must hold.
    rules: Vec<EvidenceRule>,
    settings: AttestationSettings,
}

/// Gives the value of a config-fragment.
pub trait Fragments {
    /// `None` if there is no such secret, or it is no fragment.
    fn fragment(&self, reference: &Reference) -> Option<Value>;
}

impl Requirements {
    /// What `session` asks of `service`; references are looked up in `fragments`.
    pub fn of(
        session: &Session,
        service: &Service,
        fragments: &impl Fragments,
    ) -> Result<Self, Unresolved> {
        let mut rules = Vec::new();
        for entry in &service.attestation {
            match entry {
                AttestationEntry::Rule(rule) => rules.push(resolved((**rule).clone(), fragments)?),
                AttestationEntry::Fragment(reference) => {
                    let value = look_up(reference, fragments)?;
                    let entries = AttestationEntry::list_from_fragment(&value)
                        .map_err(|faults| Unresolved::fragment(reference, &faults))?;
                    for entry in entries {
                        if let AttestationEntry::Rule(rule) = entry {
                            rules.push(resolved(*rule, fragments)?);
                        }
                    }
                }
            }
        }
        if !service.platforms.is_empty() {
            return Err(Unresolved::Unsupported("platforms", "a list of machines"));
        }
        let settings = settings(&security(session, fragments)?, fragments)?;
        if settings.must_be_sgx_local {
            let field = "security.attestation.must_be_sgx_local";
            return Err(Unresolved::Unsupported(field, "local attestation"));
        }
        match settings.mode {
            AttestationMode::Hardware => Ok(Self { rules, settings }),
            AttestationMode::Maa => Err(Unresolved::Mode("maa")),
            AttestationMode::None(_) => Err(Unresolved::Mode("none")),
        }
    }

    /// The policy under which the evidence is appraised at `now`: hardware roots, and the
    /// simulated ones among `simulated` if a rule accepts simulations; what is tolerated, as long
    /// as its terms last.
    pub fn policy(&self, simulated: &[TrustAnchor], now: SystemTime) -> Policy {
        let mut policy = Policy::strict();
        if self.rules.iter().any(|rule| rule.simulated) {
            policy = simulated
                .iter()
                .cloned()
                .fold(policy, Policy::with_simulated);
        }
        for tolerance in self.settings.tolerate.iter().filter_map(OrReference::given) {
            if !is_in_force(tolerance.terms.as_ref(), now) {
                continue;
            }
            policy = match tolerance.what {
                Tolerated::DebugMode => policy.allow_debug(),
                Tolerated::SoftwareHardeningNeeded => {
                    policy.accept_status(TcbStatus::SWHardeningNeeded)
                }
                Tolerated::InsecureConfiguration => policy
                    .accept_status(TcbStatus::ConfigurationNeeded)
                    .accept_status(TcbStatus::ConfigurationAndSWHardeningNeeded),
                Tolerated::OutdatedTcb => policy
                    .accept_status(TcbStatus::OutOfDate)
                    .accept_status(TcbStatus::OutOfDateConfigurationNeeded),
                // Of other attestation services, or part of a status above: nothing is asked about
                // them by themselves.
                Tolerated::Hyperthreading
                | Tolerated::InsecureIgpu
                | Tolerated::AepicLeak
                | Tolerated::MaaManagedTcb
                | Tolerated::LocalAttestationTrustCasTcb => policy,
            };
        }
        if let Advisories::Listed(advisories) = &self.settings.ignore_advisories {
            for advisory in advisories.iter().filter_map(OrReference::given) {
                let until = advisory.terms.as_ref().map_or_else(forever, end);
                policy = policy.tolerate_advisory(&advisory.id, until);
            }
        }
        policy
    }

    /// Whether every advisory is tolerated at `now`: the appraisal names those that apply, and is
    /// made again with them.
    pub fn tolerates_every_advisory(&self, now: SystemTime) -> bool {
        match &self.settings.ignore_advisories {
            Advisories::All(terms) => is_in_force(terms.as_ref(), now),
            Advisories::Listed(_) => false,
        }
    }

    /// What is tolerated at `now`, for comparison: two appraisals with the same terms tolerated the
    /// same.
    pub fn terms(&self, now: SystemTime) -> String {
        let mut terms: Vec<String> = self
            .settings
            .tolerate
            .iter()
            .filter_map(OrReference::given)
            .filter(|tolerance| is_in_force(tolerance.terms.as_ref(), now))
            .map(|tolerance| format!("{:?}", tolerance.what))
            .collect();
        match &self.settings.ignore_advisories {
            Advisories::All(one) if is_in_force(one.as_ref(), now) => terms.push("*".into()),
            Advisories::All(_) => {}
            Advisories::Listed(listed) => terms.extend(
                listed
                    .iter()
                    .filter_map(OrReference::given)
                    .filter(|advisory| is_in_force(advisory.terms.as_ref(), now))
                    .map(|advisory| advisory.id.clone()),
            ),
        }
        terms.sort();
        terms.join(" ")
    }

    /// Whether one of the rules admits the program that was proven.
    pub fn admit(&self, proven: &Proven) -> Result<(), NotAdmitted> {
        if self.rules.iter().any(|rule| admits(rule, proven)) {
            return Ok(());
        }
        Err(NotAdmitted {
            found: proven.describe(),
            simulated: proven.simulated && !self.rules.iter().any(|rule| rule.simulated),
        })
    }
}

/// The last second of the year 9999: for advisories that are tolerated without an end.
fn forever() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

fn end(terms: &Terms) -> SystemTime {
    let seconds = u64::try_from(terms.until.unix_seconds()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn is_in_force(terms: Option<&Terms>, now: SystemTime) -> bool {
    terms.is_none_or(|terms| now <= end(terms))
}

/// All that the rule names must be so.
fn admits(rule: &EvidenceRule, proven: &Proven) -> bool {
    if (proven.simulated && !rule.simulated) || !rule.names_a_program() {
        return false;
    }
    let tee = match proven.program {
        Program::Sgx { .. } => TeeKind::Sgx,
        Program::Tdx { .. } => TeeKind::Tdx,
        Program::Snp { .. } => TeeKind::Snp,
    };
    if !rule.tee.is_empty() && !rule.tee.contains(&tee) {
        return false;
    }
    if !rule.workload.is_empty()
        && !proven
            .workload()
            .is_some_and(|found| rule.workload.iter().any(|wanted| wanted.0 == found))
    {
        return false;
    }
    match &proven.program {
        Program::Sgx {
            mrenclave,
            mrsigner,
            isv_prod_id,
            isv_svn,
        } => {
            let is_listed = rule.mrenclave.is_empty()
                || rule
                    .mrenclave
                    .iter()
                    .any(|wanted| wanted.given() == Some(&Hex(*mrenclave)));
            let is_signed = rule.signer.as_ref().is_none_or(|signer| {
                signer.mrsigner.given() == Some(&Hex(*mrsigner))
                    && signer.isvprodid.given() == Some(isv_prod_id)
                    && is_version(&signer.isvsvn, *isv_svn)
            });
            rule.measurement.is_empty() && is_listed && is_signed
        }
        // The workload alone says nothing in a machine: whoever starts it chooses that, and only the
        // measured image keeps to it.
        Program::Tdx { mr_td, rtmr, .. } => {
            names_no_enclave(rule)
                && rule.names_a_trust_domain()
                && lists(&rule.measurement, mr_td)
                && (rule.rtmr.iter().zip(rtmr))
                    .all(|(wanted, found)| wanted.is_empty() || lists(wanted, found))
        }
        Program::Snp { measurement, .. } => {
            names_no_enclave(rule)
                && rule.rtmr.iter().all(Vec::is_empty)
                && lists(&rule.measurement, measurement)
        }
    }
}

fn names_no_enclave(rule: &EvidenceRule) -> bool {
    rule.mrenclave.is_empty() && rule.signer.is_none()
}

fn lists(wanted: &[Hex<48>], found: &[u8; 48]) -> bool {
    wanted.iter().any(|wanted| wanted.0 == *found)
}

fn is_version(wanted: &SecurityVersion, found: u16) -> bool {
    match wanted {
        SecurityVersion::Exact(exact) => exact.given() == Some(&found),
        SecurityVersion::Range(min, max) => {
            min.is_none_or(|min| min <= found) && max.is_none_or(|max| found <= max)
        }
    }
}

/// The section `security`, wherever it stands.
pub fn security(session: &Session, fragments: &impl Fragments) -> Result<Security, Unresolved> {
    match &session.security {
        OrReference::Given(security) => Ok(security.clone()),
        OrReference::From(reference) => {
            let value = look_up(reference, fragments)?;
            Security::from_fragment(&value, Compatibility::Strict)
                .map_err(|faults| Unresolved::fragment(reference, &faults))
        }
    }
}

/// Its part `attestation`, wherever that stands.
pub fn settings(
    security: &Security,
    fragments: &impl Fragments,
) -> Result<AttestationSettings, Unresolved> {
    if security.singleton_enclaves {
        let field = "security.singleton_enclaves";
        return Err(Unresolved::Unsupported(
            field,
            "to attest each instance once",
        ));
    }
    let settings = match &security.attestation {
        None => AttestationSettings::default(),
        Some(OrReference::Given(settings)) => settings.clone(),
        Some(OrReference::From(reference)) => {
            let value = look_up(reference, fragments)?;
            AttestationSettings::from_fragment(&value, Compatibility::Strict)
                .map_err(|faults| Unresolved::fragment(reference, &faults))?
        }
    };
    let open = settings
        .tolerate
        .iter()
        .filter_map(reference_of)
        .chain(match &settings.ignore_advisories {
            Advisories::Listed(listed) => listed.iter().filter_map(reference_of).collect(),
            Advisories::All(_) => Vec::new(),
        })
        .next();
    match open {
        // To leave it away is stricter, but not what the session says.
        Some(reference) => Err(Unresolved::Single(reference.to_string())),
        None => Ok(settings),
    }
}

fn reference_of<T>(setting: &OrReference<T>) -> Option<&Reference> {
    match setting {
        OrReference::Given(_) => None,
        OrReference::From(reference) => Some(reference),
    }
}

/// The rule without references: lists of measurements are put in their place.
fn resolved(
    mut rule: EvidenceRule,
    fragments: &impl Fragments,
) -> Result<EvidenceRule, Unresolved> {
    let mut mrenclave = Vec::new();
    for one in rule.mrenclave {
        match one {
            OrReference::Given(_) => mrenclave.push(one),
            OrReference::From(reference) => {
                let value = look_up(&reference, fragments)?;
                for hash in texts(&value) {
                    let hash = hash
                        .parse()
                        .map_err(|error| Unresolved::fragment(&reference, &error))?;
                    mrenclave.push(OrReference::Given(hash));
                }
            }
        }
    }
    rule.mrenclave = mrenclave;
    if let Some(signer) = &rule.signer {
        let open = [
            reference_of(&signer.mrsigner),
            reference_of(&signer.isvprodid),
            match &signer.isvsvn {
                SecurityVersion::Exact(exact) => reference_of(exact),
                SecurityVersion::Range(..) => None,
            },
        ];
        if let Some(reference) = open.into_iter().flatten().next() {
            return Err(Unresolved::Single(reference.to_string()));
        }
    }
    Ok(rule)
}

/// The strings of a list of lists, or the one string.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn look_up(reference: &Reference, fragments: &impl Fragments) -> Result<Value, Unresolved> {
    fragments
        .fragment(reference)
        .ok_or_else(|| Unresolved::Missing(reference.to_string()))
}

/// No rule admits the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no entry of the session's attestation admits `{found}`{}", if *simulated {
    "; none says `simulated: true`"
} else {
    ""
})]
pub struct NotAdmitted {
    /// What was proven.
    pub found: String,
    /// Whether simulations are not accepted at all.
    pub simulated: bool,
}

/// Why it is not clear what the session asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A secret that is not there, or not to be read.
    #[error(
        "`{0}` in the session's attestation stands for nothing: its secret is missing, or is no config-fragment"
    )]
    Missing(String),
    /// A fragment that says something else.
    #[error("`{reference}` in the session's attestation: {why}")]
    Fragment {
        /// The reference.
        reference: String,
        /// What is wrong.
        why: String,
    },
    /// A reference where none is resolved.
    #[error("`{0}` stands in the session's attestation where this CAS takes values only")]
    Single(String),
    /// Attestation by somebody else, or none.
    #[error(
        "attestation mode `{0}` is not served: this CAS appraises evidence itself, and releases nothing without"
    )]
    Mode(&'static str),
    /// Something that this CAS does not do: what is asked for and not done would be taken for done.
    #[error("`{0}`: {1} is not supported by this CAS")]
    Unsupported(&'static str, &'static str),
}

impl Unresolved {
    fn fragment(reference: &Reference, why: &impl ToString) -> Self {
        Self::Fragment {
            reference: reference.to_string(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mse_session::{Variables, check_text};
    use serde_json::json;

    use super::*;
    use crate::release::proven::{Program, Proven, simulated};

    struct Given(BTreeMap<&'static str, Value>);

    impl Fragments for Given {
        fn fragment(&self, reference: &Reference) -> Option<Value> {
            self.0
                .get(reference.secret()?.to_string().as_str())
                .cloned()
        }
    }

    fn session(attestation: &str, security: &str) -> Session {
        let text = format!(
            "name: shop\nversion: '0.3.12'\nsalt: {}\naccess_policy: {{read: [CREATOR], update: [CREATOR]}}\nservices:\n- name: web\n  command: run\n  pwd: /\n  attestation: {attestation}\nsecrets:\n- {{name: fragment, kind: config-fragment, value: {{}}}}\n{security}",
            "ab".repeat(16)
        );
        let outcome = check_text(&text, &Variables::default(), Compatibility::Strict);
        let diagnostics = outcome.diagnostics.clone();
        outcome
            .session
            .unwrap_or_else(|| panic!("{text}\n{diagnostics:#?}"))
    }

    fn requirements(attestation: &str, security: &str) -> Result<Requirements, Unresolved> {
        let session = session(attestation, security);
        let fragment = json!([{"mrenclave": ["04".repeat(32)], "simulated": true}]);
        let fragments = Given([("fragment", fragment)].into());
        Requirements::of(&session, &session.services[0], &fragments)
    }

    #[test]
    fn a_program_must_be_named_and_a_simulation_wanted() {
        let one = "01".repeat(32);
        let wanted =
            requirements(&format!("[{{mrenclave: [{one}], simulated: true}}]"), "").unwrap();
        assert_eq!(wanted.admit(&simulated(1)), Ok(()));
        assert!(!wanted.admit(&simulated(2)).unwrap_err().simulated);
        let real = requirements(&format!("[{{mrenclave: [{one}]}}]"), "").unwrap();
        let refused = real.admit(&simulated(1)).unwrap_err();
        assert!(refused.to_string().contains("none says `simulated: true`"));
        let hardware = Proven {
            simulated: false,
            ..simulated(1)
        };
        assert_eq!(real.admit(&hardware), Ok(()));
    }

    /// MRCONFIGID and HOST_DATA are what the host writes there.
    #[test]
    fn a_workload_counts_only_in_a_machine_that_is_named() {
        let workload = "05".repeat(32);
        let mut mr_config_id = [0; 48];
        mr_config_id[..32].fill(5);
        let machines = [1, 2].map(|measurement| {
            [
                Program::Tdx {
                    mr_td: [measurement; 48],
                    rtmr: [[0; 48], [measurement; 48], [measurement; 48]],
                    mr_config_id,
                },
                Program::Snp {
                    measurement: [measurement; 48],
                    host_data: [5; 32],
                },
            ]
        });
        let admitted = |rule: &str, program: &Program| {
            let proven = Proven {
                simulated: false,
                program: program.clone(),
            };
            requirements(rule, "").unwrap().admit(&proven).is_ok()
        };
        let alone = format!("[{{workload: [{workload}]}}]");
        let one = "01".repeat(48);
        let guest = format!("[{{workload: [{workload}], measurement: [{one}]}}]");
        let domain = format!(
            "[{{workload: [{workload}], measurement: [{one}], rtmr1: [{one}], rtmr2: [{one}]}}]"
        );
        let [good, other] = &machines;
        for ((named, good), other) in [&domain, &guest].into_iter().zip(good).zip(other) {
            assert!(!admitted(&alone, good));
            assert!(admitted(named, good));
            assert!(!admitted(named, other));
        }
        // The firmware of a trust domain is not all of it, and a guest has no registers.
        let [domain_of_machine, guest_of_machine] = good;
        assert!(!admitted(&guest, domain_of_machine));
        assert!(!admitted(&domain, guest_of_machine));
        for register in 1..3 {
            let mut kernel_of_the_host = domain_of_machine.clone();
            if let Program::Tdx { rtmr, .. } = &mut kernel_of_the_host {
                rtmr[register] = [3; 48];
            }
            assert!(!admitted(&domain, &kernel_of_the_host));
        }
        let configured = domain.replace("rtmr1:", &format!("rtmr0: [{one}], rtmr1:"));
        assert!(!admitted(&configured, domain_of_machine));
    }

    #[test]
    fn entries_are_alternatives_and_their_parts_conditions() {
        let signer = |svn: &str| {
            format!(
                "[{{mrenclave: [{}], simulated: true}}, {{signer: {{mrsigner: {}, isvprodid: 1, {svn}}}, simulated: true}}]",
                "02".repeat(32),
                "07".repeat(32)
            )
        };
        for (svn, admitted) in [
            ("isvsvn: 1", true),
            ("isvsvn: 2", false),
            ("isvsvn_min: 1", true),
            ("isvsvn_min: 2", false),
        ] {
            let wanted = requirements(&signer(svn), "").unwrap();
            assert_eq!(wanted.admit(&simulated(9)).is_ok(), admitted, "{svn}");
            assert!(wanted.admit(&simulated(2)).is_ok());
        }
        let both = format!(
            "[{{mrenclave: [{}], signer: {{mrsigner: {}, isvprodid: 1}}, simulated: true}}]",
            "02".repeat(32),
            "07".repeat(32)
        );
        let both = requirements(&both, "").unwrap();
        assert!(both.admit(&simulated(2)).is_ok());
        assert!(both.admit(&simulated(9)).is_err());
    }

    #[test]
    fn fragments_say_what_another_session_decides() {
        let wanted = requirements("['$$MSE::fragment$$']", "").unwrap();
        assert!(wanted.admit(&simulated(4)).is_ok());
        assert!(wanted.admit(&simulated(1)).is_err());
    }

    #[test]
    fn simulated_roots_are_trusted_only_if_a_rule_wants_them() {
        let one = "01".repeat(32);
        let now = SystemTime::now();
        let forge = mse_simtee::testing::Forge::new(now).unwrap();
        let anchor = TrustAnchor::simulated(&forge.root.certificate, None).unwrap();
        let real = requirements(&format!("[{{mrenclave: [{one}]}}]"), "").unwrap();
        assert!(
            !real
                .policy(std::slice::from_ref(&anchor), now)
                .accepts_simulated()
        );
        let sim = requirements(&format!("[{{mrenclave: [{one}], simulated: true}}]"), "").unwrap();
        assert!(sim.policy(&[anchor], now).accepts_simulated());
        assert!(!sim.policy(&[], now).accepts_simulated());
    }

    #[test]
    fn modes_without_evidence_are_not_served() {
        let mode =
            "security: {attestation: {mode: {what: none, reason: no TEE here, until: 2999-01-01}}}";
        let one = "01".repeat(32);
        let refused = requirements(&format!("[{{mrenclave: [{one}]}}]"), mode);
        assert_eq!(refused, Err(Unresolved::Mode("none")));
    }
}
