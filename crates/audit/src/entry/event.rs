//! The kinds of events.

use mse_crypto::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{CheckName, InvalidEntry, KeyHash, MAX_INTEGER, Measurement, Name, TeeName};

/// What happened.
///
/// JSON: an object whose `type` is the variant's name in kebab-case, with the variant's fields
/// beside it: `{"type": "secret-rotated", "secret": "db_password", "version": 3}`. The fields of a
/// type never change: what needs others is a new type. A reader that does not know a type keeps
/// the event as it is ([`Event::Unrecognised`]), so old verifiers verify new logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    tag = "type",
    rename_all = "kebab-case",
    deny_unknown_fields
)]
pub enum Event {
    /// The CAS began to serve.
    CasStarted {
        /// What its TEE measured.
        measurement: Measurement,
        /// Which TEE.
        tee: TeeName,
        /// Its release.
        version: Name,
    },
    /// The CAS stopped serving. After a crash there is no such entry before the next start.
    CasExited {
        /// Why.
        reason: ExitReason,
    },
    /// A session came to be.
    SessionCreated {},
    /// A session's text was given out.
    SessionRead {},
    /// A session has a new version; `session.hash` is the new one's.
    SessionUpdated {
        /// The hash of the version before.
        predecessor: Digest,
    },
    /// A session is used no more.
    SessionRevoked {},
    /// An update waits for the consent of several people; `session.hash` is what is proposed.
    SessionProposed {
        /// Names the proposal.
        proposal: Digest,
    },
    /// One of those who gave their consent took it back.
    SessionApprovalWithdrawn {
        /// To which proposal.
        proposal: Digest,
    },
    /// A proposal was dropped before there was enough consent.
    SessionProposalDropped {
        /// Which.
        proposal: Digest,
    },
    /// One of those whose consent an update needs gave it; `session.hash` is what they approved.
    SessionApproved {
        /// How many have approved, with this one.
        approvals: u64,
        /// How many it takes.
        required: u64,
    },
    /// Somebody was not let do something to a session.
    SessionRefused {
        /// The check that failed.
        check: CheckName,
        /// What they wanted.
        operation: SessionOperation,
    },
    /// A service proved what it is, and got what the session says.
    ServiceAttested {
        /// What its TEE measured.
        measurement: Measurement,
        /// The service, as the session calls it.
        service: Name,
        /// Which TEE.
        tee: TeeName,
    },
    /// A service got nothing.
    ServiceRefused {
        /// The check that failed. Its name, never a value.
        check: CheckName,
        /// The service that it wanted to be.
        service: Name,
    },
    /// A service said that it ends.
    ServiceExited {
        /// The service.
        service: Name,
    },
    /// A secret has a new value.
    SecretRotated {
        /// The secret's name.
        secret: Name,
        /// The number of the new value.
        version: u64,
    },
    /// A volume has a new state.
    VolumeRootUpdated {
        /// What names the new state.
        root: Digest,
        /// The number of the new state.
        version: u64,
        /// The volume's name.
        volume: Name,
    },
    /// A volume was shown in a state that is not its newest.
    VolumeStaleRefused {
        /// The state that was shown.
        root: Digest,
        /// The volume's name.
        volume: Name,
    },
    /// A backup was written.
    BackupMade {
        /// Its digest.
        backup: Digest,
    },
    /// The store was restored from a backup.
    BackupRestored {
        /// Its digest.
        backup: Digest,
    },
    /// The root key was put together from shares.
    Recovery {
        /// The hashes of the keys of those who gave them.
        custodians: Vec<KeyHash>,
    },
    /// Another instance got the root key.
    ReplicaJoined {
        /// What its TEE measured.
        measurement: Measurement,
        /// The hash of its key.
        replica: KeyHash,
        /// Which TEE.
        tee: TeeName,
    },
    /// Another instance did not get the root key.
    ReplicaRefused {
        /// The check that failed.
        check: CheckName,
        /// The hash of its key.
        replica: KeyHash,
    },
    /// The CAS has another owner.
    OwnerChanged {
        /// The hash of the new owner's key.
        new: KeyHash,
        /// The hash of the old owner's key; missing when there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<KeyHash>,
    },
    /// Entries that a crash had left unacknowledged were cut off when the log was opened.
    LogRepaired {
        /// How many bytes.
        cut_bytes: u64,
    },
    /// A type of a later version, kept as it is.
    #[serde(untagged, skip_deserializing)]
    Unrecognised(UnrecognisedEvent),
}

