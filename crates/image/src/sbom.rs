//! What is in an image, as SPDX 2.3 in JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::build::timestamp;
use crate::lock::ImageLock;
use crate::manifest::{Blob, canonical};
use crate::spec::Epoch;
use crate::tree::{FileSystem, Node};

const ROOT: &str = "SPDXRef-image";

/// Packages with their versions and digests, and the executable files that are ours.
pub(crate) fn sbom(name: &str, image: &Blob, lock: &ImageLock, system: &FileSystem) -> Vec<u8> {
    let mut packages = vec![json!({
        "SPDXID": ROOT,
        "name": name,
        "versionInfo": image.digest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [checksum(&image.digest.0.to_string())],
    })];
    for package in &lock.debian {
        let url = format!(
            "pkg:deb/debian/{}@{}?arch={}",
            package.name, package.version, package.architecture
        );
        packages.push(described(
            &format!("SPDXRef-deb-{}", identifier(&package.name)),
            &package.name,
            &package.version,
            &package.sha256.to_string(),
            &url,
        ));
    }
    for package in &lock.python {
        let url = format!(
            "pkg:pypi/{}@{}",
            package.name.to_lowercase(),
            package.version
        );
        packages.push(described(
            &format!("SPDXRef-python-{}", identifier(&package.name)),
            &package.name,
            &package.version,
            &package.sha256.to_string(),
            &url,
        ));
    }
    if let Some(base) = lock.base {
        packages.push(json!({
            "SPDXID": "SPDXRef-base",
            "name": "base image",
            "versionInfo": base,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": "CONTAINER",
            "checksums": [checksum(&base.0.to_string())],
        }));
    }
    let files: Vec<Value> = system
        .below(mse_workload::image::OWN)
        .filter_map(|(path, node)| match node {
            Node::File(file) => Some(json!({
                "SPDXID": format!("SPDXRef-file-{}", identifier(path)),
                "fileName": format!(".{path}"),
                "checksums": [checksum(&file.digest.to_string())],
                "licenseConcluded": "NOASSERTION",
                "copyrightText": "NOASSERTION",
            })),
            _ => None,
        })
        .collect();
    let contained = packages.iter().skip(1).chain(&files).map(|part| {
        json!({
            "spdxElementId": ROOT,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": part["SPDXID"],
        })
    });
    let describes = json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": ROOT,
    });
    let relationships: Vec<Value> = std::iter::once(describes).chain(contained).collect();
    canonical(&json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:mse:image:{}", image.digest),
        "creationInfo": {
            // The same image, the same document.
            "created": timestamp(Epoch(0)),
            "creators": [concat!("Tool: mse-image-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "files": files,
        "relationships": relationships,
    }))
}

fn described(id: &str, name: &str, version: &str, sha256: &str, url: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "checksums": [checksum(sha256)],
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    })
}

fn checksum(sha256: &str) -> Value {
    json!({"algorithm": "SHA256", "checksumValue": sha256})
}

/// SPDX allows letters, digits, dots and hyphens; others are written by their number, so that no
/// two names become one.
fn identifier(name: &str) -> String {
    let mut identifier = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '-' {
            identifier.push(c);
        } else {
            let _ = write!(identifier, ".{:x}.", u32::from(c));
        }
    }
    identifier
}
