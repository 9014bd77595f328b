//! With what a CAS was created: a file in its data folder, so that who opens it with something else
//! is told. It is only a hint: the host may write anything there, and what opens the CAS is its
//! measurement.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::private_file;
use crate::words::typed;

/// The options are much shorter.
const MAX_FILE: u64 = 64 * 1024;

/// The options of `mse cas run` that are measured, as they are typed.
pub(super) struct MadeWith {
    file: PathBuf,
    now: String,
}

impl MadeWith {
    /// For the CAS in `data`, which is run with `words`.
    pub(super) fn new(data: &Path, words: &[String]) -> Self {
        Self {
            file: data.join("created-with"),
            now: line(words),
        }
    }

    /// The CAS runs: what it was run with is right.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        private_file::write(&self.file, format!("{}\n", self.now).as_bytes())
    }

    /// What may be wrong with the options if its root key does not open.
    pub(super) fn hint(&self) -> String {
        let now = &self.now;
        match private_file::read(&self.file, MAX_FILE) {
            Ok(Some(then)) if then.trim() == now => format!(
                "it was run with the same options before (`{now}`): is it the same `mse-cas`, and the same simulated platform?"
            ),
            Ok(Some(then)) => format!(
                "it ran before with `{}`, and now with `{now}`: run it as before",
                then.trim().escape_debug()
            ),
            _ => format!(
                "a CAS opens only with the options that it was created with, such as `--owner` and `--accept-simulated this-machine`; now it has `{now}`"
            ),
        }
    }
}

/// Words as they are typed.
pub(super) fn line(words: &[String]) -> String {
    let typed: Vec<String> = words.iter().map(|word| typed(word)).collect();
    typed.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let made = |text: &str| MadeWith::new(folder.path(), &words(text));
        let plain = made("--owner 00");
        assert!(plain.hint().contains("--accept-simulated this-machine"));
        let simulated = made("--owner 00 --accept-simulated this-machine");
        simulated.keep().unwrap();
        let hint = plain.hint();
        assert!(
            hint.contains("before with `--owner 00 --accept-simulated this-machine`, and now with `--owner 00`"),
            "{hint}"
        );
        assert!(simulated.hint().contains("the same options"));
    }
}
