//! Key-value stores over HTTPS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mse_cas::sources::{
    Before, Freshness, GatherError, KvConfig, SourceError, Sources, SourcesConfig, Wanted,
};
use mse_cas::values::{NoImports, Values, ValuesError};
use mse_crypto::signing::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::server::{Asked, Authority, Reply, Server, TOKEN};
use crate::{make, refusal, rendered, session};

const VALUE: &str = "kv-value-canary";
const OLD: &str = "kv-old-canary";

fn sources() -> Sources {
    Sources::new(SourcesConfig::default())
}

fn answer(fields: &Value, version: u64) -> Reply {
    let answer = json!({
        "request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": {"data": fields, "metadata": {"version": version, "destroyed": false, "deletion_time": ""}},
        "warnings": null,
    });
    Reply::Json(200, answer.to_string())
}

/// Two versions of one secret, for who has the token.
fn store(asked: &Asked) -> Reply {
    if asked.token.as_deref() != Some(TOKEN) {
        return Reply::Json(403, json!({"errors": ["permission denied"]}).to_string());
    }
    match asked.path.as_str() {
        "/v1/secret/data/shop/db" | "/v1/secret/data/shop/db?version=2" => {
            answer(&json!({"password": VALUE, "port": 5432, "hosts": ["a"]}), 2)
        }
        "/v1/secret/data/shop/db?version=1" => answer(&json!({"password": OLD}), 1),
        _ => Reply::Json(404, json!({"errors": []}).to_string()),
    }
}

/// A token and the secret `password`; `more` are further keys of `import_kv`.
fn secrets(server: &Server, more: &str) -> String {
    format!(
        "- {{name: token, kind: ascii, value: {TOKEN}}}\n\
         - {{name: password, kind: ascii, import_kv: {{url: '{}', path: shop/db, field: password, token: token, {more}}}}}\n",
        server.url()
    )
}

#[tokio::test]
async fn the_value_comes_with_its_version() {
    let authority = Authority::new();
    let server = Server::start(&authority, store).await;
    let ca = authority.as_ca();
    let password = "password".parse().unwrap();

    let newest = make(&sources(), &secrets(&server, &ca)).await.unwrap();
    assert_eq!(rendered(&newest.values, "$$MSE::password$$"), VALUE);
    let five_minutes = Duration::from_secs(300);
    assert_eq!(
        newest.fetched[&password],
        Freshness {
            version: Some(2),
            refresh_after: Some(five_minutes)
        }
    );

    let old = make(&sources(), &secrets(&server, &format!("version: 1, {ca}"))).await;
    let old = old.unwrap();
    assert_eq!(rendered(&old.values, "$$MSE::password$$"), OLD);
    assert_eq!(
        old.fetched[&password],
        Freshness {
            version: Some(1),
            refresh_after: None
        }
    );
    let token = Some(TOKEN.to_owned());
    assert_eq!(server.asked()[1].token, token);
}

