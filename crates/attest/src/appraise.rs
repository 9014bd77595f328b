//! The appraisal itself: evidence, collateral, policy, reference values and time in, verdict out.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Appraisal, CheckName, Claims, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal,
    TrustAnchor,
    dcap::{self, Endorsement, Fault},
    judge::{date, judge_enclave, judge_platform},
    ledger::{Failure, Holds, Ledger, hint_for},
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
/// A platform whose status is [`crate::TcbStatus::UpToDate`] passes whatever advisories the collateral
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
    // What is too large is not parsed.
    let anchor = if ledger.has_failed() {
        None
    } else {
        find_anchor(&mut ledger, &quote, collateral, policy)
    };
    let endorsement = match anchor {
        Some(anchor) => {
            let endorsement = endorse(raw, &quote, collateral, anchor, seconds);
            record_endorsement(&mut ledger, anchor, endorsement, seconds)
        }
        None => None,
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
    if let Some(anchor) = policy
        .anchors
        .iter()
        .find(|anchor| anchor.is_root(&last, &root))
    {
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

/// The checks of [`judge_platform`] when nothing is proven about the platform.
fn skip_unproven(ledger: &mut Ledger) {
    for name in [
        CheckName::RootOfTrust,
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
