//! Services of a mesh speak with each other, and with hosts outside of it.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::owner::{Owner, free_port, text};

#[test]
fn two_services_speak_mutual_tls_and_survive_a_kill() {
    let owner = Owner::with_cas();
    let (counter, web) = (free_port(), free_port());
    owner.take_example(|text| {
        text.replace("8000", &counter.to_string())
            .replace("8080", &web.to_string())
    });
    for service in ["counter/service.yaml", "web/service.yaml"] {
        owner.done(&["apply", "-f", service, "--no-push"]);
    }
    let applied = owner.json(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    assert_eq!(applied["sessions"].as_array().unwrap().len(), 8);
    owner.json(&["mesh", "up", "--detach", "--wait", "120"]);
    let ca = owner.done(&["secret", "get", "shop/secrets", "mesh-ca"]);
    fs::write(owner.path("ca.pem"), ca).unwrap();
    let visit = || {
        let to = format!("web:{web}:127.0.0.1:{web}");
        let url = format!("https://web:{web}/");
        curl(&[
            "--cacert",
            owner.path("ca.pem").to_str().unwrap(),
            "--connect-to",
            &to,
            &url,
        ])
    };
    let answered = |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while visit().as_deref() != Some(what) {
            assert!(Instant::now() < deadline, "{:?}", visit());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    answered("Welcome, visitor 1\n");
    assert_eq!(visit().as_deref(), Some("Welcome, visitor 2\n"));

    // Nobody else speaks to the counter, in clear or with TLS.
    for url in ["http", "https"] {
        let url = format!("{url}://127.0.0.1:{counter}/");
        assert_eq!(curl(&["--insecure", &url]), None, "{url}");
    }

    let services = owner.json(&["mesh", "ps"])["services"].clone();
    let killed = services
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "counter")
        .unwrap();
    let pid = killed["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    answered("Welcome, visitor 1\n");
}

/// Says who it is to whoever gets in, and gives its keys away: they are its own.
const PEER: &str = r#"
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for kind in ["key", "pem"]:
    try:
        print(open(f"/run/mesh/client.{kind}").read(), flush=True)
    except FileNotFoundError:
        print(f"no client.{kind}", flush=True)
class Peer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["WHO"].encode())
    def log_message(self, format, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Peer).serve_forever()
"#;

const PEER_SERVICE: &str = "
apiVersion: mse/v1
kind: genservice
build: {name: peer, kind: python, to: 'localhost:5000/team/peer:1', pwd: /peer, command: python3 peer.py, copy: [peer.py]}
environment:
  local: [{name: WHO, value: '{{who}}'}, {name: PORT, value: '{{port}}'}]
";

#[test]
fn a_service_of_the_mesh_gets_in_where_it_connects_to_and_nowhere_else() {
    let owner = Owner::with_cas();
    fs::write(owner.path("peer.py"), PEER).unwrap();
    fs::write(owner.path("service.yaml"), PEER_SERVICE).unwrap();
    owner.built();
    let mut mesh = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: localhost, trust: {simulated: this-machine}}]
