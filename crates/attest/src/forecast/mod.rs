//! When and why a platform will stop passing.
//!
//! A verdict holds for one instant. Documents and certificates expire, exceptions of the policy
//! end, and the vendor publishes new collateral under which a platform that was up to date is out
//! of date (a *TCB recovery*). [`forecast`] goes through all of that for one piece of evidence and
//! asks the verifier itself, [`crate::appraise`], what it will say at each of these instants: the
//! forecast cannot say anything else than the verifier will.
//!
//! Several sets of collateral of one platform may be given, of different days: each applies from
//! the issue of its newest document until the next one applies, as for a verifier that always has
//! the newest. What each of them says about the platform is in [`Forecast::collaterals`] besides,
//! so that one with a higher TCB evaluation data number (Intel's early updates) tells today what
//! TCB recovery day will bring.

mod events;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use thiserror::Error;

use crate::{
    CheckName, Collateral, Evidence, EvidenceKind, Outcome, Policy, ReferenceValues, Refusal, Tcb,
    TcbStatus,
    appraise::{Case, appraise_with},
    dcap::{self, NewestLevel},
    memory::Memory,
};

/// The most sets of collateral that one forecast takes.
pub const MAX_COLLATERALS: usize = 100;

/// What the verifier will say about `evidence` from `from` to `until`, with the newest of
/// `collaterals` at each instant.
///
/// Without collateral, for evidence that carries all that it needs, give an empty slice.
/// Reference values are those of the policy; what the caller of a verification expects besides
/// does not change with time.
pub fn forecast(
    evidence: &Evidence,
    collaterals: &[Collateral],
    policy: &Policy,
    from: SystemTime,
    until: SystemTime,
) -> Result<Forecast, ForecastError> {
    if collaterals.len() > MAX_COLLATERALS {
        return Err(ForecastError::TooManyCollaterals {
            count: collaterals.len(),
        });
    }
    let (from, until) = (seconds(from), seconds(until));
    if until < from {
        return Err(ForecastError::Backwards { from, until });
    }
    let seer = Seer::new(evidence, collaterals, policy, from);
    let events = seer.events(from, until);
    let start = seer.prospect(from);
    let first = |holds: fn(&Prospect) -> bool| {
        std::iter::once((from, &start))
            .chain(events.iter().map(|event| (event.at, &event.verdict)))
            .find(|(_, verdict)| holds(verdict))
            .map(|(at, _)| at)
    };
    Ok(Forecast {
        kind: evidence.kind(),
        from,
        until,
        refused_from: first(|verdict| !verdict.accepted),
        refused_for_good_from: first(|verdict| {
            !verdict.accepted && !verdict.fresh_collateral_helps
        }),
        collaterals: seer.collaterals(from),
        set_aside: seer.set_aside.clone(),
        start,
        events,
    })
}

/// What will become of a platform's verdict.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Forecast {
    /// The kind of evidence.
    pub kind: EvidenceKind,
    /// The first instant that was looked at, unix seconds.
    pub from: u64,
    /// The last instant that was looked at, unix seconds.
    pub until: u64,
    /// The verdict at `from`.
    pub start: Prospect,
    /// The first instant at which the verifier refuses, with the given collateral; `None` if it
    /// accepts up to `until`.
    pub refused_from: Option<u64>,
    /// The first instant at which it refuses for a reason that fresh collateral does not cure, as
    /// far as the given collateral tells.
    pub refused_for_good_from: Option<u64>,
    /// What each set of collateral says about the platform, lowest evaluation number first.
    pub collaterals: Vec<UnderCollateral>,
    /// Indices of sets of collateral that are not about this platform, or that do not verify.
    pub set_aside: Vec<usize>,
    /// What changes in between, in the order of time.
    pub events: Vec<Event>,
}

/// Something that changes the verdict, or could.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The first instant after the change, unix seconds.
    pub at: u64,
    /// What sort of change it is.
    pub kind: EventKind,
    /// What happens.
    pub what: String,
    /// What that does to the verdict.
    pub effect: String,
    /// What to do before.
    pub remedy: String,
    /// The verdict at this instant.
    pub verdict: Prospect,
}

