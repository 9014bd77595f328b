//! Sessions that were loaded lately: reading one takes several statements and a parser, and a
//! service that renews its release needs none of it to be new.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::load::Loaded;

/// For how long a session is taken for what it was: so much later than it happened may a change
/// that another replica made show.
pub const FRESH: Duration = Duration::from_millis(500);

/// At most twice so many sessions are kept.
const HALF: usize = 5_000;

/// Bounded: of two generations, the older is dropped when the younger is full.
#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<String, Kept>,
    old: HashMap<String, Kept>,
    /// Counts what was forgotten, so that what was read before that is not kept after it.
    forgotten: u64,
}

#[derive(Clone)]
struct Kept {
    loaded: Arc<Loaded>,
    at: Instant,
}

/// When a reader began to read.
pub(super) struct Began(u64);

impl Cache {
    /// The session, if it was seen to be so a moment ago.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Loaded>> {
        let mut generations = self.lock();
        let kept = if let Some(kept) = generations.young.get(name) {
            kept.clone()
        } else {
            let kept = generations.old.remove(name)?;
            generations.insert(name, kept.clone());
            kept
        };
        (kept.at.elapsed() < FRESH).then_some(kept.loaded)
    }

    /// The session as it was seen last, however long ago: to be compared with the store.
    pub(super) fn last(&self, name: &str) -> Option<Arc<Loaded>> {
        let generations = self.lock();
        let kept = generations
            .young
            .get(name)
            .or_else(|| generations.old.get(name));
        kept.map(|kept| Arc::clone(&kept.loaded))
    }

    /// To be called before the store is read.
    pub(super) fn begin(&self) -> Began {
        Began(self.lock().forgotten)
    }

    /// Keeps what was read, unless something was changed meanwhile.
    pub(super) fn keep(&self, name: &str, loaded: &Arc<Loaded>, began: &Began) {
        let mut generations = self.lock();
        if generations.forgotten == began.0 {
            let kept = Kept {
                loaded: Arc::clone(loaded),
                at: Instant::now(),
            };
            generations.insert(name, kept);
        }
    }

    /// Forgets a session that was changed here, and with it all that may have imported from it.
    pub(super) fn forget(&self, name: &str) {
        let mut generations = self.lock();
        generations.forgotten += 1;
        let is_other = |_: &String, kept: &mut Kept| !kept.loaded.depends_on(name);
        generations.young.retain(is_other);
        generations.old.retain(is_other);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, name: &str, kept: Kept) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.to_owned(), kept);
    }
}
