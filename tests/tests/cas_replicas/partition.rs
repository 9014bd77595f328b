//! Three replicas on machines of their own, in network namespaces: cut off, killed, and back.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mse_api::cas::{POSITION, PositionView, SessionView};
use mse_cas::keys::RootKey;
use mse_cas::store::{Freshness, LeavesOnly, Store};
use mse_ratls::cas::client::{CasClient, CasError, connect_pinned};
use mse_simtee::Platform;
use mse_tests::cas_program::Person;
use mse_tests::namespaces::Network;
use mse_tests::postgres::{Database, Postgres};
use mse_tests::programs::program;
use mse_workload::CasKey;
use mse_workload::launch::SealPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};

use super::join::within;
use super::{session, upload};

/// The database's machine.
const DATABASE: u8 = 4;

/// Three machines, and one with the database.
struct Cluster<'a> {
    network: &'a Network,
    database: Database<'a>,
    folder: tempfile::TempDir,
    owner: Person,
}

impl Cluster<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the replica on machine `number`.
    fn run(&self, number: u8, more: &[&str]) -> Replica {
        let mut command = self.network.command(number, &program("mse"));
        command
            .env("MSE_CONF_PATH", self.path(&format!("conf{number}")))
            .env("MSE_CAS", program("mse-cas"))
            .env("MSE_CAS_DATABASE", self.database.text())
            .env_remove("MSE_SIMULATED")
            .args(["cas", "run", "--json", "--listen"])
            .arg(format!("{}:18765", self.network.address(number)))
            .arg("--data")
            .arg(self.path(&format!("data{number}")))
            .arg("--platform")
            .arg(self.path("tee"))
            .arg("--accept-simulated")
            .arg(self.path("tee/trust-anchor.toml"))
            .args(["--owner", &self.owner.hash.to_string()])
            .args(more);
        block_in_place(|| Replica::start(command))
    }

    async fn connect(&self, number: u8, key: CasKey) -> Result<CasClient, CasError> {
        let address = format!("{}:18765", self.network.address(number));
        connect_pinned(&address.parse().unwrap(), key, Some(&self.owner.identity)).await
    }

    async fn get(&self, number: u8, key: CasKey, name: &str) -> Result<SessionView, CasError> {
        let mut client = self.connect(number, key).await?;
        client.get(&format!("/v1/session?name={name}")).await
    }

    /// Ends the program on machine `number` as a loss of power does.
    fn kill(&self, number: u8) {
        let pids = Command::new("ip")
            .args(["netns", "pids", self.network.name(number)])
            .output()
            .unwrap();
        let mut killed = 0;
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            if name.is_ok_and(|name| name.trim() == "mse-cas") {
                kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
                killed += 1;
            }
        }
        assert!(killed > 0);
    }
}

/// `mse cas run`.
struct Replica {
    child: Child,
    _lines: Lines<BufReader<ChildStdout>>,
    key: CasKey,
}

