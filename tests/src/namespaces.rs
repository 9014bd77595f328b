//! Network namespaces for tests: machines with addresses of their own on one bridge.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};

/// Some machines on one bridge, with this machine on it as well. All of it is gone when this is
/// dropped, also when a test panics.
pub struct Network {
    bridge: String,
    /// `10.213.N`
    prefix: String,
    names: Vec<String>,
}

impl Network {
    /// With `count` machines. `None`, loudly, if this machine cannot make namespaces.
    ///
    /// # Panics
    ///
    /// In CI (`CI` is set), if it cannot: there is no test that nobody misses.
    pub fn new(count: u8) -> Option<Self> {
        let id = std::process::id();
        let mut network = Self {
            bridge: format!("msebr{}", id % 100_000),
            prefix: format!("10.213.{}", id % 250),
            names: Vec::new(),
        };
        let first = network.names_of(count).first().cloned()?;
        if !ip(&["netns", "add", &first]).status.success() {
            let why = "this machine cannot make network namespaces (`ip netns add`, as root)";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("SKIPPED, NOTHING WAS TESTED: {why}");
            return None;
        }
        network.names.push(first.clone());
        done(&["link", "add", &network.bridge, "type", "bridge"]);
        let own = format!("{}/24", network.gateway());
        done(&["addr", "add", &own, "dev", &network.bridge]);
        done(&["link", "set", &network.bridge, "up"]);
        for (number, name) in (1..).zip(network.names_of(count)) {
            if name != first {
                done(&["netns", "add", &name]);
                network.names.push(name.clone());
            }
            network.plug(number, &name);
        }
        Some(network)
    }

    /// Connects a machine with the bridge.
    fn plug(&self, number: u8, name: &str) {
        let outside = format!("v{}x{number}", std::process::id() % 100_000);
        let inside = format!("{outside}i");
        done(&[
            "link", "add", &outside, "type", "veth", "peer", "name", &inside,
        ]);
        done(&["link", "set", &outside, "master", &self.bridge, "up"]);
        done(&["link", "set", &inside, "netns", name, "name", "eth0"]);
        let address = format!("{}/24", self.address(number));
        done(&["-n", name, "addr", "add", &address, "dev", "eth0"]);
        done(&["-n", name, "link", "set", "eth0", "up"]);
        done(&["-n", name, "link", "set", "lo", "up"]);
    }

    fn names_of(&self, count: u8) -> Vec<String> {
        (1..=count)
            .map(|number| format!("{}-{number}", self.bridge))
            .collect()
    }

    /// The address of a machine, from 1.
    pub fn address(&self, number: u8) -> String {
        format!("{}.{number}", self.prefix)
    }

    /// This machine's own address.
    pub fn gateway(&self) -> String {
        format!("{}.254", self.prefix)
    }

    /// One more address for a machine, from 1; `last` is its last number.
    pub fn add_address(&self, number: u8, last: u8) {
        let address = format!("{}.{last}/24", self.prefix);
        let name = self.name(number);
        done(&["-n", name, "addr", "add", &address, "dev", "eth0"]);
    }

    /// The namespace of a machine, from 1.
    pub fn name(&self, number: u8) -> &str {
        &self.names[usize::from(number) - 1]
    }

    /// A program that runs on a machine.
    pub fn command(&self, number: u8, program: &Path) -> Command {
        let [ip, words @ ..] = self.wrapped(number, program);
        let mut command = Command::new(ip);
        command.args(words);
        command
    }

    /// The words of a command that runs a program on a machine.
    pub fn wrapped(&self, number: u8, program: &Path) -> [OsString; 5] {
        let name = self.name(number);
        [
            "ip".into(),
            "netns".into(),
            "exec".into(),
            name.into(),
            program.into(),
        ]
    }

    /// What machine `from` sends to machine `to` is lost from now on, in silence.
    pub fn cut(&self, from: u8, to: u8) {
        let to = self.address(to);
        // Nobody has that address.
        let nobody = "02:00:00:00:00:fe";
        done(&[
            "-n",
            self.name(from),
            "neigh",
            "replace",
            &to,
            "lladdr",
            nobody,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }

    /// It arrives again.
    pub fn mend(&self, from: u8, to: u8) {
        let to = self.address(to);
        let from = self.name(from);
        done(&["-n", from, "neigh", "del", &to, "dev", "eth0"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // What still runs there would keep the namespace.
            let running = ip(&["netns", "pids", name]);
            for pid in String::from_utf8_lossy(&running.stdout).split_whitespace() {
                if let Ok(pid) = pid.parse() {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
            }
            ip(&["netns", "del", name]);
        }
        ip(&["link", "del", &self.bridge]);
    }
}

fn ip(words: &[&str]) -> Output {
    Command::new("ip")
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("`ip` (iproute2): {error}"))
}

fn done(words: &[&str]) {
    let output = ip(words);
    assert!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
