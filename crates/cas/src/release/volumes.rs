//! Volumes: which ones a service gets, with which key and state, and which new states are recorded.
//!
//! Nothing here reads or writes the store. In a release:
//!
//! 1. [`imports`] names the sessions that volumes come from: they are read.
//! 2. [`mounts`] says what each volume of the service is.
//! 3. For each, its root ([`Mount::id`]) and its key ([`Mount::stored_key`]) are read, and
//!    [`Mount::grant`] puts them together.
//!
//! In a report of a new state: 1 and 2 again, with the session as it is now, then
//! [`Mount::record`], and what it says is written by `Write::advance_volume`. The store takes a
//! counter only if it is greater than its own. Because `record` wants one that is exactly one more
//! than what was read, both together are a compare-and-swap: of two reports that were checked
//! against the same state, the store refuses the second (`Refused::VolumeBehind`), and checking it
//! again says why ([`RefusalCode::StaleVolume`]), or that it was recorded already.
//!
//! **Keys.** A volume whose session gives no key has a random one of 32 bytes, stored as a secret of
//! its session under a name that no session text can name ([`key_secret`]). It is made with the first
//! version of the session that has the volume, in the same write ([`generated_keys`]), so that no two
//! releases make two. Random and not derived from the root key, so that it can be forgotten, and kept
//! when a root key is replaced.

use std::collections::BTreeSet;

use mse_crypto::Zeroizing;
use mse_crypto::sealing::SealingKey;
use mse_ratls::release::{RefusalCode, ReleaseRefusal, VolumeGrant};
use mse_session::{
    FileProtection, OrReference, Recipient, SecretKey32, Service, Session, SessionHash,
    SessionName, SessionPin, UpdatePolicy, Volume, VolumeName, VolumeOrigin,
};

use super::asked::{ReportedState, refusal};
use crate::store::{SecretId, VolumeRoot};
use crate::values::{Values, ValuesError};

/// Gives the sessions that volumes are imported from.
pub trait Exporters {
    /// The session as pinned, and the values of its secrets; `None` if there is none.
    fn exporter(&self, pin: &SessionPin) -> Option<(&Session, &Values)>;
}

/// No other session exports anything.
pub struct NoExporters;

impl Exporters for NoExporters {
    fn exporter(&self, _: &SessionPin) -> Option<(&Session, &Values)> {
        None
    }
}

/// A session that asks: its name, and its hash as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Importer<'a> {
    /// Its name.
    pub name: &'a SessionName,
    /// Its version.
    pub hash: SessionHash,
}

/// Where the state and the key of a volume are kept: the session that it belongs to, which an
/// importer is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId {
    /// The session.
    pub session: String,
    /// Its name there.
    pub volume: String,
}

/// A volume of a service.
pub struct Mount {
    name: VolumeName,
    path: String,
    update_policy: UpdatePolicy,
    files: FileProtection,
    id: VolumeId,
    /// None: the key is stored.
    key: Option<SealingKey>,
}

/// The sessions that volumes of `service` are imported from.
pub fn imports(
    session: &Session,
    service: &Service,
) -> BTreeSet<(SessionName, Option<SessionHash>)> {
    session
        .image_of(service)
        .into_iter()
        .flat_map(|image| &image.volumes)
        .filter_map(|mounted| find(session, &mounted.name))
        .filter_map(|volume| match &volume.origin {
            VolumeOrigin::Imported { session, .. } => Some((session.session.clone(), session.hash)),
            _ => None,
        })
        .collect()
}

