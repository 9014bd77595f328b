//! What sessions give each other.

use crate::model::{SecretName, SessionHash, SessionName};

/// A session, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPin {
    /// The session.
    pub session: SessionName,
    /// This version of it only; None: the current one.
    pub hash: Option<SessionHash>,
}

/// Who is given something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// One session, without those in its namespace.
    Session(SessionPin),
    /// A session and everything in its namespace.
    Namespace(SessionName),
}

/// Another CAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCas {
    /// Where: `host` or `host:port`.
    pub url: String,
    /// Its key, as its owner publishes it.
    pub key: String,
    /// Whether `key` stands for the software of the CAS (any instance of it) rather than for one
    /// instance.
    pub is_software_key: bool,
}

/// Somebody who may import a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Who.
    pub to: Recipient,
    /// On another CAS; None: on this one.
    pub cas: Option<RemoteCas>,
}

/// A secret of another session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFrom {
    /// The session.
    pub session: SessionPin,
    /// The secret's name there.
    pub secret: SecretName,
    /// On another CAS; None: on this one.
    pub cas: Option<RemoteCas>,
}
