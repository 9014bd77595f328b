//! The whole session.

use std::collections::BTreeSet;

use mse_secrets::Kind;
use mse_yaml::{Code, Content, Field, Fields, Node, Spot, optional, or_default, shown};

use super::{Reader, SessionField};
use crate::check::Compatibility;
use crate::model::{
    AccessPolicy, AttestationMode, Feature, Hex, Identity, KeyHash, LanguageVersion, OrReference,
    Secret, SecretStore, Security, Session, SessionHash, SessionName,
};

/// Reads a session; None: the report says why.
pub(crate) fn session(r: &mut Reader, root: &Node) -> Option<Session> {
    let root = Field::root(root);
    let mut fields = root.map(r)?;
    r.version = version(r, &mut fields);
    let name = fields
        .require(r, "name")
        .and_then(|field| session_name(r, &field));
    r.session.clone_from(&name);

    let sections = Sections::open(r, &mut fields);
    let predecessor = predecessor(r, &mut fields);
    let namespace_hash = optional(fields.get("namespace_hash"), |field| {
        r.uses(Feature::NamespaceHash, &field.spot);
        if !matches!(predecessor, Some(None)) {
            r.report.error_with(
                Code::Conflict,
                &field.spot,
                "`namespace_hash` is for new sessions, and `predecessor` for those that exist",
                "remove one of them",
            );
        }
        field.parse::<SessionHash>(r, Code::BadValue)
    });
    let salt = optional(fields.get("salt"), |field| {
        r.uses(Feature::Salt, &field.spot);
        let text = field.text(r)?;
        // A salt that was cut short is still most of a salt: it is not repeated.
        let salt = text.parse::<Hex<16>>().map_err(|_| SALT_FORM);
        field.or_report(r, Code::BadValue, salt)
    });
    if matches!(salt, Some(None)) {
        r.report.warn(
            Code::MissingSalt,
            &Spot {
                path: String::new(),
                at: None,
            },
            "without a salt, who guesses the content can confirm it by the session's hash",
            "write `salt:` and 32 random hex digits",
        );
    }
    let creator = optional(fields.get("creator"), |field| creator(r, &field));
    let access_policy = match fields.get("access_policy") {
        Some(field) => field.or_reference(r, |field, r| super::policy(r, field)),
        None => Some(OrReference::Given(AccessPolicy::default())),
    };
    let security = match fields.get("security") {
        Some(field) => field.or_reference(r, |field, r| super::security(r, field)),
        None => Some(OrReference::Given(Security::default())),
    };
    let secret_store = or_default(fields.get("secret_config"), |field| store(r, &field));
    fields.finish(r);

    let secrets = sections.secrets(r);
    let volumes = Sections::read(r, &sections.volumes, |r, field| {
        super::volume::volume(r, field)
    });
    let mut legacy = Vec::new();
    let images = Sections::read(r, &sections.images, |r, field| {
        super::image::image(r, field, &mut legacy)
    });
    let is_attestation_off = matches!(&security, Some(OrReference::Given(Security {
        attestation: Some(OrReference::Given(settings)), ..
    })) if matches!(settings.mode, AttestationMode::None(_)));
    let services = Sections::read(r, &sections.services, |r, field| {
        super::service::service(r, field, &legacy, is_attestation_off)
    });
    for (fields, what) in [
        (&sections.services, "service"),
        (&sections.images, "image"),
        (&sections.volumes, "volume"),
        (&sections.secrets, "secret"),
    ] {
        unique(r, fields, what);
    }

    Some(Session {
        name: name?,
        predecessor: predecessor?,
        namespace_hash: namespace_hash?,
        salt: salt?,
        creator: creator?,
        services: whole(services)?,
        images: whole(images)?,
        volumes: whole(volumes)?,
        secrets: whole(secrets)?,
        access_policy: access_policy?,
        security: security?,
        secret_store: secret_store?,
    })
}

/// The lists of the session.
struct Sections<'n> {
    services: Vec<Field<'n>>,
    images: Vec<Field<'n>>,
    volumes: Vec<Field<'n>>,
    secrets: Vec<Field<'n>>,
}

impl<'n> Sections<'n> {
    /// Finds the names in them, so that everything that is read later can be held against them.
    fn open(r: &mut Reader, fields: &mut Fields<'n>) -> Self {
        let mut list = |key, r: &mut Reader| {
            fields
                .get(key)
                .map_or_else(Vec::new, |field: Field<'n>| field.items(r))
        };
        let sections = Self {
            services: list("services", r),
            images: list("images", r),
            volumes: list("volumes", r),
            secrets: list("secrets", r),
        };
        let names = |fields: &[Field<'n>]| {
            fields
                .iter()
                .filter_map(|field| entry(field, "name"))
                .map(str::to_owned)
                .collect()
        };
        r.declared.images = names(&sections.images);
        r.declared.volumes = names(&sections.volumes);
        r.declared.secrets = sections
            .secrets
            .iter()
            .filter_map(|field| {
                let kind = entry(field, "kind").and_then(|kind| kind.parse::<Kind>().ok());
                Some((entry(field, "name")?.to_owned(), kind))
            })
            .collect();
        sections
    }

    /// Each item; None where one is at fault.
    fn read<T>(
        r: &mut Reader,
        fields: &[Field<'n>],
        mut read: impl FnMut(&mut Reader, &Field<'n>) -> Option<T>,
    ) -> Vec<Option<T>> {
        fields.iter().map(|field| read(r, field)).collect()
    }

    fn secrets(&self, r: &mut Reader) -> Vec<Option<Secret>> {
        let secrets = Self::read(r, &self.secrets, |r, field| super::secret::secret(r, field));
        super::secret::check_circles(r, &self.secrets, &secrets);
        secrets
    }
}

const SALT_FORM: &str = "this is no salt: write 32 random hex digits (the value is not shown)";

fn whole<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}

/// The name of something in a list, if it has one.
pub(super) fn name_of<'n>(field: &Field<'n>) -> Option<&'n str> {
    entry(field, "name")
}

