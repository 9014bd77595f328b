//! The values of mesh variables, and which of several counts.

use std::collections::BTreeMap;

use mse_crypto::Zeroizing;
use mse_session::EnvironmentName;

use crate::model::{Environment, Meshfile, Role, Scope, ServiceName};
use crate::text::{MeshText, UndefinedMeshVariable};

/// The values that mesh variables have for one service.
///
/// Of several values for a name, the first of these counts: the service's own in the Meshfile, the
/// chart's (`helm`), all services' (`global`), the default in the service's manifest, what the mesh
/// itself gives (`cas.cas.cas_url`, and what the mesh builder adds).
#[derive(Clone, Default)]
pub struct MeshValues(BTreeMap<String, Zeroizing<String>>);

impl MeshValues {
    /// The values for a service of `mesh` whose manifest has `environment`. What the mesh builder
    /// gives besides is in `builtin`: `("namespace", …)`.
    pub fn for_service<'b>(
        mesh: &Meshfile,
        service: &ServiceName,
        environment: &Environment,
        builtin: impl IntoIterator<Item = (&'b str, &'b str)>,
    ) -> Result<Self, UndefinedMeshVariable> {
        let mut base = Self::of_cases(mesh);
        for (name, value) in builtin {
            base.put(name, Zeroizing::new(value.to_owned()));
        }
        // The later one counts.
        let mut values = base.clone();
        for scope in [Scope::Global, Scope::Helm, Scope::Service(service.clone())] {
            for group in mesh.env.iter().filter(|group| group.scope == scope) {
                for variable in &group.variables {
                    let value = base.resolve(&variable.value).map_err(|error| {
                        error.at(format!(
                            "`{}` in `env` of `{}`",
                            variable.name,
                            scope.as_str()
                        ))
                    })?;
                    values.put(variable.name.as_str(), value);
                }
            }
        }
        let given = values.clone();
        for variable in &environment.global {
            let name = variable.name.as_str();
            if let Some(default) = &variable.default
                && !is_given(mesh, service, &variable.name)
            {
                let value = given
                    .resolve(default)
                    .map_err(|error| error.at(format!("the default of `{name}`")))?;
                values.put(name, value);
            }
        }
        Ok(values)
    }

    fn of_cases(mesh: &Meshfile) -> Self {
        let mut values = Self::default();
        for role in Role::ALL {
            let Some(cas) = mesh.cas_for(*role) else {
                continue;
            };
            let url = Zeroizing::new(cas.url.to_string());
            let key = cas.key.map(|key| Zeroizing::new(key.to_string()));
            // Both spellings are in use.
            values.put(&format!("cas.{role}.cas_url"), url.clone());
            values.put(&format!("cas_{role}_cas_url"), url);
            if let Some(key) = key {
                values.put(&format!("cas.{role}.cas_key"), key.clone());
                values.put(&format!("cas_{role}_cas_key"), key);
            }
        }
        values
    }

    fn put(&mut self, name: &str, value: Zeroizing<String>) {
        self.0.insert(name.to_owned(), value);
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// The names that have a value, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The text with values in the place of variables.
    pub fn resolve(&self, text: &MeshText) -> Result<Zeroizing<String>, UndefinedMeshVariable> {
        text.resolve(|name| self.get(name))
    }

    /// The environment of the program: what its manifest fixes, then what it leaves to the mesh. An
    /// error is a variable that nobody gives.
    pub fn environment(
        &self,
        environment: &Environment,
    ) -> Result<Vec<(EnvironmentName, Zeroizing<String>)>, UndefinedMeshVariable> {
        let fixed = environment.local.iter().map(|variable| {
            let value = self
                .resolve(&variable.value)
                .map_err(|error| error.at(format!("`{}` in `environment.local`", variable.name)))?;
            Ok((variable.name.clone(), value))
        });
        let given = environment.global.iter().map(|variable| {
            let value = self
                .get(variable.name.as_str())
                .ok_or_else(|| UndefinedMeshVariable {
                    name: variable.name.to_string(),
                    place: Some("`environment.global`".into()),
                })?;
            Ok((variable.name.clone(), Zeroizing::new(value.to_owned())))
        });
        fixed.chain(given).collect()
    }
}

