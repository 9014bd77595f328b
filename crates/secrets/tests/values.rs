//! What holds for values of every kind: forms, the stored form, dependencies, renewal, migration.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mse_crypto::pem;
use mse_secrets::{
    ALPHABET, CertificateSpec, Endpoint, Format, GenerateError, Given, InvalidGiven, KeySource,
    KeyType, Kind, PrivateKey, RenderError, Role, Size, Spec, Value, generate, migrates, render,
    renew,
};
use proptest::prelude::*;
use x509_parser::prelude::{FromDer, X509Certificate};

mod common;

use common::{Secrets, add, authority, days, end_entity, now, one_of_each_kind, private_key, text};

#[test]
fn every_kind_has_every_form_that_sessions_name_and_no_other() {
    let secrets = one_of_each_kind();
    for kind in Kind::ALL {
        // It needs Azure: nothing here makes or takes one.
        if kind == Kind::AadToken {
            continue;
        }
        let value = &secrets[kind.as_str()];
        assert_eq!(value.kind(), kind);
        let forms: Vec<Format> = Format::suffixes(kind)
            .map(|suffix| Format::parse(kind, suffix).unwrap())
            .collect();
        for format in &forms {
            assert!(
                !render(value, *format).unwrap().is_empty(),
                "{kind} {format:?}"
            );
        }
        for other in Kind::ALL {
            for suffix in Format::suffixes(other) {
                let format = Format::parse(other, suffix).unwrap();
                if !forms.contains(&format) {
                    let refused = RenderError::Form { kind, format };
                    assert_eq!(render(value, format).map(|_| ()), Err(refused));
                }
            }
        }
    }
}

