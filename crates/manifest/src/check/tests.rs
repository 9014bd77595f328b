use std::fs;

use jiff::tz::Offset;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::load::CloudSection;
use crate::manifest::Manifest;

const NOW: &str = "2026-11-23T12:00:00Z";

/// An owner's directory in which everything is right.
struct Owner {
    directory: TempDir,
    key: KeyPair,
}

impl Owner {
    fn new() -> Self {
        let owner = Self {
            directory: tempfile::tempdir().unwrap(),
            key: KeyPair::generate().unwrap(),
        };
        owner.write("mse_src/app.py", "app = None\n");
        owner.write("tests/test_app.py", "");
        owner.write("secrets.json", "{\"token\": \"canary\"}");
        owner.write_key(&owner.key.serialize_pem());
        owner.write("cert.pem", &owner.certificate(&["app.example.com"]));
        owner
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn write_key(&self, pem: &str) {
        self.write("key.pem", pem);
        self.set_key_mode(0o600);
    }

    #[cfg(unix)]
    fn set_key_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;

        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.directory.path().join("key.pem"), permissions).unwrap();
    }

    #[cfg(not(unix))]
    fn set_key_mode(&self, _: u32) {}

    fn remove(&self, path: &str) {
        fs::remove_file(self.directory.path().join(path)).unwrap();
    }

    /// Valid through 2026 and 2027.
    fn certificate(&self, names: &[&str]) -> String {
        params(names, 2026, 2028)
            .self_signed(&self.key)
            .unwrap()
            .pem()
    }

    /// A leaf and its issuer, valid until the first day of the years given.
    fn chain(&self, leaf_end: i32, issuer_end: i32) -> (String, String) {
        let mut issuer = params(&[], 2020, issuer_end);
        issuer.distinguished_name.push(DnType::CommonName, "issuer");
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
        let leaf = params(&["app.example.com"], 2026, leaf_end)
            .signed_by(&self.key, &issuer)
            .unwrap();
        (leaf.pem(), issuer.pem())
    }

    fn check(&self, sections: &str) -> Result<Checked, Diagnostics> {
        self.check_as(sections, TlsChoice::AsConfigured)
    }

    fn check_as(&self, sections: &str, tls: TlsChoice) -> Result<Checked, Diagnostics> {
        self.write("mse.toml", &format!("{MANIFEST}{sections}"));
        let path = self.directory.path().join("mse.toml");
        let loaded = Manifest::load(&path, CloudSection::Required).unwrap();
        let zone = TimeZone::fixed(Offset::constant(1));
        loaded.check(NOW.parse().unwrap(), &CheckOptions { tls, zone })
    }

    /// What is printed when the check fails.
    fn refused(&self, sections: &str) -> String {
        match self.check(sections) {
            Ok(_) => panic!("accepted"),
            Err(diagnostics) => self.shown(&diagnostics),
        }
    }

    fn shown(&self, message: &impl ToString) -> String {
        message
            .to_string()
            .replace(self.directory.path().to_str().unwrap(), "DIR")
    }
}

