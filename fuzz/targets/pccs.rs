//! Answers of collateral services: signed members, issuer chains in headers, CRLs, certificates;
//! and the requests of a caching service's clients.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_collateral::answer::{Answer, Crl, Signed, issuer_chain, validity};
use mse_collateral::pccs::PccsRequest;
use mse_collateral::{Document, DcapTee, Edition, Fmspc, PckCa, Product, SnpPlatform, Vek, raw_json};

fuzz_target!(|input: (&[u8], &[u8], &str)| {
    let (header, body, path) = input;
    if let Ok(signed) = Signed::parse(body, "tcbInfo") {
        let text = std::str::from_utf8(body).expect("it was read as text");
        assert!(text.contains(&signed.text), "kept to the letter");
        assert_eq!(raw_json::member(text, "tcbInfo"), Some(signed.text.as_str()));
    }
    let _ = Crl::parse(body);
    let _ = validity(body);
    let _ = SnpPlatform::of_certificate(body);
    let _ = SnpPlatform::of_report(body);

    let (tee, edition) = (DcapTee::Sgx, Edition::Standard);
    let fmspc = Fmspc([0, 0x60, 0x6a, 0, 0, 0]);
    let answer = Answer {
        chain: issuer_chain(header).ok(),
        body: body.to_vec(),
    };
    for document in [
        Document::TcbInfo { tee, fmspc, edition },
        Document::QeIdentity { tee, edition },
        Document::PckCrl(PckCa::Platform),
        Document::RootCaCrl,
        Document::AmdChain(Product::Milan, Vek::Vcek),
        Document::AmdCrl(Product::Milan, Vek::Vcek),
    ] {
        let reading = document.read(&answer);
        if let (Ok(reading), Some(request)) = (reading, PccsRequest::parse(path)) {
            let _ = request.respond(&answer, &reading);
        }
    }
});
