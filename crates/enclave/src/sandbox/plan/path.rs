//! Paths in and for a sandbox, checked when they are made or read.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path in the sandbox: absolute, of plain names, not the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct SandboxPath(PathBuf);

impl SandboxPath {
    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for SandboxPath {
    type Error = InvalidPath;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        let shown = path.display().to_string();
        let names = shown
            .strip_prefix('/')
            .ok_or_else(|| InvalidPath::new(&shown, "it is not absolute"))?;
        if path.to_str().is_none() {
            return Err(InvalidPath::new(&shown, "it is not UTF-8"));
        }
        check_names(&shown, names.split('/'))?;
        Ok(Self(path))
    }
}

impl TryFrom<&str> for SandboxPath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<Self, Self::Error> {
        PathBuf::from(path).try_into()
    }
}

impl From<SandboxPath> for PathBuf {
    fn from(path: SandboxPath) -> Self {
        path.0
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The working directory that a program starts in: [`SandboxPath`]s, and the root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub enum StartDir {
    /// `/`.
    Root,
    /// Another one.
    At(SandboxPath),
}

impl StartDir {
    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Root => Path::new("/"),
            Self::At(path) => path.as_path(),
        }
    }
}

impl TryFrom<PathBuf> for StartDir {
    type Error = InvalidPath;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if path.as_os_str() == "/" {
            Ok(Self::Root)
        } else {
            path.try_into().map(Self::At)
        }
    }
}

impl From<StartDir> for PathBuf {
    fn from(dir: StartDir) -> Self {
        dir.as_path().to_owned()
    }
}

impl From<SandboxPath> for StartDir {
    fn from(path: SandboxPath) -> Self {
        Self::At(path)
    }
}

/// The path of a private file below its `Area`: relative, of plain names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrivatePath(String);

impl PrivatePath {
    /// The path, to be joined to a directory.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl TryFrom<String> for PrivatePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        check_names(&path, path.split('/'))?;
        Ok(Self(path))
    }
}

impl TryFrom<&str> for PrivatePath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<Self, Self::Error> {
        path.to_owned().try_into()
    }
}

impl From<PrivatePath> for String {
    fn from(path: PrivatePath) -> Self {
        path.0
    }
}

impl fmt::Display for PrivatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Limits of a path, well below the kernel's own (4096 bytes, names of 255).
const MAX_PATH: usize = 2048;
const MAX_DEPTH: usize = 64;
const MAX_NAME: usize = 255;

fn check_names<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> Result<(), InvalidPath> {
    if path.len() > MAX_PATH {
        return Err(InvalidPath::new(path, "it is longer than 2048 bytes"));
    }
    let mut depth = 0;
    for name in names {
        depth += 1;
        let plain = matches!(
            Path::new(name).components().collect::<Vec<_>>()[..],
            [Component::Normal(_)]
        );
        let reason = match name {
            "" => "it has an empty part",
            "." | ".." => "it has a part `.` or `..`",
            _ if name.contains('\0') => "it contains a NUL byte",
            _ if name.len() > MAX_NAME => "a part is longer than 255 bytes",
            _ if depth > MAX_DEPTH => "it is more than 64 parts deep",
            _ if !plain => "a part is not a plain name",
            _ => continue,
        };
        return Err(InvalidPath::new(path, reason));
    }
    Ok(())
}

/// A path that must not be used in or for a sandbox.
#[derive(Debug, thiserror::Error)]
#[error("the path `{path}` cannot be used in a sandbox: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl InvalidPath {
    fn new(path: &str, reason: &'static str) -> Self {
        Self {
            path: path
                .chars()
                .take(200)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AppUid;
    use super::*;

    #[test]
    fn private_paths_stay_below_their_area() {
        for good in ["app.py", "a/b/c.txt", "…/ü", "a..b", ".hidden"] {
            assert!(PrivatePath::try_from(good).is_ok(), "{good}");
        }
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let long = "n".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            &deep,
            &long,
        ] {
            assert!(PrivatePath::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_checked_when_it_is_read_from_the_wire_too() {
        assert!(serde_json::from_str::<PrivatePath>(r#""../x""#).is_err());
        assert!(serde_json::from_str::<SandboxPath>(r#""/app/../etc""#).is_err());
        assert!(serde_json::from_str::<AppUid>("0").is_err());
    }

    #[test]
    fn sandbox_paths_are_absolute_and_not_the_root() {
        assert!(SandboxPath::try_from("/run/mse").is_ok());
        for bad in ["/", "app", "/app/", "/app/../etc", "/app//x"] {
            assert!(SandboxPath::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_program_may_start_in_the_root_directory() {
        for good in ["/", "/app", "/srv/x"] {
            let dir = StartDir::try_from(PathBuf::from(good)).unwrap();
            assert_eq!(dir.as_path(), Path::new(good));
        }
        for bad in ["", "app", "/app/..", "//", "/app/"] {
            assert!(StartDir::try_from(PathBuf::from(bad)).is_err(), "{bad:?}");
        }
    }
}
