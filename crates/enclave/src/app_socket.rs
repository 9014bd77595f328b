//! The app's private socket, seen from the enclave.
//!
//! The app makes the socket, in a folder that it may write to. It could put something else there:
//! a link to a socket of the host, which the enclave would then speak to on the app's behalf. So
//! the name is opened without following anything, must be a socket of the folder's own owner, and
//! the connection is made to what was looked at.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use tokio::net::UnixStream;

/// Where the app listens, or will listen.
#[derive(Clone)]
pub(crate) struct AppSocket {
    folder: Arc<OwnedFd>,
    name: PathBuf,
}

impl AppSocket {
    /// The socket `name` in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self, AppSocketError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty())
            .map_err(|error| AppSocketError(folder.to_owned(), error.into()))?;
        Ok(Self {
            folder: Arc::new(folder),
            name: name.into(),
        })
    }

    /// Connects to the app.
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = openat(&*self.folder, &self.name, flags, Mode::empty())?;
        let found = fstat(&socket)?;
        let owner = fstat(&*self.folder)?.st_uid;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_uid != owner {
            return Err(io::Error::other(
                "what the app put there is no socket of its own",
            ));
        }
        UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
    }
}

/// The folder of the app's socket cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the folder `{}` for the app's socket cannot be used: {}", .0.display(), .1)]
pub(crate) struct AppSocketError(PathBuf, #[source] io::Error);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn only_a_socket_made_there_is_connected_to() {
        let dir = tempfile::tempdir().unwrap();
        let (run, host) = (dir.path().join("run"), dir.path().join("host.sock"));
        std::fs::create_dir(&run).unwrap();
        let _host = UnixListener::bind(&host).unwrap();
        let socket = AppSocket::new(&run, "app.sock").unwrap();
        assert!(socket.connect().await.is_err(), "nothing is there yet");

        symlink(&host, run.join("app.sock")).unwrap();
        assert!(socket.connect().await.is_err(), "a link was followed");
        std::fs::remove_file(run.join("app.sock")).unwrap();

        std::fs::write(run.join("app.sock"), "").unwrap();
        assert!(socket.connect().await.is_err(), "a file is no socket");
        std::fs::remove_file(run.join("app.sock")).unwrap();

        let _app = UnixListener::bind(run.join("app.sock")).unwrap();
        socket.connect().await.unwrap();
    }
}
