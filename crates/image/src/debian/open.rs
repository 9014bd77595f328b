//! Opening packages: their files, sorted, without what no program needs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::layer::{ChangeKind, Compression, InvalidLayer, Layer, LayerWriter, Limits, visit};
use crate::lock::DebianPackage;

/// Folders of which nothing is needed to run a program.
const LEFT_OUT: &[&str] = &[
    "/usr/share/bash-completion",
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/menu",
    "/usr/share/pixmaps",
    "/usr/share/applications",
    "/usr/share/debhelper",
    "/usr/share/perl5/Debian",
    // Character sets of the last century.
    "/usr/lib/aarch64-linux-gnu/gconv",
    "/usr/lib/x86_64-linux-gnu/gconv",
    "/usr/lib/python3.11/lib2to3",
    "/usr/lib/python3.11/pydoc_data",
    "/usr/lib/python3.11/test",
    "/usr/lib/python3.13/pydoc_data",
    "/usr/lib/python3.13/test",
    "/usr/share/python3/debpython",
    "/usr/share/python3/runtime.d",
    "/etc/init.d",
    "/etc/cron.daily",
    "/etc/logrotate.d",
    "/usr/lib/systemd",
];

/// Folders that Debian keeps as links into `/usr`; packages name files in both ways.
const MERGED: &[&str] = &["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"];

/// The files of packages, spooled to disk until they can be written in order.
pub(super) struct Opened {
    spool: File,
    end: u64,
    items: BTreeMap<String, Item>,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Folder { mode: u32 },
    File { mode: u32, at: u64, size: u64 },
    Link { target: String },
}

impl Opened {
    pub(super) fn new() -> Result<Self, DebError> {
        Ok(Self {
            spool: tempfile::tempfile().map_err(DebError::Spool)?,
            end: 0,
            items: BTreeMap::new(),
        })
    }

    /// Adds what is in the package.
    pub(super) fn take(&mut self, package: &DebianPackage, deb: &Path) -> Result<(), DebError> {
        for_each_file(deb, &mut |path, kind, content| {
            let path = merged(&path);
            if is_left_out(&path) {
                return Ok(());
            }
            match kind {
                // A folder of one package may be a link of another, or of ours.
                ChangeKind::Folder { mode } => {
                    self.items
                        .entry(path)
                        .or_insert(Item::Folder { mode: mode & 0o755 });
                }
                ChangeKind::File { mode, size, .. } => {
                    let item = self
                        .spool(content, mode, size)
                        .map_err(InvalidLayer::Read)?;
                    self.items.insert(path, item);
                }
                ChangeKind::Link { target } => {
                    self.items.insert(path, Item::Link { target });
                }
                ChangeKind::Same { path: other } => {
                    if let Some(item) = self.items.get(&merged(&other)).cloned() {
                        self.items.insert(path, item);
                    }
                }
                ChangeKind::Gone | ChangeKind::Emptied => {}
            }
            Ok(())
        })?;
        // Where scanners of images without dpkg look.
        let control = control(deb)?;
        self.add_file(
            &format!("/var/lib/dpkg/status.d/{}", package.name),
            &control,
        )
    }

    /// Adds a file of ours.
    pub(super) fn add_file(&mut self, path: &str, content: &[u8]) -> Result<(), DebError> {
        let item = self
            .spool(&mut &content[..], 0o644, content.len() as u64)
            .map_err(DebError::Spool)?;
        self.items.insert(path.to_owned(), item);
        Ok(())
    }

    /// Adds a folder of ours.
    pub(super) fn add_folder(&mut self, path: &str, mode: u32) {
        self.items.insert(path.to_owned(), Item::Folder { mode });
    }

    /// Adds a link of ours.
    pub(super) fn add_link(&mut self, path: &str, target: &str) {
        let target = target.to_owned();
        self.items.insert(path.to_owned(), Item::Link { target });
    }

    /// The paths of the files below `folder`, in order.
    pub(super) fn below(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        self.items
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// The content of a file.
    pub(super) fn content(&self, path: &str) -> Result<Option<Vec<u8>>, DebError> {
        let Some(Item::File { at, size, .. }) = self.items.get(path) else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(*size).unwrap_or(usize::MAX)];
        self.spool
            .read_exact_at(&mut bytes, *at)
            .map_err(DebError::Spool)?;
        Ok(Some(bytes))
    }

    /// Leaves out `folder` and what is below it.
    pub(super) fn remove(&mut self, folder: &str) {
        for path in self.below(folder) {
            self.items.remove(&path);
        }
        self.items.remove(folder);
    }

