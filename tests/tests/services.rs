//! Services: the real enclave program against a CAS that appraises for real, over real sockets.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mse_tests::cas::{FakeCas, Lie, SERVICE, SESSION};
use mse_tests::programs::program;
use mse_tests::services::{Service, ServiceMachine};
use mse_workload::launch::{ServiceCheck, ServiceEnd};
use mse_workload::{Measured, Measurement, ServiceWorkload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

async fn machine() -> ServiceMachine {
    ServiceMachine::new(&program("mse-enclave")).await
}

fn refused(service: &Service, check: ServiceCheck) {
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused { check }),
        "{service:#?}"
    );
    let how = format!("exit status: {}", check.exit_code());
    assert_eq!(service.how.as_deref(), Some(&how[..]));
    let reason = service.reason();
    assert!(
        reason.starts_with(&format!("check `{check}` failed: ")),
        "{reason}"
    );
    assert_eq!(reason.lines().count(), 1, "{reason}");
    assert!(service.lines.is_empty(), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_told_what_was_released_and_nothing_else() {
    let machine = machine().await;
    {
        let mut policies = machine.cas.policies();
        policies.arguments = [
            "/usr/bin/python3",
            "-c",
            "import os, sys; print(sys.argv[1:]); print(sorted(os.environ.items())); print(os.getcwd())",
            "an argument",
        ]
        .map(str::to_owned)
        .into();
        policies.environment = [("PASSWORD".to_owned(), "s3cret".to_owned())].into();
    }
    let mut spec = machine.spec();
    // Unmeasured and unasked for.
    spec.arguments = vec!["host-argument".into()];
    spec.environment = [("HOST_CANARY".into(), "host".into())].into();
    let service = machine.run_spec(spec).await;
    let environment: Vec<&str> = service.lines[1].split("), (").collect();
    assert_eq!(service.lines[0], "['an argument']");
    assert!(service.lines[1].contains("('PASSWORD', 's3cret')"));
    // Python itself sets LC_CTYPE where the environment says nothing of a locale.
    assert!(
        environment.len() == 1 || service.lines[1].contains("('LC_CTYPE', 'C.UTF-8')"),
        "{service:#?}"
    );
    assert!(environment.len() <= 2, "{service:#?}");
    assert_eq!(service.lines[2], "/app");
    assert_eq!(service.end, Some(ServiceEnd::Program { code: 0 }));
    assert_eq!(service.how.as_deref(), Some("exit status: 0"));
    assert_eq!(
        machine.cas.log(),
        ["/v1/release/challenge", "/v1/release released"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_s_tree_is_there_read_only_and_its_exit_code_is_reported() {
    let machine = machine().await;
    {
        let mut policies = machine.cas.policies();
        policies.script(
            "cat main.txt; cat ../app/lib/data.txt; echo x 2>/dev/null >main.txt || echo closed; \
             ls /; echo error >&2; exit 7",
        );
        policies.directory = Some("/app".into());
    }
    let service = machine.run().await;
    let lines = service.lines.join(" ");
    assert!(
        lines.starts_with("the programits dataclosed app bin"),
        "{lines}"
    );
    assert!(service.lines.contains(&"error".to_owned()));
    for hidden in ["home", "var", "work"] {
        assert!(!service.lines.contains(&hidden.to_owned()), "{lines}");
    }
    assert_eq!(service.end, Some(ServiceEnd::Program { code: 7 }));
    assert_eq!(service.how.as_deref(), Some("exit status: 7"));
    assert_eq!(service.reason(), "the program ended with exit code 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_found_in_the_tree_and_without_a_path() {
    let machine = machine().await;
    let run = machine.tree().join("run");
    fs::write(&run, "#!/bin/sh\necho from the tree\n").unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    machine.cas.policies().measurement = Some(machine.measure(&machine.workload()));
    for (command, says) in [
        (&["./run"][..], "from the tree"),
        (&["/app/run"], "from the tree"),
        (&["sh", "-c", "echo from the base"], "from the base"),
    ] {
        machine.cas.policies().arguments = command.iter().map(ToString::to_string).collect();
        let service = machine.run().await;
        assert_eq!(service.lines, [says], "{service:#?}");
    }
    // A start in the root directory is one that sessions ask for.
    machine.cas.policies().directory = Some("/".into());
    machine.cas.policies().script("pwd");
    assert_eq!(machine.run().await.lines, ["/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_of_the_tree_has_another_measurement_and_gets_nothing() {
    let machine = machine().await;
    let honest = machine.measure(&machine.workload());
    fs::write(machine.tree().join("lib/data.txt"), "its dat@").unwrap();
    assert_ne!(machine.measure(&machine.workload()), honest);
    // Measured as it is: the CAS does not know it.
    let service = machine.run().await;
    refused(&service, ServiceCheck::Release);
    assert!(
        service.reason().contains("(check `mr-enclave`)"),
        "{service:#?}"
    );
    assert!(!service.ran());

    // Passed off as the honest one: the enclave sees it, and does not even ask.
    let before = machine.cas.log().len();
    let mut spec = machine.spec();
    fs::write(machine.tree().join("lib/data.txt"), "its data").unwrap();
    spec.workload = machine.workload();
    fs::write(machine.tree().join("lib/data.txt"), "its dat@").unwrap();
    let service = machine.run_spec(spec).await;
    refused(&service, ServiceCheck::Tree);
    assert!(
        service.reason().contains("not the measured"),
        "{service:#?}"
    );
    assert_eq!(machine.cas.log().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_changes_between_check_and_start_does_not_run() {
    let machine = machine().await;
    machine.cas.policies().script("cat main.txt");
    machine.cas.policies().tampered = Some(machine.tree().join("main.txt"));
    let service = machine.run().await;
    refused(&service, ServiceCheck::Tree);
    assert!(
        service.reason().contains("changed after it was checked"),
        "{service:#?}"
    );
    assert!(
        machine
            .cas
            .log()
            .contains(&"/v1/release released".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_service_or_resource_has_another_measurement() {
    let machine = machine().await;
    let workload = machine.workload();
    let honest = machine.measure(&workload);
    type Change = fn(&mut ServiceWorkload);
    let changes: [Change; 4] = [
        |w| w.session.push('x'),
        |w| w.service.push('x'),
        |w| w.resources.memory_mib += 1,
        |w| w.cas_key.0.0[0] ^= 1,
    ];
    for change in changes {
        let mut changed = workload.clone();
        change(&mut changed);
        assert_ne!(machine.measure(&changed), honest);
    }
    let mut spec = machine.spec();
    spec.workload.service.push('x');
    let service = machine.run_spec(spec).await;
    refused(&service, ServiceCheck::Release);
    assert!(service.reason().contains("no such service"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_measured_cas_is_told_nothing() {
    let machine = machine().await;
    let impostor = FakeCas::start(&machine.platform).await;
    let mut spec = machine.spec();
    spec.cas.clone_from(&impostor.address);
    let service = machine.run_spec(spec).await;
    refused(&service, ServiceCheck::CasIdentity);
    assert!(service.reason().contains(&machine.cas.key.to_string()));
    assert_eq!(impostor.log(), ["no handshake"]);
    assert!(!service.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_a_cas_is_refused_by_the_check_it_breaks() {
    let machine = machine().await;
    machine.cas.policies().script("echo ran");
    for (lie, check, says) in [
        (Lie::OtherKey, ServiceCheck::Answer, "does not open"),
        (Lie::OtherConnection, ServiceCheck::Answer, "does not open"),
        (Lie::OtherTarget, ServiceCheck::Answer, "does not open"),
        (Lie::Oversized, ServiceCheck::Answer, "longer than"),
        (Lie::Malformed, ServiceCheck::Answer, "not JSON"),
        (Lie::ShortNonce, ServiceCheck::Answer, "nonce"),
        (Lie::StaleNonce, ServiceCheck::Release, "stale challenge"),
        (Lie::NotFound, ServiceCheck::Answer, "status 404"),
    ] {
        machine.cas.policies().lie = lie;
        let service = machine.run().await;
        refused(&service, check);
        assert!(service.reason().contains(says), "{lie:?}: {service:#?}");
        assert!(!service.ran(), "{lie:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_that_does_not_answer_is_waited_for_only_so_long() {
    let mut machine = machine().await;
    let patient = || {
        let mut spec = machine.spec();
        spec.release_timeout = Duration::from_secs(3);
        spec
    };
    let (slow, busy, gone) = (patient(), patient(), patient());
    machine.cas.policies().lie = Lie::Slow;
    let service = machine.run_spec(slow).await;
    refused(&service, ServiceCheck::CasReachable);
    machine.cas.policies().lie = Lie::Unavailable;
    let service = machine.run_spec(busy).await;
    refused(&service, ServiceCheck::CasReachable);
    assert!(service.reason().contains("busy"), "{service:#?}");
    machine.cas.shut_down().await;
    let service = machine.run_spec(gone).await;
    refused(&service, ServiceCheck::CasReachable);
    assert!(
        service.reason().contains("cannot be reached"),
        "{service:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_that_comes_back_in_time_is_asked_again() {
    let machine = machine().await;
    machine.cas.policies().script("echo ran");
    machine.cas.policies().lie = Lie::Unavailable;
    let mut service = machine.launch(machine.spec()).await;
    while !service.log.iter().any(|line| line.contains("asking again")) {
        service.until_next().await;
    }
    machine.cas.policies().lie = Lie::None;
    service.until_line("ran").await;
    service.finish().await;
    assert_eq!(service.end, Some(ServiceEnd::Program { code: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn host_values_reach_the_program_only_where_the_session_says() {
    let machine = machine().await;
    {
        let mut policies = machine.cas.policies();
        policies.script(r#"echo "$1 $2 $ZONE [$NONE] $LD_PRELOAD""#);
        policies
            .arguments
            .extend(["sh", "@@2", "@@1"].map(str::to_owned));
        policies.environment = [
            (r"\@\@ZONE".into(), String::new()),
            (r"\@\@NONE".into(), String::new()),
        ]
        .into();
    }
    let mut spec = machine.spec();
    spec.arguments = vec!["one".into(), "two".into()];
    spec.environment = [
        ("ZONE".into(), "z".into()),
        ("LD_PRELOAD".into(), "/evil".into()),
    ]
    .into();
    let service = machine.run_spec(spec).await;
    assert_eq!(service.lines, ["two one z [] "], "{service:#?}");

    let service = machine.run().await;
    refused(&service, ServiceCheck::Configuration);
    assert!(service.reason().contains("`@@2`"), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_files_have_content_mode_and_place() {
    let machine = machine().await;
    {
        let mut policies = machine.cas.policies();
        policies.script(
            "cat /etc/web/tls.key /etc/hosts /run/secrets/token /tmp/t /opt/a/b/c; \
             stat -L -c '%a %U' /etc/web/tls.key /opt/a/b/c; ls /etc/ssl/certs | wc -l; \
             cat /etc/passwd",
        );
        let file = |path: &str, mode, content: &str| (path.to_owned(), mode, content.to_owned());
        policies.files = vec![
            file("/etc/web/tls.key", 0o600, "key\n"),
            file("/etc/hosts", 0o400, "10.0.0.1 db\n"),
            file("/run/secrets/token", 0o400, "token\n"),
            file("/tmp/t", 0o400, "tmp\n"),
            file("/opt/a/b/c", 0o4755, "deep\n"),
        ];
    }
    let service = machine.run().await;
    assert_eq!(
        service.lines[..7],
        [
            "key",
            "10.0.0.1 db",
            "token",
            "tmp",
            "deep",
            "600 app",
            "700 app"
        ],
        "{service:#?}"
    );
    assert!(service.lines[8].starts_with("app:"), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_collide_or_escape_are_refused() {
    let machine = machine().await;
    let file = |path: &str| (path.to_owned(), 0o400, "canary".to_owned());
    for (files, says) in [
        (vec![file("/app/main.txt")], "closed"),
        (vec![file("/app/new")], "closed"),
        (vec![file("/usr/bin/sh")], "closed"),
        (vec![file("/bin/x")], "closed"),
        (vec![file("/proc/self/mem")], "closed"),
        (vec![file("/dev/null")], "closed"),
        (vec![file("/run/mse/x")], "closed"),
        (vec![file("/etc")], "closed"),
        (vec![file("/etc/a"), file("/etc/a")], "two files"),
        (vec![file("/etc/a"), file("/etc/a/b")], "another one"),
        (vec![file("/etc/../a")], "`..`"),
        (vec![file("relative")], "not absolute"),
        (vec![file("/")], "empty part"),
    ] {
        machine.cas.policies().files.clone_from(&files);
        let service = machine.run().await;
        refused(&service, ServiceCheck::Configuration);
        assert!(service.reason().contains(says), "{files:?}: {service:#?}");
        assert!(!service.reason().contains("canary"));
    }
    machine.cas.policies().files.clear();
    machine.cas.policies().directory = Some("/nowhere".into());
    let service = machine.run().await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused {
            check: ServiceCheck::Machine
        }),
        "{service:#?}"
    );
}

/// Prints the file, and again at each SIGHUP.
const WATCH: &str = "trap 'cat /etc/web/conf /etc/web/other' HUP; cat /etc/web/conf; \
                     while :; do sleep 0.05; done";

fn watched(machine: &ServiceMachine, content: &str) {
    let mut policies = machine.cas.policies();
    policies.script(WATCH);
    policies.renew_in = 1;
    policies.files = vec![
        ("/etc/web/conf".into(), 0o400, format!("{content}\n")),
        ("/etc/web/other".into(), 0o400, format!("with {content}\n")),
    ];
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_replaces_files_and_signals_the_program() {
    let machine = machine().await;
    watched(&machine, "one");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    for content in ["two", "three"] {
        watched(&machine, content);
        service.until_line(&format!("with {content}")).await;
        assert!(service.lines.contains(&content.to_owned()), "{service:#?}");
    }
    // An unchanged configuration is renewed and nobody is disturbed.
    let (lines, renewals) = (service.lines.len(), machine.cas.log().len());
    while machine.cas.log().len() < renewals + 2 {
        service.until_next().await;
    }
    assert_eq!(service.lines.len(), lines, "{service:#?}");
    service.enclave.stop(Duration::from_secs(5));
    service.finish().await;
    assert_eq!(service.reason(), "stopped as asked");
    assert_eq!(service.end, None);
    let log = machine.cas.log();
    let attested = log
        .iter()
        .filter(|line| line.starts_with("/v1/release released"));
    assert_eq!(attested.count(), 1, "{log:?}");
    assert!(
        log.iter()
            .filter(|line| line.contains("renew released"))
            .count()
            >= 4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_handler_outlives_a_replacement() {
    let machine = machine().await;
    watched(&machine, "one");
    machine
        .cas
        .policies()
        .script("while :; do cat /etc/web/conf; sleep 0.05; done");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    machine.cas.policies().files[0].2 = "two\n".into();
    service.until_line("two").await;
    // Neither an ended program nor a half-written file was seen.
    assert!(
        service
            .lines
            .iter()
            .all(|line| line == "one" || line == "two")
    );
    service.enclave.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_ends_the_program() {
    let machine = machine().await;
    watched(&machine, "one");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    machine.cas.policies().is_revoked = true;
    service.finish().await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused {
            check: ServiceCheck::Revocation
        })
    );
    assert_eq!(service.how.as_deref(), Some("exit status: 73"));
    assert!(service.reason().contains("revoked"), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_ticket_is_replaced_by_new_evidence() {
    let machine = machine().await;
    watched(&machine, "one");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    machine.cas.policies().forgets_tickets = true;
    watched(&machine, "two");
    service.until_line("with two").await;
    // An enclave that satisfies the session no more is ended.
    machine.cas.policies().measurement = Some(Measurement(mse_crypto::Digest::of(b"another")));
    service.finish().await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused {
            check: ServiceCheck::Revocation
        })
    );
    assert!(service.reason().contains("the evidence was refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_that_stays_away_ends_the_program_after_the_grace() {
    let mut machine = machine().await;
    watched(&machine, "one");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    machine.cas.shut_down().await;
    service.finish().await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused {
            check: ServiceCheck::Renewal
        })
    );
    assert!(service.reason().contains("lapsed"), "{service:#?}");
    assert!(service.log.iter().any(|line| line.contains("asking again")));
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_at_a_renewal_change_nothing_and_the_honest_answer_is_taken() {
    let machine = machine().await;
    watched(&machine, "one");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("one").await;
    watched(&machine, "two");
    machine.cas.policies().lie = Lie::OtherConnection;
    while !service
        .log
        .iter()
        .any(|line| line.contains("does not open"))
    {
        service.until_next().await;
    }
    assert!(!service.lines.contains(&"two".to_owned()));
    machine.cas.policies().lie = Lie::None;
    // Its ticket was used up by the lie; evidence brings a new one.
    service.until_line("with two").await;
    service.enclave.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_password_is_passed_on() {
    let machine = machine().await;
    machine.cas.policies().one_time_password = Some("123456".into());
    machine.cas.policies().script("echo ran");
    let service = machine.run().await;
    refused(&service, ServiceCheck::Release);
    let mut spec = machine.spec();
    spec.one_time_password = Some("123456".into());
    let service = machine.run_spec(spec).await;
    assert_eq!(service.lines, ["ran"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_released_value_is_in_any_file_or_log_of_the_host() {
    let machine = machine().await;
    let canary = |what: &str| format!("canary-{what}-9f86d081884c7d65");
    {
        let mut policies = machine.cas.policies();
        policies.script("echo started; trap 'echo again' HUP; while :; do sleep 0.05; done");
        policies.arguments.push(canary("argument"));
        policies.environment = [("PASSWORD".to_owned(), canary("environment"))].into();
        policies.files = vec![("/etc/web/key".into(), 0o400, canary("file"))];
        policies.renew_in = 1;
    }
    let mut spec = machine.spec();
    spec.release_timeout = Duration::from_secs(30);
    let mut service = machine.launch(spec).await;
    service.until_line("started").await;
    machine.cas.policies().files[0].2 = canary("renewed");
    service.until_line("again").await;
    let found = files_with(machine.data.path(), b"canary-");
    assert!(found.is_empty(), "{found:?}");
    service.enclave.stop(Duration::from_secs(5));
    service.finish().await;
    let seen = format!("{service:#?}");
    assert!(!seen.contains("canary-"), "{seen}");
    assert!(files_with(machine.data.path(), b"canary-").is_empty());
    // The search finds what there is.
    fs::write(machine.data.path().join("control"), canary("control")).unwrap();
    assert_eq!(files_with(machine.data.path(), b"canary-").len(), 1);
}

fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files_with(&path, needle)),
            // The enclave program itself may hold anything but these.
            kind if kind.is_file() => {
                let content = fs::read(&path).unwrap();
                if content.windows(needle.len()).any(|window| window == needle) {
                    found.push(path.display().to_string());
                }
            }
            _ => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_whose_launcher_lets_go_ends_with_its_program() {
    let machine = machine().await;
    machine
        .cas
        .policies()
        .script("echo started; while :; do sleep 0.05; done");
    let mut service = machine.launch(machine.spec()).await;
    service.until_line("started").await;
    let pid = service.enclave.pid();
    drop(service);
    tokio::time::timeout(Duration::from_secs(20), async {
        while Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the enclave is gone");
}

/// `mse service WHAT` with the options that are measured.
fn mse_service(what: &str, machine: &ServiceMachine) -> Command {
    let mut command = Command::new(program("mse"));
    command
        .env("MSE_CONF_PATH", machine.data.path().join("conf"))
        .env("HOST_CANARY", "host")
        .env_remove("MSE_ENCLAVE")
        .args(["service", what])
        .arg(machine.tree())
        .arg("--enclave")
        .arg(program("mse-enclave"))
        .args(["--cas-key", &machine.cas.key.to_string()])
        .args(["--session", SESSION, "--service", SERVICE])
        .args(["--memory", "256"]);
    command
}

/// `mse service run` with the CAS at `address`.
fn run_at(machine: &ServiceMachine, address: &str) -> Command {
    let mut command = mse_service("run", machine);
    command
        .args(["--cas", address, "--platform"])
        .arg(machine.data.path().join("tee"));
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_measures_what_it_runs() {
    let machine = machine().await;
    let mut command = mse_service("measure", &machine);
    command.arg("--json");
    let measured = output(command).await;
    let found: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let workload = machine.workload();
    assert_eq!(found["workload"], workload.digest().to_string());
    assert_eq!(found["measurement"], machine.measure(&workload).to_string());

    machine
        .cas
        .policies()
        .script(r#"echo "$1 $ZONE $HOST_CANARY"; exit "$CODE""#);
    {
        let mut policies = machine.cas.policies();
        policies.arguments.extend(["sh", "@@1"].map(str::to_owned));
        policies.environment = [
            (r"\@\@ZONE".to_owned(), String::new()),
            ("CODE".to_owned(), "0".to_owned()),
        ]
        .into();
    }
    let mut command = run_at(&machine, &machine.cas.address);
    command.args(["--env", "ZONE=z", "--", "one"]);
    let ran = output(command).await;
    assert_eq!(text(&ran.stdout), "one z \n", "{ran:?}");
    assert!(ran.status.success(), "{ran:?}");
    let shown = text(&ran.stderr);
    assert!(shown.contains("SIMULATED"), "{shown}");
    assert!(
        shown.contains(&machine.measure(&workload).to_string()),
        "{shown}"
    );

    let code = |code: &str| ("CODE".to_owned(), code.to_owned());
    machine.cas.policies().environment.extend([code("7")]);
    let mut command = run_at(&machine, &machine.cas.address);
    command.args(["--json", "--", "one"]);
    let ran = output(command).await;
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    let events: Vec<Value> = text(&ran.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "launched");
    assert!(
        events[0]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("SIMULATED")
    );
    assert!(
        events
            .iter()
            .any(|event| event["of"] == "program" && event["text"] == "one  ")
    );
    assert_eq!(events.last().unwrap()["end"]["code"], 7);
    let error: Value = serde_json::from_slice(&ran.stderr).unwrap();
    assert_eq!(error["error"]["details"]["program_exit_code"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_which_check_failed_and_what_to_do() {
    let machine = machine().await;
    let other = FakeCas::start(&machine.platform).await;
    let misled = output(run_at(&machine, &other.address)).await;
    assert_eq!(misled.status.code(), Some(1), "{misled:?}");
    let shown = text(&misled.stderr);
    assert!(shown.contains("check `cas-identity` failed"), "{shown}");
    assert!(
        shown.contains("hint:") && shown.contains("--cas-key"),
        "{shown}"
    );

    machine.cas.policies().measurement = Some(Measurement(mse_crypto::Digest::of(b"another")));
    let refused = output(run_at(&machine, &machine.cas.address)).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let shown = text(&refused.stderr);
    assert!(
        shown.contains("check `release` failed: the CAS refused"),
        "{shown}"
    );
    assert!(shown.contains("mse service measure"), "{shown}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_that_it_waits_for_the_cas() {
    let mut machine = machine().await;
    let mut command = run_at(&machine, &machine.cas.address);
    command.args(["--wait", "3"]);
    machine.cas.shut_down().await;
    let waited = output(command).await;
    assert_eq!(waited.status.code(), Some(5), "{waited:?}");
    let shown = text(&waited.stderr);
    assert!(
        shown.contains("enclave: WARN no release yet; asking again"),
        "{shown}"
    );
    assert!(shown.contains("check `cas-reachable` failed"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_program_in_order() {
    let machine = machine().await;
    machine
        .cas
        .policies()
        .script("trap 'echo ended; exit 0' TERM; echo started; while :; do sleep 0.05; done");
    let mut child = run_at(&machine, &machine.cas.address)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (seen, status) = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        for line in lines {
            let line = line.unwrap();
            if line == "started" {
                kill(pid, Signal::SIGINT).unwrap();
            }
            seen.push(line);
        }
        (seen, child.wait().unwrap())
    })
    .await
    .unwrap();
    assert_eq!(seen, ["started", "ended"]);
    assert!(status.success(), "{status:?}");
}
