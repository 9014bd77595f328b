//! `secrets`.

mod certificate;
mod circles;
mod explicit;
mod external;
mod token;

use std::collections::BTreeMap;

use mse_secrets::{KeyType, Kind};
use mse_yaml::{Code, Field, Fields, Spot, did_you_mean, or_default};

use super::{Reader, sharing};
use crate::model::{Feature, Generated, Secret, SecretName, SecretSource};
use crate::reference::LEGACY_SUFFIXES;

pub(super) use self::circles::check as check_circles;
pub(super) use self::token::token;

/// Characters and bytes of a generated text or binary: what `mse-secrets` makes.
const MAX_SIZE: u32 = 4096;
const DEFAULT_SIZE: u32 = 20;

pub(super) fn secret(r: &mut Reader, field: &Field<'_>) -> Option<Secret> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| secret_name(r, &field));
    let kind_field = fields.get("kind");
    let kind = match &kind_field {
        Some(field) => kind_of(r, field).map(Some),
        None => Some(None),
    };
    let exports = or_default(fields.get("export"), |field| sharing::exports(r, &field));
    let public = fields.get("export_public");
    let migrate = fields.get("migrate");
    let source = source(
        r,
        &mut fields,
        name.as_ref(),
        kind.unwrap_or_default(),
        kind.is_some(),
    );
    let export_public = match &public {
        Some(field) => field.boolean(r),
        None => Some(false),
    };
    let migrates = match &migrate {
        Some(field) => {
            r.uses(Feature::Migration, &field.spot);
            field.boolean(r)
        }
        None => Some(false),
    };
    fields.finish(r);
    let secret = Secret {
        name: name?,
        kind: kind?,
        source: source?,
        exports: exports?,
        export_public: export_public?,
        migrate: migrates?,
    };
    if secret.export_public
        && let Some(field) = public
    {
        warn_of_public(r, &secret, &field.spot);
    }
    if let Some(field) = migrate
        && !matches!(
            secret.source,
            SecretSource::Generated(Generated::PrivateKey(_))
        )
    {
        r.report.warn(
            Code::NoEffect,
            &field.spot,
            "`migrate` is for generated private keys",
            "remove it",
        );
    }
    Some(Secret {
        migrate: secret.migrate
            && matches!(
                secret.source,
                SecretSource::Generated(Generated::PrivateKey(_))
            ),
        ..secret
    })
}

fn secret_name(r: &mut Reader, field: &Field<'_>) -> Option<SecretName> {
    let name: SecretName = field.parse(r, Code::BadName)?;
    if let Some(suffix) = LEGACY_SUFFIXES
        .iter()
        .find(|suffix| name.as_str().ends_with(**suffix))
    {
        r.report.error_with(
            Code::BadName,
            &field.spot,
            format!(
                "references to `{name}` would be read as the form `{suffix}` of another secret"
            ),
            "choose a name that does not end like this",
        );
        return None;
    }
    Some(name)
}

fn kind_of(r: &mut Reader, field: &Field<'_>) -> Option<Kind> {
    let kind = field.word(r, &Kind::ALL.map(|kind| (kind.as_str(), kind)))?;
    let feature = match kind {
        Kind::Ascii | Kind::Binary | Kind::X509 | Kind::X509Ca => return Some(kind),
        Kind::PrivateKey => Feature::PrivateKeySecrets,
        Kind::PublicKey => Feature::PublicKeySecrets,
        Kind::PgpKey => Feature::PgpKeys,
        Kind::Jwt => Feature::Jwt,
        Kind::AadToken => Feature::AadTokens,
        Kind::ConfigFragment => Feature::ConfigFragments,
    };
    r.uses(feature, &field.spot);
    Some(kind)
}

