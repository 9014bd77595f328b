//! The platform's collateral in the form of a PCCS (Intel's provisioning certificate caching
//! service, API v4), so that clients which know nothing of MSE can fetch it.
//!
//! A pure function: whoever serves HTTP mounts it.

use mse_attest::DcapCollateral;
use serde_json::Value;

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PccsResponse {
    /// Names and values of the headers that belong to it.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Answers a `GET` of `path_and_query`, or `None` for what is not there (404).
///
/// | Path below `/sgx/certification/v4/` | Body | Chain in header |
/// | --- | --- | --- |
/// | `tcb?fmspc=` | JSON, TCB info with signature | `TCB-Info-Issuer-Chain` |
/// | `qe/identity` | JSON, QE identity with signature | `SGX-Enclave-Identity-Issuer-Chain` |
/// | `pckcrl?ca=platform` | DER with `encoding=der`, else hexadecimal | `SGX-PCK-CRL-Issuer-Chain` |
/// | `rootcacrl` | hexadecimal | |
///
/// Chains are percent-encoded PEM. Parameters that a PCCS knows besides (`update`,
/// `tcbEvaluationDataNumber`) are taken and change nothing: there is one evaluation.
pub fn respond(path_and_query: &str, collateral: &DcapCollateral) -> Option<PccsResponse> {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    match path.strip_prefix("/sgx/certification/v4/")? {
        "tcb" => {
            let fmspc = parameter(query, "fmspc")?;
            if !fmspc.eq_ignore_ascii_case(&fmspc_of(collateral)?) {
                return None;
            }
            Some(PccsResponse {
                headers: vec![
                    content("application/json"),
                    (
                        "TCB-Info-Issuer-Chain",
                        percent_encode(&collateral.tcb_info_issuer_chain),
                    ),
                ],
                body: signed(
                    "tcbInfo",
                    &collateral.tcb_info,
                    &collateral.tcb_info_signature,
                ),
            })
        }
        "qe/identity" => Some(PccsResponse {
            headers: vec![
                content("application/json"),
                (
                    "SGX-Enclave-Identity-Issuer-Chain",
                    percent_encode(&collateral.qe_identity_issuer_chain),
                ),
            ],
            body: signed(
                "enclaveIdentity",
                &collateral.qe_identity,
                &collateral.qe_identity_signature,
            ),
        }),
        "pckcrl" if parameter(query, "ca") == Some("platform") => {
            let chain = (
                "SGX-PCK-CRL-Issuer-Chain",
                percent_encode(&collateral.pck_crl_issuer_chain),
            );
            Some(match parameter(query, "encoding") {
                Some("der") => PccsResponse {
                    headers: vec![("Content-Type", "application/pkix-crl".into()), chain],
                    body: collateral.pck_crl.clone(),
                },
                _ => PccsResponse {
                    headers: vec![content("text/plain"), chain],
                    body: hex::encode(&collateral.pck_crl).into_bytes(),
                },
            })
        }
        "rootcacrl" => Some(PccsResponse {
            headers: vec![content("text/plain")],
            body: hex::encode(&collateral.root_ca_crl).into_bytes(),
        }),
        _ => None,
    }
}

/// The document exactly as it is signed, and its signature in hexadecimal.
fn signed(name: &str, document: &str, signature: &[u8]) -> Vec<u8> {
    let signature = hex::encode(signature);
    format!(r#"{{"{name}":{document},"signature":"{signature}"}}"#).into_bytes()
}

fn fmspc_of(collateral: &DcapCollateral) -> Option<String> {
    let tcb_info: Value = serde_json::from_str(&collateral.tcb_info).ok()?;
    Some(tcb_info.get("fmspc")?.as_str()?.to_owned())
}

/// The value of the first parameter of this name. Values that these paths take need no escapes.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn content(kind: &str) -> (&'static str, String) {
    ("Content-Type", kind.to_owned())
}

/// Everything but the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 5 / 4);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}
