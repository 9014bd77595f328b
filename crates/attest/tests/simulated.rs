//! The good case is accepted, and each way of spoiling it is refused by the check it is for.

mod common;

use std::time::Duration;

use common::{Case, MRENCLAVE, REPORT_DATA, days, now, other_platform, outcome, platform};
use mse_attest::{
    CheckName, Collateral, DcapCollateral, Evidence, Outcome, Policy, Reason, ReferenceValues,
    TcbStatus, Tee, TrustAnchor,
};
use mse_simtee::testing::Revoked;

#[test]
fn the_good_case_is_accepted_and_every_check_passes() {
    let appraisal = Case::good().appraise().unwrap();
    assert_eq!(appraisal.tee, Tee::Simulated);
    let claims = appraisal.claims.sgx().unwrap();
    assert_eq!(claims.mrenclave, MRENCLAVE);
    assert_eq!(claims.mrsigner, platform().mrsigner());
    assert_eq!(claims.report_data, REPORT_DATA);
    assert_eq!(claims.isv_prod_id, 1);
    assert_eq!(claims.isv_svn, 1);
    assert!(!claims.debug);
    let tcb = appraisal.tcb.as_ref().unwrap();
    assert_eq!(tcb.status, TcbStatus::UpToDate);
    assert_eq!(tcb.fmspc, mse_simtee::FMSPC);

    let skipped: Vec<_> = appraisal
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Passed)
        .map(|check| check.name)
        .collect();
    // Nothing was said about three of them, and SGX has no TDX module.
    assert_eq!(
        skipped,
        [
            CheckName::TdxModule,
            CheckName::CollateralAge,
            CheckName::Advisories,
            CheckName::IsvProdId
        ]
    );
    assert_eq!(appraisal.checks.len(), 23);
}

#[test]
fn what_is_not_expected_is_skipped_and_says_so() {
    let case = Case {
        expected: ReferenceValues::default(),
        ..Case::good()
    };
    let appraisal = case.appraise().unwrap();
    for name in [CheckName::MrEnclave, CheckName::ReportData] {
        assert!(matches!(
            outcome(&appraisal.checks, name),
            Outcome::Skipped { .. }
        ));
    }
}