impl Replica {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = Vec::new();
        let running = lines
            .by_ref()
            .map(Result::unwrap)
            .inspect(|line| seen.push(line.clone()))
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|event| event["event"] == "running");
        let running = running.unwrap_or_else(|| panic!("it does not run: {seen:#?}"));
        Self {
            key: running["cas_key"].as_str().unwrap().parse().unwrap(),
            child,
            _lines: lines,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(refused: &CasError) -> Option<&str> {
    match refused {
        CasError::Refused { code, .. } => Some(code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_replicas_survive_a_partition_and_a_kill_under_load() {
    let Some(network) = Network::new(4) else {
        return;
    };
    let server = Postgres::in_namespace(network.name(DATABASE), &network.address(DATABASE));
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::create(&folder.path().join("tee"), SystemTime::now()).unwrap();
    let cluster = Cluster {
        database: server.database(),
        network: &network,
        folder,
        owner: Person::new(),
    };
    let one = cluster.run(1, &["--create"]);
    let key = one.key;
    let address = format!("{}:18765", network.address(1));
    let shown = key.to_string();
    let join = ["--join", &address, "--cas-key", &shown];
    let two = cluster.run(2, &join);
    let three = cluster.run(3, &join);
    assert_eq!((two.key, three.key), (key, key));

    let mut client = cluster.connect(1, key).await.unwrap();
    let first = upload(&mut client, session("shop", "old", None))
        .await
        .unwrap();
    for number in [2, 3] {
        let seen = cluster.get(number, key, "shop").await.unwrap();
        assert_eq!(seen.hash, first.hash);
    }

    // Cut off from the database a replica says so, and shows nothing from memory.
    network.cut(2, DATABASE);
    let mut client = cluster.connect(3, key).await.unwrap();
    let update = session("shop", "new", Some(&first.hash));
    let second = within(Duration::from_secs(60), upload(&mut client, update))
        .await
        .unwrap();
    let cut_off = cluster.get(2, key, "shop").await.err().unwrap();
    assert_eq!(code(&cut_off), Some("unavailable"), "{cut_off}");
    let mut client = cluster.connect(2, key).await.unwrap();
    let written = upload(&mut client, session("lost", "x", None)).await;
    let written = written.err().unwrap();
    assert_eq!(code(&written), Some("unavailable"), "{written}");
    let seen = cluster.get(1, key, "shop").await.unwrap();
    assert_eq!(seen.hash, second.hash);

    // Killed in the middle of many writes: what was acknowledged is there.
    let acknowledged = load(&cluster, key).await;
    assert!(acknowledged.len() >= 40, "{}", acknowledged.len());
    drop(three);
    for name in &acknowledged {
        cluster.get(1, key, name).await.unwrap();
    }

    // Both come back.
    network.mend(2, DATABASE);
    let back = async {
        loop {
            match cluster.get(2, key, "shop").await {
                Ok(seen) => break seen,
                Err(refused) => assert_eq!(code(&refused), Some("unavailable"), "{refused}"),
            }
        }
    };
    let seen = within(Duration::from_secs(150), back).await;
    assert_eq!(seen.hash, second.hash);
    let three = cluster.run(3, &[]);
    assert_eq!(three.key, key);
    for name in &acknowledged {
        cluster.get(3, key, name).await.unwrap();
        cluster.get(2, key, name).await.unwrap();
    }
    // Each takes part again, and all are on one chain.
    let mut positions = Vec::new();
    for number in [1, 2, 3] {
        let mut client = cluster.connect(number, key).await.unwrap();
        let name = format!("after{number}");
        let write = upload(&mut client, session(&name, "x", None));
        within(Duration::from_secs(60), write).await.unwrap();
        positions.push(client.position().unwrap().to_owned());
    }
    for number in [1, 2, 3] {
        let mut client = cluster.connect(number, key).await.unwrap();
        for seen in &positions {
            let path = format!("{POSITION}?seen={seen}");
            client.get::<PositionView>(&path).await.unwrap();
        }
    }
    drop((one, two, three));
    verify(&cluster, &platform).await;
}

/// Creates sessions on the third replica from many clients, kills it meanwhile, and gives the names of
/// those that were acknowledged.
async fn load(cluster: &Cluster<'_>, key: CasKey) -> BTreeSet<String> {
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let mut connection = cluster.connect(3, key).await.unwrap();
        let acknowledged = Arc::clone(&acknowledged);
        clients.spawn(async move {
            for number in 0.. {
                let name = format!("load{client}-{number}");
                if upload(&mut connection, session(&name, "x", None))
                    .await
                    .is_err()
                {
                    return;
                }
                acknowledged.lock().unwrap().insert(name);
            }
        });
    }
    let enough = async {
        while acknowledged.lock().unwrap().len() < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(Duration::from_secs(120), enough).await;
    cluster.kill(3);
    while clients.join_next().await.is_some() {}
    let names = acknowledged.lock().unwrap();
    names.clone()
}

/// Reads every value of the store, with the key that only the platform has.
async fn verify(cluster: &Cluster<'_>, platform: &Platform) {
    let sealed = std::fs::read(cluster.path("data1/root-key.sealed")).unwrap();
    let measured = measurement(cluster);
    let root = platform
        .seal_key(&measured, SealPolicy::Measurement)
        .open(b"mse-cas-root-key-v1", &sealed[20..])
        .unwrap();
    let root = RootKey::from_bytes(root.as_slice().try_into().unwrap());
    let location = cluster.database.text().parse().unwrap();
    let freshness = Freshness::AsFound(None);
    let store = Store::open(&location, &root, Arc::new(LeavesOnly), freshness)
        .await
        .unwrap();
    store.verify().await.unwrap();
    store.close().await.unwrap();
}

fn measurement(cluster: &Cluster<'_>) -> [u8; 32] {
    let output = Command::new(program("mse"))
        .env("MSE_CONF_PATH", cluster.path("conf1"))
        .env("MSE_CAS", program("mse-cas"))
        .args(["cas", "measure", "--json", "--accept-simulated"])
        .arg(cluster.path("tee/trust-anchor.toml"))
        .args(["--owner", &cluster.owner.hash.to_string()])
        .output()
        .unwrap();
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hex = measured["measurement"].as_str().unwrap();
    hex::decode(hex).unwrap().try_into().unwrap()
}
