//! A registry of images: Debian's, in plain HTTP on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::node::Node;

/// It ends with this value, and its images are gone.
pub struct ImageRegistry {
    folder: TempDir,
    port: u16,
    processes: Vec<Child>,
}

impl ImageRegistry {
    /// Starts one.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another may take the port in between: then the next one is tried.
        for _ in 0..10 {
            let port = free_port();
            write_configuration(folder.path(), port);
            let mut process = Command::new("docker-registry");
            let mut process = spawn(&mut process, folder.path());
            loop {
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self {
                        folder,
                        port,
                        processes: vec![process],
                    };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("a registry cannot be started");
    }

    /// Serves the same images at the same address of the node's own loopback interface.
    pub fn serve_on(&mut self, node: &Node) {
        let process = spawn(&mut node.command("docker-registry"), self.folder.path());
        self.processes.push(process);
        let url = format!("http://{}/v2/", self.address());
        for _ in 0..1500 {
            let asked = node
                .command("curl")
                .args(["--silent", "--fail", "--output", "/dev/null", &url])
                .status();
            if asked.expect("`curl` can be run").success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the registry does not answer on the node");
    }

    /// `localhost:PORT`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(program: &mut Command, folder: &Path) -> Child {
    program
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`docker-registry` is there: ./x setup installs it")
}

fn write_configuration(folder: &Path, port: u16) {
    let data = folder.join("data");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: x\n",
        data.display()
    );
    fs::write(folder.join("config.yml"), text).unwrap();
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
