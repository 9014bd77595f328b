//! Certificates: what they say, whom they outlive, when they are issued anew.

use std::time::{Duration, SystemTime};

use mse_secrets::{
    CertificateSpec, Endpoint, Format, GenerateError, Given, InvalidGiven, IssueError, KeySource,
    KeyType, Kind, PrivateKey, Role, Spec, generate, render, renew,
};
use x509_parser::prelude::{FromDer, X509Certificate};

mod common;

use common::{Secrets, add, authority, days, end_entity, now, one_of_each_kind, private_key, text};

#[test]
fn certificates_say_what_they_may_do() {
    let secrets = one_of_each_kind();
    let der = |name: &str| {
        render(&secrets[name], Format::CertificateDer)
            .unwrap()
            .to_vec()
    };
    let (root, authority, leaf) = (der("root"), der("x509-ca"), der("x509"));
    let parse = |der| X509Certificate::from_der(der).unwrap().1;
    let (root, authority, leaf) = (parse(&root), parse(&authority), parse(&leaf));
    for (certificate, length) in [(&root, 4), (&authority, 3)] {
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(length));
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        assert!(certificate.extended_key_usage().unwrap().is_none());
    }
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth);
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_ne!(leaf.raw_serial(), authority.raw_serial());
    assert_eq!(leaf.subject().to_string(), "CN=db.example.org");
    assert_eq!(authority.subject().to_string(), "CN=x509-ca");
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life, 90 * 86400 + 300);
    assert_eq!(root.validity().not_after.timestamp(), 253_402_300_799);
}

#[test]
fn nothing_outlives_its_issuer_nor_issues_what_the_issuer_may_not() {
    let mut secrets = Secrets::new();
    let fresh = || KeySource::Fresh(KeyType::P256);
    add(
        &mut secrets,
        "ca",
        &authority(fresh(), None, Some("30 days")),
    );
    add(
        &mut secrets,
        "leaf",
        &end_entity(fresh(), Some("ca"), None, &[], Some("1 year")),
    );
    assert_eq!(secrets["leaf"].expires_at(), secrets["ca"].expires_at());
    assert_eq!(secrets["leaf"].expires_at(), Some(now() + days(30)));

    let leaf = end_entity(fresh(), Some("ca"), None, &[], None);
    let message = |name: &str, spec: &Spec, secrets: &Secrets, now| {
        generate(name, spec, secrets, now)
            .err()
            .map(|error| error.to_string())
    };
    for (late, word) in [
        (now() + days(30), "expired"),
        (now() - days(1), "not valid yet"),
    ] {
        let refused = message("late", &leaf, &secrets, late).unwrap();
        assert!(refused.contains(word), "{refused}");
    }

    let with_length = |length| {
        Spec::Certificate(CertificateSpec {
            key: KeySource::Fresh(KeyType::P256),
            issuer: None,
            common_name: None,
            valid_for: None,
            role: Role::Authority {
                path_length: length,
            },
        })
    };
    add(&mut secrets, "narrow", &with_length(Some(0)));
    add(
        &mut secrets,
        "below-narrow",
        &end_entity(fresh(), Some("narrow"), None, &[], None),
    );
    let below = authority(fresh(), Some("narrow"), None);
    let refused = message("below", &below, &secrets, now()).unwrap();
    assert!(refused.contains("allows no authority below"), "{refused}");

    let mut wide = authority(fresh(), Some("ca"), None);
    if let Spec::Certificate(spec) = &mut wide {
        spec.role = Role::Authority {
            path_length: Some(4),
        };
    }
    let refused = message("wide", &wide, &secrets, now()).unwrap();
    assert!(refused.contains("more than the 3"), "{refused}");
}

#[test]
fn a_common_name_has_its_limits() {
    let none = Secrets::new();
    let named = |name: &str, common_name: Option<&str>, names: &[&str]| {
        let mut spec = end_entity(KeySource::Fresh(KeyType::P256), None, None, names, None);
        if let Spec::Certificate(spec) = &mut spec {
            spec.common_name = common_name.map(str::to_owned);
        }
        let value = generate(name, &spec, &none, now()).ok()?;
        let der = render(&value, Format::CertificateDer).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        Some(certificate.subject().to_string())
    };
    let long = "x".repeat(65);
    let long_dns = format!("dns:{}.{}", "a".repeat(40), "b".repeat(40));
    assert_eq!(named("web", None, &[]).unwrap(), "CN=web");
    assert_eq!(
        named("web", None, &["ip:::1", "dns:a.org"]).unwrap(),
        "CN=a.org"
    );
    assert_eq!(named("web", Some("Ä"), &["dns:a.org"]).unwrap(), "CN=Ä");
    assert_eq!(named("web", None, &[&long_dns]).unwrap(), "CN=web");
    assert_eq!(named("web", Some(&long), &[]), None);
    assert_eq!(named("web", Some(""), &[]), None);
    assert_eq!(named("web", Some("a\nb"), &[]), None);
    assert_eq!(named(&long, None, &[]), None);
}

