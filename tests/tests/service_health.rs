//! Whether a service is well: its enclave asks the program, behind the network shield as well, by the
//! check that the session names.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};

use mse_tests::programs::program;
use mse_tests::services::{Service, ServiceMachine};
use mse_workload::launch::{Phase, ServiceCheck, ServiceEnd};

/// Is well at its third answer, and never else. What is asked is printed.
const PROGRAM: &str = r#"
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
asked = 0
class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        self.send_response(200 if asked == 3 else 503)
        self.end_headers()
        print(asked, self.path, flush=True)
    def log_message(self, *_):
        pass
print([name for name in os.environ if "HEALTH" in name], flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Server).serve_forever()
"#;

async fn machine(environment: &[(&str, String)]) -> ServiceMachine {
    let machine = ServiceMachine::new(&program("mse-enclave")).await;
    {
        let mut policies = machine.cas.policies();
        policies.arguments = ["/usr/bin/python3", "-c", PROGRAM]
            .map(str::to_owned)
            .into();
        policies.environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect::<BTreeMap<_, _>>();
    }
    machine
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Follows it until it was well and is no more.
async fn well_and_ill_again(service: &mut Service) {
    while service.health.len() < 3 {
        service.until_next().await;
    }
    assert_eq!(service.health, [false, true, false], "{service:#?}");
    let told = |phase: &Phase| matches!(phase, Phase::Running);
    assert!(service.phases.iter().any(told), "{service:#?}");
    assert_eq!(service.lines[0], "[]", "the program has no such variable");
    assert_eq!(service.lines[1], "1 /health?of=me");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enclave_asks_behind_the_shield_where_the_host_reaches_nothing() {
    let port = free_port();
    let machine = machine(&[
        ("PORT", port.to_string()),
        ("MSE_HEALTH", format!("http:{port}/health?of=me")),
        ("MSE_NETWORK_SHIELD", "protected".into()),
    ])
    .await;
    let mut service = machine.launch(machine.spec()).await;
    well_and_ill_again(&mut service).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_shield_it_asks_on_the_loopback_that_both_have() {
    let port = free_port();
    let machine = machine(&[
        ("PORT", port.to_string()),
        ("MSE_HEALTH", format!("http:{port}/health?of=me")),
    ])
    .await;
    let mut service = machine.launch(machine.spec()).await;
    well_and_ill_again(&mut service).await;
}

/// Its answers are bad at first, at the fourth, the sixth and the seventh time. From the ninth on
/// each takes three seconds, and is good.
const WAVERING: &str = r#"
import os, time
from http.server import BaseHTTPRequestHandler, HTTPServer
asked = 0
class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        if asked > 8:
            time.sleep(3)
        self.send_response(503 if asked in (1, 2, 4, 6, 7) else 200)
        self.end_headers()
        print(asked, self.path, flush=True)
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Server).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn so_many_bad_answers_in_a_row_as_the_session_says_make_it_ill_and_late_ones_are_bad() {
    let port = free_port();
    let machine = machine(&[
        ("PORT", port.to_string()),
        (
            "MSE_HEALTH",
            format!("http:{port}/health period=1s timeout=1s failures=2"),
        ),
    ])
    .await;
    machine.cas.policies().arguments[2] = WAVERING.to_owned();
    let mut service = machine.launch(machine.spec()).await;
    // One bad answer would be enough otherwise, and the late ones would be good.
    service.until_line("6 /health").await;
    assert_eq!(service.health, [false, true], "{service:#?}");
    while service.health.len() < 5 {
        service.until_next().await;
    }
    assert_eq!(service.health, [false, true, false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_read_or_is_the_hosts_choice_is_refused() {
    for (name, value) in [
        ("MSE_HEALTH", "8080"),
        ("MSE_HEALTH", "tcp:8080 period=0s"),
        (r"\@\@MSE_HEALTH", ""),
    ] {
        let machine = machine(&[(name, value.to_owned())]).await;
        let service = machine.run().await;
        let check = ServiceCheck::Configuration;
        assert_eq!(service.end, Some(ServiceEnd::Refused { check }), "{name}");
        assert!(service.reason().contains("`MSE_HEALTH`"), "{service:#?}");
        assert!(service.health.is_empty());
    }
}
