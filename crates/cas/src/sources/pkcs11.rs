//! Objects on tokens behind PKCS#11.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mse_crypto::Zeroizing;
use mse_pkcs11::Module;
use mse_session::{ModuleName, Pkcs11Import, SessionName};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{ModuleConfig, SourceError, TokenConfig};

/// The libraries that the operator names.
pub(super) struct Pkcs11 {
    modules: BTreeMap<ModuleName, Library>,
}

struct Library {
    config: ModuleConfig,
    /// Loaded at first use. One call at a time: a library has one login for the whole process, and
    /// a call that hangs must not take one thread after the other with it.
    loaded: Arc<Mutex<Option<Module>>>,
}

impl Pkcs11 {
    pub(super) fn new(modules: BTreeMap<ModuleName, ModuleConfig>) -> Self {
        let library = |config| Library {
            config,
            loaded: Arc::default(),
        };
        Self {
            modules: modules
                .into_iter()
                .map(|(name, config)| (name, library(config)))
                .collect(),
        }
    }

    /// Reads the bytes of one object, for this session.
    pub(super) async fn read(
        &self,
        session: &SessionName,
        import: &Pkcs11Import,
        pin: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let library = self
            .modules
            .get(&import.module)
            .ok_or_else(|| SourceError::Module(import.module.clone()))?;
        let token = library.token(session, import)?;
        let pin = pin.or_else(|| token.pin.clone());
        let after: Duration = library.config.timeout;
        timeout(after, library.call(import.clone(), pin))
            .await
            .unwrap_or_else(|_| {
                Err(SourceError::TimedOut {
                    what: format!("the PKCS#11 module `{}`", import.module),
                    after,
                })
            })
    }
}

impl Library {
    /// Who is not named for a token learns nothing of it, and cannot lock it by wrong PINs.
    fn token(
        &self,
        session: &SessionName,
        import: &Pkcs11Import,
    ) -> Result<&TokenConfig, SourceError> {
        self.config
            .tokens
            .get(&import.token)
            .filter(|token| token.sessions.iter().any(|name| session.is_within(name)))
            .ok_or_else(|| SourceError::Token {
                session: session.clone(),
                module: import.module.clone(),
                token: import.token.clone(),
            })
    }

    async fn call(
        &self,
        import: Pkcs11Import,
        pin: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let mut loaded = Arc::clone(&self.loaded).lock_owned().await;
        let path = self.config.path.clone();
        let module = import.module.clone();
        let read = move || {
            let module = match &mut *loaded {
                Some(module) => module,
                empty => empty.insert(Module::load(&path)?),
            };
            let pin = pin.as_ref().map(|pin| pin.as_str());
            let token = module.open(import.token.as_str(), pin)?;
            Ok(token.value(&import.object)?)
        };
        spawn_blocking(read)
            .await
            .unwrap_or(Err(SourceError::BrokeOff(module)))
    }
}
