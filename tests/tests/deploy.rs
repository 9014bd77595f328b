//! The main job, end to end: deploy, verify, use — over the real programs and sockets.

use std::fs;
use std::process::Command;

use mse_tests::platform::{Person, Server, path};
use serde_json::Value;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("`{field}` in {value}"))
}

#[allow(clippy::too_many_lines)] // One story, told in order.
/// Must show 1 and 5: origin `self`, by curl with the verified certificate and by a user.
#[test]
fn an_owner_deploys_and_a_user_verifies_without_a_key() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let workspace = owner.dir().join("workspace");
    let deployed = owner.deploy(&manifest, &["--workspace", path(&workspace)]);
    assert_eq!(text(&deployed, "tee"), "simulated");
    let (id, url) = (text(&deployed, "id"), text(&deployed, "url"));

    let certificate = workspace.join("ratls.pem");
    let answer = curl(&["--cacert", path(&certificate), url]);
    assert_eq!(answer, "Hello world");

    let list = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(list["apps"][0]["status"], "running");
    let status = owner.run(&["status", id, "--json"]).succeeded().json();
    let confinement = status["confinement"].as_array().unwrap();
    let applied = |name: &str| {
        confinement
            .iter()
            .any(|entry| entry["name"] == name && entry["applied"] == true)
    };
    assert!(
        applied("seccomp") && applied("user namespace"),
        "{confinement:?}"
    );

    // A user: an exported context without a key, and the source.
    let context = owner.dir().join("context.mse");
    owner
        .run(&["context", "--export", id, "--output", path(&context)])
        .succeeded();
    let user = Person::trusting(&server);
    let domain = url.trim_start_matches("https://").trim_end_matches('/');
    let code = manifest.with_file_name("mse_src");
    let verify = |code: &std::path::Path| {
        user.run(&[
            "verify",
            domain,
            "--context",
            path(&context),
            "--code",
            path(code),
            "--json",
        ])
    };
    let verdict = verify(&code).succeeded().json();
    assert_eq!(text(&verdict, "tee"), "simulated");

    let changed = user.dir().join("changed");
    mse_tests::platform::copy_tree(&code, &changed);
    let app = changed.join("app.py");
    fs::write(
        &app,
        fs::read_to_string(&app).unwrap().replace("Hello", "hello"),
    )
    .unwrap();
    verify(&changed).ended_with(1);

    // By fingerprint, right and wrong.
    let fingerprint = text(&deployed, "fingerprint");
    let pccs = format!("{}/pccs", server.url());
    user.run(&[
        "verify",
        domain,
        "--pccs",
        &pccs,
        "--fingerprint",
        fingerprint,
    ])
    .succeeded();
    user.run(&[
        "verify",
        domain,
        "--pccs",
        &pccs,
        "--fingerprint",
        &"0".repeat(64),
    ])
    .ended_with(1);
    // With neither, the verdict says that the code was not compared.
    user.run(&["verify", domain, "--pccs", &pccs])
        .succeeded()
        .saying("not compared");
    // Somebody who does not trust the simulated platform accepts nothing.
    Person::new()
        .run(&[
            "verify",
            domain,
            "--context",
            path(&context),
            "--code",
            path(&code),
        ])
        .ended_with(1)
        .saying("simulated");

    let logs = owner.run(&["logs", id]).succeeded();
    assert!(!logs.stdout.is_empty());
    owner.run(&["stop", id]).succeeded();
    let list = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(list["apps"], serde_json::json!([]));
    user.run(&[
        "verify",
        domain,
        "--context",
        path(&context),
        "--code",
        path(&code),
    ])
    .ended_with(5)
    .saying("running");
}

#[test]
fn a_redeployment_keeps_the_domain_and_changes_the_id() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let first = owner.deploy(&manifest, &[]);
    let second = owner.deploy(&manifest, &[]);
    assert_ne!(text(&first, "id"), text(&second, "id"));
    assert_eq!(text(&first, "domain_name"), text(&second, "domain_name"));
    let operator = owner.deploy(&manifest, &["--untrusted-ssl"]);
    assert_ne!(text(&first, "domain_name"), text(&operator, "domain_name"));
}

