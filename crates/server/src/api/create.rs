//! `POST /apps`: an encrypted bundle and what to do with it.
//!
//! Nothing of a refused request stays: the upload is a temporary file until the row that names it
//! is about to be written, and a bundle without a row is removed at the next start.

use std::fs::File;
use std::time::Duration;

use axum::Json;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mse_api::{
    ApiError, App, CreateApp, ErrorCode, IDEMPOTENCY_KEY, MAX_CONF, PART_CODE, PART_CONF,
};
use mse_crypto::Digest;
use mse_workload::bundle;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use super::caller::Caller;
use super::projects::clip;
use super::refusal::Refusal;
use super::{Api, State};
use crate::blobs::FinishedUpload;
use crate::deploy::{Fleet, workload};
use crate::store::{
    Account, AppRecord, Created, HardwareRecord, Idempotency, NewApp, ProjectRecord,
};

/// Deploy an app: its encrypted bundle, and what to do with it.
///
/// Answers once the bundle is on disk and the app is certain to be launched, or to be reported
/// as failed. The same `Idempotency-Key` with the same request makes no second app.
#[utoipa::path(
    post, path = "/apps", tag = "apps",
    params(("Idempotency-Key" = Option<String>, Header, description = "at most 255 characters")),
    request_body(content = CreateAppForm, content_type = "multipart/form-data"),
    responses(
        (status = OK, body = App, description = "the app, spawning"),
        (status = BAD_REQUEST, body = ApiError),
        (status = CONFLICT, body = ApiError, description = "name or domain taken, or no hardware"),
        (status = PAYLOAD_TOO_LARGE, body = ApiError),
        (status = UNPROCESSABLE_ENTITY, body = ApiError, description = "a rule is broken, or the image refused"),
    )
)]
pub(super) async fn create(
    api: State,
    caller: Caller,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<App>, Refusal> {
    let key = idempotency_key(&headers)?;
    let mut form = form.map_err(|rejection| bad(rejection.body_text()))?;
    let received = match receive(&api, &mut form).await {
        Ok(received) => received,
        Err(refusal) => {
            // A client that is still sending would see a broken connection and not the reason.
            drain(form).await;
            return Err(refusal);
        }
    };
    let app = accept(&api, &caller.account, received, key).await?;
    Ok(Json(app))
}

/// The parts of the form. For the OpenAPI document only: they are read as they come.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a schema is all it is")]
struct CreateAppForm {
    /// The encrypted bundle, a tar archive.
    #[schema(value_type = String, format = Binary)]
    code: Vec<u8>,
    /// What to do with it.
    conf: CreateApp,
}

struct Received {
    conf: CreateApp,
    bundle: FinishedUpload,
}

/// Takes both parts, in any order.
async fn receive(api: &Api, form: &mut Multipart) -> Result<Received, Refusal> {
    let _turn = api.uploads.try_acquire().map_err(|_| {
        ApiError::new(ErrorCode::Unavailable, "too many uploads are under way")
            .with_hint("try again in a minute")
    })?;
    let (mut conf, mut bundle) = (None, None);
    while let Some(field) = patiently(form.next_field()).await? {
        match field.name() {
            Some(PART_CONF) if conf.is_none() => conf = Some(read_conf(field).await?),
            Some(PART_CODE) if bundle.is_none() => bundle = Some(store_bundle(api, field).await?),
            name => {
                let name = clip(name.unwrap_or_default());
                return Err(bad(format!("the part `{name}` is unknown, or comes twice")));
            }
        }
    }
    Ok(Received {
        conf: conf.ok_or_else(|| bad(format!("the part `{PART_CONF}` is missing")))?,
        bundle: bundle.ok_or_else(|| bad(format!("the part `{PART_CODE}` is missing")))?,
    })
}

async fn read_conf(mut field: Field<'_>) -> Result<CreateApp, Refusal> {
    let mut json = Vec::new();
    while let Some(piece) = patiently(field.chunk()).await? {
        if json.len() + piece.len() > MAX_CONF {
            let message = format!("the part `{PART_CONF}` is over {MAX_CONF} bytes");
            return Err(ApiError::new(ErrorCode::TooLarge, message).into());
        }
        json.extend_from_slice(&piece);
    }
    serde_json::from_slice(&json)
        .map_err(|error| bad(format!("the part `{PART_CONF}` cannot be read: {error}")))
}

async fn store_bundle(api: &Api, mut field: Field<'_>) -> Result<FinishedUpload, Refusal> {
    let blobs = &api.fleet.platform().blobs;
    let mut upload = blobs.begin_upload(api.max_bundle).await?;
    while let Some(piece) = patiently(field.chunk()).await? {
        if !upload.write(&piece).await? {
            let message = format!("the bundle is over {} bytes", api.max_bundle);
            return Err(ApiError::new(ErrorCode::TooLarge, message)
                .with_hint("leave out what the app does not need, with `.mseignore`")
                .into());
        }
    }
    Ok(upload.finish().await?)
}

/// From a request that was received whole to an app that is started.
async fn accept(
    api: &Api,
    owner: &Account,
    received: Received,
    key: Option<String>,
) -> Result<App, Refusal> {
    let Received { conf, bundle } = received;
    let platform = api.fleet.platform();
    let digest = digest_of(&bundle).await?;
    let idempotency = Idempotency {
        key,
        request: request_digest(&conf, &digest)?,
    };
    if let Some(before) = platform
        .store
        .app_of_request(owner.id, &idempotency)
        .await?
    {
        return Ok(api.shown(before));
    }
    let (project, hardware) = find_hardware(api, owner, &conf).await?;
    let now = in_millis(Timestamp::now());
    let app = workload::describe(&conf, &project, &hardware, &api.domain_suffix, now)?;
    if app.workload.bundle != digest {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            format!(
                "the bundle that arrived has the digest `{digest}`, not `{}`",
                app.workload.bundle
            ),
        )
        .with_hint("it was changed on the way, or `bundle_digest` is of another one; deploy again")
        .into());
    }

    // On a task of its own: a client that hangs up now must not leave a row without a supervisor.
    let fleet = api.fleet.clone();
    let registered = tokio::spawn(async move { register(&fleet, app, bundle, idempotency).await });
    let record = registered.await.map_err(Refusal::internal)??;
    Ok(api.shown(record))
}

