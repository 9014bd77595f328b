use mse_crypto::Digest;
use mse_workload::{
    EnclaveDigest, FORMAT, HealthEndpoint, ImageIdentity, Measurement, Provisioning, Resources,
    Tls, TlsOrigin, bundle::SourceSalt,
};
use uuid::Uuid;

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NONCE: &str = "000102030405060708090a0b0c0d0e0f1011121314151617";

/// As the tools before this one wrote it.
fn old_v2() -> String {
    format!(
        r#"version = "2.0"

[config]
name = "helloworld"
project = "default"
docker = "ghcr.io/cosmian/mse-flask:20230228091325"
python_application = "app:app"
tests = "/home/me/tests"
tests_cmd = "pytest"
tests_requirements = ["cryptography>=38.0.0,<39.0.0", "pytest==7.2.0"]
code_secret_key = "{KEY}"

[instance]
id = "00000000-0000-0000-0000-000000000007"
config_domain_name = "demo.cosmian.app"
enclave_size = 4096
expires_at = 2023-06-29T00:00:00+00:00
ssl_certificate_origin = "self"

[instance.nonces]
"app.py" = "{NONCE}"
"sub/ü \" x.py" = "{NONCE}"
"#
    )
}

fn workload() -> Workload {
    Workload {
        format: FORMAT,
        app_id: AppId(Uuid::from_u128(7)),
        application: "app:app".into(),
        image: ImageIdentity {
            name: "mse-flask:20261123000000".into(),
            digest: Digest::of(b"image"),
        },
        bundle: Digest::of(b"bundle"),
        source_commitment: Digest::of(b"source"),
        code_key_check: Digest::of(b"key"),
        tls: Tls {
            origin: TlsOrigin::Owner,
            names: vec!["config.localhost".into()],
            certificate: Some(Digest::of(b"-----BEGIN---\n")),
        },
        expires_at: Some(1_900_000_000),
        resources: Resources {
            memory_mib: 4096,
            millicores: 2000,
        },
        health_endpoint: HealthEndpoint::try_from("/health".to_owned()).unwrap(),
        environment: [("QUOTE".to_owned(), "a\"b\n\u{7f}".to_owned())].into(),
        provisioning: Provisioning::Owner {},
    }
}

fn context() -> Context {
    Context {
        version: FormatVersion::V2,
        config: Config {
            name: "a \"name\"\twith\\ all\n\u{7f}\u{1}".into(),
            project: "default".into(),
            docker: "mse-flask:20261123000000".into(),
            python_application: "app:app".into(),
            tests: Some(Tests {
                folder: "/tests".into(),
                command: "pytest -k 'a b'".into(),
                requirements: vec!["pytest".into()],
            }),
            code_key: Some(CodeKey::from_hex(KEY).unwrap()),
            certificate: Some("-----BEGIN---\n".into()),
        },
        instance: Some(Instance {
            id: AppId(Uuid::from_u128(7)),
            config_domain_name: "config.localhost".into(),
            enclave_size: 4096,
            expires_at: Timestamp::from_second(1_900_000_000).unwrap(),
            origin: TlsOrigin::Owner,
            nonces: [("a\nb \"c\".py".to_owned(), NONCE.parse().unwrap())].into(),
        }),
        record: Some(Record {
            state: State::Running,
            source_salt: "ab".repeat(32).parse::<SourceSalt>().unwrap(),
            server: "http://127.0.0.1:7310".parse().unwrap(),
            deployed: Some(Deployed {
                workload: workload(),
                measurement: Measurement(Digest::of(b"measurement")),
                enclave: Some(EnclaveDigest(Digest::of(b"enclave"))),
                gateway: "127.0.0.1:7343".into(),
                tee: "simulated".into(),
                verified: true,
            }),
        }),
    }
}

#[track_caller]
fn refusal(text: &str) -> ContextError {
    Context::parse(text).err().expect("a refusal")
}

#[test]
fn a_context_of_version_2_without_our_table_loads() {
    let context = Context::parse(&old_v2()).unwrap();
    let instance = context.instance.as_ref().unwrap();
    assert_eq!(context.version, FormatVersion::V2);
    assert_eq!(instance.expires_at.to_string(), "2023-06-29T00:00:00Z");
    assert_eq!(instance.nonces.len(), 2);
    assert_eq!(instance.nonces["app.py"].to_string(), NONCE);
    assert!(context.deployed().is_none());
    let key = context.config.code_key.unwrap();
    assert_eq!(*key.to_hex(), KEY);
}

#[test]
fn a_context_of_version_1_has_no_tests() {
    let text = old_v2().replace("\"2.0\"", "\"1.0\"");
    assert!(Context::parse(&text).unwrap().config.tests.is_some());
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("tests"))
        .collect();
    let text = kept.join("\n");
    let context = Context::parse(&text).unwrap();
    assert_eq!(
        (context.version, context.config.tests),
        (FormatVersion::V1, None)
    );
    // Version 2 must have them.
    assert_eq!(
        refusal(&text.replace("\"1.0\"", "\"2.0\"")),
        ContextError::Missing("config.tests")
    );
}

