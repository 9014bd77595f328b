//! `volumes`.

use mse_yaml::{Code, Field, Fields, or_default};

use super::{Reader, SessionField};
use crate::model::{
    Feature, FileProtection, UpdatePolicy, Volume, VolumeExport, VolumeName, VolumeOrigin,
};
use crate::read::sharing;

pub(super) fn volume(r: &mut Reader, field: &Field<'_>) -> Option<Volume> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let files = or_default(fields.get("files"), |field| {
        r.uses(Feature::AuthenticatedFiles, &field.spot);
        field.word(
            r,
            &[FileProtection::Encrypted, FileProtection::AuthenticatedOnly]
                .map(|files| (files.as_str(), files)),
        )
    });
    let export = fields.get("export");
    let origin = origin(r, &mut fields, export.as_ref());
    fields.finish(r);
    let exports = or_default(export, |field| exports(r, &field));
    Some(Volume {
        name: name?,
        files: files?,
        origin: origin?,
        exports: exports?,
    })
}

fn origin(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    export: Option<&Field<'_>>,
) -> Option<VolumeOrigin> {
    let key = fields.get("fspf_key");
    let tag = fields.get("fspf_tag");
    let import = fields.get("import");
    if let Some(import) = import {
        for (name, other) in [
            ("fspf_key", key.as_ref()),
            ("fspf_tag", tag.as_ref()),
            ("export", export),
        ] {
            if let Some(other) = other {
                r.report.error_with(
                    Code::Conflict,
                    &other.spot,
                    format!("an imported volume has no `{name}`: it is the exporter's matter"),
                    format!("remove `{name}` or `import`"),
                );
            }
        }
        let mut fields = import.map(r)?;
        let session = sharing::session_pin(r, &mut fields);
        let volume = fields
            .require(r, "volume")
            .and_then(|field| field.parse::<VolumeName>(r, Code::BadName));
        fields.finish(r);
        return Some(VolumeOrigin::Imported {
            session: session?,
            volume: volume?,
        });
    }
    match (key, tag) {
        (None, None) => Some(VolumeOrigin::Generated),
        (None, Some(tag)) => {
            r.report.error_with(
                Code::MissingKey,
                &tag.spot,
                "a volume that exists has a key besides its tag",
                "add `fspf_key`, or remove `fspf_tag` for a new volume",
            );
            None
        }
        (Some(key), tag) => {
            let tag = match tag {
                Some(field) => Some(field.file_system_tag(r)?),
                None => None,
            };
            let key = key.file_system_key(r)?;
            Some(VolumeOrigin::Existing { key, tag })
        }
    }
}

fn exports(r: &mut Reader, field: &Field<'_>) -> Option<Vec<VolumeExport>> {
    let read: Vec<_> = field
        .one_or_many(r)
        .iter()
        .map(|item| export(r, item))
        .collect();
    read.into_iter().collect()
}

fn export(r: &mut Reader, field: &Field<'_>) -> Option<VolumeExport> {
    let mut fields = field.map(r)?;
    let update_policy = or_default(fields.get("update_policy"), |field| {
        update_policy(r, &field)
    });
    let alias = match fields.get("volume_alias") {
        Some(field) => {
            r.uses(Feature::VolumeAlias, &field.spot);
            Some(field.parse(r, Code::BadName)?)
        }
        None => None,
    };
    let to = match fields.get("to") {
        Some(to) => {
            let mut inner = to.map(r)?;
            let recipient = sharing::recipient(r, &mut inner);
            inner.finish(r);
            recipient
        }
        None => sharing::recipient(r, &mut fields),
    };
    fields.finish(r);
    Some(VolumeExport {
        to: to?,
        update_policy: update_policy?,
        alias,
    })
}

pub(super) fn update_policy(r: &mut Reader, field: &Field<'_>) -> Option<UpdatePolicy> {
    r.uses(Feature::VolumeUpdatePolicy, &field.spot);
    field.word(
        r,
        &UpdatePolicy::ALL.map(|policy| (policy.as_str(), policy)),
    )
}
