//! Policy (whom to trust, and how old, how patched) and reference values (what to expect).

mod claims;
mod error;
mod exceptions;
mod file;
mod read;
mod sections;
mod status;
#[cfg(test)]
mod tests;
mod tolerance;
mod words;

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

pub use error::PolicyError;
pub use file::{MAX_POLICY_BYTES, POLICY_EXAMPLE};
pub use status::{TcbStatus, UnknownTcbStatus};
pub(crate) use tolerance::Tolerance;
pub use words::{Statement, StatementKind};

use crate::{
    CheckName, Reason, Tee, TrustAnchor,
    anchor::{Pki, told_apart},
    judge::join,
    ledger::{Failure, Ledger},
    nitro, snp, vtpm,
    x509::Certificate,
};

/// The conditions under which evidence is accepted.
///
/// Starts from [`Policy::strict`]; each method that loosens it is named for what it lets through,
/// and a verdict that leans on it says so ([`crate::Outcome::Tolerated`]). [`Policy::from_toml`]
/// reads one from a file, in which every exception has a reason and an end.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What it is for, in its author's words.
    pub(crate) description: Option<String>,
    /// Which TEEs may pass; all whose root is trusted, if it does not say.
    pub(crate) tees: Option<Vec<Tee>>,
    pub(crate) anchors: Vec<TrustAnchor>,
    pub(crate) accepted_statuses: Vec<AcceptedStatus>,
    pub(crate) tolerated_advisories: Vec<ToleratedAdvisory>,
    /// Set if code in debug mode is accepted.
    pub(crate) debug: Option<Tolerance>,
    pub(crate) min_tcb_evaluation_number: u32,
    pub(crate) max_collateral_age: Option<Duration>,
    /// By name with section (`tdx.mr_td`): the values of which one must be found.
    pub(crate) references: BTreeMap<String, Vec<Vec<u8>>>,
    pub(crate) sgx: SgxPolicy,
    pub(crate) tdx: TdxPolicy,
    pub(crate) snp: snp::SnpPolicy,
    pub(crate) nitro: nitro::NitroPolicy,
    pub(crate) vtpm: vtpm::VtpmPolicy,
}

/// What a policy asks of SGX enclaves besides reference values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SgxPolicy {
    pub(crate) isv_prod_id: Option<u16>,
    pub(crate) min_isv_svn: u16,
}

/// What a policy asks of TDX trust domains besides reference values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TdxPolicy {
    /// Lets through a trust domain whose host may inject faults on pages it has accepted
    /// (`SEPT_VE_DISABLE` is not set).
    pub(crate) sept_ve: Option<Tolerance>,
    /// Lets through trust domains that a service TD can move to another machine.
    pub(crate) migration: Option<Tolerance>,
    /// Service TDs that may be bound.
    pub(crate) service_tds: Vec<ServiceTd>,
    /// Component SVNs of the TDX module that are asked for at least (TEE_TCB_SVN).
    pub(crate) min_tee_tcb_svn: [u8; 16],
}

