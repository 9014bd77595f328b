use std::path::Path;

use mse_server::api::document;

use crate::bench::Bench;

/// `UPDATE_OPENAPI=1` writes the document instead of comparing it.
#[test]
fn the_checked_in_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/mse-server.json");
    let document = document();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, document).unwrap();
        return;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == document,
        "`openapi/mse-server.json` and the code have parted: run this test with UPDATE_OPENAPI=1 \
         and look at the difference"
    );
}

#[tokio::test]
async fn the_server_serves_its_document() {
    let bench = Bench::start().await;
    let (_, served) = bench.anonymous().get("/openapi.json").await;
    let own: serde_json::Value = serde_json::from_str(&document()).unwrap();
    assert_eq!(served, own);
    for path in [
        "/apps",
        "/apps/{id}",
        "/apps/{id}/logs",
        "/login",
        "/hardwares/{name}",
    ] {
        assert!(own["paths"][path].is_object(), "{path}");
    }
    assert!(own["components"]["securitySchemes"]["session"].is_object());
}