#[test]
fn what_is_written_is_read_back_and_written_the_same() {
    let text = context().to_toml(KeyInFile::Included);
    let back = Context::parse(&text).unwrap();
    assert_eq!(*back.to_toml(KeyInFile::Included), *text);
    assert_eq!(back.config.name, context().config.name);
    assert_eq!(back.instance, context().instance);
    assert_eq!(back.deployed(), context().deployed());
}

#[test]
fn an_export_without_key_has_no_key_and_still_loads() {
    let text = context().to_toml(KeyInFile::LeftOut);
    assert!(!text.contains("code_secret_key"));
    assert!(!text.to_lowercase().contains(KEY));
    let back = Context::parse(&text).unwrap();
    assert!(back.config.code_key.is_none());
    assert!(back.deployed().is_some());
}

#[test]
fn a_context_that_contradicts_itself_is_refused_by_key() {
    let text = context().to_toml(KeyInFile::Included);
    for (from, to, key) in [
        (
            "id = \"00000000-0000-0000-0000-000000000007\"",
            "id = \"00000000-0000-0000-0000-000000000008\"",
            "instance.id",
        ),
        (
            "docker = \"mse-flask",
            "docker = \"mse-flusk",
            "config.docker",
        ),
        (
            "python_application = \"app:app\"",
            "python_application = \"app:apq\"",
            "config.python_application",
        ),
        (
            "enclave_size = 4096",
            "enclave_size = 4097",
            "instance.enclave_size",
        ),
        (
            "expires_at = 2030",
            "expires_at = 2031",
            "instance.expires_at",
        ),
        (
            "ssl_certificate_origin = \"owner\"",
            "ssl_certificate_origin = \"self\"",
            "instance.ssl_certificate_origin",
        ),
        (
            "ssl_app_certificate = \"-----BEGIN---\\n\"",
            "ssl_app_certificate = \"-----BEGIN---\"",
            "config.ssl_app_certificate",
        ),
        (
            "config_domain_name = \"config",
            "config_domain_name = \"konfig",
            "instance.config_domain_name",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(
            refusal(&text.replace(from, to)),
            ContextError::Contradiction(key)
        );
    }
}

#[test]
fn strange_files_are_refused_with_the_line() {
    for (text, problem) in [
        (
            old_v2().replace("\"2.0\"", "\"3.0\""),
            "version `3.0` is not known",
        ),
        (
            old_v2().replace("project =", "projekt ="),
            "line 5: unknown field `projekt`",
        ),
        (
            old_v2().replace("name = \"helloworld\"\n", ""),
            "missing field `name`",
        ),
        (
            old_v2().replace(KEY, "12"),
            "`config.code_secret_key` is not 64 hexadecimal digits",
        ),
        (
            old_v2().replace("\"self\"", "\"other\""),
            "must be `self`, `owner` or `operator`",
        ),
        (
            old_v2().replace("2023-06-29T00:00:00+00:00", "\"soon\""),
            "`instance.expires_at`",
        ),
        (old_v2().replace("4096", "-1"), "line 16"),
        ("version".to_owned(), "line 1"),
        (String::new(), "missing field `version`"),
    ] {
        let refusal = refusal(&text).to_string();
        assert!(refusal.contains(problem), "{refusal}");
        assert!(!refusal.contains(KEY), "{refusal}");
    }
    let without_key = old_v2().replace(&format!("code_secret_key = \"{KEY}\"\n"), "");
    assert_eq!(
        refusal(&without_key),
        ContextError::Missing("config.code_secret_key")
    );
}

#[test]
fn a_pending_context_has_no_instance() {
    let mut pending = context();
    pending.instance = None;
    let record = pending.record.as_mut().unwrap();
    record.state = State::Pending;
    record.deployed = None;
    let text = pending.to_toml(KeyInFile::Included);
    assert!(Context::parse(&text).unwrap().deployed().is_none());
    let text = text.replace("\"pending\"", "\"running\"");
    assert_eq!(refusal(&text), ContextError::Missing("instance"));
}

proptest::proptest! {
    #[test]
    fn any_text_survives_the_file(name in ".*", path in ".+", command in "(?s).*", value in "(?s).*") {
        let mut odd = context();
        odd.config.name.clone_from(&name);
        odd.config.tests.as_mut().unwrap().command.clone_from(&command);
        odd.instance.as_mut().unwrap().nonces =
            [(path.clone(), NONCE.parse().unwrap())].into();
        let record = odd.record.as_mut().unwrap();
        record.deployed.as_mut().unwrap().workload.environment =
            [("VALUE".to_owned(), value.clone())].into();
        let back = Context::parse(&odd.to_toml(KeyInFile::Included)).unwrap();
        proptest::prop_assert_eq!(&back.config.name, &name);
        proptest::prop_assert_eq!(&back.config.tests.as_ref().unwrap().command, &command);
        proptest::prop_assert!(back.instance.as_ref().unwrap().nonces.contains_key(&path));
        proptest::prop_assert_eq!(&back.deployed().unwrap().workload.environment["VALUE"], &value);
        // And never with the key, unless asked.
        proptest::prop_assert!(!odd.to_toml(KeyInFile::LeftOut).contains(KEY));
    }

    #[test]
    fn no_text_panics(text in "(?s).*") {
        let _ = Context::parse(&text);
        let _ = Context::parse(&format!("version = \"2.0\"\n[config]\n{text}"));
    }
}
