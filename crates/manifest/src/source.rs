//! The text of a manifest, and where in it a diagnostic belongs.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Snippet};

/// A manifest larger than this is refused before it is parsed.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Self, Diagnostics> {
        let bytes = read_bounded(path, MAX_MANIFEST_BYTES).map_err(|error| {
            let help = match &error {
                ReadError::NotFound => {
                    "run `mse init` to write one here, or name it with `--path FILE`"
                }
                ReadError::TooLarge { .. } => "a manifest is a few lines: is this the right file?",
                ReadError::NotAFile => "name the file itself with `--path FILE`",
                ReadError::Io(_) => "make the file readable for you",
            };
            Diagnostic::error(path, "", format!("the manifest {error}")).help(help)
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + count_newlines(&error.as_bytes()[..valid]);
            let problem = "the manifest is not UTF-8 text";
            Diagnostic {
                line: Some(line),
                ..Diagnostic::error(path, "", problem).help("save the file as UTF-8")
            }
        })?;
        Self::new(path, text)
    }

    pub(crate) fn new(path: &Path, text: String) -> Result<Self, Diagnostics> {
        let source = Self {
            path: path.to_owned(),
            text,
        };
        if source.text.len() as u64 > MAX_MANIFEST_BYTES {
            let error = ReadError::TooLarge {
                limit: MAX_MANIFEST_BYTES,
            };
            return Err(source
                .error("", format!("the manifest {error}"))
                .help("a manifest is a few lines: is this the right file?")
                .into());
        }
        Ok(source)
    }

    /// The directory that the paths in the manifest are relative to.
    pub(crate) fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    /// An error about `key`, as yet without a place in the file.
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.path, key, problem)
    }

    /// A warning about `key`, as yet without a place in the file.
    pub(crate) fn warning(&self, key: &str, problem: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..self.error(key, problem)
        }
    }

    /// Puts `diagnostic` at `span`, a range of bytes of the text.
    pub(crate) fn place(
        &self,
        diagnostic: Diagnostic,
        span: &Range<usize>,
        show: Show,
    ) -> Diagnostic {
        let start = self.floor(span.start);
        let end = self.floor(span.end.max(start));
        let line_start = self.text[..start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let rest = &self.text[line_start..];
        let line = rest
            .split('\n')
            .next()
            .unwrap_or(rest)
            .trim_end_matches('\r');
        let before = self.text[line_start..start].chars().count();
        let marked = self.text[start..end]
            .split('\n')
            .next()
            .unwrap_or("")
            .trim_end_matches('\r');

        // Somebody pasted a private key instead of its path: then no line of this file is shown.
        let show = if self.text.contains("PRIVATE KEY") {
            Show::Place
        } else {
            show
        };
        let snippet = match show {
            Show::Place => None,
            Show::Key => Some(snippet(&format!("{marked} = …"), 0, marked.chars().count())),
            Show::Line => Some(snippet(line, before, marked.chars().count())),
        };
        let value = (show == Show::Line && diagnostic.value.is_none())
            .then(|| printable(&self.text[start..end], 64))
            .filter(|value| !value.is_empty());
        Diagnostic {
            line: Some(1 + count_newlines(&self.text.as_bytes()[..start])),
            column: Some(before + 1),
            value: value.or(diagnostic.value),
            snippet,
            ..diagnostic
        }
    }

    /// The parser may point behind the text, or into a character that it could not read.
    fn floor(&self, position: usize) -> usize {
        self.text.floor_char_boundary(position)
    }
}

/// How much of the file a diagnostic may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// The whole line: what is on it is no secret.
    Line,
    /// Only the key that the span covers: nobody knows what an unknown key holds.
    Key,
    /// Only line and column.
    Place,
}

impl Diagnostic {
    fn error(file: &Path, key: &str, problem: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: None,
            column: None,
            key: key.to_owned(),
            value: None,
            // File names and certificates may say anything.
            problem: printable(&problem.into(), 1000),
            help: None,
            snippet: None,
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound,
        _ => ReadError::Io(error),
    })?;
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge { limit });
    }
    // One allocation of the right size: a secret that outgrows its buffer leaves a copy behind.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(capacity);
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(ReadError::Io)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { limit });
    }
    Ok(bytes)
}

