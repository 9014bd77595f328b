use reqwest::StatusCode;

use crate::bench::Bench;

#[tokio::test]
async fn collateral_is_served_to_anyone_in_the_usual_form() {
    let bench = Bench::start().await;
    let anonymous = bench.anonymous();
    let fmspc = hex::encode(mse_simtee::FMSPC);
    for (path, header) in [
        (format!("tcb?fmspc={fmspc}"), Some("tcb-info-issuer-chain")),
        (
            "qe/identity".into(),
            Some("sgx-enclave-identity-issuer-chain"),
        ),
        (
            "pckcrl?ca=platform&encoding=der".into(),
            Some("sgx-pck-crl-issuer-chain"),
        ),
        ("rootcacrl".into(), None),
    ] {
        let url = format!("{}/pccs/sgx/certification/v4/{path}", anonymous.base);
        let answer = anonymous.client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        if let Some(header) = header {
            let chain = answer.headers()[header].to_str().unwrap();
            assert!(chain.starts_with("-----BEGIN%20CERTIFICATE"), "{chain}");
        }
        assert!(!answer.bytes().await.unwrap().is_empty(), "{path}");
    }
    for path in [
        "tcb?fmspc=000000000000",
        "tcb",
        "nothing",
        "pckcrl?ca=other",
    ] {
        let (status, refusal) = anonymous
            .get(&format!("/pccs/sgx/certification/v4/{path}"))
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(refusal["code"], "not_found", "{path}");
    }
}
