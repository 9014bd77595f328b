//! What OpenSSL, which wrote none of it, says about keys, certificates and PKCS#12 files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use mse_secrets::{
    Endpoint, Format, Given, KeySource, KeyType, Kind, PrivateKey, PublicKey, Spec, Value,
    generate, render, renew,
};
use tempfile::TempDir;

mod common;

use common::{Secrets, add, authority, days, end_entity, now, one_of_each_kind, private_key, text};

/// Seconds since 1970 of `common::now()`, for `openssl verify -attime`.
const NOW: &str = "1811851200";

#[test]
fn keys_of_every_type() {
    for (key_type, private, public) in [
        (
            KeyType::P256,
            "Private-Key: (256 bit)",
            "ASN1 OID: prime256v1",
        ),
        (
            KeyType::P384,
            "Private-Key: (384 bit)",
            "ASN1 OID: secp384r1",
        ),
        (
            KeyType::Ed25519,
            "ED25519 Private-Key:",
            "ED25519 Public-Key:",
        ),
        (
            KeyType::Rsa2048,
            "Private-Key: (2048 bit, 2 primes)",
            "Exponent: 65537 (0x10001)",
        ),
        (
            KeyType::Rsa3072,
            "Private-Key: (3072 bit, 2 primes)",
            "Exponent: 65537 (0x10001)",
        ),
    ] {
        let mut secrets = Secrets::new();
        add(&mut secrets, "key", &private_key(key_type));
        add(
            &mut secrets,
            "public",
            &Spec::PublicKey {
                private_key: "key".to_owned(),
            },
        );
        let dir = Files::of(
            &secrets,
            &[
                ("key.pem", "key", Format::PrivateKeyPem),
                ("key.der", "key", Format::PrivateKeyDer),
                ("public.pem", "public", Format::PublicKeyPem),
                ("public.der", "public", Format::PublicKeyDer),
            ],
        );
        dir.says("pkey -in key.pem -check -noout", "Key is valid");
        dir.says("pkey -in key.pem -text -noout", private);
        dir.says("pkey -pubin -in public.pem -text -noout", public);
        // The other forms are the same keys.
        let pem = fs::read_to_string(dir.path("key.pem")).unwrap();
        assert_eq!(
            dir.run("pkcs8 -topk8 -nocrypt -inform DER -in key.der"),
            pem
        );
        let public = fs::read_to_string(dir.path("public.pem")).unwrap();
        assert_eq!(dir.run("pkey -pubin -inform DER -in public.der"), public);
        assert_eq!(dir.run("pkey -in key.pem -pubout"), public);
    }
}

#[test]
fn chains_of_every_type_of_key_hold_for_their_purpose_and_names_only() {
    for key_type in KeyType::ALL {
        let mut secrets = Secrets::new();
        let fresh = || KeySource::Fresh(key_type);
        add(&mut secrets, "root", &authority(fresh(), None, None));
        add(
            &mut secrets,
            "ca",
            &authority(fresh(), Some("root"), Some("1 year")),
        );
        let names = [
            "dns:db.example.org",
            "dns:*.pods.example.org",
            "ip:10.0.0.1",
            "ip:fd00::1",
        ];
        let sides = [Some(Endpoint::Server), Some(Endpoint::Client), None];
        for (name, endpoint) in ["server", "client", "both"].into_iter().zip(sides) {
            let spec = end_entity(fresh(), Some("ca"), endpoint, &names, Some("90 days"));
            add(&mut secrets, name, &spec);
        }
        let dir = Files::of(
            &secrets,
            &[
                ("root.pem", "root", Format::CertificatePem),
                ("chain.pem", "server", Format::Chain),
                ("server.pem", "server", Format::CertificatePem),
                ("client.pem", "client", Format::CertificatePem),
                ("both.pem", "both", Format::CertificatePem),
            ],
        );
        let verify =
            format!("verify -x509_strict -attime {NOW} -CAfile root.pem -untrusted chain.pem");
        for (purpose, file, holds) in [
            ("sslserver", "server.pem", true),
            ("sslclient", "server.pem", false),
            ("sslserver", "client.pem", false),
            ("sslclient", "client.pem", true),
            ("sslserver", "both.pem", true),
            ("sslclient", "both.pem", true),
        ] {
            let output = dir.openssl(&format!("{verify} -purpose {purpose} {file}"));
            assert_eq!(
                output.status.success(),
                holds,
                "{key_type:?} {purpose} {file}: {output:?}"
            );
        }
        for (name, holds) in [
            ("-verify_hostname db.example.org", true),
            ("-verify_hostname a.pods.example.org", true),
            ("-verify_ip 10.0.0.1", true),
            ("-verify_ip fd00::1", true),
            ("-verify_hostname example.org", false),
            ("-verify_ip 10.0.0.2", false),
        ] {
            let output = dir.openssl(&format!("{verify} {name} server.pem"));
            assert_eq!(output.status.success(), holds, "{name}: {output:?}");
        }
        // A leaf is no authority.
        let output = dir.openssl(&format!(
            "verify -attime {NOW} -partial_chain -CAfile server.pem client.pem"
        ));
        assert!(!output.status.success());
    }
}

