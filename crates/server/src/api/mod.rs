//! The REST API, in the types of `mse-api`.
//!
//! Everything but login, platform, health, collateral and this document wants
//! `Authorization: Bearer …`, and shows a caller nothing but what is the caller's own.

mod apps;
mod caller;
mod create;
mod listener;
mod login;
mod logs;
mod metrics;
mod openapi;
mod pccs;
mod platform;
mod projects;
mod refusal;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mse_api::{ApiError, App, ErrorCode};
use mse_collateral::Fetcher;
use mse_simtee::Platform;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::deploy::Fleet;
use crate::store::AppRecord;
use login::LoginGuard;
use refusal::Refusal;

pub use listener::{ApiListener, ListenError, Room};
pub use openapi::document;

/// What the handlers work with.
pub struct Api {
    /// The apps, and what they run on.
    pub fleet: Fleet,
    /// Who signs quotes and collateral.
    pub platform: Arc<Platform>,
    /// Apps get names below this one.
    pub domain_suffix: String,
    /// The largest bundle, in bytes.
    pub max_bundle: u64,
    /// Cancelled when the server stops: open answers end then.
    pub stopping: CancellationToken,
    /// Where collateral of real platforms comes from, if it is served.
    upstream: Option<Arc<Fetcher>>,
    guard: LoginGuard,
    uploads: Semaphore,
}

impl Api {
    /// The API of a platform.
    pub fn new(
        fleet: Fleet,
        platform: Arc<Platform>,
        domain_suffix: String,
        max_bundle: u64,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            fleet,
            platform,
            domain_suffix,
            max_bundle,
            stopping,
            upstream: None,
            guard: LoginGuard::default(),
            uploads: Semaphore::new(MAX_UPLOADS),
        }
    }

    /// Also serves collateral of real platforms, as `upstream` has it.
    #[must_use]
    pub fn with_collateral_upstream(self, upstream: Option<Arc<Fetcher>>) -> Self {
        Self { upstream, ..self }
    }

    /// The routes, ready to serve.
    pub fn into_router(self) -> Router {
        let (router, _) = routes().split_for_parts();
        router
            .route("/openapi.json", get(openapi::serve))
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(CatchPanicLayer::custom(panicked))
            // Method, path and status; never a header or a body.
            .layer(TraceLayer::new_for_http())
            .with_state(Arc::new(self))
    }

    /// An app as clients see it.
    fn shown(&self, record: AppRecord) -> App {
        let gateway = &self.fleet.platform().gateway;
        let url = record.url(gateway.address().port(), gateway.public_port());
        let app = record.app;
        let workload = app.workload;
        App {
            id: workload.app_id,
            name: app.name,
            project_id: app.project_id.0,
            owner_id: app.owner_id.to_string(),
            domain_name: app.domain_name,
            config_domain_name: app.config_domain_name,
            docker: workload.image.name,
            created_at: app.created_at,
            ready_at: record.ready_at,
            stopped_at: record.stopped_at,
            status: record.status,
            hardware_name: app.hardware_name,
            ssl_certificate_origin: workload.tls.origin,
            expires_at: app.expires_at,
            python_application: workload.application,
            healthcheck_endpoint: workload.health_endpoint.into(),
            url,
            gateway: gateway.public_address().to_owned(),
            tls_names: workload.tls.names,
            tee: self.fleet.platform().launcher.tee().to_string(),
            memory_mib: workload.resources.memory_mib,
            millicores: workload.resources.millicores,
            status_reason: record.status_reason,
            confinement: record.confinement,
        }
    }
}

/// No request but an upload is larger: 256 KiB.
const MAX_BODY: usize = mse_api::MAX_CONF;
/// Uploads at once; each holds a descriptor and disk.
const MAX_UPLOADS: usize = 16;

type State = axum::extract::State<Arc<Api>>;

fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::description())
        .routes(routes!(platform::health))
        .routes(routes!(platform::platform))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(login::me))
        .routes(routes!(projects::defaults))
        .routes(routes!(projects::list))
        .routes(routes!(projects::project))
        .routes(routes!(projects::hardware))
        .routes(routes!(apps::list))
        // Its own bounds are larger, and are kept while the parts are read.
        .routes(routes!(create::create).layer(DefaultBodyLimit::disable()))
        .routes(routes!(apps::app))
        .routes(routes!(apps::forget))
        .routes(routes!(apps::stop))
        .routes(routes!(logs::logs))
        .routes(routes!(metrics::metrics))
        .routes(routes!(pccs::collateral))
        .routes(routes!(pccs::tdx_collateral))
        .routes(routes!(pccs::upstream_collateral))
}

async fn no_such_path() -> Refusal {
    ApiError::new(ErrorCode::NotFound, "there is no such path in this API").into()
}

async fn no_such_method() -> Refusal {
    ApiError::new(ErrorCode::BadRequest, "this path does not take this method").into()
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Refusal::internal("a request ended in a panic").into_response()
}