/// Spoils the good case and names the check that must decide, and its class.
type Row = (&'static str, fn() -> Case, CheckName, Reason);

#[test]
fn every_forgery_is_refused_by_its_own_check() {
    let mut problems = Vec::new();
    for (name, case, check, reason) in REFUSED {
        let Err(refusal) = case().appraise() else {
            problems.push(format!("{name}: accepted"));
            continue;
        };
        if (refusal.failed, refusal.reason) != (*check, *reason) {
            problems.push(format!("{name}: {:?} by {refusal}", refusal.reason));
            continue;
        }
        assert!(
            matches!(outcome(&refusal.checks, *check), Outcome::Failed { .. }),
            "{name}"
        );
        let line = refusal.to_string();
        assert!(
            !line.contains('\n') && line.contains(check.as_str()),
            "{line}"
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

const REFUSED: &[Row] = &[
    (
        "no anchor for the simulated platform",
        || Case {
            policy: Policy::strict(),
            ..Case::good()
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
    ),
    (
        "the anchor of another simulated platform",
        || Case {
            policy: Policy::strict().with_simulated(other_platform().trust_anchor().clone()),
            ..Case::good()
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
    ),
    (
        "a chain without its root",
        || {
            let mut case = Case::good();
            case.quote = without_root(&case.quote);
            case
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
    ),
    (
        "bytes after the quote",
        || {
            let mut case = Case::good();
            case.quote.push(0);
            case
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "a quote cut short",
        || {
            let mut case = Case::good();
            case.quote.pop();
            case
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "another version",
        || flipped(0, 0b111),
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "another key type",
        || flipped(2, 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "another TEE type",
        || flipped(4, 0x81),
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "another QE vendor",
        || flipped(12, 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "a huge quote",
        || Case {
            quote: vec![0; mse_attest::dcap::MAX_QUOTE_BYTES + 1],
            ..Case::good()
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
    ),
    (
        "huge collateral",
        || {
            let mut case = Case::good();
            case.collateral.pck_crl_issuer_chain = " ".repeat(mse_attest::MAX_COLLATERAL_BYTES);
            case
        },
        CheckName::CollateralFormat,
        Reason::Malformed,
    ),
    (
        "a measurement changed after signing",
        || flipped(48 + 64, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
    ),
    (
        "report data changed after signing",
        || flipped(48 + 320 + 63, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
    ),
    (
        "user data of the header changed",
        || flipped(47, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
    ),
    (
        "the quote's signature changed",
        || flipped(SIGNATURE + 10, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
    ),
    (
        "another attestation key",
        || flipped(SIGNATURE + 64 + 5, 1),
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "the QE's report changed after signing",
        || flipped(SIGNATURE + 128 + 64, 1),
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "the QE does not vouch for the key",
        || Case::with_quote(|options| options.quoting_enclave.vouches_for_key = false),
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "a QE in debug mode",
        || {
            let mut case = Case::with_quote(|options| options.quoting_enclave.debug = true);
            // Debug enclaves that the policy allows are those of the owner, never the QE.
            case.policy = case.policy.allow_debug();
            case
        },
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "a QE of another signer",
        || Case::with_quote(|options| options.quoting_enclave.mrsigner = [1; 32]),
        CheckName::QeReport,
        Reason::Mismatch,
    ),
    (
        "the QE identity of another signer",
        || Case::with_collateral(|options| options.qe_mrsigner = [1; 32]),
        CheckName::QeReport,
        Reason::Mismatch,
    ),
    (
        "a QE older than its identity allows",
        || Case::with_collateral(|options| options.qe_isv_svn = 2),
        CheckName::QeReport,
        Reason::Policy,
    ),
    (
        "TCB info changed after signing",
        || {
            let mut case = Case::good();
            case.collateral.tcb_info = case.collateral.tcb_info.replace("OutOfDate", "UpToDate");
            case
        },
        CheckName::TcbInfo,
        Reason::Forged,
    ),
    (
        "TCB info without a signature",
        || {
            let mut case = Case::good();
            case.collateral.tcb_info_signature = vec![0; 64];
            case
        },
        CheckName::TcbInfo,
        Reason::Forged,
    ),
    (
        "TCB info with the signature of the QE identity",
        || {
            let mut case = Case::good();
            case.collateral.tcb_info_signature = case.collateral.qe_identity_signature.clone();
            case
        },
        CheckName::TcbInfo,
        Reason::Forged,
    ),
    (
        "TCB info without levels",
        || {
            let mut case = Case::good();
            case.collateral.tcb_info = "{}".into();
            case
        },
        CheckName::TcbInfo,
        Reason::Forged,
    ),
    (
        "QE identity changed after signing",
        || {
            let mut case = Case::good();
            case.collateral.qe_identity = case
                .collateral
                .qe_identity
                .replace("\"isvsvn\":1", "\"isvsvn\":0");
            case
        },
        CheckName::QeIdentity,
        Reason::Forged,
    ),
    (
        "an empty QE identity",
        || {
            let mut case = Case::good();
            case.collateral.qe_identity = "{}".into();
            case
        },
        CheckName::QeIdentity,
        Reason::Forged,
    ),
    (
        "documents signed by the platform CA",
        || {
            let mut case = Case::good();
            case.collateral.tcb_info_issuer_chain = case.collateral.pck_crl_issuer_chain.clone();
            case
        },
        CheckName::CertificateChains,
        Reason::Forged,
    ),
    (
        "collateral of another platform",
        || Case {
            collateral: other_platform().collateral(now()).unwrap(),
            ..Case::good()
        },
        CheckName::CertificateChains,
        Reason::Forged,
    ),
    (
        "TCB info of another platform, with its chain",
        || {
            let other = other_platform().collateral(now()).unwrap();
            let good = Case::good();
            Case {
                collateral: DcapCollateral {
                    tcb_info: other.tcb_info,
                    tcb_info_signature: other.tcb_info_signature,
                    tcb_info_issuer_chain: other.tcb_info_issuer_chain,
                    ..good.collateral
                },
                ..Case::good()
            }
        },
        CheckName::CertificateChains,
        Reason::Forged,
    ),
    (
        "the PCK CRL of another platform",
        || {
            let mut case = Case::good();
            case.collateral.pck_crl = other_platform().collateral(now()).unwrap().pck_crl;
            case
        },
        CheckName::Revocation,
        Reason::Forged,
    ),
    (
        "the root's CRL in place of the PCK CRL",
        || {
            let mut case = Case::good();
            case.collateral.pck_crl = case.collateral.root_ca_crl.clone();
            case
        },
        CheckName::Revocation,
        Reason::Forged,
    ),
    (
        "no CRL",
        || {
            let mut case = Case::good();
            case.collateral.pck_crl = Vec::new();
            case
        },
        CheckName::Revocation,
        Reason::Malformed,
    ),
    (
        "a revoked PCK",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::Pck]),
        CheckName::Revocation,
        Reason::Revoked,
    ),
    (
        "a revoked platform CA",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::PlatformCa]),
        CheckName::Revocation,
        Reason::Revoked,
    ),
    (
        "a revoked TCB signer",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::TcbSigner]),
        CheckName::Revocation,
        Reason::Revoked,
    ),
    (
        "a revoked root",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::Root]),
        CheckName::Revocation,
        Reason::Revoked,
    ),
    (
        "TCB info about other platforms",
        || Case::with_collateral(|options| options.fmspc = *b"other!"),
        CheckName::PlatformMatch,
        Reason::Mismatch,
    ),
    (
        "TCB info about another PCE",
        || Case::with_collateral(|options| options.pce_id = [0, 1]),
        CheckName::PlatformMatch,
        Reason::Mismatch,
    ),
    (
        "expired collateral",
        || Case {
            now: now() + days(31),
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "expired CRLs",
        || Case::with_collateral(|options| options.crls_issued = now() - days(40)),
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "collateral from the future",
        || Case::with_collateral(|options| options.issued = now() + Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "CRLs from the future",
        || Case::with_collateral(|options| options.crls_issued = now() + Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "a clock at zero",
        || Case {
            now: std::time::UNIX_EPOCH,
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "a clock before 1970",
        || Case {
            now: std::time::UNIX_EPOCH - days(1),
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "expired certificates",
        || {
            let later = now() + days(21 * 366);
            let mut case = Case::with_collateral(|options| {
                options.issued = later;
                options.crls_issued = later;
            });
            case.now = later;
            case
        },
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "collateral older than the policy wants",
        || {
            let mut case = Case::good();
            case.policy = case
                .policy
                .require_max_collateral_age(Duration::from_mins(1));
            case
        },
        CheckName::CollateralAge,
        Reason::Stale,
    ),
    (
        "collateral of an earlier TCB recovery",
        || {
            let mut case = Case::good();
            case.policy = case.policy.require_min_tcb_evaluation_number(2);
            case
        },
        CheckName::TcbEvaluation,
        Reason::Stale,
    ),
    (
        "a platform out of date",
        || Case::with_collateral(|options| options.tcb_status = TcbStatus::OutOfDate),
        CheckName::TcbStatus,
        Reason::Policy,
    ),
    (
        "a platform that needs hardening",
        || Case::with_collateral(|options| options.tcb_status = TcbStatus::SWHardeningNeeded),
        CheckName::TcbStatus,
        Reason::Policy,
    ),
    (
        "a revoked platform, though the policy lists it",
        || {
            let mut case = Case::with_collateral(|options| options.tcb_status = TcbStatus::Revoked);
            case.policy = case.policy.accept_status(TcbStatus::Revoked);
            case
        },
        CheckName::TcbStatus,
        Reason::Revoked,
    ),
    (
        "an advisory that is not tolerated",
        || hardening_needed(|policy| policy.tolerate_advisory("SIM-SA-1", now() + days(1))),
        CheckName::Advisories,
        Reason::Policy,
    ),
    (
        "an advisory tolerated until yesterday",
        || {
            hardening_needed(|policy| {
                policy
                    .tolerate_advisory("SIM-SA-1", now() + days(1))
                    .tolerate_advisory("SIM-SA-2", now() - days(1))
            })
        },
        CheckName::Advisories,
        Reason::Policy,
    ),
    (
        "a debug enclave",
        || Case::with_quote(|options| options.debug = true),
        CheckName::Debug,
        Reason::Policy,
    ),
    (
        "another measurement",
        || {
            let mut case = Case::good();
            case.expected.mrenclave = Some(changed_in_last_bit(MRENCLAVE));
            case
        },
        CheckName::MrEnclave,
        Reason::Mismatch,
    ),
    (
        "another signer than expected",
        || {
            let mut case = Case::good();
            case.expected.mrsigner = Some(changed_in_last_bit(platform().mrsigner()));
            case
        },
        CheckName::MrSigner,
        Reason::Mismatch,
    ),
    (
        "another signer than the policy's",
        || {
            let mut case = Case::good();
            case.policy = case.policy.require_mrsigner([0; 32]);
            case
        },
        CheckName::MrSigner,
        Reason::Mismatch,
    ),
    (
        "another signer than the anchor's",
        || {
            let mut case = Case::with_quote(|options| options.mrsigner = Some([1; 32]));
            case.expected.mrsigner = None;
            case
        },
        CheckName::MrSigner,
        Reason::Mismatch,
    ),
    (
        "another product",
        || {
            let mut case = Case::good();
            case.policy = case.policy.require_isv_prod_id(2);
            case
        },
        CheckName::IsvProdId,
        Reason::Mismatch,
    ),
    (
        "an old version of the enclave",
        || {
            let mut case = Case::good();
            case.policy = case.policy.require_min_isv_svn(2);
            case
        },
        CheckName::IsvSvn,
        Reason::Policy,
    ),
    (
        "report data that differs in the last bit",
        || {
            let mut case = Case::good();
            case.expected.report_data = Some(changed_in_last_bit(REPORT_DATA));
            case
        },
        CheckName::ReportData,
        Reason::Mismatch,
    ),
    (
        "report data that is padded with zeros",
        || {
            let mut data = [0; 64];
            data[..32].fill(1);
            let mut expected = data;
            expected[32] = 1;
            let mut case = Case::good();
            case.quote = platform().quote(MRENCLAVE, &data).unwrap();
            case.expected.report_data = Some(expected);
            case
        },
        CheckName::ReportData,
        Reason::Mismatch,
    ),
];

#[test]
fn what_the_policy_loosens_passes() {
    let accepted: [(&str, Case); 4] = [
        (
            "tolerated advisories",
            hardening_needed(|policy| {
                policy
                    .tolerate_advisory("SIM-SA-1", now() + days(1))
                    .tolerate_advisory("sim-sa-2", now())
            }),
        ),
        (
            "advisories of an up-to-date platform",
            Case::with_collateral(|options| options.advisory_ids = vec!["SIM-SA-1".into()]),
        ),
        ("a debug enclave", {
            let mut case = Case::with_quote(|options| options.debug = true);
            case.policy = case.policy.allow_debug();
            case
        }),
        ("limits that are met exactly", {
            let mut case = Case::good();
            case.policy = case
                .policy
                .require_isv_prod_id(1)
                .require_min_isv_svn(1)
                .require_min_tcb_evaluation_number(1)
                .require_mrsigner(platform().mrsigner())
                .require_max_collateral_age(Duration::from_hours(1));
            case
        }),
    ];
    for (name, case) in accepted {
        if let Err(refusal) = case.appraise() {
            panic!("`{name}` must be accepted: {refusal}");
        }
    }
}

#[test]
fn the_signature_chain_decides_before_the_binding_and_both_are_reported() {
    let mut case = flipped(48 + 64, 1);
    case.expected.report_data = Some([0; 64]);
    let refusal = case.appraise().unwrap_err();
    assert_eq!(refusal.failed, CheckName::QuoteSignature);
    for name in [CheckName::MrEnclave, CheckName::ReportData] {
        assert!(matches!(
            outcome(&refusal.checks, name),
            Outcome::Failed { .. }
        ));
    }
    assert!(matches!(
        outcome(&refusal.checks, CheckName::TcbStatus),
        Outcome::Skipped { .. }
    ));
}

#[test]
fn results_serialise_with_the_names_of_the_checks() {
    let refusal = Case::with_quote(|options| options.debug = true)
        .appraise()
        .unwrap_err();
    let json = serde_json::to_value(&refusal).unwrap();
    assert_eq!(json["failed"], "debug");
    assert_eq!(json["reason"], "policy");
    let appraisal = serde_json::to_value(Case::good().appraise().unwrap()).unwrap();
    assert_eq!(appraisal["tee"], "simulated");
    assert_eq!(appraisal["claims"]["mrenclave"], hex::encode(MRENCLAVE));
    assert_eq!(appraisal["checks"][0]["name"], "evidence-format");
    assert_eq!(appraisal["checks"][0]["outcome"]["result"], "passed");
}

#[test]
fn collateral_survives_its_json_form() {
    let collateral = platform().collateral(now()).unwrap();
    let json = serde_json::to_vec(&collateral).unwrap();
    let collateral = Collateral::from(collateral);
    assert_eq!(Collateral::from_json(&json).unwrap(), collateral);
    let json = collateral.to_json();
    assert_eq!(Collateral::from_json(json.as_bytes()).unwrap(), collateral);
}

#[test]
fn a_quote_is_explained_field_by_field() {
    let evidence = Evidence::parse(&Case::good().quote).unwrap();
    let fields = mse_attest::fields(&evidence).unwrap();
    let value = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        field
            .unwrap_or_else(|| panic!("no field `{name}`"))
            .value
            .clone()
    };
    assert_eq!(value("report.mrenclave"), hex::encode(MRENCLAVE));
    assert_eq!(value("report.report_data"), hex::encode(REPORT_DATA));
    assert_eq!(value("signature_data.certification_data.type"), "5");
    assert!(value("signature_data.certification_data").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(fields.iter().all(|field| !field.meaning.is_empty()));
}

#[test]
fn a_trust_anchor_of_intels_key_does_not_make_evidence_hardware() {
    // Hardware first: whoever adds Intel's root as simulated gains nothing by it.
    let intel = TrustAnchor::intel();
    let fake = TrustAnchor::simulated(intel.root_der(), None).unwrap();
    let case = Case {
        policy: Policy::strict().with_simulated(fake),
        ..Case::good()
    };
    assert_eq!(
        case.appraise().unwrap_err().reason,
        Reason::SimulatedEvidence
    );
}

/// Offset of the quote's signature: header, report body and a length come before.
const SIGNATURE: usize = 48 + 384 + 4;

fn flipped(at: usize, mask: u8) -> Case {
    let mut case = Case::good();
    case.quote[at] ^= mask;
    case
}

fn changed_in_last_bit<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[N - 1] ^= 1;
    bytes
}

fn hardening_needed(policy: impl FnOnce(Policy) -> Policy) -> Case {
    let mut case = Case::with_collateral(|options| {
        options.tcb_status = TcbStatus::SWHardeningNeeded;
        options.advisory_ids = vec!["SIM-SA-1".into(), "SIM-SA-2".into()];
    });
    case.policy = policy(case.policy.accept_status(TcbStatus::SWHardeningNeeded));
    case
}

/// The quote with the last certificate of its chain taken out, lengths made right.
fn without_root(quote: &[u8]) -> Vec<u8> {
    let begin = b"-----BEGIN CERTIFICATE-----";
    let cut = quote
        .windows(begin.len())
        .rposition(|window| window == begin)
        .unwrap();
    let removed = u32::try_from(quote.len() - cut).unwrap();
    let mut quote = quote[..cut].to_vec();
    let certification_data = SIGNATURE + 64 + 64 + 384 + 64 + 2 + 32 + 2;
    for at in [SIGNATURE - 4, certification_data] {
        let length: [u8; 4] = quote[at..at + 4].try_into().unwrap();
        let length = u32::from_le_bytes(length) - removed;
        quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    quote
}
