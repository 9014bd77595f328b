//! Evidence described field by field, for people.

use serde::Serialize;

use crate::{
    Evidence, QuoteError,
    quote::{ECDSA_P256_KEY, PCK_CERTIFICATE_CHAIN, SgxQuote},
};

/// One field of a piece of evidence, for people who want to see what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The field's name, with the part of the quote it is in: `report.mrenclave`.
    pub name: &'static str,
    /// Its value as text: numbers in decimal, bytes in hexadecimal.
    pub value: String,
    /// What it stands for.
    pub meaning: &'static str,
}

/// Describes `evidence` field by field, in the order of its bytes. Nothing is verified.
pub fn fields(evidence: &Evidence) -> Result<Vec<Field>, QuoteError> {
    let Evidence::SgxDcap(raw) = evidence;
    let quote = SgxQuote::parse(raw)?;
    Ok(SGX_FIELDS
        .iter()
        .map(|(name, value, meaning)| Field {
            name,
            value: value(&quote),
            meaning,
        })
        .collect())
}

/// Name, value and meaning.
type FieldOf = (&'static str, fn(&SgxQuote<'_>) -> String, &'static str);

const SGX_FIELDS: &[FieldOf] = &[
    (
        "header.version",
        |_| "3".to_owned(),
        "form of the quote: SGX ECDSA",
    ),
    (
        "header.attestation_key_type",
        |_| ECDSA_P256_KEY.to_string(),
        "the attestation key is ECDSA on P-256 with SHA-256",
    ),
    ("header.tee_type", |_| "0".to_owned(), "0: an SGX enclave"),
    (
        "header.qe_svn",
        |quote| quote.qe_svn.to_string(),
        "security version of the quoting enclave",
    ),
    (
        "header.pce_svn",
        |quote| quote.pce_svn.to_string(),
        "security version of the provisioning certification enclave",
    ),
    (
        "header.qe_vendor_id",
        |_| hex::encode(dcap_qvl::INTEL_QE_VENDOR_ID),
        "who makes the quoting enclave: Intel's id, which simulated platforms copy",
    ),
    (
        "header.user_data",
        |quote| hex::encode(quote.user_data),
        "first 16 bytes: which quoting enclave made it",
    ),
    (
        "report.cpu_svn",
        |quote| hex::encode(quote.report.cpu_svn()),
        "security version of the CPU when the report was made",
    ),
    (
        "report.misc_select",
        |quote| hex::encode(quote.report.misc_select()),
        "what the CPU saves when the enclave faults",
    ),
    (
        "report.attributes",
        |quote| hex::encode(quote.report.attributes()),
        "flags (bit 0 initialised, bit 1 DEBUG, bit 2 64-bit, bit 4 provisioning key), then the CPU features in use",
    ),
    (
        "report.mrenclave",
        |quote| hex::encode(quote.report.mrenclave()),
        "measurement: what code and data the enclave was built from",
    ),
    (
        "report.mrsigner",
        |quote| hex::encode(quote.report.mrsigner()),
        "SHA-256 of the public key that signed the enclave",
    ),
    (
        "report.isv_prod_id",
        |quote| quote.report.isv_prod_id().to_string(),
        "product id that the signer gave",
    ),
    (
        "report.isv_svn",
        |quote| quote.report.isv_svn().to_string(),
        "security version that the signer gave",
    ),
    (
        "report.report_data",
        |quote| hex::encode(quote.report.report_data()),
        "64 bytes that the enclave chose: here they bind the evidence to keys and to a connection",
    ),
    (
        "signature_data.signature",
        |quote| hex::encode(quote.signature),
        "over header and report, by the attestation key (r, then s)",
    ),
    (
        "signature_data.attestation_key",
        |quote| hex::encode(quote.attestation_key),
        "public key of the quoting enclave (x, then y)",
    ),
    (
        "signature_data.qe_report.mrenclave",
        |quote| hex::encode(quote.qe_report.mrenclave()),
        "measurement of the quoting enclave",
    ),
    (
        "signature_data.qe_report.mrsigner",
        |quote| hex::encode(quote.qe_report.mrsigner()),
        "signer of the quoting enclave: must be the one in the QE identity",
    ),
    (
        "signature_data.qe_report.isv_svn",
        |quote| quote.qe_report.isv_svn().to_string(),
        "security version of the quoting enclave: decides its TCB status",
    ),
    (
        "signature_data.qe_report.attributes",
        |quote| hex::encode(quote.qe_report.attributes()),
        "attributes of the quoting enclave: must be those of the QE identity",
    ),
    (
        "signature_data.qe_report.report_data",
        |quote| hex::encode(quote.qe_report.report_data()),
        "SHA-256 of attestation key and QE authentication data: binds the key to the quoting enclave",
    ),
    (
        "signature_data.qe_report_signature",
        |quote| hex::encode(quote.qe_signature),
        "over the quoting enclave's report, by the platform's PCK key",
    ),
    (
        "signature_data.qe_auth_data",
        |quote| hex::encode(quote.qe_auth_data),
        "data of the quoting enclave that is hashed with the attestation key",
    ),
    (
        "signature_data.certification_data.type",
        |quote| quote.certification_type.to_string(),
        "5: the certificate chain of the PCK key follows",
    ),
    (
        "signature_data.certification_data",
        certification_data,
        "certificates of the platform (PCK), of its CA and of the root",
    ),
];

fn certification_data(quote: &SgxQuote<'_>) -> String {
    match quote.certification_type {
        PCK_CERTIFICATE_CHAIN => String::from_utf8_lossy(quote.certification_data)
            .trim_end_matches(['\0', '\n'])
            // Unverified bytes: only line ends may reach a terminal.
            .replace(|c: char| c.is_control() && c != '\n', "\u{fffd}"),
        _ => hex::encode(quote.certification_data),
    }
}