/// The sorts of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A newer set of collateral applies.
    CollateralApplies,
    /// A signed document or a revocation list is past its next update.
    DocumentExpires,
    /// A certificate expires.
    CertificateExpires,
    /// The collateral becomes older than the policy allows.
    CollateralTooOld,
    /// An exception of the policy ends.
    ToleranceEnds,
    /// The verdict changes for another reason, which it gives.
    Other,
}

/// What the verifier says at some instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Prospect {
    /// Whether it accepts.
    pub accepted: bool,
    /// TCB status of the platform, for TEEs whose vendor gives one.
    pub status: Option<TcbStatus>,
    /// Date of the TCB level that the platform meets, RFC 3339.
    pub level_date: Option<String>,
    /// Advisories that apply to the platform.
    pub advisory_ids: Vec<String>,
    /// What passes only because the policy tolerates it.
    pub tolerated: Vec<String>,
    /// The check that refuses.
    pub failed: Option<CheckName>,
    /// Why it refuses.
    pub why: Option<String>,
    /// The verifier refuses, and only for the age of the collateral: fresh collateral helps.
    pub fresh_collateral_helps: bool,
    #[serde(skip)]
    hint: &'static str,
}

/// What one set of collateral says about the platform.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnderCollateral {
    /// Its index among those that were given.
    pub index: usize,
    /// TCB evaluation data number.
    pub evaluation_number: u32,
    /// From when on it applies: the issue of its newest document, unix seconds.
    pub applies_from: u64,
    /// When the first document or certificate of it expires, unix seconds.
    pub expires: u64,
    /// The verdict with it: at its issue, or at the beginning of the forecast if that is later.
    pub verdict: Prospect,
    /// Status of the best TCB level that it lists.
    pub newest_level_status: Option<TcbStatus>,
    /// Date of that level, RFC 3339.
    pub newest_level_date: Option<String>,
    /// What the platform does not reach of that level; empty if it meets it.
    pub lacking: Vec<String>,
}

/// Why there is no forecast.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// More collateral than anybody keeps.
    #[error(
        "`{count}` sets of collateral are more than {MAX_COLLATERALS}; give those of the last months"
    )]
    TooManyCollaterals {
        /// How many were given.
        count: usize,
    },
    /// The time span ends before it begins.
    #[error(
        "the forecast would begin at `{from}` and end before it, at `{until}`; name a later end"
    )]
    Backwards {
        /// Begin, unix seconds.
        from: u64,
        /// End, unix seconds.
        until: u64,
    },
}

/// Asks the verifier about one platform at any time.
struct Seer<'a> {
    evidence: &'a Evidence,
    policy: &'a Policy,
    memory: Memory,
    expected: ReferenceValues,
    /// In the order in which they apply.
    known: Vec<Known<'a>>,
    set_aside: Vec<usize>,
}

/// Collateral that was verified for the platform.
struct Known<'a> {
    index: usize,
    collateral: &'a Collateral,
    outlook: Option<dcap::Outlook>,
}

impl Known<'_> {
    fn applies_from(&self) -> u64 {
        self.outlook
            .as_ref()
            .map_or(0, |outlook| outlook.applies_from)
    }

    fn evaluation_number(&self) -> u32 {
        self.outlook
            .as_ref()
            .map_or(0, |outlook| outlook.evaluation_number)
    }
}

impl<'a> Seer<'a> {
    fn new(
        evidence: &'a Evidence,
        collaterals: &'a [Collateral],
        policy: &'a Policy,
        from: u64,
    ) -> Self {
        let mut seer = Self {
            evidence,
            policy,
            memory: Memory::default(),
            expected: ReferenceValues::default(),
            known: Vec::new(),
            set_aside: Vec::new(),
        };
        for (index, collateral) in collaterals.iter().enumerate() {
            let outlook = match evidence {
                Evidence::SgxDcap(quote) | Evidence::TdxDcap(quote) => {
                    let case = Case::new(collateral, policy, &seer.expected, time(from), None);
                    let outlook = collateral
                        .check_size()
                        .map(|()| dcap::outlook(quote, &case));
                    let Ok(Ok(outlook)) = outlook else {
                        seer.set_aside.push(index);
                        continue;
                    };
                    Some(outlook)
                }
                _ => None,
            };
            seer.known.push(Known {
                index,
                collateral,
                outlook,
            });
        }
        // Where none verifies, the verifier says why with the first of them.
        if let ([], [first, ..]) = (seer.known.as_slice(), collaterals) {
            seer.set_aside.retain(|index| *index != 0);
            seer.known.push(Known {
                index: 0,
                collateral: first,
                outlook: None,
            });
        }
        seer.known
            .sort_by_key(|known| (known.applies_from(), known.evaluation_number(), known.index));
        seer
    }

