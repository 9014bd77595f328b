//! Private files: sent by `mse-enclave`, unpacked by stage 1.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::OwnedWriteHalf;
use zeroize::Zeroizing;

use super::failure::{Doing, StageError};
use super::launcher::{Progress, SandboxError};
use super::plan::{Area, FileMode, PrivatePath, SandboxPath, TreePlan};
use super::released::{self, ReleasedFiles};
use super::wire::{self, CHUNK, FileHeader, FrameReader, Kind, Launch, WireError};

/// Sends the app's private files into a sandbox, which runs nothing before
/// [`PrivateFilesWriter::finish`].
///
/// Dropped without it, the sandbox ends.
pub struct PrivateFilesWriter {
    channel: OwnedWriteHalf,
    launch: Zeroizing<Vec<u8>>,
    progress: Progress,
}

impl PrivateFilesWriter {
    pub(super) async fn begin(
        channel: OwnedWriteHalf,
        tree: &TreePlan,
        launch: &Launch,
        progress: Progress,
    ) -> Result<Self, SandboxError> {
        let launch = wire::encode(launch).map_err(|error| SandboxError::Plan(error.to_string()))?;
        if launch.len() > wire::MAX_FRAME {
            return Err(SandboxError::Plan(
                WireError::TooLarge(launch.len()).to_string(),
            ));
        }
        let tree = wire::encode(tree).map_err(|error| SandboxError::Plan(error.to_string()))?;
        let mut writer = Self {
            channel,
            launch,
            progress,
        };
        writer.send(Kind::Tree, &tree).await?;
        Ok(writer)
    }

    /// Writes what `content` gives to `path` of `area` and returns its size in
    /// bytes. Directories are made as needed; each path can be written once.
    pub async fn put(
        &mut self,
        area: Area,
        path: &PrivatePath,
        mode: FileMode,
        mut content: impl AsyncRead + Unpin,
    ) -> Result<u64, SandboxError> {
        let header = FileHeader {
            area,
            path: path.clone(),
            mode,
        };
        let header =
            wire::encode(&header).map_err(|error| SandboxError::Plan(error.to_string()))?;
        self.send(Kind::File, &header).await?;
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let mut written = 0;
        loop {
            let length = match content.read(&mut buffer).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(source) => {
                    return Err(SandboxError::Source {
                        path: path.clone(),
                        source,
                    });
                }
            };
            self.send(Kind::Chunk, &buffer[..length]).await?;
            written += length as u64;
        }
        self.send(Kind::EndFile, &[]).await?;
        Ok(written)
    }

    /// Writes `content` where the app expects it: `place` is one of [`TreePlan::released`].
    pub async fn release(
        &mut self,
        place: &SandboxPath,
        mode: FileMode,
        content: &[u8],
    ) -> Result<(), SandboxError> {
        let path = released::first(place)?;
        self.put(Area::Secrets, &path, mode, content).await?;
        Ok(())
    }

    /// All files are there: the sandbox seals them and starts the app. What is returned can
    /// replace the released ones.
    pub async fn finish(mut self) -> Result<ReleasedFiles, SandboxError> {
        self.send(Kind::EndFiles, &[]).await?;
        let launch = std::mem::take(&mut self.launch);
        self.send(Kind::Launch, &launch).await?;
        Ok(ReleasedFiles::new(self.channel, self.progress))
    }

    async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SandboxError> {
        match wire::send_frame(&mut self.channel, kind, payload).await {
            Ok(()) => Ok(()),
            // The sandbox went away; it said why, on the way up.
            Err(WireError::Closed) => Err(self.progress.why_it_ended().await),
            Err(error) => Err(SandboxError::Channel(error.to_string())),
        }
    }
}

/// Reads private files up to `EndFiles` and puts them where `plan` says.
pub(super) fn unpack<R: Read>(
    frames: &mut FrameReader<R>,
    plan: &TreePlan,
) -> Result<(), StageError> {
    loop {
        let frame = frames.read()?;
        match frame.kind {
            Kind::File => {
                let header: FileHeader = frame.json()?;
                let root = match header.area {
                    Area::Code => plan.code_root(),
                    Area::Secrets => plan.secrets.target.as_path(),
                };
                unpack_file(frames, root, &header)?;
            }
            Kind::EndFiles => return Ok(()),
            got => return Err(unexpected(Kind::File, got)),
        }
    }
}

fn unpack_file<R: Read>(
    frames: &mut FrameReader<R>,
    root: &Path,
    header: &FileHeader,
) -> Result<(), StageError> {
    let action = || format!("write the private file `{}`", header.path);
    let mut file = create(root, header)?;
    loop {
        let frame = frames.read()?;
        match frame.kind {
            Kind::Chunk => append(&mut file, frame.payload, action)?,
            Kind::EndFile => break,
            got => return Err(unexpected(Kind::Chunk, got)),
        }
    }
    let permissions = fs::Permissions::from_mode(header.mode.bits());
    file.set_permissions(permissions).doing(action)
}

