//! `mse image`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use mse_crypto::CodeKey;
use mse_image::registry::Login;
use mse_image::{Base, Built, Cancel, ImageSpec, Layout, Programs, Progress, Site, build};

use crate::image_base::tiny_base;
use crate::image_server::{Guard, Server};
use crate::support::{Ran, User};

/// An image in the user's folder `web`.
async fn image(user: &User) -> Built {
    tiny_base(&user.path("base"), &[("/etc/base", "base")]);
    for (file, content) in [
        ("context/app.txt", "hello"),
        ("context/model", "secret"),
        ("mse-launch", "launcher"),
        ("mse-enclave", "enclave"),
    ] {
        user.write(file, content);
    }
    let programs = Programs {
        launcher: user.path("mse-launch"),
        enclave: user.path("mse-enclave"),
    };
    let base = Base::Layout(user.path("base"));
    let mut spec = ImageSpec::new("web", base, &user.path("context"), programs);
    spec.pwd = "/app".into();
    spec.copy = vec!["app.txt".into()];
    spec.host_paths = vec!["/etc/ssl/certs".into()];
    build(
        spec,
        site(user),
        &user.path("web"),
        Cancel::default(),
        Progress::silent(),
    )
    .await
    .unwrap()
}

fn site(user: &User) -> Site {
    Site {
        cache: user.path("cache"),
        sources: None,
        registry: None,
    }
}

/// Digests depend on our version.
fn shown(ran: &Ran) -> String {
    let text = ran.shown();
    let digest = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut words = Vec::new();
    for part in text.split_inclusive([' ', '\n', ':', '`', ';', ',']) {
        let (word, end) =
            part.split_at(part.trim_end_matches([' ', '\n', ':', '`', ';', ',']).len());
        let is_digest = word.len() == 64 && word.chars().all(digest);
        words.push(if is_digest { "[digest]" } else { word }.to_owned() + end);
    }
    words.concat()
}

#[tokio::test]
async fn an_image_is_inspected_verified_and_unpacked() {
    let user = User::new();
    let built = image(&user).await;
    insta::assert_snapshot!(
        "image_inspect",
        shown(&user.mse(&["image", "inspect", "web"]))
    );
    insta::assert_snapshot!(
        "image_verify",
        shown(&user.mse(&["image", "verify", "web"]))
    );
    let inspected = user.mse(&["image", "inspect", "web", "--json"]).json();
    assert_eq!(inspected["digest"], built.digest.to_string());
    assert_eq!(
        inspected["facts"]["root"],
        built.facts.as_ref().unwrap().root.to_string()
    );

    let unpacked = user.mse(&["image", "unpack", "web", "root", "--program"]);
    assert_eq!(unpacked.code, 0, "{unpacked:?}");
    assert_eq!(
        fs::read_to_string(user.path("root/app/app.txt")).unwrap(),
        "hello"
    );
    assert!(!user.path("root/mse").exists());
    let again = user.mse(&["image", "unpack", "web", "root"]);
    again.failed_with(10, "`root` is not empty");

    // The cache has the same file: the layout's own is changed.
    let layout = Layout::open(&user.path("web")).unwrap();
    let layer = layout.blob_path(layout.image(None).unwrap().manifest.layers[1].digest);
    let mut bytes = fs::read(&layer).unwrap();
    bytes[30] ^= 1;
    fs::remove_file(&layer).unwrap();
    fs::write(&layer, bytes).unwrap();
    user.mse(&["image", "verify", "web"])
        .failed_with(1, "has other bytes");
    user.mse(&["image", "inspect", "root"])
        .failed_with(6, "no OCI image layout");
    user.mse(&["image", "inspect", "No/Such"])
        .failed_with(2, "is not the name of an image");
}

fn log_in(user: &User, server: &Server) {
    let Login::Password {
        user: name,
        password,
    } = Server::login()
    else {
        unreachable!("it is a password");
    };
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{}", *password));
    let registry = server.reference("x").registry().to_owned();
    let config = serde_json::json!({"auths": {registry: {"auth": auth}}});
    user.write(".docker/config.json", &config.to_string());
    fs::copy(server.authority(), user.path("ca.pem")).unwrap();
}

#[tokio::test]
async fn an_image_is_pushed_signed_copied_and_verified() {
    let user = User::new();
    let (built, server) = (
        image(&user).await,
        Server::start(Guard::TlsAndPassword).await,
    );
    let name = server.reference("team/web:1").to_string();
    let mse = |words: &[&str]| user.mse(&[&["image"], words, &["--ca", "ca.pem"]].concat());
    user.write("ca.pem", &fs::read_to_string(server.authority()).unwrap());
    mse(&["push", "web", &name]).failed_with(4, "docker login");
    log_in(&user, &server);
    let pushed = mse(&["push", "web", &name, "--sign", "identity.pem", "--json"]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(pushed.json()["digest"], built.digest.to_string());
    let mode = fs::metadata(user.path("identity.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let verified = mse(&["verify", &name, "--key", "identity.pub", "--json"]).json();
    let repository = name.trim_end_matches(":1");
    assert_eq!(verified["signed_as"], repository);
    let inspected = mse(&["inspect", &name, "--json"]).json();
    assert_eq!(inspected["facts"]["name"], "web");
    assert_eq!(mse(&["unpack", &name, "root"]).code, 0);
    assert!(user.path("root/mse/image.json").exists());

    let copy = server.reference("mirror/web:2").to_string();
    let copied = mse(&["copy", &name, &copy, "--json"]).json();
    assert_eq!(copied["digest"], built.digest.to_string());
    mse(&["verify", &copy, "--key", "identity.pub"]).failed_with(1, "is not signed");
    assert_eq!(mse(&["sign", &copy, "--key", "other.pem"]).code, 0);
    mse(&["verify", &copy, "--key", "identity.pub"]).failed_with(1, "not by this key");
    mse(&["verify", &copy, "--key", "identity.pem"]).failed_with(3, "PUBLIC KEY");
    mse(&["inspect", &server.reference("none:1").to_string()])
        .failed_with(6, "not in the registry");
}

#[test]
fn keys_of_images_are_made_once_and_told_apart() {
    let user = User::new();
    let made = user
        .mse(&["image", "key", "new", "image.key", "--json"])
        .json();
    let text = fs::read_to_string(user.path("image.key")).unwrap();
    let key = CodeKey::from_hex(&text).unwrap();
    assert_eq!(made["check_value"], key.check_value().to_string());
    let shown = user.mse(&["image", "key", "show", "image.key"]);
    assert!(shown.stdout.contains(&key.check_value().to_string()) && !shown.stdout.contains(&text));
    user.mse(&["image", "key", "new", "image.key"])
        .failed_with(12, "left alone");
    assert_eq!(fs::read_to_string(user.path("image.key")).unwrap(), text);
    user.mse(&["image", "key", "show", "none"])
        .failed_with(6, "there is no `none`");
}

#[test]
fn every_image_command_has_a_help_with_an_example() {
    let user = User::new();
    for part in ["inspect", "verify", "unpack", "push", "copy", "sign", "key"] {
        let help = user.mse(&["image", part, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{part}");
        insta::assert_snapshot!(format!("image_{part}_help"), help);
    }
}
