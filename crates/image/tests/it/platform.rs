//! Images of parts of the platform.

use std::fs;
use std::path::Path;
use std::process::Command;

use mse_image::layout::Image;
use mse_image::{
    Base, Built, ImageSpec, Kind, Layout, Part, PlatformPart, Progress, ServiceImage, unpack,
};
use serde_json::Value;

use crate::fixture::Scene;
use crate::tiny::tiny_base;

fn part(scene: &Scene) -> PlatformPart {
    PlatformPart {
        programs: vec![scene.path("mse-launch"), scene.path("mse-enclave")],
        files: [("runtime.json".to_owned(), b"{}".to_vec())].into(),
        entry_point: "/mse/bin/mse-launch".into(),
        user: 65532,
    }
}

fn spec(scene: &Scene, base: Base) -> ImageSpec {
    ImageSpec::of_platform("mse-part", base, &scene.path("context"), part(scene))
}

fn load(built: &Built) -> (Layout, Image) {
    let layout = Layout::open(&built.layout).unwrap();
    let image = layout.image(None).unwrap();
    (layout, image)
}

/// The attached documents of this type.
fn attached(layout: &Layout, image: &Image, kind: &str) -> Value {
    let found = layout.attachments(image.digest).unwrap();
    let wanted = found
        .iter()
        .find(|one| one.artifact_type.as_deref() == Some(kind))
        .expect("it is attached");
    serde_json::from_slice(&layout.read(&wanted.layers[0]).unwrap()).unwrap()
}

#[tokio::test]
async fn a_part_of_the_platform_has_its_programs_and_says_nothing_of_a_service() {
    let scene = Scene::new();
    tiny_base(&scene.path("base"), &[("/etc/a", "a")]);
    let base = || Base::Layout(scene.path("base"));
    let built = scene.build(spec(&scene, base()), Progress::silent()).await;
    assert_eq!(built.facts, None);
    let (layout, image) = load(&built);
    assert!(ServiceImage::of_layout(&layout, &image).is_err());
    let config = image.config.document.config().clone().unwrap();
    assert_eq!(config.user().as_deref(), Some("65532:65532"));
    assert_eq!(
        config.entrypoint().clone().unwrap(),
        ["/mse/bin/mse-launch"]
    );
    let root = scene.path("root");
    unpack(&layout, &image, Part::Whole, &root).unwrap();
    for (path, content) in [
        ("mse/bin/mse-launch", "#!/bin/sh\necho mse-launch\n"),
        ("mse/bin/mse-enclave", "#!/bin/sh\necho mse-enclave\n"),
        ("mse/runtime.json", "{}"),
        ("etc/a", "a"),
    ] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), content);
    }
    assert!(!root.join("mse/image.json").exists() && !root.join("mse/service.json").exists());

    // What is of ours is named with its digest.
    let sbom = attached(&layout, &image, "application/spdx+json").to_string();
    let provenance = attached(&layout, &image, "application/vnd.in-toto+json").to_string();
    for program in ["mse-launch", "mse-enclave"] {
        let digest = mse_crypto::Digest::of(&fs::read(scene.path(program)).unwrap()).to_string();
        for document in [&sbom, &provenance] {
            assert!(document.contains(&format!("/mse/bin/{program}")));
            assert!(document.contains(&digest), "{document}");
        }
    }

    // The same anywhere, and another with another program.
    let elsewhere = scene
        .build_at(scene.fresh_site(), spec(&scene, base()), Progress::silent())
        .await;
    assert_eq!(elsewhere.digest, built.digest);
    fs::write(scene.path("mse-enclave"), "another").unwrap();
    let other = scene.build(spec(&scene, base()), Progress::silent()).await;
    assert_ne!(other.digest, built.digest);
}

#[tokio::test]
async fn requirements_may_have_an_environment_of_their_own() {
    let scene = Scene::new();
    scene.file("requirements.txt", "flask\n");
    let mut spec = spec(&scene, Base::Kind(Kind::Python));
    spec.requirements = Some("requirements.txt".into());
    spec.environment = Some("/opt/it/".into());
    let built = scene.build(spec, Progress::silent()).await;
    let (layout, image) = load(&built);
    let root = scene.path("root");
    unpack(&layout, &image, Part::Whole, &root).unwrap();
    let where_is_flask = |python: &str| {
        let output = Command::new("bwrap")
            .args(["--unshare-all", "--unshare-user", "--bind"])
            .arg(&root)
            .args(["/", "--dev", "/dev", "--proc", "/proc", python, "-I", "-c"])
            .arg("import flask; print(flask.__file__)")
            .output()
            .expect("`bwrap` is there: ./x setup installs bubblewrap");
        String::from_utf8(output.stdout).unwrap()
    };
    let found = where_is_flask("/opt/it/bin/python");
    assert!(found.starts_with("/opt/it/lib/python3"), "{found}");
    assert_eq!(where_is_flask("/usr/bin/python3"), "");
    assert!(fs::read_link(root.join("opt/it/bin/python3")).is_ok());
    assert!(!Path::new(&root.join("opt/it/bin/pip")).exists());
    // What is in it counts as in any other.
    let sbom = attached(&layout, &image, "application/spdx+json").to_string();
    assert!(sbom.contains("pkg:pypi/flask@"), "{sbom}");
}