#[tokio::test]
async fn a_store_that_goes_back_is_not_believed() {
    let authority = Authority::new();
    let server = Server::start(&authority, |_| answer(&json!({"password": OLD}), 1)).await;
    let ca = authority.as_ca();
    let error = refusal(&sources(), &secrets(&server, &format!("version: 2, {ca}"))).await;
    assert!(
        matches!(
            error,
            SourceError::OtherVersion {
                version: 1,
                asked: 2,
                ..
            }
        ),
        "{error}"
    );

    let session = session(&secrets(&server, &ca));
    let mut values = Values::default();
    let now = SystemTime::now();
    let waiting = values.advance(&session, None, &NoImports, now).unwrap();
    let wanted = Wanted::of(waiting[0]).unwrap();
    let sources = sources();
    for (known, is_taken) in [(None, true), (Some(1), true), (Some(2), false)] {
        let fetched = sources.fetch(&session.name, wanted, &values, known).await;
        match fetched {
            Ok(fetched) => assert_eq!((fetched.version, is_taken), (Some(1), true)),
            Err(SourceError::Older {
                version: 1,
                known: 2,
            }) => assert!(!is_taken),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_update_keeps_what_the_cas_makes_and_does_not_go_back() {
    let authority = Authority::new();
    let version = Arc::new(AtomicU64::new(5));
    let answered = Arc::clone(&version);
    let server = Server::start(&authority, move |_| {
        answer(&json!({"password": VALUE}), answered.load(Ordering::SeqCst))
    })
    .await;
    let ca = authority.as_ca();
    let text = format!("{}- {{name: own, kind: ascii}}\n", secrets(&server, &ca));
    let old = session(&text);
    let now = SystemTime::now();
    let made = sources().make(&old, None, &NoImports, now).await.unwrap();
    let before = Before {
        session: &old,
        values: &made.values,
        fetched: &made.fetched,
    };
    let after = sources().make(&old, Some(before), &NoImports, now).await;
    assert_eq!(
        rendered(&after.unwrap().values, "$$MSE::own$$"),
        rendered(&made.values, "$$MSE::own$$")
    );
    version.store(4, Ordering::SeqCst);
    let after = sources().make(&old, Some(before), &NoImports, now).await;
    assert!(matches!(
        after,
        Err(GatherError::Fetch {
            source: SourceError::Older {
                version: 4,
                known: 5
            },
            ..
        })
    ));
    // Another place has versions of its own.
    let moved = session(&text.replace("shop/db", "shop/other"));
    sources()
        .make(&moved, Some(before), &NoImports, now)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_kind_is_checked_as_if_the_owner_had_written_it() {
    let authority = Authority::new();
    let key = SigningKey::generate(Algorithm::P384);
    let certificate = rcgen::generate_simple_self_signed(["api".to_owned()]).unwrap();
    let pem = format!(
        "{}{}",
        certificate.cert.pem(),
        certificate.signing_key.serialize_pem()
    );
    let fields = json!({
        "text": "wörter", "hex": "00ff10", "key": &**key.to_pem(), "public": key.public().to_pem(), "pem": pem
    });
    let server = Server::start(&authority, move |_| answer(&fields, 7)).await;
    let one = |name: &str, kind: &str, field: &str| {
        format!(
            "- {{name: {name}, kind: {kind}, import_kv: {{url: '{}', mount: kv/shop, path: 'a b/ü', field: {field}, token: token, {}}}}}\n",
            server.url(),
            authority.as_ca()
        )
    };
    let token = format!("- {{name: token, kind: ascii, value: {TOKEN}}}\n");
    let all = [
        token.clone(),
        one("text", "ascii", "text"),
        one("bytes", "binary", "hex"),
        one("key", "private-key", "key"),
        one("public", "public-key", "public"),
        one("pem", "x509", "pem"),
        "- {name: derived, kind: public-key, private_key: key}\n".to_owned(),
    ];
    let made = make(&sources(), &all.concat()).await.unwrap();
    assert_eq!(rendered(&made.values, "$$MSE::text$$"), "wörter");
    assert_eq!(rendered(&made.values, "$$MSE::bytes:base64$$"), "AP8Q");
    assert_eq!(rendered(&made.values, "$$MSE::key$$"), **key.to_pem());
    assert_eq!(
        rendered(&made.values, "$$MSE::derived$$"),
        rendered(&made.values, "$$MSE::public$$")
    );
    assert!(rendered(&made.values, "$$MSE::pem:privatekey$$").contains("PRIVATE KEY"));
    // Segments are escaped, and stay segments.
    assert_eq!(server.asked()[0].path, "/v1/kv/shop/data/a%20b/%C3%BC");

    for (kind, field) in [
        ("binary", "text"),
        ("private-key", "public"),
        ("x509-ca", "pem"),
    ] {
        let error = refusal(&sources(), &[&token, &*one("x", kind, field)].concat()).await;
        assert!(matches!(error, SourceError::Given(_)), "{kind}: {error}");
    }
}

#[tokio::test]
async fn what_opens_a_source_may_come_from_another() {
    let authority = Authority::new();
    let server = Server::start(&authority, |asked| match asked.path.as_str() {
        "/v1/secret/data/first" if asked.token.as_deref() == Some("one") => {
            answer(&json!({"token": TOKEN}), 1)
        }
        _ => store(asked),
    })
    .await;
    let (url, ca) = (server.url(), authority.as_ca());
    let secrets = format!(
        "- {{name: dsn, kind: ascii, value: 'db://:$$SCONE::password$$@db'}}\n\
         - {{name: password, kind: ascii, import_kv: {{url: '{url}', path: shop/db, field: password, token: $$SCONE::second$$, {ca}}}}}\n\
         - {{name: second, kind: ascii, import_kv: {{url: '{url}', path: first, field: token, token: first, {ca}}}}}\n\
         - {{name: first, kind: ascii, value: one}}\n"
    );
    let made = make(&sources(), &secrets).await.unwrap();
    assert_eq!(
        rendered(&made.values, "$$MSE::dsn$$"),
        format!("db://:{VALUE}@db")
    );
    assert_eq!(made.fetched.len(), 2);

    // Who does not fetch is told so, instead of of a circle.
    let error = Values::make(&session(&secrets), None, &NoImports, SystemTime::now());
    assert!(matches!(error, Err(ValuesError::NotFetched(name)) if name.as_str() == "password"));
}

#[tokio::test]
async fn refusals_say_why_and_no_secret() {
    let authority = Authority::new();
    let other = Authority::new();
    let elsewhere = Server::start(&authority, store).await;
    let location = format!("location: {}/v1/secret/data/shop/db\r\n", elsewhere.url());
    let ca = authority.as_ca();
    type Check = fn(&SourceError) -> bool;
    let cases: Vec<(Server, Check)> = vec![
        (
            Server::start(&authority, |_| Reply::Json(403, "{}".into())).await,
            |error| matches!(error, SourceError::Forbidden(_)),
        ),
        (
            Server::start(&authority, |_| Reply::Json(404, "{}".into())).await,
            |error| matches!(error, SourceError::NotFound { .. }),
        ),
        (
            Server::start(&authority, |_| Reply::Json(503, "{}".into())).await,
            |error| matches!(error, SourceError::Status { status: 503, .. }) && error.is_passing(),
        ),
        (
            Server::start(&authority, move |_| Reply::Head(307, location.clone())).await,
            |error| matches!(error, SourceError::Redirected(_)),
        ),
        (
            Server::start(&authority, |_| {
                answer(&json!({"password": "a".repeat(1024 * 1024)}), 1)
            })
            .await,
            |error| matches!(error, SourceError::TooLarge { .. }),
        ),
        (
            Server::start(&authority, |_| Reply::Endless).await,
            |error| matches!(error, SourceError::TooLarge { .. }),
        ),
        (
            Server::start(&authority, |_| {
                answer(&json!({"password": "a".repeat(65 * 1024)}), 1)
            })
            .await,
            |error| matches!(error, SourceError::Given(_)),
        ),
        (
            Server::start(&authority, |_| Reply::Json(200, format!("<p>{VALUE}"))).await,
            |error| matches!(error, SourceError::Answer(_)),
        ),
        (
            // Version 1 of the engine.
            Server::start(&authority, |_| {
                Reply::Json(200, json!({"data": {"password": VALUE}}).to_string())
            })
            .await,
            |error| matches!(error, SourceError::Answer(_)),
        ),
        (
            Server::start(&authority, |_| answer(&json!({"passwort": VALUE}), 1)).await,
            |error| matches!(error, SourceError::Field(_)),
        ),
        (
            Server::start(&authority, |_| {
                answer(&json!({"password": {"a": VALUE}}), 1)
            })
            .await,
            |error| matches!(error, SourceError::Field(_)),
        ),
        (Server::start(&other, store).await, |error| {
            matches!(error, SourceError::Unreachable { .. })
        }),
        (Server::misnamed(&authority).await, |error| {
            matches!(error, SourceError::Unreachable { .. })
        }),
    ];
    for (index, (server, check)) in cases.iter().enumerate() {
        let error = refusal(&sources(), &secrets(server, &ca)).await;
        assert!(check(&error), "{index}: {error}");
        let text = format!("{error} {error:?}");
        for canary in [TOKEN, VALUE] {
            assert!(!text.contains(canary), "{index}: {text}");
        }
    }
    // The token went nowhere else: not to where a redirect points, and not to who is not trusted.
    assert_eq!(elsewhere.asked(), []);
    for (server, _) in &cases[cases.len() - 2..] {
        assert_eq!(server.asked(), []);
    }

    // The roots of the system do not vouch for a test's authority.
    let error = refusal(&sources(), &secrets(&elsewhere, "")).await;
    assert!(
        matches!(
            error,
            SourceError::Unreachable { .. } | SourceError::Https(_)
        ),
        "{error}"
    );
    assert_eq!(elsewhere.asked(), []);
}

#[tokio::test]
async fn a_wrong_token_reads_nothing() {
    let authority = Authority::new();
    let server = Server::start(&authority, store).await;
    let secrets = secrets(&server, &authority.as_ca());
    let error = refusal(&sources(), &secrets.replace(TOKEN, "another")).await;
    assert!(matches!(error, SourceError::Forbidden(_)), "{error}");
    let error = refusal(&sources(), &secrets.replace(TOKEN, "\"two\\nlines\"")).await;
    assert!(matches!(error, SourceError::TokenForm), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let authority = Authority::new();
    let server = Server::start(&authority, |_| Reply::Silence).await;
    let sources = Sources::new(SourcesConfig {
        kv: KvConfig {
            timeout: Duration::from_millis(300),
            ..KvConfig::default()
        },
        ..SourcesConfig::default()
    });
    let error = refusal(&sources, &secrets(&server, &authority.as_ca())).await;
    assert!(matches!(error, SourceError::TimedOut { .. }), "{error}");
    assert!(error.is_passing());
}

#[tokio::test]
async fn the_operator_says_whom_sessions_may_ask() {
    let server = Server::plain(store).await;
    let secrets = secrets(&server, "");
    let error = refusal(&sources(), &secrets).await;
    assert!(matches!(error, SourceError::Plain(_)), "{error}");
    let with = |servers: Option<&str>| {
        Sources::new(SourcesConfig {
            kv: KvConfig {
                allow_plain: true,
                servers: servers.map(|url| [url.parse().unwrap()].into()),
                ..KvConfig::default()
            },
            ..SourcesConfig::default()
        })
    };
    let error = refusal(&with(Some("https://vault.example")), &secrets).await;
    assert!(matches!(error, SourceError::Server(_)), "{error}");
    assert_eq!(server.asked(), []);
    for sources in [with(None), with(Some(&server.url()))] {
        let made = make(&sources, &secrets).await.unwrap();
        assert_eq!(rendered(&made.values, "$$MSE::password$$"), VALUE);
    }

    let many: String = (0..65)
        .map(|n| {
            secrets
                .lines()
                .nth(1)
                .unwrap()
                .replace("name: password", &format!("name: p{n}"))
                + "\n"
        })
        .collect();
    let token = secrets.lines().next().unwrap();
    let error = make(&with(None), &format!("{token}\n{many}"))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, GatherError::TooMany(65)), "{error}");
}
