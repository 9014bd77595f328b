//! The canonical form, the hash over it, and the text in which a session travels.
//!
//! The form is a JSON object (RFC 8785: sorted keys, no white space) in the session language
//! itself: reading it gives the same session. In it
//!
//! - every legacy spelling is the modern one, every short form the long one, every relative path
//!   absolute, every reference `$$MSE::…$$` with the first of equal formats;
//! - commands are lists, permissions `0o600`, hex digits lower-case, times in UTC, certificates in
//!   access rules the hashes of their keys, short ids of signers their public keys;
//! - `version` is 0.3.12, in whatever version the author wrote: it says what may stand in the text,
//!   and nothing about what it means;
//! - what has the value of its default is absent, but for the `kind` of secrets that say it, and
//!   `size`, which is always there;
//! - lists keep their order, except alternatives and sets (access rules, measurements,
//!   tolerances, advisories, `provide_secrets`), which are sorted.
//!
//! The salt is not in it: it goes into the hash, beside it.

mod policy;
mod secret;
mod service;

use mse_crypto::Zeroizing;
use mse_crypto::digest::Hasher;
use serde_json::{Map, Value, json};

use self::policy::{policy, security_section};
use self::secret::secret;
use self::service::{file_system_key, service};
use crate::model::{
    AccessPolicy, FileProtection, Identity, Image, InjectedFile, LanguageVersion, MountedVolume,
    OrReference, Permission, Recipient, SecretStore, Security, Session, SessionHash, SessionPin,
    UpdatePolicy, Volume, VolumeExport, VolumeOrigin,
};

/// The version of the language that the form is written in. It belongs to `mse-session-v1`: a later
/// language does not change the hashes of sessions that need nothing of it.
const VERSION: LanguageVersion = LanguageVersion::of_patch(12);

/// The prefix of what is hashed.
pub(crate) const HASH_DOMAIN: &str = "mse-session-v1";

impl Session {
    /// The canonical form, without the salt. Explicit secrets are in it.
    pub fn canonical(&self) -> Zeroizing<String> {
        canonical_text(&Value::Object(document(self)))
    }

    /// The text in which the session travels once its variables are replaced: the canonical form
    /// with the salt. [`crate::check_text`] with [`crate::Variables::replaced`] gives the session
    /// back.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut document = document(self);
        document.put("salt", self.salt.map(|salt| salt.to_string().into()));
        canonical_text(&Value::Object(document))
    }

    /// `SHA-256("mse-session-v1" ‖ 0 ‖ length of the salt (8 bytes, big-endian) ‖ salt ‖ canonical
    /// form)`. The salt is 16 bytes, or none.
    pub fn hash(&self) -> SessionHash {
        let mut hasher = Hasher::with_domain(HASH_DOMAIN);
        hasher.update_field(self.salt.as_ref().map_or(&[][..], |salt| &salt.0));
        hasher.update(self.canonical().as_bytes());
        SessionHash(hasher.finish().0)
    }
}

fn canonical_text(value: &Value) -> Zeroizing<String> {
    Zeroizing::new(
        serde_json_canonicalizer::to_string(value)
            .expect("texts and whole numbers have a canonical form"),
    )
}

/// Entries that are there only if they say something.
trait Put {
    fn put(&mut self, key: &str, value: Option<Value>);
    fn put_list<T>(&mut self, key: &str, items: &[T], value: impl Fn(&T) -> Value);
    fn put_if(&mut self, key: &str, is_set: bool);
}

impl Put for Map<String, Value> {
    fn put(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.insert(key.to_owned(), value);
        }
    }

    fn put_list<T>(&mut self, key: &str, items: &[T], value: impl Fn(&T) -> Value) {
        if !items.is_empty() {
            self.insert(key.to_owned(), items.iter().map(value).collect());
        }
    }

    fn put_if(&mut self, key: &str, is_set: bool) {
        if is_set {
            self.insert(key.to_owned(), Value::Bool(true));
        }
    }
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

fn template(value: &crate::Template) -> Value {
    Value::String(value.to_text().to_string())
}

fn or_reference<T>(value: &OrReference<T>, given: impl Fn(&T) -> Value) -> Value {
    match value {
        OrReference::Given(value) => given(value),
        OrReference::From(reference) => text(reference),
    }
}