#[test]
fn the_deepest_chain_that_is_issued_holds() {
    let mut secrets = Secrets::new();
    let fresh = || KeySource::Fresh(KeyType::P256);
    add(&mut secrets, "ca0", &authority(fresh(), None, None));
    for depth in 1..=4 {
        let issuer = format!("ca{}", depth - 1);
        add(
            &mut secrets,
            &format!("ca{depth}"),
            &authority(fresh(), Some(&issuer), None),
        );
    }
    let deeper = authority(fresh(), Some("ca4"), None);
    assert!(generate("ca5", &deeper, &secrets, now()).is_err());
    add(
        &mut secrets,
        "leaf",
        &end_entity(fresh(), Some("ca4"), None, &["dns:a.org"], None),
    );
    let dir = Files::of(
        &secrets,
        &[
            ("root.pem", "ca0", Format::CertificatePem),
            ("chain.pem", "leaf", Format::Chain),
            ("leaf.pem", "leaf", Format::CertificatePem),
        ],
    );
    dir.says(
        &format!(
            "verify -x509_strict -attime {NOW} -CAfile root.pem -untrusted chain.pem leaf.pem"
        ),
        "leaf.pem: OK",
    );
}

#[test]
fn a_renewed_authority_vouches_for_what_it_issued_before() {
    let mut secrets = Secrets::new();
    let fresh = || KeySource::Fresh(KeyType::P384);
    let ca = authority(fresh(), None, Some("90 days"));
    let leaf = end_entity(fresh(), Some("ca"), None, &["dns:a.org"], None);
    add(&mut secrets, "ca", &ca);
    add(&mut secrets, "old", &leaf);
    let old_ca = secrets["ca"].clone();
    let renewed = renew("ca", &ca, &old_ca, &secrets, now() + days(60)).unwrap();
    secrets.insert("ca".to_owned(), renewed);
    let new = renew("old", &leaf, &secrets["old"], &secrets, now() + days(60)).unwrap();
    secrets.insert("new".to_owned(), new);
    secrets.insert("old-ca".to_owned(), old_ca);
    let dir = Files::of(
        &secrets,
        &[
            ("old-ca.pem", "old-ca", Format::CertificatePem),
            ("new-ca.pem", "ca", Format::CertificatePem),
            ("old.pem", "old", Format::CertificatePem),
            ("new.pem", "new", Format::CertificatePem),
        ],
    );
    let at = 1_811_851_200 + 61 * 86400;
    for (trusted, leaf) in [
        ("new-ca", "old"),
        ("new-ca", "new"),
        ("old-ca", "new"),
        ("old-ca", "old"),
    ] {
        dir.says(
            &format!("verify -attime {at} -CAfile {trusted}.pem {leaf}.pem"),
            "OK",
        );
    }
}