/// Keys that only some kinds have, and only where the CAS makes the value (or, for those marked,
/// where it stands in the session).
const PARAMETERS: [(&str, &[Kind]); 17] = [
    ("size", &[Kind::Ascii, Kind::Binary]),
    ("key_type", &[Kind::PrivateKey]),
    (
        "private_key",
        &[Kind::X509, Kind::X509Ca, Kind::PublicKey, Kind::AadToken],
    ),
    ("issuer", &[Kind::X509, Kind::X509Ca]),
    ("common_name", &[Kind::X509, Kind::X509Ca]),
    ("endpoint", &[Kind::X509]),
    ("dns", &[Kind::X509]),
    ("san", &[Kind::X509]),
    ("valid_for", &[Kind::X509, Kind::X509Ca]),
    ("tenant_id", &[Kind::AadToken]),
    ("client_id", &[Kind::AadToken]),
    ("application_secret", &[Kind::AadToken]),
    ("certificate_thumbprint", &[Kind::AadToken]),
    ("signer", &[Kind::Jwt]),
    ("alg", &[Kind::Jwt]),
    ("validity", &[Kind::Jwt]),
    ("payload", &[Kind::Jwt]),
];

/// The parameters that are there.
type Parameters<'n> = BTreeMap<&'static str, Field<'n>>;

fn source(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    name: Option<&SecretName>,
    kind: Option<Kind>,
    is_kind_read: bool,
) -> Option<SecretSource> {
    let parameters: Parameters<'_> = PARAMETERS
        .iter()
        .filter_map(|(key, _)| Some((*key, fields.get(key)?)))
        .collect();
    let value = fields.get("value");
    let import = fields.get("import");
    let vault = fields.get("import_akv");
    let kv = fields.get("import_kv");
    let pkcs11 = fields.get("import_pkcs11");
    let spot = fields.spot.clone();
    let sources: Vec<_> = [&value, &import, &vault, &kv, &pkcs11]
        .into_iter()
        .flatten()
        .collect();
    if let [_, second, ..] = sources.as_slice() {
        r.report.error_with(
            Code::Conflict,
            &second.spot,
            "`value`, `import`, `import_akv`, `import_kv` and `import_pkcs11` exclude each other",
            "keep one of them",
        );
        return None;
    }
    if let Some(field) = import {
        misplaced(r, &parameters, |_| false, "an imported secret");
        return sharing::import(r, &field, name?).map(SecretSource::Imported);
    }
    if let Some(field) = vault {
        r.uses(Feature::VaultImport, &field.spot);
        misplaced(r, &parameters, |_| false, "an imported secret");
        return token::vault_import(r, &field, name?).map(SecretSource::Vault);
    }
    let Some(kind) = kind else {
        if is_kind_read {
            r.report.error_with(
                Code::MissingKey,
                &spot,
                "a secret that is not another session's has a `kind`",
                "add `kind: ascii`, or another one",
            );
        }
        return None;
    };
    let external = match (&kv, &pkcs11) {
        (Some(field), _) => Some(external::kv(r, field, kind)),
        (None, Some(field)) => Some(external::pkcs11(r, field, kind)),
        (None, None) => None,
    };
    if let Some(external) = external {
        misplaced(r, &parameters, |_| false, "an imported secret");
        return external.map(SecretSource::External);
    }
    if let Some(field) = value {
        let is_certificate = matches!(kind, Kind::X509 | Kind::X509Ca);
        let fits = |key: &str| is_certificate && key == "private_key";
        misplaced(r, &parameters, fits, "a value that stands in the session");
        return explicit::explicit(r, &field, kind, parameters.get("private_key"))
            .map(SecretSource::Explicit);
    }
    let fits = |key: &str| {
        PARAMETERS
            .iter()
            .any(|(name, kinds)| *name == key && kinds.contains(&kind))
    };
    misplaced(
        r,
        &parameters,
        fits,
        &format!("a secret of the kind `{kind}`"),
    );
    generated(r, &parameters, name?, kind, &spot).map(SecretSource::Generated)
}

fn misplaced(r: &mut Reader, parameters: &Parameters<'_>, fits: impl Fn(&str) -> bool, what: &str) {
    for (key, field) in parameters {
        if !fits(key) {
            let message = format!("{what} has no `{key}`");
            let help = format!("remove `{key}`");
            r.report
                .error_with(Code::Conflict, &field.spot, message, help);
        }
    }
}

