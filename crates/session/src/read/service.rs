//! `services`.

use std::collections::BTreeMap;

use mse_yaml::command::words;
use mse_yaml::{Code, Field, Fields, Spot, optional, or_default};

use super::image::LegacyImage;
use super::{Reader, SessionField};
use crate::model::{
    AttestationEntry, Command, EnvironmentName, EnvironmentValue, EvidenceRule, Feature,
    FileSystem, FileSystemUpdatePolicy, Hex, ImageName, OrReference, PlatformId, Service,
    ServiceName,
};
use crate::template::{HostArguments, Template};

pub(super) fn service(
    r: &mut Reader,
    field: &Field<'_>,
    legacy: &[LegacyImage],
    is_attestation_off: bool,
) -> Option<Service> {
    let mut fields = field.map(r)?;
    let name: Option<ServiceName> = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let command = optional(fields.get("command"), |field| command(r, &field));
    let environment = or_default(fields.get("environment"), |field| environment(r, &field));
    let pwd = fields.get("pwd");
    if pwd.is_none() {
        r.report.warn(
            Code::MissingPwd,
            &fields.spot,
            "the working directory is left to the image",
            "write `pwd: /`, or where the program expects to be",
        );
    }
    let pwd = optional(pwd, |field| field.path(r));
    let image = optional(fields.get("image_name"), |field| image_name(r, &field));
    let file_system = file_system(r, &mut fields);
    let attestation = attestation(
        r,
        &mut fields,
        image.as_ref().and_then(Option::as_ref),
        legacy,
        is_attestation_off,
    );
    let platforms = or_default(fields.get("platforms"), |field| platforms(r, &field));
    let one_time_password = optional(fields.get("one_time_password_shared_secret"), |field| {
        super::security::one_time_password(r, &field)
    });
    super::image::tags(r, fields.get("tags"));
    if let Some(field) = fields.get("persistency")
        && field.scalar() != Some("None")
    {
        r.report.warn(
            Code::NoEffect,
            &field.spot,
            "`persistency` has no effect",
            "remove it",
        );
    }
    fields.finish(r);
    Some(Service {
        name: name?,
        command: command?,
        environment: environment?,
        pwd: pwd?,
        image: image?,
        file_system: file_system?,
        attestation: attestation?,
        platforms: platforms?,
        one_time_password: one_time_password?,
    })
}

fn image_name(r: &mut Reader, field: &Field<'_>) -> Option<ImageName> {
    let name: ImageName = field.parse(r, Code::BadName)?;
    r.expect_image(name.as_str(), &field.spot);
    Some(name)
}

fn command(r: &mut Reader, field: &Field<'_>) -> Option<Command> {
    let words: Vec<Option<Template>> = if field.is_list() {
        r.uses(Feature::CommandList, &field.spot);
        field
            .items(r)
            .iter()
            .map(|item| {
                // `""` is a word, too, and so is `1`.
                if item.node.is_null() {
                    return item.template_of(r, "", HostArguments::Allowed);
                }
                item.prove_no_host_word(r)?;
                item.template(r, HostArguments::Allowed)
            })
            .collect()
    } else {
        let text = field.command_line(r)?;
        let Some(words) = words(&text) else {
            r.report.error(
                Code::BadValue,
                &field.spot,
                "a quotation mark is not closed",
            );
            return None;
        };
        words
            .iter()
            .map(|word| field.template_of(r, word, HostArguments::Allowed))
            .collect()
    };
    let words: Vec<Template> = words.into_iter().collect::<Option<_>>()?;
    if words.first().is_none_or(|word| word.pieces().is_empty()) {
        r.report
            .error(Code::BadValue, &field.spot, "there is no program in it");
        return None;
    }
    let mut wanted: Vec<u16> = words.iter().flat_map(Template::host_arguments).collect();
    if !wanted.is_empty() {
        r.uses(Feature::HostArguments, &field.spot);
    }
    wanted.sort_unstable();
    if let Some([number, _]) = wanted.array_windows().find(|[one, next]| one == next) {
        let message = format!("`@@{number}` stands there twice");
        r.report.error(Code::BadReference, &field.spot, message);
        return None;
    }
    Some(Command(words))
}

fn environment(
    r: &mut Reader,
    field: &Field<'_>,
) -> Option<BTreeMap<EnvironmentName, EnvironmentValue>> {
    let fields = field.map(r)?;
    let mut environment = BTreeMap::new();
    let mut is_whole = true;
    for (key, value) in fields.all() {
        let host = key.strip_prefix("\\@\\@").or(key.strip_prefix("@@"));
        let name = host.unwrap_or(key).parse::<EnvironmentName>();
        let name = value.or_report(r, Code::BadName, name);
        let content = if host.is_some() {
            r.uses(Feature::HostArguments, &value.spot);
            Some(EnvironmentValue::FromHost)
        } else if value.node.is_null() {
            Some(EnvironmentValue::Given(Template::default()))
        } else {
            value
                .template(r, HostArguments::Literal)
                .map(EnvironmentValue::Given)
        };
        let (Some(name), Some(content)) = (name, content) else {
            is_whole = false;
            continue;
        };
        if environment.insert(name.clone(), content).is_some() {
            let message = format!("`{name}` is both given and the host's");
            r.report.error(Code::Conflict, &value.spot, message);
        }
    }
    is_whole.then_some(environment)
}

