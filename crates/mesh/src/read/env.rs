//! `env` of a Meshfile, in all its forms.

use mse_yaml::{Code, Field, Fields};

use super::manifest::variable_name;
use super::{Reader, list, texts};
use crate::model::{EnvGroup, LocalVariable, Scope, scope};

/// The groups, each scope once, in the order in which they begin; with the places of their scopes.
pub(super) fn groups<'n>(r: &mut Reader, field: &Field<'n>) -> Option<Vec<(EnvGroup, Field<'n>)>> {
    let mut groups: Vec<(EnvGroup, Field<'n>)> = Vec::new();
    let mut is_whole = true;
    let mut flat_was_said = false;
    for item in field.items(r) {
        let Some(Group {
            scope,
            place,
            variables,
        }) = group(r, &item, &mut flat_was_said)
        else {
            is_whole = false;
            continue;
        };
        let known = groups.iter().position(|(group, _)| group.scope == scope);
        let index = known.unwrap_or_else(|| {
            let variables = Vec::new();
            groups.push((EnvGroup { scope, variables }, place));
            groups.len() - 1
        });
        for (variable, at) in variables {
            add(r, &mut groups[index].0, variable, &at);
        }
    }
    is_whole.then_some(groups)
}

/// An item of the list.
struct Group<'n> {
    scope: Scope,
    /// Where the scope stands.
    place: Field<'n>,
    variables: Vec<(LocalVariable, Field<'n>)>,
}

fn group<'n>(r: &mut Reader, item: &Field<'n>, flat_was_said: &mut bool) -> Option<Group<'n>> {
    let mut fields = item.map(r)?;
    let is_flat = !fields.has("env") && !fields.has("service");
    if is_flat {
        if !*flat_was_said {
            *flat_was_said = true;
            r.legacy(
                &item.spot,
                "a list of variables without `service` is of a draft: they are for all services",
                "write `- {service: global, env: […]}`",
            );
        }
        let variable = variable(r, &mut fields);
        fields.finish(r);
        return Some(Group {
            scope: Scope::Global,
            place: item.clone(),
            variables: vec![(variable?, item.clone())],
        });
    }
    let scope_field = fields.get("service");
    let scope = if let Some(field) = &scope_field {
        field
            .text(r)
            .and_then(|text| field.or_report(r, Code::BadName, scope(text)))
    } else {
        r.report.error_with(
            Code::MissingKey,
            &item.spot,
            "`service` is missing",
            "write `service: global`, or the name of a service",
        );
        None
    };
    let variables = list(r, fields.get("env"), |r, item| {
        let mut fields = item.map(r)?;
        let variable = variable(r, &mut fields);
        fields.finish(r);
        Some((variable?, item.clone()))
    });
    fields.finish(r);
    Some(Group {
        scope: scope?,
        place: scope_field?,
        variables: variables?,
    })
}

fn variable(r: &mut Reader, fields: &mut Fields<'_>) -> Option<LocalVariable> {
    let name = variable_name(r, fields);
    let value = fields
        .require(r, "value")
        .and_then(|field| texts::text(r, &field));
    Some(LocalVariable {
        name: name?,
        value: value?,
    })
}

/// Adds a variable, of which there may be one already.
fn add(r: &mut Reader, group: &mut EnvGroup, variable: LocalVariable, at: &Field<'_>) {
    let Some(old) = group.variables.iter().find(|old| old.name == variable.name) else {
        group.variables.push(variable);
        return;
    };
    let message = format!(
        "`{}` stands there twice for `{}`",
        variable.name,
        group.scope.as_str()
    );
    if old.value == variable.value {
        r.report
            .warn(Code::DuplicateName, &at.spot, message, "remove one of them");
    } else {
        let message = format!("{message}, with different values");
        r.report
            .error_with(Code::DuplicateName, &at.spot, message, "keep one of them");
    }
}
