//! Asking apt, in a state of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mse_crypto::Digest;

use crate::lock::{DebianPackage, is_plain};

/// Where Debian keeps its sources, newest habit first.
const SOURCES: &[&str] = &[
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/ubuntu.sources",
    "/etc/apt/sources.list",
];

/// A package that apt chose, before it is downloaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, or `all`.
    pub architecture: String,
}

/// apt, with its lists and downloads in one folder.
pub struct Apt {
    root: PathBuf,
    sources: PathBuf,
    architecture: String,
    /// One at a time: apt's own locks make the second fail.
    _lock: File,
}

impl Apt {
    /// With its state in `root`. The sources are those in the file `sources`, else the machine's
    /// own of Debian (only these: what else the machine installs from has no part in images).
    pub fn new(root: &Path, sources: Option<&Path>, architecture: &str) -> Result<Self, AptError> {
        let sources = match sources {
            Some(path) => path.to_owned(),
            None => SOURCES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file())
                .ok_or(AptError::NoSources)?,
        };
        let failed = |source| AptError::Folder(root.to_owned(), source);
        for folder in ["state", "lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        fs::write(root.join("status"), "").map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            sources,
            architecture: architecture.to_owned(),
            _lock: lock,
        })
    }

    /// A digest of what decides the choice besides the names of packages.
    pub fn key(&self) -> Result<Digest, AptError> {
        let sources = fs::read(&self.sources)
            .map_err(|source| AptError::Folder(self.sources.clone(), source))?;
        let mut hasher = mse_crypto::digest::Hasher::with_domain("mse-apt-sources-v1");
        hasher.update_field(&sources);
        hasher.update_field(self.architecture.as_bytes());
        Ok(hasher.finish())
    }

    /// Fetches the lists of packages, whose signatures apt verifies.
    pub fn update(&self) -> Result<(), AptError> {
        self.run(&["update".into()], None).map(|_| ())
    }

    /// `packages` and everything that they need, by name.
    pub fn choose(&self, packages: &[String]) -> Result<Vec<Chosen>, AptError> {
        let mut arguments: Vec<OsString> = vec!["--simulate".into(), "install".into()];
        for package in packages {
            if !is_plain(package) {
                return Err(AptError::Name(package.escape_debug().to_string()));
            }
            arguments.push(package.into());
        }
        let output = self.run(&arguments, None)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut chosen = text
            .lines()
            .filter(|line| line.starts_with("Inst "))
            .map(|line| parse_choice(line).ok_or_else(|| AptError::Answer(line.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        chosen.sort();
        Ok(chosen)
    }

    /// Downloads what is not there yet. In the order of `chosen`: the package, and its file.
    pub fn download(&self, chosen: &[Chosen]) -> Result<Vec<(DebianPackage, PathBuf)>, AptError> {
        let missing: Vec<&Chosen> = chosen
            .iter()
            .filter(|package| !self.deb(package).is_file())
            .collect();
        if !missing.is_empty() {
            let partial = self.root.join("cache/archives/partial");
            let mut arguments: Vec<OsString> = vec!["download".into()];
            arguments.extend(
                missing
                    .iter()
                    .map(|package| format!("{}={}", package.name, package.version).into()),
            );
            self.run(&arguments, Some(&partial))?;
            for package in missing {
                let deb = self.deb(package);
                let name = deb.file_name().expect("it was joined");
                fs::rename(partial.join(name), &deb)
                    .map_err(|source| AptError::Folder(deb.clone(), source))?;
            }
        }
        chosen
            .iter()
            .map(|package| {
                let deb = self.deb(package);
                let sha256 = File::open(&deb)
                    .and_then(Digest::of_reader)
                    .map_err(|source| AptError::Folder(deb.clone(), source))?;
                let package = DebianPackage {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    architecture: package.architecture.clone(),
                    sha256,
                };
                Ok((package, deb))
            })
            .collect()
    }

    /// Downloads exactly these.
    pub fn download_locked(
        &self,
        packages: &[DebianPackage],
    ) -> Result<Vec<(DebianPackage, PathBuf)>, AptError> {
        let chosen: Vec<Chosen> = packages
            .iter()
            .map(|package| Chosen {
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
            })
            .collect();
        let found = match self.download(&chosen) {
            Err(AptError::Failed(_)) => {
                self.update()?;
                self.download(&chosen)?
            }
            other => other?,
        };
        for ((found, deb), expected) in found.iter().zip(packages) {
            if found != expected {
                let _ = fs::remove_file(deb);
                return Err(AptError::Changed {
                    package: expected.name.clone(),
                    expected: expected.sha256,
                    found: found.sha256,
                });
            }
        }
        Ok(found)
    }

    /// apt writes colons, of epochs, in its own way.
    fn deb(&self, package: &Chosen) -> PathBuf {
        let version = package.version.replace(':', "%3a");
        self.root.join("debs").join(format!(
            "{}_{version}_{}.deb",
            package.name, package.architecture
        ))
    }

    fn run(&self, arguments: &[OsString], folder: Option<&Path>) -> Result<Output, AptError> {
        let at = |name: &str| self.root.join(name).display().to_string();
        let options = [
            format!("Dir::State={}", at("state")),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::SourceList={}", self.sources.display()),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures={}", self.architecture),
            "APT::Install-Recommends=false".into(),
            "APT::Get::AllowUnauthenticated=false".into(),
            "Acquire::Languages=none".into(),
            // There is nobody to become: all files are ours.
            "APT::Sandbox::User=".into(),
        ];
        let mut command = Command::new("apt-get");
        command.arg("-q").arg("-y");
        for option in options {
            command.arg("-o").arg(option);
        }
        let output = command
            .args(arguments)
            .env("LC_ALL", "C")
            .current_dir(folder.unwrap_or(&self.root))
            .stdin(Stdio::null())
            .output()
            .map_err(AptError::Start)?;
        if !output.status.success() {
            return Err(AptError::Failed(failure(&output)));
        }
        Ok(output)
    }
}

/// What apt complained of, without the rest that it says.
fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("Err:"))
        .take(5)
        .collect();
    if lines.is_empty() {
        format!(
            "{}; {}",
            output.status,
            text.lines().last().unwrap_or_default()
        )
    } else {
        lines.join("; ")
    }
}

