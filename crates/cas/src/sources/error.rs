//! Why a value cannot be fetched.

use std::time::Duration;

use mse_pkcs11::TokenError;
use mse_secrets::InvalidGiven;
use mse_session::{KvUrl, ModuleName, SecretName, SessionName, TokenLabel};

use super::MAX_EXTERNALS;
use crate::values::ValuesError;

/// Why the values of a session are not all there. Names secrets, and no value.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// One cannot be fetched.
    #[error("the secret `{secret}` cannot be fetched: {source}")]
    Fetch {
        /// Its name.
        secret: SecretName,
        /// Why.
        source: SourceError,
    },
    /// One cannot be made.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// More than a session may ask of others.
    #[error("the session keeps {0} secrets outside, and may keep {MAX_EXTERNALS}: split it")]
    TooMany(usize),
}

/// Why one value cannot be fetched. Names places, and no value, token or PIN.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// What opens the source is not there.
    #[error("the secret `{0}`, which opens it, has no text as its value")]
    Credential(SecretName),
    /// The operator does not want it.
    #[error("the operator of this CAS does not allow `{0}`: have it added to the servers")]
    Server(KvUrl),
    /// The operator does not want it.
    #[error("this CAS does not ask `{0}` without encryption: write `https://`")]
    Plain(KvUrl),
    /// Not a token that can be sent.
    #[error("the access token has characters that no HTTP header carries: check the secret")]
    TokenForm,
    /// Not certificates.
    #[error("`ca` cannot vouch for a server: {0}")]
    Ca(String),
    /// No HTTPS at all.
    #[error("HTTPS cannot be set up: {0}; install the system's CA certificates, or give `ca`")]
    Https(String),
    /// No connection, or not to whom it should be.
    #[error("`{url}` cannot be reached: {why}; check the address, its certificate and `ca`")]
    Unreachable {
        /// The server.
        url: KvUrl,
        /// Why.
        why: String,
    },
    /// Too slow.
    #[error("{what} did not answer within {after:?}: try again")]
    TimedOut {
        /// Who.
        what: String,
        /// The time that is over.
        after: Duration,
    },
    /// 401 or 403.
    #[error("`{0}` refuses the token (status 403): it has ended, or may not read this path")]
    Forbidden(KvUrl),
    /// 404.
    #[error(
        "`{url}` has no secret `{path}` on the mount `{mount}`, or this version is deleted (status 404)"
    )]
    NotFound {
        /// The server.
        url: KvUrl,
        /// The mount.
        mount: String,
        /// The path.
        path: String,
    },
    /// It wants us elsewhere, with the token.
    #[error("`{0}` redirects, which is not followed: name the server that answers itself")]
    Redirected(KvUrl),
    /// Any other status.
    #[error("`{url}` answered with status {status}")]
    Status {
        /// The server.
        url: KvUrl,
        /// The status.
        status: u16,
    },
    /// Larger than any answer of this kind.
    #[error("the answer of `{url}` has more than {limit} bytes")]
    TooLarge {
        /// The server.
        url: KvUrl,
        /// The most that is read.
        limit: usize,
    },
    /// Not the answer of such a store.
    #[error(
        "the answer of `{0}` is not one of a key-value engine of version 2: check `url` and `mount`"
    )]
    Answer(KvUrl),
    /// Another version than was asked for.
    #[error("`{url}` answered with version {version}, and {asked} was asked for")]
    OtherVersion {
        /// The server.
        url: KvUrl,
        /// Of the answer.
        version: u64,
        /// By the session.
        asked: u64,
    },
    /// An older version than before.
    #[error("the store went back from version {known} to {version}: this is refused")]
    Older {
        /// Of the answer.
        version: u64,
        /// Fetched before.
        known: u64,
    },
    /// The secret has no such field.
    #[error("the secret has no field `{0}`, or it is not a text")]
    Field(String),
    /// Not of its kind.
    #[error("what was fetched is not of its kind: {0}")]
    Given(#[from] InvalidGiven),
    /// Bytes that are no text.
    #[error("the object is no text: use the kind `binary`")]
    NotText,
    /// A name that the operator does not give.
    #[error("this CAS has no PKCS#11 module `{0}`: its operator names them")]
    Module(ModuleName),
    /// A token that this session may not use.
    #[error(
        "the session `{session}` may not use the token `{token}` of the module `{module}`: the operator of the CAS says who may"
    )]
    Token {
        /// The session.
        session: SessionName,
        /// The module.
        module: ModuleName,
        /// The token.
        token: TokenLabel,
    },
    /// It did not do it.
    #[error(transparent)]
    Pkcs11(#[from] TokenError),
    /// The call into the library did not come back whole.
    #[error("the call of the PKCS#11 module `{0}` broke off")]
    BrokeOff(ModuleName),
}

impl SourceError {
    /// Whether the same may succeed a moment later: what was fetched before may be kept until then.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::BrokeOff(_) => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Pkcs11(error) => error.is_passing(),
            _ => false,
        }
    }
}
