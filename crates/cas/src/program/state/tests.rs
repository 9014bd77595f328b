use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

struct Scene {
    folder: TempDir,
    platform: PlatformKey,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            platform: PlatformKey(SealingKey::generate()),
        }
    }

    fn place(&self) -> Place {
        let folder = self.folder.path().join("cas");
        Place {
            location: Location::Sqlite(folder.join("store.db")),
            witness: Witness::at(folder.join("witness")),
            folder,
        }
    }

    async fn create(&self) -> Result<State, StateError> {
        self.place().create(&self.platform).await
    }

    async fn open(&self) -> Result<State, StateError> {
        self.place().open(&self.platform, false, None).await
    }
}

async fn close(state: State) -> (KeyId, CasKey) {
    let found = (state.root.id(), state.identity.key());
    state.store.close().await.unwrap();
    found
}

#[tokio::test]
async fn what_was_created_is_what_is_opened() {
    let scene = Scene::new();
    assert!(matches!(scene.open().await, Err(StateError::Nothing(_))));
    let made = close(scene.create().await.unwrap()).await;
    for _ in 0..2 {
        assert_eq!(close(scene.open().await.unwrap()).await, made);
    }
    assert!(matches!(scene.create().await, Err(StateError::Exists(_))));
    assert_eq!(close(scene.open().await.unwrap()).await, made);
}

#[tokio::test]
async fn everything_in_the_folder_is_its_owners_and_no_key_is_in_clear() {
    let scene = Scene::new();
    let state = scene.create().await.unwrap();
    let root = *state.root.expose();
    let identity = state.root.derive(Purpose::Identity);
    close(state).await;
    let folder = scene.place().folder;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        for key in [&root, identity.expose()] {
            let is_there = bytes.windows(key.len()).any(|part| part == key);
            assert!(!is_there, "{}", path.display());
        }
        files += 1;
    }
    assert!(files >= 4);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let scene = Scene::new();
    let state = scene.create().await.unwrap();
    assert!(matches!(scene.open().await, Err(StateError::InUse(_))));
    close(state).await;
    close(scene.open().await.unwrap()).await;
}

#[tokio::test]
async fn another_program_gets_nothing_and_says_what_to_do() {
    let scene = Scene::new();
    let made = close(scene.create().await.unwrap()).await;
    let other = PlatformKey(SealingKey::generate());
    let Err(error) = scene.place().open(&other, false, None).await else {
        panic!("another program opened it");
    };
    assert!(matches!(error, StateError::Key { .. }), "{error}");
    assert!(error.to_string().contains("shares"), "{error}");
    assert_eq!(close(scene.open().await.unwrap()).await, made);
}

#[tokio::test]
async fn a_changed_key_file_opens_nothing() {
    let scene = Scene::new();
    close(scene.create().await.unwrap()).await;
    let path = scene.place().key_file();
    let good = fs::read(&path).unwrap();
    for at in [0, 8, 20, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(
            matches!(scene.open().await, Err(StateError::Key { .. })),
            "byte {at}"
        );
    }
    fs::write(&path, good).unwrap();
    close(scene.open().await.unwrap()).await;
}

#[tokio::test]
async fn a_lost_key_file_is_no_fresh_start() {
    let scene = Scene::new();
    close(scene.create().await.unwrap()).await;
    fs::remove_file(scene.place().key_file()).unwrap();
    assert!(matches!(scene.open().await, Err(StateError::Nothing(_))));
    assert!(matches!(scene.create().await, Err(StateError::Left(_))));
    assert!(!scene.place().unfinished().exists());
    // Nor is a lost store: the witness remembers it.
    fs::remove_file(scene.place().folder.join("store.db")).unwrap();
    assert!(matches!(scene.create().await, Err(StateError::Left(_))));
}

/// Each point at which a creation can be cut off, by what it leaves.
#[tokio::test]
async fn a_creation_that_was_cut_off_is_taken_up() {
    for cut in ["key", "empty database", "store", "identity"] {
        let scene = Scene::new();
        let place = scene.place();
        DirBuilder::new().mode(0o700).create(&place.folder).unwrap();
        let root = RootKey::generate();
        let Ok(wrapped) = wrap(&root, &scene.platform) else {
            panic!("it does not seal");
        };
        write_new(&place.unfinished(), &wrapped).unwrap();
        let create = Store::create(
            &place.location,
            &root,
            audit_log(&root),
            Some(place.witness.clone()),
        );
        let mut identity = None;
        match cut {
            "key" => {}
            "empty database" => {
                fs::write(place.folder.join("store.db"), "").unwrap();
            }
            "store" => create.await.unwrap().close().await.unwrap(),
            _ => {
                let store = create.await.unwrap();
                let made = Identity::generate(SystemTime::now()).unwrap();
                let sealed = made.seal(&root.derive(Purpose::Identity));
                let write = Write::new().put_setting(IDENTITY, Zeroizing::new(sealed));
                store.commit(write).await.unwrap();
                store.close().await.unwrap();
                identity = Some(made.key());
            }
        }
        assert!(
            matches!(scene.open().await, Err(StateError::NotFinished(_))),
            "{cut}"
        );
        let other = PlatformKey(SealingKey::generate());
        assert!(
            matches!(
                place.create(&other).await,
                Err(StateError::Unfinished { .. })
            ),
            "{cut}"
        );
        let made = close(scene.create().await.unwrap()).await;
        assert_eq!(made.0, root.id(), "{cut}");
        assert!(identity.is_none_or(|identity| identity == made.1), "{cut}");
        assert!(!place.unfinished().exists(), "{cut}");
        assert_eq!(close(scene.open().await.unwrap()).await, made, "{cut}");
    }
}

