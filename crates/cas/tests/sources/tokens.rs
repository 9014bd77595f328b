//! Tokens behind PKCS#11, with SoftHSM.

use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use mse_cas::sources::{ModuleConfig, SourceError, Sources, SourcesConfig, TokenConfig};
use mse_crypto::Zeroizing;
use mse_pkcs11::TokenError;

use crate::softhsm::{PIN, SoftHsm, TOKEN};
use crate::{make, refusal, rendered};

fn sources(sessions: &[&str], pin: Option<&str>) -> Sources {
    let token = TokenConfig {
        sessions: sessions.iter().map(|name| name.parse().unwrap()).collect(),
        pin: pin.map(|pin| Zeroizing::new(pin.to_owned())),
    };
    let module = ModuleConfig {
        path: SoftHsm::library(),
        tokens: [(TOKEN.parse().unwrap(), token)].into(),
        timeout: Duration::from_secs(60),
    };
    Sources::new(SourcesConfig {
        modules: [("hsm".parse().unwrap(), module)].into(),
        ..SourcesConfig::default()
    })
}

fn secrets(module: &str, token: &str, object: &str, kind: &str, pin: Option<&str>) -> String {
    let (given, named) = match pin {
        Some(pin) => (
            format!("- {{name: pin, kind: ascii, value: '{pin}'}}\n"),
            ", pin: $$SCONE::pin$$",
        ),
        None => (String::new(), ""),
    };
    format!(
        "{given}- {{name: master, kind: {kind}, import_pkcs11: {{module: {module}, token: {token}, object: {object}{named}}}}}\n"
    )
}

#[test]
fn a_value_is_read_from_a_token() {
    SoftHsm::new().run("tokens::values");
}

#[tokio::test]
#[ignore = "run by `a_value_is_read_from_a_token`"]
async fn values() {
    fill();
    let of = |object, kind, pin| secrets("hsm", TOKEN, object, kind, pin);
    let brought = sources(&["shop"], None);
    let made = make(&brought, &of("master", "binary", Some(PIN)))
        .await
        .unwrap();
    assert_eq!(
        rendered(&made.values, "$$MSE::master:hex$$"),
        "07".repeat(32)
    );
    let made = make(
        &sources(&["shop/api"], Some(PIN)),
        &of("note", "ascii", None),
    )
    .await;
    assert_eq!(rendered(&made.unwrap().values, "$$MSE::master$$"), "a note");

    let refused = |secrets: String| async move {
        let error = refusal(&sources(&["shop"], None), &secrets).await;
        assert!(!format!("{error} {error:?}").contains(PIN), "{error:?}");
        error
    };
    assert!(matches!(
        refused(of("master", "ascii", Some("0000-wrong"))).await,
        SourceError::Pkcs11(TokenError::WrongPin(_))
    ));
    assert!(matches!(
        refused(of("master", "binary", None)).await,
        SourceError::Pkcs11(TokenError::PinMissing(_))
    ));
    assert!(matches!(
        refused(of("inside", "binary", Some(PIN))).await,
        SourceError::Pkcs11(TokenError::NotExtractable(_))
    ));
    assert!(matches!(
        refused(of("noise", "ascii", Some(PIN))).await,
        SourceError::NotText
    ));
    // Many at once: they take turns, for the library has one login for all.
    let many: String = (0..16)
        .map(|n| {
            let lines = of("master", "binary", Some(PIN));
            let line = lines.lines().nth(1).unwrap();
            line.replace("name: master", &format!("name: m{n}")) + "\n"
        })
        .collect();
    let pin = format!("- {{name: pin, kind: ascii, value: '{PIN}'}}\n");
    let made = make(&brought, &format!("{pin}{many}")).await.unwrap();
    assert_eq!(made.fetched.len(), 16);
}

#[tokio::test]
async fn a_session_reaches_what_the_operator_opened_for_it() {
    // No library is loaded for any of these.
    for (allowed, module, token) in [
        (&["shop/other", "shopping"][..], "hsm", TOKEN),
        (&["shop"], "hsm", "another"),
        (&[], "hsm", TOKEN),
    ] {
        let sources = absent(allowed);
        let error = refusal(&sources, &secrets(module, token, "o", "binary", None)).await;
        assert!(matches!(error, SourceError::Token { .. }), "{error}");
    }
    let error = refusal(
        &absent(&["/"]),
        &secrets("other", TOKEN, "o", "binary", None),
    )
    .await;
    assert!(matches!(error, SourceError::Module(_)), "{error}");
    let error = refusal(&absent(&["/"]), &secrets("hsm", TOKEN, "o", "binary", None)).await;
    assert!(
        matches!(error, SourceError::Pkcs11(TokenError::Module { .. })),
        "{error}"
    );
}

/// A module that is not there.
fn absent(sessions: &[&str]) -> Sources {
    let token = TokenConfig {
        sessions: sessions.iter().map(|name| name.parse().unwrap()).collect(),
        pin: None,
    };
    let module = ModuleConfig {
        path: "/nonexistent/library.so".into(),
        tokens: [(TOKEN.parse().unwrap(), token)].into(),
        timeout: Duration::from_secs(60),
    };
    Sources::new(SourcesConfig {
        modules: [("hsm".parse().unwrap(), module)].into(),
        ..SourcesConfig::default()
    })
}

fn fill() {
    let context = Pkcs11::new(SoftHsm::library()).unwrap();
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_rw_session(slot).unwrap();
    let pin = AuthPin::new(PIN.into());
    session.login(UserType::User, Some(&pin)).unwrap();
    for (label, is_extractable, value) in [
        ("master", true, vec![7; 32]),
        ("inside", false, vec![8; 32]),
        ("noise", true, vec![0xff; 4]),
    ] {
        session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(!is_extractable),
                Attribute::Extractable(is_extractable),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Value(value),
            ])
            .unwrap();
    }
    session
        .create_object(&[
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(b"note".to_vec()),
            Attribute::Value(b"a note".to_vec()),
        ])
        .unwrap();
}
