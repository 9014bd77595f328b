//! `secrets` of a service manifest.

use mse_secrets::{KeyType, Kind};
use mse_session::{Endpoint, SecretName};
use mse_yaml::{Code, Field, optional, or_default};

use super::{Reader, list, parsed, secret_rules, texts, word_of};
use crate::model::{SecretDefinition, SecretParameters, Secrets};

pub(super) fn secrets(r: &mut Reader, field: &Field<'_>) -> Option<Secrets> {
    let mut fields = field.map(r)?;
    let global_field = fields.get("global");
    let global = list(r, global_field.clone(), definition);
    let import_field = fields.get("import");
    let import = list(r, import_field.clone(), |r, field| {
        field.parse::<SecretName>(r, Code::BadName)
    });
    fields.finish(r);
    let secrets = Secrets {
        global: global?,
        import: import?,
    };
    let spots: Vec<_> = [global_field.clone(), import_field]
        .into_iter()
        .flatten()
        .flat_map(|field| field.items(r))
        .map(|item| item.spot)
        .collect();
    let names = secrets.global.iter().map(|secret| secret.name.as_str());
    let names = names.chain(secrets.import.iter().map(SecretName::as_str));
    r.unique("secret", names.zip(&spots));
    if let Some(field) = global_field {
        let items = field.items(r);
        secret_rules::check(r, &secrets, &items);
    }
    Some(secrets)
}

fn definition(r: &mut Reader, field: &Field<'_>) -> Option<SecretDefinition> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse::<SecretName>(r, Code::BadName));
    let kind = fields.require(r, "kind").and_then(|field| kind(r, &field));
    let size = optional(fields.get("size"), |field| field.number::<u32>(r));
    let value_field = fields.get("value");
    let value = optional(value_field.clone(), |field| texts::text(r, &field));
    let key_type = optional(fields.get("key_type"), |field| key_type(r, &field));
    let migrate = or_default(fields.get("migrate"), |field| field.boolean(r));
    let private_key = parsed(r, fields.get("private_key"), Code::BadName);
    let issuer = parsed(r, fields.get("issuer"), Code::BadName);
    let common_name = optional(fields.get("common_name"), |field| texts::text(r, &field));
    let mut many = |r: &mut Reader, key| match fields.get(key) {
        Some(field) => {
            let items = field.one_or_many(r);
            let read: Vec<_> = items.iter().map(|item| texts::text(r, item)).collect();
            read.into_iter().collect::<Option<Vec<_>>>()
        }
        None => Some(Vec::new()),
    };
    let dns = many(r, "dns");
    let san = many(r, "san");
    let ends = [Endpoint::Client, Endpoint::Server].map(|end| (end.as_str(), end));
    let endpoint = optional(fields.get("endpoint"), |field| field.word(r, &ends));
    let valid_for = parsed(r, fields.get("valid_for"), Code::BadValue);
    let export_public = or_default(fields.get("export_public"), |field| field.boolean(r));
    let tenant_id = optional(fields.get("tenant_id"), |field| texts::text(r, &field));
    let client_id = optional(fields.get("client_id"), |field| texts::text(r, &field));
    let application_field = fields.get("application_secret");
    let application_secret = optional(application_field.clone(), |field| texts::text(r, &field));
    fields.finish(r);
    let secret = SecretDefinition {
        name: name?,
        kind: kind?,
        parameters: SecretParameters {
            size: size?,
            value: value?,
            key_type: key_type?,
            migrate: migrate?,
            private_key: private_key?,
            issuer: issuer?,
            common_name: common_name?,
            dns: dns?,
            san: san?,
            endpoint: endpoint?,
            valid_for: valid_for?,
            export_public: export_public?,
            tenant_id: tenant_id?,
            client_id: client_id?,
            application_secret: application_secret?,
        },
    };
    warn_of_constants(r, &secret, value_field.as_ref(), application_field.as_ref());
    Some(secret)
}

/// What stands in a manifest is in the image.
fn warn_of_constants(
    r: &mut Reader,
    secret: &SecretDefinition,
    value: Option<&Field<'_>>,
    application: Option<&Field<'_>>,
) {
    let is_constant = |text: Option<&crate::text::MeshText>| {
        text.and_then(|text| text.as_literal())
            .is_some_and(|text| !text.trim_start().starts_with("$$"))
    };
    let parameters = &secret.parameters;
    let is_private = match secret.kind {
        Kind::X509 | Kind::X509Ca | Kind::PublicKey => parameters
            .value
            .as_ref()
            .and_then(|text| text.as_literal())
            .is_some_and(|text| text.contains("PRIVATE KEY-----")),
        Kind::ConfigFragment => false,
        _ => true,
    };
    for (field, text, is_private) in [
        (value, &parameters.value, is_private),
        (application, &parameters.application_secret, true),
    ] {
        if let Some(field) = field
            && is_private
            && is_constant(text.as_ref())
        {
            constant(r, field, &format!("the secret `{}`", secret.name));
        }
    }
}

/// Warns of something secret that is no secret.
pub(super) fn constant(r: &mut Reader, field: &Field<'_>, what: &str) {
    r.report.warn(
        Code::ExplicitSecret,
        &field.spot,
        format!("{what} is a constant here: EVERYBODY WHO HAS THE IMAGE CAN READ IT"),
        "let the CAS generate it, or let the Meshfile give it: `\"{{name}}\"`",
    );
}

fn kind(r: &mut Reader, field: &Field<'_>) -> Option<Kind> {
    let text = field.text(r)?;
    let known = Kind::ALL.map(Kind::as_str);
    word_of(r, &field.spot, text, "kind of secret", &known, |text| {
        text.parse().ok()
    })
}

fn key_type(r: &mut Reader, field: &Field<'_>) -> Option<KeyType> {
    let text = field.text(r)?;
    let known: Vec<&str> = KeyType::ALL.iter().map(|one| one.as_str()).collect();
    word_of(r, &field.spot, text, "type of key", &known, |text| {
        text.parse().ok()
    })
}
