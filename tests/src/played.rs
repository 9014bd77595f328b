//! Podman's `kube play` on a [`Node`]: pods as Helm rendered them, run by Podman.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::node::Node;
use crate::programs::repository;

/// The network of the pods.
const NETWORK: &str = "pods";
/// As many ids as Kubernetes gives a pod with `hostUsers: false`. Podman would give it as many as
/// the image has users.
const IDS: u32 = 65536;
/// Where those of the first pod begin.
const FIRST_ID: u32 = 1_000_000;
/// How often a pod is taken down until it is.
const TRIES: u32 = 5;

/// Podman on a node of its own.
pub struct Podman {
    // Ends first: its mounts hold the folder.
    node: Node,
    folder: TempDir,
}

impl Podman {
    /// With an empty storage.
    pub fn on(node: Node) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Users of the pods' namespaces pass through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let podman = Self { node, folder };
        podman.configure();
        podman.done(&["network", "create", NETWORK]);
        podman
    }

    fn configure(&self) {
        let at = |name: &str| self.folder.path().join(name);
        fs::create_dir(at("networks")).unwrap();
        // Limits that not every machine lets Podman set, and the runtime that follows `procMount`.
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n[engine]\nruntime = \"unmasked\"\n[engine.runtimes]\nunmasked = [\"{}\"]\n[network]\nnetwork_config_dir = \"{}\"\n",
            repository()
                .join("tests/kubernetes/runc-unmasked")
                .display(),
            at("networks").display(),
        );
        fs::write(at("containers.conf"), containers).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n[storage.options]\nauto-userns-min-size = {IDS}\n",
            at("run").display(),
            at("storage").display(),
        );
        fs::write(at("storage.conf"), storage).unwrap();
        // Whose ids Podman gives to user namespaces.
        let ids = format!("containers:{FIRST_ID}:{}\n", 8 * IDS);
        fs::write(at("ids"), ids).unwrap();
        for path in ["/etc/subuid", "/etc/subgid"] {
            self.node.replace_file(Path::new(path), &at("ids"));
        }
        fs::create_dir(at("play")).unwrap();
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A copy of a folder for the pod that is played as the `nth`, from 0. A `hostPath` volume belongs
    /// to nobody in a user namespace: runc 1.1 maps no ids of mounts, which the runtimes of Kubernetes
    /// with user namespaces do. So the copy belongs to who is root in the pod.
    pub fn copy_for(&self, nth: u32, of: &Path) -> PathBuf {
        let root = Some(FIRST_ID + nth * IDS);
        let copy = self.folder.path().join(format!("copy-{nth}"));
        fs::create_dir_all(&copy).unwrap();
        chown(&copy, root, root).unwrap();
        for entry in fs::read_dir(of).unwrap() {
            let path = entry.unwrap().path();
            let to = copy.join(path.file_name().unwrap());
            fs::copy(&path, &to).unwrap();
            chown(&to, root, root).unwrap();
        }
        copy
    }

    /// Plays `documents`, whose pods others know as `name`.
    pub fn play(&self, name: &str, documents: &str) {
        let file = self.file(name);
        fs::write(&file, documents).unwrap();
        let network = format!("{NETWORK}:alias={name}");
        self.done(&[
            "kube",
            "play",
            "--tls-verify=false",
            "--network",
            &network,
            file.to_str().unwrap(),
        ]);
    }

    /// Takes down what was played as `name`. Podman 4.3 at times removes a container's folder while its
    /// mount is still held, fails, and would have it tried again; it then forgets the container's
    /// volumes, and the next pod of that name would get them with the ids of the former's user
    /// namespace.
    pub fn down(&self, name: &str) {
        let file = self.file(name);
        let words = ["kube", "down", file.to_str().unwrap()];
        if self.ran(&words).status.success() {
            return;
        }
        let gone = (2..TRIES).any(|_| {
            std::thread::sleep(Duration::from_secs(1));
            self.ran(&words).status.success()
        });
        if !gone {
            self.done(&words);
        }
        self.done(&["volume", "prune", "--force"]);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("play/{name}.yaml"))
    }

    /// What `podman` with these words prints; it must succeed.
    pub fn done(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `podman` with these words.
    pub fn ran(&self, words: &[&str]) -> Output {
        let mut command: Command = self.node.command("podman");
        command
            // It builds images that a folder here has the name of.
            .current_dir(self.folder.path().join("play"))
            .env(
                "CONTAINERS_CONF",
                self.folder.path().join("containers.conf"),
            )
            .env(
                "CONTAINERS_STORAGE_CONF",
                self.folder.path().join("storage.conf"),
            )
            .arg("--tmpdir")
            .arg(self.folder.path().join("tmp"))
            .args(words);
        command.output().expect("`podman` can be run")
    }
}