/// Whether the Meshfile gives a value that counts for the service.
fn is_given(mesh: &Meshfile, service: &ServiceName, name: &EnvironmentName) -> bool {
    let counts = |scope: &Scope| match scope {
        Scope::Global | Scope::Helm => true,
        Scope::Service(other) => other == service,
    };
    mesh.env
        .iter()
        .any(|group| counts(&group.scope) && group.variables.iter().any(|one| one.name == *name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ServiceManifest, Variables};

    const MANIFEST: &str = "
apiVersion: mse/v1
kind: genservice
build: {name: api, kind: python, to: r.example/api, command: python3 api.py}
environment:
  local:
  - {name: GREETING, value: 'hello {{WHO}} of {{ TOWN | default(value=\"x\") }}'}
  global:
  - {name: WHO, value: default}
  - {name: PORT}
";

    fn manifest() -> ServiceManifest {
        ServiceManifest::read(MANIFEST, &Variables::new())
            .unwrap()
            .0
    }

    fn mesh(env: &str) -> Meshfile {
        let text = format!(
            "
apiVersion: mse/v1
kind: mesh
cas: [{{cas_url: 'cas.example:8081'}}]
policy: {{namespace: shop}}
services: [{{name: api, image: r.example/api}}, {{name: web, image: r.example/web}}]
env:
{env}"
        );
        Meshfile::read(&text, &Variables::new()).unwrap().0
    }

    fn values(env: &str) -> Result<MeshValues, UndefinedMeshVariable> {
        let service = "api".parse().unwrap();
        let builtin = [("namespace", "shop")];
        MeshValues::for_service(&mesh(env), &service, &manifest().environment, builtin)
    }

    fn who(env: &str) -> String {
        values(env).unwrap().get("WHO").unwrap().to_owned()
    }

    #[test]
    fn the_nearest_value_counts() {
        let group = |scope: &str, value: &str| {
            format!("- {{service: {scope}, env: [{{name: WHO, value: {value}}}]}}\n")
        };
        let all = ["global", "helm", "api", "web"].map(|scope| group(scope, scope));
        assert_eq!(who(&all.concat()), "api");
        assert_eq!(who(&[&*all[3], &all[1], &all[0]].concat()), "helm");
        assert_eq!(who(&[&*all[3], &all[0]].concat()), "global");
        assert_eq!(who(&all[3]), "default");
        assert_eq!(who(" []"), "default");
    }

    #[test]
    fn the_program_gets_what_is_fixed_and_what_is_given() {
        let values = values(
            "- {service: api, env: [{name: PORT, value: 80}, {name: GREETING, value: other}, {name: TOWN, value: '{{namespace}}@{{cas.access.cas_url}}{{cas_cas_cas_url}}'}]}",
        )
        .unwrap();
        let environment = values.environment(&manifest().environment).unwrap();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            environment,
            [
                (
                    "GREETING",
                    "hello default of shop@cas.example:8081cas.example:8081"
                ),
                ("WHO", "default"),
                ("PORT", "80"),
            ]
        );
    }

    #[test]
    fn what_nobody_gives_is_named() {
        let error = values(" []").unwrap().environment(&manifest().environment);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("`environment.global`: the mesh variable `{{PORT}}`")
        );
        // Values of the Meshfile see what the mesh gives, not each other.
        let error =
            values("- {service: api, env: [{name: A, value: '{{PORT}}'}, {name: PORT, value: 1}]}")
                .err()
                .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("`A` in `env` of `api`: the mesh variable `{{PORT}}`")
        );
    }

    proptest! {
        /// Whatever a Meshfile gives, the program gets it as it is.
        #[test]
        fn values_are_not_looked_into(value in "[a-z{}$: #'\"\\\\]{0,20}") {
            let text = MeshText::literal(&value).to_text();
            let written = serde_json::to_string(&*text).unwrap().replace('$', "\\u0024");
            let values = values(&format!("- {{service: api, env: [{{name: PORT, value: {written}}}]}}"));
            // A reference that is none is refused when it is read.
            let values = values.unwrap();
            prop_assert_eq!(values.get("PORT"), Some(value.as_str()));
        }
    }
}
