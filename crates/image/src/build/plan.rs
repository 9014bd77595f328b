//! A spec that was checked: paths are clean, and nothing contradicts anything.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;

use mse_workload::image::{OWN, is_measured};

use crate::spec::{ImageSpec, Own};

/// What a spec's paths mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The working folder, clean; `/` or without an ending slash.
    pub(crate) pwd: String,
    /// Folders with encrypted files, in order, none inside another.
    pub(crate) dirs: Vec<String>,
    /// The folder of the virtual environment, clean.
    pub(crate) environment: Option<String>,
    /// Unprotected paths as [`mse_workload::image::ImageFacts`] has them.
    pub(crate) unmeasured: Vec<String>,
}

impl Plan {
    pub(crate) fn of(spec: &ImageSpec) -> Result<Self, InvalidSpec> {
        if !is_name(&spec.name) {
            return Err(InvalidSpec::Name(spec.name.escape_debug().to_string()));
        }
        let pwd = clean("pwd", &spec.pwd)?;
        let dirs = outermost(all_clean("dirs", &spec.dirs)?);
        for dir in &dirs {
            if dir == "/" || lies_in(dir, OWN) || !is_measured(dir, &[]) {
                return Err(InvalidSpec::Reserved("dirs", dir.clone()));
            }
        }
        if !dirs.is_empty() && spec.image_key.is_none() {
            return Err(InvalidSpec::NoKey);
        }
        let environment = spec
            .environment
            .as_deref()
            .map(|folder| environment(folder, spec.requirements.is_some()))
            .transpose()?;
        own(spec)?;
        let mut unmeasured = all_clean("plains", &spec.plains)?;
        unmeasured.extend(all_clean("plain_files", &spec.plain_files)?);
        unmeasured.extend(all_clean("host_paths", &spec.host_paths)?);
        // What is never measured anyway may be named, and changes nothing.
        unmeasured.retain(|path| is_measured(path, &[]));
        let unmeasured = outermost(unmeasured);
        if unmeasured.iter().any(|path| path == "/") {
            return Err(InvalidSpec::Everything);
        }
        for path in &unmeasured {
            if let Some(dir) = dirs
                .iter()
                .find(|dir| lies_in(path, dir) || lies_in(dir, path))
            {
                return Err(InvalidSpec::Contradiction(path.clone(), dir.clone()));
            }
        }
        if spec.run.iter().any(|command| command.contains('\0')) {
            return Err(InvalidSpec::Command);
        }
        Ok(Self {
            pwd,
            dirs,
            environment,
            unmeasured,
        })
    }

    /// Whether the files at `path` are to be encrypted.
    pub(crate) fn is_confidential(&self, path: &str) -> bool {
        self.dirs
            .iter()
            .any(|dir| path != dir && lies_in(path, dir))
    }

    /// The absolute path of `path` below the working folder.
    pub(crate) fn below_pwd(&self, path: &str) -> String {
        match (self.pwd.as_str(), path) {
            (pwd, "") => pwd.to_owned(),
            ("/", path) => format!("/{path}"),
            (pwd, path) => format!("{pwd}/{path}"),
        }
    }
}

/// Whether `path` is `folder` or below it.
pub(crate) fn lies_in(path: &str, folder: &str) -> bool {
    folder == "/"
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a virtual environment is made.
fn environment(folder: &str, has_requirements: bool) -> Result<String, InvalidSpec> {
    let folder = clean("environment", folder)?;
    if folder == "/" || lies_in(&folder, OWN) || !is_measured(&folder, &[]) {
        return Err(InvalidSpec::Reserved("environment", folder));
    }
    if !has_requirements {
        return Err(InvalidSpec::EmptyEnvironment(folder));
    }
    Ok(folder)
}

/// Whether our own part of a part of the platform has a place for everything.
fn own(spec: &ImageSpec) -> Result<(), InvalidSpec> {
    let Own::Platform(part) = &spec.own else {
        return Ok(());
    };
    if !spec.dirs.is_empty() {
        return Err(InvalidSpec::NothingDecrypts);
    }
    let mut names = BTreeSet::new();
    for program in &part.programs {
        let name = program
            .file_name()
            .and_then(OsStr::to_str)
            .filter(|name| is_name(name));
        if !name.is_some_and(|name| names.insert(name)) {
            return Err(InvalidSpec::Program(program.clone()));
        }
    }
    let strange = |name: &&String| !is_name(name) || *name == "bin";
    match part.files.keys().find(strange) {
        Some(name) => Err(InvalidSpec::File(name.escape_debug().to_string())),
        None => Ok(()),
    }
}

fn all_clean(field: &'static str, paths: &[String]) -> Result<Vec<String>, InvalidSpec> {
    paths.iter().map(|path| clean(field, path)).collect()
}

/// An absolute path of plain parts, without an ending slash.
fn clean(field: &'static str, path: &str) -> Result<String, InvalidSpec> {
    let invalid = || InvalidSpec::Path(field, path.escape_debug().to_string());
    let parts = path.strip_prefix('/').ok_or_else(invalid)?;
    let mut clean = String::new();
    for part in parts.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." || part.len() > 255 || part.contains(['\0', '\n']) {
            return Err(invalid());
        }
        clean.push('/');
        clean.push_str(part);
    }
    Ok(if clean.is_empty() { "/".into() } else { clean })
}

