//! What a CAS keeps: made once, opened at every start after.
//!
//! | in the data folder | |
//! | --- | --- |
//! | `root-key.sealed` | the root key, wrapped for exactly this program and workload on this platform |
//! | `root-key.sealed.new` | the same while the CAS is being created |
//! | `store.db` | the store, unless it has a database of its own |
//! | `witness` | the store's last position, unless it is kept elsewhere |
//! | `recovery/N.share` | the custodians' shares of the root key, each sealed to its custodian |
//! | `lock` | held by the process that uses the folder |
//!
//! A CAS exists from the moment its key file has its name. A creation that was cut off before is
//! taken up where it was: nobody was told of anything that it made.
//!
//! A root key that came from elsewhere, from a running replica or from shares, is adopted: nothing is
//! written before it has opened the store.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use mse_audit::entry::Event;
use mse_crypto::sealing::{DoesNotOpen, SealingKey};
use mse_crypto::{Digest, Zeroizing};
use mse_tee::attester::{Attester, AttesterError};
use mse_workload::launch::{CasLaunch, CasStart, SealPolicy};
use mse_workload::{CasKey, InvalidWorkload};

use super::join::{Heir, JoinFailure};
use crate::audit_log::MerkleLog;
use crate::identity::{Identity, IdentityError, audit_key};
use crate::keys::{
    InvalidKeyId, KeyId, Purpose, RootKey, SealToEnclave, UnwrapError, named, unwrap, wrap,
};
use crate::store::{
    AuditLog, Freshness, InvalidLocation, Location, Store, StoreError, StoreId, Witness, Write,
};

/// An open CAS, before it listens.
pub(super) struct State {
    pub(super) root: RootKey,
    pub(super) identity: Identity,
    pub(super) store: Store,
    /// The folder is this process's as long as the file is open.
    pub(super) lock: File,
}

/// Creates the CAS, or opens the one that is there, or joins one that runs.
pub(super) async fn begin(launch: &CasLaunch, heir: &Heir<'_>) -> Result<State, StateError> {
    let place = Place::of(launch)?;
    if let CasStart::Join {
        address,
        cas_key,
        authorization,
    } = &launch.start
    {
        return place
            .join(heir, address, *cas_key, authorization.as_deref())
            .await;
    }
    let platform = PlatformKey(heir.attester.seal_key(SealPolicy::Measurement).await?);
    if launch.start == CasStart::Create {
        return place.create(&platform).await;
    }
    let restore = launch.restore.as_deref();
    place.open(&platform, launch.as_found, restore).await
}

/// How the store's audit log is kept. The root key has the log's signing key.
fn audit_log(root: &RootKey) -> Arc<dyn AuditLog> {
    MerkleLog::new(audit_key(&root.derive(Purpose::AuditSigning)))
}

/// The platform's sealing key for exactly this program and workload.
pub(super) struct PlatformKey(SealingKey);

