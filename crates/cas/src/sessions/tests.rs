mod governance;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_api::cas::{
    APPROVAL_DOMAIN, GivenValue, NewProposal, ProposalState, REVOCATION_DOMAIN,
    RevocationSignature, Rotation, Upload, Vote, WITHDRAWAL_DOMAIN,
};
use mse_audit::entry::{Entry, Event};
use mse_crypto::hpke::{KeyPair, PublicKey};
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_secrets::{Binding, OwnerValue};
use mse_session::{
    Compatibility, EncryptedSession, KeyHash, Operation, SecretName, SessionName, SignedSession,
    Variables, check_text,
};
use tempfile::TempDir;

use super::change::version;
use super::vault::Vault;
use super::*;
use crate::audit_log::MerkleLog;
use crate::keys::RootKey;
use crate::store::{Freshness, Location, SessionHead, Write};

const OWNER: KeyHash = KeyHash([1; 32]);
const ALICE: KeyHash = KeyHash([2; 32]);

struct Cas {
    sessions: Arc<Sessions>,
    encryption: PublicKey,
    root: RootKey,
    folder: TempDir,
}

impl Cas {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::generate();
        let store = Store::create(&location(&folder), &root, audit_log(), None)
            .await
            .unwrap();
        let encryption = KeyPair::generate();
        Self {
            encryption: encryption.public(),
            sessions: Arc::new(Sessions::new(store, encryption, OWNER)),
            root,
            folder,
        }
    }

    /// Another process with the same store.
    async fn replica(&self) -> Sessions {
        let (location, found) = (location(&self.folder), Freshness::AsFound(None));
        let store = Store::open(&location, &self.root, audit_log(), found).await;
        Sessions::new(store.unwrap(), KeyPair::generate(), OWNER)
    }

    async fn put(&self, text: &str, who: &Asker) -> Result<Stored, SessionError> {
        self.sessions.upload(&Upload::Text(text.into()), who).await
    }

    /// Stores it for the owner, and fails the test if it cannot be.
    async fn stored(&self, text: &str) -> Stored {
        match self.put(text, &owner()).await {
            Ok(stored) => stored,
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    async fn text_of(&self, session: &str, secret: &str) -> String {
        let loaded = self.sessions.load(&name(session)).await.unwrap();
        let value = loaded.values.get(&secret.parse().unwrap());
        value.map_or_else(String::new, |value| hex::encode(&**value.to_bytes()))
    }

    async fn events(&self) -> Vec<Entry> {
        let store = self.sessions.store();
        let leaves = store.log_leaves(0..u64::MAX).await.unwrap();
        leaves
            .iter()
            .map(|leaf| Entry::from_canonical(leaf).unwrap())
            .collect()
    }
}

fn location(folder: &TempDir) -> Location {
    Location::Sqlite(folder.path().join("store"))
}

/// All replicas sign with the same key.
fn audit_log() -> Arc<MerkleLog> {
    MerkleLog::new(SigningKey::ed25519_of_seed(&[7; 32]))
}

fn asker(key: KeyHash) -> Asker {
    Asker {
        tls: Some(key),
        ..Asker::default()
    }
}

fn owner() -> Asker {
    asker(OWNER)
}

fn name(text: &str) -> SessionName {
    text.parse().unwrap()
}

fn session(name: &str, rest: &str) -> String {
    format!("name: {name}\nversion: '0.3.12'\nservices: []\n{rest}")
}

#[tokio::test]
async fn the_owner_creates_and_others_only_where_they_are_let() {
    let cas = Cas::new().await;
    let refused = cas.put(&session("a", ""), &asker(ALICE)).await;
    assert!(matches!(refused, Err(SessionError::Forbidden { .. })));
    let refused = cas.put(&session("a", ""), &Asker::default()).await;
    assert!(matches!(refused, Err(SessionError::Anonymous)));
    let refused = cas.put(&session("a/b", ""), &owner()).await;
    assert!(matches!(
        refused,
        Err(SessionError::Field { field: "name", .. })
    ));

    let root = session(
        "/",
        &format!("access_policy:\n  create_sessions: ['{ALICE}']\n"),
    );
    cas.stored(&root).await;
    let made = cas.put(&session("a", ""), &asker(ALICE)).await.unwrap();
    assert_eq!(made.number, 1);
    // In hers, others may not, not even the owner of the CAS; nor may they read it.
    for result in [
        cas.put(&session("a/b", ""), &owner()).await.err(),
        cas.sessions.read(&name("a"), None, &owner()).await.err(),
        cas.sessions
            .revoke(&name("a"), made.hash, &[], &owner())
            .await
            .err(),
    ] {
        assert!(matches!(result, Some(SessionError::Forbidden { .. })));
    }
    let listed = |who: Asker| {
        let sessions = Arc::clone(&cas.sessions);
        async move {
            sessions
                .list(&SessionName::root(), &who)
                .await
                .unwrap()
                .len()
        }
    };
    assert_eq!(listed(owner()).await, 2);
    assert_eq!(listed(asker(ALICE)).await, 1);
    assert_eq!(listed(Asker::default()).await, 0);
}

#[tokio::test]
async fn a_session_says_who_made_it_and_cannot_say_otherwise() {
    let cas = Cas::new().await;
    let lie = session("a", &format!("creator: {{key: '{ALICE}'}}\n"));
    let refused = cas.put(&lie, &owner()).await;
    assert!(matches!(
        refused,
        Err(SessionError::Field {
            field: "creator",
            ..
        })
    ));
    let stored = cas.stored(&session("a", "")).await;
    let seen = cas.sessions.read(&name("a"), None, &owner()).await.unwrap();
    assert!(String::from_utf8_lossy(&seen.version.text).contains(&OWNER.to_string()));
    let taken = format!(
        "predecessor: {}\ncreator: {{key: '{ALICE}'}}\n",
        stored.hash
    );
    let refused = cas.put(&session("a", &taken), &owner()).await;
    assert!(matches!(
        refused,
        Err(SessionError::Field {
            field: "creator",
            ..
        })
    ));
}

#[tokio::test]
async fn an_update_names_the_version_that_it_changes() {
    let cas = Cas::new().await;
    let secrets =
        "secrets:\n- {name: p, kind: ascii, size: 20}\n- {name: q, kind: ascii, size: 9}\n";
    let first = cas.stored(&session("a", secrets)).await;
    let again = cas.put(&session("a", secrets), &owner()).await;
    assert!(matches!(again, Err(SessionError::Exists(_))));
    let (p, q) = (cas.text_of("a", "p").await, cas.text_of("a", "q").await);
    let next = format!(
        "predecessor: {}\n{}",
        first.hash,
        secrets.replace("size: 9", "size: 10")
    );
    let second = cas.stored(&session("a", &next)).await;
    assert_eq!((second.number, second.predecessor), (2, Some(first.hash)));
    // What is asked for as before is kept, what is not is new.
    assert_eq!(cas.text_of("a", "p").await, p);
    assert_ne!(cas.text_of("a", "q").await, q);
    let lines = cas.sessions.secrets(&name("a"), &owner()).await.unwrap();
    assert_eq!((lines.secrets[0].version, lines.secrets[1].version), (1, 2));

    let late = cas.put(&session("a", &next), &owner()).await;
    assert!(matches!(late, Err(SessionError::Moved { .. })));
    let other = cas.put(&session("a", &next), &asker(ALICE)).await;
    assert!(matches!(other, Err(SessionError::Forbidden { .. })));
    let old = cas
        .sessions
        .read(&name("a"), Some(first.hash), &owner())
        .await
        .unwrap();
    assert!(!old.is_current);
    assert_eq!(
        cas.sessions
            .history(&name("a"), &owner())
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_session_that_could_never_be_served_is_refused() {
    let cas = Cas::new().await;
    for (rest, part) in [
        (
            "secrets:\n- {name: a, import: {session: b, secret: c}}\n",
            "cannot be imported",
        ),
        ("security: {singleton_enclaves: true}\n", "not supported"),
        ("pwd: /\n", "is not known here"),
    ] {
        let mut text = session("a", rest);
        if rest.starts_with("security") {
            text = text
                .replace(
                    "services: []",
                    "services:\n- {name: s, command: x, pwd: /, attestation: {mrenclave: 'MRE'}}",
                )
                .replace("MRE", &"ab".repeat(32));
        }
        let error = cas.put(&text, &owner()).await.err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(
        cas.sessions
            .list(&SessionName::root(), &owner())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn secrets_are_given_to_whom_they_are_exported_and_followed() {
    let cas = Cas::new().await;
    let exporter = "secrets:\n- {name: p, kind: ascii, size: 20, export: {session: b}}\n- {name: q, kind: ascii, size: 20}\n";
    cas.stored(&session("a", exporter)).await;
    let import = |secret: &str| {
        format!("secrets:\n- {{name: mine, import: {{session: a, secret: {secret}}}}}\n")
    };
    cas.stored(&session("b", &import("p"))).await;
    assert_eq!(cas.text_of("b", "mine").await, cas.text_of("a", "p").await);
    for (who, what) in [("b2", "p"), ("c", "q"), ("d", "none")] {
        let refused = cas.put(&session(who, &import(what)), &owner()).await;
        let error = refused.err().unwrap().to_string();
        assert!(
            error.contains("cannot be imported"),
            "{who} {what}: {error}"
        );
    }
    let rotation = Rotation {
        session: "a".into(),
        secret: "p".into(),
        grace: 0,
    };
    let before = cas.text_of("a", "p").await;
    cas.sessions.rotate(&rotation, &owner()).await.unwrap();
    assert_ne!(cas.text_of("a", "p").await, before);
    assert_eq!(cas.text_of("b", "mine").await, cas.text_of("a", "p").await);
    // So does the one before, as long as it is accepted.
    let graceful = Rotation {
        grace: 600,
        ..rotation
    };
    let before = cas.text_of("a", "p").await;
    cas.sessions.rotate(&graceful, &owner()).await.unwrap();
    let importer = cas.sessions.load(&name("b")).await.unwrap();
    let (value, is_presented) = importer
        .values
        .previous(&"mine".parse().unwrap())
        .expect("it is imported, too");
    assert_eq!(hex::encode(&**value.to_bytes()), before);
    assert!(is_presented);
    // Revoked, it gives nothing any more.
    let hash = cas.sessions.load(&name("a")).await.unwrap().hash();
    cas.sessions
        .revoke(&name("a"), hash, &[], &owner())
        .await
        .unwrap();
    let left = cas.sessions.load(&name("b")).await.unwrap();
    assert_eq!(left.missing.len(), 1);
}

#[tokio::test]
async fn who_carries_a_sealed_session_does_not_become_its_owner() {
    let cas = Cas::new().await;
    cas.stored(&format!(
        "name: team\nversion: '0.3.12'\naccess_policy:\n  create_sessions: ['{ALICE}', '{OWNER}']\n"
    ))
    .await;
    let sealed = |creator: &str| {
        let text = format!("name: team/app\nversion: '0.3.12'\n{creator}");
        let (session, _) = check_text(&text, &Variables::replaced(), Compatibility::Strict)
            .into_result()
            .unwrap();
        let sealed = EncryptedSession::seal(&cas.encryption, &SignedSession::new(&session));
        Upload::Encrypted(serde_json::from_str(&sealed.unwrap().to_json()).unwrap())
    };
    let carrier = asker(ALICE);
    // It says nothing about whose it is: Alice could read what was sealed from her.
    let unclaimed = cas.sessions.upload(&sealed(""), &carrier).await;
    assert!(matches!(
        unclaimed,
        Err(SessionError::Field {
            field: "creator",
            ..
        })
    ));
    let owners = sealed(&format!("creator: {{key: {OWNER}}}\n"));
    assert!(cas.sessions.upload(&owners, &carrier).await.is_err());
    cas.sessions.upload(&owners, &owner()).await.unwrap();
    let hers = cas.sessions.load(&name("team/app")).await.unwrap();
    assert!(!hers.allows(Operation::Read, &carrier));
}

#[tokio::test]
async fn a_revoked_namespace_lets_nobody_list_it() {
    let cas = Cas::new().await;
    let parent = cas
        .stored(&format!(
            "name: team\nversion: '0.3.12'\naccess_policy:\n  list_sessions: ['{ALICE}']\n  read: ['{OWNER}']\n"
        ))
        .await;
    cas.stored("name: team/app\nversion: '0.3.12'\n").await;
    let listed = |who: Asker| {
        let sessions = Arc::clone(&cas.sessions);
        async move { sessions.list(&name("team"), &who).await.unwrap() }
    };
    let has_app = |list: Vec<(SessionName, SessionHead)>| {
        list.iter().any(|(one, _)| *one == name("team/app"))
    };
    assert!(has_app(listed(asker(ALICE)).await));
    cas.sessions
        .revoke(&name("team"), parent.hash, &[], &owner())
        .await
        .unwrap();
    assert!(!has_app(listed(asker(ALICE)).await));
}

#[tokio::test]
async fn sessions_that_import_in_a_circle_are_found_out() {
    let cas = Cas::new().await;
    let text = |to: &str, from: &str, predecessor: &str| {
        format!(
            "{predecessor}secrets:\n- {{name: own, kind: ascii, size: 9, export: {{session: {to}}}}}\n{}",
            if from.is_empty() {
                String::new()
            } else {
                format!("- {{name: got, import: {{session: {from}, secret: own}}}}\n")
            }
        )
    };
    let a = cas.stored(&session("a", &text("b", "", ""))).await;
    cas.stored(&session("b", &text("a", "a", ""))).await;
    let circle = text("b", "b", &format!("predecessor: {}\n", a.hash));
    let refused = cas.put(&session("a", &circle), &owner()).await;
    assert!(matches!(refused, Err(SessionError::ImportsTooDeep(_))));
    // One that came about all the same is missed where it is closed, and can be mended.
    let loaded = cas.sessions.load(&name("a")).await.unwrap();
    let checked = check_text(
        &session("a", &circle),
        &Variables::replaced(),
        Compatibility::Strict,
    );
    let closing = checked.into_result().unwrap().0;
    let closing = closing.with_creator(loaded.session.creator.clone().unwrap());
    let hash = closing.hash();
    let mut vault = loaded.vault.clone();
    vault.made_for = hash;
    let write = Write::new()
        .update_session("a", loaded.head.hash, version(&closing, hash))
        .put_secret(Vault::id("a", 2), vault.to_bytes());
    cas.sessions.commit(&name("a"), write).await.unwrap();
    let loaded = cas.sessions.load(&name("a")).await.unwrap();
    assert_eq!(loaded.missing.len(), 1);
    let open = text("b", "", &format!("predecessor: {hash}\n"));
    cas.stored(&session("a", &open)).await;
}

#[tokio::test]
async fn a_rotated_value_and_the_one_before_are_accepted_for_the_grace() {
    let cas = Cas::new().await;
    cas.stored(&session(
        "a",
        "secrets:\n- {name: p, kind: ascii, size: 20}\n",
    ))
    .await;
    let render = || async {
        let loaded = cas.sessions.load(&name("a")).await.unwrap();
        let text = |text: &str| {
            let parsed = mse_session::Template::parse(text, mse_session::HostArguments::Literal);
            let reference = parsed
                .unwrap()
                .template
                .references()
                .next()
                .unwrap()
                .clone();
            String::from_utf8(loaded.values.render(&reference).unwrap().to_vec()).unwrap()
        };
        assert_eq!(text("$$MSE::p:presented$$"), text("$$MSE::p:previous$$"));
        (text("$$MSE::p$$"), text("$$MSE::p:previous$$"))
    };
    let (first, before) = render().await;
    assert_eq!(first, before);
    let rotation = |grace| Rotation {
        session: "a".into(),
        secret: "p".into(),
        grace,
    };
    let lines = cas.sessions.rotate(&rotation(600), &owner()).await.unwrap();
    assert_eq!(lines.secrets[0].version, 2);
    assert!(lines.secrets[0].grace_until.is_some());
    let (second, before) = render().await;
    assert_ne!(second, first);
    assert_eq!(before, first);
    let refused = cas.sessions.rotate(&rotation(0), &asker(ALICE)).await;
    assert!(matches!(refused, Err(SessionError::Forbidden { .. })));
    cas.sessions.rotate(&rotation(0), &owner()).await.unwrap();
    let (third, before) = render().await;
    assert_eq!(third, before);
    let rotated = |entry: &Entry| matches!(entry.event, Event::SecretRotated { .. });
    assert_eq!(
        cas.events()
            .await
            .iter()
            .filter(|entry| rotated(entry))
            .count(),
        2
    );
}

#[tokio::test]
async fn certificates_are_renewed_when_their_time_has_come() {
    let cas = Cas::new().await;
    let secrets = "secrets:
- {name: ca, kind: x509-ca, common_name: Test CA, valid_for: 1 day}
- {name: web, kind: x509, issuer: ca, common_name: web, valid_for: 3 s}
";
    cas.stored(&session("a", secrets)).await;
    let before = cas.text_of("a", "web").await;
    let ca = cas.text_of("a", "ca").await;
    let loaded = cas.sessions.load(&name("a")).await.unwrap();
    let wait = loaded.settled_for(SystemTime::now()).unwrap();
    assert!(wait <= Duration::from_secs(3));
    tokio::time::sleep(wait + Duration::from_millis(50)).await;
    assert_ne!(cas.text_of("a", "web").await, before);
    assert_eq!(cas.text_of("a", "ca").await, ca);
}

#[tokio::test]
async fn an_owners_value_is_taken_once_and_for_its_version() {
    let cas = Cas::new().await;
    let key = SigningKey::generate(Algorithm::Ed25519);
    let pem = key.public().to_pem().replace('\n', "\n      ");
    let policy = format!(
        "secrets:\n- {{name: p, kind: ascii, size: 20}}\naccess_policy:\n  read: [CREATOR]\n  update:\n  - signer: |\n      {pem}\n"
    );
    let stored = cas.stored(&session("a", &policy)).await;
    let give = |version, key: &SigningKey, text: &str| {
        let binding = Binding {
            owner: key.public(),
            session: "a".into(),
            session_hash: stored.hash.0,
            grace: 0,
            secret: "p".into(),
            version,
        };
        let sealed = OwnerValue::seal(text.as_bytes(), &cas.encryption, key, &binding).unwrap();
        GivenValue {
            session: "a".into(),
            secret: "p".into(),
            version,
            owner: key.public().to_pem(),
            value: BASE64.encode(sealed.to_bytes()),
            grace: 0,
        }
    };
    let nobody = Asker::default();
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    let refused = cas.sessions.give(&give(2, &stranger, "x"), &nobody).await;
    assert!(matches!(refused, Err(SessionError::Forbidden { .. })));
    let mine = give(2, &key, "hunter2");
    let lines = cas.sessions.give(&mine, &nobody).await.unwrap();
    assert_eq!(
        (lines.secrets[0].source, lines.secrets[0].version),
        ("given", 2)
    );
    for again in [mine, give(4, &key, "y")] {
        let refused = cas.sessions.give(&again, &nobody).await;
        assert!(matches!(refused, Err(SessionError::Moved { .. })));
    }
    let mut longer = give(3, &key, "z");
    longer.grace = 600;
    assert!(cas.sessions.give(&longer, &nobody).await.is_err());
    let mut moved = give(3, &key, "z");
    moved.secret = "q".into();
    assert!(matches!(
        cas.sessions.give(&moved, &nobody).await,
        Err(SessionError::Field { field: "value", .. })
    ));
}

#[tokio::test]
async fn what_is_for_all_is_never_a_private_key() {
    let cas = Cas::new().await;
    let secrets = "secrets:
- {name: key, kind: private-key, export_public: true}
- {name: ca, kind: x509-ca, private_key: key, common_name: C, export_public: true}
- {name: own, kind: x509-ca, common_name: C, export_public: true}
- {name: pgp, kind: pgp-key, export_public: true}
- {name: p, kind: ascii, size: 20}
";
    cas.stored(&session("a", secrets)).await;
    for secret in ["key", "ca", "own", "pgp"] {
        let value = cas
            .sessions
            .public_value(&name("a"), &secret.parse().unwrap())
            .await
            .unwrap();
        assert!(!value.value.contains("PRIVATE"), "{secret}");
        assert!(value.value.contains("-----BEGIN"), "{secret}");
    }
    for (session, secret) in [("a", "p"), ("a", "none"), ("b", "p")] {
        let secret: SecretName = secret.parse().unwrap();
        let refused = cas.sessions.public_value(&name(session), &secret).await;
        assert!(matches!(refused, Err(SessionError::NoSecret { .. })));
    }
}

#[tokio::test]
async fn a_certificate_is_exported_without_a_key_that_is_not() {
    let cas = Cas::new().await;
    let key = SigningKey::generate(Algorithm::P384);
    let rcgen_key = rcgen::KeyPair::from_pem(&key.to_pem()).unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let pem = params.self_signed(&rcgen_key).unwrap().pem();
    let block = |text: &str| text.trim().replace('\n', "\n    ");
    let secrets = format!(
        "secrets:
- name: k
  kind: private-key
  value: |
    {}
- name: c
  kind: x509
  private_key: k
  export: {{session: b}}
  value: |
    {}
",
        block(&key.to_pem()),
        block(&pem)
    );
    cas.stored(&session("a", &secrets)).await;
    cas.stored(&session(
        "b",
        "secrets:\n- {name: c, import: {session: a, secret: c}}\n",
    ))
    .await;
    let has_key = |name: &'static str| {
        let sessions = Arc::clone(&cas.sessions);
        async move {
            let loaded = sessions.load(&self::name(name)).await.unwrap();
            let value = loaded.values.get(&"c".parse().unwrap()).unwrap();
            value.private_key().is_some()
        }
    };
    assert!(has_key("a").await);
    assert!(!has_key("b").await);
}

#[tokio::test]
async fn what_cannot_be_renewed_is_used_as_it_is_and_can_be_mended() {
    let cas = Cas::new().await;
    let ca = "secrets:\n- {name: ca, kind: x509-ca, common_name: C, export: {session: b}}\n";
    let exporter = cas.stored(&session("a", ca)).await;
    let leaf = "secrets:\n- {name: ca, import: {session: a, secret: ca}}\n- {name: web, kind: x509, issuer: ca, common_name: w, valid_for: 2 s}\n";
    let importer = cas.stored(&session("b", leaf)).await;
    // The exporter gives its key no more; then the leaf's time comes.
    let less = format!(
        "predecessor: {}\nsecrets:\n- {{name: k, kind: private-key}}\n- {{name: ca, kind: x509-ca, private_key: k, common_name: C, export: {{session: b}}}}\n",
        exporter.hash
    );
    cas.stored(&session("a", &less)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let loaded = cas.sessions.load(&name("b")).await.unwrap();
    assert!(loaded.values.get(&"web".parse().unwrap()).is_some());
    let alone = format!(
        "predecessor: {}\nsecrets:\n- {{name: web, kind: x509, common_name: w}}\n",
        importer.hash
    );
    cas.stored(&session("b", &alone)).await;
}

#[tokio::test]
async fn another_replicas_change_shows_after_a_moment() {
    let cas = Cas::new().await;
    let exporter = "secrets:\n- {name: p, kind: ascii, size: 9, export: {session: b}}\n";
    let first = cas.stored(&session("a", exporter)).await;
    let import = "secrets:\n- {name: q, import: {session: a, secret: p}}\n";
    cas.stored(&session("b", import)).await;
    let other = cas.replica().await;
    assert!(!other.load(&name("a")).await.unwrap().is_revoked());
    let importing = other.load(&name("b")).await.unwrap();
    assert!(importing.missing.is_empty());
    cas.sessions
        .revoke(&name("a"), first.hash, &[], &owner())
        .await
        .unwrap();
    tokio::time::sleep(FRESH).await;
    assert!(other.load(&name("a")).await.unwrap().is_revoked());
    let importing = other.load(&name("b")).await.unwrap();
    assert_eq!(importing.missing.len(), 1);
}

#[tokio::test]
async fn what_is_changed_here_shows_at_once_and_what_is_not_is_not_read_again() {
    let cas = Cas::new().await;
    let secret = "secrets:\n- {name: p, kind: ascii, size: 9}\n";
    cas.stored(&session("a", secret)).await;
    cas.stored(&session("b", secret)).await;
    let load = async |which: &str| cas.sessions.load(&name(which)).await.unwrap();
    let (a, b) = (load("a").await, load("b").await);
    let rotation = Rotation {
        session: "a".into(),
        secret: "p".into(),
        grace: 0,
    };
    cas.sessions.rotate(&rotation, &owner()).await.unwrap();
    assert_eq!(load("a").await.vault_number, a.vault_number + 1);
    tokio::time::sleep(FRESH).await;
    assert!(Arc::ptr_eq(&load("b").await, &b));
}
