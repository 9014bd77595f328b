use std::path::Path;

use super::*;
use crate::diagnostic::{Diagnostics, Severity};
use crate::fixtures::{FULL, MINIMAL, WITHOUT_CLOUD};
use crate::load::Loaded;

fn parse(text: &str, cloud: CloudSection) -> Result<Loaded, Diagnostics> {
    Manifest::parse(Path::new("mse.toml"), text, cloud)
}

fn accepted(text: &str) -> Loaded {
    parse(text, CloudSection::Required).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// What is printed for a text that is at fault.
fn refused(text: &str) -> String {
    match parse(text, CloudSection::Required) {
        Ok(_) => panic!("accepted"),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

/// What is printed for the full manifest with one part of it replaced.
fn refused_with(old: &str, new: &str) -> String {
    assert!(FULL.contains(old));
    refused(&FULL.replace(old, new))
}

#[test]
fn every_key() {
    let manifest = accepted(FULL).manifest;

    assert_eq!(manifest.name, "helloworld");
    assert_eq!(manifest.python_application.module(), "shop.web");
    assert_eq!(manifest.python_application.variable(), "app");
    assert_eq!(manifest.healthcheck_endpoint, "/health");
    assert_eq!(manifest.tests_cmd, "pytest -q");
    assert_eq!(
        manifest.tests_requirements,
        ["pytest==7.2.0", "cryptography"]
    );
    let cloud = manifest.cloud.unwrap();
    assert_eq!(cloud.code.as_str(), "mse_src");
    assert_eq!(cloud.tests.as_str(), "tests");
    assert_eq!(cloud.docker.name(), "ghcr.io/cosmian/mse-flask");
    assert_eq!(cloud.project, "default");
    assert_eq!(cloud.hardware, "4g-eu-001");
    assert_eq!(cloud.secrets, Some("secrets.json".into()));
    assert_eq!(
        cloud.expiration_date.unwrap().to_string(),
        "2027-01-31T18:00:00Z"
    );
    let ssl = cloud.ssl.unwrap();
    assert_eq!(ssl.domain_name, "app.example.com");
    assert_eq!(ssl.private_key.as_str(), "key.pem");
    assert_eq!(ssl.certificate.as_str(), "cert.pem");
    let environment: Vec<_> = cloud
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), &**v))
        .collect();
    assert_eq!(
        environment,
        [("GREETING", "good day"), ("LOG_LEVEL", "info")]
    );
}

#[test]
fn optional_keys_may_be_absent() {
    let cloud = accepted(MINIMAL).manifest.cloud.unwrap();

    assert_eq!(
        (cloud.secrets, cloud.expiration_date, cloud.ssl),
        (None, None, None)
    );
    assert!(cloud.environment.is_empty());
}

#[test]
fn no_cloud_where_it_is_optional() {
    let loaded = parse(WITHOUT_CLOUD, CloudSection::Optional).unwrap_or_else(|it| panic!("{it}"));

    assert_eq!(loaded.manifest.cloud, None);
}