/// Makes the file of `header` below `root`, and its directories. It must not exist.
pub(super) fn create(root: &Path, header: &FileHeader) -> Result<File, StageError> {
    let path = root.join(header.path.as_path());
    let action = || format!("write the private file `{}`", header.path);
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .doing(action)?;
    }
    let opened = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(StageError::DuplicateFile(header.path.to_string()))
        }
        opened => opened.doing(action),
    }
}

/// Writes the next piece of a private file; `action` completes "cannot …".
pub(super) fn append(
    file: &mut File,
    piece: &[u8],
    action: impl FnOnce() -> String,
) -> Result<(), StageError> {
    file.write_all(piece)
        .doing(action)
        .map_err(with_size_advice)
}

fn unexpected(expected: Kind, got: Kind) -> StageError {
    WireError::Unexpected { expected, got }.into()
}

fn with_size_advice(error: StageError) -> StageError {
    let full = error.os_error() == Some(Errno::ENOSPC as i32);
    error.with_fix(full.then(|| {
        "the private memory is full: choose a hardware size with more memory, or ship less code"
            .into()
    }))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{AppDirs, AppUid, CodeAccess, PrivateDir, RootBase, SandboxPath};
    use super::*;

    #[test]
    fn files_are_unpacked_with_their_modes() {
        let (dir, plan) = plan();
        let mut stream = Vec::new();
        file(
            &mut stream,
            r#"{"area":"code","path":"a/b.py","mode":292}"#,
            &[b"one", b"two"],
        );
        file(
            &mut stream,
            r#"{"area":"secrets","path":"s.json","mode":256}"#,
            &[b"{}"],
        );
        wire::write_frame(&mut stream, Kind::EndFiles, &[]).unwrap();
        unpack(&mut FrameReader::new(&stream[..]), &plan).unwrap();

        let code = dir.path().join("code/a/b.py");
        assert_eq!(fs::read(&code).unwrap(), b"onetwo");
        assert_eq!(
            fs::metadata(&code).unwrap().permissions().mode() & 0o777,
            0o444
        );
        let secret = dir.path().join("secrets/s.json");
        assert_eq!(
            fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o400
        );
    }

    #[test]
    fn a_path_out_of_the_area_is_refused() {
        let (_dir, plan) = plan();
        let mut stream = Vec::new();
        file(
            &mut stream,
            r#"{"area":"code","path":"../escaped","mode":292}"#,
            &[b"x"],
        );
        let refused = unpack(&mut FrameReader::new(&stream[..]), &plan).unwrap_err();
        assert!(refused.to_string().contains("../escaped"), "{refused}");
    }

    #[test]
    fn a_second_file_of_the_same_name_is_refused() {
        let (_dir, plan) = plan();
        let mut stream = Vec::new();
        for _ in 0..2 {
            file(
                &mut stream,
                r#"{"area":"code","path":"x","mode":292}"#,
                &[b"x"],
            );
        }
        assert!(matches!(
            unpack(&mut FrameReader::new(&stream[..]), &plan),
            Err(StageError::DuplicateFile(_))
        ));
    }

    #[test]
    fn frames_out_of_order_and_a_cut_stream_are_refused() {
        let (_dir, plan) = plan();
        let mut chunk_first = Vec::new();
        wire::write_frame(&mut chunk_first, Kind::Chunk, b"x").unwrap();
        assert!(unpack(&mut FrameReader::new(&chunk_first[..]), &plan).is_err());
        let mut cut = Vec::new();
        file(
            &mut cut,
            r#"{"area":"code","path":"y","mode":292}"#,
            &[b"x"],
        );
        assert!(matches!(
            unpack(&mut FrameReader::new(&cut[..]), &plan),
            Err(StageError::Wire(WireError::Closed))
        ));
    }

    fn file(stream: &mut Vec<u8>, header: &str, chunks: &[&[u8]]) {
        wire::write_frame(stream, Kind::File, header.as_bytes()).unwrap();
        for chunk in chunks {
            wire::write_frame(stream, Kind::Chunk, chunk).unwrap();
        }
        wire::write_frame(stream, Kind::EndFile, &[]).unwrap();
    }

    fn plan() -> (tempfile::TempDir, TreePlan) {
        let dir = tempfile::tempdir().unwrap();
        let private = |name: &str| PrivateDir {
            target: SandboxPath::try_from(dir.path().join(name)).unwrap(),
            max_bytes: 1 << 20,
        };
        let plan = TreePlan {
            app_uid: AppUid::nth(0),
            base: RootBase::Machine(AppDirs {
                code: private("code"),
                code_access: CodeAccess::ReadOnly,
                home: private("home"),
            }),
            secrets: private("secrets"),
            tmp_bytes: 1 << 20,
            shm_bytes: 1 << 20,
            read_only: Vec::new(),
            socket_dir: None,
            released: Vec::new(),
            volumes: Vec::new(),
            network: crate::sandbox::Network::Host,
        };
        (dir, plan)
    }
}