impl PlatformKey {
    /// On a TEE that has one.
    pub(super) async fn if_any(attester: &Attester) -> Result<Option<Self>, AttesterError> {
        match attester.seal_key(SealPolicy::Measurement).await {
            Ok(key) => Ok(Some(Self(key))),
            Err(AttesterError::NoSealKey) => {
                tracing::warn!(
                    "this TEE has no sealing key: the root key is kept in memory only, and this \
                     instance has to join or to be recovered again at each start"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// With which a root key that came from elsewhere is adopted.
pub(super) struct Adoption {
    pub(super) freshness: Freshness,
    /// Whose store it must be.
    pub(super) identity: Option<CasKey>,
    /// Which store it must be. Without it all of it is verified.
    pub(super) store: Option<StoreId>,
    /// What the audit log has to know first.
    pub(super) leaf: Option<Vec<u8>>,
}

/// A CAS whose root key came from elsewhere.
pub(super) struct Adopted {
    root: RootKey,
    identity: Identity,
    store: Store,
}

impl Adopted {
    /// With the folder's lock.
    pub(super) fn locked(self, lock: File) -> State {
        State {
            root: self.root,
            identity: self.identity,
            store: self.store,
            lock,
        }
    }
}

impl SealToEnclave for PlatformKey {
    type Error = DoesNotOpen;

    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        Ok(self.0.seal(KEY_SEALED_AS, bytes))
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        self.0.open(KEY_SEALED_AS, sealed)
    }
}

const KEY_SEALED_AS: &[u8] = b"mse-cas-root-key-v1";
/// The setting of the store that holds the sealed identity.
const IDENTITY: &str = "identity";
/// A key file is much shorter.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Where a CAS keeps what it keeps.
pub(super) struct Place {
    folder: PathBuf,
    location: Location,
    witness: Witness,
}

impl Place {
    pub(super) fn of(launch: &CasLaunch) -> Result<Self, StateError> {
        let folder = launch.data.clone();
        let location = match &launch.database {
            Some(url) => url.0.parse()?,
            None => Location::Sqlite(folder.join("store.db")),
        };
        let witness = launch
            .witness
            .clone()
            .unwrap_or_else(|| folder.join("witness"));
        Ok(Self {
            folder,
            location,
            witness: Witness::at(witness),
        })
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("root-key.sealed")
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join("root-key.sealed.new")
    }

    fn make_folder(&self) -> Result<(), StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| StateError::file(&self.folder, source))
    }

    /// The folder's lock, if the folder has no root key: none but `lost`, which this program cannot
    /// use.
    pub(super) fn vacate(
        &self,
        platform: Option<&PlatformKey>,
        lost: Option<KeyId>,
    ) -> Result<File, StateError> {
        self.make_folder()?;
        let lock = self.lock()?;
        if self.unfinished().exists() {
            return Err(StateError::NotFinished(self.folder.clone()));
        }
        let Some(wrapped) = read(&self.key_file())? else {
            return Ok(lock);
        };
        if platform.is_some_and(|platform| unwrap(&wrapped, platform).is_ok()) {
            return Err(StateError::Exists(self.folder.clone()));
        }
        // The same key, for another program or machine: it can be taken for this one again.
        if lost.is_some() && named(&wrapped) == lost {
            return Ok(lock);
        }
        Err(StateError::OtherKey(self.key_file()))
    }

    /// What has to show that the store is no old copy.
    pub(super) fn freshness(&self, as_found: bool) -> Freshness {
        if as_found {
            tracing::warn!(
                "AS FOUND: nothing shows that this CAS was not set back to an older state, with \
                 revoked sessions and old secrets in it; do not start it like this again"
            );
            Freshness::AsFound(Some(self.witness.clone()))
        } else {
            Freshness::Witness(self.witness.clone())
        }
    }

    /// Gets the root key from the replica at `address`.
    async fn join(
        &self,
        heir: &Heir<'_>,
        address: &str,
        cas_key: CasKey,
        authorization: Option<&str>,
    ) -> Result<State, StateError> {
        if let Location::Sqlite(_) = self.location {
            return Err(StateError::NoDatabase);
        }
        let platform = PlatformKey::if_any(heir.attester).await?;
        let lock = self.vacate(platform.as_ref(), None)?;
        let inherited = heir.inherit(address, cas_key, authorization).await?;
        let adoption = Adoption {
            freshness: Freshness::Seen {
                position: inherited.position,
                witness: Some(self.witness.clone()),
            },
            identity: Some(cas_key),
            store: Some(inherited.store),
            leaf: None,
        };
        let adopted = self
            .adopt(platform.as_ref(), inherited.root, adoption)
            .await?;
        Ok(adopted.locked(lock))
    }

    /// Takes a root key that came from elsewhere, if it opens the store.
    pub(super) async fn adopt(
        &self,
        platform: Option<&PlatformKey>,
        root: RootKey,
        adoption: Adoption,
    ) -> Result<Adopted, StateError> {
        let log = audit_log(&root);
        let store = Store::open(&self.location, &root, log, adoption.freshness).await?;
        match adoption.store {
            Some(expected) if expected != store.id() => {
                return Err(StateError::OtherStore {
                    found: store.id(),
                    expected,
                });
            }
            Some(_) => {}
            None => {
                store.verify().await?;
            }
        }
        let identity = own_identity(&store, &root).await?;
        if let Some(expected) = adoption.identity
            && expected != identity.key()
        {
            return Err(StateError::OtherCas {
                found: identity.key(),
                expected,
            });
        }
        if let Some(leaf) = adoption.leaf {
            store.commit(Write::new().audit(leaf)).await?;
        }
        if let Some(platform) = platform {
            let wrapped = wrap(&root, platform).map_err(|_| StateError::Seal)?;
            let path = self.key_file();
            replace(&path, &wrapped).map_err(|source| StateError::file(&path, source))?;
        }
        Ok(Adopted {
            root,
            identity,
            store,
        })
    }

    async fn create(&self, platform: &PlatformKey) -> Result<State, StateError> {
        self.make_folder()?;
        let lock = self.lock()?;
        if self.key_file().exists() {
            return Err(StateError::Exists(self.folder.clone()));
        }
        let (root, store) = match read(&self.unfinished())? {
            Some(wrapped) => self.take_up(&wrapped, platform).await?,
            None => self.make(platform).await?,
        };
        let identity = if let Some(sealed) = store.setting(IDENTITY).await? {
            Identity::open(&root.derive(Purpose::Identity), &sealed)?
        } else {
            let identity = Identity::generate(SystemTime::now())?;
            let sealed = identity.seal(&root.derive(Purpose::Identity));
            store
                .commit(Write::new().put_setting(IDENTITY, Zeroizing::new(sealed)))
                .await?;
            identity
        };
        fs::rename(self.unfinished(), self.key_file())
            .and_then(|()| sync(&self.folder))
            .map_err(|source| StateError::file(&self.key_file(), source))?;
        Ok(State {
            root,
            identity,
            store,
            lock,
        })
    }

    /// Makes key and store, if nothing of a CAS is there.
    async fn make(&self, platform: &PlatformKey) -> Result<(RootKey, Store), StateError> {
        let store = match &self.location {
            Location::Sqlite(path) => Some(path.as_path()),
            Location::Postgres(_) => None,
        };
        let left = [store, Some(self.witness.path())];
        if let Some(path) = left.into_iter().flatten().find(|path| path.exists()) {
            return Err(StateError::Left(path.to_owned()));
        }
        let root = RootKey::generate();
        let wrapped = wrap(&root, platform).map_err(|_| StateError::Seal)?;
        write_new(&self.unfinished(), &wrapped)
            .and_then(|()| sync(&self.folder))
            .map_err(|source| StateError::file(&self.unfinished(), source))?;
        let store = self.create_store(&root).await?;
        Ok((root, store))
    }

    /// Goes on with a creation that was cut off.
    async fn take_up(
        &self,
        wrapped: &[u8],
        platform: &PlatformKey,
    ) -> Result<(RootKey, Store), StateError> {
        let root = unwrap(wrapped, platform).map_err(|source| StateError::Unfinished {
            path: self.unfinished(),
            source,
        })?;
        tracing::warn!("a creation of this CAS was cut off: going on with it");
        let freshness = Freshness::Witness(self.witness.clone());
        let opened = Store::open(&self.location, &root, audit_log(&root), freshness).await;
        let store = match opened {
            Ok(store) => store,
            Err(StoreError::NoStore { .. }) => self.create_store(&root).await?,
            Err(error) => {
                self.give_up(&error);
                return Err(error.into());
            }
        };
        Ok((root, store))
    }

    async fn create_store(&self, root: &RootKey) -> Result<Store, StateError> {
        let witness = Some(self.witness.clone());
        let created = Store::create(&self.location, root, audit_log(root), witness).await;
        created.map_err(|error| {
            self.give_up(&error);
            error.into()
        })
    }

    /// Takes the key file away, if it is certain that nothing is sealed under the key: the place
    /// is taken by the store of another one.
    fn give_up(&self, error: &StoreError) {
        if matches!(
            error,
            StoreError::StoreExists { .. } | StoreError::WrongKey { .. }
        ) {
            // What stays is found by the next attempt, which comes to the same end.
            let _ = fs::remove_file(self.unfinished());
        }
    }

    async fn open(
        &self,
        platform: &PlatformKey,
        as_found: bool,
        restore: Option<&Path>,
    ) -> Result<State, StateError> {
        let path = self.key_file();
        let Some(wrapped) = read(&path)? else {
            return Err(if self.unfinished().exists() {
                StateError::NotFinished(self.folder.clone())
            } else {
                StateError::Nothing(self.folder.clone())
            });
        };
        let lock = self.lock()?;
        let root = unwrap(&wrapped, platform).map_err(|source| StateError::Key { path, source })?;
        let freshness = self.freshness(as_found);
        if let Some(backup) = restore {
            Store::restore(backup, &self.location, &root, &freshness).await?;
        }
        let store = Store::open(&self.location, &root, audit_log(&root), freshness).await?;
        if let Some(backup) = restore {
            let file = File::open(backup).map_err(|source| StateError::file(backup, source))?;
            let digest =
                Digest::of_reader(file).map_err(|source| StateError::file(backup, source))?;
            let event = Event::BackupRestored { backup: digest };
            let leaf = crate::audit_log::leaf(event, None, None);
            store.commit(Write::new().audit(leaf)).await?;
        }
        let identity = own_identity(&store, &root).await?;
        Ok(State {
            root,
            identity,
            store,
            lock,
        })
    }

    /// The folder is one process's: two would each remember only what they wrote themselves.
    fn lock(&self) -> Result<File, StateError> {
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StateError::file(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(self.folder.clone())),
            Err(TryLockError::Error(source)) => Err(StateError::file(&path, source)),
        }
    }
}

async fn own_identity(store: &Store, root: &RootKey) -> Result<Identity, StateError> {
    let sealed = store
        .setting(IDENTITY)
        .await?
        .ok_or(StateError::NoIdentity)?;
    Ok(Identity::open(&root.derive(Purpose::Identity), &sealed)?)
}

/// A key file, or `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(MAX_KEY_FILE + 1)
                .read_to_end(&mut bytes)
                .map_err(|source| StateError::file(path, source))?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::file(path, error)),
    }
}

