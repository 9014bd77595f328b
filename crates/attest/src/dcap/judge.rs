//! What policy and reference values say about the platform and the code of a quote.

use super::{
    endorse::Endorsement,
    quote::Body,
    report::{EnclaveReport, TdReport},
};
use crate::{
    CheckName, Policy, Reason, TcbStatus, Tee, TrustAnchor,
    anchor::Pki,
    appraise::Case,
    judge::{
        Exception, NOT_GIVEN, date, join, judge_collateral_age, judge_debug, judge_exception,
        judge_references, judge_report_data, judge_validity, judge_value, was_tolerated,
    },
    ledger::{Failure, Fault, Holds, Ledger, hint_for},
    policy::{Acceptance, AcceptedStatus},
    x509::{Certificate, PemChain},
};

/// The anchor whose root ends the quote's own chain.
pub(super) fn find_anchor<'p>(
    ledger: &mut Ledger,
    chain: &PemChain,
    policy: &'p Policy,
) -> Option<&'p TrustAnchor> {
    let der = chain.last()?;
    if let Some(anchor) = policy.find_very_anchor(ledger, Pki::Dcap, der) {
        return Some(anchor);
    }
    let root = match Certificate::parse(der) {
        Ok(root) => root,
        Err(error) => {
            ledger.fault(
                "a chain whose last certificate cannot be read",
                policy.anchors_of(Pki::Dcap),
                Fault::of_x509(CheckName::RootOfTrust, error),
            );
            return None;
        }
    };
    policy.find_anchor(ledger, Pki::Dcap, &root)
}

/// Records the outcome of the signature chain, and hands on what it proved.
pub(super) fn record_endorsement(
    ledger: &mut Ledger,
    anchor: &TrustAnchor,
    result: Result<Endorsement, Fault>,
    now: u64,
) -> Option<Endorsement> {
    let endorsement = match result {
        Ok(endorsement) => endorsement,
        Err(fault) => {
            let failed = fault.check;
            let mut fault = Some(fault);
            for (name, compared, with) in CHAIN_STEPS {
                if *name == failed
                    && let Some(fault) = fault.take()
                {
                    ledger.fault(*compared, *with, fault);
                } else {
                    // The steps lean on each other: one that does not hold leaves none proven.
                    ledger.skipped(
                        *name,
                        *compared,
                        "another step of the signature chain failed",
                    );
                }
            }
            if let Some(fault) = fault {
                ledger.fault("signature chain", anchor.subject(), fault);
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
                    hex::encode(endorsement.pce_id)
                ),
                *with,
            ),
            // A TCB status that is no fault of the chain is for the policy to judge.
            CheckName::TcbStatus => (),
            CheckName::TdxModule if endorsement.about == Tee::Sgx => {
                ledger.skipped(*name, "none", "SGX has no TDX module");
            }
            _ => ledger.passed(*name, (*compared).to_owned(), *with),
        }
    }
    let invalid = endorsement
        .periods
        .iter()
        .find(|(_, validity)| !validity.contains(now));
    match invalid {
        None => judge_validity(ledger, endorsement.validity, now),
        Some((part, validity)) => ledger.failed(
            CheckName::CollateralValidity,
            format!("{}, {part}", date(now)),
            format!("{} to {}", date(validity.from), date(validity.until)),
            Failure {
                reason: Reason::Stale,
                why: format!(
                    "{part}: {} at this time",
                    if now < validity.from {
                        "not valid yet"
                    } else {
                        "expired"
                    }
                ),
                hint: hint_for(Reason::Stale),
            },
        ),
    }
    Some(endorsement)
}

/// The checks of platform and collateral when nothing is proven about them.
pub(super) fn skip_unproven(ledger: &mut Ledger) {
    for name in [CheckName::RootOfTrust]
        .into_iter()
        .chain(CHAIN_STEPS.iter().map(|(name, _, _)| *name))
        .chain([
            CheckName::CollateralValidity,
            CheckName::CollateralAge,
            CheckName::TcbEvaluation,
            CheckName::Advisories,
        ])
    {
        if !ledger.has(name) {
            ledger.skipped(name, "nothing proven", "an earlier check failed");
        }
    }
}

