//! The frames on the socket between `mse-enclave` and the two stages.
//!
//! A frame is one byte of kind, four bytes of length (big endian) and that many
//! bytes of payload, at most [`MAX_FRAME`]. Downwards: `Root` if there is an image, `Tree`, then any number
//! of files (`File`, `Chunk`…, `EndFile`), `EndFiles`, `Launch`. Stage 1 reads up
//! to `EndFiles`, byte-exactly, and leaves `Launch` in the socket for the init.
//! Later the init may be sent files again, and `Replace`, and between any two frames `Pause` and
//! `Resume`. Upwards: `Event`.

use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::plan::{Area, FileMode, LaunchPlan, PrivatePath};
use super::released::Notice;
use super::report::{ExitCause, SandboxEntry, Step};
use super::root::CopiedRoot;

/// The largest payload of a frame.
pub(super) const MAX_FRAME: usize = 1024 * 1024;
/// How much of a file goes into one `Chunk`.
pub(super) const CHUNK: usize = 256 * 1024;

const HEADER: usize = 5;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A [`super::plan::TreePlan`].
    Tree = 1,
    /// A [`FileHeader`].
    File = 2,
    /// Bytes of the file begun last.
    Chunk = 3,
    /// That file is complete.
    EndFile = 4,
    /// All files are complete.
    EndFiles = 5,
    /// A [`Launch`].
    Launch = 6,
    /// An [`Event`].
    Event = 7,
    /// The files sent since the launch replace the released ones.
    Replace = 8,
    /// All of the app's processes shall stand still.
    Pause = 9,
    /// They may go on.
    Resume = 10,
    /// A [`super::root::RootPlan`].
    Root = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Tree,
        Self::File,
        Self::Chunk,
        Self::EndFile,
        Self::EndFiles,
        Self::Launch,
        Self::Event,
        Self::Replace,
        Self::Pause,
        Self::Resume,
        Self::Root,
    ];
}

/// Begins a file.
#[derive(Serialize, Deserialize)]
pub(super) struct FileHeader {
    pub(super) area: Area,
    pub(super) path: PrivatePath,
    pub(super) mode: FileMode,
}

/// What the init needs to know.
#[derive(Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) plan: LaunchPlan,
    /// Where a program without a path is looked up if its environment has no `PATH`; empty for
    /// the system's own places.
    pub(super) search: Vec<std::path::PathBuf>,
    /// Directories that the app may write to.
    pub(super) writable: Vec<std::path::PathBuf>,
    /// The directory in which it may make its socket.
    pub(super) sockets: Option<std::path::PathBuf>,
    /// The directory in which released files can be replaced.
    pub(super) released: Option<std::path::PathBuf>,
}

/// What the stages tell `mse-enclave`, in this order.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The image's root file system is copied.
    Rooted(CopiedRoot),
    /// It cannot be.
    NotRooted { message: String },
    /// The volumes are mounted, if the plan has any: with the frame come descriptors of their
    /// directories, in the plan's order.
    Mounted,
    /// The app's own network stands, if the plan has one: with the frame come a socket that
    /// supplies more of them, and the listeners in the plan's order.
    Network,
    /// The namespaces and the root directory stand, the files are in place.
    Built { entries: Vec<SandboxEntry> },
    /// The init has given up every privilege; commands run from here on.
    Confined { entries: Vec<SandboxEntry> },
    /// The prepare steps succeeded and the server was started.
    Serving,
    /// Released files were replaced.
    Replaced { notice: Notice },
    /// They were not.
    NotReplaced { message: String },
    /// All of the app's processes stand still.
    Paused,
    /// The app asks for its volumes to be committed.
    CommitAsked,
    /// A command ended, and with it the sandbox.
    Exited { step: Step, cause: ExitCause },
    /// The sandbox could not be made.
    Failed {
        message: String,
        fix: Option<String>,
    },
}

/// Reads frames into one buffer, which is wiped in the end: what passes may be
/// code or secrets.
pub(super) struct FrameReader<R> {
    channel: R,
    buffer: Zeroizing<Vec<u8>>,
}

/// A frame that was read.
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) payload: &'a [u8],
}

impl<R> FrameReader<R> {
    pub(super) fn new(channel: R) -> Self {
        Self {
            channel,
            buffer: Zeroizing::default(),
        }
    }

    /// Makes room for a payload and returns its kind and place.
    fn prepare(&mut self, header: [u8; HEADER]) -> Result<(Kind, usize), WireError> {
        let (kind, length) = parse_header(header)?;
        if self.buffer.len() < length {
            // Not resized: growth in place may move, and leave what was there.
            self.buffer = Zeroizing::new(vec![0; length]);
        }
        Ok((kind, length))
    }
}

impl<R> FrameReader<R> {
    /// What the frames are read from.
    pub(super) fn channel(&mut self) -> &mut R {
        &mut self.channel
    }
}