/// Writes a file that is not there yet, so that it survives a crash.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file in the place of another one, or of none: either is there at any moment.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("tmp");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&new, bytes)?;
    fs::rename(&new, path)?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder last.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Why a CAS can be neither created nor opened.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An SQLite file is one process's.
    #[error(
        "a replica shares the database of the CAS that it joins: name that PostgreSQL database with `--database`"
    )]
    NoDatabase,
    /// The running replica gave nothing.
    #[error("the root key was not got from the running CAS: {0}")]
    Join(#[from] JoinFailure),
    /// The place holds another store than the running replica has.
    #[error(
        "the database holds store {found}, and that of the running CAS is {expected}: name the same database"
    )]
    OtherStore {
        /// What is there.
        found: StoreId,
        /// What should be there.
        expected: StoreId,
    },
    /// The store belongs to somebody else.
    #[error("the store is that of the CAS `{found}`, and this was to be `{expected}`")]
    OtherCas {
        /// Whose it is.
        found: CasKey,
        /// Whose it should be.
        expected: CasKey,
    },
    /// A recovery without custodians.
    #[error(
        "the workload of this CAS names no custodians, so there are no shares to recover it from"
    )]
    NoCustodians,
    /// Not a root key's name.
    #[error("the root key to recover: {0}; it stands in each share")]
    KeyId(#[from] InvalidKeyId),
    /// The workload's people.
    #[error(transparent)]
    Workload(#[from] InvalidWorkload),
    /// A custodian's key cannot be sealed to.
    #[error("nothing can be sealed to the custodian `{0}`: it is no X25519 key that can be used")]
    Custodian(String),
    /// Not known to happen.
    #[error("the shares of the root key cannot be kept")]
    Shares,
    /// No sealing key.
    #[error("the TEE gives no key to seal the root key with: {0}")]
    Platform(#[from] AttesterError),
    /// The key does not seal.
    #[error("the root key cannot be sealed with the TEE's key")]
    Seal,
    /// Not a place for a store.
    #[error("the place of the store: {0}")]
    Location(#[from] InvalidLocation),
    /// A file or folder.
    #[error("`{path}` cannot be used: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("`{0}` is in use by another mse-cas: stop that one first, or name another folder")]
    InUse(PathBuf),
    /// Nothing is overwritten.
    #[error("`{0}` holds a CAS already: open it instead of creating one, or name another folder")]
    Exists(PathBuf),
    /// A key of somebody else's.
    #[error(
        "`{0}` holds a root key already, for another program or of another CAS: name another folder; nothing is overwritten"
    )]
    OtherKey(PathBuf),
    /// What an earlier CAS left.
    #[error(
        "`{0}` is there, but no root key for it: a CAS lost its key here. Bring the key file back, or name another place for a new CAS; nothing is overwritten"
    )]
    Left(PathBuf),
    /// Nothing to open.
    #[error(
        "`{0}` holds no CAS: create one if it is to be new, or name the folder of the one that is meant"
    )]
    Nothing(PathBuf),
    /// A creation was cut off.
    #[error(
        "the CAS in `{0}` was not finished being created: start with `create` again, which goes on with it"
    )]
    NotFinished(PathBuf),
    /// A creation was cut off, and this program cannot go on with it.
    #[error(
        "a creation was cut off that left `{path}`, and this program cannot go on with it: {source}. Start the program with which it began, or remove that file and the store if you do not want it"
    )]
    Unfinished {
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: UnwrapError<DoesNotOpen>,
    },
    /// The root key does not come out.
    #[error(
        "the root key in `{path}` is out of reach: {source}. It opens only for the same program, owner, trust anchors, resources and platform as it was created with: start that one, join a running replica, or recover it from its shares"
    )]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: UnwrapError<DoesNotOpen>,
    },
    /// A store without the one thing that is in every store.
    #[error("the store holds no identity: it is not the store of a CAS")]
    NoIdentity,
    /// The identity does not come out.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StateError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
