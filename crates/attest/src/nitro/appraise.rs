//! The checks of a document, in the order in which they decide.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::{
    AcceptedAttesters, NitroClaims,
    chain::{self, ALGORITHM, Chain},
    document::{Attester, Document},
};
use crate::{
    CheckName, Claims, Reason, Tee, TrustAnchor,
    anchor::Pki,
    appraise::Case,
    judge::{
        date, join, judge_collateral_age, judge_debug, judge_nonce, judge_references,
        judge_validity,
    },
    ledger::{Failure, Fault, Holds, Ledger, hint_for},
    x509::Certificate,
};

pub(crate) fn appraise(ledger: &mut Ledger, bytes: &[u8], case: &Case<'_>) {
    let size = format!("{} bytes", bytes.len());
    let form = "the form of a Nitro document: COSE_Sign1, ES384";
    let document = match Document::parse(bytes) {
        Ok(document) => document,
        Err(error) => {
            ledger.malformed(CheckName::EvidenceFormat, size, form, error.to_string());
            return;
        }
    };
    ledger.passed(CheckName::EvidenceFormat, size, form);
    ledger.set_claims(Claims::Nitro(Box::new(NitroClaims::of(&document))));

    let chain = find_anchor(ledger, &document, case)
        .and_then(|anchor| prove(ledger, &document, anchor, case));
    match &chain {
        Some(chain) => {
            judge_validity(ledger, chain.validity, case.now);
            if let Some(issued) = chain.crls_issued {
                judge_collateral_age(ledger, issued, case.policy, case.now);
            }
        }
        None => skip_unproven(ledger),
    }
    judge_time(ledger, &document, chain.as_ref(), case);
    judge_debug(ledger, document.is_debug(), case);
    judge_attester(ledger, document.attester(), case);
    judge_measurements(ledger, &document, case);
    judge_nonce(ledger, document.nonce().bytes(), case.expected);
}

/// The anchor that the first certificate of the bundle is.
fn find_anchor<'c>(
    ledger: &mut Ledger,
    document: &Document<'_>,
    case: &Case<'c>,
) -> Option<&'c TrustAnchor> {
    let anchors = || {
        let anchors = case.policy.anchors.iter();
        anchors.filter(|anchor| anchor.pki() == Pki::Nitro)
    };
    let anchor_of = |root: &Certificate<'_>| anchors().find(|anchor| anchor.is_root(root));
    let trusted = join(anchors().map(TrustAnchor::subject));
    let bundle = document.cabundle();
    let root = match Certificate::parse(bundle.first().copied().unwrap_or_default()) {
        Ok(root) => root,
        Err(error) => {
            ledger.malformed(
                CheckName::RootOfTrust,
                "a bundle whose first certificate cannot be read".into(),
                trusted,
                error.to_string(),
            );
            return None;
        }
    };
    let subject = root.subject();
    if let Some(anchor) = anchor_of(&root) {
        let tee = anchor.tee_of(match document.attester() {
            Attester::Enclave => Tee::Nitro,
            Attester::NitroTpm => Tee::Tpm,
        });
        ledger.set_tee(tee);
        let with = format!("{} ({tee})", anchor.subject());
        ledger.passed(CheckName::RootOfTrust, subject, with);
        return Some(anchor);
    }
    let is_reversed = bundle
        .last()
        .and_then(|last| Certificate::parse(last).ok())
        .is_some_and(|last| anchor_of(&last).is_some());
    let failure = if is_reversed {
        Failure {
            reason: Reason::Malformed,
            why: "the certificate bundle ends with the root: in a Nitro document it starts with it"
                .into(),
            hint: hint_for(Reason::Malformed),
        }
    } else if subject.contains("SIMULATED") {
        // The name is only a courtesy to the reader: nothing is accepted for it.
        Failure {
            reason: Reason::SimulatedEvidence,
            why: "the evidence is simulated, and the trust anchor of its platform was not given"
                .into(),
            hint: "no hardware stands behind it; to accept it on purpose, give that platform's trust anchor with `--simulated FILE`",
        }
    } else {
        Failure {
            reason: Reason::UnknownRoot,
            why: "the evidence's certificate chain does not start at a trusted root".into(),
            hint: "only roots of hardware vendors are trusted; evidence of pre-production or test platforms is refused",
        }
    };
    ledger.failed(CheckName::RootOfTrust, subject, trusted, failure);
    None
}

