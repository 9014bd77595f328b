//! Encrypted files, decrypted into a sandbox: an app's code, and the encrypted part of an image.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use mse_crypto::{CodeKey, Zeroizing};
use mse_workload::bundle::{FileMode as SealedMode, FileSink, SourceSalt};
use mse_workload::bundle::{UnsealError, Unsealed, unseal};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use crate::sandbox::{Area, FileMode, InvalidPath, PrivateFilesWriter, PrivatePath, SandboxError};

/// Decrypts on a thread of its own and sends file by file into the sandbox's area of code. What is
/// returned has to be compared before anything runs.
pub(crate) async fn unseal_into(
    files: &mut PrivateFilesWriter,
    bundle: &Path,
    key: CodeKey,
    salt: SourceSalt,
    mode_of: impl Fn(SealedMode) -> FileMode,
) -> Result<Unsealed, UnsealIntoError> {
    let (sender, mut pieces) = mpsc::channel(8);
    let bundle = bundle.to_owned();
    let unsealing = tokio::task::spawn_blocking(move || {
        let file = File::open(bundle).map_err(UnsealError::Read)?;
        let reader = io::BufReader::new(file);
        unseal(reader, &key, &salt, &mut PieceSink(sender))
    });
    while let Some(piece) = pieces.recv().await {
        let Piece::Begin { path, mode } = piece else {
            continue;
        };
        let path = PrivatePath::try_from(path)?;
        let content = stream::unfold(&mut pieces, |pieces| async {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => Some((Ok::<_, io::Error>(bytes), pieces)),
                _ => None,
            }
        });
        let content = StreamReader::new(Box::pin(content));
        files.put(Area::Code, &path, mode_of(mode), content).await?;
    }
    Ok(unsealing.await.map_err(|_| UnsealIntoError::Unread)??)
}

enum Piece {
    Begin { path: String, mode: SealedMode },
    Bytes(Bytes),
    End,
}

struct PieceSink(mpsc::Sender<Piece>);

impl PieceSink {
    fn send(&self, piece: Piece) -> io::Result<()> {
        self.0
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl FileSink for PieceSink {
    fn begin(&mut self, path: &str, mode: SealedMode, _: u64) -> io::Result<()> {
        self.send(Piece::Begin {
            path: path.to_owned(),
            mode,
        })
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.send(Piece::Bytes(Bytes::from_owner(Zeroizing::new(
            piece.to_vec(),
        ))))
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(Piece::End)
    }
}

/// Why the files are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnsealIntoError {
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    #[error("the encrypted files could not be read")]
    Unread,
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}