fn document(session: &Session) -> Map<String, Value> {
    // Exhaustive: what is added to the model must be decided upon here.
    let Session {
        name,
        predecessor,
        namespace_hash,
        salt: _,
        creator,
        services,
        images,
        volumes,
        secrets,
        access_policy,
        security,
        secret_store,
    } = session;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put("version", Some(text(&VERSION)));
    map.put("predecessor", predecessor.as_ref().map(text));
    map.put("namespace_hash", namespace_hash.as_ref().map(text));
    map.put(
        "creator",
        creator.as_ref().map(|creator| match creator {
            Identity::Tls(key) => json!({ "key": key.to_string() }),
            Identity::Signer(key) => json!({ "signer": key.to_pem() }),
        }),
    );
    map.put_list("services", services, service);
    map.put_list("images", images, image);
    map.put_list("volumes", volumes, volume);
    map.put_list("secrets", secrets, secret);
    map.put(
        "access_policy",
        (*access_policy != OrReference::Given(AccessPolicy::default()))
            .then(|| or_reference(access_policy, policy)),
    );
    map.put(
        "security",
        (*security != OrReference::Given(Security::default()))
            .then(|| or_reference(security, security_section)),
    );
    map.put(
        "secret_config",
        match secret_store {
            SecretStore::Cas => None,
            SecretStore::Vault { vault, token } => {
                Some(json!({"store_in": {"akv": {"vault": vault, "token": token.as_str()}}}))
            }
        },
    );
    map
}

fn image(image: &Image) -> Value {
    let Image {
        name,
        volumes,
        injection_files,
        provide_secrets,
    } = image;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put_list("volumes", volumes, |volume| {
        let MountedVolume {
            name,
            path,
            update_policy,
        } = volume;
        let mut map = Map::new();
        map.put("name", Some(text(name)));
        map.put("path", Some(text(path)));
        map.put(
            "update_policy",
            (*update_policy != UpdatePolicy::default()).then(|| update_policy.as_str().into()),
        );
        Value::Object(map)
    });
    map.put_list("injection_files", injection_files, |file| {
        let InjectedFile {
            path,
            content,
            permission,
        } = file;
        let mut map = Map::new();
        map.put("path", Some(text(path)));
        map.put("content", content.as_ref().map(template));
        map.put(
            "permission",
            (*permission != Permission::default()).then(|| text(permission)),
        );
        Value::Object(map)
    });
    map.put(
        "provide_secrets",
        provide_secrets
            .as_ref()
            .map(|names| names.iter().map(text).collect()),
    );
    Value::Object(map)
}

fn volume(volume: &Volume) -> Value {
    let Volume {
        name,
        files,
        origin,
        exports,
    } = volume;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put(
        "files",
        (*files != FileProtection::default()).then(|| files.as_str().into()),
    );
    match origin {
        VolumeOrigin::Generated => {}
        VolumeOrigin::Existing { key, tag } => {
            map.put("fspf_key", Some(or_reference(key, file_system_key)));
            map.put("fspf_tag", tag.as_ref().map(text));
        }
        VolumeOrigin::Imported { session, volume } => {
            let mut import = pin(session);
            import.put("volume", Some(text(volume)));
            map.put("import", Some(Value::Object(import)));
        }
    }
    map.put_list("export", exports, |export| {
        let VolumeExport {
            to,
            update_policy,
            alias,
        } = export;
        let mut map = Map::new();
        map.put("to", Some(Value::Object(recipient(to))));
        map.put(
            "update_policy",
            (*update_policy != UpdatePolicy::default()).then(|| update_policy.as_str().into()),
        );
        map.put("volume_alias", alias.as_ref().map(text));
        Value::Object(map)
    });
    Value::Object(map)
}

fn pin(pin: &SessionPin) -> Map<String, Value> {
    let SessionPin { session, hash } = pin;
    let mut map = Map::new();
    map.put("session", Some(text(session)));
    map.put("session_hash", hash.as_ref().map(text));
    map
}

fn recipient(to: &Recipient) -> Map<String, Value> {
    match to {
        Recipient::Session(session) => pin(session),
        Recipient::Namespace(name) => {
            let mut map = Map::new();
            map.put("namespace", Some(text(name)));
            map
        }
    }
}