#[allow(clippy::option_option)]
fn file_system(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Option<FileSystem>> {
    let path = fields.get("fspf_path");
    let key = fields.get("fspf_key");
    let tag = fields.get("fspf_tag");
    let policy = fields.get("fspf_update_policy");
    let Some(path) = path else {
        let Some(field) = key.or(tag).or(policy) else {
            return Some(None);
        };
        r.report.error_with(
            Code::MissingKey,
            &field.spot,
            "it is not said where the metadata of the file system is",
            "add `fspf_path`",
        );
        return None;
    };
    let update_policy = or_default(policy, |field| {
        r.uses(Feature::FspfUpdatePolicy, &field.spot);
        field.word(
            r,
            &[
                FileSystemUpdatePolicy::RollbackProtectedReinitializable,
                FileSystemUpdatePolicy::NoRollbackProtection,
            ]
            .map(|policy| (policy.as_str(), policy)),
        )
    });
    if tag.is_none() && update_policy == Some(FileSystemUpdatePolicy::default()) {
        r.report.error_with(
            Code::MissingKey,
            &path.spot,
            "without `fspf_tag`, any state of the file system would be accepted",
            "add it, or `fspf_update_policy: no_rollback_protection` if that is meant",
        );
        return None;
    }
    let key = optional(key, |field| field.file_system_key(r));
    let tag = optional(tag, |field| field.file_system_tag(r));
    Some(Some(FileSystem {
        path: path.path(r)?,
        key: key?,
        tag: tag?,
        update_policy: update_policy?,
    }))
}

fn attestation(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    image: Option<&ImageName>,
    legacy: &[LegacyImage],
    is_off: bool,
) -> Option<Vec<AttestationEntry>> {
    let spot = fields.spot.clone();
    let old = fields.get("mrenclaves");
    let new = fields.get("attestation");
    let of_image = image.and_then(|name| legacy.iter().find(|image| image.name == *name));
    let entries = match (old, new) {
        (Some(old), Some(_)) => {
            r.report.error_with(
                Code::Conflict,
                &old.spot,
                "`mrenclaves` and `attestation` say the same thing",
                "remove `mrenclaves`",
            );
            return None;
        }
        (Some(old), None) => {
            let mrenclaves = super::attestation::mrenclaves(r, &old)?;
            if let Some(image) = of_image {
                within_image(r, &old.spot, &mrenclaves, image)?;
            }
            vec![one_of(mrenclaves)]
        }
        (None, Some(new)) => {
            r.uses(Feature::AttestationSection, &new.spot);
            if of_image.is_some() {
                r.report.error_with(
                    Code::Conflict,
                    &new.spot,
                    "the image has `mrenclaves`, and the service `attestation`",
                    "remove `mrenclaves` of the image",
                );
                return None;
            }
            super::attestation_entries(r, &new)?
        }
        (None, None) => of_image
            .map(|image| vec![one_of(image.mrenclaves.clone())])
            .unwrap_or_default(),
    };
    if entries.is_empty() && !is_off {
        r.report.error_with(
            Code::MissingAttestation,
            &spot,
            "any program could claim to be this service",
            "add `attestation:` with `workload`, `mrenclave` or `signer`",
        );
        return None;
    }
    Some(entries)
}

fn one_of(mrenclave: Vec<OrReference<Hex<32>>>) -> AttestationEntry {
    AttestationEntry::Rule(Box::new(EvidenceRule {
        mrenclave,
        ..EvidenceRule::default()
    }))
}

/// In version 0.2 both lists must hold the program. Where the service's is within the image's, it
/// says it all.
fn within_image(
    r: &mut Reader,
    spot: &Spot,
    mrenclaves: &[OrReference<Hex<32>>],
    image: &LegacyImage,
) -> Option<()> {
    let Some(foreign) = mrenclaves
        .iter()
        .find(|one| !image.mrenclaves.contains(one))
    else {
        return Some(());
    };
    let what = match foreign {
        OrReference::Given(hex) => hex.to_string(),
        OrReference::From(reference) => reference.to_string(),
    };
    r.report.error_with(
        Code::Conflict,
        spot,
        format!(
            "`{what}` is not in `mrenclaves` of the image `{}`",
            image.name
        ),
        "make both lists equal, or remove the one of the image",
    );
    None
}

fn platforms(r: &mut Reader, field: &Field<'_>) -> Option<Vec<OrReference<PlatformId>>> {
    let read: Vec<_> = field
        .one_or_many(r)
        .iter()
        .map(|item| item.or_reference(r, |item, r| item.parse(r, Code::BadValue)))
        .collect();
    let platforms: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    if platforms.is_empty() {
        r.report.error(
            Code::BadValue,
            &field.spot,
            "an empty list is no machine at all",
        );
        return None;
    }
    Some(platforms)
}