impl<R: Read> FrameReader<R> {
    /// Reads exactly one frame. The end of the stream is [`WireError::Closed`].
    pub(super) fn read(&mut self) -> Result<Frame<'_>, WireError> {
        let mut header = [0; HEADER];
        self.channel
            .read_exact(&mut header)
            .map_err(WireError::from_io)?;
        let (kind, length) = self.prepare(header)?;
        let payload = &mut self.buffer[..length];
        self.channel
            .read_exact(payload)
            .map_err(WireError::from_io)?;
        Ok(Frame { kind, payload })
    }

    /// Reads one frame that must be of `kind`, and its payload as JSON.
    pub(super) fn read_json<T: DeserializeOwned>(&mut self, kind: Kind) -> Result<T, WireError> {
        let frame = self.read()?;
        if frame.kind != kind {
            return Err(WireError::Unexpected {
                expected: kind,
                got: frame.kind,
            });
        }
        frame.json()
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// As [`Self::read`], for tokio.
    pub(super) async fn receive(&mut self) -> Result<Frame<'_>, WireError> {
        let mut header = [0; HEADER];
        self.channel
            .read_exact(&mut header)
            .await
            .map_err(WireError::from_io)?;
        let (kind, length) = self.prepare(header)?;
        let payload = &mut self.buffer[..length];
        self.channel
            .read_exact(payload)
            .await
            .map_err(WireError::from_io)?;
        Ok(Frame { kind, payload })
    }
}

impl Frame<'_> {
    /// The payload as JSON of type `T`.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        serde_json::from_slice(self.payload).map_err(WireError::Json)
    }
}

/// Writes one frame.
pub(super) fn write_frame(
    channel: &mut impl Write,
    kind: Kind,
    payload: &[u8],
) -> Result<(), WireError> {
    channel
        .write_all(&header(kind, payload)?)
        .map_err(WireError::from_io)?;
    channel.write_all(payload).map_err(WireError::from_io)
}

/// As [`write_frame`], for tokio.
pub(super) async fn send_frame(
    channel: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    payload: &[u8],
) -> Result<(), WireError> {
    channel
        .write_all(&header(kind, payload)?)
        .await
        .map_err(WireError::from_io)?;
    channel.write_all(payload).await.map_err(WireError::from_io)
}

/// The payload of a frame that carries `value`.
pub(super) fn encode(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, WireError> {
    serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(WireError::Json)
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the other side closed the sandbox's channel")]
    Closed,
    #[error("the sandbox's channel failed: {0}")]
    Io(std::io::Error),
    #[error(
        "a frame of {0} bytes is larger than the limit of {MAX_FRAME}; shorten the arguments or the environment"
    )]
    TooLarge(usize),
    #[error("a frame has the unknown kind `{0}`; are these two versions of mse-enclave?")]
    UnknownKind(u8),
    #[error("expected a frame of kind {expected:?}, got {got:?}")]
    Unexpected { expected: Kind, got: Kind },
    #[error("a frame is not the JSON expected: {0}")]
    Json(serde_json::Error),
}

impl WireError {
    fn from_io(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | BrokenPipe | ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

fn parse_header(header: [u8; HEADER]) -> Result<(Kind, usize), WireError> {
    let [kind, length @ ..] = header;
    let kind = Kind::ALL
        .into_iter()
        .find(|known| *known as u8 == kind)
        .ok_or(WireError::UnknownKind(kind))?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(WireError::TooLarge(length));
    }
    Ok((kind, length))
}

fn header(kind: Kind, payload: &[u8]) -> Result<[u8; HEADER], WireError> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_FRAME)
        .ok_or(WireError::TooLarge(payload.len()))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([kind as u8, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_written_and_no_byte_more_is_read() {
        let mut stream = Vec::new();
        write_frame(&mut stream, Kind::Chunk, b"abc").unwrap();
        write_frame(&mut stream, Kind::Launch, b"").unwrap();
        let mut rest = &stream[..];
        let mut reader = FrameReader::new(&mut rest);
        let frame = reader.read().unwrap();
        assert_eq!((frame.kind, frame.payload), (Kind::Chunk, &b"abc"[..]));
        assert_eq!(rest.len(), HEADER);
        let mut reader = FrameReader::new(rest);
        assert_eq!(reader.read().unwrap().kind, Kind::Launch);
        assert!(matches!(reader.read(), Err(WireError::Closed)));
    }

    #[test]
    fn a_shorter_frame_shows_nothing_of_the_longer_one_before() {
        let mut stream = Vec::new();
        write_frame(&mut stream, Kind::Chunk, b"longer").unwrap();
        write_frame(&mut stream, Kind::Chunk, b"x").unwrap();
        let mut reader = FrameReader::new(&stream[..]);
        assert_eq!(reader.read().unwrap().payload, b"longer");
        assert_eq!(reader.read().unwrap().payload, b"x");
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        let stream = [Kind::Chunk as u8, 0xff, 0xff, 0xff, 0xff];
        let mut reader = FrameReader::new(&stream[..]);
        assert!(matches!(reader.read(), Err(WireError::TooLarge(_))));
        assert!(reader.buffer.is_empty());
        let too_much = vec![0; MAX_FRAME + 1];
        let written = write_frame(&mut Vec::new(), Kind::Chunk, &too_much);
        assert!(matches!(written, Err(WireError::TooLarge(_))));
    }

    #[test]
    fn unknown_kinds_and_cut_frames_are_refused() {
        let unknown = FrameReader::new(&[99, 0, 0, 0, 0][..]).read().err();
        assert!(matches!(unknown, Some(WireError::UnknownKind(99))));
        let cut = [Kind::Chunk as u8, 0, 0, 0, 9, 1, 2];
        let cut = FrameReader::new(&cut[..]).read().err();
        assert!(matches!(cut, Some(WireError::Closed)));
    }
}
