//! `images`.

use std::collections::BTreeSet;

use mse_yaml::{Code, Field, optional, or_default};

use super::{Reader, SessionField};
use crate::model::{
    Feature, Hex, Image, ImageName, InjectedFile, MountedVolume, OrReference, Permission,
    SecretName, VolumeName,
};
use crate::template::HostArguments;

/// What images of version 0.2 say about the programs that may use them.
pub(super) struct LegacyImage {
    pub(super) name: ImageName,
    pub(super) mrenclaves: Vec<OrReference<Hex<32>>>,
}

pub(super) fn image(
    r: &mut Reader,
    field: &Field<'_>,
    legacy: &mut Vec<LegacyImage>,
) -> Option<Image> {
    let mut fields = field.map(r)?;
    let name: Option<ImageName> = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    if let Some(field) = fields.get("mrenclaves")
        && let Some(mrenclaves) = super::attestation::mrenclaves(r, &field)
        && let Some(name) = name.clone()
    {
        legacy.push(LegacyImage { name, mrenclaves });
    }
    tags(r, fields.get("tags"));
    let volumes = or_default(fields.get("volumes"), |field| each(r, &field, volume));
    let files = or_default(fields.get("injection_files"), |field| each(r, &field, file));
    let provide_secrets = match fields.get("provide_secrets") {
        Some(field) => {
            r.uses(Feature::ProvideSecrets, &field.spot);
            each(r, &field, |r, item| {
                let name: SecretName = item.parse(r, Code::BadName)?;
                r.expect_secret(name.as_str(), &[], &item.spot);
                Some(name)
            })
            .map(|names| Some(names.into_iter().collect()))
        }
        None => Some(None),
    };
    fields.finish(r);
    let image = Image {
        name: name?,
        volumes: volumes?,
        injection_files: files?,
        provide_secrets: provide_secrets?,
    };
    let paths: Vec<&str> = image
        .volumes
        .iter()
        .map(|volume| volume.path.as_str())
        .chain(image.injection_files.iter().map(|file| file.path.as_str()))
        .collect();
    let mut seen = BTreeSet::new();
    for path in paths {
        if !seen.insert(path) {
            let message = format!("two things are at `{path}` in the image `{}`", image.name);
            r.report.error(Code::DuplicateName, &field.spot, message);
        }
    }
    Some(image)
}

/// The labels of version 0.2.
pub(super) fn tags(r: &mut Reader, field: Option<Field<'_>>) {
    let Some(field) = field else { return };
    for item in field.items(r) {
        let _ = item.line(r, 128);
    }
    r.report.warn(
        Code::NoEffect,
        &field.spot,
        "`tags` were labels of version 0.2",
        "remove them",
    );
}

fn each<T>(
    r: &mut Reader,
    field: &Field<'_>,
    read: impl Fn(&mut Reader, &Field<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let all: Vec<_> = field.items(r).iter().map(|item| read(r, item)).collect();
    all.into_iter().collect()
}

fn volume(r: &mut Reader, field: &Field<'_>) -> Option<MountedVolume> {
    let mut fields = field.map(r)?;
    let name = fields.require(r, "name");
    let path = fields.require(r, "path").and_then(|field| field.path(r));
    let update_policy = or_default(fields.get("update_policy"), |field| {
        super::volume::update_policy(r, &field)
    });
    fields.finish(r);
    let name = name.and_then(|field| {
        let name: VolumeName = field.parse(r, Code::BadName)?;
        r.expect_volume(name.as_str(), &field.spot);
        Some(name)
    });
    Some(MountedVolume {
        name: name?,
        path: path?,
        update_policy: update_policy?,
    })
}

fn file(r: &mut Reader, field: &Field<'_>) -> Option<InjectedFile> {
    if !field.is_map() {
        return Some(InjectedFile {
            path: field.path(r)?,
            content: None,
            permission: Permission::default(),
        });
    }
    let mut fields = field.map(r)?;
    let path = fields.require(r, "path").and_then(|field| field.path(r));
    let content = optional(fields.get("content"), |field| {
        field.template(r, HostArguments::Literal)
    });
    let permission = or_default(fields.get("permission"), |field| {
        r.uses(Feature::FilePermissions, &field.spot);
        field.parse(r, Code::BadValue)
    });
    fields.finish(r);
    Some(InjectedFile {
        path: path?,
        content: content?,
        permission: permission?,
    })
}
