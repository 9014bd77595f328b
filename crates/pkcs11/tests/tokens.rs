//! Tokens, with SoftHSM. Each test makes its token, and runs the ignored one of its name against it.

mod softhsm;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_pkcs11::{Module, TokenError};

use crate::softhsm::{PIN, SoftHsm, TOKEN};

#[test]
fn values_that_may_leave_do() {
    SoftHsm::new().run("values");
}

#[test]
#[ignore = "run by `values_that_may_leave_do`"]
fn values() {
    let session = owner();
    let secret = |label: &str, extractable: bool, value: &[u8]| {
        session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(!extractable),
                Attribute::Extractable(extractable),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Value(value.to_vec()),
            ])
            .unwrap();
    };
    secret("master", true, &[7; 32]);
    secret("inside", false, &[8; 32]);
    secret("twice", true, &[9; 32]);
    secret("twice", true, &[9; 32]);
    session
        .create_object(&[
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(b"note".to_vec()),
            Attribute::Value(b"a note".to_vec()),
        ])
        .unwrap();
    drop(session);

    let module = Module::load(&SoftHsm::library()).unwrap();
    let token = module.open(TOKEN, Some(PIN)).unwrap();
    assert_eq!(*token.value("master").unwrap(), [7; 32]);
    assert_eq!(*token.value("note").unwrap(), b"a note");
    for (label, is_expected) in [
        (
            "inside",
            (|error| matches!(error, TokenError::NotExtractable(_))) as fn(_) -> bool,
        ),
        ("twice", |error| {
            matches!(error, TokenError::SeveralObjects { .. })
        }),
        ("nothing", |error| {
            matches!(error, TokenError::NoObject { .. })
        }),
    ] {
        let error = token.value(label).unwrap_err();
        let text = error.to_string();
        assert!(is_expected(error), "{label}: {text}");
    }
}

#[test]
fn a_login_is_by_pin_and_ends() {
    SoftHsm::new().run("logins");
}

#[test]
#[ignore = "run by `a_login_is_by_pin_and_ends`"]
fn logins() {
    let module = Module::load(&SoftHsm::library()).unwrap();
    let error = |token: &str, pin| module.open(token, pin).err().unwrap();
    assert!(matches!(error("other", Some(PIN)), TokenError::NoToken(_)));
    assert!(matches!(error(TOKEN, None), TokenError::PinMissing(_)));
    let wrong = error(TOKEN, Some("0000-wrong"));
    assert!(matches!(wrong, TokenError::WrongPin(_)), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("0000"));

    let token = module.open(TOKEN, Some(PIN)).unwrap();
    // The library has one login for all: nobody goes along with it, whatever PIN they show.
    for pin in [PIN, "0000-wrong"] {
        let error = error(TOKEN, Some(pin));
        assert!(
            matches!(error, TokenError::InUse(_) | TokenError::WrongPin(_)),
            "{error}"
        );
    }
    drop(token);
    assert!(matches!(
        error(TOKEN, Some("0000-wrong")),
        TokenError::WrongPin(_)
    ));
    module.open(TOKEN, Some(PIN)).unwrap();
}

#[test]
fn keys_sign_where_they_are() {
    let token = SoftHsm::new();
    for (label, id, algorithm) in [
        ("board", "01", Algorithm::P384),
        ("alice", "02", Algorithm::Ed25519),
    ] {
        token.import(label, id, &SigningKey::generate(algorithm).to_pem());
    }
    token.run("signatures");
}

#[test]
#[ignore = "run by `keys_sign_where_they_are`"]
fn signatures() {
    let session = owner();
    let curve = |label: &[u8], oid: &[u8]| {
        let public = [
            Attribute::Token(true),
            Attribute::EcParams(oid.to_vec()),
            Attribute::Label(label.to_vec()),
            Attribute::Verify(true),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::Label(label.to_vec()),
        ];
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .unwrap();
    };
    // secp384r1, made on the token; prime256v1, which does not sign here.
    curve(b"made", &[6, 5, 0x2b, 0x81, 4, 0, 0x22]);
    curve(b"small", &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    drop(session);

    let module = Module::load(&SoftHsm::library()).unwrap();
    let token = module.open(TOKEN, Some(PIN)).unwrap();
    for (label, algorithm) in [
        ("board", Algorithm::P384),
        ("made", Algorithm::P384),
        ("alice", Algorithm::Ed25519),
    ] {
        let signer = token.signer(label).unwrap();
        assert_eq!(signer.public().algorithm(), algorithm);
        let signature = signer.sign(b"mse-test-v1\0message").unwrap();
        let verify = |message: &[u8]| signer.public().verify("mse-test-v1", message, &signature);
        assert_eq!(verify(b"message"), Ok(()), "{label}");
        assert!(verify(b"massage").is_err(), "{label}");
    }
    let error = token.signer("small").err().unwrap();
    assert!(matches!(error, TokenError::PublicKey(_)), "{error}");
    let error = token.signer("nobody").err().unwrap();
    assert!(matches!(error, TokenError::NoObject { .. }), "{error}");
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    for path in [text, folder.path().join("nothing.so")] {
        let error = Module::load(&path).err().unwrap();
        assert!(matches!(error, TokenError::Module { .. }), "{error}");
    }
    let error = Module::load("libsofthsm2.so".as_ref()).err().unwrap();
    assert!(matches!(error, TokenError::RelativePath(_)), "{error}");
}

/// A session that may write.
fn owner() -> Session {
    let context = Pkcs11::new(SoftHsm::library()).unwrap();
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_rw_session(slot).unwrap();
    let pin = AuthPin::new(PIN.into());
    session.login(UserType::User, Some(&pin)).unwrap();
    session
}
