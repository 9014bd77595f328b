//! A spec that was checked: paths are clean, and nothing contradicts anything.

use mse_workload::image::{OWN, is_measured};

use crate::spec::ImageSpec;

/// What a spec's paths mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The working folder, clean; `/` or without an ending slash.
    pub(crate) pwd: String,
    /// Folders with encrypted files, in order, none inside another.
    pub(crate) dirs: Vec<String>,
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
    /// A command with a zero byte.
    #[error("`run` has a command with a zero byte in it")]
    Command,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mse_crypto::CodeKey;

    use super::*;
    use crate::spec::{Base, Kind, Programs};

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
    }
}