#[tokio::test]
async fn the_store_of_another_cas_is_left_alone() {
    let scene = Scene::new();
    let made = close(scene.create().await.unwrap()).await;
    // The key of a creation that never came to its store, which is another's by now.
    let place = scene.place();
    let key = fs::read(place.key_file()).unwrap();
    fs::remove_file(place.key_file()).unwrap();
    let Ok(wrapped) = wrap(&RootKey::generate(), &scene.platform) else {
        panic!("it does not seal");
    };
    write_new(&place.unfinished(), &wrapped).unwrap();
    let refused = scene.create().await.err().unwrap();
    assert!(
        matches!(refused, StateError::Store(StoreError::WrongKey { .. })),
        "{refused}"
    );
    assert!(!place.unfinished().exists());
    fs::write(place.key_file(), key).unwrap();
    assert_eq!(close(scene.open().await.unwrap()).await, made);
}

#[tokio::test]
async fn an_old_copy_is_refused_unless_it_is_taken_as_found() {
    let scene = Scene::new();
    close(scene.create().await.unwrap()).await;
    let place = scene.place();
    let old = fs::read(place.folder.join("store.db")).unwrap();
    let state = scene.open().await.unwrap();
    let write = Write::new().put_setting("later", Zeroizing::new(vec![1]));
    state.store.commit(write).await.unwrap();
    close(state).await;
    fs::write(place.folder.join("store.db"), old).unwrap();
    let refused = scene.open().await.err().unwrap();
    assert!(
        matches!(refused, StateError::Store(StoreError::RolledBack { .. })),
        "{refused}"
    );
    close(place.open(&scene.platform, true, None).await.unwrap()).await;
}

#[tokio::test]
async fn a_key_that_came_from_elsewhere_is_kept_only_if_it_opens_the_store() {
    let scene = Scene::new();
    let state = scene.create().await.unwrap();
    let root = state.root.clone();
    let made = close(state).await;
    let place = scene.place();
    let adoption = |identity, freshness| Adoption {
        freshness,
        identity,
        store: None,
        leaf: None,
    };
    // Somebody's key stays what it is.
    let other = PlatformKey(SealingKey::generate());
    assert!(matches!(
        place.vacate(Some(&scene.platform), Some(made.0)),
        Err(StateError::Exists(_))
    ));
    for lost in [None, Some(RootKey::generate().id())] {
        let refused = place.vacate(Some(&other), lost);
        assert!(matches!(refused, Err(StateError::OtherKey(_))));
    }
    drop(place.vacate(Some(&other), Some(made.0)).unwrap());
    fs::remove_file(place.key_file()).unwrap();
    let witnessed = || Freshness::Witness(place.witness.clone());
    let adopt = async |root: &RootKey, adoption| {
        let adopted = place.adopt(Some(&other), root.clone(), adoption).await;
        adopted.map(|adopted| adopted.identity.key())
    };
    let wrong = adopt(&RootKey::generate(), adoption(None, witnessed())).await;
    assert!(matches!(
        wrong,
        Err(StateError::Store(StoreError::WrongKey { .. }))
    ));
    let wrong = adopt(&root, adoption(Some(CasKey::of(b"x")), witnessed())).await;
    assert!(matches!(wrong, Err(StateError::OtherCas { .. })));
    let ahead = Freshness::Seen {
        position: crate::store::Position {
            sequence: 1000,
            head: Digest([1; 32]),
        },
        witness: None,
    };
    let wrong = adopt(&root, adoption(None, ahead)).await;
    assert!(matches!(
        wrong,
        Err(StateError::Store(StoreError::RolledBack { .. }))
    ));
    assert!(!place.key_file().exists());
    let right = adopt(&root, adoption(Some(made.1), witnessed())).await;
    assert_eq!(right.unwrap(), made.1);
    assert_eq!(
        close(place.open(&other, false, None).await.unwrap()).await,
        made
    );
}
