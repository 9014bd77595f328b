//! A machine of a test's own that pods run on: its processes, mounts and network are namespaces,
//! and all of them end with it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespaces::Network;

/// A machine. Whatever runs on it ends when this is dropped, and its mounts are gone.
pub struct Node {
    // Its processes end before its network is taken away.
    init: Init,
    network: Network,
}

impl Node {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If this machine cannot make namespaces: that takes root.
    pub fn new() -> Self {
        let network = Network::new(1).expect("namespaces can be made, which takes root");
        let node = Self {
            init: Init::within(network.name(1)),
            network,
        };
        let host = node.host();
        node.done("ip", &["route", "add", "default", "via", &host]);
        // Where engines leave files with fixed names.
        node.done(
            "mount",
            &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"],
        );
        node
    }

    /// A program that runs on it. The folders are those of this machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entered(&["--mount", "--pid", "--net"], program)
    }

    /// A program that runs on it, but for its network: that is this machine's.
    pub fn command_outside(&self, program: impl AsRef<OsStr>) -> Command {
        self.entered(&["--mount", "--pid"], program)
    }

    /// Ends all of its processes, before this is dropped.
    pub fn end(&mut self) {
        self.init.end();
    }

    /// What it is called from outside, and listens on.
    pub fn address(&self) -> String {
        self.network.address(1)
    }

    /// What this machine is called on it.
    pub fn host(&self) -> String {
        self.network.gateway()
    }

    /// Shows `content` instead of the machine's own file `path`, on this node only.
    pub fn replace_file(&self, path: &Path, content: &Path) {
        let words = [content, path].map(|path| path.to_str().expect("it is UTF-8"));
        self.done("mount", &["--bind", words[0], words[1]]);
    }

    fn done(&self, program: &str, words: &[&str]) {
        let status = self.command(program).args(words).status();
        let status = status.expect("`nsenter` can be run");
        assert!(status.success(), "{program} {words:?}: {status}");
    }

    fn entered(&self, namespaces: &[&str], program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.pid])
            .args(namespaces)
            .arg("--")
            .arg(program);
        command
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

/// Its first process, which does nothing but reap.
struct Init {
    outer: Child,
    pid: String,
}

impl Init {
    fn within(network: &str) -> Self {
        // It ends with the test, too, if that is killed.
        let outer = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/run/netns/{network}"))
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "--propagation", "private"])
            // It reaps what nobody else waits for.
            .args(["catatonit", "-P"])
            .stdin(Stdio::null())
            .spawn()
            .expect("`setpriv`, `nsenter` and `unshare` (util-linux) can be run");
        let mut init = Self {
            outer,
            pid: String::new(),
        };
        init.pid = init.inner();
        init
    }

    /// The first process itself, as soon as it has mounted its `/proc` and become what it is to be.
    fn inner(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let children = format!("/proc/{0}/task/{0}/children", self.outer.id());
        loop {
            let found = std::fs::read_to_string(&children).unwrap_or_default();
            let pid = found.trim();
            let is_ready = std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"catatonit"));
            if !pid.is_empty() && is_ready {
                return pid.to_owned();
            }
            assert!(Instant::now() < deadline, "the namespaces are not made");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self) {
        // Its child, the first process of the namespace, is killed with it, and so all others.
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.end();
    }
}