#[test]
fn after_two_thirds_of_its_life_a_certificate_is_issued_anew_for_the_same_key() {
    let mut secrets = Secrets::new();
    let fresh = || KeySource::Fresh(KeyType::P256);
    let ca = authority(fresh(), None, Some("90 days"));
    let leaf = end_entity(
        fresh(),
        Some("ca"),
        Some(Endpoint::Server),
        &["dns:a.org"],
        Some("30 days"),
    );
    add(&mut secrets, "ca", &ca);
    add(&mut secrets, "leaf", &leaf);
    let old = secrets["leaf"].clone();
    assert_eq!(old.renew_at(), Some(now() + days(20)));
    assert!(!old.needs_renewal(now() + days(20) - Duration::from_secs(1)));
    assert!(old.needs_renewal(now() + days(20)));

    // The authority is renewed first: the chain of the leaf follows.
    let later = now() + days(60);
    let new_ca = renew("ca", &ca, &secrets["ca"], &secrets, later).unwrap();
    secrets.insert("ca".to_owned(), new_ca);
    let new = renew("leaf", &leaf, &old, &secrets, later).unwrap();
    assert_eq!(
        text(&new, Format::PrivateKeyPem),
        text(&old, Format::PrivateKeyPem)
    );
    assert_ne!(
        text(&new, Format::CertificatePem),
        text(&old, Format::CertificatePem)
    );
    assert_eq!(
        text(&new, Format::Chain),
        text(&secrets["ca"], Format::CertificatePem)
    );
    assert_eq!(new.expires_at(), Some(later + days(30)));
    assert_eq!(new.renew_at(), Some(later + days(20)));
}

#[test]
fn what_has_no_end_or_was_given_is_not_renewed() {
    let secrets = one_of_each_kind();
    for name in ["ascii", "private-key", "root", "x509-ca", "pgp-key"] {
        assert_eq!(secrets[name].renew_at(), None, "{name}");
        assert!(!secrets[name].needs_renewal(now() + days(36500)));
    }
    let public = secrets["x509"].public_part().unwrap();
    assert_eq!(public.renew_at(), None);
    let spec = end_entity(
        KeySource::Fresh(KeyType::P256),
        Some("x509-ca"),
        None,
        &[],
        None,
    );
    for (spec, old) in [
        (&spec, &public),
        (&spec, &secrets["x509-ca"]),
        (&Spec::PgpKey, &secrets["pgp-key"]),
    ] {
        assert!(matches!(
            renew("x", spec, old, &secrets, now()),
            Err(GenerateError::NotRenewed(kind)) if kind == old.kind()
        ));
    }
}

#[test]
fn chains_in_both_orders() {
    let secrets = one_of_each_kind();
    let pem = |name: &str| text(&secrets[name], Format::CertificatePem);
    let chain = text(&secrets["x509"], Format::Chain);
    assert_eq!(chain, pem("x509-ca") + &pem("root"));
    let legacy = text(&secrets["x509"], Format::LegacyChain);
    assert_eq!(legacy, pem("root") + &pem("x509-ca") + &pem("x509"));
    assert_eq!(text(&secrets["root"], Format::Chain), "");
    assert_eq!(text(&secrets["root"], Format::LegacyChain), pem("root"));
}

#[test]
fn a_given_authority_issues_with_its_key() {
    let made = one_of_each_kind();
    let given =
        text(&made["x509-ca"], Format::CertificatePem) + &text(&made["x509-ca"], Format::Chain);
    let given = || Given::parse(Kind::X509Ca, &given).unwrap();
    let key = text(&made["x509-ca"], Format::PrivateKeyPem);
    let mut secrets = Secrets::new();
    add(
        &mut secrets,
        "key",
        &Spec::Explicit {
            given: Given::parse(Kind::PrivateKey, &key).unwrap(),
            private_key: None,
        },
    );
    add(&mut secrets, "other-key", &private_key(KeyType::P256));
    let explicit = |key: Option<&str>| Spec::Explicit {
        given: given(),
        private_key: key.map(str::to_owned),
    };
    add(&mut secrets, "ca", &explicit(Some("key")));
    add(&mut secrets, "ca-without-key", &explicit(None));
    assert!(matches!(
        generate("ca", &explicit(Some("other-key")), &secrets, now()),
        Err(GenerateError::OtherKey(_))
    ));
    let leaf = |issuer| {
        end_entity(
            KeySource::Fresh(KeyType::P256),
            Some(issuer),
            None,
            &[],
            None,
        )
    };
    add(&mut secrets, "leaf", &leaf("ca"));
    assert_eq!(
        text(&secrets["leaf"], Format::Chain),
        text(&made["x509"], Format::Chain)
    );
    let refused = generate("leaf", &leaf("ca-without-key"), &secrets, now())
        .err()
        .unwrap();
    assert!(refused.to_string().contains("no private key"), "{refused}");
    assert_eq!(secrets["ca"].renew_at(), None);
    assert!(PrivateKey::from_pem(&text(&secrets["ca"], Format::PrivateKeyPem)).is_ok());
}

