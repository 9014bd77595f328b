//! Images in a registry.

use std::fs;

use mse_crypto::ecdsa::P256SigningKey;
use mse_image::registry::{Login, RegistryError};
use mse_image::sign::{SignError, sign, verify, verify_here};
use mse_image::{
    Base, BlobDigest, Cancel, Credentials, Layout, PlainHttp, Progress, Registry, RegistryOptions,
    Site, build,
};

use crate::fixture::Scene;
use crate::server::{Guard, Server};
use crate::tiny::tiny_base;

/// An image of ours that needs no package.
async fn image(scene: &Scene) -> (Layout, mse_image::Image) {
    tiny_base(&scene.path("base"), &[("/etc/base", "base")]);
    scene.file("app.txt", "hello");
    let mut spec = scene.spec(Base::Layout(scene.path("base")));
    spec.copy = vec!["app.txt".into()];
    let spec = spec.with_template(br#"{"a":1}"#.to_vec());
    let built = scene.build(spec, Progress::silent()).await;
    let layout = Layout::open(&built.layout).unwrap();
    let image = layout.image(None).unwrap();
    (layout, image)
}

#[tokio::test]
async fn an_image_goes_to_a_registry_and_comes_back_the_same() {
    let (scene, server) = (Scene::new(), Server::start(Guard::TlsAndPassword).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("team/app:1");
    let registry = server.registry();
    let pushed = registry.push(&layout, &image, &reference).await.unwrap();
    assert_eq!(pushed, image.digest);
    // The second time everything is there.
    registry.push(&layout, &image, &reference).await.unwrap();

    assert_eq!(registry.resolve(&reference).await.unwrap(), image.digest);
    let service = registry.service(&reference).await.unwrap();
    assert_eq!(
        (service.digest, service.facts.name.as_str()),
        (image.digest, "hello")
    );
    assert_eq!(service.template, br#"{"a":1}"#);

    let pulled = registry
        .pull(&reference, &scene.path("pulled"))
        .await
        .unwrap();
    assert_eq!(pulled.digest, image.digest);
    let back = Layout::open(&scene.path("pulled")).unwrap();
    let name = reference.to_string();
    assert_eq!(back.image(Some(&name)).unwrap().manifest, image.manifest);

    let copy = server.reference("other/app:2");
    registry.copy(&reference, &copy).await.unwrap();
    assert_eq!(registry.resolve(&copy).await.unwrap(), image.digest);
    // What is attached is found by the image's digest.
    let (_, sbom) = registry
        .manifest(&reference.with_tag(&format!("{}.sbom", image.digest.as_tag())))
        .await
        .unwrap();
    assert_eq!(sbom.subject.unwrap().digest, image.digest);
}

#[tokio::test]
async fn a_registry_can_be_the_base() {
    let (scene, server) = (Scene::new(), Server::start(Guard::TlsAndPassword).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("base:1");
    let registry = server.registry();
    registry.push(&layout, &image, &reference).await.unwrap();
    let spec = scene.spec(Base::Reference(reference));
    let site = Site {
        registry: Some(registry.into()),
        ..scene.site()
    };
    let built = build(
        spec,
        site,
        &scene.path("second"),
        Cancel::default(),
        Progress::silent(),
    )
    .await
    .unwrap();
    assert_eq!(built.lock.base, Some(image.digest));
    let second = Layout::open(&built.layout).unwrap().image(None).unwrap();
    assert_eq!(
        second.manifest.layers[..image.manifest.layers.len()],
        image.manifest.layers
    );
}

#[tokio::test]
async fn strangers_and_false_registries_get_nothing() {
    let (scene, server) = (Scene::new(), Server::start(Guard::TlsAndPassword).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("team/app:1");
    let registry = server.registry();
    registry.push(&layout, &image, &reference).await.unwrap();

    let authorities = fs::read_to_string(server.authority()).unwrap();
    let access = |authorities: Option<String>, credentials| {
        Registry::new(RegistryOptions {
            extra_authorities: authorities,
            credentials,
            plain_http: PlainHttp::Never,
        })
        .unwrap()
    };
    let stranger = access(Some(authorities.clone()), Credentials::Anonymous);
    let error = stranger.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized(_)), "{error}");
    let wrong = Login::Password {
        user: "builder".into(),
        password: mse_crypto::Zeroizing::new("wrong".into()),
    };
    let wrong = access(Some(authorities), Credentials::Given(wrong));
    let error = wrong.push(&layout, &image, &reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized(_)), "{error}");
    // Nobody vouches for the certificate.
    let unknown = access(None, Credentials::Given(Server::login()));
    let error = unknown.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Failed { .. }), "{error}");
    let error = registry
        .resolve(&server.reference("team/none:1"))
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotFound(_)), "{error}");
}

