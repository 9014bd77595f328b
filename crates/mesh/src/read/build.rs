//! `build` of a service manifest.

use mse_yaml::{Code, Field, Fields, optional, or_default, shown};

use super::{Reader, line, list, parsed, path_below_root, ports, texts, volume, word_of};
use crate::model::{Build, Signature, Toolchain};

/// Reads the section. `requirements` stands outside of it in drafts.
pub(super) fn build(
    r: &mut Reader,
    field: &Field<'_>,
    requirements: Option<Field<'_>>,
) -> Option<Build> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let kind = fields.require(r, "kind").and_then(|field| kind(r, &field));
    let packages_field = fields.get("packages");
    let has_packages = packages_field.is_some();
    let packages = list(r, packages_field, package);
    let without_field = fields.get("without");
    let has_without = without_field.is_some();
    let without = list(r, without_field, package);
    let from_field = fields.get("from");
    let has_from = from_field.is_some();
    let from = parsed(r, from_field, Code::BadValue);
    let to = fields
        .require(r, "to")
        .and_then(|field| field.parse(r, Code::BadValue));
    let pwd = optional(fields.get("pwd"), |field| super::clean_path(r, &field));
    let command = fields
        .require(r, "command")
        .and_then(|field| texts::command(r, &field));
    let copy = list(r, fields.get("copy"), relative_path);
    let requirements = self::requirements(r, &mut fields, requirements);
    let run = list(r, fields.get("run"), |r, field| {
        let text = field.text(r)?.trim().to_owned();
        if text.is_empty() {
            r.bad_value(&field.spot, "the command is empty", "remove it");
            return None;
        }
        Some(text)
    });
    let binaries = list(r, fields.get("binaries"), |r, field| field.line(r, 4096));
    let dirs = list(r, fields.get("dirs"), path_below_root);
    let fs_dirs = fs_dirs(r, &mut fields);
    let fs_files = list(r, fields.get("fs_files"), path_below_root);
    let plains = list(r, fields.get("plains"), path_below_root);
    let plain_files = list(r, fields.get("plain_files"), path_below_root);
    let host_paths = fields.get_renamed(r, "host_paths", "host_path");
    let host_paths = list(r, host_paths, path_below_root);
    let volumes_field = fields.get("volumes");
    let volumes = list(r, volumes_field.clone(), volume::volume);
    let signature = or_default(fields.get("signature"), |field| signature(r, &field));
    let stable = parsed(r, fields.get("stable"), Code::BadValue);
    let policy_template = optional(fields.get("gen_policy"), |field| {
        let mut fields = field.map(r)?;
        let policy = line(r, fields.get("policy"));
        fields.finish(r);
        policy
    })
    .map(Option::flatten);
    let network = or_default(fields.get("network"), |field| field.boolean(r));
    let health = optional(fields.get("health"), |field| ports::health(r, &field));
    fields.finish(r);
    if let (Some(volumes), Some(field)) = (&volumes, volumes_field) {
        let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
        let names = volumes.iter().map(|volume| volume.name.as_str());
        r.unique("volume", names.zip(&spots));
        let paths = volumes.iter().map(|volume| volume.path.as_str());
        r.unique("volume's path", paths.zip(&spots));
    }
    if let Some(kind) = kind {
        check_packages(r, field, kind, (has_packages, has_without, has_from));
    }
    if kind == Some(Toolchain::Image) && !has_from {
        r.report.error_with(
            Code::MissingKey,
            &field.spot,
            format!("the kind `{}` needs an image to build on", Toolchain::Image),
            "add `from`",
        );
    }
    Some(Build {
        name: name?,
        kind: kind?,
        packages: packages?,
        without: without?,
        from: from?,
        to: to?,
        pwd: pwd?,
        command: command?,
        copy: copy?,
        requirements: requirements?,
        run: run?,
        binaries: binaries?,
        dirs: dirs?,
        fs_dirs: fs_dirs?,
        fs_files: fs_files?,
        plains: plains?,
        plain_files: plain_files?,
        host_paths: host_paths?,
        volumes: volumes?,
        signature: signature?,
        stable: stable?,
        policy_template: policy_template?,
        network: network?,
        health: health?,
    })
}