policy: {namespace: peers}
services:
"
    .to_owned();
    let mut env = String::from("env:\n");
    let peers = [("server", ""), ("friend", "server"), ("third", "friend")];
    let ports = peers.map(|(who, to)| {
        let port = free_port();
        writeln!(
            mesh,
            "- {{name: {who}, image: 'localhost:5000/team/peer:1', ports: [{port}], connections: [{to}]}}"
        )
        .unwrap();
        writeln!(
            env,
            "- {{service: {who}, env: [{{name: who, value: {who}}}, {{name: port, value: {port}}}]}}"
        )
        .unwrap();
        port
    });
    fs::write(owner.path("mesh.yaml"), mesh + &env).unwrap();
    owner.done(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    owner.json(&["mesh", "up", "--detach", "--wait", "120"]);
    let ca = owner.done(&["secret", "get", "peers/secrets", "mesh-ca"]);
    fs::write(owner.path("ca.pem"), ca).unwrap();
    for peer in ["friend", "third"] {
        let keys = owner.logs_of(peer, |logs| logs.contains("END CERTIFICATE"));
        fs::write(owner.path(peer), keys).unwrap();
    }
    // A real connection, with the real key and certificate of a service.
    let visit = |client: &str, server: usize| {
        let (who, port) = (peers[server].0, ports[server]);
        let output = Command::new("curl")
            .current_dir(owner.path("."))
            .args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--cacert", "ca.pem", "--cert", client, "--key", client])
            .args(["--connect-to", &format!("{who}:{port}:127.0.0.1:{port}")])
            .arg(format!("https://{who}:{port}/"))
            .output()
            .expect("`curl` is installed by ./x setup");
        (text(&output.stdout), text(&output.stderr))
    };
    let answered = |client: &str, server: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (answer, why) = visit(client, server);
            if answer == peers[server].0 {
                return;
            }
            assert!(Instant::now() < deadline, "{client}: {why}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    answered("friend", 0);
    answered("third", 1);
    for (client, server) in [("third", 0), ("friend", 1)] {
        let (answer, why) = visit(client, server);
        assert_eq!(answer, "", "{client} got into {}", peers[server].0);
        assert!(why.contains("alert"), "{why}");
    }
    owner.logs_of("server", |logs| {
        logs.contains("it is of `third`, who may not connect to this port")
    });
}

/// What is at a URL; `None` if nobody answers, or with an error.
fn curl(words: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--fail", "--max-time", "10"])
        .args(words);
    let output = command.output().expect("`curl` is installed by ./x setup");
    output.status.success().then(|| text(&output.stdout))
}

/// Speaks plain HTTP with a host that speaks TLS only.
const CALLER: &str = r#"
import os, signal, sys, time
from urllib.request import urlopen
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    try:
        print("outside says", urlopen(f"http://localhost:{os.environ['PORT']}/", timeout=10).status, flush=True)
    except Exception as error:
        print("outside is silent:", error, flush=True)
    time.sleep(0.5)
"#;

/// A CA, and key and certificate of `localhost` by it.
fn authority() -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    (ca.pem(), format!("{}{}", key.serialize_pem(), server.pem()))
}

#[test]
fn a_host_outside_is_verified_by_the_shield() {
    let owner = Owner::with_cas();
    let service = PEER_SERVICE.replace("{name: WHO, value: '{{who}}'}, ", "");
    fs::write(owner.path("peer.py"), CALLER).unwrap();
    fs::write(owner.path("service.yaml"), service).unwrap();
    owner.built();
    let port = free_port();
    let (ca, server) = authority();
    fs::write(owner.path("server.pem"), server).unwrap();
    let mesh = format!(
        "
apiVersion: mse/v1
kind: mesh
cas: [{{cas_url: localhost, trust: {{simulated: this-machine}}}}]
policy: {{namespace: outside}}
env: [{{service: global, env: [{{name: port, value: {port}}}]}}]
services:
- name: caller
  image: 'localhost:5000/team/peer:1'
  connections: [{{host: localhost, ports: [{port}], ca: ca.pem}}]
"
    );
    fs::write(owner.path("mesh.yaml"), mesh).unwrap();
    let mut outside = Command::new("openssl")
        .current_dir(owner.path("."))
        .args([
            "s_server",
            "-www",
            "-quiet",
            "-cert",
            "server.pem",
            "-key",
            "server.pem",
        ])
        .args(["-accept", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Somebody else's CA first: the host proves nothing by it.
    for (ca, expected, never) in [
        (authority().0, "outside is silent", "outside says"),
        (ca, "outside says 200", "no such line"),
    ] {
        fs::write(owner.path("ca.pem"), ca).unwrap();
        owner.done(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
        owner.json(&["mesh", "up", "--detach", "--wait", "120"]);
        let logs = owner.logs_of("caller", |logs| logs.contains(expected));
        assert!(!logs.contains(never), "{logs}");
        owner.done(&["mesh", "down"]);
    }
    outside.kill().unwrap();
    outside.wait().unwrap();
    // What is no certificate does not become part of a policy.
    fs::write(owner.path("ca.pem"), "hello").unwrap();
    let refused = owner.ran(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("there is no certificate in it"));
}
