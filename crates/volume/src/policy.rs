//! Update policies, and what to do with what is found at start. Pure: no file, no clock, no key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::VolumeRoot;
use crate::state::{Found, StateInfo};

/// How a service may change a volume, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdatePolicy {
    /// Changes stay in the enclave: nothing is written back, and every start has the tracked state.
    Ephemeral,
    /// Changes are written back and their root is recorded before it counts: only the newest
    /// state opens.
    #[default]
    RollbackProtected,
    /// Changes are written back, and the host may show any state that ever was: a root that is on
    /// record binds nobody. For volumes that are shared without a common record, or whose age does
    /// not matter.
    NoRollbackProtection,
}

impl UpdatePolicy {
    /// The policy of an importer under an exporter's: the lesser of the two. An importer that
    /// asked for more is weaker than it asked; compare first to refuse it instead.
    #[must_use]
    pub fn bounded_by(self, exporter: Self) -> Self {
        self.min(exporter)
    }

    /// Whether changes are committed to the backing directory.
    pub fn writes_back(self) -> bool {
        self != Self::Ephemeral
    }

    /// As it is written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::RollbackProtected => "rollback_protected",
            Self::NoRollbackProtection => "no_rollback_protection",
        }
    }
}

impl fmt::Display for UpdatePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UpdatePolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Ephemeral,
            Self::RollbackProtected,
            Self::NoRollbackProtection,
        ]
        .into_iter()
        .find(|policy| policy.as_str() == text)
        .ok_or_else(|| InvalidPolicy(text.chars().take(40).collect()))
    }
}

/// No such policy.
#[derive(Debug, thiserror::Error)]
#[error(
    "`update_policy: {0}` is unknown: `rollback_protected`, `ephemeral` or `no_rollback_protection` is expected"
)]
pub struct InvalidPolicy(String);

/// What is on record about a volume where the host cannot change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Nobody has used the volume yet. Whoever records a root first has initialised it; the
    /// record changes from this to another exactly once, by compare-and-swap.
    Unused,
    /// The volume was initialised, and no root is tracked.
    Untracked,
    /// This is the newest state.
    Tracked(Tracked),
}

/// The newest state, as recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tracked {
    /// Its root.
    pub root: VolumeRoot,
    /// Its generation, if it is known: it tells an old copy from a fork when one is refused.
    pub generation: Option<u64>,
}

/// What to do at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Open this state.
    Open(VolumeRoot),
    /// Create the volume, and record its root against [`Record::Unused`].
    Initialise,
    /// Open this first and empty state, which an initialisation left that did not come to record
    /// it, and record its root against [`Record::Unused`].
    Adopt(VolumeRoot),
}

/// Decides what a service with `policy` does about a volume with this record, given what
/// [`crate::Volume::inspect`] has found. A refusal is final for this copy of the directory.
pub fn decide(policy: UpdatePolicy, record: Record, found: &Found) -> Result<Decision, Refusal> {
    match (record, found) {
        (Record::Unused, Found::Nothing) => Ok(Decision::Initialise),
        (Record::Unused, Found::States { head, .. }) => match head {
            Some(state) if state.generation == 1 => Ok(Decision::Adopt(state.root)),
            _ => Err(Refusal::NotRecorded),
        },
        (_, Found::Nothing) => Err(Refusal::Gone),
        // The host chooses the state: that is what this policy says.
        (_, Found::States { head, .. }) if policy == UpdatePolicy::NoRollbackProtection => head
            .map(|state| Decision::Open(state.root))
            .ok_or(Refusal::NoState),
        (Record::Untracked, _) => Err(Refusal::NothingTracked(policy)),
        (
            Record::Tracked(tracked),
            Found::States {
                head,
                tracked: held,
            },
        ) => match (held, head) {
            (Some(state), _) if state.root == tracked.root => Ok(Decision::Open(tracked.root)),
            (_, Some(found)) => Err(missing(tracked, *found)),
            _ => Err(Refusal::NoState),
        },
    }
}

fn missing(tracked: Tracked, found: StateInfo) -> Refusal {
    match tracked.generation {
        Some(expected) if found.generation < expected => Refusal::Stale {
            expected,
            found: found.generation,
        },
        Some(expected) => Refusal::Forked {
            expected,
            found: found.generation,
        },
        None => Refusal::AnotherState {
            expected: tracked.root,
            found: found.root,
        },
    }
}

/// Why a volume is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// An older copy of the directory.
    #[error(
        "the directory is an old copy of the volume: it holds generation {found}, and {expected} is the newest; bring the newest copy"
    )]
    Stale {
        /// The newest generation.
        expected: u64,
        /// The one that was found.
        found: u64,
    },
    /// The same past, another present.
    #[error(
        "the directory is a fork of the volume: its generation {found} is not in the line of the recorded generation {expected}; bring the copy that was recorded"
    )]
    Forked {
        /// The recorded generation.
        expected: u64,
        /// The one that was found.
        found: u64,
    },
    /// An older copy or a fork.
    #[error(
        "the directory holds the state `{found}`, not the recorded `{expected}`: it is an old copy or a fork; bring the copy that was recorded"
    )]
    AnotherState {
        /// The recorded root.
        expected: VolumeRoot,
        /// The root that was found.
        found: VolumeRoot,
    },
    /// A volume without any state that opens.
    #[error(
        "the directory holds no state of the volume that opens under its key; bring a copy that does"
    )]
    NoState,
    /// Initialised before, and empty now.
    #[error(
        "the volume was initialised before, and the directory holds none: it is not initialised twice; bring back the directory"
    )]
    Gone,
    /// Written before, and nothing on record.
    #[error(
        "the directory holds a volume that nobody has recorded; name its root in the session, or empty the directory to begin anew"
    )]
    NotRecorded,
    /// Nothing to compare with.
    #[error(
        "no root of the volume is tracked, so `{0}` cannot be kept; name the root in the session"
    )]
    NothingTracked(UpdatePolicy),
}

