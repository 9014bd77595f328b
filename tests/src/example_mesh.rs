//! `examples/mesh` with a registry and a CAS that pods reach: from its manifests to its chart.

use std::path::PathBuf;

use crate::owner::Owner;
use crate::registry::ImageRegistry;

/// The mesh, its owner's CAS, and the registry that its images are in.
pub struct ExampleMesh {
    /// Its owner.
    pub owner: Owner,
    /// Where the images are.
    pub registry: ImageRegistry,
}

impl ExampleMesh {
    /// Not built yet, for a CAS on `host`. It says `greeting`.
    pub fn with_cas_on(host: &str, greeting: &str) -> Self {
        let mut owner = Owner::new();
        let cas = owner.run_cas(&format!("{host}:0"));
        let registry = ImageRegistry::start();
        owner.take_example(|text| {
            text.replace("localhost:5000", &registry.address())
                .replace("localhost:18765", &cas)
                .replace("value: Welcome", &format!("value: {greeting}"))
        });
        Self { owner, registry }
    }

    /// Builds the image of a service and pushes it.
    pub fn build(&self, service: &str) {
        let manifest = format!("{service}/service.yaml");
        self.owner.done(&["apply", "-f", &manifest, "--plain-http"]);
    }

    /// Brings the policies to the CAS; gives the chart.
    pub fn apply(&self) -> PathBuf {
        let words = [
            "apply",
            "-f",
            "mesh.yaml",
            "--plain-http",
            "--release",
            "shop",
        ];
        self.owner.done(&words);
        self.owner.path("target/helm")
    }

    /// The certificate of the mesh's authority, as a file.
    pub fn authority(&self) -> PathBuf {
        let certificate = self
            .owner
            .done(&["secret", "get", "shop/secrets", "mesh-ca"]);
        self.owner.write("ca.pem", &certificate);
        self.owner.path("ca.pem")
    }
}
