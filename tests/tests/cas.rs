//! The CAS: the real program, launched on a simulated platform, over real sockets.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use mse_attest::{CheckName, Policy, Reason};
use mse_crypto::Digest;
use mse_ratls::cas::client::{CasError, connect_pinned, first_contact};
use mse_ratls::cas::{AttestError, CasReport, ExpectedCas};
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::{CasMachine, Person, RunningCas};
use mse_tests::programs::program;
use mse_workload::launch::CasStart;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

async fn machine() -> CasMachine {
    CasMachine::new(&program("mse-cas")).await
}

/// Attests whoever is at `address`.
async fn attest(
    machine: &CasMachine,
    address: &str,
    expected: &ExpectedCas,
) -> Result<CasReport, CasError> {
    let contact = first_contact(&address.parse().unwrap(), None).await?;
    let (_, attested) = contact.attest(expected, &machine.collateral()).await?;
    Ok(attested.report)
}

fn refused_by(refused: &CasError) -> Option<CheckName> {
    match refused {
        CasError::Attest(AttestError::Refused(refusal)) => Some(refusal.failed),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_is_created_attested_pinned_and_the_same_after_a_restart() {
    let machine = machine().await;
    let cas = machine.create().await;
    let description = cas.attested.description.clone();
    assert_eq!(description.owner, machine.owner.hash);
    assert!(description.simulated);
    assert_eq!(
        cas.attested.measurement(),
        Some(machine.measure(&machine.workload()))
    );

    // With a client certificate and without.
    for client in [None, Some(&machine.owner)] {
        let mut pinned = cas.connect(client).await.unwrap();
        assert_eq!(pinned.description().await.unwrap(), description);
        match pinned.get::<Value>("/v1/nothing").await {
            Err(CasError::Refused { status, code, .. }) => {
                assert_eq!((status, code.as_str()), (404, "not-found"));
            }
            other => panic!("{other:?}"),
        }
    }
    // Offline, by somebody else.
    let json = serde_json::to_vec(&cas.attested.report).unwrap();
    let report = CasReport::from_json(&json).unwrap();
    let expected = machine.expected(&machine.workload());
    report.verify(&expected, SystemTime::now()).unwrap();
    cas.stop().await;

    let again = machine.open().await;
    assert_eq!(again.attested.description, description);
    // Killed, and opened once more.
    again.kill().await;
    let again = machine.open().await;
    assert_eq!(again.attested.description, description);
    let refused = machine.launch(machine.spec(CasStart::Open)).await;
    assert!(refused.err().unwrap().contains("in use"));
    again.stop().await;
    let refused = machine.launch(machine.spec(CasStart::Create)).await;
    assert!(refused.err().unwrap().contains("holds a CAS already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_evidence_another_owner_and_another_measurement_are_refused() {
    let machine = machine().await;
    let cas = machine.create().await;
    let good = machine.expected(&machine.workload());
    attest(&machine, &cas.address, &good).await.unwrap();

    let strict = ExpectedCas {
        policy: Policy::strict(),
        ..good.clone()
    };
    let refused = attest(&machine, &cas.address, &strict).await.unwrap_err();
    assert!(
        matches!(&refused, CasError::Attest(AttestError::Refused(refusal)) if refusal.reason == Reason::SimulatedEvidence),
        "{refused}"
    );

    // Somebody else's CAS has another measurement, and says so itself, too.
    let mut others = machine.workload();
    others.owner = Person::new().hash;
    let expected = machine.expected(&others);
    let refused = attest(&machine, &cas.address, &expected).await.unwrap_err();
    assert_eq!(refused_by(&refused), Some(CheckName::MrEnclave));
    let owner_only = ExpectedCas {
        measurement: None,
        ..expected
    };
    let refused = attest(&machine, &cas.address, &owner_only)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, CasError::Attest(AttestError::Owner { .. })),
        "{refused}"
    );
    cas.stop().await;
}

/// The program with one more byte at its end: it runs just the same.
fn changed_program(folder: &Path) -> std::path::PathBuf {
    let mut bytes = fs::read(program("mse-cas")).unwrap();
    bytes.push(0);
    let path = folder.join("mse-cas");
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_has_another_measurement_and_gets_nothing_of_what_is_sealed() {
    let mut machine = machine().await;
    let before = machine.expected(&machine.workload());
    machine.create().await.stop().await;

    // Another owner, the same program.
    let mut spec = machine.spec(CasStart::Open);
    spec.workload.owner = Person::new().hash;
    let refused = machine.launch(spec).await.err().unwrap();
    assert!(refused.contains("out of reach"), "{refused}");

    let changed = changed_program(machine.folder.path());
    machine.install(&changed);
    let refused = machine.launch(machine.spec(CasStart::Open)).await;
    let refused = refused.err().unwrap();
    assert!(refused.contains("out of reach"), "{refused}");
    assert!(refused.contains("shares"), "{refused}");

    // It can be a CAS of its own, and is no other then.
    let mut spec = machine.spec(CasStart::Create);
    spec.data = machine.folder.path().join("another");
    let other = machine.launch(spec).await.unwrap();
    let refused = attest(&machine, &other.address, &before).await.unwrap_err();
    assert_eq!(refused_by(&refused), Some(CheckName::MrEnclave));
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_file_starts_nothing() {
    let machine = machine().await;
    let key = machine.create().await;
    let known = key.key;
    key.stop().await;
    let path = machine.data().join("root-key.sealed");
    let good = fs::read(&path).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, &changed).unwrap();
    let refused = machine.launch(machine.spec(CasStart::Open)).await;
    assert!(refused.err().unwrap().contains("out of reach"));
    fs::write(&path, good).unwrap();
    let again = machine.open().await;
    assert_eq!(again.key, known);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_without_a_database_and_recovering_without_custodians_are_refused() {
    let machine = machine().await;
    let join = CasStart::Join {
        address: "127.0.0.1:1".into(),
        cas_key: mse_workload::CasKey(Digest([0; 32])),
        authorization: None,
    };
    let recover = CasStart::Recover {
        key_id: "00".repeat(12),
    };
    for (start, says) in [(join, "--database"), (recover, "names no custodians")] {
        let refused = machine.launch(machine.spec(start)).await.err().unwrap();
        assert!(refused.contains(says), "{refused}");
    }
    assert!(!machine.data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_killed_anywhere_is_finished_or_was_done() {
    let machine = machine().await;
    let points = [
        "lock",
        "root-key.sealed.new",
        "store.db",
        "witness",
        "root-key.sealed",
    ];
    for point in points {
        let data = machine.folder.path().join(format!("cut-at-{point}"));
        let spec = |start| CasSpec {
            data: data.clone(),
            ..machine.spec(start)
        };
        machine.cut_off(spec(CasStart::Create), point).await;
        let is_done = data.join("root-key.sealed").exists();
        let opened = machine.launch(spec(CasStart::Open)).await;
        let first = match (opened, is_done) {
            (Ok(cas), true) => cas,
            (Err(why), false) => {
                let says = ["create one", "start with `create` again"];
                assert!(says.iter().any(|one| why.contains(one)), "{point}: {why}");
                machine.launch(spec(CasStart::Create)).await.unwrap()
            }
            (Ok(_), false) => panic!("{point}: something without a key file was opened"),
            (Err(why), true) => panic!("{point}: {why}"),
        };
        let key = first.key;
        first.stop().await;
        let again = machine.launch(spec(CasStart::Open)).await.unwrap();
        assert_eq!(again.key, key, "{point}");
        again.stop().await;
    }
}

/// Ends TLS with a certificate of its own and passes on what was said, both ways.
async fn man_in_the_middle(cas: &RunningCas) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(own_certificate()));
    let (target, key) = (cas.address.clone(), cas.key);
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let heard = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut victim) = acceptor.accept(stream).await else {
                continue;
            };
            let mut buffer = vec![0; 64 * 1024];
            // One request and its answer: that of the attestation.
            let Ok(length) = victim.read(&mut buffer).await else {
                continue;
            };
            heard.lock().unwrap().extend(&buffer[..length]);
            let answer = relay(&target, key, &buffer[..length]).await;
            let _ = victim.write_all(&answer).await;
            let _ = victim.flush().await;
        }
    });
    (address, seen)
}

