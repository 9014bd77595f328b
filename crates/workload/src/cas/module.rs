//! Libraries that a CAS may load to reach tokens behind PKCS#11.

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

/// A CAS has at most this many libraries, and a library as many tokens.
pub const MAX_MODULES: usize = 16;

/// A library that speaks PKCS#11. It runs inside of the CAS, so it is measured as the CAS is: by the
/// digest of its file, which is compared before the CAS serves anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLibrary {
    /// What sessions call it.
    pub name: String,
    /// Where it is, absolute.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Its tokens that sessions may use.
    pub tokens: Vec<OpenToken>,
}

/// A token, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenToken {
    /// Its label.
    pub label: String,
    /// These sessions, and those below them. They bring the PIN.
    pub sessions: Vec<String>,
}
