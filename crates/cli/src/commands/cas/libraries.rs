//! The file that names the libraries behind which a CAS reaches tokens.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::Digest;
use mse_workload::{OpenToken, TokenLibrary};
use serde::Deserialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

use super::option;

/// Which libraries a CAS may load.
#[derive(Args, Clone)]
pub(super) struct Libraries {
    /// A TOML file with libraries that speak PKCS#11 and who may use which token; it and the
    /// libraries are measured
    #[arg(long, value_name = "FILE")]
    token_libraries: Option<PathBuf>,
}

/// ```toml
/// [[library]]
/// name = "hsm"
/// path = "/usr/lib/softhsm/libsofthsm2.so"
/// tokens = [{ label = "shop keys", sessions = ["shop"] }]
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[serde(default)]
    library: Vec<Library>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Library {
    name: String,
    path: PathBuf,
    tokens: Vec<OpenToken>,
}

impl Libraries {
    /// What to type to mean the same.
    pub(super) fn words(&self) -> Result<Vec<String>, Failure> {
        option("--token-libraries", &self.token_libraries)
    }

    /// Those in the file, with the digests that they have now.
    pub(super) fn read(&self) -> Result<Vec<TokenLibrary>, Failure> {
        let Some(file) = &self.token_libraries else {
            return Ok(Vec::new());
        };
        let text = private_file::read(file, MAX_FILE)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no file `{}`", file.display()),
            )
            .with_hint("write `[[library]]` with `name`, `path` and `tokens` into it")
        })?;
        let listed: Listed = toml::from_str(&text).map_err(|error| {
            let why = format!("`{}`: {}", file.display(), error.message());
            Failure::new(Exit::InvalidConfiguration, why)
        })?;
        listed.library.into_iter().map(measured).collect()
    }
}

const MAX_FILE: u64 = 64 * 1024;

fn measured(library: Library) -> Result<TokenLibrary, Failure> {
    let path: &Path = &library.path;
    let digest = File::open(path)
        .and_then(Digest::of_reader)
        .map_err(|error| Failure::file("read", path, &error))?;
    Ok(TokenLibrary {
        name: library.name,
        path: path.to_string_lossy().into_owned(),
        digest,
        tokens: library.tokens,
    })
}
