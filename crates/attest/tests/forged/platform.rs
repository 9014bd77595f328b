//! The simulated platform's good case, spoilt in one place.

use std::time::Duration;

use mse_attest::{CheckName, DcapCollateral, Policy, Reason, TcbStatus};
use mse_simtee::testing::Revoked;

use crate::common::{
    Case, MRENCLAVE, REPORT_DATA, SIGNATURE, changed_in_last_bit, days, flipped, hardening_needed,
    now, other_platform, platform,
};

/// As [`crate::Row`], with a case of the platform.
type PlatformRow = (&'static str, fn() -> Case, CheckName, Reason, &'static str);

pub(crate) const REFUSED: &[PlatformRow] = &[
    (
        "no anchor for the simulated platform",
        || Case {
            policy: Policy::strict(),
            ..Case::good()
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
    ),
    (
        "the anchor of another simulated platform",
        || Case {
            policy: Policy::strict().with_simulated(other_platform().trust_anchor().clone()),
            ..Case::good()
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
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
        "the trust anchor of its platform was not given",
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
        "nothing may be cut off or follow",
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
        "nothing may be cut off or follow",
    ),
    (
        "another version",
        || flipped(0, 0b111),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "certification data of type `257` is not supported; only 6 (a QE report) is",
    ),
    (
        "another key type",
        || flipped(2, 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "attestation key type `3` is not supported",
    ),
    (
        "another TEE type",
        || flipped(4, 0x81),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "version `3` with TEE type `0x81` is not",
    ),
    (
        "another QE vendor",
        || flipped(12, 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "QE vendor id `929a7233f79c4ca9940a0db3957f0607` is not Intel's",
    ),
    (
        "a huge quote",
        || Case {
            quote: vec![0; mse_attest::dcap::MAX_QUOTE_BYTES + 1],
            ..Case::good()
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes, more than the limit of 32768",
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
        "bytes, more than the limit of 1048576; fetch it again from the collateral",
    ),
    (
        "a measurement changed after signing",
        || flipped(48 + 64, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "report data changed after signing",
        || flipped(48 + 320 + 63, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "user data of the header changed",
        || flipped(47, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "the quote's signature changed",
        || flipped(SIGNATURE + 10, 1),
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "another attestation key",
        || flipped(SIGNATURE + 64 + 5, 1),
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave vouches for another attestation key",
    ),
    (
        "the QE's report changed after signing",
        || flipped(SIGNATURE + 128 + 64, 1),
        CheckName::QeReport,
        Reason::Forged,
        "report is not signed by the platform's PCK",
    ),
    (
        "the QE does not vouch for the key",
        || Case::with_quote(|options| options.quoting_enclave.vouches_for_key = false),
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave vouches for another attestation key",
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
        "the quoting enclave runs in debug mode",
    ),
    (
        "a QE of another signer",
        || Case::with_quote(|options| options.quoting_enclave.mrsigner = [1; 32]),
        CheckName::QeReport,
        Reason::Mismatch,
        "another signer than Intel's",
    ),
    (
        "the QE identity of another signer",
        || Case::with_collateral(|options| options.qe_mrsigner = [1; 32]),
        CheckName::QeReport,
        Reason::Mismatch,
        "another signer than Intel's",
    ),
    (
        "a QE older than its identity allows",
        || Case::with_collateral(|options| options.qe_isv_svn = 2),
        CheckName::QeReport,
        Reason::Policy,
        "security version `1` meets no level of its identity",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "the document is not signed by `CN=MSE SIMULATED SGX TCB Signing, O=MSE",
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
        "`CN=MSE SIMULATED SGX PCK Platform CA, O=MSE SIMULATED, NO HARDWARE` is a",
    ),
    (
        "collateral of another platform",
        || Case {
            collateral: other_platform().collateral(now()).unwrap(),
            ..Case::good()
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "the signer of the TCB info is not vouched for by the platform's root",
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
        "the signer of the TCB info is not vouched for by the platform's root",
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
        "was issued with another key of that name",
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
        "the CRL of `CN=MSE SIMULATED SGX Root CA, O=MSE SIMULATED, NO HARDWARE` is",
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
        "a CRL is not DER of RFC 5280",
    ),
    (
        "a revoked PCK",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::Pck]),
        CheckName::Revocation,
        Reason::Revoked,
        "the certificate of `CN=MSE SIMULATED SGX PCK Certificate, O=MSE SIMULATED,",
    ),
    (
        "a revoked platform CA",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::PlatformCa]),
        CheckName::Revocation,
        Reason::Revoked,
        "the certificate of `CN=MSE SIMULATED SGX PCK Platform CA, O=MSE SIMULATED,",
    ),
    (
        "a revoked TCB signer",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::TcbSigner]),
        CheckName::Revocation,
        Reason::Revoked,
        "the certificate of `CN=MSE SIMULATED SGX TCB Signing, O=MSE SIMULATED, NO",
    ),
    (
        "a revoked root",
        || Case::with_collateral(|options| options.revoked = vec![Revoked::Root]),
        CheckName::Revocation,
        Reason::Revoked,
        "the certificate of `CN=MSE SIMULATED SGX Root CA, O=MSE SIMULATED, NO",
    ),
    (
        "TCB info about other platforms",
        || Case::with_collateral(|options| options.fmspc = *b"other!"),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is about FMSPC `6F7468657221`, the platform has `53494D000001`",
    ),
    (
        "TCB info about another PCE",
        || Case::with_collateral(|options| options.pce_id = [0, 1]),
        CheckName::PlatformMatch,
        Reason::Mismatch,
        "the TCB info is for PCE-ID `0001`",
    ),
    (
        "expired collateral",
        || Case {
            now: now() + days(31),
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the root: expired",
    ),
    (
        "expired CRLs",
        || Case::with_collateral(|options| options.crls_issued = now() - days(40)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the root: expired",
    ),
    (
        "collateral from the future",
        || Case::with_collateral(|options| options.issued = now() + Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "TCB info: not valid yet",
    ),
    (
        "CRLs from the future",
        || Case::with_collateral(|options| options.crls_issued = now() + Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the root: not valid yet",
    ),
    (
        "a clock at zero",
        || Case {
            now: std::time::UNIX_EPOCH,
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the platform: not valid yet",
    ),
    (
        "a clock before 1970",
        || Case {
            now: std::time::UNIX_EPOCH - days(1),
            ..Case::good()
        },
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the platform: not valid yet",
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
        "certificates of the platform: expired",
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
        "the collateral is older than the policy allows",
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
        "does not know the TCB recovery",
    ),
    (
        "a platform out of date",
        || Case::with_collateral(|options| options.tcb_status = TcbStatus::OutOfDate),
        CheckName::TcbStatus,
        Reason::Policy,
        "status is OutOfDate",
    ),
    (
        "a platform that needs hardening",
        || Case::with_collateral(|options| options.tcb_status = TcbStatus::SWHardeningNeeded),
        CheckName::TcbStatus,
        Reason::Policy,
        "the platform's TCB status is SWHardeningNeeded",
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
        "the platform's TCB is revoked",
    ),
    (
        "an advisory that is not tolerated",
        || hardening_needed(|policy| policy.tolerate_advisory("SIM-SA-1", now() + days(1))),
        CheckName::Advisories,
        Reason::Policy,
        "advisories that the policy does not tolerate apply: SIM-SA-2",
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
        "advisories that the policy does not tolerate apply: SIM-SA-2",
    ),
    (
        "a debug enclave",
        || Case::with_quote(|options| options.debug = true),
        CheckName::Debug,
        Reason::Policy,
        "the code runs in debug mode",
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
        "something else runs there than expected: `mrenclave` differs",
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
        "something else runs there than expected: `mrsigner` differs",
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
        "something else runs there than expected: `mrsigner` differs",
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
        "something else runs there than expected: `mrsigner` differs",
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
        "the enclave is another product of its signer",
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
        "the enclave's security version is below the policy's minimum",
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
        "made for other keys or for another connection",
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
        "made for other keys or for another connection",
    ),
];

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