/// The kind `debian` is built from packages, and no other is.
fn check_packages(
    r: &mut Reader,
    field: &Field<'_>,
    kind: Toolchain,
    (packages, without, from): (bool, bool, bool),
) {
    if kind == Toolchain::Debian {
        if !packages {
            r.report.error_with(
                Code::MissingKey,
                &field.spot,
                format!("the kind `{kind}` needs the packages to build from"),
                "add `packages: […]`",
            );
        }
        if from {
            r.conflict(
                &field.spot,
                format!("the kind `{kind}` is built from packages, and `from` names an image"),
                "remove `from`, or write `kind: sconify_image`",
            );
        }
    } else if packages || without {
        r.conflict(
            &field.spot,
            format!(
                "`packages` and `without` are for the kind `{}`",
                Toolchain::Debian
            ),
            "remove them, or write `kind: debian`",
        );
    }
}

/// The name of a package, as Debian's policy has it.
fn package(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let name = field.line(r, 128)?;
    let is_name = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        });
    if !is_name {
        r.bad_value(
            &field.spot,
            format!("`{}` is no name of a Debian package", shown(&name)),
            "write one such as `redis-server`; versions are for `--locked`",
        );
        return None;
    }
    Some(name)
}

fn kind(r: &mut Reader, field: &Field<'_>) -> Option<Toolchain> {
    let text = field.text(r)?;
    let known = Toolchain::ALL.map(Toolchain::as_str);
    word_of(r, &field.spot, text, "kind of build", &known, |text| {
        Toolchain::from_word(text)
    })
}

// The outer None is a fault, the inner one absence.
#[allow(clippy::option_option)]
fn requirements(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    outside: Option<Field<'_>>,
) -> Option<Option<String>> {
    let inside = fields.get("requirements");
    if let Some(outside) = &outside {
        if inside.is_some() {
            r.conflict(
                &outside.spot,
                "`build.requirements` is there, too",
                "remove this one",
            );
            return None;
        }
        r.legacy(
            &outside.spot,
            "`requirements` stood here in drafts",
            "move it into `build`",
        );
    }
    optional(inside.or(outside), |field| relative_path(r, &field))
}

fn fs_dirs(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let mut dirs = list(r, fields.get("fs_dirs"), path_below_root)?;
    if let Some(field) = fields.get_legacy("binarfs") {
        r.legacy(
            &field.spot,
            "`binarfs` is of a draft",
            "list the folders of `include-new` under `fs_dirs`",
        );
        let mut inside = field.map(r)?;
        let more = list(r, inside.get("include-new"), path_below_root);
        inside.finish(r);
        dirs.extend(more?);
    }
    Some(dirs)
}

fn signature(r: &mut Reader, field: &Field<'_>) -> Option<Signature> {
    let mut fields = field.map(r)?;
    let sign_field = fields.get("sign");
    let sign = optional(sign_field.clone(), |field| field.boolean(r));
    let key = line(r, fields.get("key"));
    fields.finish(r);
    if let (Some(Some(false)), Some(field)) = (sign, sign_field) {
        r.report.warn(
            Code::NoEffect,
            &field.spot,
            "images are always signed",
            "remove it",
        );
    }
    sign?;
    Some(Signature { key: key? })
}

/// A path in the build context.
pub(super) fn relative_path(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let path = field.line(r, 4096)?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        r.bad_value(
            &field.spot,
            format!("`{}` leads out of the build context", shown(&path)),
            "write a path relative to the folder of the manifest, without `..`",
        );
        return None;
    }
    Some(path)
}
