//! What the operator of a CAS allows its sessions to reach.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use mse_crypto::Zeroizing;
use mse_session::{KvUrl, ModuleName, SessionName, TokenLabel};

/// What sessions may reach. By default every key-value store over HTTPS, and no library.
#[derive(Clone, Default)]
pub struct SourcesConfig {
    /// Key-value stores.
    pub kv: KvConfig,
    /// Libraries that speak PKCS#11, by the names that sessions call them.
    pub modules: BTreeMap<ModuleName, ModuleConfig>,
}

/// Which key-value stores may be asked, and what that may cost.
#[derive(Clone, Debug)]
pub struct KvConfig {
    /// These servers only. None: every one over HTTPS.
    pub servers: Option<BTreeSet<KvUrl>>,
    /// Whether servers on this machine may be asked without encryption.
    pub allow_plain: bool,
    /// For one answer, in all.
    pub timeout: Duration,
    /// The largest answer, in bytes.
    pub max_bytes: usize,
    /// How long a value holds whose version the session leaves open.
    pub refresh: Duration,
}

impl Default for KvConfig {
    /// 20 seconds, 1 MiB, and five minutes.
    fn default() -> Self {
        Self {
            servers: None,
            allow_plain: false,
            timeout: Duration::from_secs(20),
            max_bytes: 1024 * 1024,
            refresh: Duration::from_secs(5 * 60),
        }
    }
}

/// A library that speaks PKCS#11. It runs inside the CAS.
#[derive(Clone)]
pub struct ModuleConfig {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// Its tokens that sessions may use.
    pub tokens: BTreeMap<TokenLabel, TokenConfig>,
    /// How long a session waits for its turn and its value together.
    pub timeout: Duration,
}

/// Who may use a token.
#[derive(Clone)]
pub struct TokenConfig {
    /// These sessions, and those below them. Others cannot even try a PIN.
    pub sessions: Vec<SessionName>,
    /// The PIN for sessions that bring none. None: they have to.
    pub pin: Option<Zeroizing<String>>,
}