/// The volumes of `service`, of the version `hash` of `session`.
pub fn mounts(
    session: &Session,
    hash: SessionHash,
    service: &Service,
    values: &Values,
    exporters: &impl Exporters,
) -> Result<Vec<Mount>, VolumesError> {
    let importer = Importer {
        name: &session.name,
        hash,
    };
    session
        .image_of(service)
        .into_iter()
        .flat_map(|image| &image.volumes)
        .map(|mounted| {
            let volume = find(session, &mounted.name)
                .ok_or_else(|| VolumesError::Missing(mounted.name.clone()))?;
            let source = match &volume.origin {
                VolumeOrigin::Imported {
                    session: pin,
                    volume: named,
                } => {
                    let exported = exporters
                        .exporter(pin)
                        .and_then(|(exporter, values)| {
                            exported(exporter, named, importer)
                                .map(|found| (exporter, values, found))
                        })
                        .ok_or_else(|| VolumesError::NotExported {
                            volume: volume.name.clone(),
                            session: pin.session.clone(),
                            exported: named.clone(),
                        })?;
                    let (exporter, values, (found, bound)) = exported;
                    if mounted.update_policy > bound {
                        return Err(VolumesError::Policy {
                            volume: volume.name.clone(),
                            asked: mounted.update_policy,
                            bound,
                        });
                    }
                    Source {
                        session: exporter,
                        values,
                        volume: found,
                    }
                }
                _ => Source {
                    session,
                    values,
                    volume,
                },
            };
            Ok(Mount {
                name: mounted.name.clone(),
                path: mounted.path.clone(),
                update_policy: mounted.update_policy,
                files: source.volume.files,
                id: VolumeId {
                    session: source.session.name.to_string(),
                    volume: source.volume.name.to_string(),
                },
                key: source.key()?,
            })
        })
        .collect()
}

/// The stored keys that a session with these volumes needs. Whoever stores a version of it makes
/// those that are not there ([`new_key`]), in the same write.
pub fn generated_keys(session: &Session) -> impl Iterator<Item = SecretId> + '_ {
    session
        .volumes
        .iter()
        .filter(|volume| volume.origin == VolumeOrigin::Generated)
        .map(|volume| {
            key_secret(&VolumeId {
                session: session.name.to_string(),
                volume: volume.name.to_string(),
            })
        })
}

/// A key to be stored.
pub fn new_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(SealingKey::generate().expose().to_vec())
}

/// Under which name the key of a volume is stored. Names in sessions have no `/`.
pub fn key_secret(id: &VolumeId) -> SecretId {
    SecretId {
        session: id.session.clone(),
        name: format!("{KEY}{}", id.volume),
        version: 0,
    }
}

/// Whether a stored secret is the key of a volume, and none of the session's own.
pub fn is_key(id: &SecretId) -> bool {
    id.name.starts_with(KEY)
}

const KEY: &str = "volume-key/";

impl Mount {
    /// The volume's name in the session of the service.
    pub fn name(&self) -> &VolumeName {
        &self.name
    }

    /// Where its state is kept: the names for `Store::volume` and `Write::advance_volume`.
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// Where its key is stored; `None`: the session gives it.
    pub fn stored_key(&self) -> Option<SecretId> {
        self.key.is_none().then(|| key_secret(&self.id))
    }

    /// What the service is told: with the stored key, if it has one, and the recorded state.
    pub fn grant(
        &self,
        stored_key: Option<&[u8]>,
        recorded: Option<&VolumeRoot>,
    ) -> Result<VolumeGrant, VolumesError> {
        let key: &[u8] = match (&self.key, stored_key) {
            (Some(key), _) => key.expose(),
            (None, Some(key)) if key.len() == KEY_BYTES => key,
            _ => return Err(VolumesError::NoKey(self.name.clone())),
        };
        let root = recorded.map(|recorded| self.root(recorded)).transpose()?;
        Ok(VolumeGrant {
            name: self.name.to_string(),
            path: self.path.clone(),
            key: Zeroizing::new(hex::encode(key)),
            files: self.files.as_str().to_owned(),
            update_policy: self.update_policy.as_str().to_owned(),
            root: root.map(hex::encode),
            sequence: recorded.map_or(0, |recorded| recorded.sequence),
            may_initialise: recorded.is_none() && self.update_policy != UpdatePolicy::Ephemeral,
        })
    }