/// Why a file could not be read; worded to follow the name of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("does not exist")]
    NotFound,
    #[error("is not a regular file")]
    NotAFile,
    #[error("is larger than {} KiB", .limit >> 10)]
    TooLarge { limit: u64 },
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
}

/// `text` without control characters, cut to `limit` characters.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().take(limit).map(visible).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// The part of `line` around the marked characters that fits a terminal.
fn snippet(line: &str, before: usize, marked: usize) -> Snippet {
    const WIDTH: usize = 100;
    let skipped = if before > WIDTH / 2 {
        before - WIDTH / 4
    } else {
        0
    };
    let mut text: String = line
        .chars()
        .skip(skipped)
        .take(WIDTH)
        .map(visible)
        .collect();
    if line.chars().nth(skipped + WIDTH).is_some() {
        text.push('…');
    }
    let mut indent = before - skipped;
    if skipped > 0 {
        text.insert(0, '…');
        indent += 1;
    }
    let carets = marked
        .min(text.chars().count().saturating_sub(indent))
        .max(1);
    Snippet {
        text,
        indent,
        carets,
    }
}

/// Control characters would let a file write to the terminal, and a tab would move the carets.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        '\n' => '⏎',
        // Directional overrides make a line read as what it is not.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

fn count_newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(text: &str, span: Range<usize>, show: Show) -> Diagnostic {
        let source = Source::new(Path::new("mse.toml"), text.to_owned()).unwrap();
        source.place(source.error("key", "is wrong"), &span, show)
    }

    #[test]
    fn places_count_lines_and_characters() {
        let diagnostic = placed("a = 1\r\nß = \"é\"\r\n", 12..16, Show::Line);

        assert_eq!((diagnostic.line, diagnostic.column), (Some(2), Some(5)));
        assert_eq!(diagnostic.value.as_deref(), Some("\"é\""));
        insta::assert_snapshot!(diagnostic, @r#"
        error: `key` is wrong
          --> mse.toml:2:5
           |
         2 | ß = "é"
           |     ^^^
        "#);
    }

    #[test]
    fn terminal_sequences_are_not_repeated() {
        let diagnostic = placed("a = \"\u{1b}[2J\u{202e}\"", 4..13, Show::Line);

        let shown = diagnostic.to_string();

        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{202e}'),
            "{shown:?}"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("a = [{}\"x\", {}]", "1, ".repeat(200), "2, ".repeat(200));
        let start = line.find("\"x\"").unwrap();

        insta::assert_snapshot!(placed(&line, start..start + 3, Show::Line), @r#"
        error: `key` is wrong
          --> mse.toml:1:606
           |
         1 | … 1, 1, 1, 1, 1, 1, 1, 1, "x", 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2…
           |                           ^^^
        "#);
    }

    #[test]
    fn a_pasted_private_key_hides_every_line() {
        let text = "a = \"-----BEGIN PRIVATE KEY-----\\nMC4CAQ\"\nb = \"canary\"";
        let diagnostic = placed(text, 46..54, Show::Line);

        assert_eq!(diagnostic.line, Some(2));
        assert!(!diagnostic.to_string().contains("canary"));
        assert_eq!(diagnostic.value, None);
    }

    #[test]
    fn places_outside_of_the_text_do_not_panic() {
        for span in [0..0, 1..99, 99..100, 5..5] {
            placed("ß", span, Show::Line).to_string();
        }
    }

    #[test]
    fn files_are_bounded_and_regular() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"12345").unwrap();

        assert_eq!(read_bounded(&file, 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&file, 4),
            Err(ReadError::TooLarge { limit: 4 })
        ));
        assert!(matches!(
            read_bounded(dir.path(), 5),
            Err(ReadError::NotAFile)
        ));
        assert!(matches!(
            read_bounded(&dir.path().join("no"), 5),
            Err(ReadError::NotFound)
        ));
    }
}
