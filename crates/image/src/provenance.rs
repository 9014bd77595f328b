//! How an image was made, as an in-toto statement with a SLSA v1 predicate.

use mse_crypto::Digest;
use serde_json::{Value, json};

use crate::lock::ImageLock;
use crate::manifest::{Blob, architecture, canonical};
use crate::spec::{Base, ImageSpec, StepNetwork};

/// Inputs by digest, steps in their order, and our version. It says nothing of who built, when or
/// where: two who build the same get the same statement, and whoever signs it vouches for it.
pub(crate) fn provenance(
    spec: &ImageSpec,
    image: &Blob,
    own: &[(String, Digest)],
    unmeasured: &[String],
    lock: &ImageLock,
    layers: &[(String, Blob)],
) -> Vec<u8> {
    let base = match &spec.base {
        Base::Kind(kind) => json!({"kind": format!("{kind:?}").to_lowercase()}),
        Base::Debian { packages, without } if without.is_empty() => json!({"debian": packages}),
        Base::Debian { packages, without } => json!({"debian": packages, "without": without}),
        Base::Reference(reference) => json!({"image": reference.to_string()}),
        Base::Layout(_) => json!({"image": "layout"}),
    };
    let mut inputs: Vec<Value> = Vec::new();
    if let Some(digest) = lock.base {
        inputs.push(input("base image", &digest.0));
    }
    for package in lock.debian.iter().chain(&lock.tools) {
        let name = format!("pkg:deb/debian/{}@{}", package.name, package.version);
        inputs.push(input(&name, &package.sha256));
    }
    for package in &lock.python {
        let name = format!(
            "pkg:pypi/{}@{}",
            package.name.to_lowercase(),
            package.version
        );
        inputs.push(input(&name, &package.sha256));
    }
    inputs.extend(own.iter().map(|(name, digest)| input(name, digest)));
    let steps: Vec<Value> = layers
        .iter()
        .map(|(step, blob)| json!({"step": step, "layer": blob.digest}))
        .collect();
    canonical(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": spec.name, "digest": {"sha256": image.digest.0}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:mse:image:build:v1",
                "externalParameters": {
                    "base": base,
                    "copy": spec.copy,
                    "requirements": spec.requirements,
                    "environment": spec.environment,
                    "run": spec.run,
                    "pwd": spec.pwd,
                    "dirs": spec.dirs,
                    "unmeasured": unmeasured,
                    "network": spec.network == StepNetwork::On,
                    "epoch": spec.epoch.0,
                },
                "internalParameters": {"architecture": architecture(), "steps": steps},
                "resolvedDependencies": inputs,
            },
            "runDetails": {
                "builder": {
                    "id": "urn:mse:image",
                    "version": {"mse-image": env!("CARGO_PKG_VERSION")},
                },
            },
        },
    }))
}

fn input(name: &str, sha256: &Digest) -> Value {
    json!({"uri": name, "digest": {"sha256": sha256}})
}
