//! Lines of bounded length.

use std::io::{self, BufRead, Read as _};

use crate::export::MAX_LINE;

/// Reads an export line by line.
pub struct Lines<R>(R);

/// A line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says, without its end. Of a line that is longer than [`MAX_LINE`], so much that
    /// this shows.
    pub content: Vec<u8>,
    /// Whether it has an end.
    pub ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Self(reader)
    }

    /// The next line.
    // Not an iterator: the error is the caller's to stop at.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut content = Vec::new();
        (&mut self.0)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut content)?;
        let ended = content.pop_if(|byte| *byte == b'\n').is_some();
        // A line that fills the room has no end within it, which is not that of the file.
        let ended = ended || content.len() > MAX_LINE;
        Ok((ended || !content.is_empty()).then_some(Line { content, ended }))
    }
}
