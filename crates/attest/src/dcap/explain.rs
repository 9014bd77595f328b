//! A quote described field by field.

use super::{
    pck::PckCertificate,
    quote::{Body, ECDSA_P256_KEY, INTEL_QE_VENDOR_ID, PCK_CERTIFICATE_CHAIN, Quote},
    report::{EnclaveReport, TdReport},
};
use crate::Field;

/// The fields of `quote` in the order of its bytes.
pub(crate) fn fields(quote: &Quote<'_>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value: String, meaning: &'static str| {
        fields.push(Field {
            name: name.to_owned(),
            value,
            meaning,
        });
    };
    add(
        "header.version",
        quote.version.to_string(),
        "form of the quote: 3 for SGX, 4 and 5 for TDX (and SGX)",
    );
    add(
        "header.attestation_key_type",
        ECDSA_P256_KEY.to_string(),
        "the attestation key is ECDSA on P-256 with SHA-256",
    );
    add(
        "header.tee_type",
        match quote.body {
            Body::Sgx(_) => "0",
            Body::Tdx(_) => "129",
        }
        .to_owned(),
        "0: an SGX enclave; 129 (0x81): a TDX trust domain",
    );
    add(
        "header.qe_svn",
        quote.qe_svn.to_string(),
        "security version of the quoting enclave (version 3 only)",
    );
    add(
        "header.pce_svn",
        quote.pce_svn.to_string(),
        "security version of the provisioning certification enclave (version 3 only)",
    );
    add(
        "header.qe_vendor_id",
        hex::encode(INTEL_QE_VENDOR_ID),
        "who makes the quoting enclave: Intel's id, which simulated platforms copy",
    );
    add(
        "header.user_data",
        hex::encode(quote.user_data),
        "first 16 bytes: which quoting enclave made it",
    );
    match quote.body {
        Body::Sgx(report) => {
            for (name, value, meaning) in SGX_REPORT {
                add(name, value(report), meaning);
            }
        }
        Body::Tdx(report) => {
            for (name, value, meaning) in TD_REPORT {
                add(name, value(report), meaning);
            }
        }
    }
    for (name, value, meaning) in SIGNATURE_DATA {
        add(name, value(quote), meaning);
    }
    if let Some(pck) = quote
        .pck_chain_pem()
        .and_then(|pem| PckCertificate::from_pem_chain(pem).ok())
    {
        add(
            "pck.fmspc",
            hex::encode_upper(pck.fmspc),
            "family, model, stepping, platform and SKU: which TCB info is about this platform",
        );
        add(
            "pck.ca",
            pck.ca.as_str().to_owned(),
            "the CA that issued the PCK certificate: which CRL is about it",
        );
        add(
            "pck.tcb",
            format!(
                "components {}, PCE {}",
                hex::encode(pck.component_svns),
                pck.pce_svn
            ),
            "security versions of microcode and firmware that the certificate was issued for",
        );
        add(
            "pck.ppid",
            hex::encode(pck.ppid),
            "stands for one CPU: the same in every quote of this platform",
        );
    }
    fields
}

