//! The appraisal itself: evidence, collateral, policy, reference values and time in, verdict out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Appraisal, Check, CheckName, Claims, Collateral, Evidence, Outcome, Policy, Reason,
    ReferenceValues, Refusal, TcbStatus, TrustAnchor,
    dcap::{self, Endorsement, Fault},
    policy::DebugEnclaves,
    quote::{Report, SgxQuote},
};

/// Appraises `evidence` with `collateral` under `policy` against `expected`, at the time `now`.
///
/// The checks, in the order in which they decide (each is in the result, by its [`CheckName`]):
///
/// 1. The evidence has exactly the layout of its kind: sizes, version, algorithm, vendor, nothing
///    cut off and nothing after it.
/// 2. Its certificate chain ends in an anchor of the policy: same key, and signed by it. The
///    anchor says which kind of platform it is; nothing in the evidence does.
/// 3. Certificates, CRLs (of leaf, CA and signer), TCB info, QE identity, QE report and the quote
///    itself are signed, current, unrevoked and about each other (FMSPC, PCE-ID). No certificate
///    carries an extension twice.
/// 4. The policy accepts the age of the collateral, the TCB status, the advisories.
/// 5. The enclave is the expected one: debug bit, measurement, signer, product, version and all 64
///    bytes of report data.
///
/// A platform whose status is [`TcbStatus::UpToDate`] passes whatever advisories the collateral
/// lists with that status: they are fixed there. For any other accepted status each advisory must
/// be tolerated by name.
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
    appraise_with(evidence, collateral, policy, expected, now, dcap::endorse)
}

/// As [`appraise`], with the verification of the signature chain given: [`crate::Verifier`] keeps
/// what it has verified before.
pub(crate) fn appraise_with(
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    expected: &ReferenceValues,
    now: SystemTime,
    endorse: impl FnOnce(
        &[u8],
        &SgxQuote<'_>,
        &Collateral,
        &TrustAnchor,
        u64,
    ) -> Result<Endorsement, Fault>,
) -> Result<Appraisal, Refusal> {
    let Evidence::SgxDcap(raw) = evidence;
    let mut ledger = Ledger::default();
    let quote = match SgxQuote::parse(raw) {
        Ok(quote) => quote,
        Err(error) => {
            ledger.malformed(
                CheckName::EvidenceFormat,
                format!("{} bytes", raw.len()),
                "the layout of an SGX ECDSA quote, version 3",
                error.to_string(),
            );
            return Err(ledger.into_refusal());
        }
    };
    ledger.passed(
        CheckName::EvidenceFormat,
        format!("{} bytes", raw.len()),
        "the layout of an SGX ECDSA quote, version 3",
    );
    match collateral.check_size() {
        Ok(()) => ledger.passed(
            CheckName::CollateralFormat,
            format!("{} bytes", collateral.size()),
            "the limit",
        ),
        Err(error) => ledger.malformed(
            CheckName::CollateralFormat,
            format!("{} bytes", collateral.size()),
            "the limit",
            error.to_string(),
        ),
    }

    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let anchor = find_anchor(&mut ledger, &quote, collateral, policy);
    let endorsement = match anchor {
        Some(anchor) if !ledger.has_failed() => {
            let endorsement = endorse(raw, &quote, collateral, anchor, seconds);
            record_endorsement(&mut ledger, anchor, endorsement, seconds)
        }
        _ => None,
    };
    match &endorsement {
        Some(endorsement) => judge_platform(&mut ledger, endorsement, policy, now),
        None => skip_unproven(&mut ledger),
    }
    judge_enclave(&mut ledger, quote.report, policy, anchor, expected);

    match (anchor, endorsement) {
        (Some(anchor), Some(endorsement)) if !ledger.has_failed() => Ok(Appraisal {
            tee: anchor.tee(),
            claims: claims(quote.report, endorsement),
            checks: ledger.checks,
        }),
        _ => Err(ledger.into_refusal()),
    }
}