#[test]
fn an_authority_whose_name_cannot_be_written_again_does_not_issue() {
    // The second is a correct identifier that x509-parser takes for 3.0.1, and rcgen panics at.
    for (oid, issues) in [(vec![2, 5, 4, 10], true), (vec![2, 40, 1], false)] {
        let given = given_authority(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CustomDnType(oid), "Example");
        });
        match generate("leaf", &leaf_of_given(), &with_given(&given), now()) {
            Ok(_) => assert!(issues),
            Err(error) => assert!(
                !issues && matches!(error, GenerateError::Issue(IssueError::IssuerName)),
                "{error}"
            ),
        }
    }
}

#[test]
fn nothing_begins_before_its_issuer() {
    let given = given_authority(|params| params.not_before = (now() - seconds(10)).into());
    let secrets = with_given(&given);
    let begins = |issued| {
        let leaf = generate("leaf", &leaf_of_given(), &secrets, issued).unwrap();
        let der = render(&leaf, Format::CertificateDer).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        seconds(leaf.validity().not_before.timestamp().try_into().unwrap())
    };
    let since_1970 = now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(begins(now()) + seconds(10), since_1970);
    assert_eq!(begins(now() + days(1)) + seconds(300), since_1970 + days(1));
}

#[test]
fn an_authority_is_one_that_may_sign_certificates() {
    use rcgen::KeyUsagePurpose::{CrlSign, KeyCertSign};
    let with_usages = |usages| given_authority(|params| params.key_usages = usages);
    for (usages, taken) in [
        (vec![], true),
        (vec![KeyCertSign], true),
        (vec![CrlSign], false),
    ] {
        let given = with_usages(usages);
        match Given::parse(Kind::X509Ca, &given) {
            Ok(_) => assert!(taken),
            Err(error) => assert!(!taken && error == InvalidGiven::NoAuthority, "{error}"),
        }
    }
    // What signs without being one is no issuer in a chain.
    let signer = rcgen::KeyPair::generate().unwrap();
    let no_authority = rcgen::CertificateParams::new(vec!["a.org".to_owned()]).unwrap();
    let issuer = no_authority.self_signed(&signer).unwrap().pem();
    let by = rcgen::Issuer::from_params(&no_authority, &signer);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["b.org".to_owned()])
        .and_then(|params| params.signed_by(&leaf_key, &by))
        .unwrap()
        .pem();
    assert!(Given::parse(Kind::X509, &leaf).is_ok());
    assert_eq!(
        Given::parse(Kind::X509, &(leaf + &issuer)).map(|_| ()),
        Err(InvalidGiven::Chain { at: 2 })
    );
}

#[test]
fn serials_have_sixteen_bytes_and_key_usage_fits_the_key() {
    for (key_type, times) in [(KeyType::P256, 40), (KeyType::Rsa2048, 1)] {
        for _ in 0..times {
            let spec = end_entity(KeySource::Fresh(key_type), None, None, &[], None);
            let value = generate("leaf", &spec, &Secrets::new(), now()).unwrap();
            let der = render(&value, Format::CertificateDer).unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            let serial = certificate.raw_serial();
            assert!(serial.len() == 16 && serial[0] >> 6 == 1, "{serial:?}");
            let usage = certificate.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature());
            assert_eq!(usage.key_encipherment(), key_type == KeyType::Rsa2048);
        }
    }
}

/// An authority that an owner made, with its key: PEM.
fn given_authority(change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

fn with_given(authority: &str) -> Secrets {
    let mut secrets = Secrets::new();
    let given = Given::parse(Kind::X509Ca, authority).unwrap();
    let private_key = None;
    add(&mut secrets, "ca", &Spec::Explicit { given, private_key });
    secrets
}

fn leaf_of_given() -> Spec {
    end_entity(KeySource::Fresh(KeyType::P256), Some("ca"), None, &[], None)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