impl Policy {
    /// Hardware roots only, TCB status [`TcbStatus::UpToDate`] only, no debug mode, no trust
    /// domain or guest that can be moved away or that another one serves.
    pub fn strict() -> Self {
        // To read a root costs as much as several appraisals: its own signature is checked.
        static HARDWARE: LazyLock<Vec<TrustAnchor>> = LazyLock::new(|| {
            let mut anchors = vec![TrustAnchor::intel()];
            anchors.extend(snp::hardware_anchors());
            anchors.extend(nitro::hardware_anchors());
            anchors.extend(vtpm::hardware_anchors());
            anchors
        });
        Self {
            description: None,
            tees: None,
            anchors: HARDWARE.clone(),
            accepted_statuses: Vec::new(),
            tolerated_advisories: Vec::new(),
            debug: None,
            min_tcb_evaluation_number: 0,
            max_collateral_age: None,
            references: BTreeMap::new(),
            sgx: SgxPolicy::default(),
            tdx: TdxPolicy::default(),
            snp: snp::SnpPolicy::default(),
            nitro: nitro::NitroPolicy::default(),
            vtpm: vtpm::VtpmPolicy::default(),
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
        self.accepted_statuses.push(AcceptedStatus {
            status,
            tolerance: Tolerance::default(),
        });
        self
    }

    /// Tolerates a security advisory (`INTEL-SA-…`) until a date, on platforms whose status is
    /// accepted without being [`TcbStatus::UpToDate`]. After `until` the platform is refused
    /// again, so no exception outlives the review it was given.
    #[must_use]
    pub fn tolerate_advisory(mut self, id: impl Into<String>, until: SystemTime) -> Self {
        self.tolerated_advisories.push(ToleratedAdvisory {
            id: id.into(),
            tolerance: Tolerance::until(until),
        });
        self
    }

    /// Accepts code whose memory a debugger can read. Never for anything that matters.
    #[must_use]
    pub fn allow_debug(mut self) -> Self {
        self.debug = Some(Tolerance::default());
        self
    }

    /// Accepts evidence only if the claim `name` (with its section: `tdx.mr_td`, `snp.measurement`,
    /// `nitro.pcr0`) has this value, or one of the values that other calls name for it.
    ///
    /// Evidence of another section is not concerned; [`ReferenceValues`] are for what every
    /// evidence must have.
    #[must_use]
    pub fn require_reference(mut self, name: impl Into<String>, value: Vec<u8>) -> Self {
        self.references.entry(name.into()).or_default().push(value);
        self
    }

    /// Accepts only SGX enclaves of this signer (SHA-256 of the RSA-3072 modulus, little-endian).
    #[must_use]
    pub fn require_mrsigner(self, mrsigner: [u8; 32]) -> Self {
        self.require_reference("sgx.mrsigner", mrsigner.to_vec())
    }

    /// Accepts only SGX enclaves with this product id.
    #[must_use]
    pub fn require_isv_prod_id(mut self, id: u16) -> Self {
        self.sgx.isv_prod_id = Some(id);
        self
    }

    /// Accepts only SGX enclaves with at least this security version.
    #[must_use]
    pub fn require_min_isv_svn(mut self, svn: u16) -> Self {
        self.sgx.min_isv_svn = svn;
        self
    }

    /// Accepts trust domains whose host may inject faults on pages that were accepted before.
    #[must_use]
    pub fn allow_tdx_sept_ve(mut self) -> Self {
        self.tdx.sept_ve = Some(Tolerance::default());
        self
    }

    /// Accepts trust domains that can be moved to another machine.
    #[must_use]
    pub fn allow_tdx_migration(mut self) -> Self {
        self.tdx.migration = Some(Tolerance::default());
        self
    }

    /// Accepts trust domains that are bound to this service TD (MR_SERVICETD).
    #[must_use]
    pub fn allow_tdx_service_td(mut self, mr_service_td: [u8; 48]) -> Self {
        self.tdx.service_tds.push(ServiceTd {
            mr_service_td,
            tolerance: Tolerance::default(),
        });
        self
    }

    /// Accepts only trust domains whose module has at least these component SVNs (TEE_TCB_SVN).
    #[must_use]
    pub fn require_tdx_min_tee_tcb_svn(mut self, svn: [u8; 16]) -> Self {
        self.tdx.min_tee_tcb_svn = svn;
        self
    }

    /// Accepts evidence of these TEEs only. [`Tee::Simulated`] need not be named: simulated
    /// evidence passes by its trust anchor, and only by it.
    #[must_use]
    pub fn require_tees(mut self, tees: impl IntoIterator<Item = Tee>) -> Self {
        self.tees = Some(tees.into_iter().collect());
        self
    }

    /// What the policy is for, if its file says so.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Whether some simulated platform may pass.
    pub fn accepts_simulated(&self) -> bool {
        self.anchors.iter().any(TrustAnchor::is_simulated)
    }

    /// Accepts only collateral of at least this TCB evaluation data number, which the vendor
    /// raises at each TCB recovery.
    #[must_use]
    pub fn require_min_tcb_evaluation_number(mut self, number: u32) -> Self {
        self.min_tcb_evaluation_number = number;
        self
    }

    /// Accepts only collateral whose oldest document was issued at most `age` ago; the root's CRL,
    /// which is renewed once a year, may be older.
    #[must_use]
    pub fn require_max_collateral_age(mut self, age: Duration) -> Self {
        self.max_collateral_age = Some(age);
        self
    }

    /// Accepts only Nitro documents that were made at most `age` ago. Without it a document is
    /// accepted as long as its signer's certificate is valid: three hours.
    #[must_use]
    pub fn require_max_nitro_age(mut self, age: Duration) -> Self {
        self.nitro.max_age = Some(age);
        self
    }

    /// Accepts Nitro documents of enclaves only, not those of EC2 instances with a NitroTPM.
    #[must_use]
    pub fn require_nitro_enclaves(mut self) -> Self {
        self.nitro.attesters = nitro::AcceptedAttesters::EnclavesOnly;
        self
    }

    /// The statuses accepted at `now`, as text.
    pub(crate) fn accepted_statuses(&self, now: SystemTime) -> Vec<&'static str> {
        let mut names = vec![TcbStatus::UpToDate.as_str()];
        for accepted in &self.accepted_statuses {
            if accepted.tolerance.is_in_force(now) && !names.contains(&accepted.status.as_str()) {
                names.push(accepted.status.as_str());
            }
        }
        names
    }

