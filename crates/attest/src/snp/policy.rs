//! What a policy asks of SNP guests and their platforms, besides reference values.

use std::collections::{BTreeMap, BTreeSet};

use super::{SnpProduct, SnpTcb};
use crate::{Policy, policy::Tolerance};

/// Conditions on SNP reports. The default is the strict one:
///
/// * VMPL 0 only: less privileged levels run under somebody else's code in the same guest, and the
///   measurement does not say which.
/// * No migration agent: it can move the guest's memory to a machine that nobody has attested.
/// * A VCEK's report names its chip.
/// * SMT, several sockets and any TCB version that AMD has certified pass: the vendor does not
///   say which versions are out of date, so only the relying party can.
/// * AMD's CRL is judged if it is given: the KDS is the only source, and it lists no VEKs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnpPolicy {
    pub(crate) min_tcb: BTreeMap<SnpProduct, SnpTcb>,
    pub(crate) min_launch_tcb: BTreeMap<SnpProduct, SnpTcb>,
    /// Reports up to this VMPL are accepted besides those of VMPL 0.
    pub(crate) vmpl: Option<(u32, Tolerance)>,
    /// Major, then minor version.
    pub(crate) min_abi: (u8, u8),
    pub(crate) min_guest_svn: u32,
    pub(crate) demands: BTreeSet<Demand>,
    pub(crate) concessions: BTreeMap<Concession, Tolerance>,
    /// Providers whose VLEKs are accepted; any, if there is none.
    pub(crate) csp_ids: Vec<String>,
    pub(crate) require_crl: bool,
}

/// What a guest or its platform must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Demand {
    NoSmt,
    SingleSocket,
    CiphertextHiding,
    AliasCheck,
}

/// What the strict policy refuses and this one lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Concession {
    MigrationAgent,
    MaskedChip,
}

impl SnpPolicy {
    /// The terms of a concession, in force or not.
    pub(super) fn concession(&self, concession: Concession) -> Option<&Tolerance> {
        self.concessions.get(&concession)
    }
}

impl Policy {
    /// Accepts SNP guests on this product line only if each part of the reported TCB version is at
    /// least that of `floor`. Other product lines are not concerned.
    ///
    /// The reported version is the one that the VEK's key proves; what the platform has committed
    /// to and runs is never older.
    #[must_use]
    pub fn require_snp_min_tcb(mut self, product: SnpProduct, floor: SnpTcb) -> Self {
        self.snp.min_tcb.insert(product, floor);
        self
    }

    /// Accepts SNP guests on this product line only if each part of the TCB version at their
    /// launch was at least that of `floor`: a platform that was updated under a running guest may
    /// have leaked the guest's secrets before.
    #[must_use]
    pub fn require_snp_min_launch_tcb(mut self, product: SnpProduct, floor: SnpTcb) -> Self {
        self.snp.min_launch_tcb.insert(product, floor);
        self
    }

    /// Accepts SNP guests whose memory a migration agent can move to another machine.
    #[must_use]
    pub fn allow_snp_migration_agent(mut self) -> Self {
        self.snp
            .concessions
            .insert(Concession::MigrationAgent, Tolerance::default());
        self
    }

    /// Accepts SNP reports that a privilege level up to `max` (at most 3) asked for. What runs at
    /// the more privileged levels can read and change what runs at this one.
    #[must_use]
    pub fn allow_snp_vmpl(mut self, max: u8) -> Self {
        self.snp.vmpl = Some((u32::from(max).min(3), Tolerance::default()));
        self
    }

    /// Accepts SNP reports that are signed with a VCEK and do not name the chip.
    #[must_use]
    pub fn allow_snp_masked_chip_id(mut self) -> Self {
        self.snp
            .concessions
            .insert(Concession::MaskedChip, Tolerance::default());
        self
    }

    /// Accepts only SNP guests whose policy asks for at least this version of the firmware ABI.
    #[must_use]
    pub fn require_snp_min_abi(mut self, major: u8, minor: u8) -> Self {
        self.snp.min_abi = (major, minor);
        self
    }

    /// Accepts only SNP guests of at least this security version.
    #[must_use]
    pub fn require_snp_min_guest_svn(mut self, svn: u32) -> Self {
        self.snp.min_guest_svn = svn;
        self
    }

    /// Accepts only SNP guests that must not run where a core runs two threads.
    #[must_use]
    pub fn require_snp_no_smt(self) -> Self {
        self.require_snp(Demand::NoSmt)
    }

    /// Accepts only SNP guests that must run on one socket.
    #[must_use]
    pub fn require_snp_single_socket(self) -> Self {
        self.require_snp(Demand::SingleSocket)
    }

    /// Accepts only SNP guests whose host must not see even the ciphertext of their memory.
    #[must_use]
    pub fn require_snp_ciphertext_hiding(self) -> Self {
        self.require_snp(Demand::CiphertextHiding)
    }

    /// Accepts only SNP platforms whose firmware has checked that no two addresses lead to the
    /// same memory (against BadRAM, CVE-2024-21944).
    #[must_use]
    pub fn require_snp_alias_check(self) -> Self {
        self.require_snp(Demand::AliasCheck)
    }

    /// Accepts SNP reports that are signed with a VLEK only if AMD gave it to this provider (the
    /// whole `cspID` of the certificate), or to one that other calls name.
    #[must_use]
    pub fn require_snp_csp_id(mut self, id: impl Into<String>) -> Self {
        self.snp.csp_ids.push(id.into());
        self
    }

    /// Accepts certificates of vendors whose CRL is optional (AMD) only with a CRL.
    #[must_use]
    pub fn require_crl(mut self) -> Self {
        self.snp.require_crl = true;
        self
    }

    fn require_snp(mut self, demand: Demand) -> Self {
        self.snp.demands.insert(demand);
        self
    }
}