/// Must show 5: origin `operator`. The gateway terminates TLS with the operator's certificate;
/// the enclave is verified and provisioned at its own name all the same.
#[test]
fn untrusted_ssl_serves_with_the_operators_certificate() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    owner
        .run(&["deploy", "-y", "--untrusted-ssl", "--path", path(&manifest)])
        .succeeded()
        .saying("operator");
    let list = owner.run(&["list", "--json"]).succeeded().json();
    let deployed = &list["apps"][0];
    let ca = server.data().join("operator-ca.pem");
    assert_eq!(
        curl(&["--cacert", path(&ca), text(deployed, "url")]),
        "Hello world"
    );
}

/// Must show 5: origin `owner`, with a chain of the owner's own CA.
#[test]
fn an_owners_certificate_serves_its_domain() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let ca = owner_certificate(manifest.parent().unwrap(), "app.example.test");
    let mut toml = fs::read_to_string(&manifest).unwrap();
    toml.push_str(
        "\n[cloud.ssl]\ndomain_name = \"app.example.test\"\nprivate_key = \"key.pem\"\ncertificate = \"cert.pem\"\n",
    );
    fs::write(&manifest, &toml).unwrap();
    let deployed = owner.deploy(&manifest, &[]);
    assert_eq!(text(&deployed, "domain_name"), "app.example.test");
    let port = server.ready.gateway.rsplit(':').next().unwrap();
    let resolve = format!("app.example.test:{port}:127.0.0.1");
    let answer = curl(&[
        "--cacert",
        path(&ca),
        "--resolve",
        &resolve,
        &format!("https://app.example.test:{port}/"),
    ]);
    assert_eq!(answer, "Hello world");
    let canary = fs::read_to_string(manifest.with_file_name("key.pem")).unwrap();
    let canary = canary.lines().nth(1).unwrap();
    assert_eq!(
        mse_tests::rest::files_with(&server.data(), canary.as_bytes()),
        Vec::<std::path::PathBuf>::new()
    );

    // A key that is not the certificate's is found before anything is sent.
    let other = rcgen::KeyPair::generate().unwrap();
    fs::write(manifest.with_file_name("key.pem"), other.serialize_pem()).unwrap();
    owner
        .run(&["deploy", "-y", "--path", path(&manifest)])
        .ended_with(3)
        .saying("private_key");
}

/// Writes `cert.pem` (leaf and CA) and `key.pem` for `domain`; gives the CA's file.
fn owner_certificate(dir: &std::path::Path, domain: &str) -> std::path::PathBuf {
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "Owner's test CA");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let mut leaf = rcgen::CertificateParams::new([domain.to_owned()]).unwrap();
    leaf.not_before = (std::time::SystemTime::now() - std::time::Duration::from_secs(60)).into();
    leaf.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(86400)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(
        dir.join("cert.pem"),
        certificate.pem() + &ca_certificate.pem(),
    )
    .unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(
        &mut fs::metadata(dir.join("key.pem")).unwrap().permissions(),
        0o600,
    );
    let file = dir.join("ca.pem");
    fs::write(&file, ca_certificate.pem()).unwrap();
    file
}

/// `mse proxy`: any program speaks plain HTTP to it; it verifies before it forwards.
#[test]
fn the_proxy_forwards_only_to_the_verified_app() {
    use std::io::{BufRead, BufReader};
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let deployed = owner.deploy(&manifest, &[]);
    let mut proxy = owner
        .command(&["proxy", text(&deployed, "id"), "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(curl(&[text(&said, "url")]), "Hello world");
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

/// `mse test` runs the project's tests against the deployed app; failing tests are a failure.
#[test]
fn remote_tests_pass_and_failing_tests_fail() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let deployed = owner.deploy(&manifest, &[]);
    owner.run(&["test", text(&deployed, "id")]).succeeded();
    let tests = manifest.with_file_name("tests").join("test_app.py");
    fs::write(&tests, "def test_of_nothing():\n    assert False\n").unwrap();
    owner.run(&["test", text(&deployed, "id")]).ended_with(8);
}

/// FastAPI with secrets: they arrive, and the tests of the example pass against the enclave.
#[test]
fn secrets_reach_the_app() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("fastapi_secrets");
    let deployed = owner.deploy(&manifest, &[]);
    owner.run(&["test", text(&deployed, "id")]).succeeded();
}

/// Two parties join data that neither shows the other.
#[test]
fn two_parties_compute_on_joint_data() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("private_set_intersection");
    let deployed = owner.deploy(&manifest, &[]);
    owner.run(&["test", text(&deployed, "id")]).succeeded();
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "30"])
        .args(arguments)
        .output()
        .expect("curl is installed: ./x setup");
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