    /// The subjects of the trusted roots of one PKI, as text.
    pub(crate) fn anchors_of(&self, pki: Pki) -> String {
        join(
            self.anchors
                .iter()
                .filter(|anchor| anchor.pki() == pki)
                .map(TrustAnchor::told_apart),
        )
    }

    /// The anchor whose root is `der` to the byte, which needs no look into it.
    pub(crate) fn find_very_anchor(
        &self,
        ledger: &mut Ledger,
        pki: Pki,
        der: &[u8],
    ) -> Option<&TrustAnchor> {
        let found = self
            .anchors
            .iter()
            .find(|anchor| anchor.pki() == pki && anchor.root_der() == der)?;
        ledger.passed_anchor(found.subject().to_owned(), found);
        Some(found)
    }

    /// The anchor that `root`, the last certificate of a chain, is; the ledger says if there is
    /// none.
    pub(crate) fn find_anchor(
        &self,
        ledger: &mut Ledger,
        pki: Pki,
        root: &Certificate<'_>,
    ) -> Option<&TrustAnchor> {
        let subject = root.subject();
        let found = self
            .anchors
            .iter()
            .find(|anchor| anchor.pki() == pki && anchor.is_root(root));
        if let Some(anchor) = found {
            ledger.passed_anchor(subject, anchor);
            return found;
        }
        // The name is only a courtesy to the reader: nothing is accepted for it.
        let mut compared = subject.clone();
        let failure = if subject.contains("SIMULATED") {
            compared = told_apart(&subject, root.der());
            Failure {
                reason: Reason::SimulatedEvidence,
                why:
                    "the evidence is simulated, and the trust anchor of its platform was not given"
                        .into(),
                hint: "no hardware stands behind it; to accept it on purpose, give that platform's trust anchor with `--simulated FILE`",
            }
        } else {
            Failure {
                reason: Reason::UnknownRoot,
                why: "the evidence's certificate chain does not end in a trusted root".into(),
                hint: "only roots of hardware vendors are trusted; evidence of pre-production or test platforms is refused",
            }
        };
        ledger.failed(
            CheckName::RootOfTrust,
            compared,
            self.anchors_of(pki),
            failure,
        );
        None
    }

    /// Why `status` is accepted at `now`, or `None` if it is not.
    pub(crate) fn acceptance_of(
        &self,
        status: TcbStatus,
        now: SystemTime,
    ) -> Option<Acceptance<'_>> {
        match status {
            TcbStatus::UpToDate => Some(Acceptance::Always),
            TcbStatus::Revoked => None,
            _ => self
                .accepted_statuses
                .iter()
                .find(|accepted| accepted.status == status && accepted.tolerance.is_in_force(now))
                .map(Acceptance::Tolerated),
        }
    }
}

/// On what ground a TCB status is accepted.
pub(crate) enum Acceptance<'p> {
    /// It is the status that every policy accepts.
    Always,
    /// The policy names it.
    Tolerated(&'p AcceptedStatus),
}

/// The values that the evidence itself must carry. What is not given is not compared, and the
/// result says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    /// Measurement of the SGX enclave. Evidence of another TEE is refused if it is given.
    pub mrenclave: Option<[u8; 32]>,
    /// Signer of the SGX enclave. Evidence of another TEE is refused if it is given.
    pub mrsigner: Option<[u8; 32]>,
    /// What the code put into its report: compared over all 64 bytes. Evidence that has no such
    /// field is refused if it is given.
    pub report_data: Option<[u8; 64]>,
    /// What the code signed as the verifier's challenge, for evidence with such a field (Nitro,
    /// virtual TPMs): compared over all bytes. Evidence that has none is refused if it is given.
    pub nonce: Option<Vec<u8>>,
    /// Values by claim, without section: `mr_td`, `rtmr1`, `measurement`, `host_data`, `pcr0`.
    /// Evidence without such a claim is refused.
    pub claims: BTreeMap<String, Vec<u8>>,
}

/// A TCB status other than [`TcbStatus::UpToDate`] that is accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedStatus {
    pub(crate) status: TcbStatus,
    pub(crate) tolerance: Tolerance,
}

/// An advisory that may apply to a platform which is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToleratedAdvisory {
    pub(crate) id: String,
    pub(crate) tolerance: Tolerance,
}

/// A service TD that may be bound to a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceTd {
    pub(crate) mr_service_td: [u8; 48],
    pub(crate) tolerance: Tolerance,
}
