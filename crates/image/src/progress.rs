//! What a build says while it goes on, and how it is told to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Hears of a build's events, from whatever thread they happen on.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Event) + Send + Sync>);

impl Progress {
    /// Tells `listener`.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The package lists of Debian are fetched and packages chosen.
    Resolving,
    /// So many packages are downloaded.
    Downloading {
        /// Their number.
        packages: usize,
    },
    /// A step begins that has to be done.
    Started(Step),
    /// A step's result was there already.
    Cached(Step),
    /// A step printed a line.
    Output(String),
    /// A step is done.
    Done {
        /// Which.
        step: Step,
        /// Bytes of its compressed layer.
        size: u64,
    },
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What the image stands on.
    Base,
    /// The Python packages of the requirements file.
    Requirements,
    /// The files of the context.
    Copy,
    /// The sources of Java.
    Compile,
    /// A command.
    Run {
        /// Its place among the commands, from 1.
        number: usize,
        /// The command.
        command: String,
    },
    /// The encrypted files.
    Sealed,
    /// Our own programs.
    Programs,
    /// What the image says about itself.
    Facts,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("base"),
            Self::Requirements => f.write_str("requirements"),
            Self::Copy => f.write_str("copy"),
            Self::Compile => f.write_str("compile"),
            Self::Run { number, command } => {
                let first = command.lines().next().unwrap_or_default();
                write!(
                    f,
                    "run {number}: {}",
                    first.chars().take(60).collect::<String>()
                )
            }
            Self::Sealed => f.write_str("encrypted files"),
            Self::Programs => f.write_str("programs"),
            Self::Facts => f.write_str("facts"),
        }
    }
}

/// Tells a build to stop, from another thread. Its clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the build at its next chance; a running command is ended.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it shall stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stops a build when the future that waits for it is dropped.
pub(crate) struct CancelOnDrop(pub(crate) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
