//! A mesh in containers, at the command line: a network of its own, in which services find each other
//! by name, and a CAS on this machine's loopback.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mse_tests::containers::Engine;
use mse_tests::owner::Owner;

/// How `mse` ends if something takes too long.
const TIMED_OUT: i32 = 7;

/// The owner of `examples/mesh`, applied against a CAS on loopback, with containers of `engine`.
struct Shop {
    owner: Owner,
    counter: u16,
    web: u16,
}

impl Shop {
    fn applied(engine: &Engine) -> Self {
        let mut owner = Owner::new();
        owner.set(
            "DOCKER_HOST",
            format!("unix://{}", engine.socket().display()),
        );
        let (counter, web) = (free_port(), free_port());
        owner.take_example(|text| {
            text.replace("8000", &counter.to_string())
                .replace("8080", &web.to_string())
        });
        owner.run_cas("127.0.0.1:0");
        for service in ["counter/service.yaml", "web/service.yaml"] {
            owner.done(&["apply", "-f", service, "--no-push"]);
        }
        let shop = Self {
            owner,
            counter,
            web,
        };
        shop.apply();
        let ca = shop
            .owner
            .done(&["secret", "get", "shop/secrets", "mesh-ca"]);
        shop.owner.write("ca.pem", &ca);
        shop
    }

    fn apply(&self) {
        let words = ["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"];
        self.owner.done(&words);
    }

    /// The same mesh from another folder, whose `web` is reached at this port.
    fn copied(&self, target: &str, port: u16) {
        let plan = fs::read_to_string(self.owner.path("target/mesh.json")).unwrap();
        let mut plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        for service in plan["services"].as_array_mut().unwrap() {
            if service["name"] == "web" {
                service["open"][0]["port"] = port.into();
            }
        }
        let file = format!("{target}/mesh.json");
        self.owner.write(&file, &plan.to_string());
    }

    fn up(&self, target: &str) {
        let up = ["mesh", "up", "--runtime", "container", "--detach"];
        self.owner
            .json(&[&up[..], &["--wait", "240", "--target", target]].concat());
    }

    fn down(&self, target: &str) {
        self.owner.done(&["mesh", "down", "--target", target]);
    }

