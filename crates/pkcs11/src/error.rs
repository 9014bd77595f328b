//! Why a token does not do what it is asked for.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

use crate::MAX_VALUE_BYTES;

/// Why a token does not do what it is asked for. Names labels, and no PIN or value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The path of a library is not absolute.
    #[error("the PKCS#11 library `{}` has to be named by its absolute path", .0.display())]
    RelativePath(PathBuf),
    /// The library cannot be used.
    #[error(
        "the PKCS#11 library `{}` cannot be used: {why}; check that it is one, and its configuration",
        path.display()
    )]
    Module {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No such token.
    #[error("there is no token with the label `{0}`: check the label, and that it is plugged in")]
    NoToken(String),
    /// More than one.
    #[error("several tokens have the label `{0}`: give them different ones")]
    SeveralTokens(String),
    /// It wants a PIN.
    #[error("the token `{0}` wants a PIN, and none is given")]
    PinMissing(String),
    /// Not its PIN.
    #[error("the PIN is not the one of the token `{0}`")]
    WrongPin(String),
    /// A wrong PIN would lock it.
    #[error(
        "the token `{0}` has one try left, which is not used up here: log in to it with its own tool"
    )]
    LastTry(String),
    /// It is locked.
    #[error("the token `{0}` is locked after too many wrong PINs: its security officer unlocks it")]
    Locked(String),
    /// Somebody else in this process has it.
    #[error("the token `{0}` is in use by another part of this program: try again")]
    InUse(String),
    /// No such object.
    #[error("the token has no {what} with the label `{label}`")]
    NoObject {
        /// What was looked for.
        what: &'static str,
        /// By which label.
        label: String,
    },
    /// More than one.
    #[error("the token has several objects ({what}) with the label `{label}`: rename one")]
    SeveralObjects {
        /// What was looked for.
        what: &'static str,
        /// By which label.
        label: String,
    },
    /// It does not leave its token.
    #[error(
        "the value of `{0}` cannot leave its token (it is sensitive, or not extractable): keep it there, or make one that is extractable"
    )]
    NotExtractable(String),
    /// Too long, or nothing.
    #[error("the value of `{label}` has {bytes} bytes: from 1 to {MAX_VALUE_BYTES} are taken")]
    Size {
        /// The object.
        label: String,
        /// How many it has.
        bytes: usize,
    },
    /// A key that signs in another way.
    #[error("the key `{0}` is neither Ed25519 nor on P-384: only these sign")]
    KeyType(String),
    /// Its public half is missing or of another form.
    #[error("the public key of `{0}` on the token is not one of Ed25519 or P-384")]
    PublicKey(String),
    /// The token signs in another form.
    #[error("the token's signature has {0} bytes, which is not the form of its key")]
    Signature(usize),
    /// What the library said.
    #[error("the PKCS#11 library failed: {0}")]
    Library(String),
}

impl TokenError {
    /// Whether the same may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NoToken(_) | Self::InUse(_) | Self::Module { .. } | Self::Library(_)
        )
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        Self::Library(short(&error))
    }
}

/// What went wrong at a login.
pub(crate) fn of_login(error: &Error, label: &str) -> TokenError {
    let label = label.to_owned();
    match error {
        Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            TokenError::WrongPin(label)
        }
        Error::Pkcs11(RvError::PinLocked, _) => TokenError::Locked(label),
        Error::Pkcs11(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn, _) => {
            TokenError::InUse(label)
        }
        other => TokenError::Library(short(other)),
    }
}

/// The standard's text about a code is a paragraph: its name says as much.
fn short(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("{function:?}: {code:?}"),
        other => other.to_string(),
    }
}
