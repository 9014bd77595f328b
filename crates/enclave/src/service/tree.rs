//! The program's tree: from the host's folder, checked, into the sandbox's memory.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use mse_workload::bundle::{
    CodeTree, CollectError, FileMode as TreeMode, SealError, TreeHasher, tree_digest,
};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::sandbox::{Area, FileMode, InvalidPath, PrivateFilesWriter, PrivatePath, SandboxError};

/// A tree that had the measured digest when it was looked at.
pub(super) struct CheckedTree {
    tree: CodeTree,
    expected: Digest,
}

impl CheckedTree {
    /// Reads the whole folder `root`, which must have the digest `expected`.
    pub(super) async fn read(root: &Path, expected: Digest) -> Result<Self, TreeError> {
        let root = root.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let tree = CodeTree::collect(&root)?;
            let found = tree_digest(&tree)?;
            Ok::<_, TreeError>((tree, found))
        });
        let (tree, found) = read.await.map_err(|_| TreeError::Unread)??;
        if found != expected {
            return Err(TreeError::OtherDigest { found, expected });
        }
        Ok(Self { tree, expected })
    }

    /// Whether a file of it is at `path` or below, which is relative to the folder.
    pub(super) fn has_below(&self, path: &Path) -> bool {
        let mut files = self.tree.files().iter();
        files.any(|file| Path::new(&file.path).starts_with(path))
    }

    /// Copies it into the sandbox. The folder is the host's and may have changed meanwhile: the
    /// copy is what must have the digest.
    pub(super) async fn copy_into(&self, files: &mut PrivateFilesWriter) -> Result<(), TreeError> {
        let mut copied = TreeHasher::new();
        for file in self.tree.files() {
            let path = PrivatePath::try_from(file.path.as_str())?;
            let mode = match file.mode {
                TreeMode::Plain => FileMode::READABLE,
                TreeMode::Executable => FileMode::EXECUTABLE,
            };
            let opened = tokio::fs::File::open(self.tree.locate(file)).await;
            let opened = opened.map_err(|error| SealError::Read(file.path.clone(), error))?;
            // A file that grew is noticed and not read to an end that may never come.
            let mut content = Hashing {
                source: opened.take(file.size + 1),
                hasher: Hasher::new(),
            };
            files.put(Area::Code, &path, mode, &mut content).await?;
            copied.file(&file.path, file.mode, &content.hasher.finish());
        }
        let found = copied.finish();
        if found == self.expected {
            Ok(())
        } else {
            Err(TreeError::Changed)
        }
    }
}

/// Takes the digest of what passes.
struct Hashing<R> {
    source: R,
    hasher: Hasher,
}

impl<R: AsyncRead + Unpin> AsyncRead for Hashing<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.source).poll_read(context, buffer);
        this.hasher.update(&buffer.filled()[before..]);
        polled
    }
}

/// Why the tree is not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error(transparent)]
    Read(#[from] SealError),
    #[error("the folder could not be read")]
    Unread,
    #[error("the folder has the digest `{found}` and not the measured `{expected}`")]
    OtherDigest { found: Digest, expected: Digest },
    #[error("the folder changed after it was checked")]
    Changed,
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}
