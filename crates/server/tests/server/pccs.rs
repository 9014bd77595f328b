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

#[tokio::test]
async fn real_platforms_come_from_upstream_and_are_kept() {
    // Another simulated platform stands in for Intel: its documents differ from the server's own.
    let mut upstream = Bench::start().await;
    let url = format!("{}/pccs", upstream.anonymous().base);
    let mut server = Bench::start_with(&["--collateral-upstream", &url]).await;
    let fmspc = hex::encode(mse_simtee::FMSPC);
    let get = async |bench: &Bench, path: &str| {
        let anonymous = bench.anonymous();
        let url = format!("{}/pccs{path}", anonymous.base);
        let answer = anonymous.client.get(url).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    };
    let root = "/sgx/certification/v4/rootcacrl";
    let kept = get(&upstream, root).await;
    let tcb = format!("/upstream/sgx/certification/v4/tcb?fmspc={fmspc}");
    let (status, body) = get(&server, &tcb).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    assert_eq!(get(&server, &format!("/upstream{root}")).await.1, kept.1);
    // A machine type that is not the simulated one's is meant on every path.
    let named = format!("{root}?fmspc=00606A000000");
    assert_eq!(get(&server, &named).await.1, kept.1);
    assert_ne!(get(&server, root).await.1, kept.1, "the server's own");
    assert_eq!(
        get(&server, &format!("{root}?fmspc={fmspc}")).await.1,
        get(&server, root).await.1
    );
    for nothing in [
        "/sgx/certification/v4/tcb?fmspc=00606A000000",
        "/sgx/certification/v4/pckcrl?ca=processor",
        "/tdx/certification/v4/qe/identity",
        "/upstream/sgx/certification/v3/rootcacrl",
        "/upstream/",
    ] {
        let (status, _) = get(&server, nothing).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{nothing}");
    }

    // What was fetched outlives both the upstream service and a restart.
    upstream.shut_down().await;
    server.shut_down().await;
    server.restart().await;
    assert_eq!(get(&server, &format!("/upstream{root}")).await.1, kept.1);
    let (status, _) = get(&server, "/upstream/sgx/certification/v4/qe/identity").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn without_an_upstream_only_the_simulated_platform_is_known() {
    let bench = Bench::start().await;
    let anonymous = bench.anonymous();
    for path in [
        "/sgx/certification/v4/rootcacrl?fmspc=00606A000000",
        "/sgx/certification/v4/qe/identity?fmspc=00606A000000",
        "/tdx/certification/v4/qe/identity",
        "/upstream/sgx/certification/v4/rootcacrl",
    ] {
        let (status, refusal) = anonymous.get(&format!("/pccs{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(refusal["code"], "not_found", "{path}");
    }
}
