//! `cas` of a Meshfile.

use std::collections::BTreeSet;

use mse_session::KeyHash;
use mse_yaml::{Code, Field, optional};

use super::{Reader, list, parsed, tolerance, word_of};
use crate::model::{Cas, CasTrust, Role, UploadMode};

/// Reads all of them. Each role is served by one.
pub(super) fn all(r: &mut Reader, field: &Field<'_>) -> Option<Vec<Cas>> {
    let items = field.items(r);
    let is_only = items.len() == 1;
    let all = list(r, Some(field.clone()), |r, field| cas(r, field, is_only))?;
    for role in Role::ALL {
        match all.iter().filter(|cas| cas.serves(*role)).count() {
            1 => {}
            0 => r.report.error_with(
                Code::MissingKey,
                &field.spot,
                format!("no CAS has the role `{role}`"),
                format!("add `{role}` to the `alias` of one"),
            ),
            _ => r.conflict(
                &field.spot,
                format!("more than one CAS has the role `{role}`"),
                "leave it to one",
            ),
        }
    }
    Some(all)
}

fn cas(r: &mut Reader, field: &Field<'_>, is_only: bool) -> Option<Cas> {
    let mut fields = field.map(r)?;
    let name = match fields.get("name") {
        Some(field) => role(r, &field),
        None => Some(Role::Cas),
    };
    let alias_field = fields.get("alias");
    let has_aliases = alias_field.is_some();
    let aliases = match alias_field {
        Some(field) => {
            let items = field.one_or_many(r);
            let read: Vec<_> = items.iter().map(|item| role(r, item)).collect();
            read.into_iter().collect::<Option<BTreeSet<_>>>()
        }
        None => Some(BTreeSet::new()),
    };
    let url = fields
        .require(r, "cas_url")
        .and_then(|field| field.parse(r, Code::BadValue));
    let key_field = fields.get("cas_key");
    let key = parsed::<KeyHash>(r, key_field, Code::BadValue);
    let encryption_field = fields.get("cas_encryption_key");
    let has_encryption_key = encryption_field.is_some();
    let encryption_key = parsed(r, encryption_field, Code::BadValue);
    let (trust, flag_key) = match (fields.get("trust"), fields.get_legacy("tolerance")) {
        (Some(_), Some(old)) => {
            r.conflict(
                &old.spot,
                "`tolerance` is an older form of `trust`, which is there, too",
                "remove `tolerance`",
            );
            (None, None)
        }
        (Some(field), None) => (tolerance::trust(r, &field), None),
        (None, Some(field)) => match tolerance::flags(r, &field) {
            Some(flags) => (Some(flags.trust), flags.cas_key),
            None => (None, None),
        },
        (None, None) => (Some(CasTrust::default()), None),
    };
    let mode = optional(fields.get("mode"), |field| mode(r, &field));
    fields.finish(r);
    if let (Some(Some(one)), Some(other)) = (key, flag_key)
        && one != other
    {
        r.conflict(
            &field.spot,
            "`cas_key` and the flag `-c` name different keys",
            "remove `-c`",
        );
    }
    let (name, mut aliases) = (name?, aliases?);
    if is_only && !has_aliases {
        aliases.extend(Role::ALL);
    }
    aliases.remove(&name);
    let mode = mode?;
    if matches!(
        mode,
        Some(UploadMode::EncryptedManifest | UploadMode::EncryptedOnly)
    ) && !has_encryption_key
    {
        r.report.error_with(
            Code::MissingKey,
            &field.spot,
            "sessions cannot be encrypted without the key of the CAS",
            "add `cas_encryption_key`, or choose another `mode`",
        );
    }
    Some(Cas {
        name,
        aliases,
        url: url?,
        key: key?.or(flag_key),
        encryption_key: encryption_key?,
        trust: trust?,
        mode,
    })
}

fn role(r: &mut Reader, field: &Field<'_>) -> Option<Role> {
    let text = field.text(r)?;
    let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    word_of(r, &field.spot, text, "role of a CAS", &known, |text| {
        Role::ALL.iter().copied().find(|role| role.as_str() == text)
    })
}

pub(super) fn mode(r: &mut Reader, field: &Field<'_>) -> Option<UploadMode> {
    let text = field.text(r)?;
    let known: Vec<&str> = UploadMode::ALL.iter().map(|mode| mode.as_str()).collect();
    word_of(r, &field.spot, text, "mode", &known, |text| {
        UploadMode::ALL
            .iter()
            .copied()
            .find(|mode| mode.as_str() == text)
    })
}