/// A real request to the real CAS, on a connection of the relay's own.
async fn relay(target: &str, key: mse_workload::CasKey, request: &[u8]) -> Vec<u8> {
    let body = request
        .windows(4)
        .position(|at| at == b"\r\n\r\n")
        .map(|at| request[at + 4..].to_vec())
        .unwrap();
    let address = target.parse().unwrap();
    let mut real = connect_pinned(&address, key, None).await.unwrap();
    let body = Some(("application/json", body.into()));
    let answer = real
        .request(http::Method::POST, "/v1/attest", body)
        .await
        .unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    [head.as_bytes(), &answer].concat()
}

fn own_certificate() -> ServerConfig {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &root).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone(), root.der().clone()], key)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_is_refused_by_the_pin_and_by_the_evidence() {
    let machine = machine().await;
    let cas = machine.create().await;
    let (address, heard) = man_in_the_middle(&cas).await;

    let pinned = connect_pinned(
        &address.parse().unwrap(),
        cas.key,
        Some(&machine.owner.identity),
    )
    .await;
    let refused = pinned.err().unwrap();
    assert!(matches!(refused, CasError::Identity(_)), "{refused}");
    assert!(heard.lock().unwrap().is_empty());

    // The evidence is genuine, of the very CAS that is expected, and of another connection.
    let expected = machine.expected(&machine.workload());
    let refused = attest(&machine, &address, &expected).await.unwrap_err();
    assert_eq!(
        refused_by(&refused),
        Some(CheckName::ReportData),
        "{refused}"
    );
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
    assert!(heard.starts_with("POST /v1/attest "), "{heard}");

    // Who only passes bytes on can do no harm.
    let (address, _) = wire(&cas.address).await;
    attest(&machine, &address, &expected).await.unwrap();
    cas.stop().await;
}

