//! Debian's registry, with TLS and a password.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mse_image::registry::Login;
use mse_image::{Credentials, PlainHttp, Reference, Registry, RegistryOptions};
use tempfile::TempDir;

/// A registry that ends with this value.
pub(crate) struct Server {
    dir: TempDir,
    process: Child,
    port: u16,
}

/// How it speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// With TLS, and only to those who know the password.
    TlsAndPassword,
    /// Plain HTTP, to everybody.
    None,
}

const USER: &str = "builder";
const PASSWORD: &str = "correct horse";

impl Server {
    pub(crate) async fn start(guard: Guard) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let guarded = if guard == Guard::TlsAndPassword {
            let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(at("cert.pem"), issued.cert.pem()).unwrap();
            fs::write(at("key.pem"), issued.signing_key.serialize_pem()).unwrap();
            let entry = Command::new("htpasswd")
                .args(["-nbB", "-C", "5", USER, PASSWORD])
                .output()
                .expect("`htpasswd` is there: ./x setup installs apache2-utils");
            fs::write(at("htpasswd"), entry.stdout).unwrap();
            format!(
                "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                at("cert.pem").display(),
                at("key.pem").display(),
                at("htpasswd").display()
            )
        } else {
            String::new()
        };
        // Another may take the port in between: then the next one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .unwrap()
                .port();
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: x\n{guarded}",
                at("data").display()
            );
            fs::write(at("config.yml"), config).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(at("config.yml"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("`docker-registry` is there: ./x setup installs it");
            loop {
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                if tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .is_ok()
                {
                    return Self { dir, process, port };
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        panic!("docker-registry does not start");
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("localhost:{}/{name}", self.port).parse().unwrap()
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Where the registry keeps the bytes of a blob.
    pub(crate) fn blob(&self, digest: mse_image::BlobDigest) -> PathBuf {
        let digits = digest.0.to_string();
        self.dir
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&digits[..2])
            .join(&digits)
            .join("data")
    }

    /// Has the registry give out a repository under another name, too.
    pub(crate) fn copy_repository(&self, from: &str, to: &str) {
        let repositories = self.dir.path().join("data/docker/registry/v2/repositories");
        let copied = Command::new("cp")
            .arg("-r")
            .args([repositories.join(from), repositories.join(to)])
            .status();
        assert!(copied.unwrap().success());
    }

    pub(crate) fn login() -> Login {
        Login::Password {
            user: USER.into(),
            password: mse_crypto::Zeroizing::new(PASSWORD.into()),
        }
    }

    /// Access with everything that this registry asks for.
    pub(crate) fn registry(&self) -> Registry {
        Registry::new(RegistryOptions {
            extra_authorities: fs::read_to_string(self.authority()).ok(),
            credentials: Credentials::Given(Self::login()),
            plain_http: PlainHttp::Never,
        })
        .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