#[test]
fn no_cloud_where_it_is_required() {
    insta::assert_snapshot!(refused(WITHOUT_CLOUD), @r"
    error: `cloud` is missing
      --> mse.toml
       = help: add the section `[cloud]`, which says where the app is deployed

    1 error in the manifest
    ");
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(refused(""), @r#"
    error: `name` is missing
      --> mse.toml
       = help: add `name = "…"`: what you call the app

    error: `python_application` is missing
      --> mse.toml
       = help: add for instance `python_application = "app:app"`

    error: `healthcheck_endpoint` is missing
      --> mse.toml
       = help: add for instance `healthcheck_endpoint = "/health"`

    error: `tests_cmd` is missing
      --> mse.toml
       = help: add for instance `tests_cmd = "pytest"`; it may be empty

    error: `tests_requirements` is missing
      --> mse.toml
       = help: add for instance `tests_requirements = ["pytest"]`

    error: `cloud` is missing
      --> mse.toml
       = help: add the section `[cloud]`, which says where the app is deployed

    6 errors in the manifest
    "#);
}

#[test]
fn unknown_keys() {
    let text = FULL
        .replace("hardware =", "hadrware =")
        .replace("tests_cmd =", "hardware =")
        .replace("domain_name =", "colour =");

    insta::assert_snapshot!(refused(&text), @r#"
    error: `tests_cmd` is missing
      --> mse.toml
       = help: add for instance `tests_cmd = "pytest"`; it may be empty

    error: `hardware` is not a known key
      --> mse.toml:4:1
       |
     4 | hardware = …
       | ^^^^^^^^
       = help: `hardware` belongs in `[cloud]`

    error: `cloud.hadrware` is not a known key
      --> mse.toml:12:1
       |
    12 | hadrware = …
       | ^^^^^^^^
       = help: did you mean `hardware`?

    error: `cloud.ssl.domain_name` is missing
      --> mse.toml:16:1
       |
    16 | [cloud.ssl]
       | ^^^^^^^^^^^
       = help: add the name under which users reach the app

    error: `cloud.ssl.colour` is not a known key
      --> mse.toml:17:1
       |
    17 | colour = …
       | ^^^^^^
       = help: the keys here are `domain_name`, `private_key`, `certificate`

    5 errors in the manifest
    "#);
}

#[test]
fn values_of_unknown_keys_are_not_repeated() {
    let message = refused_with("tests_cmd =", "password = 'canary'\ntests_cmd =");

    assert!(!message.contains("canary"));
    insta::assert_snapshot!(message, @r"
    error: `password` is not a known key
      --> mse.toml:4:1
       |
     4 | password = …
       | ^^^^^^^^
       = help: the keys here are `name`, `python_application`, `healthcheck_endpoint`, `tests_cmd`, `tests_requirements`, `cloud`

    1 error in the manifest
    ");
}

#[test]
fn wrong_types() {
    let text = r#"
name = 5
python_application = true
healthcheck_endpoint = 2027-01-01
tests_cmd = ["pytest"]
tests_requirements = "pytest"
cloud = 1.5
"#;
    insta::assert_snapshot!(refused(text), @r#"
    error: `name` must be a string, but is an integer
      --> mse.toml:2:8
       |
     2 | name = 5
       |        ^
       = help: write one text, in quotation marks

    error: `python_application` must be a string, but is a boolean
      --> mse.toml:3:22
       |
     3 | python_application = true
       |                      ^^^^
       = help: write one text, in quotation marks

    error: `healthcheck_endpoint` must be a string, but is a date-time
      --> mse.toml:4:24
       |
     4 | healthcheck_endpoint = 2027-01-01
       |                        ^^^^^^^^^^
       = help: write one text, in quotation marks

    error: `tests_cmd` must be a string, but is a list
      --> mse.toml:5:13
       |
     5 | tests_cmd = ["pytest"]
       |             ^^^^^^^^^^
       = help: write one text, in quotation marks

    error: `tests_requirements` must be a list of strings, but is a string
      --> mse.toml:6:22
       |
     6 | tests_requirements = "pytest"
       |                      ^^^^^^^^
       = help: write `["one", "two"]`

    error: `cloud` must be a table, but is a float
      --> mse.toml:7:9
       |
     7 | cloud = 1.5
       |         ^^^
       = help: write it as a section, `[cloud]`

    6 errors in the manifest
    "#);
}

#[test]
fn wrong_types_in_a_list() {
    insta::assert_snapshot!(refused_with("\"cryptography\"", "7"), @r#"
    error: `tests_requirements[1]` must be a string, but is an integer
      --> mse.toml:5:40
       |
     5 | tests_requirements = ["pytest==7.2.0", 7]
       |                                        ^
       = help: write one text, in quotation marks

    1 error in the manifest
    "#);
}

#[test]
fn lengths() {
    let text = FULL
        .replace("helloworld", " ")
        .replace("\"default\"", &format!("\"{}\"", "p".repeat(256)))
        .replace("4g-eu-001", "a-very-large-machine");

    insta::assert_snapshot!(refused(&text), @r#"
    error: `name` must be 1 to 255 characters, but has 0
      --> mse.toml:1:8
       |
     1 | name = " "
       |        ^^^
       = help: call the app something

    error: `cloud.project` must be 1 to 255 characters, but has 256
      --> mse.toml:11:11
       |
    11 | project = "ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp…
       |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: name a project, for instance `default`

    error: `cloud.hardware` must be 1 to 16 characters, but has 20
      --> mse.toml:12:12
       |
    12 | hardware = "a-very-large-machine"
       |            ^^^^^^^^^^^^^^^^^^^^^^
       = help: name a machine size, for instance `4g-eu-001`

    3 errors in the manifest
    "#);
}

#[test]
fn lengths_count_characters() {
    accepted(&FULL.replace("4g-eu-001", &"ü".repeat(16)));
    accepted(&FULL.replace("helloworld", &"ü".repeat(255)));
}

#[test]
fn control_characters() {
    insta::assert_snapshot!(refused_with("helloworld", "hello\\u001b[2Jworld"), @r#"
    error: `name` must not hold control characters
      --> mse.toml:1:8
       |
     1 | name = "hello\u001b[2Jworld"
       |        ^^^^^^^^^^^^^^^^^^^^^
       = help: remove them

    1 error in the manifest
    "#);
}

#[test]
fn python_application() {
    insta::assert_snapshot!(refused_with("shop.web:app", "bad"), @r#"
    error: `python_application` must be `module:variable`, with exactly one colon
      --> mse.toml:2:22
       |
     2 | python_application = "bad"
       |                      ^^^^^
       = help: for `app = Flask(__name__)` in `app.py` write `app:app`

    1 error in the manifest
    "#);
    insta::assert_snapshot!(refused_with("shop.web:app", "shop-web:app"), @r#"
    error: `python_application` names the module part `shop-web`, which is no Python identifier
      --> mse.toml:2:22
       |
     2 | python_application = "shop-web:app"
       |                      ^^^^^^^^^^^^^^
       = help: for `app = Flask(__name__)` in `app.py` write `app:app`

    1 error in the manifest
    "#);
}

#[test]
fn healthcheck_endpoint() {
    insta::assert_snapshot!(refused_with("/health", "health"), @r#"
    error: `healthcheck_endpoint` must start with `/`
      --> mse.toml:3:24
       |
     3 | healthcheck_endpoint = "health"
       |                        ^^^^^^^^
       = help: write `/health`

    1 error in the manifest
    "#);
}

#[test]
fn docker_latest_tag() {
    insta::assert_snapshot!(refused_with(":20230228091325", ":latest"), @r#"
    error: `cloud.docker` must not use the tag `latest`: it changes without notice
      --> mse.toml:10:10
       |
    10 | docker = "ghcr.io/cosmian/mse-flask:latest"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: name a fixed version, for instance `mse-flask:20261123000000`

    1 error in the manifest
    "#);
}

#[test]
fn docker_without_tag() {
    insta::assert_snapshot!(refused_with(":20230228091325", ""), @r#"
    error: `cloud.docker` has no tag, which means `latest`, and that changes without notice
      --> mse.toml:10:10
       |
    10 | docker = "ghcr.io/cosmian/mse-flask"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: name a fixed version, for instance `mse-flask:20261123000000`

    1 error in the manifest
    "#);
}

#[test]
fn domain_name() {
    for name in [
        "https://app.example.com",
        "*.example.com",
        "app.example.com:443",
        "a b",
    ] {
        let message = refused_with("app.example.com", name);
        assert!(
            message.contains("`cloud.ssl.domain_name` must be a DNS name"),
            "{message}"
        );
    }
}

#[test]
fn expiration_date_forms() {
    for (value, expected) in [
        ("\"2027-01-31T18:00:00Z\"", "2027-01-31T18:00:00Z"),
        ("2027-01-31 18:00:00+01:00", "2027-01-31T18:00:00+01:00"),
        ("2027-01-31", "2027-01-31T00:00:00"),
        ("1801418400", "2027-01-31T18:00:00Z"),
        ("1801418400.5", "2027-01-31T18:00:00.5Z"),
    ] {
        let cloud = accepted(&FULL.replace("2027-01-31T18:00:00Z", value))
            .manifest
            .cloud
            .unwrap();
        assert_eq!(
            cloud.expiration_date.unwrap().to_string(),
            expected,
            "{value}"
        );
    }
}

#[test]
fn expiration_date_at_fault() {
    let old = "2027-01-31T18:00:00Z";

    insta::assert_snapshot!(refused_with(old, "\"tomorrow\""), @r#"
    error: `cloud.expiration_date` must be a date and time
      --> mse.toml:14:19
       |
    14 | expiration_date = "tomorrow"
       |                   ^^^^^^^^^^
       = help: write for instance `2027-01-31T18:00:00Z`

    1 error in the manifest
    "#);
    for (value, problem) in [
        ("true", "must be a date-time, but is a boolean"),
        ("18:00:00", "must be a date and time"),
        ("-1", "must be seconds since 1970"),
        ("nan", "must be seconds since 1970"),
        ("1801418400000", "must be seconds since 1970"),
        (
            "\"2027-01-31T18:00:00+01:00[Europe/Paris]\"",
            "must give its zone as an offset",
        ),
    ] {
        let message = refused_with(old, value);
        assert!(
            message.contains(&format!("`cloud.expiration_date` {problem}")),
            "{message}"
        );
    }
}

#[test]
fn environment() {
    let text = FULL
        .replace("GREETING =", "MSE_ID =")
        .replace("LOG_LEVEL =", "\"LOG-LEVEL\" = \"x\"\nCOUNT = 5\nNUL =")
        .replace("info", "\\u0000");

    insta::assert_snapshot!(refused(&text), @r#"
    error: `cloud.environment.MSE_ID` is reserved: the enclave decides it
      --> mse.toml:22:1
       |
    22 | MSE_ID = …
       | ^^^^^^
       = help: choose another name

    error: `cloud.environment.LOG-LEVEL` must be named with 1 to 255 letters, digits and `_`, and no digit first
      --> mse.toml:23:1
       |
    23 | "LOG-LEVEL" = …
       | ^^^^^^^^^^^
       = help: write for instance `LOG_LEVEL`

    error: `cloud.environment.COUNT` must be a string, but is an integer
      --> mse.toml:24:1
       |
    24 | COUNT = …
       | ^^^^^
       = help: write one text, in quotation marks

    error: `cloud.environment.NUL` must not hold a NUL character
      --> mse.toml:25:1
       |
    25 | NUL = …
       | ^^^
       = help: remove it

    4 errors in the manifest
    "#);
}

#[test]
fn incomplete_ssl() {
    let text = FULL
        .replace("private_key = \"key.pem\"\n", "")
        .replace("\"cert.pem\"", "''");

    insta::assert_snapshot!(refused(&text), @r"
    error: `cloud.ssl.private_key` is missing
      --> mse.toml:16:1
       |
    16 | [cloud.ssl]
       | ^^^^^^^^^^^
       = help: add the path of the certificate's private key (PEM)

    error: `cloud.ssl.certificate` must be 1 to 4096 characters, but has 0
      --> mse.toml:18:15
       |
    18 | certificate = ''
       |               ^^
       = help: name the PEM file of the certificate chain

    2 errors in the manifest
    ");
}

#[test]
fn content_in_the_place_of_a_path_is_not_repeated() {
    for (old, new, problem) in [
        (
            "\"key.pem\"",
            "'-----BEGIN PRIVATE KEY----- canary'",
            "must be the path of a file, not its content",
        ),
        (
            "\"key.pem\"",
            "'-----BEGIN EC PRIVATE KEY----- canary'\nx = 'canary'",
            "is not a known key",
        ),
        (
            "\"secrets.json\"",
            "'{\"canary\": 1}'",
            "must be the path of a file, not its content",
        ),
        (
            "\"secrets.json\"",
            "{ token = 'canary' }",
            "must be a string, but is a table",
        ),
    ] {
        let diagnostics = parse(&FULL.replace(old, new), CloudSection::Required)
            .err()
            .unwrap();

        let (text, json) = (
            diagnostics.to_string(),
            serde_json::to_string(&diagnostics).unwrap(),
        );
        assert!(text.contains(problem), "{text}");
        assert!(
            !text.contains("canary") && !json.contains("canary"),
            "{text}{json}"
        );
    }
}

#[test]
fn dev_mode_is_ignored_with_a_warning() {
    let loaded = accepted(&FULL.replace("project =", "dev_mode = true\nproject ="));

    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].severity, Severity::Warning);
    insta::assert_snapshot!(loaded.warnings[0], @r"
    warning: `cloud.dev_mode` is ignored
      --> mse.toml:11:12
       |
    11 | dev_mode = true
       |            ^^^^
       = help: remove it: `--untrusted-ssl` on the command line decides it
    ");
}