    /// What is to be recorded of a state that a service reports.
    pub fn record(
        &self,
        reported: &ReportedState,
        recorded: Option<&VolumeRoot>,
    ) -> Result<Recording, ReleaseRefusal> {
        let stored = recorded.map_or(0, |recorded| recorded.sequence);
        let is_there = recorded.is_some_and(|recorded| recorded.root.as_slice() == reported.root);
        match self.update_policy {
            UpdatePolicy::Ephemeral => Err(refusal(
                RefusalCode::VolumePolicy,
                format!(
                    "the volume `{}` is `ephemeral` for this service: its changes are not recorded",
                    self.name
                ),
            )),
            UpdatePolicy::NoRollbackProtection if is_there => Ok(Recording::AlreadyThere),
            // Any state: the counter goes on all the same, so that others see a newer one.
            UpdatePolicy::NoRollbackProtection => Ok(self.put(stored.saturating_add(1), reported)),
            UpdatePolicy::RollbackProtected if is_there && stored == reported.sequence => {
                Ok(Recording::AlreadyThere)
            }
            UpdatePolicy::RollbackProtected
                if reported.previous == stored
                    && stored.checked_add(1) == Some(reported.sequence) =>
            {
                Ok(self.put(reported.sequence, reported))
            }
            UpdatePolicy::RollbackProtected => Err(refusal(
                RefusalCode::StaleVolume,
                format!(
                    "the volume `{}` is at {stored}, and the reported state {} was made from {}: another instance has written to it, or this one runs on an old copy",
                    self.name, reported.sequence, reported.previous
                ),
            )),
        }
    }

    fn put(&self, sequence: u64, reported: &ReportedState) -> Recording {
        Recording::Advance {
            id: self.id.clone(),
            sequence,
            root: Zeroizing::new(reported.root.to_vec()),
        }
    }

    fn root(&self, recorded: &VolumeRoot) -> Result<[u8; 32], VolumesError> {
        recorded
            .root
            .as_slice()
            .try_into()
            .map_err(|_| VolumesError::BadRoot(self.name.clone()))
    }
}

const KEY_BYTES: usize = 32;

/// What becomes of a report.
#[derive(PartialEq, Eq)]
pub enum Recording {
    /// It is the recorded state: a report that was repeated.
    AlreadyThere,
    /// `Write::advance_volume` with these.
    Advance {
        /// The volume.
        id: VolumeId,
        /// Its counter.
        sequence: u64,
        /// Its root.
        root: Zeroizing<Vec<u8>>,
    },
}

/// A volume where it belongs.
struct Source<'a> {
    session: &'a Session,
    values: &'a Values,
    volume: &'a Volume,
}

impl Source<'_> {
    /// The key that the session gives; `None` if it is stored.
    fn key(&self) -> Result<Option<SealingKey>, VolumesError> {
        let name = || self.volume.name.clone();
        match &self.volume.origin {
            VolumeOrigin::Generated => Ok(None),
            VolumeOrigin::Existing { tag: Some(_), .. } => Err(VolumesError::Tag(name())),
            VolumeOrigin::Existing { key, tag: None } => Ok(Some(self.given(key)?)),
            // An exporter has it from nobody: the language lets no volume be both.
            VolumeOrigin::Imported { .. } => Err(VolumesError::Missing(name())),
        }
    }

    fn given(&self, key: &OrReference<SecretKey32>) -> Result<SealingKey, VolumesError> {
        let reference = match key {
            OrReference::Given(key) => return Ok(SealingKey::from_bytes(*key.expose())),
            OrReference::From(reference) => reference,
        };
        let value = self.values.render(reference)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if value.len() == KEY_BYTES {
            bytes.copy_from_slice(&value);
        } else {
            hex::decode_to_slice(value.as_slice(), bytes.as_mut())
                .map_err(|_| VolumesError::KeySize(self.volume.name.clone()))?;
        }
        Ok(SealingKey::from_bytes(*bytes))
    }
}

fn find<'a>(session: &'a Session, name: &VolumeName) -> Option<&'a Volume> {
    session.volumes.iter().find(|volume| volume.name == *name)
}

/// The volume that `session` exports as `named` to `importer`, and the most that this one may
/// choose.
fn exported<'a>(
    session: &'a Session,
    named: &VolumeName,
    importer: Importer<'_>,
) -> Option<(&'a Volume, UpdatePolicy)> {
    session
        .volumes
        .iter()
        .flat_map(|volume| volume.exports.iter().map(move |export| (volume, export)))
        .filter(|(volume, export)| export.alias.as_ref().unwrap_or(&volume.name) == named)
        .filter(|(_, export)| is_for(&export.to, importer))
        .map(|(volume, export)| (volume, export.update_policy))
        .max_by_key(|(_, bound)| *bound)
}

