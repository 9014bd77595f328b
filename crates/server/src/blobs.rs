//! Encrypted bundles, as files: `<blobs>/<app id>.tar`, and uploads under way beside them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mse_workload::AppId;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::data_dir::sync_folder;

/// The blob store of a folder.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: PathBuf,
}

impl BlobStore {
    /// Opens the folder, and removes uploads that were cut off.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        let store = Self { root };
        let uploads = store.uploads();
        match fs::remove_dir_all(&uploads) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        fs::DirBuilder::new().mode(0o700).create(&uploads)?;
        Ok(store)
    }

    /// A new upload. What is written to it is gone unless it is kept.
    pub async fn begin_upload(&self, most: u64) -> io::Result<Upload> {
        let uploads = self.uploads();
        let file =
            tokio::task::spawn_blocking(move || tempfile::NamedTempFile::new_in(uploads)).await??;
        let (file, path) = file.into_parts();
        Ok(Upload {
            file: File::from_std(file),
            path,
            room: most,
        })
    }

    /// Where the app's bundle is, or would be.
    pub fn path(&self, app: AppId) -> PathBuf {
        self.root.join(format!("{app}.tar"))
    }

    /// Makes a finished upload the app's bundle, for good.
    pub fn keep(&self, upload: FinishedUpload, app: AppId) -> io::Result<()> {
        upload
            .path
            .persist(self.path(app))
            .map_err(|error| error.error)?;
        sync_folder(&self.root)
    }

    /// Removes the app's bundle, if there is one.
    pub fn remove(&self, app: AppId) {
        if let Err(error) = fs::remove_file(self.path(app))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%app, %error, "a bundle stays behind");
        }
    }

    /// Removes every bundle but those of these apps.
    pub fn retain(&self, apps: &HashSet<AppId>) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let app = Path::new(&name)
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(app) = app
                && !apps.contains(&app)
            {
                tracing::info!(%app, "removing the bundle of an app that does not live");
                self.remove(app);
            }
        }
        Ok(())
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }
}

/// A bundle that is being received.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: tempfile::TempPath,
    room: u64,
}

impl Upload {
    /// Takes the next piece. `false`: it is over the bound, and was not taken.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<bool> {
        match self.room.checked_sub(piece.len() as u64) {
            None => Ok(false),
            Some(room) => {
                self.room = room;
                self.file.write_all(piece).await?;
                Ok(true)
            }
        }
    }

    /// Flushes it to the disk.
    pub async fn finish(mut self) -> io::Result<FinishedUpload> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        Ok(FinishedUpload { path: self.path })
    }
}

/// A bundle that was received whole. It is removed unless it is kept.
#[derive(Debug)]
pub struct FinishedUpload {
    path: tempfile::TempPath,
}

impl FinishedUpload {
    /// Where it lies for now.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_kept_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path().to_owned()).unwrap();
        let files = || walk(folder.path());

        let mut dropped = blobs.begin_upload(100).await.unwrap();
        assert!(dropped.write(b"half").await.unwrap());
        drop(dropped);
        let finished = blobs
            .begin_upload(100)
            .await
            .unwrap()
            .finish()
            .await
            .unwrap();
        drop(finished);
        assert_eq!(files(), 0);

        let cut_off = blobs.begin_upload(100).await.unwrap();
        std::mem::forget(cut_off);
        assert_eq!(files(), 1);
        BlobStore::open(folder.path().to_owned()).unwrap();
        assert_eq!(files(), 0);
    }

    #[tokio::test]
    async fn the_bound_holds_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path().to_owned()).unwrap();
        let mut upload = blobs.begin_upload(5).await.unwrap();
        assert!(upload.write(b"123").await.unwrap());
        assert!(!upload.write(b"456").await.unwrap());
        assert!(upload.write(b"45").await.unwrap());
        let app = AppId::generate();
        blobs.keep(upload.finish().await.unwrap(), app).unwrap();
        assert_eq!(fs::read(blobs.path(app)).unwrap(), b"12345");
        blobs.retain(&HashSet::from([app])).unwrap();
        assert!(blobs.path(app).exists());
        blobs.retain(&HashSet::new()).unwrap();
        assert!(!blobs.path(app).exists());
    }

    fn walk(folder: &Path) -> usize {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { walk(&path) } else { 1 })
            .sum()
    }
}
