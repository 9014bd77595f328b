//! What changes, and when.

use std::collections::BTreeMap;

use super::{Event, EventKind, Known, Prospect, Seer};
use crate::{
    judge::join,
    x509::{Certificate, Crl},
};

/// The part of the collateral that is the platform's own certificates.
pub(super) const PLATFORM: &str = "certificates of the platform";

/// A change at an instant, of which the verifier has not been asked yet.
struct Change {
    kind: EventKind,
    what: String,
    remedy: String,
}

impl Seer<'_> {
    /// Everything that changes after `from` and not after `until`, with the verdicts.
    pub(super) fn events(&self, from: u64, until: u64) -> Vec<Event> {
        let mut changes: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        let mut add = |at: u64, change: Change| {
            if at > from && at <= until {
                changes.entry(at).or_default().push(change);
            }
        };
        for known in &self.known {
            self.changes_of(known, &mut add);
        }
        for exception in self.policy.exceptions() {
            if let Some(last) = exception.tolerance.last_second() {
                add(
                    last.saturating_add(1),
                    Change {
                        kind: EventKind::ToleranceEnds,
                        what: format!("the policy's exception for {} ends", exception.what),
                        remedy: "do without it before then, or review it and set a new end in the policy".into(),
                    },
                );
            }
        }

        let mut events = Vec::new();
        let (mut before, mut last) = (self.prospect(from), from);
        // Also the stretch after the last change.
        changes.entry(until).or_default();
        for (at, changes) in changes {
            if before.accepted && at > last {
                // The verifier has the last word: if it refuses before the next known change, that
                // is an event too.
                let just_before = at.saturating_sub(u64::from(!changes.is_empty())).max(last);
                if let Some((at, verdict)) = self.first_refusal(last, just_before) {
                    events.push(Event {
                        at,
                        kind: EventKind::Other,
                        what: verdict.why.clone().unwrap_or_default(),
                        effect: effect(&before, &verdict),
                        remedy: match self.in_force(at) {
                            Some(_) => verdict.hint.to_owned(),
                            None => "ask the platform for fresh evidence".into(),
                        },
                        verdict: verdict.clone(),
                    });
                    before = verdict;
                }
            }
            let verdict = self.prospect(at);
            for change in changes {
                let remedy = match change.kind {
                    EventKind::CollateralApplies => self.remedy_under(at, &verdict),
                    _ => change.remedy,
                };
                events.push(Event {
                    at,
                    kind: change.kind,
                    what: change.what,
                    effect: effect(&before, &verdict),
                    remedy,
                    verdict: verdict.clone(),
                });
            }
            (before, last) = (verdict, at);
        }
        events
    }

    /// The first instant after `accepted_at` and not after `end` at which the verifier refuses, if
    /// it refuses at `end`.
    fn first_refusal(&self, accepted_at: u64, end: u64) -> Option<(u64, Prospect)> {
        let mut verdict = self.prospect(end);
        if verdict.accepted {
            return None;
        }
        let (mut accepted, mut refused) = (accepted_at, end);
        while refused - accepted > 1 {
            let middle = accepted + (refused - accepted) / 2;
            let found = self.prospect(middle);
            if found.accepted {
                accepted = middle;
            } else {
                (refused, verdict) = (middle, found);
            }
        }
        Some((refused, verdict))
    }

    /// The changes that come with one set of collateral, as far as it is the one in force then.
    fn changes_of(&self, known: &Known<'_>, add: &mut impl FnMut(u64, Change)) {
        let mut add_after = |last: u64, change: Change| {
            let is_in_force = self
                .in_force(last)
                .is_some_and(|other| other.index == known.index);
            if is_in_force {
                add(last.saturating_add(1), change);
            }
        };
        for (what, last) in lasting_parts(known) {
            add_after(last, expiry(EventKind::CertificateExpires, &what));
        }
        let Some(outlook) = &known.outlook else {
            return;
        };
        for (part, validity) in &outlook.periods {
            let kind = if part.starts_with("certificates") {
                EventKind::CertificateExpires
            } else {
                EventKind::DocumentExpires
            };
            add_after(validity.until, expiry(kind, part));
        }
        if let Some(age) = self.policy.max_collateral_age {
            add_after(
                outlook.oldest.saturating_add(age.as_secs()),
                Change {
                    kind: EventKind::CollateralTooOld,
                    what: "the collateral becomes older than the policy allows".into(),
                    remedy: FETCH.into(),
                },
            );
        }
        add(
            outlook.applies_from,
            Change {
                kind: EventKind::CollateralApplies,
                what: format!(
                    "collateral with TCB evaluation data number {} applies",
                    outlook.evaluation_number
                ),
                remedy: String::new(),
            },
        );
    }

    fn remedy_under(&self, at: u64, verdict: &Prospect) -> String {
        if verdict.accepted {
            return "nothing to do".into();
        }
        let lacking = self
            .in_force(at)
            .and_then(|known| known.outlook.as_ref()?.newest_level.as_ref())
            .map(|level| level.lacking.as_slice());
        match lacking {
            Some(lacking @ [_, ..]) => {
                format!("have the platform updated: {}", join(lacking))
            }
            _ => verdict.hint.to_owned(),
        }
    }
}

/// Certificates and revocation lists that come as such, with their last seconds.
fn lasting_parts(known: &Known<'_>) -> Vec<(String, u64)> {
    let certificates = known
        .collateral
        .certificates
        .iter()
        .filter_map(|der| Certificate::parse(der).ok())
        .map(|certificate| {
            (
                format!("certificate of `{}`", certificate.subject()),
                certificate.not_after(),
            )
        });
    let crls = known
        .collateral
        .crls
        .iter()
        .filter_map(|der| Crl::parse(der).ok())
        .map(|crl| ("revocation list".to_owned(), crl.validity().until));
    certificates
        .chain(crls)
        .map(|(what, last)| (what.replace(char::is_control, "\u{fffd}"), last))
        .collect()
}

fn expiry(kind: EventKind, what: &str) -> Change {
    Change {
        kind,
        what: match kind {
            EventKind::CertificateExpires if what.starts_with("certificates") => {
                format!("the first of the {what} expires")
            }
            _ => format!("the {what} expires"),
        },
        remedy: if what == PLATFORM {
            "have the platform get new certificates from its vendor, and ask it for new evidence"
                .into()
        } else {
            FETCH.into()
        },
    }
}

/// What a change from one verdict to the other means.
fn effect(before: &Prospect, after: &Prospect) -> String {
    let moved = match (before.status, after.status) {
        (Some(before), Some(after)) if before != after => {
            format!(": the TCB status goes from {before} to {after}")
        }
        _ => String::new(),
    };
    let why = after.why.as_deref().unwrap_or_default();
    match (before.accepted, after.accepted) {
        (true, true) => format!("still accepted{moved}"),
        (false, true) => format!("accepted from then on{moved}"),
        (true, false) => format!("REFUSED from then on: {why}"),
        (false, false) if moved.is_empty() => "refused as before".into(),
        (false, false) => format!("refused as before{moved}"),
    }
}

const FETCH: &str = "fetch fresh collateral before then";