    /// What `web` says at this port of the machine.
    fn visit(&self, port: u16) -> Option<String> {
        let (ca, web) = (self.owner.path("ca.pem"), self.web);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "10", "--cacert"])
            .arg(ca)
            .args(["--connect-to", &format!("web:{web}:127.0.0.1:{port}")])
            .arg(format!("https://web:{web}/"))
            .output()
            .expect("`curl` is installed by ./x setup");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn answers(&self, port: u16, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.visit(port);
            if found.as_deref() == Some(expected) {
                return;
            }
            let logs = || self.owner.done(&["mesh", "logs"]);
            assert!(Instant::now() < deadline, "{found:?}: {}", logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_in_containers_find_each_other_and_only_open_ports_are_on_the_machine() {
    let engine = Engine::start().await;
    let shop = Shop::applied(&engine);
    let refused = shop.owner.ran(&["mesh", "up", "--network", "host"]);
    assert_eq!(refused.status.code(), Some(2), "it is for containers");
    shop.up("target");
    // By name, through the shields of both, and through the port that is for everybody.
    shop.answers(shop.web, "Welcome, visitor 1\n");
    // The port of the mesh is not on this machine, and the open one for this machine alone.
    assert!(TcpStream::connect(("127.0.0.1", shop.counter)).is_err());
    let published = engine.podman(&["ps", "--format", "{{.Ports}}"]);
    let published: Vec<_> = published.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(published, [format!("127.0.0.1:{0}->{0}/tcp", shop.web)]);

    // Another checkout of the same mesh is another one.
    let port = free_port();
    shop.copied("copy", port);
    shop.up("copy");
    shop.answers(port, "Welcome, visitor 1\n");
    shop.answers(shop.web, "Welcome, visitor 2\n");
    shop.down("copy");
    assert_eq!(shop.visit(port), None);
    shop.answers(shop.web, "Welcome, visitor 3\n");

    shop.down("target");
    assert_eq!(engine.podman(&["ps", "--all", "--quiet"]), "");
    let networks = ["network", "ls", "--quiet", "--filter", "label=mse.mesh"];
    assert_eq!(engine.podman(&networks), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_keeps_the_old_version_until_the_new_one_is_well() {
    let engine = Engine::start().await;
    let shop = Shop::applied(&engine);
    let with_check = |port: u16| {
        let mesh = fs::read_to_string(shop.owner.path("mesh.yaml")).unwrap();
        let (before, after) = mesh.split_once("  connections: [] #").unwrap();
        let before = before.split("  health:").next().unwrap();
        let health = format!("  health: {{tcp: {port}, period: 1}}\n");
        let mesh = format!("{before}{health}  connections: [] #{after}");
        shop.owner.write("mesh.yaml", &mesh);
        shop.apply();
    };
    with_check(shop.counter);
    shop.up("target");
    shop.answers(shop.web, "Welcome, visitor 1\n");
    let containers = || {
        let names = engine.podman(&["ps", "--format", "{{.ID}} {{.Names}}"]);
        let mut counters: Vec<_> = names
            .lines()
            .filter(|line| line.contains("-counter-"))
            .map(str::to_owned)
            .collect();
        counters.sort();
        counters
    };
    let first = containers();
    assert_eq!(first.len(), 1, "{first:?}");

    // The new version never gets well: it has no visitor, and what it would replace goes on.
    with_check(1);
    let words = ["mesh", "update", "--wait", "20"];
    assert_eq!(shop.owner.ran(&words).status.code(), Some(TIMED_OUT));
    assert_eq!(containers().len(), 2);
    for visitor in 2..=8 {
        let expected = format!("Welcome, visitor {visitor}\n");
        assert_eq!(shop.visit(shop.web), Some(expected));
    }

    // What is applied next takes its place, and nobody who asks meanwhile is left without an answer.
    with_check(shop.counter);
    let mesh = fs::read_to_string(shop.owner.path("mesh.yaml")).unwrap();
    let program = fs::read_to_string(shop.owner.path("counter/counter.py")).unwrap();
    shop.owner.write(
        "counter/counter.py",
        &program.replace("visits = 0", "visits = 1000"),
    );
    shop.owner
        .done(&["apply", "-f", "counter/service.yaml", "--no-push"]);
    shop.owner.write("mesh.yaml", &mesh);
    shop.apply();
    let over = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(shop.visit(shop.web));
            }
            answers
        });
        let updated = shop.owner.ran(&["mesh", "update", "--wait", "240"]);
        over.store(true, Ordering::Relaxed);
        assert!(
            updated.status.success(),
            "{}",
            String::from_utf8_lossy(&updated.stderr)
        );
        asking.join().unwrap()
    });
    assert!(answers.iter().all(Option::is_some), "{answers:?}");
    let now = containers();
    assert_eq!(now.len(), 1, "{now:?}");
    assert_ne!(now, first);
    let visitor = |greeting: &str| -> Option<u32> {
        let found = shop.visit(shop.web)?;
        found.trim().strip_prefix(greeting)?.parse().ok()
    };
    assert!(visitor("Welcome, visitor ") > Some(1000));

    // A port of this machine has one owner: that service is ended first.
    let mesh = fs::read_to_string(shop.owner.path("mesh.yaml")).unwrap();
    shop.owner
        .write("mesh.yaml", &mesh.replace("value: Welcome", "value: Hello"));
    shop.apply();
    shop.owner.done(&["mesh", "update", "--wait", "240"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while visitor("Hello, visitor ") <= Some(1000) {
        assert!(
            Instant::now() < deadline,
            "{}",
            shop.owner.done(&["mesh", "logs"])
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(containers(), now, "the other one is left alone");

    shop.down("target");
    assert_eq!(engine.podman(&["ps", "--all", "--quiet"]), "");
    let networks = ["network", "ls", "--quiet", "--filter", "label=mse.mesh"];
    assert_eq!(engine.podman(&networks), "");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
