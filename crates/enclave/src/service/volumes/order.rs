//! What the CAS granted and the host gave, checked; and the start: the volume is opened at the
//! granted state, or refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mse_crypto::Zeroizing;
use mse_crypto::sealing::SealingKey;
use mse_ratls::release::VolumeGrant;
use mse_volume::policy::{self, Decision, Record, Tracked};
use mse_volume::{Protection, Snapshot, UpdatePolicy, Volume, VolumeRoot};

use super::error::{Problem, VolumeError};
use crate::sandbox::{InvalidPath, MAX_VOLUMES, SandboxPath};

/// A volume to be opened. No `Debug`: it has the key.
pub(in crate::service) struct Order {
    pub(super) name: String,
    pub(super) place: SandboxPath,
    folder: PathBuf,
    key: SealingKey,
    files: Protection,
    pub(super) policy: UpdatePolicy,
    root: Option<VolumeRoot>,
    pub(super) sequence: u64,
    may_initialise: bool,
}

impl Order {
    /// Reads what the CAS granted; `folders` are the host's, by the volumes' names.
    pub(in crate::service) fn list(
        grants: &[VolumeGrant],
        folders: &BTreeMap<String, PathBuf>,
    ) -> Result<Vec<Self>, OrderError> {
        if grants.len() > MAX_VOLUMES {
            return Err(OrderError::TooMany(grants.len()));
        }
        let mut orders: Vec<Self> = Vec::new();
        for grant in grants {
            let order = Self::of(grant, folders)?;
            if orders.iter().any(|other| other.name == order.name) {
                return Err(OrderError::Twice(order.name));
            }
            orders.push(order);
        }
        for name in folders.keys() {
            if !orders.iter().any(|order| order.name == *name) {
                tracing::warn!(name, "the session mounts no volume of this name");
            }
        }
        Ok(orders)
    }

    fn of(grant: &VolumeGrant, folders: &BTreeMap<String, PathBuf>) -> Result<Self, OrderError> {
        let name = &grant.name;
        let malformed = |what| OrderError::Malformed(shown(name), what);
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(malformed("name"));
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(grant.key.as_str(), key.as_mut()).map_err(|_| malformed("key"))?;
        let root = grant.root.as_deref().map(str::parse).transpose();
        let order = Self {
            place: SandboxPath::try_from(grant.path.as_str())?,
            folder: folders
                .get(name)
                .ok_or_else(|| OrderError::NoFolder(name.clone()))?
                .clone(),
            key: SealingKey::from_bytes(*key),
            files: grant.files.parse().map_err(|_| malformed("files"))?,
            policy: grant
                .update_policy
                .parse()
                .map_err(|_| malformed("update_policy"))?,
            root: root.map_err(|_| malformed("root"))?,
            sequence: grant.sequence,
            may_initialise: grant.may_initialise,
            name: name.clone(),
        };
        if order.root.is_none() && order.sequence != 0
            || order.root.is_some() && order.may_initialise
        {
            return Err(malformed("sequence"));
        }
        Ok(order)
    }

    /// Where the program finds it.
    pub(in crate::service) fn place(&self) -> &SandboxPath {
        &self.place
    }

    /// Opens the granted state, if the folder holds it, or begins a volume that never was. Blocks.
    pub(super) fn open(&self) -> Result<Opened, VolumeError> {
        self.try_open().map_err(|problem| VolumeError {
            name: self.name.clone(),
            problem,
        })
    }

    fn try_open(&self) -> Result<Opened, Problem> {
        let found = Volume::inspect(&self.folder, &self.key, self.root)?;
        let record = self.root.map_or(Record::Unused, |root| {
            Record::Tracked(Tracked {
                root,
                generation: Some(self.sequence),
            })
        });
        let decision = policy::decide(self.policy, record, &found)?;
        let opened = match (decision, self.policy.writes_back()) {
            // Nobody has written to it, and nobody will: a new volume is empty.
            (Decision::Initialise | Decision::Adopt(_), false) => Opened::Nothing,
            (Decision::Open(root), false) => {
                Opened::ToRead(Snapshot::open(&self.folder, &self.key, root)?)
            }
            (Decision::Open(root), true) => Opened::ToWrite {
                volume: Volume::open(&self.folder, &self.key, root)?,
                is_recorded: true,
            },
            (Decision::Initialise, true) if self.may_initialise => Opened::ToWrite {
                volume: Volume::create(&self.folder, &self.key, self.files)?.0,
                is_recorded: false,
            },
            (Decision::Adopt(root), true) if self.may_initialise => Opened::ToWrite {
                volume: Volume::open(&self.folder, &self.key, root)?,
                is_recorded: false,
            },
            (Decision::Initialise | Decision::Adopt(_), true) => {
                return Err(policy::Refusal::NotRecorded.into());
            }
        };
        match opened.protection() {
            Some(found) if found != self.files => Err(Problem::Protection {
                found,
                wanted: self.files,
            }),
            _ => Ok(opened),
        }
    }
}