/// Passes bytes on.
async fn wire(target: &str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = target.to_owned();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut real = TcpStream::connect(&target).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut real).await;
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_what_the_host_keeps_or_reads() {
    let machine = machine().await;
    let cas = machine.create().await;
    let mut log = cas.log.clone();
    log.extend(cas.stop().await);
    // The key that seals the root key is the platform's; so the test can open what nobody else can.
    let measured = machine.measure(&machine.workload());
    let platform_key = machine
        .platform
        .seal_key(&measured.0.0, mse_workload::launch::SealPolicy::Measurement);
    let sealed = fs::read(machine.data().join("root-key.sealed")).unwrap();
    let root = platform_key
        .open(b"mse-cas-root-key-v1", &sealed[20..])
        .unwrap();
    assert_eq!(root.len(), 32);
    let mut canaries = vec![root.to_vec(), platform_key.expose().to_vec()];
    for canary in canaries.clone() {
        canaries.push(hex::encode(canary).into_bytes());
    }
    let mut files = 0;
    for entry in fs::read_dir(machine.data()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert_clean(&bytes, &canaries, &path.display().to_string());
        files += 1;
    }
    assert!(files >= 4, "{files}");
    assert_clean(log.join("\n").as_bytes(), &canaries, "the log");
}

fn assert_clean(bytes: &[u8], canaries: &[Vec<u8>], place: &str) {
    for canary in canaries {
        let is_there = bytes.windows(canary.len()).any(|part| part == canary);
        assert!(!is_there, "a key is in {place}");
    }
}

/// `mse` with a configuration folder of its own, and the machine's programs.
fn mse(machine: &CasMachine, words: &[&str]) -> Command {
    let mut command = Command::new(program("mse"));
    command
        .env("MSE_CONF_PATH", machine.folder.path().join("conf"))
        .env("MSE_CAS", program("mse-cas"))
        .env_remove("MSE_SIMULATED")
        .env_remove("MSE_CAS_DATABASE")
        .args(words);
    command
}

fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refused(mut command: Command, code: i32, says: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(says), "`{says}` is not in: {told}");
}

/// `mse cas run`, until it runs; ends in order when asked to.
struct Ran {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said of itself.
    running: Value,
}

