//! Releases: the real CAS, the real enclave and programs of all kinds, over real sockets.

use std::fs;
use std::time::SystemTime;

use mse_api::cas::{
    BACKUP, POSITION, PositionView, Rotation, SECRETS_ROTATE, SESSION_REVOKE, SessionView,
    StoredSession,
};
use mse_audit::entry::Event;
use mse_crypto::Zeroizing;
use mse_crypto::totp::{SharedSecret, TimeStep};
use mse_ratls::cas::client::CasError;
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::Person;
use mse_tests::releases::ReleaseMachine;
use mse_workload::launch::{AccessToken, CasStart, ServiceCheck, ServiceEnd};

/// The program of the seed's example: it needs both, and keeps the password to itself.
const PROGRAM: &str = r#"
import os
user, password = os.environ["API_USER"], os.environ["API_PASSWORD"]
assert len(password) == 10
print("user", user)
# For the test alone: not the password, but what tells it from others.
print("mirrored", password[::-1].encode().hex())
"#;

fn session(name: &str, attestation: &str, rest: &str) -> String {
    format!(
        "name: {name}
version: '0.3.12'
salt: {salt}
services:
- name: api
  command: /usr/bin/python3 main.py
  pwd: /app
  attestation: {attestation}
{rest}",
        salt = "0a".repeat(16),
    )
}

const ENVIRONMENT: &str = "  environment:
    API_USER: me
    API_PASSWORD: $$MSE::password$$
