//! Sessions: who may store which, what their secrets are, and what is said about it.
//!
//! | module | what |
//! | --- | --- |
//! | `upload` | what somebody sends, and whose it is |
//! | `change` | creating, updating, revoking |
//! | `proposals` | updates that several people have to approve |
//! | `secrets` | new values: rotated, or given by the owner |
//! | `refresh` | values that are kept outside, fetched again |
//! | `read` | what people may see |
//! | `access` | who may |
//! | `load`, `cache`, `vault` | a session with all its values, as releases need it |

mod access;
mod cache;
mod change;
mod error;
mod limit;
mod load;
mod proposals;
mod read;
mod refresh;
mod secrets;
#[cfg(test)]
mod tests;
mod upload;
mod vault;

use mse_crypto::hpke;
use mse_session::KeyHash;

pub use access::Asker;
pub use cache::FRESH;
pub use change::Stored;
pub use error::SessionError;
pub use limit::Limiter;
pub use load::Loaded;
pub use proposals::Proposed;
pub use read::{ForAll, Seen};
pub use secrets::{Line, Lines};

use crate::sources::{Sources, SourcesConfig};
use crate::store::Store;
use cache::Cache;
use refresh::Refresh;

/// The sessions of a CAS.
pub struct Sessions {
    store: Store,
    encryption: hpke::KeyPair,
    owner: KeyHash,
    cache: Cache,
    refusals: Limiter,
    sources: Sources,
    refresh: Refresh,
}

impl Sessions {
    /// The sessions in `store`. `encryption` opens those that were sealed to this CAS; `owner` may
    /// create sessions as long as no session `/` lets others.
    pub fn new(store: Store, encryption: hpke::KeyPair, owner: KeyHash) -> Self {
        Self {
            store,
            encryption,
            owner,
            cache: Cache::default(),
            refusals: Limiter::new(),
            sources: Sources::new(SourcesConfig::default()),
            refresh: Refresh::default(),
        }
    }

    /// With values that are kept outside, as far as the operator allows.
    #[must_use]
    pub fn with_sources(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// Where they are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who owns the CAS.
    pub fn owner(&self) -> KeyHash {
        self.owner
    }
}