#[test]
fn self_signed_certificates_hold_by_themselves() {
    let mut secrets = Secrets::new();
    let spec = end_entity(
        KeySource::Fresh(KeyType::Ed25519),
        None,
        Some(Endpoint::Server),
        &["dns:a.org"],
        None,
    );
    add(&mut secrets, "self", &spec);
    let dir = Files::of(&secrets, &[("self.pem", "self", Format::CertificatePem)]);
    dir.says(
        &format!("verify -x509_strict -attime {NOW} -purpose sslserver -CAfile self.pem self.pem"),
        "self.pem: OK",
    );
    dir.says(
        "x509 -in self.pem -noout -enddate",
        "notAfter=Dec 31 23:59:59 9999 GMT",
    );
}

#[test]
fn pkcs12_files_open_with_the_empty_password_and_hold_key_and_chain() {
    for key_type in KeyType::ALL {
        let mut secrets = one_of_each_kind();
        let spec = end_entity(
            KeySource::Fresh(key_type),
            Some("x509-ca"),
            None,
            &["dns:a.org"],
            None,
        );
        add(&mut secrets, "x509", &spec);
        let dir = Files::of(
            &secrets,
            &[
                ("all.p12", "x509", Format::Pkcs12),
                ("all.legacy", "x509", Format::LegacyChain),
            ],
        );
        let info = dir.openssl("pkcs12 -in all.p12 -passin pass: -info -nokeys -nocerts");
        assert!(info.status.success(), "{info:?}");
        let info = String::from_utf8_lossy(&info.stderr);
        for part in [
            "MAC: sha256, Iteration 2048",
            "Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256",
        ] {
            assert!(info.contains(part), "{info}");
        }
        let key = dir.run("pkcs12 -in all.p12 -passin pass: -noenc -nocerts");
        assert!(key.contains(&text(&secrets["x509"], Format::PrivateKeyPem)));
        let client = dir.run("pkcs12 -in all.p12 -passin pass: -nokeys -clcerts");
        assert!(client.contains(&text(&secrets["x509"], Format::CertificatePem)));
        let issuers = dir.run("pkcs12 -in all.p12 -passin pass: -nokeys -cacerts");
        for issuer in ["x509-ca", "root"] {
            assert!(issuers.contains(&text(&secrets[issuer], Format::CertificatePem)));
        }
        assert!(
            !dir.openssl("pkcs12 -in all.p12 -passin pass:x -noenc")
                .status
                .success()
        );
    }
}

