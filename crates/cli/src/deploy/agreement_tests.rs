use std::collections::BTreeMap;

use jiff::Timestamp;
use mse_api::AppStatus;
use mse_crypto::Digest;
use mse_workload::{AppId, Measured};
use uuid::Uuid;

use super::*;

fn request() -> CreateApp {
    CreateApp {
        name: "hello".into(),
        project: "default".into(),
        dev_mode: false,
        healthcheck_endpoint: "/health".into(),
        python_application: "app:app".into(),
        expires_at: Some("2030-01-01T00:00:00.5Z".parse().unwrap()),
        ssl_certificate: None,
        domain_name: None,
        hardware: "4g-eu-001".into(),
        docker: "mse-flask:20261123000000".into(),
        image_digest: None,
        bundle_digest: None,
        source_commitment: None,
        code_key_check: None,
        environment: BTreeMap::new(),
    }
}

fn app() -> App {
    let now = Timestamp::UNIX_EPOCH;
    App {
        id: AppId(Uuid::from_u128(7)),
        name: "hello".into(),
        project_id: Uuid::from_u128(1),
        owner_id: "me".into(),
        domain_name: "hello.mse.localhost".into(),
        config_domain_name: "7.mse.localhost".into(),
        docker: "mse-flask:20261123000000".into(),
        created_at: now,
        ready_at: None,
        stopped_at: None,
        status: AppStatus::Initializing,
        hardware_name: "4g-eu-001".into(),
        ssl_certificate_origin: TlsOrigin::Enclave,
        expires_at: "2029-01-01T00:00:00.9Z".parse().unwrap(),
        python_application: "app:app".into(),
        healthcheck_endpoint: "/health".into(),
        url: "https://hello.mse.localhost".into(),
        gateway: String::new(),
        tls_names: vec!["hello.mse.localhost".into(), "7.mse.localhost".into()],
        tee: "simulated".into(),
        memory_mib: 4096,
        millicores: 380,
        status_reason: None,
        confinement: Vec::new(),
    }
}

fn agree(
    origin: TlsOrigin,
    ask: impl FnOnce(&mut CreateApp),
    answer: impl FnOnce(&mut App),
) -> Result<Workload, String> {
    let (mut request, mut app) = (request(), app());
    ask(&mut request);
    answer(&mut app);
    let sealed = SealedBundle {
        key_check: Digest::of(b"key"),
        digest: Digest::of(b"bundle"),
        commitment: Digest::of(b"source"),
        nonces: BTreeMap::new(),
        size: 0,
    };
    let hardware = Hardware {
        name: "4g-eu-001".into(),
        memory: 4,
        cores: 0.38,
        enclave_size: 4096,
    };
    let asked = Asked {
        request: &request,
        image: &ImageIdentity {
            name: request.docker.clone(),
            digest: Digest::of(b"image"),
        },
        health: &HealthEndpoint::try_from("/health".to_owned()).unwrap(),
        origin,
        sealed: &sealed,
        hardware: &hardware,
    };
    asked.agree(&app).map_err(|failure| {
        assert_eq!(failure.exit(), Exit::Refused);
        failure.message().to_owned()
    })
}

#[test]
fn the_workload_is_ours_with_what_the_platform_may_choose() {
    let workload = agree(TlsOrigin::Enclave, |_| {}, |_| {}).unwrap();
    assert_eq!(workload.app_id, app().id);
    assert_eq!(workload.bundle, Digest::of(b"bundle"));
    assert_eq!(workload.image.digest, Digest::of(b"image"));
    assert_eq!(workload.tls.names, app().tls_names);
    assert_eq!(workload.expires_at, Some(1_861_920_000));
    assert_eq!(workload.resources.millicores, 380);
    // What it cannot read it cannot have made: the form must be valid.
    assert_eq!(
        Workload::from_json(&workload.canonical()).unwrap(),
        workload
    );
}

#[test]
fn what_the_platform_may_not_choose_is_compared() {
    type Lie = fn(&mut App);
    let lies: [(&str, Lie); 12] = [
        ("`name`", |app| app.name.push('x')),
        ("`docker`", |app| app.docker.push('x')),
        ("`hardware_name`", |app| app.hardware_name.push('x')),
        ("`python_application`", |app| {
            app.python_application.push('x');
        }),
        ("`healthcheck_endpoint`", |app| {
            app.healthcheck_endpoint.push('x');
        }),
        ("`ssl_certificate_origin`", |app| {
            app.ssl_certificate_origin = TlsOrigin::Operator;
        }),
        ("`expires_at`", |app| {
            app.expires_at = "2030-01-01T00:00:01Z".parse().unwrap();
        }),
        ("`expires_at`", |app| app.expires_at = Timestamp::MIN),
        ("memory_mib", |app| app.memory_mib = 2048),
        ("millicores", |app| app.millicores = 381),
        ("`tls_names`", |app| app.tls_names.truncate(1)),
        ("`tls_names`", |app| app.domain_name.push('x')),
    ];
    for (field, lie) in lies {
        let refusal = agree(TlsOrigin::Enclave, |_| {}, lie).unwrap_err();
        assert!(refusal.contains(field), "{field}: {refusal}");
    }
}

#[test]
fn an_app_without_a_date_gets_the_platforms() {
    let workload = agree(TlsOrigin::Enclave, |ask| ask.expires_at = None, |_| {}).unwrap();
    assert_eq!(workload.expires_at, Some(1_861_920_000));
}

#[test]
fn an_owners_certificate_is_measured_and_its_domain_kept() {
    let own = |ask: &mut CreateApp| {
        ask.ssl_certificate = Some("PEM".into());
        ask.domain_name = Some("app.example.com".into());
    };
    let answer = |app: &mut App| {
        app.ssl_certificate_origin = TlsOrigin::Owner;
        app.domain_name = "app.example.com".into();
        app.url = "https://app.example.com:7343".into();
        app.tls_names = vec!["7.mse.localhost".into()];
    };
    let workload = agree(TlsOrigin::Owner, own, answer).unwrap();
    assert_eq!(workload.tls.certificate, Some(Digest::of(b"PEM")));
    let other_domain = |app: &mut App| {
        answer(app);
        app.domain_name = "app.example.org".into();
    };
    let refusal = agree(TlsOrigin::Owner, own, other_domain).unwrap_err();
    assert!(refusal.contains("`domain_name`"), "{refusal}");
}
