//! Values that the Meshfile adds: `helm_extra_values` of the mesh, by services, and of a service.

use serde_json::{Map, Value};

use crate::model::Meshfile;

/// The values of all services.
pub(super) const GLOBAL: &str = "global";

/// What of the values of a service the Meshfile may say.
const OF_SERVICE: &[&str] = &[
    "replicaCount",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "tee",
    "runtimeClassName",
    "hostUsers",
    "sgxEpcMib",
    "resources",
    "nodeSelector",
    "tolerations",
    "affinity",
    "podLabels",
    "podAnnotations",
    "ports",
    "service",
    "networkPolicy",
    "volumes",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
];

/// And of those of all services.
const OF_ALL: &[&str] = &[
    "cas",
    "tee",
    "simulated",
    "runtimeClasses",
    "sgx",
    "imagePullSecrets",
    "networkPolicy",
];

/// Added values by the names of charts.
pub(super) struct Extra(Map<String, Value>);

impl Extra {
    /// What has a meaning in our charts; the rest is a warning, since Helm would drop it silently,
    /// or refuse it.
    pub(super) fn of(mesh: &Meshfile, warnings: &mut Vec<String>) -> Self {
        let mut extra = Map::new();
        for (key, value) in &mesh.helm_extra_values {
            let service = mesh
                .services
                .iter()
                .find(|one| one.name.as_str() == key || one.name.dns_label() == *key);
            match (service, key.as_str()) {
                (Some(service), _) => {
                    let place = format!("helm_extra_values.{key}");
                    let value = known(&place, value, OF_SERVICE, warnings);
                    merge(&mut extra, &service.name.dns_label(), value);
                }
                (None, GLOBAL) => {
                    let value = known("helm_extra_values.global", value, OF_ALL, warnings);
                    merge(&mut extra, GLOBAL, value);
                }
                (None, _) => warnings.push(format!(
                    "`helm_extra_values.{key}` has no effect: no service is called `{key}`"
                )),
            }
        }
        for service in &mesh.services {
            let place = format!("services.{}.helm_extra_values", service.name);
            let value = Value::Object(service.helm_extra_values.clone());
            let value = known(&place, &value, OF_SERVICE, warnings);
            merge(&mut extra, &service.name.dns_label(), value);
        }
        Self(extra)
    }

    /// What is added to the chart of a service.
    pub(super) fn of_service(&self, name: &str) -> Value {
        self.0
            .get(name)
            .cloned()
            .unwrap_or_else(|| Map::new().into())
    }

    /// `values` with what is added at `key`.
    pub(super) fn over(&self, key: &str, values: Value) -> Value {
        let mut all = Map::from_iter([(key.to_owned(), values)]);
        if let Some(added) = self.0.get(key) {
            merge(&mut all, key, added.clone());
        }
        all.remove(key).unwrap_or_default()
    }
}

/// The part of `value` that our charts know.
fn known(place: &str, value: &Value, keys: &[&str], warnings: &mut Vec<String>) -> Value {
    let Value::Object(map) = value else {
        if !value.is_null() {
            warnings.push(format!("`{place}` has no effect: it is no map"));
        }
        return Map::new().into();
    };
    let (known, unknown): (Vec<_>, Vec<_>) = map
        .clone()
        .into_iter()
        .partition(|(key, _)| keys.contains(&key.as_str()));
    for (key, _) in unknown {
        warnings.push(format!(
            "`{place}.{key}` has no effect: the charts of this program know {}",
            keys.join(", ")
        ));
    }
    Value::Object(known.into_iter().collect())
}

/// Puts `value` at `key`: maps are merged, anything else is replaced, as Helm does it.
fn merge(into: &mut Map<String, Value>, key: &str, value: Value) {
    match (into.get_mut(key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (key, value) in new {
                merge(old, &key, value);
            }
        }
        (_, value) => {
            into.insert(key.to_owned(), value);
        }
    }
}
