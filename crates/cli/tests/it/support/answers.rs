//! What the API of a platform says, in its wire forms.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use mse_api::{App, AppStatus, ErrorCode, Hardware, PartialApp, Project, SessionToken, User};
use mse_workload::{AppId, TlsOrigin};
use serde_json::json;
use uuid::Uuid;

pub(super) type Answer = Response<Full<Bytes>>;

/// An app of some age, for tables.
pub(crate) fn some_app(id: u128, name: &str, status: AppStatus) -> App {
    let created_at: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    App {
        id: AppId(Uuid::from_u128(id)),
        name: name.to_owned(),
        project_id: Uuid::from_u128(1),
        owner_id: "owner".to_owned(),
        domain_name: format!("{name}.mse.localhost"),
        config_domain_name: format!("{id}.mse.localhost"),
        docker: "mse-flask:20261123000000".to_owned(),
        created_at,
        ready_at: Some(created_at),
        stopped_at: status.is_terminated().then_some(created_at),
        status,
        hardware_name: "4g-eu-001".to_owned(),
        ssl_certificate_origin: TlsOrigin::Enclave,
        expires_at: Timestamp::UNIX_EPOCH,
        python_application: "app:app".to_owned(),
        healthcheck_endpoint: "/health".to_owned(),
        url: format!("https://localhost:2000{id}"),
        gateway: "127.0.0.1:7343".to_owned(),
        tls_names: vec![format!("{name}.mse.localhost")],
        tee: "simulated".to_owned(),
        memory_mib: 4096,
        millicores: 380,
        status_reason: Some("as asked".to_owned()),
        confinement: vec![
            mse_workload::launch::Confinement {
                name: "seccomp".to_owned(),
                applied: true,
                detail: "filter in force".to_owned(),
            },
            mse_workload::launch::Confinement {
                name: "memory limit".to_owned(),
                applied: false,
                detail: "no cgroup can be written".to_owned(),
            },
        ],
    }
}

pub(super) fn login(body: &[u8]) -> Answer {
    let login: serde_json::Value = serde_json::from_slice(body).unwrap();
    let right = login == json!({ "one_time_token": "one-time" })
        || login == json!({ "email": "owner@localhost", "password": "right" });
    if !right {
        return refuse(
            ErrorCode::Unauthorized,
            "the token or the password is wrong",
        );
    }
    ok(&SessionToken {
        access_token: "access-token".to_owned(),
        email: "owner@localhost".to_owned(),
        expires_at: Timestamp::now() + jiff::SignedDuration::from_hours(1),
    })
}

pub(super) fn logs(query: &str) -> Answer {
    let lines = [
        json!({ "number": 1, "at": "2026-11-23T12:00:00Z", "stream": "app", "text": "one" }),
        json!({ "number": 2, "at": "2026-11-23T12:00:01Z", "stream": "enclave", "text": "two" }),
    ];
    let after: u64 = query.rsplit_once("after=").unwrap().1.parse().unwrap();
    let lines: Vec<String> = lines
        .iter()
        .filter(|line| line["number"].as_u64().unwrap() > after)
        .map(ToString::to_string)
        .collect();
    Response::new(Full::new((lines.join("\n") + "\n").into()))
}

pub(super) fn me() -> User {
    User {
        id: "owner".to_owned(),
        given_name: String::new(),
        family_name: String::new(),
        email: "owner@localhost".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        configured: true,
        email_verified: true,
    }
}

pub(super) fn projects(query: &str) -> Vec<Project> {
    if query != "name=default" {
        return Vec::new();
    }
    vec![Project {
        id: Uuid::from_u128(1),
        name: "default".to_owned(),
        description: String::new(),
        owner_id: "owner".to_owned(),
        is_default: true,
        stripe_customer_id: None,
        stripe_payment_method_id: None,
        created_at: Timestamp::UNIX_EPOCH,
        deleted_at: None,
    }]
}

pub(super) fn hardware() -> Hardware {
    Hardware {
        name: "4g-eu-001".to_owned(),
        memory: 4,
        cores: 0.38,
        enclave_size: 4096,
    }
}

pub(super) fn partial(app: &App) -> PartialApp {
    PartialApp {
        id: app.id,
        name: app.name.clone(),
        domain_name: app.domain_name.clone(),
        created_at: app.created_at,
        ready_at: app.ready_at,
        stopped_at: app.stopped_at,
        status: app.status,
        hardware_name: app.hardware_name.clone(),
        url: app.url.clone(),
    }
}

/// The content of the part `name` of a multipart body.
pub(super) fn part(body: &[u8], boundary: &str, name: &str) -> Vec<u8> {
    let find = |from: usize, needle: &[u8]| {
        let at = body[from..]
            .windows(needle.len())
            .position(|window| window == needle);
        from + at.unwrap_or_else(|| panic!("no {name}"))
    };
    let head = find(0, format!("name=\"{name}\"").as_bytes());
    let start = find(head, b"\r\n\r\n") + 4;
    let end = find(start, format!("\r\n--{boundary}").as_bytes());
    body[start..end].to_vec()
}

pub(super) fn ok(value: &impl serde::Serialize) -> Answer {
    Response::new(serde_json::to_vec(value).unwrap().into())
}

pub(super) fn refuse(code: ErrorCode, message: &str) -> Answer {
    let error = mse_api::ApiError::new(code, message);
    let mut response = Response::new(serde_json::to_vec(&error).unwrap().into());
    *response.status_mut() = StatusCode::from_u16(code.http_status()).unwrap();
    response
}
