//! A Meshfile.

use std::collections::BTreeMap;

use mse_yaml::{Code, Field, Fields, Spot, optional, or_default};
use serde_json::{Map, Value};

use super::{Reader, cas, env, header, helm, line, list, policy, service};
use crate::model::{
    Destination, EnvGroup, ExtraPolicy, MeshService, Meshfile, Repository, Scope, ServiceName,
};

/// Reads a Meshfile; None: the report says why.
pub(crate) fn meshfile(r: &mut Reader, root: &Field<'_>) -> Option<Meshfile> {
    let mut fields = root.map(r)?;
    let api_version = header::api_version(r, &mut fields);
    let cas = fields
        .require(r, "cas")
        .and_then(|field| cas::all(r, &field));
    let policy = fields
        .require(r, "policy")
        .and_then(|field| policy::policy(r, &field));
    let groups = match fields.get("env") {
        Some(field) => env::groups(r, &field),
        None => Some(Vec::new()),
    };
    let services_field = fields.require(r, "services");
    let services = services_field
        .clone()
        .and_then(|field| list(r, Some(field), service::service));
    let repo = optional(fields.get("repo"), |field| repository(r, &field));
    let extra_policies = list(r, fields.get("extra_policies"), extra_policy);
    let helm_extra_values = values(r, &mut fields);
    fields.finish(r);
    // Which secrets there are is said by the images.
    r.used.clear();
    let (groups, services) = (groups?, services?);
    let spots: Vec<_> = services_field?
        .items(r)
        .into_iter()
        .map(|item| item.spot)
        .collect();
    check_names(r, &services, &spots);
    check_links(r, &services, &spots);
    check_order(r, &services, &spots);
    let env = groups
        .into_iter()
        .map(|(group, place)| {
            check_scope(r, &group, &services, &place);
            group
        })
        .collect();
    Some(Meshfile {
        api_version: api_version?,
        cas: cas?,
        policy: policy?,
        env,
        services,
        repo: repo?,
        extra_policies: extra_policies?,
        helm_extra_values: helm_extra_values?,
    })
}

fn values(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Map<String, Value>> {
    let mut values = or_default(fields.get("helm_extra_values"), |field| {
        helm::values(r, &field)
    });
    let Some(field) = fields.get_legacy("helm") else {
        return values;
    };
    r.legacy(
        &field.spot,
        "`helm` with assignments is of a draft",
        "write `helm_extra_values` with a map",
    );
    for item in field.items(r) {
        values = values.and_then(|mut map| helm::assign(r, &item, &mut map).map(|()| map));
    }
    values
}

fn repository(r: &mut Reader, field: &Field<'_>) -> Option<Repository> {
    let mut fields = field.map(r)?;
    let destination = fields
        .require(r, "destination")
        .and_then(|field| field.line(r, 1024));
    let mut flag = |r: &mut Reader, key, default| match fields.get(key) {
        Some(field) => field.boolean(r),
        None => Some(default),
    };
    let squash = flag(r, "squash", false);
    let strip = flag(r, "strip", true);
    let push = flag(r, "push", true);
    let config_id = line(r, fields.get("config_id"));
    let key_file = line(r, fields.get("key_file"));
    fields.finish(r);
    Some(Repository {
        destination: destination?,
        squash: squash?,
        strip: strip?,
        push: push?,
        config_id: config_id?,
        key_file: key_file?,
    })
}

fn extra_policy(r: &mut Reader, field: &Field<'_>) -> Option<ExtraPolicy> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.line(r, 4096));
    let mode = optional(fields.get("mode"), |field| cas::mode(r, &field));
    fields.finish(r);
    Some(ExtraPolicy {
        name: name?,
        mode: mode?,
    })
}

/// Names are unique, in DNS too.
fn check_names(r: &mut Reader, services: &[MeshService], spots: &[Spot]) {
    let labels: Vec<_> = services.iter().map(|one| one.name.dns_label()).collect();
    let mut seen: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for ((service, label), spot) in services.iter().zip(&labels).zip(spots) {
        if let Some(other) = seen.insert(label, &service.name) {
            let message = if *other == service.name {
                format!("another service is called `{other}`, too")
            } else {
                format!("`{}` and `{other}` are both `{label}` in DNS", service.name)
            };
            r.report
                .error_with(Code::DuplicateName, spot, message, "choose another `name`");
        }
    }
}

fn names(services: &[MeshService]) -> Vec<&str> {
    services.iter().map(|one| one.name.as_str()).collect()
}

fn check_scope(r: &mut Reader, group: &EnvGroup, services: &[MeshService], place: &Field<'_>) {
    if let Scope::Service(name) = &group.scope
        && services.iter().all(|one| one.name != *name)
    {
        let known = [names(services), vec!["global", "helm"]].concat();
        r.unresolved(&place.spot, "service", name.as_str(), &known);
    }
}

/// Services that others connect to, or wait for, are there.
fn check_links(r: &mut Reader, services: &[MeshService], spots: &[Spot]) {
    for (service, spot) in services.iter().zip(spots) {
        let connected = service
            .connections
            .iter()
            .flatten()
            .filter_map(|one| match &one.to {
                Destination::Service(name) => Some(name),
                Destination::Network(_) | Destination::Host(_) => None,
            });
        let outside = service
            .connections
            .iter()
            .flatten()
            .filter_map(|one| match &one.to {
                Destination::Host(outside) => Some(outside.host.to_string()),
                Destination::Network(_) | Destination::Service(_) => None,
            });
        for host in outside {
            if services.iter().any(|one| one.name.dns_label() == host) {
                r.conflict(
                    spot,
                    format!("`{host}` is a service of the mesh, and no host outside of it"),
                    format!("write `to: {host}`"),
                );
            }
        }
        for name in connected.chain(&service.after) {
            if services.iter().all(|one| one.name != *name) {
                r.unresolved(spot, "service", name.as_str(), &names(services));
            }
        }
    }
}

/// `after` has no circles: takes out the services that wait for none that is left.
fn check_order(r: &mut Reader, services: &[MeshService], spots: &[Spot]) {
    let mut left: Vec<(&MeshService, &Spot)> = services.iter().zip(spots).collect();
    loop {
        let before = left.len();
        let waiting: Vec<&ServiceName> = left.iter().map(|(one, _)| &one.name).collect();
        left.retain(|(one, _)| one.after.iter().any(|name| waiting.contains(&name)));
        if left.len() == before {
            break;
        }
    }
    if let Some((_, spot)) = left.first() {
        let names: Vec<String> = left
            .iter()
            .map(|(one, _)| format!("`{}`", one.name))
            .collect();
        r.report.error_with(
            Code::Circular,
            spot,
            format!("these services wait for each other: {}", names.join(", ")),
            "remove one from `after`",
        );
    }
}
