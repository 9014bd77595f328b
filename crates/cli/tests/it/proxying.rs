//! `mse proxy` and `mse test`: a local port that verifies before it forwards.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::support::{FakePlatform, User};

/// A running `mse proxy`.
struct Proxy {
    child: Child,
    url: String,
    /// What it said when it began.
    started: Value,
}

impl Proxy {
    fn start(user: &User, words: &[&str]) -> Self {
        let words = [&["proxy", "--json"], words].concat();
        let template = user.command(&words);
        let mut command = Command::new(template.get_program());
        command
            .args(template.get_args())
            .current_dir(user.path(""))
            .env_clear();
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(started["simulated"], true);
        Self {
            child,
            url: started["url"].as_str().unwrap().to_owned(),
            started,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn deployed() -> (FakePlatform, User, Value) {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let deployed = user.deploy();
    (platform, user, deployed)
}

/// What answers now may be in order; what its secrets went to was never looked at.
#[test]
fn an_app_that_was_deployed_unverified_is_said_to_be() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let deployed = user.mse(&["deploy", "--no-verify"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let proxy = Proxy::start(&user, &["hello"]);
    let warning = proxy.started["warnings"][0].as_str().unwrap();
    assert!(warning.contains("`--no-verify`"), "{warning}");

    let (_platform, user, _) = self::deployed();
    let proxy = Proxy::start(&user, &["hello"]);
    assert!(proxy.started.get("warnings").is_none(), "{}", proxy.started);
}

/// Method, URL, headers, body.
type Ask<'a> = (Method, String, &'a [(&'a str, &'a str)], &'a [u8]);

/// Sends requests and gives status and body of each answer.
fn ask(requests: &[Ask<'_>]) -> Vec<(StatusCode, Vec<u8>)> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .build()
            .unwrap();
        let mut answers = Vec::new();
        for (method, url, headers, body) in requests {
            let mut request = client.request(method.clone(), url).body(body.to_vec());
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.unwrap();
            let status = response.status();
            answers.push((status, response.bytes().await.unwrap().to_vec()));
        }
        answers
    })
}

#[test]
fn requests_and_bodies_pass_and_name_the_app() {
    let (_platform, user, deployed) = deployed();
    let proxy = Proxy::start(&user, &["hello"]);
    let large = vec![7; 3_000_000];
    let answers = ask(&[
        (Method::GET, proxy.url.clone(), &[], b""),
        (Method::POST, format!("{}/echo", proxy.url), &[], &large),
        (Method::GET, format!("{}/host", proxy.url), &[], b""),
    ]);
    assert_eq!(answers[0], (StatusCode::OK, b"Hello world".to_vec()));
    assert_eq!(answers[1], (StatusCode::OK, large));
    let host = deployed["config_domain_name"].as_str().unwrap();
    assert_eq!(answers[2], (StatusCode::OK, host.as_bytes().to_vec()));
}

#[test]
fn other_names_and_upgrades_are_refused() {
    let (_platform, user, _) = deployed();
    let proxy = Proxy::start(&user, &["hello", "--listen", "127.0.0.1:0"]);
    let answers = ask(&[
        (
            Method::GET,
            proxy.url.clone(),
            &[("host", "evil.example.com")],
            b"",
        ),
        (
            Method::GET,
            proxy.url.clone(),
            &[("upgrade", "websocket"), ("connection", "upgrade")],
            b"",
        ),
    ]);
    assert_eq!(answers[0].0, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(answers[1].0, StatusCode::NOT_IMPLEMENTED);
}

#[test]
fn an_app_that_is_gone_is_told_with_502() {
    let (_platform, user, deployed) = deployed();
    let proxy = Proxy::start(&user, &["hello"]);
    let id = deployed["id"].as_str().unwrap();
    assert_eq!(user.mse(&["stop", id, "--keep-context"]).code, 0);
    let answers = ask(&[(Method::GET, proxy.url.clone(), &[], b"")]);
    assert_eq!(answers[0].0, StatusCode::BAD_GATEWAY);
    let error: Value = serde_json::from_slice(&answers[0].1).unwrap();
    assert_eq!(error["error"]["code"], "platform");
}

#[test]
fn an_app_that_is_not_what_it_was_gets_nothing() {
    let (_platform, user, deployed) = deployed();
    // Whoever has another idea of the enclave program must be refused at once.
    user.write("mse-enclave", "another program");
    user.mse(&["proxy", "hello"]).failed_with(1, "mr-enclave");
    user.mse(&["test", "hello"]).failed_with(1, "mr-enclave");
    let url = deployed["url"].as_str().unwrap();
    let domain = url.strip_prefix("https://").unwrap();
    let words = ["proxy", domain, "--fingerprint", &"11".repeat(32)];
    user.mse(&words).failed_with(1, "mr-enclave");
}

#[test]
fn a_fingerprint_or_an_exported_context_serve_others() {
    let (platform, user, deployed) = deployed();
    let url = deployed["url"].as_str().unwrap();
    let domain = url.strip_prefix("https://").unwrap();
    let fingerprint = deployed["fingerprint"].as_str().unwrap();
    let proxy = Proxy::start(&user, &[domain, "--fingerprint", fingerprint]);
    assert_eq!(
        ask(&[(Method::GET, proxy.url.clone(), &[], b"")])[0].0,
        StatusCode::OK
    );

    let stranger = User::new();
    stranger.trust(&platform);
    let id = deployed["id"].as_str().unwrap();
    let file = stranger.path("context.mse");
    let words = [
        "context",
        "--export",
        id,
        "--output",
        file.to_str().unwrap(),
    ];
    assert_eq!(user.mse(&words).code, 0);
    let domain = deployed["domain_name"].as_str().unwrap();
    let proxy = Proxy::start(&stranger, &[domain, "--context", "context.mse"]);
    assert_eq!(
        ask(&[(Method::GET, proxy.url.clone(), &[], b"")])[0].0,
        StatusCode::OK
    );
}

#[test]
fn nothing_to_compare_with_and_open_ports_are_refused() {
    let (_platform, user, _) = deployed();
    let output = user.mse(&["proxy", "app.example.com"]);
    output.failed_with(6, "--fingerprint HEX");
    let output = user.mse(&["proxy", "hello", "--listen", "0.0.0.0:0"]);
    output.failed_with(2, "from other machines");
}

/// §10.2 (13): tests that fail are a failure.
#[test]
fn defect_13_the_tests_decide_the_exit_code() {
    let (_platform, user, _) = deployed();
    let id = user.contexts()[0].clone();
    let file = id.join("context.mse");
    let context = std::fs::read_to_string(&file).unwrap();
    let with = |command: &str| {
        std::fs::write(
            &file,
            context.replace("tests_cmd = \"\"", &format!("tests_cmd = {command:?}")),
        )
        .unwrap();
        user.mse(&["test", "hello", "--json"])
    };
    // A program of the machine's own, so that nothing needs to be installed.
    let passing = r#"python3 -c "import os, urllib.request as r; o = r.build_opener(r.ProxyHandler({})); assert o.open(os.environ['TEST_REMOTE_URL']).read() == b'Hello world'; assert b'CERT' in open(os.environ['TEST_VERIFIED_CERTIFICATE'], 'rb').read()""#;
    let output = with(passing);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json()["tests"], "passed");
    let output = with("python3 -c 'raise SystemExit(3)'");
    assert_eq!(output.code, 8, "{output:?}");
    assert_eq!(with("").json()["tests"], "none");
    with("no-such-program-anywhere").failed_with(3, "tests_requirements");
    with("'unclosed").failed_with(3, "tests_cmd");
}
