//! The app's output, line by line.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// The longest line that is passed on whole, in bytes. A longer one comes as
/// several.
pub const MAX_LOG_LINE: usize = 16 * 1024;

/// A line that the app wrote, without its line end. Bytes that are not UTF-8
/// are replaced by U+FFFD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Where it wrote it.
    pub stream: LogStream,
    /// The line.
    pub text: String,
}

/// One of the two outputs of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Sends what `output` gives, as lines, until it ends. Once nobody receives any
/// more, output is read and dropped, so that the app does not block.
pub(super) async fn forward(
    mut output: impl AsyncRead + Unpin,
    stream: LogStream,
    lines: mpsc::Sender<LogLine>,
) {
    let mut line = Vec::new();
    let mut buffer = vec![0; MAX_LOG_LINE];
    loop {
        let read = match output.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => &buffer[..read],
        };
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut rest = text;
            while line.len() + rest.len() > MAX_LOG_LINE {
                let (head, tail) = rest.split_at(MAX_LOG_LINE - line.len());
                line.extend_from_slice(head);
                rest = tail;
                send(&mut line, stream, &lines).await;
            }
            line.extend_from_slice(rest);
            if complete {
                send(&mut line, stream, &lines).await;
            }
        }
    }
    if !line.is_empty() {
        send(&mut line, stream, &lines).await;
    }
}

async fn send(line: &mut Vec<u8>, stream: LogStream, lines: &mpsc::Sender<LogLine>) {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    line.clear();
    // A closed channel: see `forward`.
    let _ = lines.send(LogLine { stream, text }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_line_ends_and_at_the_limit() {
        let mut output = b"one\r\n\ntwo\xff".to_vec();
        output.push(b'\n');
        output.extend(vec![b'x'; MAX_LOG_LINE + 5]);
        assert_eq!(
            lines(&output).await,
            ["one", "", "two\u{fffd}", &"x".repeat(MAX_LOG_LINE), "xxxxx"]
        );
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_stays_one() {
        let mut output = vec![b'x'; MAX_LOG_LINE];
        output.push(b'\n');
        assert_eq!(lines(&output).await, ["x".repeat(MAX_LOG_LINE)]);
    }

    async fn lines(output: &[u8]) -> Vec<String> {
        let (sender, mut receiver) = mpsc::channel(16);
        forward(output, LogStream::Stdout, sender).await;
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line.text);
        }
        lines
    }
}
