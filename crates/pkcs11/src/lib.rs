//! Tokens behind PKCS#11: hardware modules, smart cards, and programs that do as they do.
//!
//! A [`Module`] is a library that speaks PKCS#11. It runs inside this process: whoever names its
//! path decides what code that is. [`Module::open`] logs in to a token; an [`OpenToken`] gives the
//! values of objects that may leave it, and [`Signer`]s for private keys that may not.
//!
//! The library knows one login for each token and process, whoever asked for it. Hence an
//! [`OpenToken`] logs in itself, refuses to go along with a login that it did not make, and logs
//! out in the end: who opens one token twice at the same time is refused the second time.

mod error;
mod signer;
mod token;

use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::Slot;

pub use crate::error::TokenError;
pub use crate::signer::Signer;
pub use crate::token::{MAX_VALUE_BYTES, OpenToken};

/// A library that speaks PKCS#11, loaded and initialised until it is dropped.
pub struct Module {
    context: Pkcs11,
    path: PathBuf,
    /// Another part of the process may have initialised it before, and ends it then.
    is_ours: bool,
}

impl Module {
    /// Loads the library at `path`, which runs its code.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        // A name without a folder would be looked for wherever the loader looks.
        if !path.is_absolute() {
            return Err(TokenError::RelativePath(path.to_owned()));
        }
        let failed = |error: Error| TokenError::Module {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let context = Pkcs11::new(path).map_err(failed)?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        let is_ours = match context.initialize(arguments) {
            Ok(()) => true,
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => false,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            context,
            path: path.to_owned(),
            is_ours,
        })
    }

    /// Where the library is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the token of this label wants its PIN on a pad of its own.
    pub fn has_pin_pad(&self, label: &str) -> Result<bool, TokenError> {
        let info = self.context.get_token_info(self.slot(label)?)?;
        Ok(info.protected_authentication_path())
    }

    /// Logs in to the token of this label. Without a PIN only a token with a pad, or one that
    /// wants no login, is opened.
    ///
    /// The last try before a token locks itself is never used up.
    pub fn open(&self, label: &str, pin: Option<&str>) -> Result<OpenToken<'_>, TokenError> {
        let slot = self.slot(label)?;
        OpenToken::open(&self.context, slot, label, pin)
    }

    fn slot(&self, label: &str) -> Result<Slot, TokenError> {
        let mut found = None;
        for slot in self.context.get_slots_with_token()? {
            // A reader whose card was just taken out does not hide the others.
            let Ok(info) = self.context.get_token_info(slot) else {
                continue;
            };
            if info.label().trim_end() == label {
                if found.is_some() {
                    return Err(TokenError::SeveralTokens(label.to_owned()));
                }
                found = Some(slot);
            }
        }
        found.ok_or_else(|| TokenError::NoToken(label.to_owned()))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.is_ours {
            // Before it is unloaded: it may have threads. A failure leaves nothing to be done.
            let _ = self.context.clone().finalize();
        }
    }
}