/// In order, without those inside another.
fn outermost(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    let mut kept: Vec<String> = Vec::new();
    for path in paths {
        if !kept.iter().any(|outer| lies_in(&path, outer)) {
            kept.push(path);
        }
    }
    kept
}

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A spec that no image can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A name that is none.
    #[error(
        "`name`: `{0}` cannot be the name of an image: at most 100 letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
    )]
    Name(String),
    /// A path that is relative or leads up.
    #[error("`{0}`: `{1}` is not an absolute path without `..`")]
    Path(&'static str, String),
    /// A folder that cannot be encrypted.
    #[error("`{0}`: `{1}` belongs to the system: name a folder of your own")]
    Reserved(&'static str, String),
    /// No key for what is to be encrypted.
    #[error("`dirs` is to be encrypted, but there is no image key: give one, or make one")]
    NoKey,
    /// Nothing would be protected.
    #[error("`plains` and `host_paths` cannot name `/`: then nothing would be protected")]
    Everything,
    /// Both protected and not.
    #[error("`{0}` is to be left unprotected, but `dirs` has `{1}`: name different folders")]
    Contradiction(String, String),
    /// A virtual environment of nothing.
    #[error("`environment`: `{0}` is made for `requirements`, and there are none")]
    EmptyEnvironment(String),
    /// Encrypted files for nobody.
    #[error("`dirs`: nothing in a part of the platform decrypts files: leave it empty")]
    NothingDecrypts,
    /// A program without a name of its own.
    #[error("`{at}` has no name, or one that another program has: give each another", at = .0.display())]
    Program(PathBuf),
    /// A file of ours in a strange place.
    #[error("`{0}` cannot be the name of a file in `/mse`")]
    File(String),
    /// A command with a zero byte.
    #[error("`run` has a command with a zero byte in it")]
    Command,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mse_crypto::CodeKey;

    use super::*;
    use crate::spec::{Base, Kind, PlatformPart, Programs};

    fn spec() -> ImageSpec {
        let programs = Programs {
            launcher: "/a".into(),
            enclave: "/b".into(),
        };
        ImageSpec::new("web", Base::Kind(Kind::Python), Path::new("."), programs)
    }

    #[test]
    fn paths_become_clean_and_ordered() {
        let mut spec = spec();
        spec.pwd = "/app//code/./".into();
        spec.host_paths = vec![
            "/etc/ssl/certs".into(),
            "/etc/hosts".into(),
            "/data/x".into(),
        ];
        spec.plains = vec!["/data/".into(), "/data".into()];
        let plan = Plan::of(&spec).unwrap();
        assert_eq!(plan.pwd, "/app/code");
        assert_eq!(plan.unmeasured, ["/data", "/etc/ssl/certs"]);
        assert_eq!(plan.below_pwd("a/b"), "/app/code/a/b");
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: fn(&mut ImageSpec)| {
            let mut spec = spec();
            spec.image_key = Some(CodeKey::generate());
            change(&mut spec);
            Plan::of(&spec).unwrap_err()
        };
        assert!(matches!(
            refused(|s| s.name = "../x".into()),
            InvalidSpec::Name(_)
        ));
        assert!(matches!(
            refused(|s| s.pwd = "app".into()),
            InvalidSpec::Path("pwd", _)
        ));
        assert!(matches!(
            refused(|s| s.pwd = "/a/../b".into()),
            InvalidSpec::Path("pwd", _)
        ));
        for reserved in ["/", "/mse", "/mse/bin", "/dev/x", "/proc"] {
            let mut spec = spec();
            spec.image_key = Some(CodeKey::generate());
            spec.dirs = vec![reserved.into()];
            assert!(
                matches!(Plan::of(&spec), Err(InvalidSpec::Reserved("dirs", _))),
                "{reserved}"
            );
        }
        assert_eq!(
            refused(|s| {
                s.dirs = vec!["/a".into()];
                s.image_key = None;
            }),
            InvalidSpec::NoKey
        );
        assert!(matches!(
            refused(|s| {
                s.dirs = vec!["/a/b".into()];
                s.plains = vec!["/a".into()];
            }),
            InvalidSpec::Contradiction(..)
        ));
        assert_eq!(
            refused(|s| s.plains = vec!["//".into()]),
            InvalidSpec::Everything
        );
        assert_eq!(
            refused(|s| s.environment = Some("/opt/x".into())),
            InvalidSpec::EmptyEnvironment("/opt/x".into())
        );
        let reserved = refused(|s| {
            s.requirements = Some("requirements.txt".into());
            s.environment = Some("/mse/x".into());
        });
        assert!(matches!(reserved, InvalidSpec::Reserved("environment", _)));
    }

    #[test]
    fn a_part_of_the_platform_has_a_place_for_everything() {
        let part = PlatformPart {
            programs: vec!["/a/mse".into(), "/a/mse-cas".into()],
            files: [("runtime.json".to_owned(), Vec::new())].into(),
            entry_point: "/mse/bin/mse".into(),
            user: 65532,
        };
        let base = || Base::Kind(Kind::Python);
        let plan = |part: PlatformPart, dirs: &[&str]| {
            let mut spec = ImageSpec::of_platform("mse-cas", base(), Path::new("."), part);
            spec.dirs = dirs.iter().map(ToString::to_string).collect();
            spec.image_key = Some(CodeKey::generate());
            Plan::of(&spec)
        };
        plan(part.clone(), &[]).unwrap();
        assert_eq!(
            plan(part.clone(), &["/a"]),
            Err(InvalidSpec::NothingDecrypts)
        );
        let mut twice = part.clone();
        twice.programs.push("/b/mse".into());
        assert_eq!(plan(twice, &[]), Err(InvalidSpec::Program("/b/mse".into())));
        for name in ["bin", "../x", "a/b"] {
            let mut strange = part.clone();
            strange.files.insert(name.into(), Vec::new());
            assert_eq!(plan(strange, &[]), Err(InvalidSpec::File(name.into())));
        }
    }
}
