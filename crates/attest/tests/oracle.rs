//! A second opinion: what `dcap-qvl` says about genuine quotes, ours says too.
//!
//! Where the two may differ is written down: it reads no TCB info of version 2, which Intel signed
//! until 2025, and it gives no status to what attributes or service TDs make it refuse.

mod corpus;

use corpus::{Case, Corpus, Table, at};
use dcap_qvl::{
    QuoteCollateralV3, QuotePolicy,
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    verify::QuoteVerifier,
    x509::X509CertBackend,
};
use mse_attest::{
    CheckName, DcapCollateral, Evidence, Outcome, Policy, ReferenceValues, Tcb, TrustAnchor,
    appraise,
};
use rustls_pki_types::SignatureVerificationAlgorithm;

#[test]
fn dcap_qvl_agrees_on_status_and_advisories() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for kind in ["sgx-v3", "tdx-v4", "tdx-v5"] {
        for sample in corpus.samples(kind) {
            let quote = corpus.read(&sample.file("quote").path);
            for case in &sample.case {
                let collateral = corpus.collateral(&case.collateral).dcap.unwrap();
                if collateral.tcb_info.contains("\"version\":2,") {
                    continue;
                }
                table.cases += 1;
                let ours = our_opinion(&quote, &collateral, case);
                let theirs = their_opinion(&quote, &collateral, case);
                let is_gate = theirs.is_none() && refuses_by_policy_gate(&quote, &collateral, case);
                if ours != theirs && !is_gate {
                    table.problem(&case.collateral, format!("{ours:?}, dcap-qvl {theirs:?}"));
                }
            }
        }
    }
    table.conclude(100);
}

/// Status and sorted advisories, or `None` if the chain, the collateral or the time is refused.
type Opinion = Option<(String, Vec<String>)>;

fn our_opinion(quote: &[u8], collateral: &DcapCollateral, case: &Case) -> Opinion {
    let evidence = Evidence::parse(quote).unwrap();
    let collateral = collateral.clone().into();
    let now = at(case.now);
    let expected = ReferenceValues::default();
    let tcb: Tcb = match appraise(&evidence, &collateral, &Policy::strict(), &expected, now) {
        Ok(appraisal) => appraisal.tcb?,
        // What only the policy refuses has a status all the same; what is not valid now has one
        // too, and `dcap-qvl` gives none.
        Err(refusal) if refusal.reason == mse_attest::Reason::Stale => return None,
        Err(refusal) => *refusal.tcb?,
    };
    Some(opinion(tcb.status.to_string(), tcb.advisory_ids))
}

/// Whether the strict policy, too, refuses attributes or service TDs.
fn refuses_by_policy_gate(quote: &[u8], collateral: &DcapCollateral, case: &Case) -> bool {
    let evidence = Evidence::parse(quote).unwrap();
    appraise(
        &evidence,
        &collateral.clone().into(),
        &Policy::strict(),
        &ReferenceValues::default(),
        at(case.now),
    )
    .is_err_and(|refusal| {
        refusal.checks.iter().any(|check| {
            matches!(check.name, CheckName::Attributes | CheckName::ServiceTd)
                && matches!(check.outcome, Outcome::Failed { .. })
        })
    })
}

fn their_opinion(quote: &[u8], ours: &DcapCollateral, case: &Case) -> Opinion {
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: ours.pck_crl_issuer_chain.clone(),
        root_ca_crl: ours.root_ca_crl.clone(),
        pck_crl: ours.pck_crl.clone(),
        tcb_info_issuer_chain: ours.tcb_info_issuer_chain.clone(),
        tcb_info: ours.tcb_info.clone(),
        tcb_info_signature: ours.tcb_info_signature.clone(),
        qe_identity_issuer_chain: ours.qe_identity_issuer_chain.clone(),
        qe_identity: ours.qe_identity.clone(),
        qe_identity_signature: ours.qe_identity_signature.clone(),
        pck_certificate_chain: None,
    };
    let root = TrustAnchor::intel().root_der().to_vec();
    let claims = QuoteVerifier::<AwsLc>::new_with_config(root)
        .allow_debug(true)
        .verify_with_policy(
            quote,
            collateral,
            case.now,
            &QuotePolicy::claims_only(case.now),
        )
        .ok()?;
    Some(opinion(
        claims.tcb.status.to_string(),
        claims.tcb.advisory_ids,
    ))
}

fn opinion(status: String, mut advisories: Vec<String>) -> (String, Vec<String>) {
    advisories.sort();
    (status, advisories)
}

struct AwsLc;

impl Config for AwsLc {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref());
        hash
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut hash = [0; 48];
        hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, data).as_ref());
        hash
    }
}
