//! What a document says of curated services, and of images of Debian's packages.

use mse_mesh::{Curated, ImageSource, Meshfile, ServiceManifest, Variables};

fn service(text: &str) -> Result<Meshfile, String> {
    let mesh = format!(
        "apiVersion: mse/v1\nkind: mesh\ncas: [{{cas_url: c.example}}]\npolicy: {{namespace: a}}\nservices: [{{{text}}}]\n"
    );
    let read = Meshfile::read(&mesh, &Variables::new());
    read.map(|(mesh, _)| mesh)
        .map_err(|faults| faults.to_string())
}

#[test]
fn a_service_has_an_image_or_is_curated() {
    let mesh = service("curated: redis").unwrap();
    assert_eq!(mesh.services[0].image, ImageSource::Curated(Curated::Redis));
    assert_eq!(mesh.services[0].name.as_str(), "redis");
    for (text, part) in [
        ("name: a", "a service needs an image"),
        ("curated: redis, image: r.example/redis", "too"),
        ("curated: reddis", "redis"),
        ("curated: redis, files: [{path: /a}]", "one content"),
        (
            "curated: redis, files: [{path: /a, content: b, from: c}]",
            "one content",
        ),
        (
            "curated: redis, files: [{path: /a, from: ../b}]",
            "leads out",
        ),
        (
            "curated: redis, files: [{path: /a, from: b}, {path: //a, from: c}]",
            "/a",
        ),
    ] {
        let error = service(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn packages_are_for_the_kind_debian() {
    let read = |build: &str| {
        let text = format!(
            "apiVersion: mse/v1\nkind: genservice\nbuild: {{name: a, to: r.example/a, command: a, {build}}}\n"
        );
        let read = ServiceManifest::read(&text, &Variables::new());
        read.map(|(manifest, _)| manifest.build)
            .map_err(|faults| faults.to_string())
    };
    let build = read("kind: debian, packages: [redis-server], without: [perl]").unwrap();
    assert_eq!(build.packages, ["redis-server"]);
    assert_eq!(build.without, ["perl"]);
    for (text, part) in [
        ("kind: debian", "needs the packages"),
        ("kind: debian, packages: [a1], from: r.example/b", "`from`"),
        ("kind: python, packages: [a1]", "for the kind `debian`"),
        ("kind: debian, packages: [redis=7]", "no name"),
        ("kind: debian, packages: [--force]", "no name"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
