//! Services in containers: the launcher in a container of Podman, against a CAS that appraises for
//! real.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mse_api::LogStream;
use mse_runtime::container::{ContainerSpec, ContainerTee, ImageId, MeshId, Network};
use mse_runtime::process::EnclaveEvent;
use mse_runtime::running::{Running, Runtime};
use mse_tests::cas::{SERVICE, SESSION};
use mse_tests::containers::Engine;
use mse_tests::image_root::ImageRoot;
use mse_tests::programs::static_program;
use mse_tests::services::ServiceMachine;
use mse_workload::image::ImageFacts;
use mse_workload::launch::{Phase, ServiceCheck, ServiceEnd};
use mse_workload::{Measured, SERVICE_FORMAT, ServiceWorkload, measurement};
use tokio::time::timeout;

fn mesh(folder: &str) -> MeshId {
    MeshId::new("shop", Path::new(folder))
}

/// An engine, a CAS, and an image that the CAS releases to.
struct Setting {
    engine: Engine,
    machine: ServiceMachine,
    image: ImageRoot,
    facts: ImageFacts,
}

/// What was seen of a service.
#[derive(Debug, Default)]
struct Seen {
    lines: Vec<String>,
    log: Vec<String>,
    phases: Vec<Phase>,
    end: Option<ServiceEnd>,
    how: Option<String>,
}

impl Setting {
    async fn new() -> Self {
        let machine = ServiceMachine::new(&static_program("mse-enclave")).await;
        let image = ImageRoot::new();
        let facts = image.complete(
            &static_program("mse-launch"),
            &static_program("mse-enclave"),
        );
        let setting = Self {
            engine: Engine::start().await,
            machine,
            image,
            facts,
        };
        let digest = setting.workload().digest();
        let measured = measurement::simulated(&setting.facts.enclave, &digest);
        setting.machine.cas.policies().measurement = Some(measured);
        setting
    }

    fn workload(&self) -> ServiceWorkload {
        ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: self.facts.root,
            base: self.facts.base(),
            ..self.machine.workload()
        }
    }

    async fn load(&self) -> ImageId {
        let layout = tempfile::tempdir().unwrap();
        self.image.write_oci(layout.path());
        self.engine.runtime.load(layout.path()).await.unwrap()
    }

    async fn spec(&self) -> ContainerSpec {
        ContainerSpec {
            name: "web".into(),
            mesh: mesh("/srv/shop"),
            image: self.load().await,
            cas: self.machine.cas.address.replace("127.0.0.1", "localhost"),
            cas_key: self.machine.cas.key,
            session: SESSION.into(),
            service: SERVICE.into(),
            resources: self.machine.workload().resources,
            arguments: vec!["of the host".into()],
            environment: [("ZONE".to_owned(), "z1".to_owned())].into(),
            tee: ContainerTee::Simulated(self.machine.data.path().join("tee")),
            volumes: BTreeMap::new(),
            ports: Vec::new(),
            network: Network::Host,
            hosts: BTreeMap::new(),
        }
    }
}

