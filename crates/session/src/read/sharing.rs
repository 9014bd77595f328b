//! Imports and exports.

use mse_yaml::{Code, Field, Fields, shown};

use super::Reader;
use crate::model::{
    Export, Feature, ImportFrom, Recipient, RemoteCas, SecretName, SessionHash, SessionName,
    SessionPin,
};

/// Reads a path to another session; relative ones start at this one.
fn session_path(r: &mut Reader, field: &Field<'_>) -> Option<SessionName> {
    let text = field.text(r)?;
    let is_relative = text.starts_with("./") || text.starts_with("../");
    let resolved = if is_relative {
        r.uses(Feature::RelativePaths, &field.spot);
        // Without its own name, there is nothing to start from, and that was said already.
        r.session.clone()?.resolve(text)
    } else {
        text.parse()
    };
    let name = field.or_report(r, Code::BadName, resolved)?;
    if name.as_str().contains('/') {
        r.uses(Feature::Namespaces, &field.spot);
    }
    Some(name)
}

pub(super) fn session_pin(r: &mut Reader, fields: &mut Fields<'_>) -> Option<SessionPin> {
    let session = fields.require(r, "session");
    let hash = fields.get("session_hash");
    let session = session.and_then(|field| session_path(r, &field));
    let hash = match hash {
        Some(field) => Some(field.parse::<SessionHash>(r, Code::BadValue)?),
        None => None,
    };
    Some(SessionPin {
        session: session?,
        hash,
    })
}

/// `session` (and its hash), or `namespace`.
pub(super) fn recipient(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Recipient> {
    let Some(namespace) = fields.get("namespace") else {
        return session_pin(r, fields).map(Recipient::Session);
    };
    r.uses(Feature::NamespaceExport, &namespace.spot);
    for key in ["session", "session_hash"] {
        if let Some(field) = fields.get(key) {
            let message = format!("`{key}` and `namespace` exclude each other");
            r.report
                .error_with(Code::Conflict, &field.spot, message, "make two entries");
        }
    }
    session_path(r, &namespace).map(Recipient::Namespace)
}

/// One export, or a list of them.
pub(super) fn exports(r: &mut Reader, field: &Field<'_>) -> Option<Vec<Export>> {
    let read: Vec<_> = field
        .one_or_many(r)
        .iter()
        .map(|field| export(r, field))
        .collect();
    read.into_iter().collect()
}

fn export(r: &mut Reader, field: &Field<'_>) -> Option<Export> {
    if field.scalar().is_some() {
        let short = short(r, field)?;
        return Some(Export {
            to: Recipient::Session(short.session),
            cas: short.cas,
        });
    }
    let mut fields = field.map(r)?;
    let to = recipient(r, &mut fields);
    let cas = remote(r, &mut fields);
    fields.finish(r);
    Some(Export { to: to?, cas: cas? })
}

/// What a secret called `own` is imported from.
pub(super) fn import(r: &mut Reader, field: &Field<'_>, own: &SecretName) -> Option<ImportFrom> {
    if field.scalar().is_some() {
        let short = short(r, field)?;
        return Some(ImportFrom {
            session: short.session,
            secret: short.secret.unwrap_or_else(|| own.clone()),
            cas: short.cas,
        });
    }
    let mut fields = field.map(r)?;
    let session = session_pin(r, &mut fields);
    let secret = match fields.get("secret") {
        Some(field) => field.parse(r, Code::BadName),
        None => Some(own.clone()),
    };
    let cas = remote(r, &mut fields);
    fields.finish(r);
    Some(ImportFrom {
        session: session?,
        secret: secret?,
        cas: cas?,
    })
}

/// The outer None: at fault. The inner one: this CAS.
#[allow(clippy::option_option)]
fn remote(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Option<RemoteCas>> {
    let url = fields.get("cas_url");
    let key = fields.get("cas_key");
    let software_key = fields.get("cas_software_key");
    let Some(url) = url else {
        if let Some(field) = key.or(software_key) {
            let message = "the key of another CAS without its address";
            r.report
                .error_with(Code::MissingKey, &field.spot, message, "add `cas_url`");
            return None;
        }
        return Some(None);
    };
    r.uses(Feature::RemoteCas, &url.spot);
    let (key, is_software_key) = match (key, software_key) {
        (Some(key), None) => (key, false),
        (None, Some(key)) => (key, true),
        _ => {
            r.report.error(
                Code::Conflict,
                &url.spot,
                "another CAS is known by either `cas_key` or `cas_software_key`",
            );
            return None;
        }
    };
    let url = url.line(r, 512);
    let key = key.line(r, 256);
    Some(Some(RemoteCas {
        url: url?,
        key: key?,
        is_software_key,
    }))
}

/// `session`, `/session=…`, or `host/cas_key=…,session=…[,session_hash=…][,secret=…]`.
struct Short {
    session: SessionPin,
    secret: Option<SecretName>,
    cas: Option<RemoteCas>,
}

fn short(r: &mut Reader, field: &Field<'_>) -> Option<Short> {
    let text = field.text(r)?;
    if !text.contains('=') {
        let session = session_path(r, field)?;
        return Some(Short {
            session: SessionPin {
                session,
                hash: None,
            },
            secret: None,
            cas: None,
        });
    }
    let read = read_short(text);
    let short = field.or_report(r, Code::BadValue, read)?;
    if short.cas.is_some() {
        r.uses(Feature::RemoteCas, &field.spot);
    }
    Some(short)
}

fn read_short(text: &str) -> Result<Short, String> {
    let no_host = || "the short form is `host/cas_key=…,session=…` or `/session=…`".to_owned();
    let (host, parameters) = text.split_once('/').ok_or_else(no_host)?;
    let (mut session, mut hash, mut secret, mut key) = (None, None, None, None);
    for parameter in parameters.split(',') {
        let (name, value) = parameter.split_once('=').ok_or_else(no_host)?;
        let is_again = match name {
            "session" => session
                .replace(
                    value
                        .parse::<SessionName>()
                        .map_err(|error| error.to_string())?,
                )
                .is_some(),
            "session_hash" => hash
                .replace(
                    value
                        .parse::<SessionHash>()
                        .map_err(|error| error.to_string())?,
                )
                .is_some(),
            "secret" => secret
                .replace(
                    value
                        .parse::<SecretName>()
                        .map_err(|error| error.to_string())?,
                )
                .is_some(),
            "cas_key" => key.replace((value.to_owned(), false)).is_some(),
            "cas_software_key" => key.replace((value.to_owned(), true)).is_some(),
            _ => {
                return Err(format!(
                    "`{}` is no parameter of the short form",
                    shown(name)
                ));
            }
        };
        if is_again {
            return Err(format!("`{name}` stands there twice"));
        }
    }
    let session = session.ok_or("the short form needs `session=…`")?;
    let cas = match (host, key) {
        ("", None) => None,
        ("", Some(_)) => return Err("a key of another CAS without its host".to_owned()),
        (_, None) => return Err("another CAS needs `cas_key=…` or `cas_software_key=…`".to_owned()),
        (host, Some((key, is_software_key))) => Some(RemoteCas {
            url: host.to_owned(),
            key,
            is_software_key,
        }),
    };
    Ok(Short {
        session: SessionPin { session, hash },
        secret,
        cas,
    })
}
