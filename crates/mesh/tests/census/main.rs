//! Every construct that public service manifests and Meshfiles use at least twice, in fixtures of
//! our own: read, with the meaning that it has, and written in a form that is read as the same.
//!
//! The list is also the table of docs/compatibility.md, which a test compares.

mod manifests;
mod meshes;
mod tutorial;

use mse_mesh::{Document, Outcome, Variables, check_text};
use serde_json::Value;

/// A construct: where it stands (as the census writes it), and what becomes of it.
struct Construct {
    path: &'static str,
    fixture: String,
    /// Where it is in the canonical form.
    pointer: &'static str,
    /// What is there; absent: null.
    expected: Value,
    /// What is warned of: a part of the message. None: nothing that has to do with it.
    warning: Option<&'static str>,
}

/// The values that templates of public examples expect.
fn variables() -> Variables {
    Variables::new()
        .with("APP_IMAGE_REPO", "registry.example:5050/team")
        .with("JAVA_VERSION", "java17")
        .with("CAS_URL", "cas.example")
        .with("CAS_KEY", KEY)
        .with("CAS_SESSION_ENCRYPTION_KEY", HEX)
        .with("APP_NAMESPACE", "shop-17-4")
        .with("UPLOAD_MODE", "EncryptedManifest")
        .with("RELEASE", "shop")
        .with("SCONE", "$SCONE")
}

const HEX: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// SHA-256 of nothing, as a key hash in Base58Check: 50 characters.
const KEY: &str = "4g2E2Ejp86H8D4KmuCWTsnvUtAtS2bv3orMTAesmvJcWGcSvJ1";

fn check(text: &str) -> Outcome {
    check_text(text, &variables())
}

#[track_caller]
fn read(path: &str, text: &str) -> (Document, Outcome) {
    let outcome = check(text);
    let Some(document) = outcome.document.clone() else {
        panic!("{path}\n{text}\n{:#?}", outcome.diagnostics)
    };
    (document, outcome)
}

fn json(document: &Document) -> Value {
    match document {
        Document::Service(manifest) => manifest.to_json(),
        Document::Mesh(mesh) => mesh.to_json(),
    }
}

/// Docs say of each construct what becomes of it: `yes`, or `warning` if there is always one.
fn check_table(section: &str, constructs: &[Construct]) {
    let (_, rest) = TABLES
        .split_once(&format!("| **{section}** | | |\n"))
        .unwrap();
    let rows = rest.split("| **").next().unwrap();
    let mut paths: Vec<&str> = constructs.iter().map(|one| one.path).collect();
    paths.dedup();
    for path in paths {
        let is_plain = constructs
            .iter()
            .any(|one| one.path == path && one.warning.is_none());
        let row = format!(
            "| `{path}` | {} |",
            if is_plain { "yes" } else { "warning" }
        );
        assert!(rows.contains(&row), "docs/compatibility.md lacks `{row}`");
    }
}

const TABLES: &str = include_str!("../../../../docs/compatibility.md");

fn walk(constructs: Vec<Construct>) {
    for construct in constructs {
        let Construct {
            path,
            fixture,
            pointer,
            expected,
            warning,
        } = construct;
        let (document, outcome) = read(path, &fixture);
        let canonical = json(&document);
        let found = canonical.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*found, expected, "{path}\n{canonical:#}");
        let warnings: Vec<_> = outcome.warnings().map(|one| one.message.as_str()).collect();
        match warning {
            Some(words) => assert!(
                warnings.iter().any(|message| message.contains(words)),
                "{path}: {warnings:#?}"
            ),
            None => assert_eq!(warnings, [""; 0], "{path}\n{fixture}"),
        }
        // The canonical form is the same document, without older spellings.
        let yaml = document.to_yaml();
        let (again, outcome) = read(path, &yaml);
        assert_eq!(json(&again), canonical, "{path}\n{yaml}");
        assert_eq!(again.to_yaml(), yaml);
        let legacy: Vec<_> = outcome
            .warnings()
            .filter(|one| one.code == mse_mesh::Code::Legacy)
            .collect();
        assert!(legacy.is_empty(), "{path}\n{yaml}\n{legacy:#?}");
    }
}
