//! Certificates, revocation and signature.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CustomExtension, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

use super::{
    forge::{
        Authority, NOW, PROTECTED, Payload, Pki, bytes, ca, document, message, sig_structure,
        signed_by, signer,
    },
    good, judge, judge_with, pki, refused, trusting, under_root,
};
use crate::{
    CheckName, Collateral, Outcome, Policy, Reason, Tee, TrustAnchor, nitro::hardware_anchors,
};

#[track_caller]
fn forged_chain(document: &[u8], why: &str) {
    refused(
        judge(document),
        CheckName::CertificateChains,
        Reason::Forged,
        why,
    );
}

#[test]
fn the_compiled_in_root_is_what_its_table_says() {
    let [anchor] = hardware_anchors().try_into().unwrap();
    let digest = hex::encode(crate::digest::sha256(&[anchor.root_der()]));
    assert_eq!(
        digest,
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    );
    assert!(include_str!("../../roots/README.md").contains(&digest));
    assert_eq!(anchor.tee_of(Tee::Nitro), Tee::Nitro);
}

#[test]
fn a_root_of_ones_own_is_unknown() {
    let theirs = Pki::new();
    let document = theirs.document(&Payload::good(&theirs));
    refused(
        judge(&document),
        CheckName::RootOfTrust,
        Reason::UnknownRoot,
        "trusted root",
    );
    refused(
        judge_with(&good(), &Collateral::none(), &Policy::strict(), NOW),
        CheckName::RootOfTrust,
        Reason::UnknownRoot,
        "trusted root",
    );
    let simulated = Pki::under(Authority::self_signed(ca("SIMULATED root", None)));
    let document = simulated.document(&Payload::good(&simulated));
    refused(
        judge(&document),
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "simulated",
    );
}

#[test]
fn a_simulated_platform_counts_as_simulated() {
    assert_eq!(judge(&good()).unwrap().tee, Tee::Simulated);
}

/// A root of another vendor's PKI vouches for no document, even if it is trusted.
#[test]
fn a_trusted_root_of_another_pki_is_unknown() {
    let p256 = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = p256();
    let params = ca("P-256 root", None);
    let root = Authority {
        der: params.self_signed(&key).unwrap().der().to_vec(),
        params,
        key,
    };
    let policy = Policy::strict().with_simulated(TrustAnchor::simulated(&root.der, None).unwrap());
    let signer = root.issue(signer());
    let document = signed_by(&signer, std::slice::from_ref(&root.der));
    refused(
        judge_with(&document, &Collateral::none(), &policy, NOW),
        CheckName::RootOfTrust,
        Reason::UnknownRoot,
        "trusted root",
    );
}

#[test]
fn a_root_of_the_same_name_with_another_key_is_unknown() {
    let theirs = Pki::under(Authority::self_signed(ca("test root", None)));
    let document = theirs.document(&Payload::good(&theirs));
    refused(
        judge(&document),
        CheckName::RootOfTrust,
        Reason::UnknownRoot,
        "trusted root",
    );
    // With the trusted root put in front, the region is of someone else.
    let mut bundle = theirs.bundle();
    bundle[0].clone_from(&pki().root().der);
    forged_chain(&signed_by(&theirs.signer, &bundle), "is not signed by");
    bundle.insert(1, theirs.root().der.clone());
    forged_chain(&signed_by(&theirs.signer, &bundle), "is not signed by");
}