impl Event {
    /// The type, as in the JSON form.
    pub fn name(&self) -> &str {
        match self {
            Self::CasStarted { .. } => "cas-started",
            Self::CasExited { .. } => "cas-exited",
            Self::SessionCreated {} => "session-created",
            Self::SessionRead {} => "session-read",
            Self::SessionUpdated { .. } => "session-updated",
            Self::SessionRevoked {} => "session-revoked",
            Self::SessionProposed { .. } => "session-proposed",
            Self::SessionApprovalWithdrawn { .. } => "session-approval-withdrawn",
            Self::SessionProposalDropped { .. } => "session-proposal-dropped",
            Self::SessionApproved { .. } => "session-approved",
            Self::SessionRefused { .. } => "session-refused",
            Self::ServiceAttested { .. } => "service-attested",
            Self::ServiceRefused { .. } => "service-refused",
            Self::ServiceExited { .. } => "service-exited",
            Self::SecretRotated { .. } => "secret-rotated",
            Self::VolumeRootUpdated { .. } => "volume-root-updated",
            Self::VolumeStaleRefused { .. } => "volume-stale-refused",
            Self::BackupMade { .. } => "backup-made",
            Self::BackupRestored { .. } => "backup-restored",
            Self::Recovery { .. } => "recovery",
            Self::ReplicaJoined { .. } => "replica-joined",
            Self::ReplicaRefused { .. } => "replica-refused",
            Self::OwnerChanged { .. } => "owner-changed",
            Self::LogRepaired { .. } => "log-repaired",
            Self::Unrecognised(event) => event.name(),
        }
    }

    /// Whether an entry of this event names a session.
    pub(super) fn concerns_a_session(&self) -> bool {
        match self {
            Self::SessionCreated {}
            | Self::SessionRead {}
            | Self::SessionUpdated { .. }
            | Self::SessionRevoked {}
            | Self::SessionProposed { .. }
            | Self::SessionApprovalWithdrawn { .. }
            | Self::SessionProposalDropped { .. }
            | Self::SessionApproved { .. }
            | Self::SessionRefused { .. }
            | Self::ServiceAttested { .. }
            | Self::ServiceRefused { .. }
            | Self::ServiceExited { .. }
            | Self::SecretRotated { .. }
            | Self::VolumeRootUpdated { .. }
            | Self::VolumeStaleRefused { .. } => true,
            Self::CasStarted { .. }
            | Self::CasExited { .. }
            | Self::BackupMade { .. }
            | Self::BackupRestored { .. }
            | Self::Recovery { .. }
            | Self::ReplicaJoined { .. }
            | Self::ReplicaRefused { .. }
            | Self::OwnerChanged { .. }
            | Self::LogRepaired { .. }
            | Self::Unrecognised(_) => false,
        }
    }

    pub(super) fn check_numbers(&self) -> Result<(), InvalidEntry> {
        let numbers: &[(&'static str, u64)] = match self {
            Self::SessionApproved {
                approvals,
                required,
            } => &[("approvals", *approvals), ("required", *required)],
            Self::SecretRotated { version, .. } | Self::VolumeRootUpdated { version, .. } => {
                &[("version", *version)]
            }
            Self::LogRepaired { cut_bytes } => &[("cut_bytes", *cut_bytes)],
            _ => &[],
        };
        match numbers.iter().find(|(_, value)| *value > MAX_INTEGER) {
            Some(&(field, value)) => Err(InvalidEntry::Number { field, value }),
            None => Ok(()),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let fields = Map::deserialize(deserializer)?;
        let Some(Value::String(name)) = fields.get("type") else {
            return Err(D::Error::missing_field("type"));
        };
        if RECOGNISED.contains(&name.as_str()) {
            Self::deserialize(Value::Object(fields)).map_err(D::Error::custom)
        } else {
            // Not a name of a later version either.
            name.parse::<CheckName>().map_err(D::Error::custom)?;
            Ok(Self::Unrecognised(UnrecognisedEvent(fields)))
        }
    }
}

/// An event of a type that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UnrecognisedEvent(Map<String, Value>);

impl UnrecognisedEvent {
    /// The type.
    pub fn name(&self) -> &str {
        self.0
            .get("type")
            .and_then(Value::as_str)
            .expect("only what has a type is read as an event")
    }

    /// All fields, `type` among them.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Why the CAS stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// It was told to.
    Stopped,
    /// It makes place for another release.
    Upgraded,
    /// It could not go on.
    Failed,
}

/// What can be done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOperation {
    /// Make it.
    Create,
    /// Read it.
    Read,
    /// Replace it by a new version.
    Update,
    /// End its use.
    Revoke,
    /// Consent to an update.
    Approve,
}

/// The types that are read strictly.
pub(super) const RECOGNISED: &[&str] = &[
    "cas-started",
    "cas-exited",
    "session-created",
    "session-read",
    "session-updated",
    "session-revoked",
    "session-proposed",
    "session-approval-withdrawn",
    "session-proposal-dropped",
    "session-approved",
    "session-refused",
    "service-attested",
    "service-refused",
    "service-exited",
    "secret-rotated",
    "volume-root-updated",
    "volume-stale-refused",
    "backup-made",
    "backup-restored",
    "recovery",
    "replica-joined",
    "replica-refused",
    "owner-changed",
    "log-repaired",
];
