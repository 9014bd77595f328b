//! The process runtime with a stand-in for the enclave program: a script that speaks the frames.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mse_crypto::Digest;
use mse_runtime::process::{EnclaveEvent, LaunchSpec, ProcessRuntime, RunningEnclave};
use mse_simtee::Platform;
use mse_workload::launch::{Phase, Python};
use mse_workload::{
    AppId, FORMAT, HealthEndpoint, ImageIdentity, Provisioning, Resources, Tls, TlsOrigin, Workload,
};
use tokio::time::timeout;

#[tokio::test]
async fn an_enclave_is_launched_quoted_and_stopped_in_order() {
    let bench = Bench::new();
    let mut enclave = bench.launch("fake:app").await;
    let (events, port) = bench.until_listening(&mut enclave).await;
    assert_eq!(port, 4242);
    let report = "ab".repeat(64);
    assert!(
        events.iter().any(|text| text == "environment LANG,PATH"),
        "{events:?}"
    );

    // The quote carries the launcher's own measurement, and the report data as asked for.
    let quote = line_after(&events, "quote ");
    let quote = hex::decode(quote).unwrap();
    assert_eq!(quote[48 + 64..48 + 96], enclave.measurement().0.0);
    assert_eq!(hex::encode(&quote[48 + 320..48 + 384]), report);
    assert!(line_after(&events, "refused ").contains("64 bytes"));

    let folder = bench.instance(&enclave);
    assert!(folder.join("run").is_dir());
    enclave.stop(Duration::from_secs(5));
    let how = until_exit(&mut enclave).await;
    assert_eq!(how.last().unwrap(), "exit status: 0");
    assert!(how.iter().any(|text| text == "asked to stop within 5"));
    assert!(!folder.exists());
}

#[tokio::test]
async fn two_workloads_have_two_measurements() {
    let bench = Bench::new();
    let mut one = bench.launch("fake:one").await;
    let mut other = bench.launch("fake:two").await;
    assert_ne!(one.measurement(), other.measurement());
    for enclave in [&mut one, &mut other] {
        enclave.kill();
        until_exit(enclave).await;
    }
}

#[tokio::test]
async fn an_enclave_that_ignores_the_order_to_stop_is_killed() {
    let bench = Bench::new();
    let mut enclave = bench.launch("fake:deaf").await;
    bench.until_listening(&mut enclave).await;
    enclave.stop(Duration::from_secs(0));
    let how = until_exit(&mut enclave).await;
    assert!(how.last().unwrap().contains("signal: 9"), "{how:?}");
}

#[tokio::test]
async fn an_enclave_that_sends_rubbish_is_killed_and_the_reason_told() {
    let bench = Bench::new();
    let mut enclave = bench.launch("fake:rubbish").await;
    let how = until_exit(&mut enclave).await;
    assert!(how.last().unwrap().contains("at most 1048576"), "{how:?}");
}

