//! The appraisal itself: evidence, collateral, policy, reference values and time in, verdict out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    Appraisal, CheckName, Collateral, Evidence, Policy, ReferenceValues, Refusal, Tee, dcap,
    ledger::Ledger,
    memory::{Key, Memory, Remembered},
    nitro, snp, vtpm,
};

/// Appraises `evidence` with `collateral` under `policy` against `expected`, at the time `now`.
///
/// The checks, in the order in which they decide (each is in the result, by its [`CheckName`]):
///
/// 1. The evidence has exactly the layout of its kind: sizes, version, algorithm, vendor, nothing
///    cut off and nothing after it.
/// 2. Its certificate chain ends in an anchor of the policy: same key, and signed by it. The
///    anchor says which kind of platform it is; nothing in the evidence does.
/// 3. Certificates, CRLs, collateral and the evidence itself are signed, current, unrevoked and
///    about each other (FMSPC and PCE-ID; chip id and TCB). No certificate carries an extension
///    twice.
/// 4. The policy accepts the age of the collateral, the TCB status, the advisories.
/// 5. The code is the expected one: debug mode, attributes, measurements, signer, versions and
///    all bytes of report data.
///
/// A platform whose status is [`crate::TcbStatus::UpToDate`] passes whatever advisories the
/// collateral lists with that status: they are fixed there. For any other accepted status each
/// advisory must be tolerated by name.
///
/// The checks of step 5 need no trust and are reported even when an earlier one failed; what
/// decides is the first failure in the order above.
pub fn appraise(
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    expected: &ReferenceValues,
    now: SystemTime,
) -> Result<Appraisal, Refusal> {
    appraise_with(evidence, collateral, policy, expected, now, None)
}

/// As [`appraise`], with a memory of what was verified before.
pub(crate) fn appraise_with(
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    expected: &ReferenceValues,
    now: SystemTime,
    memory: Option<&Memory>,
) -> Result<Appraisal, Refusal> {
    let case = Case::new(collateral, policy, expected, now, memory);
    let mut ledger = Ledger::under(policy);
    if let Err(error) = collateral.check_size() {
        ledger.malformed(
            CheckName::CollateralFormat,
            format!("{} bytes", collateral.size()),
            "the limit",
            error.to_string(),
        );
        // What is too large is not parsed.
        return ledger.conclude();
    }
    match evidence {
        Evidence::SgxDcap(quote) => dcap::appraise_as(&mut ledger, Tee::Sgx, quote, &case),
        Evidence::TdxDcap(quote) => dcap::appraise_as(&mut ledger, Tee::Tdx, quote, &case),
        Evidence::Snp(report) => snp::appraise(&mut ledger, report, &case),
        Evidence::Nitro(document) => nitro::appraise(&mut ledger, document, &case),
        Evidence::Vtpm(evidence) => vtpm::appraise(&mut ledger, evidence, &case),
    }
    ledger.conclude()
}

/// What evidence is appraised with and against.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) collateral: &'a Collateral,
    pub(crate) policy: &'a Policy,
    pub(crate) expected: &'a ReferenceValues,
    /// Unix seconds.
    pub(crate) now: u64,
    memory: Option<&'a Memory>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        collateral: &'a Collateral,
        policy: &'a Policy,
        expected: &'a ReferenceValues,
        now: SystemTime,
        memory: Option<&'a Memory>,
    ) -> Self {
        Self {
            collateral,
            policy,
            expected,
            now: now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            memory,
        }
    }

    /// The time as the policy's dates have it.
    pub(crate) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now)
    }

    /// Whether anything can be remembered: if not, keys need not be computed.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// What is remembered under `key`, if it is still valid.
    pub(crate) fn recall(&self, key: &Key) -> Option<Remembered> {
        self.memory.and_then(|memory| memory.recall(key, self.now))
    }

    pub(crate) fn remember(&self, key: Key, what: Remembered) {
        if let Some(memory) = self.memory {
            memory.remember(key, what, self.now);
        }
    }

    /// The same case with other collateral.
    pub(crate) fn with_collateral(self, collateral: &'a Collateral) -> Self {
        Self { collateral, ..self }
    }

    /// The same case for evidence within other evidence, of which nothing particular is expected
    /// but `expected`.
    pub(crate) fn with_expected(self, expected: &'a ReferenceValues) -> Self {
        Self { expected, ..self }
    }
}
