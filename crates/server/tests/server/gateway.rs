use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{Bench, client_hello};

/// A fatal alert, unrecognized_name (RFC 6066).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[tokio::test]
async fn every_name_leads_to_its_own_app() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let one = owner.deploy_and_provision(&bench, "one").await;
    let two = owner.deploy_and_provision(&bench, "two").await;
    for app in [&one, &two] {
        let domain = app["domain_name"].as_str().unwrap();
        let config_domain = app["config_domain_name"].as_str().unwrap();
        for name in [domain, config_domain, &domain.to_uppercase()] {
            let answer = bench.through_gateway(name, "12345").await;
            // All bytes arrive, the ClientHello too: nothing was terminated.
            let expected = format!("{} bytes for {domain}", client_hello(name).len() + 5);
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(within_five(&answer), within_five(&expected), "{name}");
        }
        let url = app["url"].as_str().unwrap();
        let direct = url.strip_prefix("https://").unwrap();
        let answer = bench.through(direct, "localhost", "12345").await;
        assert!(answer.ends_with(format!("for {domain}").as_bytes()));
    }
}

/// A ClientHello may vary a little in length.
fn within_five(answer: &str) -> (usize, String) {
    let (bytes, rest) = answer.split_once(' ').unwrap();
    let bytes: usize = bytes.parse().unwrap();
    (bytes / 100, rest.to_owned())
}

#[tokio::test]
async fn names_that_lead_nowhere_get_an_alert() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    for name in ["unknown.mse.localhost", "127.0.0.1"] {
        assert_eq!(bench.through_gateway(name, "").await, UNRECOGNIZED_NAME);
    }
    let app = owner.deploy_and_provision(&bench, "hello").await;
    let stop = format!("/apps/{}/stop", app["id"].as_str().unwrap());
    assert_eq!(owner.post(&stop).await.0, StatusCode::OK);
    for field in ["domain_name", "config_domain_name"] {
        let name = app[field].as_str().unwrap();
        assert_eq!(bench.through_gateway(name, "").await, UNRECOGNIZED_NAME);
    }
    let direct = app["url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://")
        .unwrap();
    assert!(TcpStream::connect(direct).await.is_err());
}

#[tokio::test]
async fn what_is_not_tls_goes_nowhere() {
    let bench = Bench::start().await;
    let mut stream = TcpStream::connect(bench.server().gateway()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // A TLS alert at most.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
}
