//! vTPM evidence described field by field, for people.

use super::{
    evidence::{Binding, Stated, TpmQuote, VtpmEvidence},
    hcl::HclReport,
    key::AttestationKey,
};
use crate::{Field, dcap, judge::join, nitro, snp};

pub(crate) fn fields(evidence: &VtpmEvidence) -> Vec<Field> {
    let stated = &evidence.0;
    let mut fields = Vec::new();
    match &stated.binding {
        Binding::AzureSnp { hcl, .. } => {
            of_hcl(&mut fields, hcl);
            if let Ok(report) = snp::Report::parse(hcl.hardware_report()) {
                below(&mut fields, "snp", snp::fields(&report));
            }
        }
        Binding::AzureTdx { hcl, td_quote } => {
            of_hcl(&mut fields, hcl);
            let quote = td_quote.as_deref().map(dcap::Quote::parse);
            if let Some(Ok(quote)) = quote {
                below(&mut fields, "td_quote", dcap::fields(&quote));
            }
        }
        Binding::Nitro(document) => {
            if let Ok(document) = nitro::Document::parse(document) {
                below(&mut fields, "nitro", nitro::fields(&document));
            }
        }
        Binding::Certificates(_) => (),
    }
    of_key(&mut fields, stated);
    for quote in &stated.quotes {
        of_quote(&mut fields, quote);
    }
    fields
}

/// Fields of what is below the TPM, their names behind that of the part.
fn below(fields: &mut Vec<Field>, part: &str, of_part: Vec<Field>) {
    fields.extend(of_part.into_iter().map(|field| Field {
        name: format!("{part}.{}", field.name),
        ..field
    }));
}

fn of_hcl(fields: &mut Vec<Field>, hcl: &HclReport) {
    push(
        fields,
        "hcl.header.version",
        hcl.header_version.to_string(),
        "form of the HCL report's header",
    );
    push(
        fields,
        "hcl.request_data.report_type",
        hcl.hardware.as_str().to_owned(),
        "hardware under the paravisor",
    );
    push(
        fields,
        "hcl.runtime_data",
        // Unverified text: nothing in it may steer a terminal.
        String::from_utf8_lossy(hcl.runtime_data()).replace(char::is_control, "\u{fffd}"),
        "keys of the vTPM, configuration of the VM and the guest's own data; its hash is the report data of the hardware report",
    );
    push(
        fields,
        "hcl.user_data",
        hcl.user_data.as_ref().map_or_else(String::new, hex::encode),
        "what the guest gave to the paravisor",
    );
}

fn of_key(fields: &mut Vec<Field>, stated: &Stated) {
    let Some(ak) = stated.ak() else { return };
    push(
        fields,
        "ak.kind",
        ak.describe(),
        "the attestation key: the TPM's key that signs quotes",
    );
    push(
        fields,
        "ak.sha256",
        ak_fingerprint(ak),
        "SHA-256 of its SubjectPublicKeyInfo: what a policy pins",
    );
}

fn ak_fingerprint(ak: &AttestationKey) -> String {
    hex::encode(ak.fingerprint())
}

fn of_quote(fields: &mut Vec<Field>, quote: &TpmQuote) {
    let attest = &quote.attest;
    push(
        fields,
        "quote.qualified_signer",
        hex::encode(&attest.qualified_signer),
        "name of the key that signed, with those above it",
    );
    push(
        fields,
        "quote.extra_data",
        hex::encode(&attest.nonce),
        "the challenge that was given to the TPM",
    );
    push(
        fields,
        "quote.clock_info",
        format!(
            "clock {} ms, {} resets, {} restarts, {}",
            attest.clock,
            attest.reset_count,
            attest.restart_count,
            if attest.clock_safe {
                "never behind"
            } else {
                "may have been behind"
            }
        ),
        "how long and how often the TPM has run",
    );
    push(
        fields,
        "quote.firmware_version",
        format!("{:#018x}", attest.firmware_version),
        "version of the TPM's firmware",
    );
    for selection in &attest.selections {
        push(
            fields,
            "quote.pcr_select",
            format!(
                "{}: {}",
                selection.bank.name(),
                join(selection.pcrs.iter().map(u8::to_string))
            ),
            "bank and PCRs that are signed",
        );
    }
    push(
        fields,
        "quote.pcr_digest",
        hex::encode(&attest.pcr_digest),
        "hash over the signed PCR values",
    );
    push(
        fields,
        "quote.signature",
        quote.signature.scheme(),
        "how the quote is signed",
    );
    for (bank, values) in &quote.pcrs {
        for (index, value) in values {
            push(
                fields,
                &format!("pcrs.{}.{index}", bank.name()),
                hex::encode(value),
                "what was extended into this PCR, all hashed together",
            );
        }
    }
}

fn push(fields: &mut Vec<Field>, name: &str, value: String, meaning: &'static str) {
    fields.push(Field {
        name: name.to_owned(),
        value,
        meaning,
    });
}
