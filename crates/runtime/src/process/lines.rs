//! Output of a process as lines of bounded length.

use std::io;

use mse_api::LogStream;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

use super::EnclaveEvent;

/// A longer line is cut into several.
const MAX_LINE: usize = 16 * 1024;

/// Sends every line of `output` as an event until it ends or nobody listens any more.
pub(crate) async fn forward(
    output: impl AsyncRead + Unpin,
    stream: LogStream,
    events: mpsc::Sender<EnclaveEvent>,
) {
    let mut lines = Lines {
        reader: BufReader::with_capacity(MAX_LINE, output),
    };
    // An unreadable pipe has ended as far as the log is concerned.
    while let Ok(Some(text)) = lines.next().await {
        if events
            .send(EnclaveEvent::Log { stream, text })
            .await
            .is_err()
        {
            return;
        }
    }
}

struct Lines<R> {
    reader: BufReader<R>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!line.is_empty()).then(|| text(&line)));
            }
            let room = MAX_LINE - line.len();
            let piece = &buffer[..buffer.len().min(room)];
            if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&piece[..end]);
                self.reader.consume(end + 1);
                return Ok(Some(text(&line)));
            }
            let taken = piece.len();
            line.extend_from_slice(piece);
            self.reader.consume(taken);
            if line.len() == MAX_LINE {
                return Ok(Some(text(&line)));
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(bytes: &[u8]) -> Vec<String> {
        let (sender, mut events) = mpsc::channel(100);
        forward(bytes, LogStream::App, sender).await;
        let mut lines = Vec::new();
        while let Some(EnclaveEvent::Log { text, .. }) = events.recv().await {
            lines.push(text);
        }
        lines
    }

    #[tokio::test]
    async fn lines_end_at_newlines_and_at_the_end() {
        assert_eq!(lines_of(b"a\r\n\nb\xffc").await, ["a", "", "b\u{fffd}c"]);
        assert!(lines_of(b"").await.is_empty());
    }

    #[tokio::test]
    async fn an_endless_line_is_cut() {
        let lines = lines_of(&vec![b'x'; 2 * MAX_LINE + 5]).await;
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE, MAX_LINE, 5]
        );
    }
}
