//! Values that owners give.

use mse_crypto::pem;
use mse_secrets::{Format, Given, InvalidGiven, Kind};
use proptest::prelude::*;

mod common;

use common::{one_of_each_kind, text};

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

proptest! {
    #[test]
    fn no_text_makes_a_given_value_panic(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY)-----|[A-Za-z0-9+/=]{0,20}|\n){0,8}") {
        for kind in Kind::ALL {
            let _ = Given::parse(kind, &text);
        }
    }
}