/// `Inst NAME (VERSION SOURCE [ARCHITECTURE])`, and more behind it.
fn parse_choice(line: &str) -> Option<Chosen> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let (inside, _) = rest.split_once(')')?;
    let (version, rest) = inside.split_once(' ')?;
    let (_, architecture) = rest.rsplit_once('[')?;
    let architecture = architecture.strip_suffix(']')?;
    let name = name.split(':').next()?;
    [name, version, architecture]
        .into_iter()
        .all(is_plain)
        .then(|| Chosen {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
        })
}

/// Why apt did not give what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// Not a Debian machine.
    #[error(
        "this machine has no package sources of Debian: name a file with them, or take a base from a registry"
    )]
    NoSources,
    /// apt's state.
    #[error("`{at}` cannot be read or written: {1}", at = .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// A name that is none.
    #[error("`{0}` is not the name of a package of Debian")]
    Name(String),
    /// apt is not there.
    #[error("`apt-get` cannot be started: {0}; bases of Debian's packages are built where apt is")]
    Start(#[source] io::Error),
    /// apt refused.
    #[error("apt says: {0}")]
    Failed(String),
    /// apt answered in another way than it does.
    #[error("apt's answer is not understood: `{0}`")]
    Answer(String),
    /// A package of this name and version, but with other bytes.
    #[error("the package `{package}` has the SHA-256 {found}: the lock says {expected}")]
    Changed {
        /// Its name.
        package: String,
        /// In the lock.
        expected: Digest,
        /// As downloaded.
        found: Digest,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_from_what_apt_would_do() {
        let chosen = parse_choice(
            "Inst libattr1 (1:2.5.1-4 Debian:12.12/oldstable, Debian-Security:12 [amd64]) [x:amd64 ]",
        );
        let expected = Chosen {
            name: "libattr1".into(),
            version: "1:2.5.1-4".into(),
            architecture: "amd64".into(),
        };
        assert_eq!(chosen, Some(expected));
        for strange in [
            "Inst x",
            "Inst x (1 [amd64)",
            "Inst --x (1 y [amd64])",
            "Inst x (1 y [a b])",
        ] {
            assert_eq!(parse_choice(strange), None, "{strange}");
        }
    }
}
