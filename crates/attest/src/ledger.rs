//! The record of an appraisal: every check, and the first that failed.

use crate::{
    Appraisal, Check, CheckName, Claims, Outcome, Policy, Reason, Refusal, Tcb, Tee, TrustAnchor,
    judge::join, x509::X509Error,
};

/// The checks as they are made, and the first that failed; with them what the evidence states and
/// what was proven on the way.
#[derive(Default)]
pub(crate) struct Ledger {
    checks: Vec<Check>,
    tee: Option<Tee>,
    claims: Option<Claims>,
    tcb: Option<Tcb>,
    /// Which TEEs the policy lets pass; any, if it does not say.
    accepted_tees: Option<Vec<Tee>>,
    /// Index of the decisive check, its class and the way out.
    decisive: Option<(usize, Reason, &'static str)>,
}

/// What a failed check has to say.
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) why: String,
    pub(crate) hint: &'static str,
}

/// A step of a chain of proofs that does not hold.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) check: CheckName,
    pub(crate) reason: Reason,
    pub(crate) why: String,
}

impl Fault {
    pub(crate) fn malformed(check: CheckName, why: impl Into<String>) -> Self {
        Self {
            check,
            reason: Reason::Malformed,
            why: why.into(),
        }
    }

    pub(crate) fn forged(check: CheckName, why: impl Into<String>) -> Self {
        Self {
            check,
            reason: Reason::Forged,
            why: why.into(),
        }
    }

    pub(crate) fn mismatch(check: CheckName, why: impl Into<String>) -> Self {
        Self {
            check,
            reason: Reason::Mismatch,
            why: why.into(),
        }
    }

    /// What is wrong with certificates; that one is not valid now is a matter of its own.
    pub(crate) fn of_x509(check: CheckName, error: X509Error) -> Self {
        match error {
            X509Error::Malformed(why) => Self::malformed(check, why),
            X509Error::Forged(why) => Self::forged(check, why),
            X509Error::Stale(why) => Self {
                check: CheckName::CollateralValidity,
                reason: Reason::Stale,
                why,
            },
        }
    }
}

/// Whether what was compared is as it should be.
pub(crate) struct Holds(pub(crate) bool);

impl Ledger {
    /// A ledger for an appraisal under `policy`.
    pub(crate) fn under(policy: &Policy) -> Self {
        Self {
            accepted_tees: policy.tees.clone(),
            ..Self::default()
        }
    }

    /// The TEE that a trusted root stands for. Whether the policy lets it pass is decided here.
    pub(crate) fn set_tee(&mut self, tee: Tee) {
        self.tee = Some(tee);
        let Some(accepted) = &self.accepted_tees else {
            return;
        };
        // A simulated platform passes by its anchor, which the policy was given for it.
        if tee == Tee::Simulated || accepted.contains(&tee) {
            return;
        }
        let accepted = join(accepted.iter().map(|tee| tee.as_str()));
        let why = format!("the policy does not accept evidence of `{tee}`");
        self.failed(
            CheckName::RootOfTrust,
            tee.to_string(),
            accepted,
            Failure {
                reason: Reason::Policy,
                why,
                hint: "run the code in a TEE that the policy accepts, or add this one to `tees` of the policy",
            },
        );
    }

    /// What the evidence states.
    pub(crate) fn set_claims(&mut self, claims: Claims) {
        self.claims = Some(claims);
    }

    /// Takes what evidence within other evidence states, to be set as a part of the whole.
    pub(crate) fn take_claims(&mut self) -> Option<Claims> {
        self.claims.take()
    }

    /// What verified collateral says about the platform.
    pub(crate) fn set_tcb(&mut self, tcb: Tcb) {
        self.tcb = Some(tcb);
    }

    /// The verdict: an appraisal if nothing failed and a trusted root stands behind the claims.
    pub(crate) fn conclude(self) -> Result<Appraisal, Refusal> {
        match self {
            Self {
                checks,
                tee: Some(tee),
                claims: Some(claims),
                tcb,
                decisive: None,
                ..
            } => Ok(Appraisal {
                tee,
                claims,
                tcb,
                checks,
            }),
            refused => Err(refused.into_refusal()),
        }
    }

