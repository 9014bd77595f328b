//! Keys that never leave a token behind PKCS#11.

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::Zeroizing;
use mse_crypto::signing::VerifyingKey;
use mse_pkcs11::{Module, TokenError};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::printable;
use crate::private_file;
use crate::text_input::{shown_path, wrong_usage};
use crate::ui::Ui;

/// More than any PIN takes.
const MAX_PIN_BYTES: u64 = 1024;

/// Where a key is that cannot be read.
#[derive(Args)]
pub(super) struct TokenOptions {
    /// The PKCS#11 library of a hardware module: then `--key` is the label of a key on it
    #[arg(long, value_name = "MODULE", requires = "token")]
    pkcs11: Option<PathBuf>,
    /// The label of the token
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// A file with the token's PIN; without it, the PIN is asked for
    #[arg(long, value_name = "FILE", requires = "pkcs11")]
    pin_file: Option<PathBuf>,
}

/// A token's signature.
pub(super) struct TokenSignature {
    pub(super) public: VerifyingKey,
    pub(super) signature: Vec<u8>,
}

impl TokenOptions {
    /// Has the key of this label sign `message`; None if no token is named.
    pub(super) fn sign(
        &self,
        ui: &Ui,
        key: &Path,
        message: &[u8],
    ) -> Result<Option<TokenSignature>, Failure> {
        let (Some(library), Some(token)) = (&self.pkcs11, &self.token) else {
            return Ok(None);
        };
        let label = key.to_str().ok_or_else(|| {
            wrong_usage(
                "`--key` is no UTF-8",
                "with `--pkcs11` it is the label of a key on the token",
            )
        })?;
        let module = Module::load(library).map_err(|error| failure(&error))?;
        let pin = self.pin(ui, &module, token)?;
        let open = module
            .open(token, pin.as_ref().map(|pin| pin.as_str()))
            .map_err(|error| failure(&error))?;
        let signer = open.signer(label).map_err(|error| failure(&error))?;
        let signature = signer.sign(message).map_err(|error| failure(&error))?;
        Ok(Some(TokenSignature {
            public: signer.public().clone(),
            signature,
        }))
    }

    fn pin(
        &self,
        ui: &Ui,
        module: &Module,
        token: &str,
    ) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(file) = &self.pin_file {
            return read_pin(file).map(Some);
        }
        if module.has_pin_pad(token).map_err(|error| failure(&error))? {
            return Ok(None);
        }
        if !ui.is_interactive() {
            return Err(wrong_usage(
                "there is no terminal to ask for the PIN on",
                "name a file that has it with `--pin-file FILE`",
            ));
        }
        dialoguer::Password::new()
            .with_prompt(format!("PIN of the token {}", printable(token)))
            .interact()
            .map(|pin| Some(Zeroizing::new(pin)))
            .map_err(|error| Failure::new(Exit::Cancelled, format!("no PIN was given: {error}")))
    }
}

/// The first line, of which there must be no other.
fn read_pin(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = private_file::read(file, MAX_PIN_BYTES)?
        .map(Zeroizing::new)
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("`--pin-file`: there is no file `{}`", shown_path(file)),
            )
        })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\r']) {
        return Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`--pin-file`: `{}` is not one line", shown_path(file)),
        )
        .with_hint("the file has the PIN, and nothing else"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn failure(error: &TokenError) -> Failure {
    let exit = match error {
        TokenError::RelativePath(_) => Exit::Usage,
        TokenError::NoToken(_) | TokenError::NoObject { .. } => Exit::NotFound,
        TokenError::Module { .. } | TokenError::InUse(_) | TokenError::Library(_) => Exit::Other,
        _ => Exit::InvalidConfiguration,
    };
    Failure::new(exit, printable(&error.to_string()))
}