fn is_for(recipient: &Recipient, importer: Importer<'_>) -> bool {
    match recipient {
        Recipient::Session(pin) => {
            pin.session == *importer.name && pin.hash.is_none_or(|hash| hash == importer.hash)
        }
        Recipient::Namespace(namespace) => importer.name.is_within(namespace),
    }
}

/// Why a service does not get its volumes. Names them, and no key.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// The image names a volume that is none of the session's.
    #[error("the session has no volume `{0}` with a key of its own")]
    Missing(VolumeName),
    /// Another session does not give it.
    #[error(
        "the volume `{volume}` cannot be imported: `{session}` exports no volume `{exported}` to this session"
    )]
    NotExported {
        /// Its name.
        volume: VolumeName,
        /// The other session.
        session: SessionName,
        /// Its name there.
        exported: VolumeName,
    },
    /// More than the exporter allows.
    #[error(
        "the volume `{volume}` is asked for as `{asked}`, and exported as `{bound}` at most: write `update_policy: {bound}` in the image", asked = .asked.as_str(), bound = .bound.as_str()
    )]
    Policy {
        /// Its name.
        volume: VolumeName,
        /// What the image says.
        asked: UpdatePolicy,
        /// What the exporter says.
        bound: UpdatePolicy,
    },
    /// A tag is of another format.
    #[error(
        "the volume `{0}` has an `fspf_tag`, which pins a state in another format of volumes: take it out, start with an empty directory, and copy the files into it"
    )]
    Tag(VolumeName),
    /// The key that it refers to is no key.
    #[error("the key of the volume `{0}` is not 32 bytes: refer to a `binary` secret of size 32")]
    KeySize(VolumeName),
    /// It was never made.
    #[error("the key of the volume `{0}` is not in the store: it is made with the session")]
    NoKey(VolumeName),
    /// What is stored is no root.
    #[error("the recorded root of the volume `{0}` is malformed")]
    BadRoot(VolumeName),
    /// A reference that stands for nothing.
    #[error(transparent)]
    Value(#[from] ValuesError),
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mse_session::{Compatibility, Variables, check_text};

    use super::*;
    use crate::values::NoImports;

    const HASH: SessionHash = SessionHash([7; 32]);

    fn session(name: &str, more: &str) -> Session {
        let text = format!(
            "name: {name}\nversion: '0.3.12'\nsalt: {salt}\nsecrets:\n- {{name: key, kind: binary, value: '{key}'}}\n- {{name: word, kind: ascii, size: 10}}\nservices:\n- name: web\n  command: run\n  image_name: main\n  attestation: [{{mrenclave: [{mrenclave}]}}]\n{more}",
            salt = "ab".repeat(16),
            key = "0c".repeat(32),
            mrenclave = "01".repeat(32),
        );
        let outcome = check_text(&text, &Variables::default(), Compatibility::Strict);
        let diagnostics = outcome.diagnostics.clone();
        outcome
            .session
            .unwrap_or_else(|| panic!("{text}\n{diagnostics:#?}"))
    }

    fn values(session: &Session) -> Values {
        Values::make(session, None, &NoImports, SystemTime::now()).unwrap()
    }

    /// A session with one volume, mounted with this policy.
    fn with_volume(name: &str, volume: &str, policy: &str) -> Session {
        session(
            name,
            &format!(
                "images:\n- name: main\n  volumes: [{{name: data, path: /data, update_policy: {policy}}}]\nvolumes:\n- {{name: data{volume}}}\n"
            ),
        )
    }

    struct Other(Session, Values);

    impl Exporters for Other {
        fn exporter(&self, pin: &SessionPin) -> Option<(&Session, &Values)> {
            (pin.session == self.0.name).then_some((&self.0, &self.1))
        }
    }

    fn of(session: &Session, exporters: &impl Exporters) -> Result<Mount, VolumesError> {
        let service = &session.services[0];
        let mut mounts = mounts(session, HASH, service, &values(session), exporters)?;
        assert_eq!(mounts.len(), 1);
        Ok(mounts.remove(0))
    }

    fn own(volume: &str, policy: &str) -> Mount {
        of(&with_volume("shop", volume, policy), &NoExporters).unwrap()
    }

    fn stored(sequence: u64, root: u8) -> VolumeRoot {
        VolumeRoot {
            sequence,
            root: Zeroizing::new(vec![root; 32]),
        }
    }

    fn reported(previous: u64, sequence: u64, root: u8) -> ReportedState {
        ReportedState {
            name: "data".into(),
            sequence,
            root: [root; 32],
            previous,
        }
    }

    fn advances(recording: Result<Recording, ReleaseRefusal>) -> Option<u64> {
        match recording {
            Ok(Recording::Advance { sequence, .. }) => Some(sequence),
            Ok(Recording::AlreadyThere) => None,
            Err(refused) => panic!("{refused}"),
        }
    }

    #[test]
    fn a_grant_has_key_and_state() {
        let mount = own("", "rollback_protected");
        let key = [5; 32];
        let fresh = mount.grant(Some(&key), None).unwrap();
        assert_eq!(fresh.key.as_str(), "05".repeat(32));
        assert_eq!(
            (fresh.name.as_str(), fresh.path.as_str()),
            ("data", "/data")
        );
        assert_eq!(fresh.files, "encrypted");
        assert_eq!(
            (fresh.root, fresh.sequence, fresh.may_initialise),
            (None, 0, true)
        );

        let known = mount.grant(Some(&key), Some(&stored(4, 9))).unwrap();
        assert_eq!(known.root, Some("09".repeat(32)));
        assert_eq!((known.sequence, known.may_initialise), (4, false));

        assert!(matches!(
            mount.grant(None, None),
            Err(VolumesError::NoKey(_))
        ));
        assert!(mount.grant(Some(&[5; 31]), None).is_err());
        let odd = VolumeRoot {
            sequence: 1,
            root: Zeroizing::new(vec![1]),
        };
        assert!(matches!(
            mount.grant(Some(&key), Some(&odd)),
            Err(VolumesError::BadRoot(_))
        ));

        let ephemeral = own("", "ephemeral").grant(Some(&key), None).unwrap();
        assert!(!ephemeral.may_initialise);
    }

    #[test]
    fn keys_are_stored_under_a_name_of_their_own_or_given() {
        let session = with_volume("shop", "", "ephemeral");
        let generated: Vec<_> = generated_keys(&session).collect();
        let mount = of(&session, &NoExporters).unwrap();
        assert_eq!(mount.stored_key().as_ref(), generated.first());
        assert!(is_key(&generated[0]));
        assert!(
            generated[0]
                .name
                .parse::<mse_session::SecretName>()
                .is_err()
        );
        assert_eq!(new_key().len(), 32);
        assert_ne!(new_key(), new_key());

        for given in [
            format!(", fspf_key: '{}'", "0c".repeat(32)),
            ", fspf_key: $$SCONE::key$$".to_owned(),
            ", fspf_key: '$$SCONE::key:hex$$'".to_owned(),
        ] {
            let session = with_volume("shop", &given, "ephemeral");
            assert_eq!(generated_keys(&session).count(), 0);
            let mount = of(&session, &NoExporters).unwrap();
            assert_eq!(mount.stored_key(), None);
            let grant = mount.grant(None, None).unwrap();
            assert_eq!(grant.key.as_str(), "0c".repeat(32), "{given}");
        }
        let tagged = format!(
            ", fspf_key: $$SCONE::key$$, fspf_tag: '{}'",
            "00".repeat(16)
        );
        let tagged = of(&with_volume("shop", &tagged, "ephemeral"), &NoExporters);
        assert!(matches!(tagged, Err(VolumesError::Tag(_))));
    }

    #[test]
    fn an_importer_has_the_exporters_volume_and_at_most_its_policy() {
        let import = ", import: {session: store, volume: shared}";
        let importer = |policy| with_volume("team/shop", import, policy);
        let exporter = |export: &str| {
            let session = with_volume(
                "store",
                &format!(", files: authenticated-only, export: {export}"),
                "ephemeral",
            );
            let values = values(&session);
            Other(session, values)
        };
        let to = |to: &str, policy: &str| {
            exporter(&format!(
                "[{{to: {{{to}}}, update_policy: {policy}, volume_alias: shared}}]"
            ))
        };
        for allowed in [
            "session: team/shop",
            "namespace: team",
            "namespace: team/shop",
        ] {
            let mount = of(
                &importer("rollback_protected"),
                &to(allowed, "rollback_protected"),
            )
            .unwrap();
            assert_eq!(
                mount.id(),
                &VolumeId {
                    session: "store".into(),
                    volume: "data".into()
                }
            );
            assert_eq!(mount.name().as_str(), "data");
            let grant = mount.grant(Some(&[1; 32]), None).unwrap();
            assert_eq!(grant.files, "authenticated-only");
        }
        for denied in [
            "session: team/shops".to_owned(),
            "session: team".to_owned(),
            "namespace: other".to_owned(),
            format!("session: team/shop, session_hash: '{}'", "08".repeat(32)),
        ] {
            let refused = of(&importer("ephemeral"), &to(&denied, "ephemeral"));
            assert!(
                matches!(refused, Err(VolumesError::NotExported { .. })),
                "{denied}"
            );
        }
        let pinned = format!("session: team/shop, session_hash: '{HASH}'");
        assert!(of(&importer("ephemeral"), &to(&pinned, "ephemeral")).is_ok());
        let own_name = exporter("{session: team/shop}");
        assert!(
            of(&importer("ephemeral"), &own_name).is_err(),
            "it is exported as `data`"
        );

        let policies = UpdatePolicy::ALL.map(UpdatePolicy::as_str);
        for (least, bound) in policies.iter().enumerate() {
            for (most, asked) in policies.iter().enumerate() {
                let mount = of(&importer(asked), &to("session: team/shop", bound));
                match mount {
                    Ok(_) => assert!(most <= least, "{asked} under {bound}"),
                    Err(VolumesError::Policy { .. }) => {
                        assert!(most > least, "{asked} under {bound}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let session = importer("ephemeral");
        let named = imports(&session, &session.services[0]);
        assert_eq!(named.into_iter().next().unwrap().0.as_str(), "store");
    }

    #[test]
    fn a_state_is_recorded_that_was_made_from_the_recorded_one() {
        let mount = own("", "rollback_protected");
        assert_eq!(advances(mount.record(&reported(0, 1, 1), None)), Some(1));
        let at = stored(4, 9);
        assert_eq!(
            advances(mount.record(&reported(4, 5, 1), Some(&at))),
            Some(5)
        );
        // The answer was lost: the same again.
        assert_eq!(advances(mount.record(&reported(3, 4, 9), Some(&at))), None);
        for (recorded, report) in [
            (Some(&at), reported(3, 4, 1)),
            (Some(&at), reported(3, 5, 1)),
            (Some(&at), reported(5, 6, 1)),
            // A gap would let two writers pass.
            (Some(&at), reported(4, 6, 1)),
            (Some(&at), reported(4, 4, 1)),
            (Some(&at), reported(0, 5, 9)),
            (None, reported(1, 2, 1)),
            (None, reported(0, 2, 1)),
        ] {
            let refused = mount.record(&report, recorded).err().unwrap();
            assert_eq!(refused.code, RefusalCode::StaleVolume, "{report:?}");
        }
        let last = stored(u64::MAX, 9);
        assert!(
            mount
                .record(&reported(u64::MAX, 0, 1), Some(&last))
                .is_err()
        );
    }

    #[test]
    fn policies_record_nothing_or_anything() {
        let ephemeral = own("", "ephemeral");
        let refused = ephemeral.record(&reported(0, 1, 1), None).err().unwrap();
        assert_eq!(refused.code, RefusalCode::VolumePolicy);

        let any = own("", "no_rollback_protection");
        let at = stored(4, 9);
        for report in [reported(4, 5, 1), reported(0, 1, 1), reported(8, 9, 1)] {
            assert_eq!(
                advances(any.record(&report, Some(&at))),
                Some(5),
                "{report:?}"
            );
        }
        assert_eq!(advances(any.record(&reported(1, 2, 9), Some(&at))), None);
    }
}
