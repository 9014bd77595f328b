//! Which files of a code folder belong into the bundle.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{MAX_DEPTH, MAX_FILES, MAX_NAME, MAX_PATH, MAX_SIZE, is_clean_path, stays_clear};

/// The ignore file at the root of the code folder, in gitignore syntax.
pub const IGNORE_FILE: &str = ".mseignore";

/// Never part of the code, unless the ignore file brings one back with `!`.
const ALWAYS_IGNORED: &[&str] = &[
    "/mse.toml",
    "secrets.json",
    "secrets_to_seal.json",
    IGNORE_FILE,
    "__pycache__/",
    "*.py[cod]",
    ".git*",
    ".vscode/",
    ".idea/",
    "*.egg-info/",
    "*.egg",
    ".venv/",
    ".env",
    ".pytest_cache/",
];

/// The files of a code folder that go into its bundle, sorted by path.
#[derive(Debug, Clone)]
pub struct CodeTree {
    root: PathBuf,
    files: Vec<SourceFile>,
    extent: Extent,
}

/// What of a folder counts as its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Code: without what the patterns ignore; what the platform prepares stays in clear.
    Code,
    /// Everything, and all of it is encrypted.
    Everything,
}

/// One file of a code folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the folder, `/` between its parts.
    pub path: String,
    /// Whether it can be executed.
    pub mode: FileMode,
    /// Length in bytes.
    pub size: u64,
}

/// What is kept of a file's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 0644.
    Plain,
    /// 0755.
    Executable,
}

impl FileMode {
    /// Whether the owner may execute the file.
    pub fn is_executable(self) -> bool {
        self == Self::Executable
    }

    /// The mode bits it stands for.
    pub fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
        }
    }

    /// Reads mode bits: the owner's execute bit decides.
    pub fn from_bits(bits: u32) -> Self {
        if bits & 0o100 == 0 {
            Self::Plain
        } else {
            Self::Executable
        }
    }
}

impl CodeTree {
    /// Walks `root`: every regular file that [`IGNORE_FILE`] and the default patterns leave.
    /// Empty folders do not count. A symbolic link is an error: what it points to is not
    /// under the folder's control.
    pub fn collect(root: &Path) -> Result<Self, CollectError> {
        Self::walk(root, Extent::Code, patterns(root)?)
    }

    /// Walks `root`: every regular file, whatever its name. In a bundle none of them stays in
    /// clear.
    pub fn everything(root: &Path) -> Result<Self, CollectError> {
        Self::walk(root, Extent::Everything, Gitignore::empty())
    }

