//! A container engine of a test's own: Podman's service on a socket in a folder, with its storage
//! beside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mse_crypto::Digest;
use mse_runtime::container::{ContainerRuntime, EngineAddress};
use tempfile::TempDir;
use tokio::time::sleep;

/// Podman sets limits that not every machine lets it set, and prefers a runtime that not every
/// machine can run. It would keep networks where other engines of this machine have theirs, and the
/// first addresses that are free would be the same for all that start at once.
fn configuration(folder: &Path) -> String {
    let place = Digest::of(folder.as_os_str().as_encoded_bytes()).to_string();
    let block = 64 + u8::from_str_radix(&place[..2], 16).unwrap() % 128;
    format!(
        r#"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
[network]
network_config_dir = "{}"
default_subnet_pools = [{{"base" = "10.{block}.0.0/16", "size" = 24}}]
"#,
        folder.join("networks").display()
    )
}

/// An engine. It ends with this value, and its images are gone.
pub struct Engine {
    /// Its API.
    pub runtime: ContainerRuntime,
    service: Child,
    folder: TempDir,
}

impl Engine {
    /// Starts one.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(folder.path());
        std::fs::write(folder.path().join("containers.conf"), configuration).unwrap();
        let socket = folder.path().join("podman.sock");
        let service = podman(folder.path())
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman, which `./x setup` installs");
        let address = EngineAddress::Socket(socket);
        let mut attempts = 0;
        let runtime = loop {
            match ContainerRuntime::connect(&address).await {
                Ok(runtime) => break runtime,
                Err(error) => {
                    attempts += 1;
                    assert!(attempts < 600, "{error}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        Self {
            runtime,
            service,
            folder,
        }
    }

    /// The socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// What `podman` with these arguments prints.
    pub fn podman(&self, arguments: &[&str]) -> String {
        let output = podman(self.folder.path()).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers that a failed test left would hold the folder's mounts.
        self.podman(&["rm", "--all", "--force", "--time=0"]);
        let _ = self.service.kill();
        let _ = self.service.wait();
        self.podman(&["system", "reset", "--force"]);
    }
}

fn podman(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", folder.join("containers.conf"))
        .arg("--root")
        .arg(folder.join("storage"))
        .arg("--runroot")
        .arg(folder.join("run"))
        .arg("--tmpdir")
        .arg(folder.join("tmp"));
    command
}