/// Verifies chain, revocation and signature up to `anchor`.
fn prove<'d>(
    ledger: &mut Ledger,
    document: &Document<'d>,
    anchor: &TrustAnchor,
    case: &Case<'_>,
) -> Option<Chain<'d>> {
    let count = document.cabundle().len();
    let stated = format!("the document's certificate and its bundle of {count}");
    let crls = format!("{} CRLs", case.collateral.crls.len());
    let every = "every certificate that names a CRL";
    let chain = match chain::verify(document, anchor, case) {
        Ok(chain) => chain,
        Err(fault) if fault.check == CheckName::Revocation => {
            ledger.passed(CheckName::CertificateChains, stated, anchor.subject());
            ledger.fault(crls, every, fault);
            return None;
        }
        Err(fault) => {
            ledger.fault(stated, anchor.subject(), fault);
            return None;
        }
    };
    ledger.passed(CheckName::CertificateChains, stated, anchor.subject());
    if case.collateral.crls.is_empty() {
        ledger.skipped(
            CheckName::Revocation,
            crls,
            "the collateral has no CRL of AWS; the signer's certificate expires within hours",
        );
    } else {
        ledger.passed(CheckName::Revocation, crls, every);
    }
    let (signature, signer) = ("the document's signature", chain.leaf.subject());
    if let Err(fault) = check_signature(document, &chain.leaf) {
        ledger.fault(signature, signer, fault);
        return None;
    }
    ledger.passed(CheckName::QuoteSignature, signature.into(), signer);
    Some(chain)
}

fn check_signature(document: &Document<'_>, leaf: &Certificate<'_>) -> Result<(), Fault> {
    if !leaf.has_key_for(ALGORITHM) {
        return Err(Fault::forged(
            CheckName::QuoteSignature,
            format!("the key of `{}` is not one on P-384", leaf.subject()),
        ));
    }
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, leaf.public_key())
        .verify(&document.signed(), document.signature())
        .map_err(|_| {
            Fault::forged(
                CheckName::QuoteSignature,
                format!("the document is not signed by `{}`", leaf.subject()),
            )
        })
}

fn skip_unproven(ledger: &mut Ledger) {
    for name in [
        CheckName::CertificateChains,
        CheckName::Revocation,
        CheckName::QuoteSignature,
        CheckName::CollateralValidity,
    ] {
        if !ledger.has(name) {
            ledger.skipped(name, "", "an earlier step of the signature chain failed");
        }
    }
}

/// The document's own time. It has milliseconds and the given time has none, so the second in
/// which it was made counts as past.
fn judge_time(
    ledger: &mut Ledger,
    document: &Document<'_>,
    chain: Option<&Chain<'_>>,
    case: &Case<'_>,
) {
    let made = document.timestamp() / 1000;
    let signer = chain.map(|chain| (chain.leaf.not_before(), chain.leaf.not_after()));
    let limit = case.policy.nitro.max_age;
    let age = case.now.saturating_sub(made);
    let mut bounds = vec![format!("not after {}", date(case.now))];
    bounds.extend(signer.map(|(from, until)| {
        let (from, until) = (date(from), date(until));
        format!("within {from} to {until} as the signer's certificate")
    }));
    bounds.extend(limit.map(|limit| format!("at most {} s ago", limit.as_secs())));
    let why = if made > case.now {
        Some("the document was made in the future")
    } else if signer.is_some_and(|(from, until)| !(from..=until).contains(&made)) {
        Some("the document was made when its signer's certificate was not valid")
    } else if limit.is_some_and(|limit| age > limit.as_secs()) {
        Some("the document is older than the policy allows")
    } else {
        None
    };
    ledger.compare(
        CheckName::EvidenceTime,
        format!("made {}, {age} s ago", date(made)),
        join(bounds),
        Holds(why.is_none()),
        || Failure {
            reason: Reason::Stale,
            why: why.unwrap_or_default().into(),
            hint: "ask for a fresh document, and check the clock",
        },
    );
}

/// An instance is no enclave: the policy may want enclaves only.
fn judge_attester(ledger: &mut Ledger, attester: Attester, case: &Case<'_>) {
    let accepted = case.policy.nitro.attesters;
    ledger.compare(
        CheckName::Attributes,
        match attester {
            Attester::Enclave => "an enclave",
            Attester::NitroTpm => "an EC2 instance with a NitroTPM",
        },
        match accepted {
            AcceptedAttesters::All => "enclaves and EC2 instances",
            AcceptedAttesters::EnclavesOnly => "enclaves",
        },
        Holds(accepted == AcceptedAttesters::All || attester == Attester::Enclave),
        || Failure {
            reason: Reason::Policy,
            why: "the document is of an EC2 instance, and the policy accepts enclaves only".into(),
            hint: "run the code in an enclave",
        },
    );
}

fn judge_measurements(ledger: &mut Ledger, document: &Document<'_>, case: &Case<'_>) {
    let register = match document.attester() {
        Attester::Enclave => "pcr",
        // An instance fills its registers itself: no value of an enclave must fit one of them.
        Attester::NitroTpm => "nitrotpm_pcr",
    };
    let mut measured: Vec<(String, &[u8])> = document
        .pcrs()
        .map(|(index, value)| (format!("{register}{index}"), value))
        .collect();
    measured.push(("module_id".into(), document.module_id().as_bytes()));
    for (name, member) in [
        ("public_key", document.public_key()),
        ("user_data", document.user_data()),
    ] {
        measured.extend(member.bytes().map(|bytes| (name.to_owned(), bytes)));
    }
    let measured: Vec<(&str, &[u8])> = measured
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    judge_references(ledger, SECTION, &measured, case.policy, case.expected);
}

/// What the names of reference values in a policy start with.
const SECTION: &str = "nitro";
