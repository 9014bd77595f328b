//! The launch socket: frames to and from the enclave, and its quotes.

use std::io;

use mse_crypto::Zeroizing;
use mse_simtee::Platform;
use mse_workload::launch::{self, FrameError, FromEnclave, SealKeyText, SealPolicy, ToEnclave};
use mse_workload::measurement::Measurement;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Quoting;

/// Writes every frame until the last sender is gone or the enclave no longer reads.
pub(super) async fn write_frames(
    mut socket: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<ToEnclave>,
) -> Result<(), SocketError> {
    while let Some(frame) = frames.recv().await {
        socket.write_all(&launch::encode(&frame)?).await?;
    }
    Ok(())
}

/// The next frame, or `None` when the enclave has closed its end.
pub(super) async fn read_frame(
    socket: &mut (impl AsyncRead + Unpin),
) -> Result<Option<FromEnclave>, SocketError> {
    let mut prefix = [0; 4];
    match socket.read_exact(&mut prefix).await {
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        // An enclave that dies with unread frames resets the socket.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut json = vec![0; launch::frame_length(prefix)?];
    socket.read_exact(&mut json).await?;
    Ok(Some(launch::decode(&json)?))
}

/// A quote for the enclave that was measured as `measurement`: the answer to its request `id`.
pub(super) fn answer_quote(
    quoting: &Quoting,
    measurement: Measurement,
    id: u64,
    report_data: &str,
) -> ToEnclave {
    let quote = platform(quoting)
        .and_then(|platform| quote(platform, measurement, report_data))
        .map(hex::encode);
    ToEnclave::Quote { id, quote }
}

/// The sealing key of the enclave that was measured as `measurement`: the answer to its request
/// `id`.
pub(super) fn answer_seal_key(
    quoting: &Quoting,
    measurement: Measurement,
    id: u64,
    policy: SealPolicy,
) -> ToEnclave {
    let key = platform(quoting).map(|platform| {
        let key = platform.seal_key(&measurement.0.0, policy);
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(&Zeroizing::new(hex::encode(key.expose())));
        SealKeyText(text)
    });
    ToEnclave::SealKey { id, key }
}

fn platform(quoting: &Quoting) -> Result<&Platform, String> {
    match quoting {
        Quoting::Simulated(platform) => Ok(platform),
        Quoting::None => Err("the launcher simulates no TEE".to_owned()),
    }
}

fn quote(platform: &Platform, measurement: Measurement, text: &str) -> Result<Vec<u8>, String> {
    let mut report_data = [0; 64];
    hex::decode_to_slice(text, &mut report_data)
        .map_err(|_| "report data are 64 bytes, that is 128 hexadecimal digits".to_owned())?;
    platform
        .quote(measurement.0.0, &report_data)
        .map_err(|error| error.to_string())
}

/// What is wrong with the socket or with what came through it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// A frame that cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The socket itself.
    #[error("the launch socket fails: {0}")]
    Io(#[from] io::Error),
}