#[test]
fn the_bundle_starts_with_the_root() {
    let mut bundle = pki().bundle();
    bundle.reverse();
    refused(
        judge(&signed_by(&pki().signer, &bundle)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "ends with the root",
    );
}

#[test]
fn every_issuer_is_there_and_in_its_place() {
    for missing in 1..4 {
        let mut bundle = pki().bundle();
        bundle.remove(missing);
        forged_chain(&signed_by(&pki().signer, &bundle), "was issued by");
    }
    let mut swapped = pki().bundle();
    swapped.swap(1, 2);
    forged_chain(&signed_by(&pki().signer, &swapped), "");
    let mut twice = pki().bundle();
    twice.insert(2, twice[1].clone());
    forged_chain(&signed_by(&pki().signer, &twice), "");
    // The root alone vouches only for what it has issued itself.
    forged_chain(
        &signed_by(&pki().signer, &pki().bundle()[..1]),
        "was issued by",
    );
    judge(&under_root(&[], &pki().root().issue(signer()))).unwrap();
}

#[test]
fn certificates_that_cannot_be_read_are_refused() {
    let garbage = b"no certificate".to_vec();
    refused(
        judge(&signed_by(&pki().signer, std::slice::from_ref(&garbage))),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "not DER",
    );
    let mut bundle = pki().bundle();
    bundle[2] = garbage.clone();
    refused(
        judge(&signed_by(&pki().signer, &bundle)),
        CheckName::CertificateChains,
        Reason::Malformed,
        "not DER",
    );
    let payload = Payload::of(&garbage, &pki().bundle()).encode();
    refused(
        judge(&document(&pki().signer, PROTECTED, &payload)),
        CheckName::CertificateChains,
        Reason::Malformed,
        "not DER",
    );
    let trailing = [pki().signer.der.as_slice(), &[0]].concat();
    let payload = Payload::of(&trailing, &pki().bundle()).encode();
    refused(
        judge(&document(&pki().signer, PROTECTED, &payload)),
        CheckName::CertificateChains,
        Reason::Malformed,
        "followed by other bytes",
    );
}

#[test]
fn a_ca_does_not_sign_documents() {
    let bundle = pki().bundle();
    forged_chain(&signed_by(pki().instance(), &bundle[..3]), "is a CA");
    forged_chain(&signed_by(pki().root(), &bundle[..1]), "is a CA");
}

#[test]
fn only_cas_issue_certificates() {
    let below = pki().signer.issue(signer());
    let mut bundle = pki().bundle();
    bundle.push(pki().signer.der.clone());
    forged_chain(&signed_by(&below, &bundle), "is not a CA");

    let mut params = ca("no constraints", None);
    params.is_ca = IsCa::NoCa;
    let issuer = pki().root().issue(params);
    let document = under_root(&[&issuer], &issuer.issue(signer()));
    forged_chain(&document, "basic constraints");

    let mut params = ca("no certificates", None);
    params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let issuer = pki().root().issue(params);
    let document = under_root(&[&issuer], &issuer.issue(signer()));
    forged_chain(&document, "not for signing certificates");
}

#[test]
fn no_chain_is_deeper_than_its_issuers_allow() {
    let region = pki().root().issue(ca("region", Some(0)));
    let zone = region.issue(ca("zone", Some(0)));
    let document = under_root(&[&region, &zone], &zone.issue(signer()));
    forged_chain(&document, "not so deep");
    let below = pki().instance().issue(ca("below", Some(0)));
    let mut bundle = pki().bundle();
    bundle.push(below.der.clone());
    forged_chain(&signed_by(&below.issue(signer()), &bundle), "not so deep");
}

#[test]
fn the_signers_key_is_for_signatures() {
    let mut params = signer();
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let signer = pki().instance().issue(params);
    forged_chain(&signed_by(&signer, &pki().bundle()), "not for signatures");
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let mut params = signer();
    let mut extension =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let signer = pki().instance().issue(params);
    forged_chain(&signed_by(&signer, &pki().bundle()), "critical extension");
}

#[test]
fn every_key_is_on_p384() {
    let p256 = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let zone = pki().root().issue_for(ca("P-256", None), p256());
    let document = under_root(&[&zone], &zone.issue(signer()));
    forged_chain(&document, "algorithm");

    // A P-256 key cannot make a signature of 96 bytes: ours stands in.
    let weak = pki().instance().issue_for(signer(), p256());
    let payload = Payload::of(&weak.der, &pki().bundle()).encode();
    let document = super::forge::document(&pki().signer, PROTECTED, &payload);
    let verdict = judge(&document);
    let claims = serde_json::to_value(&verdict.as_ref().unwrap_err().claims).unwrap();
    assert_eq!(claims["leaf_key"], "secp256r1");
    refused(verdict, CheckName::QuoteSignature, Reason::Forged, "P-384");
}

#[test]
fn the_document_is_signed_by_its_own_signer() {
    let other = pki().instance().issue(signer());
    let payload = Payload::good(pki()).encode();
    let by_other = document(&other, PROTECTED, &payload);
    let by_issuer = document(pki().instance(), PROTECTED, &payload);
    // Over the payload alone, and with the header left out.
    let [alone, headless] = [payload.clone(), sig_structure(&[], &payload)].map(|signed| {
        let signature = pki().signer.sign(&signed);
        message(
            &bytes(PROTECTED),
            &[0xa0],
            &bytes(&payload),
            &bytes(&signature),
        )
    });
    let zero = message(
        &bytes(PROTECTED),
        &[0xa0],
        &bytes(&payload),
        &bytes(&[0; 96]),
    );
    for document in [by_other, by_issuer, alone, headless, zero] {
        refused(
            judge(&document),
            CheckName::QuoteSignature,
            Reason::Forged,
            "not signed by",
        );
    }
}

/// AWS's signers make `s` of both halves, so both are signatures. What is remembered or compared
/// of a document must not hang on its signature's bytes.
#[test]
fn both_values_of_s_are_accepted() {
    let mut document = good();
    let s = document.len() - 48;
    let negated = subtract(&ORDER_OF_P384, &document[s..]);
    assert_ne!(negated, document[s..]);
    document.splice(s.., negated);
    judge(&document).unwrap();
}

#[test]
fn certificates_are_valid_at_the_given_time() {
    let good = good();
    let at = |now| judge_with(&good, &Collateral::none(), trusting(), now);
    let three_hours = NOW - 60 + 3 * 3600;
    at(three_hours).unwrap();
    for now in [three_hours + 1, 0, u64::from(u32::MAX)] {
        let refusal = at(now).unwrap_err();
        assert_eq!(
            (refusal.failed, refusal.reason),
            (CheckName::CollateralValidity, Reason::Stale)
        );
        // The signature holds all the same.
        assert!(refusal.checks.iter().any(|check| {
            check.name == CheckName::QuoteSignature && check.outcome == Outcome::Passed
        }));
    }
    let mut params = ca("expired", None);
    params.not_after = (UNIX_EPOCH + Duration::from_secs(NOW - 1)).into();
    let issuer = pki().root().issue(params);
    refused(
        judge(&under_root(&[&issuer], &issuer.issue(signer()))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "not valid",
    );
}

fn subtract(from: &[u8; 48], what: &[u8]) -> Vec<u8> {
    let mut result = vec![0; 48];
    let mut borrow = 0;
    for at in (0..48).rev() {
        let difference = i16::from(from[at]) - i16::from(what[at]) - borrow;
        borrow = i16::from(difference < 0);
        result[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    result
}

/// NIST SP 800-186 §3.2.1.4.
const ORDER_OF_P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