    /// The collateral that a verifier has at `at` that always has the newest: before there is any,
    /// the first.
    fn in_force(&self, at: u64) -> Option<&Known<'a>> {
        self.known
            .iter()
            .rev()
            .find(|known| known.applies_from() <= at)
            .or_else(|| self.known.first())
    }

    fn prospect(&self, at: u64) -> Prospect {
        self.prospect_with(self.in_force(at), at)
    }

    fn prospect_with(&self, known: Option<&Known<'_>>, at: u64) -> Prospect {
        let none = Collateral::none();
        let verdict = appraise_with(
            self.evidence,
            known.map_or(&none, |known| known.collateral),
            self.policy,
            &self.expected,
            time(at),
            Some(&self.memory),
        );
        match verdict {
            Ok(appraisal) => Prospect {
                accepted: true,
                tolerated: appraisal
                    .tolerated()
                    .map(|check| match &check.outcome {
                        Outcome::Tolerated { why } => why.clone(),
                        _ => check.name.to_string(),
                    })
                    .collect(),
                ..Prospect::with_tcb(appraisal.tcb.as_ref())
            },
            Err(refusal) => Prospect {
                failed: Some(refusal.failed),
                fresh_collateral_helps: is_only_old(&refusal, known, at),
                hint: refusal.hint,
                ..Prospect::with_tcb(refusal.tcb.as_deref())
            }
            .saying(refusal.why),
        }
    }

    fn collaterals(&self, from: u64) -> Vec<UnderCollateral> {
        let mut all: Vec<_> = self
            .known
            .iter()
            .filter_map(|known| Some((known, known.outlook.as_ref()?)))
            .map(|(known, outlook)| {
                let newest = outlook.newest_level.as_ref();
                UnderCollateral {
                    index: known.index,
                    evaluation_number: outlook.evaluation_number,
                    applies_from: outlook.applies_from,
                    expires: outlook
                        .periods
                        .iter()
                        .map(|(_, validity)| validity.until)
                        .min()
                        .unwrap_or(u64::MAX),
                    verdict: self.prospect_with(Some(known), from.max(outlook.applies_from)),
                    newest_level_status: newest.map(|level| level.status),
                    newest_level_date: newest.map(|level| level.date.clone()),
                    lacking: newest
                        .map_or_else(Vec::new, |NewestLevel { lacking, .. }| lacking.clone()),
                }
            })
            .collect();
        all.sort_by_key(|under| (under.evaluation_number, under.applies_from, under.index));
        all
    }
}

impl Prospect {
    fn with_tcb(tcb: Option<&Tcb>) -> Self {
        Self {
            accepted: false,
            status: tcb.map(|tcb| tcb.status),
            level_date: tcb.map(|tcb| tcb.date.clone()),
            advisory_ids: tcb.map_or_else(Vec::new, |tcb| tcb.advisory_ids.clone()),
            tolerated: Vec::new(),
            failed: None,
            why: None,
            fresh_collateral_helps: false,
            hint: "",
        }
    }

    fn saying(self, why: String) -> Self {
        Self {
            why: Some(why),
            ..self
        }
    }
}

/// Whether nothing but the age of documents refuses. A platform's own certificates do not come
/// with collateral.
fn is_only_old(refusal: &Refusal, known: Option<&Known<'_>>, at: u64) -> bool {
    // Evidence without collateral carries its own certificates.
    let Some(known) = known else { return false };
    let of_platform_expired = known.outlook.as_ref().is_some_and(|outlook| {
        outlook
            .periods
            .iter()
            .any(|(part, validity)| *part == events::PLATFORM && at > validity.until)
    });
    let mut failed = refusal
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Failed { .. }))
        .map(|check| check.name)
        .peekable();
    !of_platform_expired
        && failed.peek().is_some()
        && failed.all(|check| {
            matches!(
                check,
                CheckName::CollateralValidity | CheckName::CollateralAge | CheckName::TcbEvaluation
            )
        })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Times beyond what the system can count are as good as its end.
fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
