//! Texts that people write and commands read: from a file or standard input, with variables.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use mse_crypto::Zeroizing;
use mse_session::Variables;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::printable;
use crate::private_file;

/// Values for the variables of a text.
#[derive(Args)]
pub(crate) struct VariableArgs {
    /// The value of a variable `$NAME` of the text; may be given several times
    #[arg(short = 'e', value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Take the variables that `-e` does not give from the environment
    #[arg(long)]
    use_env: bool,
}

impl VariableArgs {
    /// Values are in no message: they may be secrets.
    pub(crate) fn variables(&self) -> Result<Variables, Failure> {
        let mut given = BTreeMap::new();
        for (index, variable) in self.variables.iter().enumerate() {
            let (name, value) = variable
                .split_once('=')
                .filter(|(name, _)| is_name(name))
                .ok_or_else(|| {
                    wrong_usage(
                        format!("number {} of the `-e` is not NAME=VALUE", index + 1),
                        "a NAME has letters, digits and `_`, and does not begin with a digit",
                    )
                })?;
            if given.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(wrong_usage(
                    format!("`-e` gives the variable `{name}` more than once"),
                    "remove all but one",
                ));
            }
        }
        let mut values = BTreeMap::new();
        if self.use_env {
            values.extend(std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }));
        }
        values.extend(given);
        Ok(values.into_iter().collect())
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a text of at most `most` bytes; `-` is standard input.
pub(crate) fn text_of(file: &Path, most: usize) -> Result<Zeroizing<String>, Failure> {
    if is_stdin(file) {
        return stdin_text(most)
            .map_err(|error| Failure::file("read", Path::new("<stdin>"), &error));
    }
    private_file::read(file, most as u64)?
        .map(Zeroizing::new)
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no file `{}`", shown_path(file)),
            )
            .with_hint("`-` stands for standard input")
        })
}

fn stdin_text(most: usize) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    io::stdin()
        .lock()
        .take(most as u64 + 1)
        .read_to_string(&mut text)?;
    if text.len() > most {
        let why = format!("it is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

/// How people see where a text is from.
pub(crate) fn shown_path(file: &Path) -> String {
    if is_stdin(file) {
        "<stdin>".to_owned()
    } else {
        printable(&file.display().to_string())
    }
}

pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// A wrong command line.
pub(crate) fn wrong_usage(message: impl Into<String>, hint: &str) -> Failure {
    Failure::new(Exit::Usage, message).with_hint(hint)
}