impl Seen {
    async fn until(&mut self, running: &mut impl Running, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            let next = timeout(Duration::from_secs(60), running.next()).await;
            let next = next.unwrap_or_else(|_| panic!("nothing happened for a minute: {self:#?}"));
            match next.unwrap_or_else(|| panic!("it ended: {self:#?}")) {
                EnclaveEvent::Log { stream, text } => match stream {
                    LogStream::App => self.lines.push(text),
                    _ => self.log.push(text),
                },
                EnclaveEvent::Phase(phase) => self.phases.push(phase),
                EnclaveEvent::ServiceEnded(end) => self.end = Some(end),
                EnclaveEvent::Exited { how } => self.how = Some(how),
                EnclaveEvent::Confinement(_)
                | EnclaveEvent::Health { .. }
                | EnclaveEvent::Listening { .. }
                | EnclaveEvent::Waiting { .. } => {}
            }
        }
    }

    async fn finish(&mut self, running: &mut impl Running) {
        self.until(running, |seen| seen.how.is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_a_container_is_told_what_was_released() {
    let setting = Setting::new().await;
    {
        let mut policies = setting.machine.cas.policies();
        policies.arguments = [
            "sh",
            "-c",
            "echo \"$0 $1 $PASSWORD $ZONE\"; cat /srv/data.txt /tls/key; echo; ls /; exit 7",
            "an argument",
            "@@1",
        ]
        .map(str::to_owned)
        .into();
        policies.environment = [
            ("PASSWORD".to_owned(), "s3cret".to_owned()),
            (r"\@\@ZONE".to_owned(), String::new()),
        ]
        .into();
        policies.files = vec![("/tls/key".into(), 0o400, " released".into())];
    }
    let spec = setting.spec().await;
    let mut running = setting.engine.runtime.launch(spec).await.unwrap();
    let mut seen = Seen::default();
    seen.finish(&mut running).await;
    assert_eq!(seen.end, Some(ServiceEnd::Program { code: 7 }), "{seen:#?}");
    assert_eq!(seen.how.as_deref(), Some("exit status: 7"));
    assert_eq!(seen.lines[0], "an argument of the host s3cret z1");
    assert_eq!(seen.lines[1], "of the image released");
    assert!(!seen.lines.contains(&"mse".to_owned()), "{seen:#?}");
    assert!(seen.phases.contains(&Phase::Running));
    assert!(seen.log.iter().any(|line| line.contains("SIMULATED")));
    // Nothing is left of it.
    assert_eq!(setting.engine.podman(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_stopped_ends_its_program_in_order() {
    let setting = Setting::new().await;
    setting
        .machine
        .cas
        .policies()
        .script("trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.05; done");
    let spec = setting.spec().await;
    let mut running = setting.engine.runtime.launch(spec).await.unwrap();
    let mut seen = Seen::default();
    seen.until(&mut running, |seen| seen.lines.contains(&"up".to_owned()))
        .await;
    let id = running.id().to_owned();
    let probe = setting
        .engine
        .podman(&["exec", &id, "/usr/local/bin/cat", "/mse/run/phase"]);
    assert_eq!(probe, "running", "{seen:#?}");
    running.stop(Duration::from_secs(10));
    seen.finish(&mut running).await;
    assert!(seen.lines.contains(&"asked".to_owned()), "{seen:#?}");
    assert_eq!(seen.how.as_deref(), Some("exit status: 0"), "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_image_does_not_even_ask() {
    let setting = Setting::new().await;
    setting.machine.cas.policies().script("echo ran");
    setting.image.write("srv/data.txt", "of the imagE");
    let spec = setting.spec().await;
    let mut running = setting.engine.runtime.launch(spec).await.unwrap();
    let mut seen = Seen::default();
    seen.finish(&mut running).await;
    let check = ServiceCheck::Tree;
    assert_eq!(seen.end, Some(ServiceEnd::Refused { check }), "{seen:#?}");
    assert_eq!(seen.how.as_deref(), Some("exit status: 65"));
    assert!(seen.lines.is_empty());
    assert!(setting.machine.cas.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tee_nothing_is_simulated() {
    let setting = Setting::new().await;
    let spec = ContainerSpec {
        tee: ContainerTee::Machine,
        ..setting.spec().await
    };
    let mut running = setting.engine.runtime.launch(spec).await.unwrap();
    let mut seen = Seen::default();
    seen.finish(&mut running).await;
    assert_eq!(seen.how.as_deref(), Some("exit status: 64"), "{seen:#?}");
    assert!(
        seen.log
            .iter()
            .any(|line| line.contains("no attester was found")),
        "{seen:#?}"
    );
    assert!(setting.machine.cas.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_folder_are_removed_and_those_of_another_checkout_are_not() {
    let setting = Setting::new().await;
    setting.machine.cas.policies().script("sleep 600");
    let (one, other) = (mesh("/srv/shop"), mesh("/srv/copy"));
    let runtime = &setting.engine.runtime;
    let mut running = Vec::new();
    for mesh in [&one, &other] {
        runtime.create_network(mesh).await.unwrap();
        let spec = ContainerSpec {
            name: mesh.container_name("web", 0),
            mesh: mesh.clone(),
            ..setting.spec().await
        };
        running.push(runtime.launch(spec).await.unwrap());
    }
    let left = |what: &[&str]| setting.engine.podman(what).lines().count();
    assert_eq!(left(&["ps", "--quiet"]), 2);
    assert_eq!(runtime.remove_leftovers(&one).await.unwrap(), 1);
    assert_eq!(left(&["ps", "--all", "--quiet"]), 1);
    let networks = ["network", "ls", "--quiet", "--filter", "label=mse.mesh"];
    assert_eq!(left(&networks), 1);
    assert_eq!(runtime.remove_leftovers(&one).await.unwrap(), 0);
    assert_eq!(runtime.remove_leftovers(&other).await.unwrap(), 1);
    assert_eq!(left(&networks), 0);
}
