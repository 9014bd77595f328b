//! A client that knows only the PCCS protocol gets the collateral that the platform issued.

use std::time::SystemTime;

use mse_attest::DcapCollateral;
use mse_simtee::{
    FMSPC, Platform,
    pccs::{PccsResponse, respond},
};

#[test]
fn collateral_fetched_piece_by_piece_is_what_was_issued() {
    let collateral = collateral();
    let get = |path: &str| {
        respond(&format!("/sgx/certification/v4/{path}"), &collateral)
            .unwrap_or_else(|| panic!("`{path}` is not there"))
    };
    let fmspc = hex::encode_upper(FMSPC);
    let tcb = get(&format!("tcb?fmspc={fmspc}&update=early"));
    let identity = get("qe/identity?tcbEvaluationDataNumber=17");
    let pck_crl = get("pckcrl?ca=platform&encoding=der");
    let (tcb_info, tcb_info_signature) = signed(&tcb, "tcbInfo");
    let (qe_identity, qe_identity_signature) = signed(&identity, "enclaveIdentity");
    let fetched = DcapCollateral {
        pck_crl_issuer_chain: chain(&pck_crl, "SGX-PCK-CRL-Issuer-Chain"),
        root_ca_crl: hex::decode(get("rootcacrl").body).unwrap(),
        pck_crl: pck_crl.body,
        tcb_info_issuer_chain: chain(&tcb, "TCB-Info-Issuer-Chain"),
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain: chain(&identity, "SGX-Enclave-Identity-Issuer-Chain"),
        qe_identity,
        qe_identity_signature,
        pck_certificate_chain: None,
    };
    assert_eq!(fetched, collateral);
    assert_eq!(
        hex::decode(get("pckcrl?ca=platform").body).unwrap(),
        collateral.pck_crl
    );
    // Intel's own documents come in both cases.
    assert_eq!(get(&format!("tcb?fmspc={}", fmspc.to_lowercase())), tcb);
}

#[test]
fn what_this_platform_does_not_have_is_not_there() {
    let collateral = collateral();
    for path in [
        "/sgx/certification/v4/tcb?fmspc=00606A000000",
        "/sgx/certification/v4/tcb",
        "/sgx/certification/v4/pckcrl?ca=processor",
        "/sgx/certification/v4/pckcrl",
        "/sgx/certification/v4/pckcert",
        "/sgx/certification/v3/rootcacrl",
        "/tdx/certification/v4/qe/identity",
        "/sgx/certification/v4/",
        "",
        "?",
    ] {
        assert_eq!(respond(path, &collateral), None, "{path}");
    }
}

fn collateral() -> DcapCollateral {
    let dir = tempfile::tempdir().unwrap();
    let now: SystemTime = "2026-11-23T12:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .try_into()
        .unwrap();
    let platform = Platform::create(&dir.path().join("platform"), now).unwrap();
    platform.collateral(now).unwrap()
}

/// Takes the signed text out of the answer as clients do: the signature is over it as it stands.
fn signed(response: &PccsResponse, name: &str) -> (String, Vec<u8>) {
    let body = String::from_utf8(response.body.clone()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = body
        .strip_prefix(&format!("{{\"{name}\":"))
        .and_then(|rest| rest.split_once(",\"signature\""))
        .unwrap()
        .0;
    let signature = json["signature"].as_str().unwrap();
    (text.to_owned(), hex::decode(signature).unwrap())
}

fn chain(response: &PccsResponse, header: &str) -> String {
    let (_, value) = response
        .headers
        .iter()
        .find(|(name, _)| *name == header)
        .unwrap_or_else(|| panic!("no header `{header}`"));
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        assert!(byte.is_ascii_graphic(), "a header is plain text");
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.extend(hex::decode(digits).unwrap());
            }
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).unwrap()
}