#[tokio::test]
async fn dropping_the_handle_kills_the_enclave_and_all_it_started() {
    let bench = Bench::new();
    let mut enclave = bench.launch("fake:parent").await;
    let (events, _) = bench.until_listening(&mut enclave).await;
    let child: i32 = line_after(&events, "child ").parse().unwrap();
    let pid = enclave.pid();
    drop(enclave);
    let gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
    timeout(Duration::from_secs(10), async {
        while !(gone(child) && gone(i32::try_from(pid).unwrap())) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the enclave and its child are gone");
}

#[tokio::test]
async fn closing_the_socket_ends_an_enclave_of_a_killed_launcher() {
    // The stand-in ends at the end of its input, as every enclave must.
    let bench = Bench::new();
    let mut child = std::process::Command::new(&bench.program)
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
}

struct Bench {
    data: tempfile::TempDir,
    runtime: ProcessRuntime,
    program: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let program = data.path().join("fake-enclave");
        fs::write(&program, FAKE_ENCLAVE).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let platform = Platform::create(&data.path().join("platform"), SystemTime::now()).unwrap();
        let runtime = ProcessRuntime::open(data.path(), &program, Arc::new(platform)).unwrap();
        Self {
            data,
            runtime,
            program,
        }
    }

    async fn launch(&self, application: &str) -> RunningEnclave {
        self.runtime
            .launch(LaunchSpec {
                workload: workload(application),
                bundle: "/nowhere".into(),
                certificate_chain: None,
                python: Python {
                    interpreter: "/usr/bin/python3".into(),
                    prefixes: Vec::new(),
                    environment: "/nowhere".into(),
                    image: "nothing".into(),
                    lock: String::new(),
                    serve: String::new(),
                },
                listen: None,
                provisioning_timeout: Duration::from_secs(60),
            })
            .await
            .unwrap()
    }

    async fn until_listening(&self, enclave: &mut RunningEnclave) -> (Vec<String>, u16) {
        let mut lines = Vec::new();
        let mut port = None;
        loop {
            match next(enclave).await {
                EnclaveEvent::Log { text, .. } => lines.push(text),
                EnclaveEvent::Listening { port: heard } => port = Some(heard),
                EnclaveEvent::Phase(Phase::AwaitingProvisioning) => {
                    // Lines come through another pipe than frames.
                    while !lines.iter().any(|line| line == "ready") {
                        if let EnclaveEvent::Log { text, .. } = next(enclave).await {
                            lines.push(text);
                        }
                    }
                    return (lines, port.expect("a port before the phase"));
                }
                EnclaveEvent::Confinement(_) => (),
                other => panic!("unexpected {other:?} after {lines:?}"),
            }
        }
    }

    fn instance(&self, enclave: &RunningEnclave) -> PathBuf {
        let _ = enclave;
        let mut entries = fs::read_dir(self.data.path().join("instances")).unwrap();
        entries.next().unwrap().unwrap().path()
    }
}

async fn next(enclave: &mut RunningEnclave) -> EnclaveEvent {
    timeout(Duration::from_secs(20), enclave.next())
        .await
        .expect("an event in time")
        .expect("an event before the end")
}

/// The lines until the end, and how it ended.
async fn until_exit(enclave: &mut RunningEnclave) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match next(enclave).await {
            EnclaveEvent::Log { text, .. } => lines.push(text),
            EnclaveEvent::Exited { how } => {
                lines.push(how);
                return lines;
            }
            _ => (),
        }
    }
}

fn line_after<'a>(lines: &'a [String], prefix: &str) -> &'a str {
    lines
        .iter()
        .find_map(|line| line.strip_prefix(prefix))
        .unwrap_or_else(|| panic!("no `{prefix}` in {lines:?}"))
}

fn workload(application: &str) -> Workload {
    Workload {
        format: FORMAT,
        app_id: AppId::generate(),
        application: application.into(),
        image: ImageIdentity {
            name: "mse-flask:1".into(),
            digest: Digest::of(b"image"),
        },
        bundle: Digest::of(b"bundle"),
        source_commitment: Digest::of(b"source"),
        code_key_check: Digest::of(b"key"),
        tls: Tls {
            origin: TlsOrigin::Enclave,
            names: vec!["localhost".into()],
            certificate: None,
        },
        expires_at: None,
        resources: Resources {
            memory_mib: 512,
            millicores: 1000,
        },
        health_endpoint: HealthEndpoint::try_from("/health".to_owned()).unwrap(),
        environment: std::collections::BTreeMap::new(),
        provisioning: Provisioning::Owner {},
    }
}

const FAKE_ENCLAVE: &str = r#"#!/usr/bin/env python3
import json, os, socket, subprocess, sys, time

def receive():
    prefix = os.read(0, 4)
    if not prefix:
        sys.exit(0)
    size, data = int.from_bytes(prefix, "big"), b""
    while len(data) < size:
        data += os.read(0, size - len(data))
    return json.loads(data)

def send(frame):
    data = json.dumps(frame).encode()
    os.write(0, len(data).to_bytes(4, "big") + data)

def say(text):
    print(text, flush=True)

launch = receive()
workload = json.loads(launch["workload"])
kind = workload["application"].split(":")[1]
if kind == "rubbish":
    os.write(0, b"\xff\xff\xff\xff")
    time.sleep(60)
say("environment " + ",".join(sorted(set(os.environ) - {"LC_CTYPE"})))
send({"type": "get-quote", "id": 7, "report_data": "ab" * 64})
answer = receive()
assert answer["id"] == 7, answer
say("quote " + answer["quote"]["Ok"])
send({"type": "get-quote", "id": 8, "report_data": "ab"})
say("refused " + receive()["quote"]["Err"])
if kind == "parent":
    child = subprocess.Popen(["/bin/sleep", "60"], stdin=subprocess.DEVNULL)
    say(f"child {child.pid}")
send({"type": "listening", "port": 4242})
send({"type": "phase", "phase": "awaiting-provisioning"})
say("ready")
while True:
    frame = receive()
    if frame["type"] == "stop" and kind != "deaf":
        say(f"asked to stop within {frame['grace_seconds']}")
        send({"type": "phase", "phase": "stopped", "reason": "as asked"})
        sys.exit(0)
"#;
