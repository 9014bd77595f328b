//! What the tests have in common: a session's secrets, made in their order, and one for each kind.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mse_secrets::{
    CertificateSpec, Endpoint, Format, Given, JwtPayload, JwtSpec, KeySource, KeyType, Kind, Role,
    Size, Spec, Value, generate, render,
};

pub(crate) type Secrets = BTreeMap<String, Value>;

/// Noon of 1 June 2027.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_811_851_200)
}

pub(crate) fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86400)
}

/// Makes one more secret of a session.
pub(crate) fn add(secrets: &mut Secrets, name: &str, spec: &Spec) {
    let value = generate(name, spec, secrets, now()).expect("the secret can be made");
    secrets.insert(name.to_owned(), value);
}

pub(crate) fn text(value: &Value, format: Format) -> String {
    let bytes = render(value, format).expect("the form exists");
    String::from_utf8(bytes.to_vec()).expect("the form is a text")
}

pub(crate) fn authority(key: KeySource, issuer: Option<&str>, valid_for: Option<&str>) -> Spec {
    Spec::Certificate(CertificateSpec {
        key,
        issuer: issuer.map(str::to_owned),
        common_name: None,
        valid_for: valid_for.map(|text| text.parse().unwrap()),
        role: Role::Authority { path_length: None },
    })
}

pub(crate) fn end_entity(
    key: KeySource,
    issuer: Option<&str>,
    endpoint: Option<Endpoint>,
    names: &[&str],
    valid_for: Option<&str>,
) -> Spec {
    Spec::Certificate(CertificateSpec {
        key,
        issuer: issuer.map(str::to_owned),
        common_name: None,
        valid_for: valid_for.map(|text| text.parse().unwrap()),
        role: Role::EndEntity {
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            endpoint,
        },
    })
}

pub(crate) fn private_key(key_type: KeyType) -> Spec {
    Spec::PrivateKey {
        key_type,
        migrate: false,
    }
}

/// One secret of each kind that can be made here, by the name of its kind, and what they need.
pub(crate) fn one_of_each_kind() -> Secrets {
    let mut secrets = Secrets::new();
    let size = Size::default();
    add(&mut secrets, "ascii", &Spec::Ascii { size });
    add(&mut secrets, "binary", &Spec::Binary { size });
    add(&mut secrets, "private-key", &private_key(KeyType::P384));
    add(
        &mut secrets,
        "public-key",
        &Spec::PublicKey {
            private_key: "private-key".to_owned(),
        },
    );
    let fresh = || KeySource::Fresh(KeyType::P256);
    add(&mut secrets, "root", &authority(fresh(), None, None));
    add(
        &mut secrets,
        "x509-ca",
        &authority(fresh(), Some("root"), None),
    );
    let names = ["dns:db.example.org", "ip:10.0.0.1", "ip:fd00::1"];
    let server = Some(Endpoint::Server);
    add(
        &mut secrets,
        "x509",
        &end_entity(fresh(), Some("x509-ca"), server, &names, Some("90 days")),
    );
    add(&mut secrets, "pgp-key", &Spec::PgpKey);
    add(
        &mut secrets,
        "jwt",
        &Spec::Jwt(JwtSpec {
            signer: "private-key".to_owned(),
            validity: "24h".parse().unwrap(),
            payload: JwtPayload::new(BTreeMap::from([("sub".to_owned(), "db".to_owned())]))
                .unwrap(),
        }),
    );
    add(
        &mut secrets,
        "config-fragment",
        &Spec::Explicit {
            given: Given::parse(Kind::ConfigFragment, r#"{"a":[1,2]}"#).unwrap(),
            private_key: None,
        },
    );
    secrets
}
