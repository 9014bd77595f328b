//! Time, debug mode, attester and reference values.

use std::time::Duration;

use super::{
    at,
    forge::{MADE, NOW, Payload, good_pcrs, number, pcrs},
    good, judge, judge_with, pki, refused, trusting,
};
use crate::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal, appraise,
};

fn under(policy: &Policy, document: &[u8]) -> Result<Appraisal, Refusal> {
    judge_with(document, &Collateral::none(), policy, NOW)
}

fn against(expected: &ReferenceValues) -> Result<Appraisal, Refusal> {
    appraise(
        &Evidence::Nitro(good()),
        &Collateral::none(),
        trusting(),
        expected,
        at(NOW),
    )
}

fn expecting(name: &str, value: &[u8]) -> ReferenceValues {
    ReferenceValues {
        claims: [(name.to_owned(), value.to_vec())].into(),
        ..ReferenceValues::default()
    }
}

#[test]
fn a_document_is_made_in_its_signers_time_and_not_later_than_now() {
    let made = |milliseconds| {
        judge(&pki().document(&Payload::good(pki()).with("timestamp", number(milliseconds))))
    };
    // The last millisecond of this second is no future, the next one is.
    made(MADE).unwrap();
    for future in [MADE + 1, MADE + 3600 * 1000, u64::MAX] {
        refused(
            made(future),
            CheckName::EvidenceTime,
            Reason::Stale,
            "in the future",
        );
    }
    made((NOW - 60) * 1000).unwrap();
    for before in [(NOW - 60) * 1000 - 1, 1] {
        refused(
            made(before),
            CheckName::EvidenceTime,
            Reason::Stale,
            "was not valid",
        );
    }
}

#[test]
fn a_policy_bounds_the_age_of_documents() {
    let policy = trusting()
        .clone()
        .require_max_nitro_age(Duration::from_secs(30));
    let at = |now| judge_with(&good(), &Collateral::none(), &policy, now);
    at(NOW + 30).unwrap();
    refused(
        at(NOW + 31),
        CheckName::EvidenceTime,
        Reason::Stale,
        "older than the policy",
    );
}

#[test]
fn debug_enclaves_are_refused_unless_allowed() {
    let zero = || vec![0; 48];
    let debug_pcrs = [
        vec![(0, zero()), (1, zero()), (2, zero()), (4, vec![1; 48])],
        vec![(4, vec![1; 48])],
        vec![(0, zero())],
    ];
    for list in debug_pcrs {
        let document = pki().document(&Payload::good(pki()).with("pcrs", pcrs(&list)));
        refused(
            judge(&document),
            CheckName::Debug,
            Reason::Policy,
            "debug mode",
        );
        let appraisal = under(&trusting().clone().allow_debug(), &document).unwrap();
        assert_eq!(appraisal.tolerated().count(), 1);
    }
    let mut one_bit = vec![(0, zero()), (1, zero()), (2, zero())];
    one_bit[2].1[47] = 1;
    judge(&pki().document(&Payload::good(pki()).with("pcrs", pcrs(&one_bit)))).unwrap();
}

#[test]
fn a_policy_may_want_enclaves_only() {
    let instance = Payload::good(pki())
        .without("pcrs")
        .with("nitrotpm_pcrs", pcrs(&good_pcrs()));
    let document = pki().document(&instance);
    judge(&document).unwrap();
    let policy = trusting().clone().require_nitro_enclaves();
    under(&policy, &good()).unwrap();
    refused(
        under(&policy, &document),
        CheckName::Attributes,
        Reason::Policy,
        "enclaves only",
    );
    // What is named as a value of an enclave fits no instance.
    let policy = trusting()
        .clone()
        .require_reference("nitro.pcr0", vec![0x10; 48]);
    under(&policy, &good()).unwrap();
    refused(
        under(&policy, &document),
        CheckName::ReferenceValue,
        Reason::Mismatch,
        "pcr0",
    );
}

#[test]
fn reference_values_of_the_caller_are_compared() {
    for (name, value) in [
        ("pcr0", vec![0x10; 48]),
        ("pcr15", vec![0; 48]),
        ("module_id", b"i-0123-enc4567".to_vec()),
        ("public_key", b"a key".to_vec()),
    ] {
        against(&expecting(name, &value)).unwrap();
        let longer = [value.as_slice(), &[0]].concat();
        for wrong in [&[][..], &value[1..], &longer] {
            refused(
                against(&expecting(name, wrong)),
                CheckName::ReferenceValue,
                Reason::Mismatch,
                name,
            );
        }
    }
    // Null, not in the document, of another TEE.
    for name in ["user_data", "pcr16", "nitrotpm_pcr0", "mr_td"] {
        refused(
            against(&expecting(name, &[])),
            CheckName::ReferenceValue,
            Reason::Mismatch,
            "does not have",
        );
    }
}

#[test]
fn reference_values_of_the_policy_are_compared() {
    let policy =
        |name: &str, value: &[u8]| trusting().clone().require_reference(name, value.to_vec());
    let two = policy("nitro.pcr1", &[9; 48]).require_reference("nitro.pcr1", vec![0x11; 48]);
    under(&two, &good()).unwrap();
    // Another section does not concern a Nitro document.
    under(&policy("tdx.mr_td", &[1; 48]), &good()).unwrap();
    for name in ["nitro.pcr1", "nitro.pcr16", "nitro.user_data", "nitro.prc1"] {
        refused(
            under(&policy(name, &[1; 48]), &good()),
            CheckName::ReferenceValue,
            Reason::Mismatch,
            name.strip_prefix("nitro.").unwrap(),
        );
    }
}

#[test]
fn the_nonce_is_compared_over_all_bytes() {
    let nonce = |nonce: &[u8]| ReferenceValues {
        nonce: Some(nonce.to_vec()),
        ..ReferenceValues::default()
    };
    against(&nonce(b"a nonce")).unwrap();
    for wrong in [&b"a nonce\0"[..], b"a nonc", b"", b"A nonce"] {
        refused(
            against(&nonce(wrong)),
            CheckName::Nonce,
            Reason::Mismatch,
            "another challenge",
        );
    }
    let report_data = ReferenceValues {
        report_data: Some([0; 64]),
        ..ReferenceValues::default()
    };
    refused(
        against(&report_data),
        CheckName::ReportData,
        Reason::Mismatch,
        "report data",
    );
}

/// Whatever is wrong with the chain, what needs no trust is judged too.
#[test]
fn a_refusal_names_all_that_could_be_checked() {
    let mut document = good();
    let last = document.len() - 1;
    document[last] ^= 1;
    let refusal = judge(&document).unwrap_err();
    for name in [
        CheckName::EvidenceFormat,
        CheckName::RootOfTrust,
        CheckName::CertificateChains,
        CheckName::Revocation,
        CheckName::QuoteSignature,
        CheckName::CollateralValidity,
        CheckName::EvidenceTime,
        CheckName::Debug,
        CheckName::Attributes,
        CheckName::ReferenceValue,
        CheckName::Nonce,
    ] {
        assert!(
            refusal.checks.iter().any(|check| check.name == name),
            "{name}"
        );
    }
}