/// The anchor whose root ends the evidence's own chain.
fn find_anchor<'p>(
    ledger: &mut Ledger,
    quote: &SgxQuote<'_>,
    collateral: &Collateral,
    policy: &'p Policy,
) -> Option<&'p TrustAnchor> {
    let trusted = policy
        .anchors
        .iter()
        .map(TrustAnchor::subject)
        .collect::<Vec<_>>()
        .join("; ");
    let Some(last) = dcap::last_certificate(dcap::pck_chain(quote, collateral)) else {
        ledger.malformed(
            CheckName::RootOfTrust,
            format!("certification data of type {}", quote.certification_type),
            trusted,
            "the evidence carries no certificate chain".into(),
        );
        return None;
    };
    let Ok((_, root)) = X509Certificate::from_der(&last) else {
        ledger.malformed(
            CheckName::RootOfTrust,
            "a chain whose last certificate cannot be read".into(),
            trusted,
            "the last certificate of the evidence's chain is not X.509".into(),
        );
        return None;
    };
    let subject = root.subject().to_string();
    if let Some(anchor) = policy.anchors.iter().find(|anchor| anchor.is_root(&root)) {
        ledger.passed(
            CheckName::RootOfTrust,
            subject,
            format!("{} ({})", anchor.subject(), anchor.tee()),
        );
        return Some(anchor);
    }
    // The name is only a courtesy to the reader: nothing is accepted for it.
    let failure = if subject.contains("SIMULATED") {
        Failure {
            reason: Reason::SimulatedEvidence,
            why: "the evidence is simulated, and the trust anchor of its platform was not given"
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
    ledger.failed(CheckName::RootOfTrust, subject, trusted, failure);
    None
}

/// Records the outcome of the signature chain, and hands on what it proved.
fn record_endorsement(
    ledger: &mut Ledger,
    anchor: &TrustAnchor,
    endorsement: Result<Endorsement, Fault>,
    now: u64,
) -> Option<Endorsement> {
    let endorsement = match endorsement {
        Ok(endorsement) => endorsement,
        Err(fault) => {
            for (name, compared, with) in CHAIN_STEPS {
                if *name == fault.check {
                    ledger.failed(
                        *name,
                        (*compared).to_owned(),
                        (*with).to_owned(),
                        Failure {
                            reason: fault.reason,
                            why: fault.why.clone(),
                            hint: hint_for(fault.reason),
                        },
                    );
                } else {
                    // The steps lean on each other: one that does not hold leaves none proven.
                    ledger.skipped(
                        *name,
                        *compared,
                        "another step of the signature chain failed",
                    );
                }
            }
            return None;
        }
    };
    for (name, compared, with) in CHAIN_STEPS {
        match name {
            CheckName::CertificateChains => {
                ledger.passed(*name, (*compared).to_owned(), anchor.subject());
            }
            CheckName::PlatformMatch => ledger.passed(
                *name,
                format!(
                    "platform with FMSPC {} and PCE-ID {}",
                    hex::encode_upper(endorsement.fmspc),
                    endorsement.pce_id
                ),
                *with,
            ),
            // Made below; a TCB status that is no fault of the chain is for the policy to judge.
            CheckName::CollateralValidity | CheckName::TcbStatus => (),
            _ => ledger.passed(*name, (*compared).to_owned(), *with),
        }
    }
    // dcap-qvl looks at the issue dates of JSON documents and certificates, not at those of CRLs.
    ledger.compare(
        CheckName::CollateralValidity,
        date(now),
        format!(
            "{} to {}",
            date(endorsement.valid_from),
            date(endorsement.valid_until)
        ),
        Holds(endorsement.valid_from <= now && now <= endorsement.valid_until),
        || Failure {
            reason: Reason::Stale,
            why: "the collateral is not valid at this time".into(),
            hint: hint_for(Reason::Stale),
        },
    );
    Some(endorsement)
}

/// What the policy says about platform and collateral.
fn judge_platform(
    ledger: &mut Ledger,
    endorsement: &Endorsement,
    policy: &Policy,
    now: SystemTime,
) {
    let age = now
        .duration_since(UNIX_EPOCH + Duration::from_secs(endorsement.issued))
        .unwrap_or_default();
    let issued = format!("oldest document issued {}", date(endorsement.issued));
    match policy.max_collateral_age {
        None => ledger.skipped(CheckName::CollateralAge, issued, "the policy sets no limit"),
        Some(limit) => ledger.compare(
            CheckName::CollateralAge,
            format!("{issued}, {} s ago", age.as_secs()),
            format!("at most {} s", limit.as_secs()),
            Holds(age <= limit),
            || Failure {
                reason: Reason::Stale,
                why: "the collateral is older than the policy allows".into(),
                hint: hint_for(Reason::Stale),
            },
        ),
    }
    ledger.compare(
        CheckName::TcbEvaluation,
        endorsement.tcb_evaluation_number.to_string(),
        format!("at least {}", policy.min_tcb_evaluation_number),
        Holds(endorsement.tcb_evaluation_number >= policy.min_tcb_evaluation_number),
        || Failure {
            reason: Reason::Stale,
            why: "the collateral does not know the TCB recovery that the policy asks for".into(),
            hint: hint_for(Reason::Stale),
        },
    );
    ledger.compare(
        CheckName::TcbStatus,
        endorsement.tcb_status.to_string(),
        join(policy.accepted_statuses.iter().map(|status| status.as_str())),
        Holds(
            endorsement.tcb_status != TcbStatus::Revoked
                && policy.accepted_statuses.contains(&endorsement.tcb_status),
        ),
        || Failure {
            reason: Reason::Policy,
            why: format!(
                "the platform's TCB status is {}, as of {}{}",
                endorsement.tcb_status,
                endorsement.tcb_date,
                match endorsement.advisory_ids.as_slice() {
                    [] => String::new(),
                    ids => format!("; advisories: {}", join(ids)),
                }
            ),
            hint: "have the platform's microcode, firmware and settings brought up to date; or accept the status in the policy, if you know what the advisories mean for you",
        },
    );
    judge_advisories(ledger, endorsement, policy, now);
}

fn judge_advisories(
    ledger: &mut Ledger,
    endorsement: &Endorsement,
    policy: &Policy,
    now: SystemTime,
) {
    let ids = &endorsement.advisory_ids;
    if endorsement.tcb_status == TcbStatus::UpToDate || ids.is_empty() {
        let why = if ids.is_empty() {
            "none applies"
        } else {
            "the platform is up to date: they are fixed"
        };
        ledger.skipped(CheckName::Advisories, join(ids), why);
        return;
    }
    let tolerated = |id: &&String| {
        policy
            .tolerated_advisories
            .iter()
            .any(|tolerated| tolerated.id.eq_ignore_ascii_case(id) && now <= tolerated.until)
    };
    let open: Vec<_> = ids.iter().filter(|id| !tolerated(id)).collect();
    ledger.compare(
        CheckName::Advisories,
        join(ids),
        format!(
            "tolerated today: {}",
            join(
                policy
                    .tolerated_advisories
                    .iter()
                    .filter(|tolerated| now <= tolerated.until)
                    .map(|tolerated| tolerated.id.as_str())
            )
        ),
        Holds(open.is_empty()),
        || Failure {
            reason: Reason::Policy,
            why: format!("advisories that the policy does not tolerate apply: {}", join(&open)),
            hint: "have the platform updated; or tolerate each advisory in the policy, by name and until a date",
        },
    );
}

/// Whether the enclave is the expected one. Reads the evidence only, so it needs no trust in it.
fn judge_enclave(
    ledger: &mut Ledger,
    report: Report<'_>,
    policy: &Policy,
    anchor: Option<&TrustAnchor>,
    expected: &ReferenceValues,
) {
    ledger.compare(
        CheckName::Debug,
        if report.is_debug() {
            "debug enclave"
        } else {
            "production enclave"
        },
        match policy.debug_enclaves {
            DebugEnclaves::Refused => "production enclave",
            DebugEnclaves::Allowed => "any (the policy allows debug enclaves)",
        },
        Holds(!report.is_debug() || policy.debug_enclaves == DebugEnclaves::Allowed),
        || Failure {
            reason: Reason::Policy,
            why: "the enclave is in debug mode: whoever runs it can read its memory".into(),
            hint: "launch it as a production enclave",
        },
    );
    match &expected.mrenclave {
        None => ledger.skipped(
            CheckName::MrEnclave,
            hex::encode(report.mrenclave()),
            NOT_GIVEN,
        ),
        Some(mrenclave) => ledger.compare(
            CheckName::MrEnclave,
            hex::encode(report.mrenclave()),
            hex::encode(mrenclave),
            Holds(report.mrenclave() == mrenclave),
            || Failure {
                reason: Reason::Mismatch,
                why: "another program runs there: the measurement differs".into(),
                hint: "compare code, configuration and release of the enclave with what you measured",
            },
        ),
    }
    judge_signer(ledger, report, policy, anchor, expected);
    match policy.isv_prod_id {
        None => ledger.skipped(
            CheckName::IsvProdId,
            report.isv_prod_id().to_string(),
            "the policy names none",
        ),
        Some(id) => ledger.compare(
            CheckName::IsvProdId,
            report.isv_prod_id().to_string(),
            id.to_string(),
            Holds(report.isv_prod_id() == id),
            || Failure {
                reason: Reason::Mismatch,
                why: "the enclave is another product of its signer".into(),
                hint: "check the product id in the policy",
            },
        ),
    }
    ledger.compare(
        CheckName::IsvSvn,
        report.isv_svn().to_string(),
        format!("at least {}", policy.min_isv_svn),
        Holds(report.isv_svn() >= policy.min_isv_svn),
        || Failure {
            reason: Reason::Policy,
            why: "the enclave's security version is below the policy's minimum".into(),
            hint: "launch a newer release of the enclave",
        },
    );
    match &expected.report_data {
        None => ledger.skipped(
            CheckName::ReportData,
            hex::encode(report.report_data()),
            NOT_GIVEN,
        ),
        Some(data) => ledger.compare(
            CheckName::ReportData,
            hex::encode(report.report_data()),
            hex::encode(data),
            Holds(report.report_data() == data),
            || Failure {
                reason: Reason::Mismatch,
                why: "the evidence was made for other keys or for another connection".into(),
                hint: "someone may be relaying or replaying it; connect to the enclave directly and ask again",
            },
        ),
    }
}

/// The signer must be each of those that reference values, policy and anchor name.
fn judge_signer(
    ledger: &mut Ledger,
    report: Report<'_>,
    policy: &Policy,
    anchor: Option<&TrustAnchor>,
    expected: &ReferenceValues,
) {
    let named: Vec<_> = [
        expected.mrsigner,
        policy.mrsigner,
        anchor.and_then(TrustAnchor::mrsigner),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = hex::encode(report.mrsigner());
    if named.is_empty() {
        ledger.skipped(CheckName::MrSigner, found, NOT_GIVEN);
        return;
    }
    let different = named.iter().find(|named| *named != report.mrsigner());
    ledger.compare(
        CheckName::MrSigner,
        found,
        hex::encode(different.unwrap_or(&named[0])),
        Holds(different.is_none()),
        || Failure {
            reason: Reason::Mismatch,
            why: "the enclave has another signer".into(),
            hint: "check who released this enclave, and the signer that policy and trust anchor name",
        },
    );
}

/// The checks of [`judge_platform`] when nothing is proven about the platform.
fn skip_unproven(ledger: &mut Ledger) {
    for name in [
        CheckName::CertificateChains,
        CheckName::Revocation,
        CheckName::TcbInfo,
        CheckName::QeIdentity,
        CheckName::QeReport,
        CheckName::QuoteSignature,
        CheckName::PlatformMatch,
        CheckName::CollateralValidity,
        CheckName::CollateralAge,
        CheckName::TcbEvaluation,
        CheckName::TcbStatus,
        CheckName::Advisories,
    ] {
        if !ledger.has(name) {
            ledger.skipped(name, "nothing proven", "an earlier check failed");
        }
    }
}

fn claims(report: Report<'_>, endorsement: Endorsement) -> Claims {
    Claims {
        mrenclave: *report.mrenclave(),
        mrsigner: *report.mrsigner(),
        isv_prod_id: report.isv_prod_id(),
        isv_svn: report.isv_svn(),
        debug: report.is_debug(),
        attributes: *report.attributes(),
        cpu_svn: *report.cpu_svn(),
        report_data: *report.report_data(),
        fmspc: endorsement.fmspc,
        tcb_status: endorsement.tcb_status,
        advisory_ids: endorsement.advisory_ids,
        tcb_date: endorsement.tcb_date,
        tcb_evaluation_number: endorsement.tcb_evaluation_number,
        collateral_issued: endorsement.issued,
        collateral_expires: endorsement.valid_until,
    }
}

/// The checks as they are made, and the first that failed.
#[derive(Default)]
struct Ledger {
    checks: Vec<Check>,
    /// Index of the decisive check, its class and the way out.
    decisive: Option<(usize, Reason, &'static str)>,
}

/// What a failed check has to say.
struct Failure {
    reason: Reason,
    why: String,
    hint: &'static str,
}

/// Whether what was compared is as it should be.
struct Holds(bool);

impl Ledger {
    fn has_failed(&self) -> bool {
        self.decisive.is_some()
    }

    fn has(&self, name: CheckName) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }

    fn passed(&mut self, name: CheckName, compared: String, with: impl Into<String>) {
        self.push(name, compared, with.into(), Outcome::Passed);
    }

    fn skipped(&mut self, name: CheckName, compared: impl Into<String>, why: &str) {
        let why = why.to_owned();
        self.push(
            name,
            compared.into(),
            String::new(),
            Outcome::Skipped { why },
        );
    }

    fn failed(&mut self, name: CheckName, compared: String, with: String, failure: Failure) {
        let Failure { reason, why, hint } = failure;
        if self.decisive.is_none() {
            self.decisive = Some((self.checks.len(), reason, hint));
        }
        self.push(name, compared, with, Outcome::Failed { why });
    }

    fn malformed(
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

    fn compare(
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
            compared,
            with,
            outcome,
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
                    Outcome::Failed { why } | Outcome::Skipped { why } => why.clone(),
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
            checks: self.checks,
        }
    }
}

/// The steps of the signature chain: the check, what it looks at and what it holds that against.
const CHAIN_STEPS: &[(CheckName, &str, &str)] = &[
    (
        CheckName::CertificateChains,
        "certificates of platform and TCB signer",
        "the root",
    ),
    (
        CheckName::Revocation,
        "certificates of platform, its CA and TCB signer",
        "CRLs of root and platform CA",
    ),
    (
        CheckName::TcbInfo,
        "TCB info",
        "signature of the TCB signer",
    ),
    (
        CheckName::QeIdentity,
        "QE identity",
        "signature of the TCB signer",
    ),
    (
        CheckName::QeReport,
        "quoting enclave and its attestation key",
        "signature of the platform's PCK, and QE identity",
    ),
    (
        CheckName::QuoteSignature,
        "header and report",
        "signature of the attestation key",
    ),
    (
        CheckName::PlatformMatch,
        "platform",
        "FMSPC and PCE-ID of the TCB info",
    ),
    (
        CheckName::CollateralValidity,
        "time of the appraisal",
        "validity of certificates, CRLs, TCB info and QE identity",
    ),
    (
        CheckName::TcbStatus,
        "TCB of the platform",
        "TCB levels that are not revoked",
    ),
];

const NOT_GIVEN: &str = "no expected value was given";

fn hint_for(reason: Reason) -> &'static str {
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

fn join<I>(items: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(item.as_ref());
    }
    if text.is_empty() {
        text.push_str("none");
    }
    text
}

/// Unix seconds as an RFC 3339 date; a number beyond the calendar stays a number.
fn date(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |timestamp| timestamp.to_string())
}
