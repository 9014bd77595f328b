//! The OpenAPI document, made from the handlers and the types of `mse-api`.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

/// The document as it is checked in at `openapi/mse-server.json`.
pub fn document() -> String {
    let (_, document) = super::routes().split_for_parts();
    let mut json = document
        .to_pretty_json()
        .expect("a document of strings and maps is JSON");
    json.push('\n');
    json
}

/// What is said of the API as a whole.
pub(super) fn description() -> OpenApi {
    Description::openapi()
}

pub(super) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MSE platform",
        description = "Deploys encrypted apps into enclaves. Nothing here is trusted by a client: what matters is measured, and verified by the client itself.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "platform", description = "The platform itself; open to all"),
        (name = "login", description = "Sessions"),
        (name = "projects", description = "Projects and their hardware"),
        (name = "apps", description = "Apps"),
    ),
    security(("session" = [])),
    modifiers(&Bearer),
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("the `access_token` of `POST /login`"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("session", SecurityScheme::Http(scheme));
    }
}
