//! Revocation, and what a verifier remembers of issuers.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use super::{
    forge::{Authority, NOW, ca, signed_by, signer, with_crl},
    good, judge_with, pki, refused, trusting, under_root,
};
use crate::{
    CheckName, Collateral, Evidence, Outcome, Reason, ReferenceValues, Verifier, x509::Certificate,
};

#[test]
fn crls_are_held_against_every_certificate() {
    let [root, region, zone, instance] = pki().authorities.as_slice() else {
        panic!("four authorities");
    };
    let judge_crls = |crls: Vec<Vec<u8>>| {
        let collateral = Collateral {
            crls,
            ..Collateral::none()
        };
        judge_with(&good(), &collateral, trusting(), NOW)
    };
    let (of_root, of_region) = (crl(root, &[], NOW), crl(region, &[], NOW));
    let appraisal = judge_crls(vec![of_root.clone(), of_region.clone()]).unwrap();
    assert!(
        appraisal.checks.iter().any(|check| {
            check.name == CheckName::Revocation && check.outcome == Outcome::Passed
        })
    );
    // One is missing, or is of someone else with that name.
    let impostor = Authority::self_signed(ca("region", Some(2)));
    for crls in [
        vec![of_root.clone()],
        vec![of_region.clone()],
        vec![of_root.clone(), crl(&impostor, &[], NOW)],
        vec![of_root.clone(), crl(zone, &[], NOW)],
    ] {
        refused(
            judge_crls(crls),
            CheckName::Revocation,
            Reason::Mismatch,
            "unknown",
        );
    }
    for (issuer, revoked) in [
        (root, &region.der),
        (region, &zone.der),
        (zone, &instance.der),
        (instance, &pki().signer.der),
    ] {
        let crls = vec![
            of_root.clone(),
            of_region.clone(),
            crl(issuer, &[revoked], NOW),
        ];
        refused(
            judge_crls(crls),
            CheckName::Revocation,
            Reason::Revoked,
            "revoked",
        );
    }
    for issued in [NOW - 8 * DAY, NOW + 1] {
        refused(
            judge_crls(vec![of_root.clone(), crl(region, &[], issued)]),
            CheckName::CollateralValidity,
            Reason::Stale,
            "not valid",
        );
    }
    refused(
        judge_crls(vec![of_root.clone(), of_region, b"no CRL".to_vec()]),
        CheckName::Revocation,
        Reason::Malformed,
        "CRL",
    );
}

#[test]
fn a_policy_bounds_the_age_of_crls() {
    let policy = trusting()
        .clone()
        .require_max_collateral_age(Duration::from_secs(DAY));
    let judge_issued = |issued| {
        let collateral = Collateral {
            crls: vec![
                crl(pki().root(), &[], NOW),
                crl(&pki().authorities[1], &[], issued),
            ],
            ..Collateral::none()
        };
        judge_with(&good(), &collateral, &policy, NOW)
    };
    judge_issued(NOW - DAY).unwrap();
    refused(
        judge_issued(NOW - DAY - 1),
        CheckName::CollateralAge,
        Reason::Stale,
        "older than the policy",
    );
    // Without CRLs there is no collateral that could be old.
    judge_with(&good(), &Collateral::none(), &policy, NOW).unwrap();
}

/// A certificate that names no CRL needs none; one that is given counts.
#[test]
fn crls_of_strangers_harm_nobody() {
    let document = under_root(&[], &pki().root().issue(signer()));
    let stranger = Authority::self_signed(ca("stranger", None));
    let collateral = Collateral {
        crls: vec![crl(&stranger, &[], NOW)],
        ..Collateral::none()
    };
    judge_with(&document, &collateral, trusting(), NOW).unwrap();
    let named = pki().root().issue(with_crl(signer()));
    refused(
        judge_with(&under_root(&[], &named), &collateral, trusting(), NOW),
        CheckName::Revocation,
        Reason::Mismatch,
        "unknown",
    );
}

#[test]
fn a_warm_verifier_lets_no_more_pass() {
    let verifier = Verifier::new(trusting().clone());
    let judge = |document: &[u8], crls: Vec<Vec<u8>>, now: u64| {
        verifier.appraise(
            &Evidence::Nitro(document.to_vec()),
            &Collateral {
                crls,
                ..Collateral::none()
            },
            &ReferenceValues::default(),
            super::at(now),
        )
    };
    judge(&good(), vec![], NOW).unwrap();
    judge(&good(), vec![], NOW).unwrap();

    // A signer that the remembered issuers have not certified, or may not.
    let bundle = pki().bundle();
    let stranger = Authority::self_signed(signer());
    for (document, why) in [
        (signed_by(&stranger, &bundle), "was issued by"),
        (
            signed_by(&pki().instance().issue(ca("below", None)), &bundle),
            "is a CA",
        ),
        (signed_by(&pki().signer, &bundle[..3]), "was issued by"),
    ] {
        refused(
            judge(&document, vec![], NOW),
            CheckName::CertificateChains,
            Reason::Forged,
            why,
        );
    }
    let mut tampered = good();
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    refused(
        judge(&tampered, vec![], NOW),
        CheckName::QuoteSignature,
        Reason::Forged,
        "",
    );
    // Its signer or its issuers are not valid any more.
    for now in [NOW + 4 * 3600, NOW + 2 * DAY] {
        refused(
            judge(&good(), vec![], now),
            CheckName::CollateralValidity,
            Reason::Stale,
            "",
        );
    }
    // CRLs that were not there before, and then are.
    let crls = |revoked: &[&Vec<u8>]| {
        vec![
            crl(pki().root(), &[], NOW),
            crl(&pki().authorities[1], &[], NOW),
            crl(pki().instance(), revoked, NOW),
        ]
    };
    let fine = crls(&[]);
    judge(&good(), fine.clone(), NOW).unwrap();
    judge(&good(), fine, NOW).unwrap();
    let revoking = crls(&[&pki().signer.der]);
    for _ in 0..2 {
        refused(
            judge(&good(), revoking.clone(), NOW),
            CheckName::Revocation,
            Reason::Revoked,
            "revoked",
        );
    }
}

/// A CRL of `issuer`, valid for a week.
fn crl(issuer: &Authority, revoked: &[&Vec<u8>], issued: u64) -> Vec<u8> {
    let time = |seconds| (UNIX_EPOCH + Duration::from_secs(seconds)).into();
    let revoked_certs = revoked
        .iter()
        .map(|der| RevokedCertParams {
            serial_number: SerialNumber::from(Certificate::parse(der).unwrap().serial().to_vec()),
            revocation_time: time(issued),
            reason_code: None,
            invalidity_date: None,
        })
        .collect();
    let params = CertificateRevocationListParams {
        this_update: time(issued),
        next_update: time(issued + 7 * DAY),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer.issuer()).unwrap().der().to_vec()
}

const DAY: u64 = 24 * 3600;
