//! From a spec to an image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use mse_crypto::{CodeKey, Digest};
use mse_image::layout::Image;
use mse_image::lock::ImageLock;
use mse_image::tree::{root_digest, scan};
use mse_image::{
    Base, BuildError, Built, Cancel, Event, ImageSpec, Kind, Layout, Part, Progress, StepNetwork,
    build, file_system, unpack,
};
use mse_workload::bundle::{FileMode, FileSink, SourceSalt, unseal};
use mse_workload::image::ImageFacts;

use crate::fixture::Scene;
use crate::tiny::tiny_base;

fn recording() -> (Progress, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let progress = Progress::new(move |event| sink.lock().unwrap().push(event));
    (progress, events)
}

/// The steps that were done anew.
fn started(events: &Mutex<Vec<Event>>) -> Vec<String> {
    let started = |event: &Event| match event {
        Event::Started(step) => Some(step.to_string()),
        _ => None,
    };
    events.lock().unwrap().iter().filter_map(started).collect()
}

fn facts(built: &Built) -> &ImageFacts {
    built.facts.as_ref().expect("it is a service")
}

fn load(folder: &Path) -> (Layout, Image) {
    let layout = Layout::open(folder).unwrap();
    let image = layout.image(None).unwrap();
    (layout, image)
}

