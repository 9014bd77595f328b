use mse_crypto::Digest;
use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::bench::{Bench, conf, with};

#[tokio::test]
async fn what_is_asked_for_is_what_is_shown() {
    let bench = Bench::start_with(&[]).await;
    let owner = bench.owner().await;
    let app = owner.deploy(&bench, "Hello World", "normal").await;
    assert_eq!(app["name"], "Hello World");
    assert_eq!(app["status"], "spawning");
    assert_eq!(app["ssl_certificate_origin"], "self");
    assert_eq!(app["memory_mib"], 4096);
    assert_eq!(app["millicores"], 2000);
    assert_eq!(app["tee"], "simulated");
    assert_eq!(app["gateway"], bench.server().gateway());
    let domain = app["domain_name"].as_str().unwrap();
    assert!(domain.starts_with("hello-world-") && domain.ends_with(".mse.localhost"));
    let config_domain = format!("{}.mse.localhost", app["id"].as_str().unwrap());
    assert_eq!(app["config_domain_name"], config_domain);
    assert_eq!(
        app["tls_names"],
        json!([domain, config_domain, "localhost", "127.0.0.1"])
    );
    // The free hardware ends after four hours.
    let time = |field: &str| -> jiff::Timestamp { app[field].as_str().unwrap().parse().unwrap() };
    let life = time("expires_at").duration_since(time("created_at"));
    assert!((14_395..=14_400).contains(&life.as_secs()), "{life:?}");
    assert!(
        app["url"]
            .as_str()
            .unwrap()
            .starts_with("https://localhost:")
    );
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_leaves_nothing() {
    let bench = Bench::start_with(&["--max-bundle", "1"]).await;
    let owner = bench.owner().await;
    let bundle = bench.bundle();
    let good = conf("hello", "normal", &bundle);
    let other = Digest::of(b"other").to_string();
    let mut cut = bundle.bytes.clone();
    // In the middle of the file; what comes after it is padding.
    cut.truncate(520);
    let large = vec![0; (1 << 20) + 1];
    let cases: Vec<(u16, &str, &str, Value, &[u8])> = vec![
        (
            404,
            "not_found",
            "no project `x`",
            with(good.clone(), "project", "x"),
            &bundle.bytes,
        ),
        (
            409,
            "no_hardware",
            "no hardware `x`",
            with(good.clone(), "hardware", "x"),
            &bundle.bytes,
        ),
        (
            422,
            "image_refused",
            "nginx",
            with(good.clone(), "docker", "nginx:1"),
            &bundle.bytes,
        ),
        (
            422,
            "image_refused",
            "latest",
            with(good.clone(), "docker", "mse-flask:latest"),
            &bundle.bytes,
        ),
        (
            422,
            "image_refused",
            &other,
            with(good.clone(), "image_digest", other.as_str()),
            &bundle.bytes,
        ),
        (
            422,
            "invalid",
            "compatibility mode",
            with(good.clone(), "bundle_digest", Value::Null),
            &bundle.bytes,
        ),
        (
            422,
            "invalid",
            "has the digest",
            with(good.clone(), "bundle_digest", other.as_str()),
            &bundle.bytes,
        ),
        (422, "invalid", "bundle", good.clone(), b"not a tar archive"),
        (422, "invalid", "bundle", good.clone(), &cut),
        (413, "too_large", "over 1048576 bytes", good.clone(), &large),
        (
            400,
            "bad_request",
            "unknown field",
            with(good.clone(), "secrets", "x"),
            &bundle.bytes,
        ),
        (
            413,
            "too_large",
            "over 262144 bytes",
            with(good.clone(), "name", "x".repeat(300_000)),
            &bundle.bytes,
        ),
    ];
    for (status, code, word, conf, bytes) in cases {
        let (answered, refusal) = owner.create(&conf, bytes).await;
        let text = refusal.to_string();
        assert_eq!(answered.as_u16(), status, "{word}: {text}");
        assert_eq!(refusal["code"], code, "{text}");
        assert!(text.contains(word), "`{word}` is not in {text}");
        assert_eq!(
            bench.leftovers(),
            Vec::<std::path::PathBuf>::new(),
            "{word}"
        );
    }
    let (_, apps) = owner.get("/apps").await;
    assert_eq!(apps, json!([]));
    // The same request without the fault is taken.
    assert_eq!(owner.create(&good, &bundle.bytes).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_form_must_have_both_parts_once_and_no_other() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let bundle = bench.bundle();
    let code = || Part::bytes(bundle.bytes.clone()).file_name("app.tar");
    let settings = || Part::text(conf("hello", "normal", &bundle).to_string());
    let part = Form::new;
    for (word, form) in [
        ("`code` is missing", part().part("conf", settings())),
        ("`conf` is missing", part().part("code", code())),
        ("`more` is unknown", part().part("more", code())),
        (
            "comes twice",
            part().part("code", code()).part("code", code()),
        ),
    ] {
        let (status, refusal) = owner.send_form(form, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{word}");
        assert!(refusal.to_string().contains(word), "{refusal}");
        assert!(bench.leftovers().is_empty(), "{word}");
    }
    // Any order will do.
    let form = part().part("conf", settings()).part("code", code());
    let (status, app) = owner.send_form(form, None).await;
    assert_eq!(status, StatusCode::OK, "{app}");
}

#[tokio::test]
async fn a_name_and_a_slot_are_taken_once() {
    let bench = Bench::start_with(&[]).await;
    let owner = bench.owner().await;
    let first = owner.deploy(&bench, "hello", "normal").await;
    let bundle = bench.bundle();
    let again = conf("hello", "normal", &bundle);
    let (status, refusal) = owner.create(&again, &bundle.bytes).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::CONFLICT, &json!("name_taken"))
    );
    let other = conf("other", "normal", &bundle);
    let (status, refusal) = owner.create(&other, &bundle.bytes).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::CONFLICT, &json!("no_hardware"))
    );
    assert!(
        refusal["message"].as_str().unwrap().contains("all 1 slots"),
        "{refusal}"
    );
    let (_, apps) = owner.get("/apps").await;
    assert_eq!(apps.as_array().unwrap().len(), 1);

    owner.until(&first, "initializing").await;
    let path = format!("/apps/{}/stop", first["id"].as_str().unwrap());
    let (status, stopped) = owner.post(&path).await;
    assert_eq!(
        (status, &stopped["status"]),
        (StatusCode::OK, &json!("stopped"))
    );
    let (status, second) = owner.create(&again, &bundle.bytes).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    // The same app has the same address, and another id.
    for field in ["domain_name", "url"] {
        assert_eq!(first[field], second[field]);
    }
    assert_ne!(first["id"], second["id"]);
    // Ended by somebody else's TLS it is another app to its users.
    let (_, _) = owner
        .post(&format!("/apps/{}/stop", second["id"].as_str().unwrap()))
        .await;
    let operators = with(again, "dev_mode", true);
    let (_, third) = owner.create(&operators, &bundle.bytes).await;
    assert_eq!(third["ssl_certificate_origin"], "operator");
    assert_ne!(first["domain_name"], third["domain_name"]);
}