/// A volume at the state that is to be restored.
pub(super) enum Opened {
    /// A volume that was never written to, by who may not.
    Nothing,
    /// Changes are not written back.
    ToRead(Snapshot),
    /// Changes are written back.
    ToWrite {
        volume: Volume,
        /// Whether the CAS knows the state: not of one that was just made.
        is_recorded: bool,
    },
}

impl Opened {
    fn protection(&self) -> Option<Protection> {
        match self {
            Self::Nothing => None,
            Self::ToRead(snapshot) => Some(snapshot.protection()),
            Self::ToWrite { volume, .. } => Some(volume.protection()),
        }
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::ToRead(snapshot) => snapshot.summary().bytes,
            Self::ToWrite { volume, .. } => volume.summary().bytes,
        }
    }
}

fn shown(name: &str) -> String {
    name.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Why volumes of a configuration cannot be put into effect. Names them, and no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the session mounts {0} volumes: at most {MAX_VOLUMES} are taken")]
    TooMany(usize),
    #[error("the session mounts the volume `{0}` twice")]
    Twice(String),
    #[error("`{1}` of the volume `{0}` is malformed: is the CAS of another version?")]
    Malformed(String, &'static str),
    #[error(
        "the session mounts the volume `{0}`, and the host gives no folder for it: launch with `--volume {0}=DIR`"
    )]
    NoFolder(String),
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use mse_workload::launch::ServiceCheck;

    use super::*;

    fn grant(policy: &str, root: Option<VolumeRoot>, sequence: u64) -> VolumeGrant {
        VolumeGrant {
            name: "data".into(),
            path: "/data".into(),
            key: Zeroizing::new("07".repeat(32)),
            files: "encrypted".into(),
            update_policy: policy.into(),
            root: root.map(|root| root.to_string()),
            sequence,
            may_initialise: root.is_none() && policy != "ephemeral",
        }
    }

    fn order(folder: &Path, grant: &VolumeGrant) -> Order {
        let folders = [("data".to_owned(), folder.to_owned())].into();
        match Order::list(std::slice::from_ref(grant), &folders) {
            Ok(mut orders) => orders.remove(0),
            Err(error) => panic!("{error}"),
        }
    }

    fn refusal(folder: &Path, grant: &VolumeGrant) -> (ServiceCheck, String) {
        match order(folder, grant).open() {
            Ok(_) => panic!("opened"),
            Err(error) => (error.check(), error.to_string()),
        }
    }

    #[test]
    fn grants_are_read_strictly() {
        let folders: BTreeMap<String, PathBuf> = [("data".into(), "/srv".into())].into();
        let refused = |change: fn(&mut VolumeGrant)| {
            let mut changed = grant("ephemeral", None, 0);
            change(&mut changed);
            match Order::list(&[changed], &folders) {
                Ok(_) => panic!("accepted"),
                Err(error) => error.to_string(),
            }
        };
        for (change, says) in [
            (
                (|g| g.key = Zeroizing::new("07".into())) as fn(&mut VolumeGrant),
                "`key`",
            ),
            (|g| g.files = "plain".into(), "`files`"),
            (|g| g.update_policy = "any".into(), "`update_policy`"),
            (|g| g.root = Some("07".into()), "`root`"),
            (|g| g.sequence = 1, "`sequence`"),
            (|g| g.path = "data".into(), "not absolute"),
            (|g| g.name = "other".into(), "--volume other=DIR"),
            (|g| g.name = "a\nb".into(), "`name`"),
        ] {
            let message = refused(change);
            assert!(message.contains(says), "{message}");
            assert!(!message.contains("0707"), "{message}");
        }
        let twice = [grant("ephemeral", None, 0), grant("ephemeral", None, 0)];
        assert!(matches!(
            Order::list(&twice, &folders),
            Err(OrderError::Twice(_))
        ));
        let many: Vec<_> = (0..=MAX_VOLUMES)
            .map(|_| grant("ephemeral", None, 0))
            .collect();
        assert!(matches!(
            Order::list(&many, &folders),
            Err(OrderError::TooMany(_))
        ));
    }

    #[test]
    fn a_volume_is_begun_once_and_opened_at_the_granted_state() {
        let dir = tempfile::tempdir().unwrap();
        let (backing, data) = (dir.path().join("backing"), dir.path().join("data"));
        fs::create_dir(&data).unwrap();
        let fresh = grant("rollback_protected", None, 0);
        let Opened::ToWrite {
            volume,
            is_recorded: false,
        } = order(&backing, &fresh).open().unwrap()
        else {
            panic!("not begun");
        };
        let first = volume.root();
        drop(volume);
        // The report did not reach the CAS: the same volume is taken up again.
        let Opened::ToWrite {
            mut volume,
            is_recorded: false,
        } = order(&backing, &fresh).open().unwrap()
        else {
            panic!("not adopted");
        };
        assert_eq!(volume.root(), first);
        fs::write(data.join("a"), "1").unwrap();
        let prepared = volume.prepare(&data).unwrap();
        let second = volume.publish(&prepared).unwrap();
        drop(volume);

        for policy in ["rollback_protected", "no_rollback_protection"] {
            let opened = order(&backing, &grant(policy, Some(second), 2))
                .open()
                .unwrap();
            assert!(matches!(
                opened,
                Opened::ToWrite {
                    is_recorded: true,
                    ..
                }
            ));
        }
        let opened = order(&backing, &grant("ephemeral", Some(second), 2))
            .open()
            .unwrap();
        assert!(matches!(opened, Opened::ToRead(_)));
        // What nobody has recorded is not taken, and what was recorded is not begun again.
        let (check, says) = refusal(&backing, &fresh);
        assert_eq!(check, ServiceCheck::VolumeStale);
        assert!(says.contains("nobody has recorded"), "{says}");
        let gone = dir.path().join("nothing");
        let (check, says) = refusal(&gone, &grant("rollback_protected", Some(second), 2));
        assert_eq!(check, ServiceCheck::VolumeStale);
        assert!(says.contains("initialised before"), "{says}");
        let (check, says) = refusal(
            &backing,
            &grant(
                "rollback_protected",
                Some(VolumeRoot::from_bytes([9; 32])),
                3,
            ),
        );
        assert_eq!(check, ServiceCheck::VolumeStale);
        assert!(says.contains("old copy"), "{says}");
    }

    #[test]
    fn who_writes_nothing_back_begins_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let backing = dir.path().join("backing");
        let fresh = grant("ephemeral", None, 0);
        assert!(matches!(
            order(&backing, &fresh).open().unwrap(),
            Opened::Nothing
        ));
        assert!(!backing.exists());
        // A CAS that lets nobody initialise means it.
        let mut closed = grant("rollback_protected", None, 0);
        closed.may_initialise = false;
        assert_eq!(refusal(&backing, &closed).0, ServiceCheck::VolumeStale);
        assert!(!backing.exists());
    }

    #[test]
    fn protection_and_key_must_be_the_session_s() {
        let dir = tempfile::tempdir().unwrap();
        let backing = dir.path().join("backing");
        let begun = order(&backing, &grant("rollback_protected", None, 0))
            .open()
            .unwrap();
        let Opened::ToWrite { volume, .. } = begun else {
            panic!("not begun");
        };
        let root = volume.root();
        drop(volume);
        let mut clear = grant("rollback_protected", Some(root), 1);
        clear.files = "authenticated-only".into();
        let (check, says) = refusal(&backing, &clear);
        assert_eq!(check, ServiceCheck::Volume);
        assert!(says.contains("`authenticated-only`"), "{says}");
        let mut other = grant("rollback_protected", Some(root), 1);
        other.key = Zeroizing::new("08".repeat(32));
        let (check, says) = refusal(&backing, &other);
        assert_eq!(check, ServiceCheck::Volume);
        assert!(says.contains("another key"), "{says}");
    }
}
