//! Curated services with the real programs, each in a network namespace of its own: the
//! application of four services of `examples/shop` (nginx, Flask, Redis, MariaDB), killed, updated
//! and listened to; memcached and PostgreSQL with a client.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mse_tests::capture::{Recording, tls_records};
use mse_tests::owner::Owner;
use mse_tests::programs::{layer_cache, repository};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// What nobody on the network may read.
const CANARY: &str = "canary-of-the-shop-4711";
/// The ports of its services: nginx, Flask, Redis, MariaDB.
const PORTS: [u16; 4] = [8080, 5000, 6379, 3306];

/// An owner on a machine with a network of its own, and its CAS.
struct Machine(Owner);

impl Deref for Machine {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        &self.0
    }
}

impl Machine {
    /// `None` if this machine cannot make network namespaces.
    fn new() -> Option<Self> {
        let mut owner = Owner::in_network()?;
        share_layers(&owner);
        owner.run_cas_at("127.0.0.1:18765", "localhost:18765");
        Some(Self(owner))
    }

    fn service(&self, name: &str) -> Value {
        let services = self.json(&["mesh", "ps"])["services"].clone();
        let mut services = services.as_array().unwrap().iter();
        let found = services.find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`")).clone()
    }

    fn pid(&self, name: &str) -> i64 {
        let service = self.service(name);
        service["pid"]
            .as_i64()
            .unwrap_or_else(|| panic!("{service}"))
    }

    /// Kills the enclave of a service, with all that is in it, and waits until it runs again.
    fn kill(&self, name: &str) {
        let before = self.service(name)["restarts"].as_u64().unwrap();
        let pid = self.pid(name);
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
        let again = |one: &Value| one["restarts"].as_u64() > Some(before);
        until(&format!("`{name}` runs again"), || {
            let one = self.service(name);
            (again(&one) && one["standing"] == "healthy").then_some(())
        });
    }

    fn logs(&self, name: &str) -> String {
        self.done(&["mesh", "logs", name])
    }

    fn commits(&self, name: &str) -> usize {
        self.logs(name)
            .matches("the changes were committed")
            .count()
    }

    /// What nginx answers; `None` if it is no success.
    fn asked(&self, path: &str, post: Option<&Value>) -> Option<Value> {
        let mut curl = self.network().command(1, Path::new("curl"));
        curl.args(["--silent", "--fail", "--max-time", "60", "--cacert"])
            .arg(self.path("ca.pem"))
            .args(["--connect-to", "front:8080:127.0.0.1:8080"])
            .arg(format!("https://front:8080{path}"));
        if let Some(body) = post {
            curl.args(["--json", &body.to_string()]);
        }
        let output = curl.output().expect("`curl` is installed by ./x setup");
        let answered = output.status.success();
        answered.then(|| serde_json::from_slice(&output.stdout).unwrap())
    }
}

#[test]
fn an_application_of_four_services_survives_kills_and_an_update_and_shows_tls_only() {
    let _alone = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(machine) = Machine::new() else {
        return;
    };
    let example = repository().join("examples/shop");
    for file in [
        "mesh.yaml",
        "web/service.yaml",
        "web/web.py",
        "web/requirements.txt",
    ] {
        let text = fs::read_to_string(example.join(file)).unwrap();
        machine.write(file, &text);
    }
    // What the network namespace cannot fetch. `mse apply -f mesh.yaml` would build the curated ones.
    machine.json_outside(&["apply", "-f", "web/service.yaml", "--no-push"]);
    for name in ["nginx", "redis", "mariadb"] {
        machine.json_outside(&["image", "curated", "build", name]);
    }
    machine.done(&["apply", "-f", "mesh.yaml"]);
    let tcpdump = machine.network().command(1, Path::new("tcpdump"));
    let recording = Recording::start(tcpdump, &machine.path("recording.pcap"));

    // One command.
    let up = machine.json(&["mesh", "up", "--detach", "--wait", "300"]);
    assert_eq!(up["simulated"], true);
    let ca = machine.done(&["secret", "get", "tea-shop/secrets", "mesh-ca"]);
    machine.write("ca.pem", &ca);
    let first = until("the shop answers", || machine.asked("/", None));
    assert_eq!(first["version"], "1");
    let again = machine.asked("/", None).unwrap();
    assert_eq!(again["visits"], first["visits"].as_u64().unwrap() + 1);

    let order = |item: &str| {
        let ordered = until("an order is taken", || {
            machine.asked("/orders", Some(&json!({"item": item})))
        });
        ordered["number"].clone()
    };
    let before = machine.commits("orders");
    let number = order(CANARY);
    // The commit that is seen first may have begun before the order; the one after it did not.
    until("a commit", || {
        (machine.commits("orders") > before).then_some(())
    });
    let before = machine.commits("orders");
    order("another");
    until("a commit", || {
        (machine.commits("orders") > before).then_some(())
    });

    let kept = json!({"number": number, "item": CANARY});
    for name in ["cache", "orders", "web", "front"] {
        machine.kill(name);
        let answer = until(
            &format!("the shop answers after `{name}` was killed"),
            || machine.asked("/orders", None),
        );
        let orders = answer["orders"].as_array().unwrap();
        assert!(orders.contains(&kept), "after `{name}`: {answer}");
        until("a visit", || machine.asked("/", None));
    }

    update_one(&machine);

    only_tls(recording);
}

/// Another version of `web`, and of nothing else: whoever asks meanwhile is answered.
fn update_one(machine: &Machine) {
    let service = fs::read_to_string(machine.path("web/service.yaml")).unwrap();
    let service = service.replace("value: \"1\"", "value: \"2\"").replace(
        "  to: localhost:5000/shop/shop-web:1",
        "  to: localhost:5000/shop/shop-web:2\n  stable: localhost:5000/shop/shop-web:1",
    );
    machine.write("web/service.yaml", &service);
    machine.json_outside(&["apply", "-f", "web/service.yaml", "--no-push"]);
    let mesh = fs::read_to_string(machine.path("mesh.yaml")).unwrap();
    machine.write("mesh.yaml", &mesh.replace("shop-web:1", "shop-web:2"));
    machine.done(&["apply", "-f", "mesh.yaml"]);
    let others = ["cache", "orders", "front"];
    let before = others.map(|name| machine.pid(name));

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(machine.asked("/", None));
            }
            answers
        });
        let updated = machine.ran(&["mesh", "update", "--wait", "300"]);
        // At least one is asked of the new one.
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        let answers = asking.join().unwrap();
        assert!(updated.status.success(), "{updated:?}");
        let failed = answers.iter().filter(|one| one.is_none()).count();
        assert_eq!(failed, 0, "of {} requests", answers.len());
    });
    assert_eq!(machine.asked("/", None).unwrap()["version"], "2");
    assert_eq!(others.map(|name| machine.pid(name)), before);
    // Nothing to do is nothing done.
    let web = machine.pid("web");
    machine.done(&["mesh", "update"]);
    assert_eq!(machine.pid("web"), web);
}

/// All that was on the links between the services, and from the outside to nginx.
fn only_tls(recording: Recording) {
    let streams = recording.finish();
    for port in PORTS {
        for (what, is_it) in [("to", 1), ("from", 0)] {
            let of_port = streams.iter().filter(|(direction, _)| {
                let end = if is_it == 1 { direction.1 } else { direction.0 };
                end.1 == port
            });
            let mut data = 0;
            for (direction, bytes) in of_port {
                let types = tls_records(bytes)
                    .unwrap_or_else(|why| panic!("{what} port {port}, {direction:?}: {why}"));
                data += types
                    .iter()
                    .map(|one| usize::from(*one == 23))
                    .sum::<usize>();
            }
            assert!(data > 2, "{what} port {port}: {data} records with data");
        }
    }
    for (direction, bytes) in &streams {
        let holds = |what: &str| {
            bytes
                .windows(what.len())
                .any(|part| part == what.as_bytes())
        };
        assert!(!holds(CANARY), "{direction:?}");
    }
}

/// Asks memcached and PostgreSQL, and says what they answered.
const CLIENT: &str = r#"
import signal, socket, sys
from pathlib import Path
import pg8000.dbapi

def lines(text, count):
    with socket.create_connection(("cache", 11211), timeout=30) as cache:
        cache.sendall(text.encode())
        read = cache.makefile("rb")
        return [read.readline().decode().strip() for _ in range(count)]

print("memcached:", *lines("set tea 0 0 5\r\ngreen\r\n", 1), *lines("get tea\r\n", 3), flush=True)

def connect(password):
    return pg8000.dbapi.connect(
        user="app", password=password, host="base", database="app", timeout=30
    )

connection = connect(Path("/run/client/postgresql").read_text())
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("CREATE TABLE IF NOT EXISTS starts (at TIMESTAMP)")
cursor.execute("INSERT INTO starts VALUES (now())")
cursor.execute("SELECT count(*) FROM starts")
print("postgresql:", *cursor.fetchone(), flush=True)
try:
    cursor.execute("SELECT 'canary-5e1f'::INT") # errors quote values
except pg8000.dbapi.Error:
    pass
try:
    connect("other")
except pg8000.dbapi.Error:
    print("postgresql refuses another password", flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
"#;

const CLIENT_SERVICE: &str = r"
apiVersion: mse/v1
kind: genservice
injection_files:
- {path: /run/client/postgresql, content: $$MSE::postgresql_password$$}
secrets: {import: [postgresql_password]}
build:
  name: client
  kind: python
  to: localhost:5000/data/client:1
  pwd: /client
  requirements: requirements.txt
  copy: [client.py]
  command: python3 client.py
";

const CLIENT_MESH: &str = r"
apiVersion: mse/v1
kind: mesh
cas:
- cas_url: localhost:18765
  trust: {simulated: this-machine}
policy: {namespace: data}
services:
- name: cache
  curated: memcached
  connections: []
- name: base
  curated: postgresql
  volumes: [{name: data}]
  connections: []
- name: client
  image: localhost:5000/data/client:1
  after: [cache, base]
  connections: [{to: cache, ports: [11211]}, {to: base, ports: [5432]}]
";

#[test]
fn memcached_and_postgresql_serve_a_client_and_data_outlives_a_kill() {
    let _alone = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.write("client/service.yaml", CLIENT_SERVICE);
    machine.write("client/client.py", CLIENT);
    machine.write("client/requirements.txt", "pg8000==1.31.2\n");
    machine.write("mesh.yaml", CLIENT_MESH);
    machine.json_outside(&["apply", "-f", "client/service.yaml", "--no-push"]);
    for name in ["memcached", "postgresql"] {
        machine.json_outside(&["image", "curated", "build", name]);
    }
    machine.done(&["apply", "-f", "mesh.yaml"]);
    machine.json(&["mesh", "up", "--detach", "--wait", "300"]);
    let said = |what: &str| {
        until(what, || machine.logs("client").contains(what).then_some(()));
    };
    said("memcached: STORED VALUE tea 0 5 green END");
    said("postgresql: 1");
    said("postgresql refuses another password");
    let log = machine.logs("base");
    assert!(!log.contains("canary-5e1f"), "{log}");

    let before = machine.commits("base");
    until("a commit", || {
        (machine.commits("base") > before).then_some(())
    });
    machine.kill("base");
    machine.kill("client");
    said("postgresql: 2");
}

/// Connects to MariaDB under each of some names with the one password that it knows.
const GUEST: &str = r#"
import os, signal, sys
from pathlib import Path
import pymysql

for name in os.environ["NAMES"].split():
    try:
        connection = pymysql.connect(
            host="base", user=name, password=Path("/run/guest/mariadb").read_text(),
            database="app", autocommit=True, connect_timeout=30,
        )
    except pymysql.err.OperationalError as error:
        print(f"{name} is refused: {error.args[0]}", flush=True)
        continue
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS guests (name TEXT)")
        cursor.execute("INSERT INTO guests VALUES (%s)", name)
        cursor.execute("SELECT name FROM guests")
        print(f"{name} finds", *(name for (name,) in cursor.fetchall()), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
"#;

const GUEST_SERVICE: &str = r"
apiVersion: mse/v1
kind: genservice
environment: {global: [{name: NAMES}]}
injection_files:
- {path: /run/guest/mariadb, content: $$MSE::mariadb_password$$}
secrets: {import: [mariadb_password]}
build:
  name: guest
  kind: python
  to: localhost:5000/data/guest:1
  pwd: /guest
  requirements: requirements.txt
  copy: [guest.py]
  command: python3 guest.py
";

fn guest_mesh(user: &str, names: &str) -> String {
    format!(
        r"
apiVersion: mse/v1
kind: mesh
cas:
- cas_url: localhost:18765
  trust: {{simulated: this-machine}}
policy: {{namespace: guests}}
env:
- {{service: base, env: [{{name: MARIADB_USER, value: {user}}}]}}
- {{service: guest, env: [{{name: NAMES, value: {names}}}]}}
services:
- name: base
  curated: mariadb
  volumes: [{{name: data}}]
  connections: []
- name: guest
  image: localhost:5000/data/guest:1
  after: [base]
  connections: [{{to: base, ports: [3306]}}]
"
    )
}

#[test]
fn another_user_of_mariadb_takes_the_place_of_the_one_before() {
    let _alone = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.write("guest/service.yaml", GUEST_SERVICE);
    machine.write("guest/guest.py", GUEST);
    machine.write("guest/requirements.txt", "pymysql==1.1.1\n");
    machine.json_outside(&["apply", "-f", "guest/service.yaml", "--no-push"]);
    machine.json_outside(&["image", "curated", "build", "mariadb"]);
    let said = |what: &str| {
        until(what, || machine.logs("guest").contains(what).then_some(()));
    };
    let up = |user: &str, names: &str| {
        machine.write("mesh.yaml", &guest_mesh(user, names));
        machine.done(&["apply", "-f", "mesh.yaml"]);
        machine.json(&["mesh", "up", "--detach", "--wait", "300"]);
    };
    up("first", "first");
    said("first finds first");
    machine.done(&["mesh", "down"]);

    up("second", "first second");
    said("second finds first second");
    // Access denied, with the same password.
    said("first is refused: 1045");
    assert!(machine.logs("base").contains("The account `first`"));
    machine.done(&["mesh", "down"]);

    // Nothing is dropped that is not of a start before.
    up("second", "second");
    said("second finds first second second");
    assert_eq!(machine.logs("base").matches("was dropped").count(), 1);
}

#[test]
fn clean_folders_build_the_same_curated_image() {
    let _alone = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let digests = [(); 2].map(|()| {
        let built = Owner::new().json(&["image", "curated", "build", "redis"]);
        (built["digest"].clone(), built["image"].clone())
    });
    assert!(digests[0].0.is_string());
    assert_eq!(digests[0], digests[1]);
}

/// Builds share a cache: one after the other.
static ONE_BUILD: Mutex<()> = Mutex::new(());

fn share_layers(owner: &Owner) {
    let images = owner.path("cache/images");
    fs::create_dir_all(layer_cache()).unwrap();
    fs::create_dir_all(&images).unwrap();
    symlink(layer_cache(), images.join("build")).unwrap();
}

/// What `look` finds, as soon as it finds something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
