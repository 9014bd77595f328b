//! `build.volumes`.

use mse_session::{SessionHash, UpdatePolicy};
use mse_yaml::{Code, Field, or_default};

use super::{Reader, list, parsed, path_below_root, texts};
use crate::model::{Volume, VolumeExport, VolumeSource};

pub(super) fn volume(r: &mut Reader, field: &Field<'_>) -> Option<Volume> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let path = fields
        .require(r, "path")
        .and_then(|field| path_below_root(r, &field));
    let (import, exports) = (fields.get("import"), fields.get("export"));
    let source = match (import, exports) {
        (Some(import), Some(_)) => {
            r.conflict(
                &import.spot,
                "a volume that is imported cannot be exported",
                "remove `import` or `export`",
            );
            None
        }
        (Some(import), None) => imported(r, &import),
        (None, exports) => list(r, exports, export).map(VolumeSource::Own),
    };
    let optional = or_default(fields.get("optional"), |field| field.boolean(r));
    fields.finish(r);
    Some(Volume {
        name: name?,
        path: path?,
        source: source?,
        optional: optional?,
    })
}

fn imported(r: &mut Reader, field: &Field<'_>) -> Option<VolumeSource> {
    let mut fields = field.map(r)?;
    let session = fields
        .require(r, "session")
        .and_then(|field| texts::text(r, &field));
    let volume = fields
        .require(r, "volume")
        .and_then(|field| field.parse(r, Code::BadName));
    fields.finish(r);
    Some(VolumeSource::Imported {
        session: session?,
        volume: volume?,
    })
}

fn export(r: &mut Reader, field: &Field<'_>) -> Option<VolumeExport> {
    let mut fields = field.map(r)?;
    let session = fields
        .require(r, "session")
        .and_then(|field| texts::text(r, &field));
    let session_hash = parsed::<SessionHash>(r, fields.get("session_hash"), Code::BadValue);
    let policies = UpdatePolicy::ALL.map(|one| (one.as_str(), one));
    let update_policy = or_default(fields.get("update_policy"), |field| {
        field.word(r, &policies)
    });
    let alias = parsed(r, fields.get("volume_alias"), Code::BadName);
    fields.finish(r);
    Some(VolumeExport {
        session: session?,
        session_hash: session_hash?,
        update_policy: update_policy?,
        alias: alias?,
    })
}
