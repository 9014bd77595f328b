//! SoftHSM: a token that is a program, in a folder of its own.
//!
//! Shared by the tests of several crates, not all of which need all of it.
//!
//! Its library takes its configuration from the environment of the process when it is first used.
//! A test that speaks to it runs in a process of its own, therefore: [`SoftHsm::run`].

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The label of the token.
pub(crate) const TOKEN: &str = "shop keys";
/// The user's PIN.
pub(crate) const PIN: &str = "pin-canary-4711";

/// A token, until it is dropped.
pub(crate) struct SoftHsm {
    folder: TempDir,
}

impl SoftHsm {
    /// A token without objects.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(folder.path().join("softhsm2.conf"), configuration).unwrap();
        let token = Self { folder };
        token.util(&[
            "--init-token",
            "--free",
            "--label",
            TOKEN,
            "--so-pin",
            "so-pin-0815",
        ]);
        token
    }

    /// Puts a private key (PKCS#8, PEM) and its public half on the token.
    pub(crate) fn import(&self, label: &str, id: &str, pem: &str) {
        let file = self.folder.path().join("key.pem");
        std::fs::write(&file, pem).unwrap();
        let path = file.to_str().unwrap();
        self.util(&[
            "--import", path, "--token", TOKEN, "--label", label, "--id", id,
        ]);
        std::fs::remove_file(&file).unwrap();
    }

    /// What `SOFTHSM2_CONF` is to be.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// Runs a test of this program, marked `#[ignore]`, in a process that knows this token.
    #[track_caller]
    pub(crate) fn run(&self, test: &str) {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&ran.stdout);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && stdout.contains("1 passed"),
            "`{test}` in a process of its own:\n{stdout}\n{stderr}"
        );
    }

    /// The library.
    pub(crate) fn library() -> PathBuf {
        let places = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
        ];
        let found = places.iter().map(Path::new).find(|path| path.exists());
        found.unwrap_or_else(|| lacking()).to_owned()
    }

    fn util(&self, arguments: &[&str]) {
        let ran = Command::new("softhsm2-util")
            .args(arguments)
            .args(["--pin", PIN])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .unwrap_or_else(|_| lacking());
        assert!(ran.status.success(), "softhsm2-util {arguments:?}: {ran:?}");
    }
}

fn lacking() -> ! {
    panic!("SoftHSM is not on this machine: apt-get install softhsm2 (or ./x setup)")
}