/// What the policy says about platform and collateral.
pub(super) fn judge_platform(ledger: &mut Ledger, endorsement: &Endorsement, case: &Case<'_>) {
    let policy = case.policy;
    judge_collateral_age(ledger, endorsement.issued, policy, case.now);
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
    judge_status(ledger, endorsement, case);
    judge_advisories(ledger, endorsement, case);
}

fn judge_status(ledger: &mut Ledger, endorsement: &Endorsement, case: &Case<'_>) {
    let status = endorsement.status();
    let found = format!("{status}, as of {}", endorsement.tcb().date);
    let accepted = join(case.policy.accepted_statuses(case.time()));
    match case.policy.acceptance_of(status, case.time()) {
        Some(Acceptance::Always) => ledger.passed(CheckName::TcbStatus, found, accepted),
        Some(Acceptance::Tolerated(AcceptedStatus { tolerance, .. })) => ledger.tolerated(
            CheckName::TcbStatus,
            found,
            accepted,
            format!("the policy accepts {status}{}", tolerance.terms()),
        ),
        None => ledger.failed(
            CheckName::TcbStatus,
            found,
            accepted,
            if status == TcbStatus::Revoked {
                Failure {
                    reason: Reason::Revoked,
                    why: "the platform's TCB is revoked: its keys are not trusted any more".into(),
                    hint: hint_for(Reason::Revoked),
                }
            } else {
                Failure {
                    reason: Reason::Policy,
                    why: format!(
                        "the platform's TCB status is {status}{}{}",
                        match endorsement.advisory_ids() {
                            [] => String::new(),
                            ids => format!("; advisories: {}", join(ids)),
                        },
                        case.policy
                            .accepted_statuses
                            .iter()
                            .find(|accepted| accepted.status == status)
                            .map_or_else(String::new, |expired| was_tolerated(&expired.tolerance)),
                    ),
                    hint: "have the platform's microcode, firmware and settings brought up to date; or accept the status in the policy, if you know what the advisories mean for you",
                }
            },
        ),
    }
}

fn judge_advisories(ledger: &mut Ledger, endorsement: &Endorsement, case: &Case<'_>) {
    let ids = endorsement.advisory_ids();
    if endorsement.status() == TcbStatus::UpToDate || ids.is_empty() {
        let why = if ids.is_empty() {
            "none applies"
        } else {
            "the platform is up to date: they are fixed"
        };
        ledger.skipped(CheckName::Advisories, join(ids), why);
        return;
    }
    let in_force: Vec<_> = case
        .policy
        .tolerated_advisories
        .iter()
        .filter(|tolerated| tolerated.tolerance.is_in_force(case.time()))
        .collect();
    let tolerance_of = |id: &String| {
        in_force
            .iter()
            .find(|tolerated| tolerated.id.eq_ignore_ascii_case(id))
    };
    let with = format!(
        "tolerated today: {}",
        join(in_force.iter().map(|tolerated| &tolerated.id))
    );
    let open: Vec<_> = ids.iter().filter(|id| tolerance_of(id).is_none()).collect();
    if open.is_empty() {
        let reasons = ids
            .iter()
            .filter_map(tolerance_of)
            .map(|tolerated| format!("{}{}", tolerated.id, tolerated.tolerance.terms()));
        let why = format!("the policy tolerates {}", join(reasons));
        ledger.tolerated(CheckName::Advisories, join(ids), with, why);
        return;
    }
    ledger.failed(
        CheckName::Advisories,
        join(ids),
        with,
        Failure {
            reason: Reason::Policy,
            why: format!(
                "advisories that the policy does not tolerate apply: {}",
                join(&open)
            ),
            hint: "have the platform updated; or tolerate each advisory in the policy, by name and until a date",
        },
    );
}

/// Whether the code is the expected one. Reads the evidence only, so it needs no trust in it.
pub(super) fn judge_code(
    ledger: &mut Ledger,
    body: &Body<'_>,
    anchor: Option<&TrustAnchor>,
    case: &Case<'_>,
) {
    match body {
        Body::Sgx(report) => judge_enclave(ledger, *report, anchor, case),
        Body::Tdx(report) => judge_trust_domain(ledger, *report, case),
    }
    judge_report_data(ledger, body.report_data(), case.expected);
}

