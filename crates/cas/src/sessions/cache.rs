//! Sessions that were loaded lately: reading one takes several statements and a parser. Whether one
//! of them still is as it was, is for those who ask to find out: that takes no statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::load::Loaded;

/// The store is looked at so often: so much later than it happened may a change that another
/// replica made show.
pub const FRESH: Duration = Duration::from_millis(500);

/// At most twice so many sessions are kept.
const HALF: usize = 5_000;

/// Bounded: of two generations, the older is dropped when the younger is full.
#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<Loaded>>,
    old: HashMap<String, Arc<Loaded>>,
}

impl Cache {
    /// The session as it was loaded last.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Loaded>> {
        let mut generations = self.lock();
        if let Some(loaded) = generations.young.get(name) {
            return Some(Arc::clone(loaded));
        }
        let loaded = generations.old.remove(name)?;
        generations.insert(name, Arc::clone(&loaded));
        Some(loaded)
    }

    /// Keeps what was loaded.
    pub(super) fn keep(&self, name: &str, loaded: &Arc<Loaded>) {
        self.lock().insert(name, Arc::clone(loaded));
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, name: &str, loaded: Arc<Loaded>) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.to_owned(), loaded);
    }
}