    /// Everything, in the order of paths.
    pub(super) fn write(mut self, mut writer: LayerWriter) -> Result<Layer, DebError> {
        self.imply_folders();
        for (path, item) in &self.items {
            match item {
                Item::Folder { mode } => writer.folder(path, *mode),
                Item::Link { target } => writer.link(path, target),
                Item::File { mode, at, size } => {
                    let mut content = &self.spool;
                    content
                        .seek(SeekFrom::Start(*at))
                        .and_then(|_| writer.file(path, *mode, *size, content))
                }
            }
            .map_err(DebError::Write)?;
        }
        writer.finish().map_err(DebError::Write)
    }

    fn imply_folders(&mut self) {
        let mut implied = Vec::new();
        for path in self.items.keys() {
            for (at, _) in path.match_indices('/').skip(1) {
                if !self.items.contains_key(&path[..at]) {
                    implied.push(path[..at].to_owned());
                }
            }
        }
        for folder in implied {
            self.add_folder(&folder, 0o755);
        }
    }

    fn spool(&mut self, content: &mut dyn Read, mode: u32, size: u64) -> io::Result<Item> {
        self.spool.seek(SeekFrom::Start(self.end))?;
        let written = io::copy(&mut content.take(size), &mut self.spool)?;
        self.spool.flush()?;
        let at = self.end;
        self.end += written;
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        Ok(Item::File {
            mode,
            at,
            size: written,
        })
    }
}

/// The one file of the package whose path ends with `ending`.
pub(crate) fn open_single(deb: &Path, ending: &str) -> Result<Vec<u8>, DebError> {
    let mut found = None;
    for_each_file(deb, &mut |path, kind, content| {
        if matches!(kind, ChangeKind::File { .. }) && path.ends_with(ending) {
            let mut bytes = Vec::new();
            content
                .read_to_end(&mut bytes)
                .map_err(InvalidLayer::Read)?;
            found = Some(bytes);
        }
        Ok(())
    })?;
    found.ok_or_else(|| DebError::Missing(deb.to_owned(), ending.to_owned()))
}

type EachFile<'a> = dyn FnMut(String, ChangeKind, &mut dyn Read) -> Result<(), InvalidLayer> + 'a;

fn for_each_file(deb: &Path, each: &mut EachFile<'_>) -> Result<(), DebError> {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(DebError::Start)?;
    let tar = child.stdout.take().expect("it was asked for");
    let result = visit(
        tar,
        Compression::None,
        &Limits::default(),
        &mut |change, content| each(change.path, change.kind, content),
    );
    let status = child.wait().map_err(DebError::Start)?;
    result.map_err(|source| DebError::Content(deb.to_owned(), source))?;
    if !status.success() {
        return Err(DebError::Refused(deb.to_owned()));
    }
    Ok(())
}

fn control(deb: &Path) -> Result<Vec<u8>, DebError> {
    let output = Command::new("dpkg-deb")
        .arg("--field")
        .arg(deb)
        .output()
        .map_err(DebError::Start)?;
    if !output.status.success() {
        return Err(DebError::Refused(deb.to_owned()));
    }
    Ok(output.stdout)
}

fn merged(path: &str) -> String {
    let is_in = |folder: &&&str| {
        path.strip_prefix(**folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match MERGED.iter().find(is_in) {
        Some(_) => format!("/usr{path}"),
        None => path.to_owned(),
    }
}

fn is_left_out(path: &str) -> bool {
    LEFT_OUT.iter().any(|folder| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }) || path.split('/').any(|part| part == "__pycache__")
}

/// Why packages could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// No room.
    #[error("the files of packages cannot be kept meanwhile: {0}")]
    Spool(#[source] io::Error),
    /// No layer.
    #[error("the base layer cannot be written: {0}")]
    Write(#[source] io::Error),
    /// dpkg is not there.
    #[error(
        "`dpkg-deb` cannot be started: {0}; bases of Debian's packages are built where dpkg is"
    )]
    Start(#[source] io::Error),
    /// dpkg refused.
    #[error("`dpkg-deb` cannot open `{at}`", at = .0.display())]
    Refused(PathBuf),
    /// Strange files.
    #[error("the package `{at}` cannot be used: {1}", at = .0.display())]
    Content(PathBuf, #[source] InvalidLayer),
    /// Strange authorities.
    #[error("the package `ca-certificates` has `{0}`, which is no certificate")]
    Authority(String),
    /// Another package than expected.
    #[error("the package `{at}` has no `{1}`", at = .0.display())]
    Missing(PathBuf, String),
}