/// The characters of a scalar in a map, if there is one; nothing is reported.
fn entry<'n>(field: &Field<'n>, key: &str) -> Option<&'n str> {
    let Content::Map(entries) = &field.node.content else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == key)?;
    match &entry.value.content {
        Content::Scalar { text, .. } => Some(text.as_str()),
        Content::List(_) | Content::Map(_) => None,
    }
}

/// Complains about names that two have.
fn unique(r: &mut Reader, fields: &[Field<'_>], what: &str) {
    let mut seen = BTreeSet::new();
    for field in fields {
        if let Some(name) = name_of(field)
            && !seen.insert(name)
        {
            let message = format!("another {what} is called `{}`, too", shown(name));
            r.report.error(Code::DuplicateName, &field.spot, message);
        }
    }
}

fn version(r: &mut Reader, fields: &mut Fields<'_>) -> LanguageVersion {
    let Some(field) = fields.get("version") else {
        let spot = fields.spot.clone();
        let message = "the session does not say in which version of the language it is written";
        match r.compatibility {
            Compatibility::Strict => {
                r.report.error_with(
                    Code::MissingVersion,
                    &spot,
                    message,
                    format!("write `version: {}`", LanguageVersion::NEWEST),
                );
                return LanguageVersion::NEWEST;
            }
            Compatibility::Import => {
                r.report.warn(
                    Code::MissingVersion,
                    &spot,
                    message,
                    format!("it is read as {}", LanguageVersion::OLDEST),
                );
                return LanguageVersion::OLDEST;
            }
        }
    };
    // Where it is at fault, no feature is: one fault is enough.
    field
        .parse(r, Code::BadValue)
        .unwrap_or(LanguageVersion::NEWEST)
}

fn session_name(r: &mut Reader, field: &Field<'_>) -> Option<SessionName> {
    let name: SessionName = field.parse(r, Code::BadName)?;
    if name.is_root() {
        r.uses(Feature::RootNamespace, &field.spot);
    } else if name.as_str().contains('/') {
        r.uses(Feature::Namespaces, &field.spot);
    }
    if name.as_str().len() > SessionName::OLD_MAX {
        r.uses(Feature::LongNames, &field.spot);
    }
    Some(name)
}

#[allow(clippy::option_option)]
fn predecessor(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Option<SessionHash>> {
    let digest = fields.get("digest");
    let predecessor = fields.get("predecessor");
    if let Some(field) = &digest {
        r.report.warn(
            Code::Legacy,
            &field.spot,
            "`digest` is how sessions before 0.3 named their predecessor",
            "write `predecessor`, or nothing for a new session",
        );
        if predecessor.is_some() {
            let message = "`digest` and `predecessor` are the same";
            r.report
                .error_with(Code::Conflict, &field.spot, message, "remove `digest`");
        }
    }
    let field = predecessor.or(digest.filter(|field| field.scalar() != Some("create")));
    optional(field, |field| field.parse(r, Code::BadValue))
}

fn creator(r: &mut Reader, field: &Field<'_>) -> Option<Identity> {
    if field.is_map() {
        let mut fields = field.map(r)?;
        let signer = fields.get("signer");
        let key = fields.get("key");
        let spot = fields.spot.clone();
        fields.finish(r);
        return match (signer, key) {
            (Some(signer), None) => {
                r.uses(Feature::SignerRules, &signer.spot);
                let text = signer.text(r)?;
                signer
                    .or_report(r, Code::BadValue, Identity::parse_signer(text))
                    .map(Identity::Signer)
            }
            (None, Some(key)) => key.parse(r, Code::BadValue).map(Identity::Tls),
            _ => {
                r.report.error(
                    Code::BadValue,
                    &spot,
                    "a creator is a certificate, `signer: …` or `key: …`",
                );
                None
            }
        };
    }
    let text = field.text(r)?;
    field
        .or_report(r, Code::BadValue, KeyHash::of_certificate_pem(text))
        .map(Identity::Tls)
}

fn store(r: &mut Reader, field: &Field<'_>) -> Option<SecretStore> {
    let mut fields = field.map(r)?;
    let store_in = fields.require(r, "store_in");
    fields.finish(r);
    let store_in = store_in?;
    // `!akv {…}` as SCONE writes it, `akv: {…}` for those who have no tags.
    let vault = match (&store_in.node.tag, store_in.scalar()) {
        (Some(tag), _) if tag == "akv" => store_in.clone(),
        // `!cas` with nothing behind it.
        (Some(_), Some("" | "~")) | (None, Some("cas")) => return Some(SecretStore::Cas),
        _ => {
            let mut fields = store_in.map(r)?;
            let vault = fields.require(r, "akv");
            fields.finish(r);
            vault?
        }
    };
    r.uses(Feature::VaultStore, &vault.spot);
    let mut fields = vault.map_with_tag(r)?;
    let name = fields
        .require(r, "vault")
        .and_then(|field| field.line(r, 512));
    let token = fields
        .require(r, "token")
        .and_then(|field| super::secret::token(r, &field));
    fields.finish(r);
    Some(SecretStore::Vault {
        vault: name?,
        token: token?,
    })
}
