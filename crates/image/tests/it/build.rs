//! From a spec to an image.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mse_image::{Base, Event, Kind, Layout, Part, Progress, Step, unpack};

use crate::fixture::Scene;

fn recording() -> (Progress, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    (Progress::new(move |event| {eprintln!("{event:?}"); sink.lock().unwrap().push(event)}), events)
}

#[tokio::test]
async fn a_python_service_is_built_and_runs() {
    let scene = Scene::new();
    scene.file("code/api.py", "import flask, ssl; print(flask.__name__, 'works')\n");
    scene.file("requirements.txt", "flask\n");
    let mut spec = scene.spec(Base::Kind(Kind::Python));
    spec.pwd = "/python".into();
    spec.copy = vec!["code/api.py".into()];
    spec.requirements = Some("requirements.txt".into());
    spec.run = vec!["echo made > made && rm /usr/bin/od".into()];
    let (progress, _) = recording();
    let t = Instant::now();
    let built = scene.build(spec.clone(), progress).await;
    eprintln!("cold {:?} {} bytes", t.elapsed(), built.size);
    let (progress, events) = recording();
    let t = Instant::now();
    let again = scene.build(spec.clone(), progress).await;
    eprintln!("warm {:?}", t.elapsed());
    assert_eq!(again.digest, built.digest);
    let layout = Layout::open(&built.layout).unwrap();
    let image = layout.image(None).unwrap();
    let root = scene.path("root");
    let t = Instant::now();
    let system = unpack(&layout, &image, Part::WithoutOwn, &root).unwrap();
    eprintln!("unpack {:?} {} bytes {} entries", t.elapsed(), system.size(), system.iter().count());
    let output = Command::new("bwrap")
        .args(["--unshare-all", "--bind"])
        .arg(&root)
        .args(["/", "--dev", "/dev", "--proc", "/proc", "--chdir", "/python"])
        .args(["python3", "code/api.py"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "flask works\n", "{}", String::from_utf8_lossy(&output.stderr));
    let ran = events.lock().unwrap().iter().any(|event| matches!(event, Event::Started(Step::Run { .. } | Step::Requirements | Step::Base)));
    assert!(!ran);
    assert!(root.join("python/made").exists() && !root.join("usr/bin/od").exists());
    let _ = fs::remove_dir_all(&root);
    if std::env::var_os("KEEP").is_some() { std::mem::forget(scene); }
}