fn judge_enclave(
    ledger: &mut Ledger,
    report: EnclaveReport<'_>,
    anchor: Option<&TrustAnchor>,
    case: &Case<'_>,
) {
    let Case {
        policy, expected, ..
    } = *case;
    judge_debug(ledger, report.is_debug(), case);
    judge_bits(
        ledger,
        "enclave attributes",
        report.flags(),
        &[(!SGX_KNOWN_FLAGS, "reserved bits are set")],
    );
    judge_value(
        ledger,
        CheckName::MrEnclave,
        "mrenclave",
        report.mrenclave(),
        policy.references.get("sgx.mrenclave"),
        expected.mrenclave.as_ref().map(<[u8; 32]>::as_slice),
    );
    // The signer must be each of those that reference values, policy and anchor name.
    let of_anchor = anchor.and_then(TrustAnchor::mrsigner);
    let signers = match (of_anchor, expected.mrsigner) {
        (Some(anchor), Some(wanted)) if anchor != wanted && *report.mrsigner() == wanted => {
            of_anchor
        }
        (anchor, wanted) => wanted.or(anchor),
    };
    judge_value(
        ledger,
        CheckName::MrSigner,
        "mrsigner",
        report.mrsigner(),
        policy.references.get("sgx.mrsigner"),
        signers.as_ref().map(<[u8; 32]>::as_slice),
    );
    match policy.sgx.isv_prod_id {
        None => ledger.skipped(
            CheckName::IsvProdId,
            report.isv_prod_id().to_string(),
            NOT_GIVEN,
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
        format!("at least {}", policy.sgx.min_isv_svn),
        Holds(report.isv_svn() >= policy.sgx.min_isv_svn),
        || Failure {
            reason: Reason::Policy,
            why: "the enclave's security version is below the policy's minimum".into(),
            hint: "launch a newer release of the enclave",
        },
    );
    judge_references(ledger, "sgx", &[], policy, expected);
}

fn judge_trust_domain(ledger: &mut Ledger, report: TdReport<'_>, case: &Case<'_>) {
    let Case {
        policy, expected, ..
    } = *case;
    judge_debug(ledger, report.is_debug(), case);
    let attributes = report.attributes();
    judge_bits(
        ledger,
        "TD attributes",
        attributes,
        &[
            (
                TD_UNTRUSTED & !TD_DEBUG,
                "the TD is open to profiling or other untrusted debugging",
            ),
            (!TD_KNOWN, "reserved bits are set"),
        ],
    );
    if attributes & TD_MIGRATABLE != 0 {
        judge_exception(
            ledger,
            &Exception {
                check: CheckName::Attributes,
                found: format!("TD attributes {attributes:#018x}"),
                with: "not MIGRATABLE",
                what: "migration: a service TD can move this one to another machine",
                why: "the TD can be moved to another machine (MIGRATABLE)",
                hint: "launch the TD without MIGRATABLE, or tolerate it in the policy if you mean it",
            },
            policy.tdx.migration.as_ref(),
            case,
        );
    }
    if attributes & TD_SEPT_VE_DISABLE == 0 {
        judge_exception(
            ledger,
            &Exception {
                check: CheckName::Attributes,
                found: format!("TD attributes {attributes:#018x}"),
                with: "SEPT_VE_DISABLE",
                what: "TDs without SEPT_VE_DISABLE: the host may inject faults on pages that the TD has accepted",
                why: "the host may inject faults on pages that the TD has accepted (SEPT_VE_DISABLE is not set)",
                hint: "launch the TD with SEPT_VE_DISABLE, or tolerate it in the policy",
            },
            policy.tdx.sept_ve.as_ref(),
            case,
        );
    }
    judge_service_td(ledger, report, case);
    ledger.compare(
        CheckName::MinimumTcb,
        hex::encode(report.tee_tcb_svn()),
        format!("at least {}", hex::encode(policy.tdx.min_tee_tcb_svn)),
        Holds(
            report
                .tee_tcb_svn()
                .iter()
                .zip(policy.tdx.min_tee_tcb_svn)
                .all(|(found, wanted)| *found >= wanted),
        ),
        || Failure {
            reason: Reason::Policy,
            why: "the TDX module is older than the policy's minimum (TEE_TCB_SVN)".into(),
            hint: hint_for(Reason::Policy),
        },
    );
    let [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmrs();
    let mut measured: Vec<(&str, &[u8])> = vec![
        ("mr_td", report.mr_td()),
        ("mr_config_id", report.mr_config_id()),
        ("mr_owner", report.mr_owner()),
        ("mr_owner_config", report.mr_owner_config()),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
        ("mr_seam", report.mr_seam()),
        ("mr_signer_seam", report.mr_signer_seam()),
        ("td_attributes", report.td_attributes()),
        ("xfam", report.xfam()),
    ];
    if let Some(service_td) = report.mr_service_td() {
        measured.push(("mr_service_td", service_td));
    }
    judge_references(ledger, "tdx", &measured, policy, expected);
}

fn judge_service_td(ledger: &mut Ledger, report: TdReport<'_>, case: &Case<'_>) {
    let stated = [
        report.mr_service_td(),
        report.init_service_td_hash(),
        report.cur_service_td_hash(),
    ];
    if report.mr_service_td().is_none() {
        ledger.skipped(
            CheckName::ServiceTd,
            "none",
            "a TDX 1.0 report does not name service TDs",
        );
        return;
    }
    let bound: Vec<_> = stated
        .into_iter()
        .flatten()
        .filter(|hash| **hash != [0; 48])
        .collect();
    let service_tds = &case.policy.tdx.service_tds;
    let tolerated = |hash: &&[u8; 48]| {
        service_tds
            .iter()
            .find(|one| one.mr_service_td == **hash && one.tolerance.is_in_force(case.time()))
    };
    let unknown = bound.iter().find(|hash| tolerated(hash).is_none());
    match (bound.first(), unknown) {
        (None, _) => ledger.passed(CheckName::ServiceTd, "none bound".into(), "none"),
        (Some(known), None) => ledger.tolerated(
            CheckName::ServiceTd,
            hex::encode(known),
            "service TDs of the policy",
            format!(
                "the policy allows this service TD to be bound{}",
                tolerated(known).map_or_else(String::new, |one| one.tolerance.terms())
            ),
        ),
        (Some(_), Some(unknown)) => ledger.failed(
            CheckName::ServiceTd,
            hex::encode(unknown),
            "none, or one that the policy names".into(),
            Failure {
                reason: Reason::Policy,
                why: "a service TD that the policy does not name is bound: it may act for this one"
                    .into(),
                hint: "find out which service TD that is (such as a migration TD), and name its MR_SERVICETD in the policy if you trust it",
            },
        ),
    }
}

/// What attributes must not say: the bits that say it, and why not.
type Rule = (u64, &'static str);

/// Refuses if bits are set that offend a rule.
fn judge_bits(ledger: &mut Ledger, what: &str, found: u64, rules: &[Rule]) {
    let offended = rules.iter().find(|(bits, _)| found & bits != 0);
    ledger.compare(
        CheckName::Attributes,
        format!("{what} {found:#018x}"),
        "nothing that lets others in, reserved bits zero",
        Holds(offended.is_none()),
        || Failure {
            reason: Reason::Policy,
            why: offended.map_or_else(String::new, |(_, why)| (*why).to_owned()),
            hint: "launch it with other attributes",
        },
    );
}

/// Attributes of SGX enclaves (Intel SDM, `ATTRIBUTES.FLAGS`): INIT, DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKEN_KEY, CET, KSS, AEX_NOTIFY.
const SGX_KNOWN_FLAGS: u64 = 0b100_1111_0111;

/// Attributes of trust domains (Intel TDX module ABI, `ATTRIBUTES`).
const TD_DEBUG: u64 = 1;
/// The group TUD: with any of its bits the TD is under debug or profiling, and untrusted.
const TD_UNTRUSTED: u64 = 0xff;
const TD_SEPT_VE_DISABLE: u64 = 1 << 28;
const TD_MIGRATABLE: u64 = 1 << 29;
/// LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL; TPA, PERFMON.
const TD_KNOWN: u64 = TD_UNTRUSTED
    | 1 << 27
    | TD_SEPT_VE_DISABLE
    | TD_MIGRATABLE
    | 1 << 30
    | 1 << 31
    | 1 << 62
    | 1 << 63;

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
        CheckName::TdxModule,
        "TDX module, if there is one",
        "signer, attributes and versions of the TCB info",
    ),
    (
        CheckName::TcbStatus,
        "TCB of the platform",
        "TCB levels of the TCB info",
    ),
];