#[test]
fn keys_and_certificates_that_openssl_made_are_taken() {
    let dir = Files::empty();
    for key in [
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "-algorithm ED25519",
        "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "-algorithm RSA -pkeyopt rsa_keygen_bits:4096",
    ] {
        dir.run(&format!("genpkey {key} -out key.pem"));
        dir.run("req -x509 -new -key key.pem -subj /C=DE/O=Example/CN=root -days 3650 -out ca.pem");
        dir.run("pkey -in key.pem -pubout -out public.pem");
        let read = |name: &str| fs::read_to_string(dir.path(name)).unwrap();
        let mut secrets = Secrets::new();
        add(
            &mut secrets,
            "key",
            &explicit(Kind::PrivateKey, &read("key.pem")),
        );
        add(
            &mut secrets,
            "public",
            &explicit(Kind::PublicKey, &read("public.pem")),
        );
        let given = read("ca.pem") + &read("key.pem");
        add(&mut secrets, "ca", &explicit(Kind::X509Ca, &given));
        assert_eq!(
            text(&secrets["public"], Format::PublicKeyPem),
            read("public.pem")
        );
        // OpenSSL's clock made it, so it is issued from at the time of the machine.
        let spec = end_entity(
            KeySource::Fresh(KeyType::P256),
            Some("ca"),
            None,
            &["dns:a.org"],
            None,
        );
        let leaf = generate("leaf", &spec, &secrets, SystemTime::now()).unwrap();
        fs::write(
            dir.path("leaf.pem"),
            &*render(&leaf, Format::CertificatePem).unwrap(),
        )
        .unwrap();
        dir.says("verify -CAfile ca.pem leaf.pem", "leaf.pem: OK");
    }
    for (command, what) in [
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key.pem",
            "another curve",
        ),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out key.pem",
            "another curve of the same size",
        ),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key.pem",
            "a short key",
        ),
        (
            "genpkey -algorithm ED25519 -aes256 -pass pass:x -out key.pem",
            "an encrypted key",
        ),
        (
            "ecparam -name prime256v1 -genkey -noout -out key.pem",
            "SEC 1",
        ),
    ] {
        dir.run(command);
        let pem = fs::read_to_string(dir.path("key.pem")).unwrap();
        assert!(PrivateKey::from_pem(&pem).is_err(), "{what}");
        if !what.contains("encrypted") {
            dir.run("pkey -in key.pem -pubout -out public.pem");
            let public = fs::read_to_string(dir.path("public.pem")).unwrap();
            let taken = PublicKey::from_pem(&public).is_ok();
            assert_eq!(taken, what == "SEC 1", "{what}");
        }
    }
}

#[test]
fn an_authority_with_a_name_of_an_unusual_form_is_refused_or_written_exactly() {
    let dir = Files::empty();
    dir.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    for (subject, issues) in [
        ("/C=DE/O=Example/OU=One/CN=root", true),
        ("/CN=Bäcker/emailAddress=ca@example.org", true),
        ("/OU=One/OU=Two/CN=root", false),
        ("/O=Example+OU=One/CN=root", false),
    ] {
        dir.run(&format!(
            "req -x509 -new -utf8 -key key.pem -subj {subject} -days 3650 -out ca.pem"
        ));
        let read = |name: &str| fs::read_to_string(dir.path(name)).unwrap();
        let mut secrets = Secrets::new();
        let given = read("ca.pem") + &read("key.pem");
        add(&mut secrets, "ca", &explicit(Kind::X509Ca, &given));
        let spec = end_entity(KeySource::Fresh(KeyType::P256), Some("ca"), None, &[], None);
        let leaf = generate("leaf", &spec, &secrets, SystemTime::now());
        match leaf {
            Ok(leaf) => {
                assert!(issues, "{subject}");
                let pem = render(&leaf, Format::CertificatePem).unwrap();
                fs::write(dir.path("leaf.pem"), &*pem).unwrap();
                dir.says("verify -CAfile ca.pem leaf.pem", "leaf.pem: OK");
            }
            Err(error) => assert!(
                !issues && error.to_string().contains("subject name"),
                "{subject}: {error}"
            ),
        }
    }
}

fn explicit(kind: Kind, value: &str) -> Spec {
    Spec::Explicit {
        given: Given::parse(kind, value).unwrap(),
        private_key: None,
    }
}

/// A folder with forms of secrets, where OpenSSL runs.
struct Files {
    dir: TempDir,
}

impl Files {
    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn of(secrets: &Secrets, forms: &[(&str, &str, Format)]) -> Self {
        let files = Self::empty();
        for (file, name, format) in forms {
            let value: &Value = &secrets[*name];
            fs::write(files.path(file), &*render(value, *format).unwrap()).unwrap();
        }
        files
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(file)
    }

    fn openssl(&self, arguments: &str) -> Output {
        Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.dir.path())
            .output()
            .expect("`openssl` runs: `./x setup` or `apt-get install openssl` brings it")
    }

    fn run(&self, arguments: &str) -> String {
        let output = self.openssl(arguments);
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn says(&self, arguments: &str, what: &str) {
        let output = self.openssl(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && said.contains(what),
            "openssl {arguments}: {said}"
        );
    }
}
