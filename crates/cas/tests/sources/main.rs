//! Values that a session keeps outside.

mod kv;
mod server;
#[path = "../../../pkcs11/tests/softhsm/mod.rs"]
mod softhsm;
mod tokens;

use std::time::SystemTime;

use mse_cas::sources::{GatherError, Gathered, SourceError, Sources};
use mse_cas::values::{NoImports, Values};
use mse_session::{Compatibility, HostArguments, Session, Template, Variables, check_text};

/// The session `shop/api` with these secrets.
fn session(secrets: &str) -> Session {
    let text = format!(
        "name: shop/api\nversion: 0.3.12\nsalt: {}\nsecrets:\n{secrets}",
        "ab".repeat(16)
    );
    let outcome = check_text(&text, &Variables::default(), Compatibility::Strict);
    match outcome.into_result() {
        Ok((session, _)) => session,
        Err(faults) => panic!("{text}\n{faults}"),
    }
}

async fn make(sources: &Sources, secrets: &str) -> Result<Gathered, GatherError> {
    let session = session(secrets);
    let now = SystemTime::now();
    sources.make(&session, None, &NoImports, now).await
}

/// Why the one secret that is kept outside cannot be fetched.
async fn refusal(sources: &Sources, secrets: &str) -> SourceError {
    match make(sources, secrets).await {
        Err(GatherError::Fetch { source, .. }) => source,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was fetched: {secrets}"),
    }
}

fn rendered(values: &Values, text: &str) -> String {
    let template = Template::parse(text, HostArguments::Literal)
        .unwrap()
        .template;
    let bytes = values.render(template.as_reference().unwrap()).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