#[tokio::test]
async fn what_the_registry_changed_is_refused() {
    let (scene, server) = (Scene::new(), Server::start(Guard::TlsAndPassword).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("team/app:1");
    let registry = server.registry();
    registry.push(&layout, &image, &reference).await.unwrap();
    let last = image.manifest.layers.last().unwrap();
    let path = server.blob(last.digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = registry.service(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    let error = registry
        .pull(&reference, &scene.path("pulled"))
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
}

#[tokio::test]
async fn plain_http_is_spoken_only_when_told_to() {
    let (scene, server) = (Scene::new(), Server::start(Guard::None).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("app:1");
    let access = |plain_http| {
        Registry::new(RegistryOptions {
            plain_http,
            ..RegistryOptions::default()
        })
        .unwrap()
    };
    assert!(
        access(PlainHttp::Never)
            .push(&layout, &image, &reference)
            .await
            .is_err()
    );
    access(PlainHttp::OnLoopback)
        .push(&layout, &image, &reference)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_signature_vouches_for_one_image() {
    let (scene, server) = (Scene::new(), Server::start(Guard::TlsAndPassword).await);
    let (layout, image) = image(&scene).await;
    let reference = server.reference("team/app:1");
    let registry = server.registry();
    registry.push(&layout, &image, &reference).await.unwrap();
    let (key, other) = (P256SigningKey::generate(), P256SigningKey::generate());

    let error = verify(&registry, &reference, &key.public())
        .await
        .unwrap_err();
    assert!(matches!(error, SignError::NotSigned(_)), "{error}");
    sign(&registry, &reference, &other).await.unwrap();
    let error = verify(&registry, &reference, &key.public())
        .await
        .unwrap_err();
    assert!(matches!(error, SignError::NotByThisKey(_)), "{error}");
    sign(&registry, &reference, &key).await.unwrap();
    sign(&registry, &reference, &key).await.unwrap();
    for key in [&key, &other] {
        let verified = verify(&registry, &reference, &key.public()).await.unwrap();
        assert_eq!(verified.digest, image.digest);
    }
    let tag = |digest: BlobDigest| reference.with_tag(&format!("{}.sig", digest.as_tag()));
    let (_, signatures) = registry.manifest(&tag(image.digest)).await.unwrap();
    assert_eq!(signatures.layers.len(), 2);

    // Who keeps images gives this one out as another of the signer's, with its signature.
    let copy = server.reference("team/other:1");
    server.copy_repository("team/app", "team/other");
    verify(&registry, &copy, &key.public()).await.unwrap();
    verify_here(&registry, &reference, &key.public())
        .await
        .unwrap();
    let error = verify_here(&registry, &copy, &key.public())
        .await
        .unwrap_err();
    assert!(matches!(&error, SignError::OtherName { .. }), "{error}");
    assert!(error.to_string().contains("team/app"), "{error}");
    sign(&registry, &copy, &key).await.unwrap();
    verify_here(&registry, &copy, &key.public()).await.unwrap();

    // Another image in its place: the signature stays with the first.
    scene.file("app.txt", "changed");
    let mut spec = scene.spec(Base::Layout(scene.path("base")));
    spec.copy = vec!["app.txt".into()];
    let built = scene.build(spec, Progress::silent()).await;
    let layout = Layout::open(&built.layout).unwrap();
    let second = layout.image(None).unwrap();
    registry.push(&layout, &second, &reference).await.unwrap();
    let error = verify(&registry, &reference, &key.public())
        .await
        .unwrap_err();
    assert!(matches!(error, SignError::NotSigned(_)), "{error}");
}
