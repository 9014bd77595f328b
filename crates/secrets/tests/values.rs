//! What holds for values of every kind: forms, the stored form, dependencies, migration.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mse_secrets::{
    ALPHABET, Format, GenerateError, Given, KeySource, KeyType, Kind, PrivateKey, RenderError,
    Size, Spec, Value, generate, migrates, render,
};
use proptest::prelude::*;
use x509_parser::prelude::FromDer;

mod common;

use common::{Secrets, add, authority, end_entity, now, one_of_each_kind, private_key, text};

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
fn the_stored_form_is_the_only_one_and_consistent() {
    let stored = |kind: u8, fields: &[&[u8]]| {
        let mut bytes = vec![1, kind, u8::try_from(fields.len()).unwrap()];
        for field in fields {
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(*field);
        }
        bytes
    };
    let taken = |bytes: &[u8]| Value::from_bytes(bytes).is_ok();
    let secrets = one_of_each_kind();

    // A time past the calendar.
    let (early, late) = (1_u64.to_be_bytes(), u64::MAX.to_be_bytes());
    assert!(taken(&stored(8, &[b"a.b.c", &early, &early])));
    assert!(!taken(&stored(8, &[b"a.b.c", &early, &late])));
    assert!(!taken(&stored(8, &[b"a.b.c", &late, &early])));

    // Another encoding of a key.
    let version_2 = aws_lc_rs::signature::Ed25519KeyPair::generate()
        .and_then(|pair| pair.to_pkcs8())
        .unwrap();
    let key = PrivateKey::from_pkcs8(version_2.as_ref()).unwrap();
    assert_ne!(key.to_pkcs8(), version_2.as_ref());
    assert!(taken(&stored(3, &[key.to_pkcs8()])));
    assert!(!taken(&stored(3, &[version_2.as_ref()])));

    // The key of another certificate.
    let form = |name: &str, format| render(&secrets[name], format).unwrap();
    let certificate = form("root", Format::CertificateDer);
    let with_key_of = |name| {
        let key = form(name, Format::PrivateKeyDer);
        taken(&stored(6, &[&early, &key, &certificate]))
    };
    assert!(with_key_of("root"));
    assert!(!with_key_of("x509-ca"));
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
    // The scalar of a P-256 key in PKCS#8; the public point follows it.
    let key = render(&secrets["x509"], Format::PrivateKeyDer).unwrap();
    let scalar = &key[36..68];
    let holds = |value: &Value| value.to_bytes().windows(32).any(|window| window == scalar);
    assert!(holds(&secrets["x509"]));
    assert!(!holds(&public));
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
    fn no_changed_byte_makes_the_stored_form_or_what_is_made_from_it_panic(
        kind in prop::sample::select(vec!["ascii", "public-key", "x509", "x509-ca", "pgp-key", "jwt"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SECRETS: LazyLock<Secrets> = LazyLock::new(one_of_each_kind);
        let mut bytes = SECRETS[kind].to_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(value) = Value::from_bytes(&bytes) {
            prop_assert_eq!(&value.to_bytes(), &bytes);
            let _ = (value.renew_at(), value.expires_at());
            for suffix in Format::suffixes(value.kind()) {
                let _ = render(&value, Format::parse(value.kind(), suffix).unwrap());
            }
            // An authority that has been changed issues, or says why not.
            let secrets = Secrets::from([("ca".to_owned(), value)]);
            let spec = end_entity(KeySource::Fresh(KeyType::P256), Some("ca"), None, &[], None);
            let _ = generate("leaf", &spec, &secrets, now());
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
}
