//! Service manifests, Meshfiles and templates: whatever is in a text, it is read or diagnosed, and
//! what was read comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_mesh::{ApiVersion, Document, ServiceTemplate, Undefined, Variables, check_text};

fuzz_target!(|text: &str| {
    if let Ok(template) = ServiceTemplate::from_json(text.as_bytes()) {
        let json = template.canonical().expect("it was read");
        assert_eq!(json, text.as_bytes());
    }
    let some = Variables::new().with("A", "x: [").with("B", "~");
    let open = some.clone().with_undefined(Undefined::Left);
    let outcome = check_text(text, &open);
    assert!(outcome.errors().count() > 0 || outcome.document.is_some() || text.contains('$'));
    let outcome = check_text(text, &some);
    assert_eq!(outcome.document.is_some(), outcome.errors().count() == 0);
    let Some(document) = outcome.document else {
        return;
    };
    let yaml = document.to_yaml();
    // Aliases make a short text a long one.
    if yaml.len() > 1 << 20 {
        return;
    }
    let again = check_text(&yaml, &some).document;
    assert!(again == Some(current(document)), "{yaml}");
});

/// The document in the version that is written.
fn current(document: Document) -> Document {
    match document {
        Document::Service(mut manifest) => {
            manifest.api_version = ApiVersion::Mse1;
            Document::Service(manifest)
        }
        Document::Mesh(mut mesh) => {
            mesh.api_version = ApiVersion::Mse1;
            Document::Mesh(mesh)
        }
    }
}