fn params(names: &[&str], from: i32, to: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

const MANIFEST: &str = r#"name = "helloworld"
python_application = "app:app"
healthcheck_endpoint = "/health"
tests_cmd = "pytest"
tests_requirements = ["pytest"]

[cloud]
code = "mse_src"
tests = "tests"
docker = "mse-flask:20230228091325"
project = "default"
hardware = "4g-eu-001"
"#;

const SSL: &str = r#"
[cloud.ssl]
domain_name = "app.example.com"
private_key = "key.pem"
certificate = "cert.pem"
"#;

fn accepted(result: Result<Checked, Diagnostics>) -> Checked {
    result.unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

#[test]
fn everything_right() {
    let owner = Owner::new();

    let checked = accepted(owner.check(&format!(
        "secrets = \"secrets.json\"\nexpiration_date = 2027-01-31T18:00:00Z\n{SSL}"
    )));

    assert_eq!(checked.code, owner.directory.path().join("mse_src"));
    assert_eq!(checked.tests, owner.directory.path().join("tests"));
    assert_eq!(
        checked.secrets.unwrap().expose(),
        b"{\"token\": \"canary\"}"
    );
    assert_eq!(
        checked.expires_at.unwrap().to_string(),
        "2027-01-31T18:00:00Z"
    );
    assert!(!checked.dev_mode);
    assert_eq!(checked.warnings, []);
    let ssl = checked.ssl.unwrap();
    assert_eq!(ssl.domain_name, "app.example.com");
    assert_eq!(ssl.not_after.to_string(), "2028-01-01T00:00:00Z");
    assert_eq!(ssl.private_key.expose(), owner.key.serialize_pem());
    let certificate = fs::read_to_string(owner.directory.path().join("cert.pem")).unwrap();
    assert_eq!(ssl.chain_pem, certificate.replace("\r\n", "\n"));
}

#[test]
fn nothing_optional() {
    let checked = accepted(Owner::new().check(""));

    assert!(checked.secrets.is_none() && checked.ssl.is_none() && checked.expires_at.is_none());
}

#[test]
fn the_end_comes_from_the_certificate() {
    let checked = accepted(Owner::new().check(SSL));

    assert_eq!(
        checked.expires_at.unwrap().to_string(),
        "2028-01-01T00:00:00Z"
    );
}

#[test]
fn the_operator_choice_drops_the_certificate() {
    let owner = Owner::new();
    owner.remove("cert.pem");

    let checked = accepted(owner.check_as(SSL, TlsChoice::Operator));

    assert!(checked.ssl.is_none() && checked.expires_at.is_none() && checked.dev_mode);
}

#[test]
fn wildcards_cover_one_label() {
    let owner = Owner::new();
    owner.write(
        "cert.pem",
        &owner.certificate(&["other.org", "*.EXAMPLE.com"]),
    );
    accepted(owner.check(SSL));

    for name in [
        "*.com",
        "*.app.example.com",
        "example.com",
        "xapp.example.com",
    ] {
        owner.write("cert.pem", &owner.certificate(&[name]));
        assert!(owner.check(SSL).is_err(), "{name}");
    }
}

#[test]
fn a_chain_is_kept_in_order() {
    let owner = Owner::new();
    let (leaf, issuer) = owner.chain(2028, 2030);
    owner.write("cert.pem", &format!("a comment\n{leaf}another\n{issuer}"));

    let ssl = accepted(owner.check(SSL)).ssl.unwrap();

    assert_eq!(
        ssl.chain_pem,
        format!("{leaf}{issuer}").replace("\r\n", "\n")
    );
}

#[test]
fn bad_domain_name() {
    let owner = Owner::new();
    owner.write(
        "cert.pem",
        &owner.certificate(&["example.com", "*.example.org"]),
    );

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.domain_name` is not among the certificate's names: example.com, *.example.org
      --> DIR/mse.toml:15:15
       |
    15 | domain_name = "app.example.com"
       |               ^^^^^^^^^^^^^^^^^
       = help: use one of these, or another certificate

    1 error in the manifest
    "#);
}

#[test]
fn bad_expiration_date() {
    insta::assert_snapshot!(
        Owner::new().refused(&format!("expiration_date = 2028-01-01T00:00:01Z\n{SSL}")),
        @r"
        error: `cloud.expiration_date` is later than the certificate's end, 2028-01-01T00:00:00Z
          --> DIR/mse.toml:13:19
           |
        13 | expiration_date = 2028-01-01T00:00:01Z
           |                   ^^^^^^^^^^^^^^^^^^^^
           = help: end the app earlier, or renew the certificate

        1 error in the manifest
        "
    );
}

#[test]
fn a_wrong_key_does_not_hide_a_bad_date() {
    let owner = Owner::new();
    owner.write_key(&KeyPair::generate().unwrap().serialize_pem());

    let message = owner.refused(&format!("expiration_date = 2028-01-01T00:00:01Z\n{SSL}"));

    assert!(
        message.contains("`cloud.expiration_date` is later than"),
        "{message}"
    );
    assert!(
        message.contains("`cloud.ssl.private_key` does not belong"),
        "{message}"
    );
}

#[test]
fn expiration_in_the_past() {
    insta::assert_snapshot!(Owner::new().refused("expiration_date = 2026-11-23T12:00:00Z"), @r"
    error: `cloud.expiration_date` is in the past: 2026-11-23T12:00:00Z, and it is 2026-11-23T12:00:00Z
      --> DIR/mse.toml:13:19
       |
    13 | expiration_date = 2026-11-23T12:00:00Z
       |                   ^^^^^^^^^^^^^^^^^^^^
       = help: choose a later date, or leave it out

    1 error in the manifest
    ");
}

#[test]
fn a_date_without_zone_is_local_with_a_warning() {
    let owner = Owner::new();

    let checked = accepted(owner.check("expiration_date = \"2027-01-31 18:00\""));

    assert_eq!(
        checked.expires_at.unwrap().to_string(),
        "2027-01-31T17:00:00Z"
    );
    assert_eq!(checked.warnings.len(), 1);
    insta::assert_snapshot!(owner.shown(&checked.warnings[0]), @r#"
    warning: `cloud.expiration_date` has no zone: it means 2027-01-31T17:00:00Z here, another time elsewhere
      --> DIR/mse.toml:13:19
       |
    13 | expiration_date = "2027-01-31 18:00"
       |                   ^^^^^^^^^^^^^^^^^^
       = help: write `2027-01-31T17:00:00Z`, or add your offset
    "#);
}

#[test]
fn expired_certificate() {
    let owner = Owner::new();
    let ended = params(&["app.example.com"], 2020, 2026)
        .self_signed(&owner.key)
        .unwrap();
    owner.write("cert.pem", &ended.pem());

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.certificate` is in the past: the certificate ended at 2026-01-01T00:00:00Z
      --> DIR/mse.toml:17:15
       |
    17 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: renew the certificate

    1 error in the manifest
    "#);
}

#[test]
fn certificate_of_the_future() {
    let owner = Owner::new();
    let early = params(&["app.example.com"], 2027, 2028)
        .self_signed(&owner.key)
        .unwrap();
    owner.write("cert.pem", &early.pem());

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.certificate` is not valid before 2027-01-01T00:00:00Z, and it is 2026-11-23T12:00:00Z
      --> DIR/mse.toml:17:15
       |
    17 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: check the clock of this machine

    1 error in the manifest
    "#);
}

#[test]
fn expired_issuer() {
    let owner = Owner::new();
    let (leaf, issuer) = owner.chain(2028, 2025);
    owner.write("cert.pem", &format!("{leaf}{issuer}"));

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.certificate` has in its chain `CN=issuer`, which ended at 2025-01-01T00:00:00Z
      --> DIR/mse.toml:17:15
       |
    17 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: get the current chain from the certificate's issuer

    1 error in the manifest
    "#);
}

#[test]
fn chain_in_wrong_order() {
    let owner = Owner::new();
    let (leaf, issuer) = owner.chain(2028, 2030);
    owner.write("cert.pem", &format!("{issuer}{leaf}"));

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.certificate` is `DIR/cert.pem`, which has as certificate number 2 `CN=rcgen self signed cert`, but the one before it was issued by `CN=issuer`
      --> DIR/mse.toml:17:15
       |
    17 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: put the app's own certificate first, then each one's issuer

    1 error in the manifest
    "#);
}

#[test]
fn certificate_without_names() {
    let owner = Owner::new();
    owner.write("cert.pem", &owner.certificate(&[]));

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.certificate` is `DIR/cert.pem`, which has no list of DNS names (subjectAltName)
      --> DIR/mse.toml:17:15
       |
    17 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: have the certificate issued with the domain as subjectAltName

    1 error in the manifest
    "#);
}

#[test]
fn certificate_file_with_something_else() {
    let owner = Owner::new();
    for (text, problem) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA", "is no valid PEM file"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "holds a damaged certificate (number 1 in the file)",
        ),
        (
            &*owner.key.serialize_pem(),
            "holds a private key, but this file is sent to the operator",
        ),
    ] {
        owner.write("cert.pem", text);
        let message = owner.refused(SSL);
        assert!(
            message.contains(&format!("is `DIR/cert.pem`, which {problem}\n")),
            "{message}"
        );
    }
}