#[cfg(test)]
mod tests {
    use super::UpdatePolicy::*;
    use super::*;

    fn state(byte: u8, generation: u64) -> StateInfo {
        StateInfo {
            root: VolumeRoot::from_bytes([byte; 32]),
            generation,
            parent: None,
        }
    }

    fn tracked(state: StateInfo) -> Record {
        Record::Tracked(Tracked {
            root: state.root,
            generation: Some(state.generation),
        })
    }

    fn found(head: Option<StateInfo>, tracked: Option<StateInfo>) -> Found {
        Found::States { head, tracked }
    }

    const ALL: [UpdatePolicy; 3] = [Ephemeral, RollbackProtected, NoRollbackProtection];

    #[test]
    fn an_exporter_bounds_its_importers() {
        assert!(Ephemeral < RollbackProtected && RollbackProtected < NoRollbackProtection);
        for importer in ALL {
            for exporter in ALL {
                let bounded = importer.bounded_by(exporter);
                assert!(bounded <= exporter && bounded <= importer);
                assert!(bounded == exporter || bounded == importer);
            }
        }
        assert_eq!(UpdatePolicy::default(), RollbackProtected);
    }

    #[test]
    fn the_first_user_initialises_and_no_second_does() {
        for policy in ALL {
            assert_eq!(
                decide(policy, Record::Unused, &Found::Nothing),
                Ok(Decision::Initialise)
            );
            for record in [Record::Untracked, tracked(state(1, 1))] {
                assert_eq!(decide(policy, record, &Found::Nothing), Err(Refusal::Gone));
            }
            // A crash between creation and record leaves the empty first state, and no other.
            let left = found(Some(state(1, 1)), None);
            assert_eq!(
                decide(policy, Record::Unused, &left),
                Ok(Decision::Adopt(state(1, 1).root))
            );
            for head in [Some(state(2, 2)), None] {
                let decided = decide(policy, Record::Unused, &found(head, None));
                assert_eq!(decided, Err(Refusal::NotRecorded));
            }
        }
    }

    #[test]
    fn the_tracked_state_opens_whatever_the_head_says() {
        let newest = state(5, 5);
        for policy in [Ephemeral, RollbackProtected] {
            for head in [Some(newest), Some(state(4, 4)), Some(state(6, 6)), None] {
                let decided = decide(policy, tracked(newest), &found(head, Some(newest)));
                assert_eq!(decided, Ok(Decision::Open(newest.root)));
            }
        }
    }

    #[test]
    fn old_copies_and_forks_are_told_apart() {
        let record = tracked(state(5, 5));
        for policy in [Ephemeral, RollbackProtected] {
            let decide = |record, head| decide(policy, record, &found(head, None)).unwrap_err();
            assert_eq!(
                decide(record, Some(state(4, 4))),
                Refusal::Stale {
                    expected: 5,
                    found: 4
                }
            );
            for generation in [5, 6] {
                assert_eq!(
                    decide(record, Some(state(9, generation))),
                    Refusal::Forked {
                        expected: 5,
                        found: generation
                    }
                );
            }
            assert_eq!(decide(record, None), Refusal::NoState);
            let unknown = Record::Tracked(Tracked {
                root: state(5, 5).root,
                generation: None,
            });
            assert!(matches!(
                decide(unknown, Some(state(4, 4))),
                Refusal::AnotherState { .. }
            ));
            assert_eq!(
                decide(Record::Untracked, Some(state(4, 4))),
                Refusal::NothingTracked(policy)
            );
        }
        // A state that was inspected under another root than the record's does not count.
        let other = found(Some(state(4, 4)), Some(state(4, 4)));
        assert!(decide(RollbackProtected, record, &other).is_err());
    }

    #[test]
    fn without_protection_the_head_opens() {
        for record in [Record::Untracked, tracked(state(5, 5))] {
            let decided = decide(
                NoRollbackProtection,
                record,
                &found(Some(state(3, 3)), None),
            );
            assert_eq!(decided, Ok(Decision::Open(state(3, 3).root)));
            let decided = decide(NoRollbackProtection, record, &found(None, None));
            assert_eq!(decided, Err(Refusal::NoState));
        }
    }

    #[test]
    fn policies_are_named_as_in_sessions() {
        for policy in ALL {
            assert_eq!(policy.as_str().parse::<UpdatePolicy>().unwrap(), policy);
            assert_eq!(
                serde_json::to_value(policy).unwrap(),
                serde_json::json!(policy.as_str())
            );
        }
        assert!("protected".parse::<UpdatePolicy>().is_err());
    }
}
