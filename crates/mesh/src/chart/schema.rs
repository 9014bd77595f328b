//! What the values of charts may be. Helm refuses others before it installs anything.

use serde_json::{Map, Value, json};

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The values of the mesh; those of a service are checked by its own chart.
pub(super) fn umbrella(services: &[&str], simulated: bool) -> Value {
    let mut properties = Map::new();
    properties.insert("global".into(), global(simulated));
    for service in services {
        let about = json!({"type": "object", "description": format!("as in charts/{service}/values.schema.json")});
        properties.insert((*service).to_owned(), about);
    }
    json!({
        "$schema": DRAFT,
        "title": "Values of a mesh",
        "type": "object",
        "additionalProperties": false,
        "required": ["global"],
        "properties": properties,
    })
}

fn global(simulated: bool) -> Value {
    json!({
        "type": "object",
        "required": ["mesh", "cas", "tee", "simulated", "runtimeClasses", "sgx", "imagePullSecrets", "networkPolicy"],
        "properties": {
            "mesh": {"type": "string", "minLength": 1, "description": "the name of the mesh, for labels"},
            "cas": {
                "type": "string",
                "pattern": "^([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$",
                "description": "host:port of the CAS, as pods reach it",
            },
            "tee": tee(simulated),
            "simulated": object(&[(
                "platform",
                json!({"type": "string", "pattern": "^/", "description": "the folder of the simulated platform on each node"}),
            )]),
            "runtimeClasses": object(&[
                ("tdx", json!({"type": "string", "minLength": 1})),
                ("snp", json!({"type": "string", "minLength": 1})),
            ]),
            "sgx": object(&[
                ("resources", json!({"type": "object", "additionalProperties": {"type": ["string", "integer"]}})),
                ("tolerations", list_of_objects()),
            ]),
            "imagePullSecrets": pull_secrets(),
            "networkPolicy": object(&[
                ("dns", list_of_objects()),
                ("cas", list_of_objects()),
            ]),
        },
        "additionalProperties": false,
    })
}

/// The values of a service. Those of `workload` are what they are.
pub(super) fn service(workload: &Value, simulated: bool) -> Value {
    let fixed: Vec<_> = workload
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), json!({"const": value})))
        .collect();
    let mut schema = object(&[
        ("replicaCount", json!({"type": "integer", "minimum": 0})),
        (
            "image",
            json!({"type": "string", "pattern": "^[^@\\s]+@sha256:[0-9a-f]{64}$", "description": "with its digest"}),
        ),
        (
            "imagePullPolicy",
            json!({"enum": ["Always", "IfNotPresent", "Never"]}),
        ),
        ("imagePullSecrets", pull_secrets()),
        ("tee", tee(simulated)),
        ("runtimeClassName", json!({"type": "string"})),
        ("hostUsers", json!({"type": ["boolean", "null"]})),
        ("sgxEpcMib", json!({"type": "integer", "minimum": 0})),
        ("workload", object(&fixed)),
        (
            "launcher",
            object(&[("memoryMib", json!({"type": "integer", "minimum": 0}))]),
        ),
        (
            "resources",
            json!({
                "type": "object",
                "properties": {"requests": {"type": "object"}},
                "additionalProperties": false,
                "description": "limits follow from what is measured",
            }),
        ),
        ("nodeSelector", texts()),
        ("tolerations", list_of_objects()),
        ("affinity", json!({"type": "object"})),
        ("podLabels", texts()),
        ("podAnnotations", texts()),
        (
            "ports",
            list_of(&object(&[
                (
                    "name",
                    json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 15}),
                ),
                ("port", port()),
                ("targetPort", port()),
            ])),
        ),
        (
            "service",
            object(&[
                (
                    "type",
                    json!({"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}),
                ),
                ("annotations", texts()),
            ]),
        ),
        ("networkPolicy", network_policy()),
        ("volumes", list_of(&volume())),
        ("startupProbe", json!({"type": ["object", "null"]})),
        ("readinessProbe", json!({"type": ["object", "null"]})),
        ("livenessProbe", json!({"type": ["object", "null"]})),
    ]);
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("Values of a service");
    // Null removes a value.
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| name != "hostUsers" && !is_probe(name));
    }
    // Helm gives each chart the values of all.
    schema["properties"]["global"] = json!({"type": "object"});
    schema
}

fn network_policy() -> Value {
    let name = json!({"type": "string", "minLength": 1});
    let cidr = json!({"type": "string", "pattern": "/[0-9]+$"});
    let ingress = object(&[("port", port()), ("from", list_of(&name))]);
    let service = object(&[("name", name), ("port", port())]);
    let network = object(&[("cidr", cidr), ("ports", list_of(&port()))]);
    let egress = object(&[
        ("unrestricted", json!({"type": "boolean"})),
        ("services", list_of(&service)),
        ("networks", list_of(&network)),
    ]);
    object(&[
        ("enabled", json!({"type": "boolean"})),
        ("ingress", list_of(&ingress)),
        ("egress", egress),
    ])
}

fn port() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

fn is_probe(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.ends_with("Probe"))
}

fn volume() -> Value {
    let mut volume = object(&[
        ("name", json!({"type": "string", "minLength": 1})),
        (
            "size",
            json!({"type": "string", "pattern": "^[0-9]+([kMGT]|[KMGT]i)?$"}),
        ),
        ("storageClass", json!({"type": "string"})),
        (
            "existingClaim",
            json!({"type": "string", "description": "a claim that exists, instead of one of the chart's"}),
        ),
    ]);
    volume["required"] = json!(["name", "size"]);
    volume
}

/// Simulation proves nothing, and a CAS that was told to expect hardware refuses it.
fn tee(simulated: bool) -> Value {
    let known = if simulated {
        json!(["", "sgx", "tdx", "snp", "simulated"])
    } else {
        json!(["", "sgx", "tdx", "snp"])
    };
    json!({"enum": known, "description": "the TEE. `simulated` protects nothing, is possible only for a mesh that was compiled for it, and is the only one whose pods have run. To `tdx` and `snp` a CAS releases in machines that the Meshfile names (`policy.machines`), and never in Kata's as they are; to `sgx` never, since `mse apply` makes no rule for it"})
}

fn pull_secrets() -> Value {
    list_of(&object(&[(
        "name",
        json!({"type": "string", "minLength": 1}),
    )]))
}

fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<_> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<_, _> = properties
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

fn list_of(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn list_of_objects() -> Value {
    list_of(&json!({"type": "object"}))
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}