fn generated(
    r: &mut Reader,
    parameters: &Parameters<'_>,
    name: &SecretName,
    kind: Kind,
    spot: &Spot,
) -> Option<Generated> {
    let size = |r: &mut Reader| match parameters.get("size") {
        Some(field) => size(r, field),
        None => Some(DEFAULT_SIZE),
    };
    match kind {
        Kind::Ascii => size(r).map(Generated::Ascii),
        Kind::Binary => size(r).map(Generated::Binary),
        Kind::PrivateKey => or_default(parameters.get("key_type").cloned(), |field| {
            key_type(r, &field)
        })
        .map(Generated::PrivateKey),
        Kind::PublicKey => {
            let field = required(r, parameters, "private_key", kind, spot)?;
            named(r, field, &[Kind::PrivateKey, Kind::X509, Kind::X509Ca]).map(Generated::PublicKey)
        }
        Kind::X509 | Kind::X509Ca => certificate::request(r, parameters, name)
            .map(|request| Generated::Certificate(Box::new(request))),
        Kind::PgpKey => Some(Generated::PgpKey),
        Kind::Jwt => token::jwt(r, parameters, spot).map(Generated::Jwt),
        Kind::AadToken => token::aad(r, parameters, spot).map(Generated::AadToken),
        Kind::ConfigFragment => {
            // It was looked for as a value already.
            required(r, parameters, "value", kind, spot);
            None
        }
    }
}

/// A parameter without which the CAS cannot make a secret of this kind.
fn required<'p, 'n>(
    r: &mut Reader,
    parameters: &'p Parameters<'n>,
    key: &str,
    kind: Kind,
    spot: &Spot,
) -> Option<&'p Field<'n>> {
    let field = parameters.get(key);
    if field.is_none() {
        let message = format!("a secret of the kind `{kind}` needs `{key}`");
        r.report.error(Code::MissingKey, spot, message);
    }
    field
}

/// A secret of this session, of one of some kinds.
fn named(r: &mut Reader, field: &Field<'_>, kinds: &[Kind]) -> Option<SecretName> {
    let name: SecretName = field.parse(r, Code::BadName)?;
    r.expect_secret(name.as_str(), kinds, &field.spot);
    Some(name)
}

fn size(r: &mut Reader, field: &Field<'_>) -> Option<u32> {
    let size = field.number::<u32>(r)?;
    if (1..=MAX_SIZE).contains(&size) {
        return Some(size);
    }
    let message = format!("`size` is from 1 to {MAX_SIZE}, and this is {size}");
    r.report.error(Code::BadValue, &field.spot, message);
    None
}

fn key_type(r: &mut Reader, field: &Field<'_>) -> Option<KeyType> {
    r.uses(Feature::KeyTypes, &field.spot);
    let text = field.text(r)?;
    let Ok(key_type) = text.parse::<KeyType>() else {
        let known: Vec<&str> = KeyType::ALL.iter().map(|one| one.as_str()).collect();
        let help =
            did_you_mean(text, &known).unwrap_or_else(|| format!("known are {}", known.join(", ")));
        let message = format!("`{}` is no type of key", mse_yaml::shown(text));
        r.report
            .error_with(Code::BadValue, &field.spot, message, help);
        return None;
    };
    if matches!(key_type, KeyType::Rsa2048 | KeyType::Rsa3072) {
        r.uses(Feature::RsaKeys, &field.spot);
    }
    Some(key_type)
}

fn warn_of_public(r: &mut Reader, secret: &Secret, spot: &Spot) {
    let is_public = match (&secret.source, secret.kind) {
        (_, None | Some(Kind::X509 | Kind::X509Ca | Kind::PublicKey)) => true,
        (SecretSource::Explicit(_), Some(kind)) => kind != Kind::PrivateKey,
        _ => false,
    };
    if !is_public {
        let kind = secret.kind.map_or("", Kind::as_str);
        r.report.warn(
            Code::PublicPrivateMaterial,
            spot,
            format!(
                "anybody may read the secret `{}` of the kind `{kind}`",
                secret.name
            ),
            "export it to the sessions that need it",
        );
    }
}