/// What a command prints inside of the image's file system.
fn printed(root: &Path, folder: &str, command: &[&str]) -> String {
    let output = Command::new("bwrap")
        .args(["--unshare-all", "--unshare-user", "--bind"])
        .arg(root)
        .args(["/", "--dev", "/dev", "--proc", "/proc", "--chdir", folder])
        .args(command)
        .output()
        .expect("`bwrap` is there: ./x setup installs bubblewrap");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

fn python(scene: &Scene) -> ImageSpec {
    scene.file(
        "code/api.py",
        "import flask, ssl; print(flask.__name__, 'works')\n",
    );
    scene.file("requirements.txt", "flask\n");
    let mut spec = scene.spec(Base::Kind(Kind::Python));
    spec.pwd = "/python".into();
    spec.copy = vec!["code/api.py".into()];
    spec.requirements = Some("requirements.txt".into());
    spec.run = vec!["echo made > made && rm /usr/bin/od".into()];
    spec
}

#[tokio::test]
async fn a_python_service_is_built_runs_and_is_the_same_anywhere() {
    let scene = Scene::new();
    let spec = python(&scene);
    let built = scene.build(spec.clone(), Progress::silent()).await;
    let (layout, image) = load(&built.layout);

    let root = scene.path("root");
    let system = unpack(&layout, &image, Part::WithoutOwn, &root).unwrap();
    assert_eq!(
        printed(&root, "/python", &["python3", "code/api.py"]),
        "flask works\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("python/made")).unwrap(),
        "made\n"
    );
    assert!(!root.join("usr/bin/od").exists() && !root.join("mse").exists());
    let bytecode = |(path, _): (&str, _)| path.contains("__pycache__");
    assert!(!system.iter().any(bytecode));
    let names = |packages: &[mse_image::lock::PythonPackage]| -> Vec<String> {
        packages
            .iter()
            .map(|package| package.name.to_lowercase())
            .collect()
    };
    assert!(names(&built.lock.python).contains(&"flask".to_owned()));

    // A warm build runs no step.
    let (progress, events) = recording();
    let again = scene.build(spec.clone(), progress).await;
    assert_eq!(again.digest, built.digest);
    assert_eq!(started(&events), ["facts"]);

    // Changed code installs nothing anew. It is code that no earlier test had.
    scene.file("code/api.py", format!("print({:?})\n", scene.path("")));
    let (progress, events) = recording();
    let changed = scene.build(spec, progress).await;
    assert_ne!(facts(&changed).root, facts(&built).root);
    assert_eq!(started(&events)[0], "copy");

    // With the lock, elsewhere, with an empty cache: the same bytes.
    let other = Scene::new();
    let mut spec = python(&other);
    spec.lock = Some(ImageLock::from_json(&built.lock.to_json()).unwrap());
    let elsewhere = other
        .build_at(other.fresh_site(), spec.clone(), Progress::silent())
        .await;
    assert_eq!(elsewhere.digest, built.digest);
    assert_eq!(elsewhere.lock, built.lock);

    // And nothing else than the lock says.
    let mut lock = built.lock.clone();
    lock.python[0].sha256 = Digest::of(b"another");
    spec.lock = Some(lock);
    let nowhere = other.path("x");
    let result = build(
        spec,
        other.site(),
        &nowhere,
        Cancel::default(),
        Progress::silent(),
    );
    assert!(matches!(result.await, Err(BuildError::Python(_))));
}

#[tokio::test]
async fn the_root_digest_is_the_same_with_and_without_unpacking() {
    let scene = Scene::new();
    tiny_base(
        &scene.path("base"),
        &[("/etc/hosts", "x"), ("/data/a", "a"), ("/opt/b", "b")],
    );
    scene.file("app/run", "#!/bin/sh\n");
    fs::set_permissions(
        scene.path("context/app/run"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let mut spec = scene.spec(Base::Layout(scene.path("base")));
    spec.copy = vec!["app".into()];
    spec.pwd = "/srv".into();
    spec.plains = vec!["/data".into()];
    spec.host_paths = vec!["/etc/hosts".into()];
    let built = scene.build(spec, Progress::silent()).await;
    assert_eq!(facts(&built).unmeasured, ["/data"]);
    let (layout, image) = load(&built.layout);
    let system = file_system(&layout, &image).unwrap();
    let unmeasured = &facts(&built).unmeasured;
    assert_eq!(
        root_digest(&system, unmeasured).unwrap(),
        facts(&built).root
    );

    let root = scene.path("root");
    unpack(&layout, &image, Part::Whole, &root).unwrap();
    let digest = || root_digest(&scan(&root).unwrap(), unmeasured).unwrap();
    assert_eq!(digest(), facts(&built).root);
    let mode = fs::metadata(root.join("srv/app/run"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    fs::write(root.join("data/a"), "the host may").unwrap();
    assert_eq!(digest(), facts(&built).root);
    fs::write(root.join("opt/b"), "the host may not").unwrap();
    assert_ne!(digest(), facts(&built).root);
}

#[tokio::test]
async fn other_tools_read_the_image() {
    let scene = Scene::new();
    tiny_base(&scene.path("base"), &[("/etc/a", "a")]);
    let built = scene
        .build(
            scene.spec(Base::Layout(scene.path("base"))),
            Progress::silent(),
        )
        .await;
    let source = format!("oci:{}:hello", built.layout.display());
    let inspected = Command::new("skopeo")
        .args(["inspect", &source])
        .output()
        .unwrap();
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["Digest"], built.digest.to_string());
    assert_eq!(
        inspected["Labels"]["org.opencontainers.image.title"],
        "hello"
    );

    let copied = scene.path("copied");
    let copied = Command::new("skopeo")
        .args([
            "copy",
            "--insecure-policy",
            &source,
            &format!("dir:{}", copied.display()),
        ])
        .status();
    assert!(copied.unwrap().success());
    let unpacked = scene.path("umoci");
    let status = Command::new("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:hello", built.layout.display()))
        .arg(&unpacked)
        .status();
    assert!(status.unwrap().success());
    let theirs = scan(&unpacked.join("rootfs")).unwrap();
    assert_eq!(
        root_digest(&theirs, &facts(&built).unmeasured).unwrap(),
        facts(&built).root
    );
    let bundle = fs::read_to_string(unpacked.join("config.json")).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    assert_eq!(
        bundle["process"]["args"],
        serde_json::json!(["/mse/bin/mse-launch"])
    );
}

/// Files of a bundle, in memory.
#[derive(Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl FileSink for Files {
    fn begin(&mut self, path: &str, _: FileMode, _: u64) -> std::io::Result<()> {
        self.0.push((path.to_owned(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.0.last_mut().unwrap().1.extend_from_slice(piece);
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn encrypted_folders_leave_no_plaintext_anywhere() {
    const CANARY: &str = "canary-4711-of-the-owner";
    let scene = Scene::new();
    scene.file("model/weights.txt", CANARY);
    scene.file("model/requirements.txt", CANARY);
    scene.file("main.py", "public");
    let mut spec = scene.spec(Base::Debian {
        packages: Vec::new(),
        without: Vec::new(),
    });
    spec.pwd = "/app".into();
    spec.copy = vec!["model".into(), "main.py".into()];
    spec.dirs = vec!["/app/model".into()];
    spec.run = vec!["test -s model/weights.txt && cp model/weights.txt model/more".into()];
    let key = CodeKey::generate();
    spec.image_key = Some(key.clone());
    let built = scene
        .build_at(scene.fresh_site(), spec.clone(), Progress::silent())
        .await;
    let again = scene
        .build_at(scene.fresh_site(), spec.clone(), Progress::silent())
        .await;
    assert_eq!(again.digest, built.digest);

    let sealed = facts(&built).sealed.clone().unwrap();
    assert_eq!(sealed.key_check, key.check_value());
    let (layout, image) = load(&built.layout);
    let root = scene.path("root");
    unpack(&layout, &image, Part::Whole, &root).unwrap();
    assert!(root.join("app/model").is_dir() && root.join("app/main.py").is_file());
    assert_eq!(fs::read_dir(root.join("app/model")).unwrap().count(), 0);
    let archive = fs::File::open(root.join("mse/sealed.tar")).unwrap();
    let mut files = Files::default();
    let opened = unseal(archive, &key, &SourceSalt::generate(), &mut files).unwrap();
    assert_eq!(opened.digest, sealed.bundle);
    let expected = [
        "app/model/more",
        "app/model/requirements.txt",
        "app/model/weights.txt",
    ];
    let expected = expected.map(|path| (path.to_owned(), CANARY.as_bytes().to_vec()));
    assert_eq!(files.0, expected);

    for place in ["cache", "image", "root"] {
        let found = Command::new("grep")
            .args(["-rlaF", CANARY])
            .arg(scene.path(place))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{place}");
    }
    let unpacked_layers = file_system(&layout, &image).unwrap();
    assert!(unpacked_layers.below("/app/model").next().is_none());

    // Another key makes other bytes, and the root stays what it was.
    spec.image_key = Some(CodeKey::generate());
    let other = scene
        .build_at(scene.fresh_site(), spec, Progress::silent())
        .await;
    assert_ne!(facts(&other).sealed, facts(&built).sealed);
    assert_eq!(facts(&other).root, facts(&built).root);
}

async fn refused(scene: &Scene, spec: ImageSpec) -> BuildError {
    let output = scene.path("refused");
    let result = build(
        spec,
        scene.site(),
        &output,
        Cancel::default(),
        Progress::silent(),
    )
    .await;
    assert!(!output.exists());
    result.unwrap_err()
}

#[tokio::test]
async fn what_cannot_be_encrypted_is_refused() {
    let scene = Scene::new();
    tiny_base(&scene.path("base"), &[("/app/a", "a")]);
    let mut spec = scene.spec(Base::Layout(scene.path("base")));
    spec.image_key = Some(CodeKey::generate());
    spec.dirs = vec!["/app".into()];
    let error = refused(&scene, spec.clone()).await;
    assert!(
        matches!(&error, BuildError::NotSecret { path, .. } if path == "/app/a"),
        "{error}"
    );
    spec.dirs = vec!["/secret".into()];
    let error = refused(&scene, spec.clone()).await;
    assert!(matches!(error, BuildError::NothingSecret(_)), "{error}");
    scene.file("f", "x");
    std::os::unix::fs::symlink("f", scene.path("context/l")).unwrap();
    spec.pwd = "/secret".into();
    spec.copy = vec!["f".into(), "l".into()];
    let error = refused(&scene, spec).await;
    assert!(matches!(error, BuildError::SecretLink(_)), "{error}");
}

#[tokio::test]
async fn steps_see_the_network_only_when_told_to_and_their_failures_are_shown() {
    let scene = Scene::new();
    let mut spec = scene.spec(Base::Debian {
        packages: Vec::new(),
        without: Vec::new(),
    });
    spec.run =
        vec!["ls /sys/class/net /proc/net >/dev/null; cat /proc/net/dev | wc -l > /lines".into()];
    let lines = |root: &Path| fs::read_to_string(root.join("lines")).unwrap();
    let unpacked = async |spec: &ImageSpec, name: &str| {
        let built = scene.build(spec.clone(), Progress::silent()).await;
        let (layout, image) = load(&built.layout);
        unpack(&layout, &image, Part::Whole, &scene.path(name)).unwrap();
        lines(&scene.path(name))
    };
    let without = unpacked(&spec, "without").await;
    // Two lines of heading, and the loopback of the sandbox.
    assert_eq!(without.trim(), "3");
    spec.network = StepNetwork::On;
    let with = unpacked(&spec, "with").await;
    let here = fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    assert_eq!(with.trim(), here.to_string());

    spec.run = vec!["true".into(), "echo what went wrong; exit 7".into()];
    let error = refused(&scene, spec).await;
    let text = error.to_string();
    assert!(matches!(error, BuildError::Run { number: 2, .. }), "{text}");
    assert!(
        text.contains("what went wrong") && text.contains('7'),
        "{text}"
    );
}

#[tokio::test]
async fn a_stopped_build_ends_its_step_and_leaves_nothing() {
    let scene = Scene::new();
    let mut spec = scene.spec(Base::Debian {
        packages: Vec::new(),
        without: Vec::new(),
    });
    spec.run = vec!["echo started; sleep 1000".into()];
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let progress = Progress::new(move |event| {
        if event == Event::Output("started".into()) {
            stop.cancel();
        }
    });
    let result = build(
        spec.clone(),
        scene.fresh_site(),
        &scene.path("image"),
        cancel,
        progress,
    )
    .await;
    assert!(matches!(result, Err(BuildError::Cancelled)), "{result:?}");
    assert!(!scene.path("image").exists());
    assert_eq!(fs::read_dir(scene.path("cache/tmp")).unwrap().count(), 0);
    // What a killed build leaves behind, the next one removes.
    fs::write(scene.path("cache/tmp/left"), "x").unwrap();
    spec.run.clear();
    scene
        .build_at(scene.fresh_site(), spec, Progress::silent())
        .await;
    assert!(!scene.path("cache/tmp/left").exists());
}

#[tokio::test]
async fn services_come_from_debians_packages() {
    let scene = Scene::new();
    let packages = vec!["redis-server".into(), "nginx".into()];
    let built = scene
        .build(
            scene.spec(Base::Debian {
                packages,
                without: Vec::new(),
            }),
            Progress::silent(),
        )
        .await;
    let (layout, image) = load(&built.layout);
    let root = scene.path("root");
    unpack(&layout, &image, Part::WithoutOwn, &root).unwrap();
    assert!(printed(&root, "/", &["redis-server", "--version"]).starts_with("Redis server v="));
    assert!(printed(&root, "/", &["nginx", "-v"]).starts_with("nginx version"));
    let names: Vec<&str> = built.lock.debian.iter().map(|p| p.name.as_str()).collect();
    assert!(
        names.contains(&"nginx") && !names.contains(&"dpkg"),
        "{names:?}"
    );
}

#[tokio::test]
async fn java_is_compiled_runs_and_knows_the_authorities_of_the_world() {
    let scene = Scene::new();
    let source =
        |text: &str| format!("class Hello {{ public static void main(String[] a) {{ {text} }} }}");
    scene.file("src/Hello.java", source("System.out.println(\"hello\");"));
    let mut spec = scene.spec(Base::Kind(Kind::Java));
    spec.pwd = "/java".into();
    spec.copy = vec!["src".into()];
    let built = scene.build(spec.clone(), Progress::silent()).await;
    let (layout, image) = load(&built.layout);
    let root = scene.path("root");
    unpack(&layout, &image, Part::WithoutOwn, &root).unwrap();
    assert_eq!(printed(&root, "/java", &["java", "Hello"]), "hello\n");
    let version = printed(&root, "/java", &["java", "-version"]);
    assert!(version.starts_with("openjdk version"), "{version}");
    let list = ["keytool", "-list", "-cacerts", "-storepass", "changeit"];
    let listed = printed(&root, "/java", &list);
    let entries = listed.matches("trustedCertEntry").count();
    let bundle = fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert_eq!(
        entries,
        bundle.matches("BEGIN CERTIFICATE").count(),
        "{listed}"
    );
    assert!(entries > 50);

    scene.file("src/Hello.java", source("nonsense"));
    let error = refused(&scene, spec).await;
    assert!(matches!(error, BuildError::Compile(_)), "{error}");
    assert!(error.to_string().contains("not a statement"), "{error}");
}
