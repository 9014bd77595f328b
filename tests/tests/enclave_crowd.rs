//! Connections that ask for nothing keep nobody out of an enclave. On its own, since the test lowers how
//! many files its process, and what that starts, may have open.

use mse_tests::enclave::Machine;
use mse_tests::stranger::Silent;
use mse_workload::launch::Phase;
use nix::sys::resource::{Resource, setrlimit};

/// Few, so that few strangers take all seats: half of what is left of them for other things.
const OPEN_FILES: u64 = 700;
/// More than there are seats.
const STRANGERS: usize = 300;

const APP: &str = r#"
from flask import Flask
app = Flask(__name__)

@app.get("/health")
def health():
    return "OK"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_take_all_seats_do_not_keep_the_owner_out() {
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).unwrap();
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let mut enclave = machine.launch(&app).await;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let endpoint = &enclave.endpoint;
        let stranger = Silent::connect(&endpoint.address, &endpoint.server_name).await;
        strangers.push(stranger.unwrap());
    }
    assert!(strangers.iter().any(Silent::had_to_go), "all have a seat");
    assert!(!strangers[STRANGERS - 1].had_to_go());

    let mut owner = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    owner.provision(&app.payload(None)).await.unwrap();
    assert_eq!(enclave.settle().await.0, Phase::Running);
    drop(strangers);
}
