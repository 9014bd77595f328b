//! Documents of a PKI of our own, spoilt in one place each.

mod chain;
mod forge;
mod form;
mod members;
mod policy;
mod revocation;

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use forge::{Authority, NOW, PROTECTED, Payload, Pki, document, signed_by};

use crate::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal,
    TrustAnchor, appraise,
    nitro::{Document, DocumentError},
};

/// The platform that the tests trust.
fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(Pki::new)
}

/// A document of that platform which every check accepts.
fn good() -> Vec<u8> {
    pki().document(&Payload::good(pki()))
}

fn trusting() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let anchor = TrustAnchor::simulated(&pki().root().der, None).unwrap();
        Policy::strict().with_simulated(anchor)
    })
}

fn judge(document: &[u8]) -> Result<Appraisal, Refusal> {
    judge_with(document, &Collateral::none(), trusting(), NOW)
}

fn judge_with(
    document: &[u8],
    collateral: &Collateral,
    policy: &Policy,
    now: u64,
) -> Result<Appraisal, Refusal> {
    appraise(
        &Evidence::Nitro(document.to_vec()),
        collateral,
        policy,
        &ReferenceValues::default(),
        at(now),
    )
}

/// The document of a chain under the trusted root: its CAs below the root, then the signer.
fn under_root(authorities: &[&Authority], signer: &Authority) -> Vec<u8> {
    let bundle: Vec<_> = std::iter::once(pki().root())
        .chain(authorities.iter().copied())
        .map(|ca| ca.der.clone())
        .collect();
    signed_by(signer, &bundle)
}

fn good_payload() -> Payload {
    Payload::good(pki())
}

/// The error of the document with this payload, which is signed all right.
fn error_of(payload: &Payload) -> DocumentError {
    error_of_bytes(&payload.encode())
}

fn error_of_bytes(payload: &[u8]) -> DocumentError {
    let document = document(&pki().signer, PROTECTED, payload);
    let error = Document::parse(&document).unwrap_err();
    refused(
        judge(&document),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        &error.to_string(),
    );
    error
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Checks that `verdict` is a refusal by this check, for this reason, with these words.
#[track_caller]
fn refused(verdict: Result<Appraisal, Refusal>, failed: CheckName, reason: Reason, why: &str) {
    let refusal = verdict.unwrap_err();
    assert_eq!(
        (refusal.failed, refusal.reason),
        (failed, reason),
        "{refusal}"
    );
    assert!(refusal.why.contains(why), "{refusal}");
}

#[test]
fn the_good_document_is_accepted() {
    judge(&good()).unwrap();
}
