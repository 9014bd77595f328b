//! NitroTPM: the hypervisor of AWS signs a document that names the attestation key and the PCRs.

use std::collections::BTreeMap;

use super::{evidence::Stated, key::AttestationKey, tpm::Hash};
use crate::{
    CheckName, Reason,
    appraise::Case,
    ledger::{Failure, Holds, Ledger},
    nitro::{self, Attester, Document},
};

pub(super) fn judge(ledger: &mut Ledger, stated: &Stated, document: &[u8], case: &Case<'_>) {
    nitro::appraise(ledger, document, case);
    let Ok(document) = Document::parse(document) else {
        // The ledger says why.
        return;
    };
    let mismatch = |why: &'static str| Failure {
        reason: Reason::Mismatch,
        why: why.into(),
        hint: "ask for quote and document again, together",
    };

    let is_instance = document.attester() == Attester::NitroTpm;
    ledger.compare(
        CheckName::HardwareBinding,
        if is_instance {
            "document of a NitroTPM"
        } else {
            "document of an enclave"
        },
        "document of a NitroTPM",
        Holds(is_instance),
        || mismatch("an enclave has no TPM: its document says nothing about this one"),
    );

    let named = document.public_key().bytes();
    let point = match stated.ak() {
        Some(AttestationKey::Ec(point)) => Some(point.clone()),
        _ => None,
    };
    let spki = stated.ak().map(AttestationKey::to_spki);
    let names_key = named.is_some() && (named == point.as_deref() || named == spki.as_deref());
    ledger.compare(
        CheckName::HardwareBinding,
        format!(
            "public key of the document: {}",
            named.map_or_else(|| "none".to_owned(), hex::encode)
        ),
        "attestation key of the TPM quote",
        Holds(names_key),
        || mismatch("the document vouches for another key"),
    );

    let quote = stated.quotes.first();
    let nonce = quote.map(|quote| quote.attest.nonce.as_slice());
    ledger.compare(
        CheckName::HardwareBinding,
        format!(
            "challenge of the document: {}",
            document
                .nonce()
                .bytes()
                .map_or_else(|| "none".to_owned(), hex::encode)
        ),
        "challenge of the TPM quote",
        Holds(nonce.is_some() && document.nonce().bytes() == nonce),
        || mismatch("document and TPM quote answer two challenges"),
    );

    let signed: BTreeMap<u8, Vec<u8>> = document
        .pcrs()
        .map(|(index, value)| (index, value.to_vec()))
        .collect();
    let quoted = quote.and_then(|quote| quote.pcrs.get(&Hash::Sha384));
    ledger.compare(
        CheckName::HardwareBinding,
        format!("{} PCRs of the document", signed.len()),
        "PCRs of the TPM quote",
        Holds(quoted == Some(&signed)),
        || mismatch("document and TPM quote have different PCRs"),
    );
}