#[tokio::test]
async fn two_at_once_do_not_share_a_name() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let bundle = bench.bundle();
    let request = conf("hello", "normal", &bundle);
    let tries = (0..6).map(|_| owner.create(&request, &bundle.bytes));
    let answers = futures_util::future::join_all(tries).await;
    let count = |wanted: StatusCode| {
        answers
            .iter()
            .filter(|(status, _)| *status == wanted)
            .count()
    };
    assert_eq!(count(StatusCode::OK), 1, "{answers:?}");
    assert_eq!(count(StatusCode::CONFLICT), 5, "{answers:?}");
}

#[tokio::test]
async fn a_repeated_request_makes_one_app() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let bundle = bench.bundle();
    let request = conf("hello", "normal", &bundle);
    let create = |conf: Value, key: &'static str| {
        let (owner, bytes) = (owner.clone(), bundle.bytes.clone());
        async move { owner.create_with_key(&conf, &bytes, Some(key)).await }
    };
    let (_, first) = create(request.clone(), "k1").await;
    let (status, again) = create(request.clone(), "k1").await;
    assert_eq!(status, StatusCode::OK, "{again}");
    assert_eq!(first["id"], again["id"]);
    let (status, refusal) = create(with(request.clone(), "name", "other"), "k1").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refusal.to_string().contains("another request"), "{refusal}");
    // Even once it has ended: the answer is about that very app.
    owner.until(&first, "initializing").await;
    owner
        .post(&format!("/apps/{}/stop", first["id"].as_str().unwrap()))
        .await;
    let (_, later) = create(request.clone(), "k1").await;
    assert_eq!(
        (&later["id"], &later["status"]),
        (&first["id"], &json!("stopped"))
    );
    let (_, another) = create(request, "k2").await;
    assert_ne!(another["id"], first["id"]);
    let (_, apps) = owner.get("/apps").await;
    assert_eq!(apps.as_array().unwrap().len(), 2);
}