/// Name, value and meaning.
type FieldOf<F> = (&'static str, F, &'static str);
type OfEnclave = FieldOf<fn(EnclaveReport<'_>) -> String>;
type OfTd = FieldOf<fn(TdReport<'_>) -> String>;
type OfQuote = FieldOf<fn(&Quote<'_>) -> String>;

const SGX_REPORT: &[OfEnclave] = &[
    (
        "report.cpu_svn",
        |report| hex::encode(report.cpu_svn()),
        "security version of the CPU when the report was made",
    ),
    (
        "report.misc_select",
        |report| hex::encode(report.misc_select()),
        "what the CPU saves when the enclave faults",
    ),
    (
        "report.attributes",
        |report| hex::encode(report.attributes()),
        "flags (bit 0 initialised, bit 1 DEBUG, bit 2 64-bit, bit 4 provisioning key), then the CPU features in use",
    ),
    (
        "report.mrenclave",
        |report| hex::encode(report.mrenclave()),
        "measurement: what code and data the enclave was built from",
    ),
    (
        "report.mrsigner",
        |report| hex::encode(report.mrsigner()),
        "SHA-256 of the public key that signed the enclave",
    ),
    (
        "report.isv_prod_id",
        |report| report.isv_prod_id().to_string(),
        "product id that the signer gave",
    ),
    (
        "report.isv_svn",
        |report| report.isv_svn().to_string(),
        "security version that the signer gave",
    ),
    (
        "report.report_data",
        |report| hex::encode(report.report_data()),
        "64 bytes that the enclave chose: here they bind the evidence to keys and to a connection",
    ),
];

const TD_REPORT: &[OfTd] = &[
    (
        "td_report.tee_tcb_svn",
        |report| hex::encode(report.tee_tcb_svn()),
        "security versions of the TDX module (byte 0), its major version (byte 1) and its loader",
    ),
    (
        "td_report.mr_seam",
        |report| hex::encode(report.mr_seam()),
        "measurement of the TDX module",
    ),
    (
        "td_report.mr_signer_seam",
        |report| hex::encode(report.mr_signer_seam()),
        "signer of the TDX module: zero stands for Intel",
    ),
    (
        "td_report.seam_attributes",
        |report| hex::encode(report.seam_attributes()),
        "attributes of the TDX module: zero in production",
    ),
    (
        "td_report.td_attributes",
        |report| hex::encode(report.td_attributes()),
        "attributes of the trust domain, little-endian: bit 0 DEBUG, 28 SEPT_VE_DISABLE, 29 MIGRATABLE, 30 PKS, 31 KL, 63 PERFMON",
    ),
    (
        "td_report.xfam",
        |report| hex::encode(report.xfam()),
        "CPU features that the trust domain may use",
    ),
    (
        "td_report.mr_td",
        |report| hex::encode(report.mr_td()),
        "measurement of what the trust domain was built from: its firmware",
    ),
    (
        "td_report.mr_config_id",
        |report| hex::encode(report.mr_config_id()),
        "configuration given at launch and not part of MRTD",
    ),
    (
        "td_report.mr_owner",
        |report| hex::encode(report.mr_owner()),
        "owner given at launch",
    ),
    (
        "td_report.mr_owner_config",
        |report| hex::encode(report.mr_owner_config()),
        "the owner's configuration given at launch",
    ),
    (
        "td_report.rtmr0",
        |report| hex::encode(report.rtmrs()[0]),
        "run-time measurements, by convention of firmware configuration and tables",
    ),
    (
        "td_report.rtmr1",
        |report| hex::encode(report.rtmrs()[1]),
        "run-time measurements, by convention of boot loader and kernel",
    ),
    (
        "td_report.rtmr2",
        |report| hex::encode(report.rtmrs()[2]),
        "run-time measurements, by convention of kernel command line and initial RAM disk",
    ),
    (
        "td_report.rtmr3",
        |report| hex::encode(report.rtmrs()[3]),
        "run-time measurements, by convention of what software measured later: applications",
    ),
    (
        "td_report.report_data",
        |report| hex::encode(report.report_data()),
        "64 bytes that the code chose: here they bind the evidence to keys and to a connection",
    ),
    (
        "td_report.tee_tcb_svn2",
        |report| report.tee_tcb_svn2().map_or_else(absent, hex::encode),
        "TDX 1.5: security versions now, after updates that kept the trust domain running",
    ),
    (
        "td_report.mr_service_td",
        |report| report.mr_service_td().map_or_else(absent, hex::encode),
        "TDX 1.5: service TDs that are bound to this one, such as one that migrates it",
    ),
];

const SIGNATURE_DATA: &[OfQuote] = &[
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

fn absent() -> String {
    "not in this report".to_owned()
}

fn certification_data(quote: &Quote<'_>) -> String {
    match quote.certification_type {
        PCK_CERTIFICATE_CHAIN => String::from_utf8_lossy(quote.certification_data)
            .trim_end_matches(['\0', '\n'])
            // Unverified bytes: only line ends may reach a terminal.
            .replace(|c: char| c.is_control() && c != '\n', "\u{fffd}"),
        _ => hex::encode(quote.certification_data),
    }
}