#[test]
fn the_stored_form_of_every_kind_is_read_back_and_nothing_else_is() {
    for (name, value) in one_of_each_kind() {
        let bytes = value.to_bytes();
        let again = Value::from_bytes(&bytes).unwrap();
        assert_eq!(*again.to_bytes(), *bytes, "{name}");
        assert_eq!(again.kind(), value.kind());
        assert_eq!(again.renew_at(), value.renew_at(), "{name}");
        for suffix in Format::suffixes(value.kind()) {
            let format = Format::parse(value.kind(), suffix).unwrap();
            // PKCS#12 has random salts.
            if format != Format::Pkcs12 {
                assert_eq!(
                    render(&again, format),
                    render(&value, format),
                    "{name}{suffix}"
                );
            }
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Value::from_bytes(&longer).is_err(), "{name}");
        let mut other_version = bytes.to_vec();
        other_version[0] += 1;
        assert!(Value::from_bytes(&other_version).is_err(), "{name}");
        for length in [0, 1, 2, 5, bytes.len() / 2, bytes.len() - 1] {
            let cut = Value::from_bytes(&bytes[..length]);
            assert!(cut.is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn generated_texts_have_all_of_the_alphabet_and_begin_with_a_letter() {
    let spec = |size| Spec::Ascii {
        size: Size::new(size).unwrap(),
    };
    let make = |size| {
        let value = generate("a", &spec(size), &Secrets::new(), now()).unwrap();
        text(&value, Format::Text)
    };
    let long = make(4096);
    assert_eq!(long.len(), 4096);
    for character in ALPHABET {
        // Missing with a probability of 2^-93.
        assert!(
            long.as_bytes().contains(character),
            "{}",
            char::from(*character)
        );
    }
    assert!(long.bytes().all(|byte| ALPHABET.contains(&byte)));
    for _ in 0..300 {
        assert!(make(1).bytes().all(|byte| byte.is_ascii_alphabetic()));
    }
    assert_ne!(make(20), make(20));
}

#[test]
fn a_token_is_signed_by_its_signer_and_says_when_it_ends() {
    let secrets = one_of_each_kind();
    let token = text(&secrets["jwt"], Format::Text);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        json(header),
        serde_json::json!({"alg": "ES384", "typ": "JWT"})
    );
    let seconds = now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(
        json(claims),
        serde_json::json!({"sub": "db", "iat": seconds, "nbf": seconds, "exp": seconds + 86400})
    );
    let public = render(&secrets["public-key"], Format::PublicKeyDer).unwrap();
    let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&public).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &info.subject_public_key.data);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(message.as_bytes(), &signature).unwrap();
    assert!(key.verify(header.as_bytes(), &signature).is_err());
    assert_eq!(
        secrets["jwt"].renew_at(),
        Some(now() + Duration::from_secs(16 * 3600))
    );
}

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
fn dependencies_must_exist_and_be_of_the_right_kind() {
    let secrets = one_of_each_kind();
    let key = |name: &str| KeySource::Secret(name.to_owned());
    for (spec, message) in [
        (
            end_entity(key("nothing"), None, None, &[], None),
            "`private_key: nothing` names no secret",
        ),
        (
            end_entity(key("binary"), None, None, &[], None),
            "kind `binary`; it must be `private-key`",
        ),
        (
            end_entity(key("private-key"), Some("x509"), None, &[], None),
            "`issuer: x509` names a secret of the kind `x509`; it must be `x509-ca`",
        ),
        (
            Spec::PublicKey {
                private_key: "x509".to_owned(),
            },
            "it must be `private-key`",
        ),
    ] {
        let refused = generate("new", &spec, &secrets, now())
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains(message), "{refused}");
        assert!(spec.dependencies().count() > 0);
    }
    let mut jwt_secrets = Secrets::new();
    add(&mut jwt_secrets, "key", &private_key(KeyType::P256));
    let jwt = Spec::Jwt(mse_secrets::JwtSpec {
        signer: "key".to_owned(),
        validity: "1h".parse().unwrap(),
        payload: mse_secrets::JwtPayload::default(),
    });
    assert!(matches!(
        generate("jwt", &jwt, &jwt_secrets, now()),
        Err(GenerateError::SignerType(name)) if name == "key"
    ));
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
fn the_public_part_has_no_private_key() {
    let secrets = one_of_each_kind();
    let public = secrets["x509"].public_part().unwrap();
    assert_eq!(
        text(&public, Format::Chain),
        text(&secrets["x509"], Format::Chain)
    );
    for format in [Format::PrivateKeyPem, Format::PrivateKeyDer, Format::Pkcs12] {
        assert_eq!(
            render(&public, format).map(|_| ()),
            Err(RenderError::NoPrivateKey { kind: Kind::X509 })
        );
    }
    let key = render(&secrets["x509"], Format::PrivateKeyDer).unwrap();
    let stored = public.to_bytes();
    assert!(
        !stored
            .windows(32)
            .any(|window| key.windows(32).any(|part| part == window))
    );
    assert_eq!(
        text(
            &secrets["private-key"].public_part().unwrap(),
            Format::PublicKeyPem
        ),
        text(&secrets["public-key"], Format::PublicKeyPem)
    );
    for name in ["ascii", "binary", "pgp-key", "jwt", "config-fragment"] {
        assert!(secrets[name].public_part().is_none(), "{name}");
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
fn an_update_keeps_what_it_should() {
    let ascii = |size| Spec::Ascii {
        size: Size::new(size).unwrap(),
    };
    let binary = |size| Spec::Binary {
        size: Size::new(size).unwrap(),
    };
    let key = |key_type, migrate| Spec::PrivateKey { key_type, migrate };
    let given = || Spec::Explicit {
        given: Given::parse(Kind::Ascii, "x").unwrap(),
        private_key: None,
    };
    let ca = || authority(KeySource::Fresh(KeyType::P256), None, None);
    let (p256, p384) = (KeyType::P256, KeyType::P384);
    for (old, new, kept) in [
        (ascii(20), ascii(20), true),
        (ascii(20), ascii(21), false),
        (ascii(20), binary(20), false),
        (binary(20), binary(20), true),
        (Spec::PgpKey, Spec::PgpKey, true),
        (key(p256, true), key(p256, true), true),
        (key(p256, true), key(p256, false), false),
        (key(p256, false), key(p256, true), false),
        (key(p256, false), key(p256, false), false),
        (key(p256, true), key(p384, true), false),
        (ca(), ca(), false),
        (given(), given(), false),
        (given(), ascii(20), false),
        (ascii(20), given(), false),
    ] {
        assert_eq!(migrates(&old, &new), kept, "{old:?} {new:?}");
    }
}

#[test]
fn given_values_are_checked_by_their_kind() {
    let secrets = one_of_each_kind();
    let pem = |name: &str, format| text(&secrets[name], format);
    let certificate = pem("x509", Format::CertificatePem);
    let whole = certificate.clone() + &pem("x509", Format::Chain);
    let key = pem("x509", Format::PrivateKeyPem);
    let other_key = pem("private-key", Format::PrivateKeyPem);
    let authority = pem("x509-ca", Format::CertificatePem);
    for (kind, value) in [
        (Kind::Ascii, "any text, ä\n"),
        (Kind::Binary, "00ffAB"),
        (Kind::PrivateKey, &other_key),
        (Kind::PublicKey, &pem("public-key", Format::PublicKeyPem)),
        (Kind::X509, &certificate),
        (Kind::X509, &whole),
        (Kind::X509, &(whole.clone() + &key)),
        (Kind::X509, &(key.clone() + &certificate)),
        (Kind::X509Ca, &authority),
        (Kind::ConfigFragment, r#"["a"]"#),
    ] {
        let given = Given::parse(kind, value).unwrap();
        assert_eq!(given.kind(), kind);
        assert!(!format!("{given:?}").contains(value));
    }
    let chain = |at| InvalidGiven::Chain { at };
    let root = pem("root", Format::CertificatePem);
    for (kind, value, error) in [
        (Kind::Ascii, "a\0", InvalidGiven::Nul),
        (
            Kind::Ascii,
            &"a".repeat(65537),
            InvalidGiven::TooLong(65537),
        ),
        (Kind::Binary, "", InvalidGiven::Hex),
        (Kind::Binary, "0", InvalidGiven::Hex),
        (Kind::Binary, "0x00", InvalidGiven::Hex),
        (Kind::X509, "", InvalidGiven::Certificates),
        (Kind::X509, &key, InvalidGiven::Certificates),
        (
            Kind::X509,
            &(certificate.clone() + "x"),
            InvalidGiven::Certificates,
        ),
        (Kind::X509, &(certificate.clone() + &root), chain(2)),
        (Kind::X509, &(whole.clone() + &certificate), chain(4)),
        (
            Kind::X509,
            &certificate.repeat(10),
            InvalidGiven::TooMany(10),
        ),
        (
            Kind::X509,
            &(certificate.clone() + &other_key),
            InvalidGiven::OtherKey,
        ),
        (Kind::X509Ca, &certificate, InvalidGiven::NoAuthority),
        (Kind::ConfigFragment, "a: b", InvalidGiven::Json),
        (Kind::Jwt, "a.b.c", InvalidGiven::Kind(Kind::Jwt)),
        (Kind::AadToken, "a", InvalidGiven::Kind(Kind::AadToken)),
    ] {
        assert_eq!(Given::parse(kind, value).map(|_| ()), Err(error), "{kind}");
    }
    // A changed signature.
    let mut der = pem::decode(&certificate, "CERTIFICATE").unwrap();
    *der.last_mut().unwrap() ^= 1;
    let changed = pem::encode(&der, "CERTIFICATE").to_string() + &authority;
    assert!(Given::parse(Kind::X509, &changed).is_err());
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

proptest! {
    #[test]
    fn no_bytes_make_the_stored_form_panic(
        head in 0_u8..12,
        fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut bytes = vec![1, head, u8::try_from(fields.len()).unwrap()];
        for field in &fields {
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(field);
        }
        bytes.extend(&tail);
        if let Ok(value) = Value::from_bytes(&bytes) {
            prop_assert_eq!(&*value.to_bytes(), &bytes);
            let _ = (value.renew_at(), value.expires_at());
        }
    }

    #[test]
    fn every_form_of_bytes_is_read_back(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
        let given = Given::parse(Kind::Binary, &hex::encode(&bytes)).unwrap();
        let form = |format| render(given.value(), format).unwrap();
        prop_assert_eq!(&*form(Format::Raw), &bytes);
        prop_assert_eq!(hex::decode(form(Format::Hex)).unwrap(), bytes.clone());
        let base64 = base64::engine::general_purpose::STANDARD.decode(form(Format::Base64));
        prop_assert_eq!(base64.unwrap(), bytes.clone());
        let url = base64::engine::general_purpose::URL_SAFE.decode(form(Format::Base64Url));
        prop_assert_eq!(url.unwrap(), bytes.clone());
        let base32 = data_encoding::BASE32.decode(&form(Format::Base32));
        prop_assert_eq!(base32.unwrap(), bytes);
    }

    #[test]
    fn no_text_makes_a_given_value_panic(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY)-----|[A-Za-z0-9+/=]{0,20}|\n){0,8}") {
        for kind in Kind::ALL {
            let _ = Given::parse(kind, &text);
        }
    }
}