#[test]
fn key_of_another_certificate() {
    let owner = Owner::new();
    owner.write_key(&KeyPair::generate().unwrap().serialize_pem());

    insta::assert_snapshot!(owner.refused(SSL), @r#"
    error: `cloud.ssl.private_key` does not belong to the certificate
      --> DIR/mse.toml:16:15
       |
    16 | private_key = "key.pem"
       |               ^^^^^^^^^
       = help: name the key that the certificate was requested with

    1 error in the manifest
    "#);
}

#[test]
fn damaged_key_is_not_repeated() {
    let owner = Owner::new();
    let pem = owner.key.serialize_pem();
    let body = pem.lines().nth(1).unwrap();
    owner.write_key(&pem.replace(body, "canary"));

    let message = owner.refused(SSL);

    assert!(!message.contains("canary"));
    insta::assert_snapshot!(message, @r#"
    error: `cloud.ssl.private_key` is `DIR/key.pem`, which holds a private key that cannot be used: it is damaged, or not of a supported kind
      --> DIR/mse.toml:16:15
       |
    16 | private_key = "key.pem"
       |               ^^^^^^^^^
       = help: use an ECDSA P-256, P-384 or P-521, Ed25519, or RSA 2048 to 8192 key

    1 error in the manifest
    "#);
}

#[cfg(unix)]
#[test]
fn key_that_others_may_read() {
    let owner = Owner::new();
    owner.set_key_mode(0o640);

    let checked = accepted(owner.check(SSL));

    assert_eq!(checked.warnings.len(), 1);
    insta::assert_snapshot!(owner.shown(&checked.warnings[0]), @r#"
    warning: `cloud.ssl.private_key` is `DIR/key.pem`, which other users of this machine may read
      --> DIR/mse.toml:16:15
       |
    16 | private_key = "key.pem"
       |               ^^^^^^^^^
       = help: run `chmod 600 DIR/key.pem`
    "#);
}

#[test]
fn secrets_must_be_a_json_object() {
    let owner = Owner::new();
    owner.write("secrets.json", "{\"token\": canary}");

    let message = owner.refused("secrets = \"secrets.json\"");

    assert!(!message.contains("canary"));
    insta::assert_snapshot!(message, @r#"
    error: `cloud.secrets` is `DIR/secrets.json`, which is no valid JSON (line 1, column 11)
      --> DIR/mse.toml:13:11
       |
    13 | secrets = "secrets.json"
       |           ^^^^^^^^^^^^^^
       = help: write a JSON object, for instance `{"token": "…"}`

    1 error in the manifest
    "#);
}

#[test]
fn secrets_are_bounded() {
    let owner = Owner::new();
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    owner.write("secrets.json", &padded(1 << 20));
    accepted(owner.check("secrets = \"secrets.json\""));

    owner.write("secrets.json", &padded((1 << 20) + 1));
    let message = owner.refused("secrets = \"secrets.json\"");
    assert!(message.contains("is larger than 1024 KiB"), "{message}");
}

#[test]
fn bad_python_application() {
    let owner = Owner::new();
    owner.remove("mse_src/app.py");
    owner.write("mse_src/main.py", "");
    owner.write("mse_src/apps.py", "");

    insta::assert_snapshot!(owner.refused(""), @r#"
    error: `python_application` names the module `app`, but `DIR/mse_src` has neither `app.py` nor `app/__init__.py`
      --> DIR/mse.toml:2:22
       |
     2 | python_application = "app:app"
       |                      ^^^^^^^^^
       = help: did you mean `apps:app`?

    1 error in the manifest
    "#);
}

#[test]
fn all_faults_at_once() {
    let owner = Owner::new();
    for file in ["mse_src/app.py", "secrets.json", "key.pem", "cert.pem"] {
        owner.remove(file);
    }
    owner.write("mse_src/api.py", "");
    fs::remove_dir_all(owner.directory.path().join("tests")).unwrap();

    let message = owner.refused(&format!(
        "secrets = \"secrets.json\"\nexpiration_date = 2020-01-01\n{SSL}"
    ));

    insta::assert_snapshot!(message, @r#"
    error: `python_application` names the module `app`, but `DIR/mse_src` has neither `app.py` nor `app/__init__.py`
      --> DIR/mse.toml:2:22
       |
     2 | python_application = "app:app"
       |                      ^^^^^^^^^
       = help: did you mean `api:app`?

    warning: `cloud.tests` is `DIR/tests`, which is no directory
      --> DIR/mse.toml:9:9
       |
     9 | tests = "tests"
       |         ^^^^^^^
       = help: `mse test` and `mse localtest` need it

    error: `cloud.secrets` is `DIR/secrets.json`, which does not exist
      --> DIR/mse.toml:13:11
       |
    13 | secrets = "secrets.json"
       |           ^^^^^^^^^^^^^^
       = help: relative paths start at the directory of the manifest

    warning: `cloud.expiration_date` has no zone: it means 2019-12-31T23:00:00Z here, another time elsewhere
      --> DIR/mse.toml:14:19
       |
    14 | expiration_date = 2020-01-01
       |                   ^^^^^^^^^^
       = help: write `2019-12-31T23:00:00Z`, or add your offset

    error: `cloud.expiration_date` is in the past: 2019-12-31T23:00:00Z, and it is 2026-11-23T12:00:00Z
      --> DIR/mse.toml:14:19
       |
    14 | expiration_date = 2020-01-01
       |                   ^^^^^^^^^^
       = help: choose a later date, or leave it out

    error: `cloud.ssl.private_key` is `DIR/key.pem`, which does not exist
      --> DIR/mse.toml:18:15
       |
    18 | private_key = "key.pem"
       |               ^^^^^^^^^
       = help: relative paths start at the directory of the manifest

    error: `cloud.ssl.certificate` is `DIR/cert.pem`, which does not exist
      --> DIR/mse.toml:19:15
       |
    19 | certificate = "cert.pem"
       |               ^^^^^^^^^^
       = help: relative paths start at the directory of the manifest

    5 errors in the manifest
    "#);
}

#[test]
fn code_directory_missing() {
    let owner = Owner::new();
    fs::remove_dir_all(owner.directory.path().join("mse_src")).unwrap();

    insta::assert_snapshot!(owner.refused(""), @r#"
    error: `cloud.code` is `DIR/mse_src`, which is no directory
      --> DIR/mse.toml:8:8
       |
     8 | code = "mse_src"
       |        ^^^^^^^^^
       = help: name the directory of the app's code

    1 error in the manifest
    "#);
}

#[test]
fn a_package_is_a_module_too() {
    let owner = Owner::new();
    owner.remove("mse_src/app.py");
    owner.write("mse_src/app/__init__.py", "");

    accepted(owner.check(""));
}