    pub(crate) fn has(&self, name: CheckName) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }

    /// Records that a chain ends in `anchor`.
    pub(crate) fn passed_anchor(&mut self, found: String, anchor: &TrustAnchor) {
        let standing = if anchor.is_simulated() {
            "simulated"
        } else {
            "compiled in"
        };
        self.passed(
            CheckName::RootOfTrust,
            found,
            format!("{} ({standing})", anchor.subject()),
        );
    }

    pub(crate) fn passed(&mut self, name: CheckName, compared: String, with: impl Into<String>) {
        self.push(name, compared, with.into(), Outcome::Passed);
    }

    /// Records what only the policy lets pass.
    pub(crate) fn tolerated(
        &mut self,
        name: CheckName,
        compared: String,
        with: impl Into<String>,
        why: String,
    ) {
        self.push(name, compared, with.into(), Outcome::Tolerated { why });
    }

    /// Records a step that does not hold.
    pub(crate) fn fault(
        &mut self,
        compared: impl Into<String>,
        with: impl Into<String>,
        fault: Fault,
    ) {
        let failure = Failure {
            reason: fault.reason,
            why: fault.why,
            hint: hint_for(fault.reason),
        };
        self.failed(fault.check, compared.into(), with.into(), failure);
    }

    pub(crate) fn skipped(&mut self, name: CheckName, compared: impl Into<String>, why: &str) {
        let why = why.to_owned();
        self.push(
            name,
            compared.into(),
            String::new(),
            Outcome::Skipped { why },
        );
    }

    pub(crate) fn failed(
        &mut self,
        name: CheckName,
        compared: String,
        with: String,
        failure: Failure,
    ) {
        let Failure { reason, why, hint } = failure;
        if self.decisive.is_none() {
            self.decisive = Some((self.checks.len(), reason, hint));
        }
        self.push(name, compared, with, Outcome::Failed { why });
    }

    pub(crate) fn malformed(
        &mut self,
        name: CheckName,
        compared: String,
        with: impl Into<String>,
        why: String,
    ) {
        let failure = Failure {
            reason: Reason::Malformed,
            why,
            hint: hint_for(Reason::Malformed),
        };
        self.failed(name, compared, with.into(), failure);
    }

    pub(crate) fn compare(
        &mut self,
        name: CheckName,
        compared: impl Into<String>,
        with: impl Into<String>,
        Holds(holds): Holds,
        otherwise: impl FnOnce() -> Failure,
    ) {
        let (compared, with) = (compared.into(), with.into());
        if holds {
            self.passed(name, compared, with);
        } else {
            self.failed(name, compared, with, otherwise());
        }
    }

    fn push(&mut self, name: CheckName, compared: String, with: String, outcome: Outcome) {
        self.checks.push(Check {
            name,
            compared: printable(compared),
            with: printable(with),
            outcome: match outcome {
                Outcome::Failed { why } => Outcome::Failed {
                    why: printable(why),
                },
                Outcome::Tolerated { why } => Outcome::Tolerated {
                    why: printable(why),
                },
                other => other,
            },
        });
    }

    /// The refusal for the first failure. Without one nothing was accepted either, which is a
    /// refusal all the same.
    fn into_refusal(self) -> Refusal {
        let decisive = self
            .decisive
            .and_then(|(at, reason, hint)| Some((self.checks.get(at)?, reason, hint)));
        let (failed, reason, why, found, expected, hint) = match decisive {
            Some((check, reason, hint)) => (
                check.name,
                reason,
                match &check.outcome {
                    Outcome::Failed { why }
                    | Outcome::Tolerated { why }
                    | Outcome::Skipped { why } => why.clone(),
                    Outcome::Passed => String::new(),
                },
                check.compared.clone(),
                check.with.clone(),
                hint,
            ),
            None => (
                CheckName::RootOfTrust,
                Reason::UnknownRoot,
                "nothing vouches for the evidence".into(),
                String::new(),
                String::new(),
                hint_for(Reason::UnknownRoot),
            ),
        };
        Refusal {
            failed,
            reason,
            why,
            found,
            expected,
            hint,
            tee: self.tee,
            claims: self.claims.map(Box::new),
            tcb: self.tcb.map(Box::new),
            checks: self.checks,
        }
    }
}

/// The way out of a failure of this class, where the check has no better one.
pub(crate) fn hint_for(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "get the evidence or the collateral again, complete and unchanged",
        Reason::Forged => {
            "do not trust this enclave; if only the collateral is wrong, fetch it again from its source"
        }
        Reason::Revoked => "the vendor has withdrawn this platform's keys: use another platform",
        Reason::Stale => "fetch fresh collateral, and check the clock",
        Reason::Mismatch => "fetch the collateral of this very platform",
        Reason::Policy => "have the platform brought up to date",
        Reason::SimulatedEvidence | Reason::UnknownRoot => {
            "give a trust anchor only for a platform that you mean to trust"
        }
    }
}

/// Names and messages come from evidence that nobody has verified yet: what could steer a terminal
/// or break a line of a log is replaced.
fn printable(text: String) -> String {
    if text.contains(char::is_control) {
        return text.replace(char::is_control, "\u{fffd}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_cannot_steer_the_terminal() {
        let hostile = "CN=\u{1b}[2Jnice\n";
        let mut ledger = Ledger::default();
        ledger.malformed(
            CheckName::RootOfTrust,
            hostile.into(),
            hostile,
            hostile.into(),
        );
        let refusal = ledger.into_refusal();
        assert!(!refusal.to_string().contains(char::is_control));
        assert!(refusal.found.contains("nice"));
    }
}
