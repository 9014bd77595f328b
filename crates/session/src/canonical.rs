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
//! - what has the value of its default is absent, but for the `kind` of secrets that say it,
//!   `common_name` and `size`, which are always there;
//! - lists keep their order, except alternatives and sets (access rules, measurements,
//!   tolerances, advisories, `provide_secrets`), which are sorted.
//!
//! The salt is not in it: it goes into the hash, beside it.

use mse_crypto::Zeroizing;
use mse_crypto::digest::Hasher;
use mse_secrets::Kind;
use serde_json::{Map, Value, json};

use crate::model::{
    AadCredential, AccessPolicy, AccessRule, Acl, Advisories, AttestationEntry, AttestationMode,
    AttestationSettings, Command, EnvironmentValue, EvidenceRule, Explicit, Export, FileProtection,
    FileSystem, FileSystemUpdatePolicy, Generated, Identity, Image, ImportFrom, InjectedFile,
    LanguageVersion, MountedVolume, OrReference, Permission, Recipient, RemoteCas, Secret,
    SecretKey32, SecretSource, SecretStore, Security, SecurityVersion, Service, Session,
    SessionHash, SessionPin, SgxSigner, Terms, UpdatePolicy, Volume, VolumeExport, VolumeOrigin,
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

fn service(service: &Service) -> Value {
    let Service {
        name,
        command,
        environment,
        pwd,
        image,
        file_system,
        attestation,
        platforms,
        one_time_password,
    } = service;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put(
        "command",
        command
            .as_ref()
            .map(|Command(words)| words.iter().map(template).collect()),
    );
    let environment: Map<String, Value> = environment
        .iter()
        .map(|(name, value)| match value {
            EnvironmentValue::Given(value) => (name.to_string(), template(value)),
            EnvironmentValue::FromHost => (format!("\\@\\@{name}"), Value::Null),
        })
        .collect();
    map.put(
        "environment",
        (!environment.is_empty()).then_some(Value::Object(environment)),
    );
    map.put("pwd", pwd.as_ref().map(text));
    map.put("image_name", image.as_ref().map(text));
    if let Some(FileSystem {
        path,
        key,
        tag,
        update_policy,
    }) = file_system
    {
        map.put("fspf_path", Some(text(path)));
        map.put(
            "fspf_key",
            key.as_ref().map(|key| or_reference(key, file_system_key)),
        );
        map.put("fspf_tag", tag.as_ref().map(text));
        map.put(
            "fspf_update_policy",
            (*update_policy != FileSystemUpdatePolicy::default())
                .then(|| update_policy.as_str().into()),
        );
    }
    map.put_list("attestation", attestation, |entry| match entry {
        AttestationEntry::Rule(rule) => evidence(rule),
        AttestationEntry::Fragment(reference) => text(reference),
    });
    map.put_list("platforms", platforms, |one| or_reference(one, text));
    map.put(
        "one_time_password_shared_secret",
        one_time_password.as_ref().map(template),
    );
    Value::Object(map)
}

fn file_system_key(key: &SecretKey32) -> Value {
    Value::String(hex::encode(key.expose()))
}

fn evidence(rule: &EvidenceRule) -> Value {
    let EvidenceRule {
        mrenclave,
        signer,
        workload,
        measurement,
        tee,
        simulated,
    } = rule;
    let mut map = Map::new();
    map.put_list("mrenclave", mrenclave, |one| or_reference(one, text));
    map.put(
        "signer",
        signer.as_ref().map(|signer| {
            let SgxSigner {
                mrsigner,
                isvprodid,
                isvsvn,
            } = signer;
            let mut map = Map::new();
            map.put("mrsigner", Some(or_reference(mrsigner, text)));
            map.put("isvprodid", Some(or_reference(isvprodid, |id| json!(id))));
            match isvsvn {
                SecurityVersion::Exact(version) => {
                    map.put("isvsvn", Some(or_reference(version, |one| json!(one))));
                }
                SecurityVersion::Range(least, most) => {
                    map.put("isvsvn_min", least.map(Value::from));
                    map.put("isvsvn_max", most.map(Value::from));
                }
            }
            Value::Object(map)
        }),
    );
    map.put_list("workload", workload, text);
    map.put_list("measurement", measurement, text);
    map.put_list("tee", tee, |tee| tee.as_str().into());
    map.put_if("simulated", *simulated);
    Value::Object(map)
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
            update_policy.map(|policy| policy.as_str().into()),
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

fn remote(map: &mut Map<String, Value>, cas: Option<&RemoteCas>) {
    if let Some(RemoteCas {
        url,
        key,
        is_software_key,
    }) = cas
    {
        map.put("cas_url", Some(text(url)));
        let name = if *is_software_key {
            "cas_software_key"
        } else {
            "cas_key"
        };
        map.put(name, Some(text(key)));
    }
}

fn secret(secret: &Secret) -> Value {
    let Secret {
        name,
        kind,
        source,
        exports,
        export_public,
        migrate,
    } = secret;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put("kind", kind.as_ref().map(text));
    match source {
        SecretSource::Generated(generated) => generate(&mut map, generated),
        SecretSource::Explicit(Explicit::Fragment(value)) => map.put("value", Some(value.clone())),
        SecretSource::Explicit(Explicit::Text { value, private_key }) => {
            let value = template(value);
            // Hex in either case is the same bytes.
            let value = match (kind, value) {
                (Some(Kind::Binary), Value::String(text)) if hex::decode(text.trim()).is_ok() => {
                    Value::String(text.trim().to_lowercase())
                }
                (_, value) => value,
            };
            map.put("value", Some(value));
            map.put("private_key", private_key.as_ref().map(text));
        }
        SecretSource::Imported(ImportFrom {
            session,
            secret,
            cas,
        }) => {
            let mut import = pin(session);
            import.put("secret", Some(text(secret)));
            remote(&mut import, cas.as_ref());
            map.put("import", Some(Value::Object(import)));
        }
        SecretSource::Vault(import) => {
            let mut vault = Map::new();
            vault.put("vault", Some(text(&import.vault)));
            vault.put("secret_name", Some(text(&import.secret_name)));
            vault.put("token", Some(text(&import.token)));
            vault.put("decryption_key", import.decryption_key.as_ref().map(text));
            map.put("import_akv", Some(Value::Object(vault)));
        }
    }
    map.put_list("export", exports, |export| {
        let Export { to, cas } = export;
        let mut map = recipient(to);
        remote(&mut map, cas.as_ref());
        Value::Object(map)
    });
    map.put_if("export_public", *export_public);
    map.put_if("migrate", *migrate);
    Value::Object(map)
}

fn generate(map: &mut Map<String, Value>, generated: &Generated) {
    match generated {
        Generated::Ascii(size) | Generated::Binary(size) => map.put("size", Some(json!(size))),
        Generated::PrivateKey(key_type) => map.put(
            "key_type",
            (*key_type != mse_secrets::KeyType::default()).then(|| key_type.as_str().into()),
        ),
        Generated::PublicKey(key) => map.put("private_key", Some(text(key))),
        Generated::Certificate(request) => {
            let crate::model::CertificateRequest {
                private_key,
                issuer,
                common_name,
                endpoint,
                names,
                valid_for,
            } = &**request;
            map.put("private_key", private_key.as_ref().map(text));
            map.put("issuer", issuer.as_ref().map(text));
            map.put("common_name", Some(text(common_name)));
            map.put("endpoint", endpoint.map(|end| end.as_str().into()));
            map.put_list("san", names, text);
            map.put("valid_for", valid_for.as_ref().map(text));
        }
        Generated::PgpKey => {}
        Generated::Jwt(request) => {
            map.put("signer", Some(text(&request.signer)));
            map.put(
                "validity",
                Some(json!({ "for": request.valid_for.to_string() })),
            );
            let payload: Map<String, Value> = request
                .payload
                .iter()
                .map(|(name, value)| (name.clone(), template(value)))
                .collect();
            map.put(
                "payload",
                (!payload.is_empty()).then_some(Value::Object(payload)),
            );
        }
        Generated::AadToken(token) => {
            map.put("tenant_id", Some(text(&token.tenant_id)));
            map.put("client_id", Some(text(&token.client_id)));
            match &token.credential {
                AadCredential::Secret(secret) => {
                    map.put("application_secret", Some(template(secret)));
                }
                AadCredential::Certificate {
                    private_key,
                    thumbprint,
                } => {
                    map.put("private_key", Some(template(private_key)));
                    map.put("certificate_thumbprint", Some(text(thumbprint)));
                }
            }
        }
    }
}

fn policy(policy: &AccessPolicy) -> Value {
    let AccessPolicy {
        read,
        update,
        create_sessions,
        list_sessions,
    } = policy;
    let mut map = Map::new();
    let default = Acl::creator();
    map.put("read", (*read != default).then(|| acl(read)));
    map.put("update", (*update != default).then(|| acl(update)));
    map.put("create_sessions", create_sessions.as_ref().map(acl));
    map.put("list_sessions", list_sessions.as_ref().map(acl));
    Value::Object(map)
}

fn acl(rules: &Acl) -> Value {
    match rules {
        Acl::Any => json!(["ANY"]),
        Acl::None => json!(["NONE"]),
        Acl::OneOf(rules) => rules.iter().map(rule).collect(),
        Acl::From(reference) => text(reference),
    }
}

fn rule(one: &AccessRule) -> Value {
    match one {
        AccessRule::Creator => "CREATOR".into(),
        AccessRule::Identity(Identity::Tls(key)) => text(key),
        AccessRule::Identity(Identity::Signer(key)) => json!({ "signer": key.to_pem() }),
        AccessRule::From(reference) => text(reference),
        AccessRule::All(rules) => {
            json!({ "require-all": rules.iter().map(rule).collect::<Value>() })
        }
        AccessRule::AtLeast(count, rules) => {
            let mut map = Map::new();
            let rules = rules.iter().map(rule).collect();
            map.put(&format!("require-at-least-{count}"), Some(rules));
            Value::Object(map)
        }
    }
}

fn security_section(security: &Security) -> Value {
    let Security {
        attestation,
        service_access_token,
        singleton_enclaves,
    } = security;
    let mut map = Map::new();
    map.put(
        "attestation",
        attestation
            .as_ref()
            .map(|settings| or_reference(settings, attestation_settings)),
    );
    map.put(
        "service_access_token",
        service_access_token.as_ref().map(template),
    );
    map.put_if("singleton_enclaves", *singleton_enclaves);
    Value::Object(map)
}

fn attestation_settings(settings: &AttestationSettings) -> Value {
    let AttestationSettings {
        mode,
        tolerate,
        ignore_advisories,
        must_be_sgx_local,
        url,
        certificates,
        one_time_password,
    } = settings;
    let mut map = Map::new();
    map.put(
        "mode",
        match mode {
            AttestationMode::Hardware => None,
            AttestationMode::Maa => Some("maa".into()),
            AttestationMode::None(terms) => Some(with_terms("what", "none", terms.as_ref())),
        },
    );
    map.put_list("tolerate", tolerate, |one| {
        or_reference(one, |one| {
            with_terms("what", one.what.as_str(), one.terms.as_ref())
        })
    });
    match ignore_advisories {
        Advisories::All(terms) => map.put(
            "ignore_advisories",
            Some(with_terms("id", "*", terms.as_ref())),
        ),
        Advisories::Listed(listed) => map.put_list("ignore_advisories", listed, |one| {
            or_reference(one, |one| with_terms("id", &one.id, one.terms.as_ref()))
        }),
    }
    map.put_if("must_be_sgx_local", *must_be_sgx_local);
    map.put("url", url.as_ref().map(text));
    map.put_list("certificates", certificates, text);
    map.put(
        "one_time_password_shared_secret",
        one_time_password.as_ref().map(template),
    );
    Value::Object(map)
}

fn with_terms(key: &str, word: &str, terms: Option<&Terms>) -> Value {
    let Some(Terms { reason, until }) = terms else {
        return word.into();
    };
    json!({ key: word, "reason": reason, "until": until.to_string() })
}