    fn walk(root: &Path, extent: Extent, patterns: Gitignore) -> Result<Self, CollectError> {
        let walk_root = root.to_owned();
        let walk = WalkBuilder::new(root)
            .standard_filters(false)
            .follow_links(false)
            .filter_entry(move |entry| {
                let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                entry.path() == walk_root || !patterns.matched(entry.path(), is_dir).is_ignore()
            })
            .build();
        let mut files = Vec::new();
        for entry in walk {
            let entry = entry.map_err(|source| CollectError::Walk {
                root: root.to_owned(),
                source,
            })?;
            match entry.file_type() {
                Some(kind) if kind.is_dir() => {}
                Some(kind) if kind.is_file() => files.push(source_file(root, entry.path())?),
                _ => return Err(CollectError::NotAFile(entry.path().to_owned())),
            }
            if files.len() > MAX_FILES {
                return Err(CollectError::TooManyFiles(root.to_owned()));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tree = Self {
            root: root.to_owned(),
            files,
            extent,
        };
        match tree.size() {
            _ if tree.files.is_empty() => Err(CollectError::Empty(root.to_owned())),
            size if size > MAX_SIZE => Err(CollectError::TooLarge(root.to_owned(), size)),
            _ => Ok(tree),
        }
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Whether the file at `path` goes into a bundle as it is.
    pub(super) fn stays_clear(&self, path: &str) -> bool {
        self.extent == Extent::Code && stays_clear(path)
    }

    /// Where a file lies.
    pub fn locate(&self, file: &SourceFile) -> PathBuf {
        self.root.join(&file.path)
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn patterns(root: &Path) -> Result<Gitignore, CollectError> {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in ALWAYS_IGNORED {
        builder
            .add_line(None, pattern)
            .expect("the default patterns are valid globs");
    }
    let file = root.join(IGNORE_FILE);
    if file.exists()
        && let Some(error) = builder.add(&file)
    {
        return Err(CollectError::IgnoreFile(file, error));
    }
    builder
        .build()
        .map_err(|error| CollectError::IgnoreFile(root.join(IGNORE_FILE), error))
}

fn source_file(root: &Path, path: &Path) -> Result<SourceFile, CollectError> {
    let io = |source| CollectError::Io(path.to_owned(), source);
    let relative = path
        .strip_prefix(root)
        .map_err(|_| CollectError::Name(path.to_owned()))?;
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    let name = parts
        .map(|parts| parts.join("/"))
        .filter(|name| is_clean_path(name, ""))
        .ok_or_else(|| CollectError::Name(path.to_owned()))?;
    let metadata = fs::symlink_metadata(path).map_err(io)?;
    Ok(SourceFile {
        path: name,
        mode: mode_of(&metadata),
        size: metadata.len(),
    })
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> FileMode {
    use std::os::unix::fs::PermissionsExt;
    FileMode::from_bits(metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode_of(_: &fs::Metadata) -> FileMode {
    FileMode::Plain
}

/// Why a code folder cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The folder could not be walked.
    #[error("the code folder `{root}` cannot be read: {source}", root = root.display())]
    Walk {
        /// The folder.
        root: PathBuf,
        /// Why.
        source: ignore::Error,
    },
    /// A file could not be read.
    #[error("`{}` cannot be read: {}", .0.display(), .1)]
    Io(PathBuf, #[source] std::io::Error),
    /// A bad pattern.
    #[error("the ignore file `{}` has a pattern that cannot be read: {}", .0.display(), .1)]
    IgnoreFile(PathBuf, #[source] ignore::Error),
    /// A link, a socket, a device.
    #[error("`{}` is neither a file nor a folder: symbolic links and special files are not packed; copy what it points to, or name it in {IGNORE_FILE}", .0.display())]
    NotAFile(PathBuf),
    /// A name that not every system can hold.
    #[error("the name of `{}` cannot be packed: it must be UTF-8 without `\\`, at most {MAX_PATH} bytes long, and have at most {MAX_DEPTH} parts of {MAX_NAME} bytes", .0.display())]
    Name(PathBuf),
    /// Nothing left to pack.
    #[error("the code folder `{}` has no file to pack: is everything named in {IGNORE_FILE}?", .0.display())]
    Empty(PathBuf),
    /// More than [`MAX_FILES`].
    #[error("the code folder `{}` has more than {MAX_FILES} files: name what does not belong to the code in {IGNORE_FILE}", .0.display())]
    TooManyFiles(PathBuf),
    /// More than [`MAX_SIZE`].
    #[error("the code folder `{}` holds {} bytes: at most {MAX_SIZE} are packed", .0.display(), .1)]
    TooLarge(PathBuf, u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let tree = CodeTree::collect(dir.path()).unwrap();
        tree.files().iter().map(|file| file.path.clone()).collect()
    }

    #[test]
    fn gitignore_syntax_negation_and_folders() {
        let files = paths(&[
            ("app.py", ""),
            ("b/data.csv", ""),
            ("b/keep.csv", ""),
            ("build/x.py", ""),
            ("nested/build.py", ""),
            ("nested/deep/only_here.txt", ""),
            ("only_here.txt", ""),
            (".hidden", ""),
            (
                ".mseignore",
                "# data\n*.csv\n!keep.csv\nbuild/\n/only_here.txt\n",
            ),
        ]);
        assert_eq!(
            files,
            [
                ".hidden",
                "app.py",
                "b/keep.csv",
                "nested/build.py",
                "nested/deep/only_here.txt"
            ]
        );
    }

    #[test]
    fn secrets_and_caches_never_belong_to_the_code() {
        let files = paths(&[
            ("app.py", ""),
            ("secrets.json", "{}"),
            ("__pycache__/app.cpython-311.pyc", ""),
            (".git/config", ""),
            (".env", "TOKEN=1"),
            ("mse.toml", ""),
        ]);
        assert_eq!(files, ["app.py"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_an_error_with_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.py"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let error = CodeTree::collect(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("link") && error.contains(".mseignore"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            CodeTree::collect(dir.path()),
            Err(CollectError::Empty(_))
        ));
        assert!(CodeTree::collect(&dir.path().join("missing")).is_err());
    }
}