impl Ran {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|event| event["event"] == "running" || event.get("error").is_some())
            .expect("it runs or says why not");
        assert_eq!(running["event"], "running", "{running}");
        Self {
            child,
            lines,
            running,
        }
    }

    fn member(&self, name: &str) -> &str {
        self.running[name].as_str().unwrap()
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let last = self.lines.by_ref().map(Result::unwrap).last().unwrap();
        assert!(last.contains("stopped as asked"), "{last}");
        assert!(self.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_runs_attests_and_pins_a_cas() {
    let machine = machine().await;
    tokio::task::spawn_blocking(move || commands(&machine))
        .await
        .unwrap();
}

fn commands(machine: &CasMachine) {
    let folder = machine.folder.path();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let hash = done(mse(machine, &["cas", "keygen"]));
    let (data, tee) = (path("data"), path("tee"));
    let run_in = |data: &str, more: &[&str]| {
        let words = ["cas", "run", "--json", "--listen", "127.0.0.1:0", "--data"];
        let mut command = mse(machine, &words);
        command.args([data, "--platform", &tee]).args(more);
        command
    };
    let run = |more: &[&str]| run_in(&data, more);
    refused(run(&[]), 10, "holds no CAS");
    let cas = Ran::start(run(&["--create"]));
    assert_eq!(cas.member("owner"), hash);
    let (address, pccs) = (
        cas.member("address").to_owned(),
        cas.member("pccs").to_owned(),
    );
    let anchor = path("tee/trust-anchor.toml");
    let attest = |more: &[&str]| {
        let words = ["cas", "attest", &address, "--pccs", &pccs, "--json"];
        let mut command = mse(machine, &words);
        command.args(more);
        command
    };

    // Simulated evidence is refused unless it is asked for.
    refused(attest(&["--name", "here"]), 1, "simulated");
    assert_eq!(
        done(mse(machine, &["cas", "list", "--json"])),
        r#"{"cases":[]}"#.to_owned()
    );
    let trusted = ["--simulated", &anchor, "--name", "here"];
    // Neither owner nor measurement is taken from the CAS itself.
    let other = Person::new().hash.to_string();
    let somebody = [&trusted[..], &["--owner", &other]].concat();
    refused(attest(&somebody), 1, "mr-enclave");
    refused(attest(&somebody), 1, "give `--owner`, `--accept-simulated`");
    let report = path("report.json");
    let proven = done(attest(&[&trusted[..], &["--report", &report]].concat()));
    let proven: Value = serde_json::from_str(&proven).unwrap();
    assert_eq!(proven["verdict"], "verified");
    for member in ["cas_key", "measurement", "owner", "audit_key"] {
        assert_eq!(proven[member], cas.running[member], "{member}");
    }
    let pin = folder.join("conf/cas/here.toml");
    assert_eq!(
        fs::metadata(&pin).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let measured = done(mse(machine, &["cas", "measure", "--json"]));
    let measured: Value = serde_json::from_str(&measured).unwrap();
    assert_eq!(measured["measurement"], proven["measurement"]);
    cas.stop();

    // Offline, from the file alone.
    let verify = ["cas", "report", "verify", &report];
    done(mse(
        machine,
        &[&verify[..], &["--simulated", &anchor]].concat(),
    ));
    refused(mse(machine, &verify), 1, "simulated");
    let text = fs::read_to_string(&report).unwrap();
    let changed = text.replacen(&hash, &other, 1);
    assert_ne!(changed, text);
    fs::write(&report, changed).unwrap();
    let verify = [&verify[..], &["--simulated", &anchor]].concat();
    refused(mse(machine, &verify), 1, "report-data");

    // The same CAS once more, and then another one at the same name.
    refused(run(&["--create"]), 12, "holds a CAS already");
    let cas = Ran::start(run(&[]));
    assert_eq!(cas.running["cas_key"], proven["cas_key"]);
    cas.stop();
    let another = path("another");
    let command = run_in(&another, &["--create"]);
    let cas = Ran::start(command);
    let words = [
        "cas",
        "attest",
        cas.member("address"),
        "--pccs",
        cas.member("pccs"),
    ];
    let again = |more: &[&str]| mse(machine, &[&words[..], &trusted, more].concat());
    refused(again(&[]), 1, "it is another CAS");
    assert_eq!(
        fs::read_to_string(&pin)
            .unwrap()
            .matches(proven["cas_key"].as_str().unwrap())
            .count(),
        1
    );
    done(again(&["--replace"]));
    let listed = done(mse(machine, &["cas", "list"]));
    assert!(listed.contains(cas.member("cas_key")), "{listed}");
    done(mse(machine, &["cas", "forget", "here"]));
    assert!(!pin.exists());
    cas.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cas_was_run_with_is_told_to_who_attests_it_and_to_who_runs_it_again() {
    let machine = machine().await;
    tokio::task::spawn_blocking(move || options(&machine))
        .await
        .unwrap();
}

fn options(machine: &CasMachine) {
    let data = machine.folder.path().join("a folder");
    fs::create_dir(&data).unwrap();
    done(mse(machine, &["cas", "keygen"]));
    // On the platform of the configuration folder.
    let run = |more: &[&str]| {
        let mut command = mse(machine, &["cas", "run", "--json", "--data"]);
        command
            .arg(&data)
            .args(["--listen", "127.0.0.1:0"])
            .args(more);
        command
    };
    let measured = ["--accept-simulated", "this-machine", "--memory", "600"];
    let cas = Ran::start(run(&[&["--create"], &measured[..]].concat()));
    let printed = cas.member("attest").to_owned();
    assert!(!printed.contains("--pccs"), "{printed}");
    // As it is printed, by a shell in another folder.
    let mut shell = Command::new("sh");
    let programs = program("mse");
    let path = format!(
        "{}:{}",
        programs.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    shell
        .args(["-c", &format!("{printed} --json")])
        .current_dir("/")
        .env("PATH", path)
        .env("MSE_CONF_PATH", machine.folder.path().join("conf"))
        .env("MSE_CAS", program("mse-cas"))
        .env_remove("MSE_SIMULATED");
    let proven: Value = serde_json::from_str(&done(shell)).unwrap();
    assert_eq!(proven["cas_key"], cas.running["cas_key"]);
    assert_eq!(proven["name"], "here");

    // Without what is measured, it is not the same; and it says what may be missing.
    let address = cas.member("address").to_owned();
    let bare = ["cas", "attest", &address, "--simulated", "this-machine"];
    refused(mse(machine, &bare), 1, "`--accept-simulated`, `--memory`");
    cas.stop();
    let before = "--accept-simulated this-machine --memory 600`, and now with";
    refused(run(&["--memory", "600"]), 10, before);
    let cas = Ran::start(run(&measured));
    assert_eq!(cas.running["cas_key"], proven["cas_key"]);
    cas.stop();

    // Somebody else's at the address that is pinned is told apart before all else.
    let other = machine.folder.path().join("other");
    let mut command = mse(machine, &["cas", "run", "--json", "--create", "--data"]);
    command.arg(&other).args(["--listen", &address]);
    let cas = Ran::start(command);
    let again = [&bare[..], &["--name", "here"]].concat();
    refused(mse(machine, &again), 1, "it is another CAS");
    cas.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_goes_on_serving_when_nobody_reads_its_output() {
    let machine = machine().await;
    tokio::task::spawn_blocking(move || unread(&machine))
        .await
        .unwrap();
}

fn unread(machine: &CasMachine) {
    let folder = machine.folder.path();
    done(mse(machine, &["cas", "keygen"]));
    let mut run = mse(machine, &["cas", "run", "--create", "--json"]);
    run.args(["--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .arg("--platform")
        .arg(folder.join("tee"))
        .stderr(Stdio::piped());
    let Ran {
        child,
        lines,
        running,
    } = Ran::start(run);
    drop(lines);
    let member = |name: &str| running[name].as_str().unwrap();
    let anchor = folder.join("tee/trust-anchor.toml");
    let attest = |name: &str| {
        let words = ["cas", "attest", member("address"), "--name", name];
        let mut command = mse(machine, &words);
        command
            .args(["--pccs", member("pccs"), "--simulated"])
            .arg(&anchor);
        command
    };
    for name in ["one", "another"] {
        done(attest(name));
    }
    // Each of its last words is one that nobody reads.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let warning = "nobody reads the output any more; the CAS goes on serving";
    assert_eq!(told.matches(warning).count(), 1, "{told}");
}