secrets:
- {name: password, kind: ascii, size: 10}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_program_gets_a_password_that_nobody_sees() {
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", PROGRAM)]);
    let admits = machine.admits(&tree, "shop", "api");
    let text = session("shop", &admits, ENVIRONMENT);
    let stored: StoredSession = machine.upload(&text).await.unwrap();

    let service = machine.run(&tree, "shop", "api").await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Program { code: 0 }),
        "{service:#?}"
    );
    assert_eq!(service.lines[0], "user me");
    let mirrored = hex::decode(service.lines[1].strip_prefix("mirrored ").unwrap()).unwrap();
    let password: Vec<u8> = mirrored.iter().rev().copied().collect();

    // Twice the same: it is generated once. And it is in no file of the host: neither as it is,
    // nor in hex.
    let again = machine.run(&tree, "shop", "api").await;
    assert_eq!(again.lines, service.lines);
    let in_hex = hex::encode(&password);
    let seen = machine.files_with(&[&password, in_hex.as_bytes()]);
    assert_eq!(seen, Vec::<std::path::PathBuf>::new());
    let view: SessionView = machine.get("/v1/session?name=shop").await.unwrap();
    assert_eq!(view.hash, stored.hash);
    assert!(!view.text.contains(std::str::from_utf8(&password).unwrap()));

    // One byte of the program is another: nothing, and the log says so.
    fs::write(tree.join("main.py"), PROGRAM.replace("10", "11")).unwrap();
    let changed = machine.run(&tree, "shop", "api").await;
    let check = ServiceCheck::Release;
    assert_eq!(
        changed.end,
        Some(ServiceEnd::Refused { check }),
        "{changed:#?}"
    );
    assert!(changed.lines.is_empty());
    let events: Vec<_> = machine.audit().await;
    let attested = |event: &Event| matches!(event, Event::ServiceAttested { .. });
    let refused = |event: &Event| matches!(event, Event::ServiceRefused { check, service } if check.as_str() == "program" && service.as_str() == "api");
    assert_eq!(
        events.iter().filter(|entry| attested(&entry.event)).count(),
        2
    );
    assert_eq!(
        events.iter().filter(|entry| refused(&entry.event)).count(),
        1
    );
    let log = machine.cas.stop().await;
    let password = std::str::from_utf8(&password).unwrap();
    assert!(!log.iter().any(|line| line.contains(password)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_is_refused_unless_the_session_accepts_it() {
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", PROGRAM)]);
    let admits = machine
        .admits(&tree, "shop", "api")
        .replace(", simulated: true", "");
    machine
        .upload(&session("shop", &admits, ENVIRONMENT))
        .await
        .unwrap();
    let service = machine.run(&tree, "shop", "api").await;
    let check = ServiceCheck::Release;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused { check }),
        "{service:#?}"
    );
    // Another session and another service of the same program are another measurement.
    for (session, service) in [("other", "api"), ("shop", "other")] {
        let service = machine.run(&tree, session, service).await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Refused { check }),
            "{service:#?}"
        );
        assert!(
            service.reason().contains("there is no service"),
            "{service:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_gets_no_session_in_and_nothing_out() {
    let machine = ReleaseMachine::new().await;
    let stranger = Person::new();
    let text = session("shop", "{mrenclave: 'aa'}", "");
    let refused = machine.upload_as(&text, &stranger).await.unwrap_err();
    assert!(
        matches!(&refused, CasError::Refused { code, faults, .. } if code == "invalid" && !faults.is_empty())
    );
    let good = text.replace("'aa'", &format!("'{}'", "aa".repeat(32)));
    let refused = machine.upload_as(&good, &stranger).await.unwrap_err();
    assert!(
        matches!(&refused, CasError::Refused { code, .. } if code == "forbidden"),
        "{refused}"
    );
    machine.upload(&good).await.unwrap();
    let mut client = machine.cas.connect(Some(&stranger)).await.unwrap();
    for path in [
        "/v1/session?name=shop",
        "/v1/secrets?session=shop",
        "/v1/audit/lines",
        "/v1/session?name=none",
    ] {
        let refused = client.get::<serde_json::Value>(path).await.unwrap_err();
        assert!(
            matches!(&refused, CasError::Refused { status: 403, .. }),
            "{path}: {refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_secrets_reach_running_services_and_a_revocation_ends_them() {
    const SCRIPT: &str = r#"
import signal, sys, time
def show(*_):
    print("password", open("/run/secrets/password").read(), flush=True)
signal.signal(signal.SIGHUP, show)
show()
while True:
    time.sleep(1)
"#;
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", SCRIPT)]);
    // Certificates that live seconds only, so that the service asks again soon.
    let rest = "  image_name: image
images:
- name: image
  injection_files:
  - {path: /run/secrets/password, content: '$$MSE::password$$ $$MSE::password:previous$$'}
  - {path: /run/secrets/cert, content: '$$MSE::web$$'}
secrets:
- {name: password, kind: ascii, size: 10}
- {name: web, kind: x509, common_name: web, valid_for: 3 s}
";
    let admits = machine.admits(&tree, "shop", "api");
    let stored = machine
        .upload(&session("shop", &admits, rest))
        .await
        .unwrap();
    let mut service = machine.launch(machine.spec(&tree, "shop", "api")).await;
    while service.lines.is_empty() {
        service.until_next().await;
    }
    let first = service.lines[0].clone();
    let rotation = Rotation {
        session: "shop".into(),
        secret: "password".into(),
        grace: 600,
    };
    machine.post(SECRETS_ROTATE, &rotation).await.unwrap();
    while service.lines.last() == Some(&first) {
        service.until_next().await;
    }
    let old = first.strip_prefix("password ").unwrap();
    let old = &old[..10];
    let new = service.lines.last().unwrap();
    assert!(
        new.ends_with(&format!(" {old}")) && !new.contains(&format!("password {old}")),
        "{new}"
    );

    let revocation = mse_api::cas::Revocation {
        name: "shop".into(),
        hash: stored.hash,
        signatures: Vec::new(),
    };
    machine.post(SESSION_REVOKE, &revocation).await.unwrap();
    service.finish().await;
    let check = ServiceCheck::Revocation;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused { check }),
        "{service:#?}"
    );
    let later = machine.run(&tree, "shop", "api").await;
    assert!(later.reason().contains("was revoked"), "{later:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_password_is_for_one_start() {
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", "print('ran')")]);
    let admits = machine.admits(&tree, "shop", "api");
    let rest = "  one_time_password_shared_secret: GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n";
    machine
        .upload(&session("shop", &admits, rest))
        .await
        .unwrap();
    let secret = Zeroizing::new(b"12345678901234567890".to_vec());
    let shared = SharedSecret::from_bytes(secret).unwrap();
    let password = shared.password(TimeStep::at(SystemTime::now())).to_string();
    let start = |password: Option<&str>| {
        let mut spec = machine.spec(&tree, "shop", "api");
        spec.one_time_password = password.map(str::to_owned);
        async {
            let mut service = machine.launch(spec).await;
            service.finish().await;
            service
        }
    };
    let check = ServiceCheck::Release;
    for wrong in [None, Some("000000"), Some("999999")] {
        let service = start(wrong).await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Refused { check }),
            "{service:#?}"
        );
    }
    let service = start(Some(&password)).await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Program { code: 0 }),
        "{service:#?}"
    );
    let service = start(Some(&password)).await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Refused { check }),
        "{service:#?}"
    );
    assert!(service.reason().contains("used already"), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_cas_goes_on_and_one_that_was_set_back_is_found_out() {
    let mut machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", PROGRAM)]);
    let admits = machine.admits(&tree, "shop", "api");
    machine
        .upload(&session("shop", &admits, ENVIRONMENT))
        .await
        .unwrap();
    let first = machine.run(&tree, "shop", "api").await;
    let old = machine.machine.folder.path().join("old");
    machine.cas.stop().await;
    copy(&machine.machine.data(), &old);

    machine.cas = machine.machine.open().await;
    assert_eq!(machine.run(&tree, "shop", "api").await.lines, first.lines);
    let seen: PositionView = machine.get(POSITION).await.unwrap();
    machine.cas.stop().await;

    // The whole folder of before, the witness with it: the CAS itself cannot know. A client can.
    fs::remove_dir_all(machine.machine.data()).unwrap();
    copy(&old, &machine.machine.data());
    machine.cas = machine.machine.open().await;
    let asked = format!("{POSITION}?seen={}:{}", seen.sequence, seen.head);
    let refused = machine.get::<PositionView>(&asked).await.unwrap_err();
    assert!(
        matches!(&refused, CasError::Refused { code, .. } if code == "rolled-back"),
        "{refused}"
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_kept_and_a_stale_copy_of_it_is_refused() {
    const COUNTER: &str = r#"
import pathlib
file = pathlib.Path("/data/counter")
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
print("count", count)
"#;
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", COUNTER)]);
    let rest = "  image_name: image
images:
- name: image
  volumes:
  - {name: data, path: /data}
volumes:
- {name: data}
";
    let admits = machine.admits(&tree, "shop", "api");
    machine
        .upload(&session("shop", &admits, rest))
        .await
        .unwrap();
    let folder = machine.machine.folder.path().join("volume");
    fs::create_dir(&folder).unwrap();
    let run = || async {
        let mut spec = machine.spec(&tree, "shop", "api");
        spec.volumes = [("data".to_owned(), folder.clone())].into();
        let mut service = machine.launch(spec).await;
        service.finish().await;
        service
    };
    assert_eq!(run().await.lines, ["count 1"]);
    let old = machine.machine.folder.path().join("old");
    copy(&folder, &old);
    assert_eq!(run().await.lines, ["count 2"]);
    fs::remove_dir_all(&folder).unwrap();
    copy(&old, &folder);
    let stale = run().await;
    assert!(stale.lines.is_empty(), "{stale:#?}");
    assert!(
        matches!(stale.end, Some(ServiceEnd::Refused { .. })),
        "{stale:#?}"
    );
    let moved = |event: &Event| matches!(event, Event::VolumeRootUpdated { .. });
    let events = machine.audit().await;
    assert!(events.iter().filter(|entry| moved(&entry.event)).count() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_proven_and_never_shown() {
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", "print('ran')")]);
    let admits = machine.admits(&tree, "shop", "api");
    let rest = "security: {service_access_token: canary-access-token}\n";
    machine
        .upload(&session("shop", &admits, rest))
        .await
        .unwrap();
    let start = |token: Option<&str>| {
        let mut spec = machine.spec(&tree, "shop", "api");
        spec.access_token = token.map(|token| AccessToken(Zeroizing::new(token.to_owned())));
        async {
            let mut service = machine.launch(spec).await;
            service.finish().await;
            service
        }
    };
    let check = ServiceCheck::Release;
    for wrong in [None, Some(""), Some("canary-access-tokeN")] {
        let service = start(wrong).await;
        let end = ServiceEnd::Refused { check };
        assert_eq!(service.end, Some(end), "{service:#?}");
    }
    let service = start(Some("canary-access-token")).await;
    assert_eq!(
        service.end,
        Some(ServiceEnd::Program { code: 0 }),
        "{service:#?}"
    );
    assert!(machine.files_with(&[b"canary-access-token"]).is_empty());
}

/// Takes requests with one of the passwords in its file, which it reads again when it is told to.
const SERVER: &str = r#"
import http.server, os, signal
accepted = set()
def read(*_):
    global accepted
    accepted = set(open("/run/secrets/accepted").read().split())
    print("accepts", len(accepted), flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers["Password"] in accepted else 403)
        self.end_headers()
    def log_message(self, *_):
        pass
read()
signal.signal(signal.SIGHUP, read)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Asks all the time, with the password that its file has at that moment.
const CLIENT: &str = r#"
import http.client, os, time
shown, count = None, 0
while True:
    password = open("/run/secrets/shown").read()
    if password != shown:
        shown = password
        print("shows another", flush=True)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=5)
        connection.request("GET", "/", headers={"Password": password})
        status = connection.getresponse().status
    except ConnectionRefusedError:
        if count:
            raise
        time.sleep(0.05)
        continue
    count += 1
    if status != 200:
        print("FAILED", status, flush=True)
    time.sleep(0.005)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_rotated_under_load_and_no_request_fails() {
    let machine = ReleaseMachine::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    // A certificate that lives for seconds has the services renew their release that often.
    let session = |name: &str, admits: &str, file: &str, secret: &str| {
        let rest = format!(
            "  environment: {{PORT: '{port}'}}
  image_name: image
images:
- name: image
  injection_files:
  - {file}
  - {{path: /run/secrets/cert, content: '$$MSE::cert$$'}}
secrets:
- {secret}
- {{name: cert, kind: x509, common_name: c, valid_for: 3 s}}
"
        );
        session(name, admits, &rest)
    };
    let server = machine.tree("server", &[("main.py", SERVER)]);
    let client = machine.tree("client", &[("main.py", CLIENT)]);
    let accepted =
        "{path: /run/secrets/accepted, content: '$$MSE::p:hex$$ $$MSE::p:previous:hex$$'}";
    let text = session(
        "server",
        &machine.admits(&server, "server", "api"),
        accepted,
        "{name: p, kind: binary, size: 16, export: {session: client}}",
    );
    machine.upload(&text).await.unwrap();
    let text = session(
        "client",
        &machine.admits(&client, "client", "api"),
        "{path: /run/secrets/shown, content: '$$MSE::p:presented:hex$$'}",
        "{name: p, import: {session: server, secret: p}}",
    );
    machine.upload(&text).await.unwrap();
    let mut server = machine.launch(machine.spec(&server, "server", "api")).await;
    server.until_line("accepts 1").await;
    let mut client = machine.launch(machine.spec(&client, "client", "api")).await;
    client.until_line("shows another").await;
    let server = tokio::spawn(async move {
        server.finish().await;
        server
    });
    for turn in 1..=2 {
        let rotation = Rotation {
            session: "server".into(),
            secret: "p".into(),
            grace: 16,
        };
        machine.post(SECRETS_ROTATE, &rotation).await.unwrap();
        let shown = |client: &mse_tests::services::Service| {
            let lines = client.lines.iter();
            lines.filter(|line| *line == "shows another").count()
        };
        while shown(&client) <= turn {
            client.until_next().await;
        }
        // The grace goes on; what follows must not fail either.
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        assert!(!server.is_finished());
    }
    client.enclave.stop(std::time::Duration::from_secs(2));
    client.finish().await;
    assert!(
        client.lines.iter().all(|line| line == "shows another"),
        "{client:#?}"
    );
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_ends_with_the_terms_that_it_was_given_on() {
    const LASTS: &str = "import time\nprint('runs', flush=True)\ntime.sleep(600)";
    let machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", LASTS)]);
    let admits = machine.admits(&tree, "shop", "api");
    // A certificate that lives for seconds has the service ask again soon.
    let rest = |token: &str| {
        format!(
            "security: {{service_access_token: {token}}}
secrets:
- {{name: cert, kind: x509, common_name: c, valid_for: 3 s}}
"
        )
    };
    let stored = machine
        .upload(&session("shop", &admits, &rest("first-token")))
        .await
        .unwrap();
    let mut spec = machine.spec(&tree, "shop", "api");
    spec.access_token = Some(AccessToken(Zeroizing::new("first-token".into())));
    let mut service = machine.launch(spec).await;
    service.until_line("runs").await;
    // Who holds a ticket has to show the new token, and has it not.
    let text = session("shop", &admits, &rest("second-token"));
    let text = format!("predecessor: {}\n{text}", stored.hash);
    machine.upload(&text).await.unwrap();
    service.finish().await;
    let check = ServiceCheck::Revocation;
    let end = ServiceEnd::Refused { check };
    assert_eq!(service.end, Some(end), "{service:#?}");
    assert!(service.reason().contains("access token"), "{service:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_only_where_nothing_newer_was_seen() {
    let mut machine = ReleaseMachine::new().await;
    let tree = machine.tree("program", &[("main.py", PROGRAM)]);
    let admits = machine.admits(&tree, "shop", "api");
    let text = session("shop", &admits, ENVIRONMENT);
    machine.upload(&text).await.unwrap();
    let first = machine.run(&tree, "shop", "api").await;
    let backup = async |machine: &ReleaseMachine| {
        let made = machine.post(BACKUP, &serde_json::json!({})).await.unwrap();
        let file = made["file"].as_str().unwrap();
        machine.machine.data().join("backups").join(file)
    };
    let old = backup(&machine).await;
    let later = session("later", &admits, "");
    machine.upload(&later).await.unwrap();
    machine.cas.stop().await;
    let data = machine.machine.data();
    let lose_store = || {
        for file in fs::read_dir(&data).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_string_lossy().starts_with("store.db") {
                fs::remove_file(file.path()).unwrap();
            }
        }
    };
    let restoring = |as_found| CasSpec {
        restore: Some(old.clone()),
        as_found,
        ..machine.machine.spec(CasStart::Open)
    };
    // The store is there: nothing is overwritten. It is gone: the witness saw more.
    let there = machine.machine.launch(restoring(false)).await;
    assert!(there.is_err());
    lose_store();
    let refused = machine.machine.launch(restoring(false)).await.err();
    assert!(refused.unwrap().contains("ROLLED BACK"));
    let cas = machine.machine.launch(restoring(true)).await.unwrap();
    machine.cas = cas;
    assert_eq!(machine.run(&tree, "shop", "api").await.lines, first.lines);
    assert!(
        machine
            .get::<SessionView>("/v1/session?name=later")
            .await
            .is_err()
    );
    let events = machine.audit().await;
    let told = |event: &Event| matches!(event, Event::BackupRestored { .. });
    assert!(events.iter().any(|entry| told(&entry.event)));
    let started = |event: &Event| matches!(event, Event::CasStarted { .. });
    assert!(events.iter().any(|entry| started(&entry.event)));
}
