//! Where contexts lie: `{conf}/context/{uuid}/` with `context.mse`, `app.tar` and, once it was
//! verified, `ratls.pem`. Folders 0700, files 0600.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mse_crypto::Zeroizing;
use mse_workload::AppId;
use uuid::Uuid;

use super::file::{KeyInFile, describe};
use super::{Context, ContextError, State};
use crate::app_name::{self, AppName};
use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A context lists a nonce per file of the code: 128 MiB is far beyond the largest.
const MAX_FILE: u64 = 128 * 1024 * 1024;

/// All contexts of this user.
pub(crate) struct ContextStore(PathBuf);

/// A folder of the store.
pub(crate) struct ContextEntry {
    pub(crate) id: Uuid,
    /// When it was last written.
    pub(crate) written_at: Option<Timestamp>,
    pub(crate) context: Result<Context, Failure>,
}

/// The folder of one context.
#[derive(Debug, Clone)]
pub(crate) struct ContextDir(PathBuf);

impl ContextStore {
    pub(crate) fn of(conf: &ConfDir) -> Self {
        Self(conf.contexts())
    }

    /// Makes the folder of a new context.
    pub(crate) fn create(&self, id: Uuid) -> Result<ContextDir, Failure> {
        private_file::create_dir(&self.0)?;
        let dir = self.dir(id);
        private_file::create_dir(&dir.0)?;
        Ok(dir)
    }

    /// The context of the app `id`.
    pub(crate) fn load(&self, id: AppId) -> Result<Context, Failure> {
        let file = self.dir(id.0).file();
        read(&file)?.ok_or_else(|| not_found(id.0))
    }

    /// The context of the running app that `name` means, without asking any platform.
    pub(crate) fn find(&self, name: &AppName) -> Result<Context, Failure> {
        self.find_with_id(name).map(|(_, context)| context)
    }

    /// The same, with the app's id.
    pub(crate) fn find_with_id(&self, name: &AppName) -> Result<(AppId, Context), Failure> {
        let name = match name {
            AppName::Id(id) => return self.load(*id).map(|context| (*id, context)),
            AppName::Name(name) => name,
        };
        let mut found: Vec<(AppId, Context)> = self
            .list()?
            .into_iter()
            .filter_map(|entry| Some((AppId(entry.id), entry.context.ok()?)))
            .filter(|(_, context)| {
                context.config.name == *name
                    && context
                        .record
                        .as_ref()
                        .is_some_and(|record| record.state == State::Running)
            })
            .collect();
        match (found.pop(), found.len()) {
            (Some(found), 0) => Ok(found),
            (None, _) => Err(Failure::new(
                Exit::NotFound,
                format!("there is no context of a running app named `{name}`"),
            )
            .with_hint("`mse context --list` shows the contexts of this machine")),
            (Some((id, _)), _) => {
                let ids: Vec<AppId> = found.iter().map(|(id, _)| *id).chain([id]).collect();
                Err(app_name::ambiguous(name, &ids))
            }
        }
    }

    /// All of them, the latest last; those that cannot be read too.
    pub(crate) fn list(&self) -> Result<Vec<ContextEntry>, Failure> {
        let unreadable = |error| Failure::file("read the folder", &self.0, &error);
        let folders = match fs::read_dir(&self.0) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut entries = Vec::new();
        for folder in folders {
            let folder = folder.map_err(unreadable)?;
            let Some(id) = folder
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let file = ContextDir(folder.path()).file();
            if let Some(context) = read(&file).transpose() {
                let written_at = fs::metadata(&file)
                    .and_then(|metadata| metadata.modified())
                    .ok()
                    .and_then(|time| Timestamp::try_from(time).ok());
                entries.push(ContextEntry {
                    id,
                    written_at,
                    context,
                });
            }
        }
        entries.sort_by_key(|entry| (entry.written_at, entry.id));
        Ok(entries)
    }

    /// Removes the context `id`, key and all.
    pub(crate) fn remove(&self, id: Uuid) -> Result<(), Failure> {
        match self.dir(id).remove()? {
            Removal::Done => Ok(()),
            Removal::WasNotThere => Err(not_found(id)),
        }
    }

    /// Removes all contexts.
    pub(crate) fn purge(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &self.0, &error))
            }
            _ => Ok(()),
        }
    }

    /// The folder of the context `id`, whether or not it exists.
    pub(crate) fn dir(&self, id: Uuid) -> ContextDir {
        ContextDir(self.0.join(id.to_string()))
    }
}

/// What became of a folder that was to be removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    Done,
    WasNotThere,
}

impl ContextDir {
    /// `context.mse`.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("context.mse")
    }

    /// The encrypted bundle.
    pub(crate) fn archive(&self) -> PathBuf {
        self.0.join("app.tar")
    }

    /// The certificate that was verified.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("ratls.pem")
    }

    /// Writes the context, with its key.
    pub(crate) fn save(&self, context: &Context) -> Result<(), Failure> {
        let text = context.to_toml(KeyInFile::Included);
        private_file::write(&self.file(), text.as_bytes())
    }

    /// Gives the folder the id that the platform chose.
    pub(crate) fn rename(&mut self, id: Uuid) -> Result<(), Failure> {
        let new = self.0.with_file_name(id.to_string());
        fs::rename(&self.0, &new).map_err(|error| Failure::file("rename", &self.0, &error))?;
        self.0 = new;
        Ok(())
    }

    /// Removes the folder and what is in it.
    pub(crate) fn remove(&self) -> Result<Removal, Failure> {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => Ok(Removal::Done),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::WasNotThere),
            Err(error) => Err(Failure::file("remove", &self.0, &error)),
        }
    }
}

impl Context {
    /// Reads the context file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        read(path)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no context file `{}`", path.display()),
            )
            .with_hint("the app's owner makes one with `mse context --export ID`")
        })
    }
}

fn read(path: &Path) -> Result<Option<Context>, Failure> {
    let Some(text) = private_file::read(path, MAX_FILE)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    Context::parse(&text)
        .map(Some)
        .map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &ContextError) -> Failure {
    Failure::new(Exit::InvalidConfiguration, describe(path, error))
        .with_hint("have its owner export it again: `mse context --export ID`")
}

fn not_found(id: Uuid) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("there is no context of the app `{id}`"),
    )
    .with_hint("`mse context --list` shows the contexts of this machine")
}