/// First the bundle, then the row: a row without a bundle could not be launched.
async fn register(
    fleet: &Fleet,
    app: NewApp,
    bundle: FinishedUpload,
    idempotency: Idempotency,
) -> Result<AppRecord, Refusal> {
    let id = app.workload.app_id;
    let platform = fleet.platform();
    let _registering = fleet.registering(id);
    let blobs = platform.blobs.clone();
    tokio::task::spawn_blocking(move || blobs.keep(bundle, id))
        .await
        .map_err(Refusal::internal)??;
    match platform.store.create_app(&app, &idempotency).await {
        Ok(Created::New(record)) => Ok(fleet.start(*record).await?),
        other => {
            platform.blobs.remove(id);
            match other? {
                Created::Before(record) | Created::New(record) => Ok(*record),
            }
        }
    }
}

async fn digest_of(bundle: &FinishedUpload) -> Result<Digest, Refusal> {
    let path = bundle.path().to_owned();
    tokio::task::spawn_blocking(move || {
        let file = File::open(path)?;
        bundle::digest_of(std::io::BufReader::with_capacity(256 * 1024, file))
            .map_err(|error| Refusal(ApiError::new(ErrorCode::Invalid, error.to_string())))
    })
    .await
    .map_err(Refusal::internal)?
}

fn request_digest(conf: &CreateApp, bundle: &Digest) -> Result<Digest, Refusal> {
    let conf = serde_json::to_vec(conf).map_err(Refusal::internal)?;
    let mut hasher = mse_crypto::digest::Hasher::with_domain("mse-create-app-v1");
    hasher.update_field(&conf);
    hasher.update(&bundle.0);
    Ok(hasher.finish())
}

async fn find_hardware(
    api: &Api,
    owner: &Account,
    conf: &CreateApp,
) -> Result<(ProjectRecord, HardwareRecord), Refusal> {
    let store = &api.fleet.platform().store;
    let projects = store.projects(owner.id, Some(&conf.project)).await?;
    let project = projects.into_iter().next().ok_or_else(|| {
        Refusal::not_found(format!("you have no project `{}`", clip(&conf.project)))
    })?;
    let all = store.hardware(project.id).await?;
    let names: Vec<_> = all.iter().map(|one| one.name.clone()).collect();
    match all.into_iter().find(|one| one.name == conf.hardware) {
        Some(hardware) => Ok((project, hardware)),
        None => Err(ApiError::new(
            ErrorCode::NoHardware,
            format!(
                "the project `{}` has no hardware `{}`",
                project.name,
                clip(&conf.hardware)
            ),
        )
        .with_hint(format!("it has {}", names.join(", ")))
        .into()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(bad(format!(
            "`{IDEMPOTENCY_KEY}` is not 1 to 255 printable ASCII characters"
        ))),
    }
}

/// As the store keeps it, so that an app has the same times in every answer.
fn in_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Reads on for a while what nobody wants.
async fn drain(mut form: Multipart) {
    let patience = Instant::now() + Duration::from_secs(20);
    let rest = async {
        while let Ok(Some(mut field)) = form.next_field().await {
            while let Ok(Some(_)) = field.chunk().await {}
        }
    };
    let _ = tokio::time::timeout_at(patience, rest).await;
}

/// A client that sends nothing for a minute is not waited for.
async fn patiently<T>(next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Refusal> {
    match timeout(Duration::from_mins(1), next).await {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::new(ErrorCode::TooLarge, error.body_text()).into())
        }
        Ok(Err(error)) => Err(bad(error.body_text())),
        Err(_) => Err(bad("the upload stood still for a minute")),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    ApiError::new(ErrorCode::BadRequest, message).into()
}
