//! A manifest and a Meshfile with the structure of a first tutorial.

use mse_mesh::{
    CasTolerance, Code, MeshValues, Meshfile, ServiceManifest, ServiceTemplate, Severity, Toolchain,
};

use crate::variables;

const SERVICE: &str = include_str!("files/service.yaml");
const MESH: &str = include_str!("files/mesh.yaml");

#[test]
fn the_tutorial_is_read() {
    let (manifest, warnings) = ServiceManifest::read(SERVICE, &variables()).unwrap();
    assert_eq!(manifest.build.kind, Toolchain::Python);
    assert_eq!(
        manifest.build.run,
        ["echo \"first\" && echo \"second\"", "echo \"third\""]
    );
    assert_eq!(manifest.secrets.global[0].parameters.size, Some(10));
    let codes: Vec<_> = warnings
        .iter()
        .map(|one| (one.severity, one.code, one.line))
        .collect();
    assert_eq!(codes, [(Severity::Warning, Code::Legacy, Some(42))]);

    let (mesh, warnings) = Meshfile::read(MESH, &variables()).unwrap();
    assert_eq!(mesh.policy.namespace.as_str(), "shop-17-4");
    let tolerated: Vec<_> = mesh.cas[0]
        .trust
        .tolerate
        .iter()
        .map(|one| one.what)
        .collect();
    assert_eq!(
        tolerated,
        [
            CasTolerance::ConfigurationNeeded,
            CasTolerance::DebugMode,
            CasTolerance::AnySigner,
            CasTolerance::AnyEnclave
        ]
    );
    let weak = warnings
        .iter()
        .filter(|one| one.code == Code::WeakAttestation);
    assert_eq!(weak.count(), 4);
}

#[test]
fn the_program_gets_what_both_say() {
    let (manifest, _) = ServiceManifest::read(SERVICE, &variables()).unwrap();
    let (mesh, _) = Meshfile::read(MESH, &variables()).unwrap();
    // The mesh builder has only what is in the image.
    let json = manifest.template().canonical().unwrap();
    let template = ServiceTemplate::from_json(&json).unwrap();
    assert_eq!(template, manifest.template());
    let name = &mesh.services[0].name;
    let values = MeshValues::for_service(&mesh, name, &template.environment, []).unwrap();
    let environment = values.environment(&template.environment).unwrap();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        environment,
        [
            ("SCONE_HEAP", "760M"),
            ("SCONE_LOG", "error"),
            ("SCONE_ALLOW_DLOPEN", "1"),
            ("API_PASSWORD", "$$SCONE::password$$"),
            ("API_USER", "myself"),
        ]
    );
    let secret = template.secrets.global[0]
        .to_session(|name| values.get(name))
        .unwrap();
    assert_eq!(
        secret,
        serde_json::json!({"name": "password", "kind": "ascii", "size": 10})
    );
}
