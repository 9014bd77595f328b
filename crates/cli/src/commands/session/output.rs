//! Where signed and encrypted sessions are written to.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Creation};
use crate::text_input::{is_stdin, shown_path};
use crate::ui::print;

/// Where the result goes.
#[derive(Args)]
pub(super) struct Output {
    /// Write the result to this file, which only you may read [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Output {
    /// Whether standard output was named, not only left as the default.
    pub(super) fn is_stdout_on_purpose(&self) -> bool {
        self.output.as_deref().is_some_and(is_stdin)
    }

    /// The file, or None: standard output.
    pub(super) fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| !is_stdin(file))
    }

    /// Writes the result. The only file that is replaced is `replaceable`, which the result was
    /// made of and holds.
    pub(super) fn write(&self, content: &str, replaceable: Option<&Path>) -> Result<(), Failure> {
        let Some(file) = self.file() else {
            return print(content);
        };
        let content = [content.as_bytes(), b"\n"].concat();
        if replaceable.is_some_and(|old| is_same(old, file)) {
            return private_file::write(file, &content);
        }
        create(file, &content)
    }
}

/// Writes a file that must be new.
pub(super) fn create(file: &Path, content: &[u8]) -> Result<(), Failure> {
    match private_file::write_new(file, content)? {
        Creation::Written => Ok(()),
        Creation::Exists => Err(Failure::new(
            Exit::Conflict,
            format!("`{}` exists, and is not overwritten", shown_path(file)),
        )
        .with_hint("name another file with `--output`, or remove that one")),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
