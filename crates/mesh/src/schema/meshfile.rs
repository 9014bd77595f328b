//! Meshfiles.

use mse_session::Tolerated;
use serde_json::{Value, json};

use super::{
    api_version, flag, hex, http_or_tcp, list, map, name, path, port, service_name, string, text,
    whole, with_terms, word,
};
use crate::curated::Curated;
use crate::model::{CasTolerance, Role, UploadMode};

pub(super) fn schema() -> Value {
    let mut schema = map(
        "A Meshfile: an application of several services.",
        &["apiVersion", "kind", "cas", "policy", "services"],
        &json!({
            "apiVersion": api_version(),
            "kind": word("What the document is.", ["mesh"]),
            "cas": list("The CASes; each role is served by one.", &cas()),
            "policy": policy(),
            "env": json!({
                "description": "Values for the services. Of several for a name, the service's own counts, then `helm`, `global`, and the default of the service manifest.",
                "type": ["array", "null"],
                "items": map(
                    "Values for one, or all, services.",
                    &["service", "env"],
                    &json!({
                        "service": text("The name of a service, `global`, or `helm`."),
                        "env": { "type": ["array", "null"], "items": variable() },
                    }),
                ),
            }),
            "services": list("The services.", &service()),
            "repo": repository(),
            "extra_policies": list("Further policies.", &map(
                "A policy.",
                &["name"],
                &json!({ "name": string("Its name."), "mode": mode() }),
            )),
            "helm_extra_values": json!({ "description": "Values for the subcharts, by their names.", "type": "object" }),
        }),
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Meshfile");
    schema
}

fn variable() -> Value {
    map(
        "A variable.",
        &["name", "value"],
        &json!({ "name": text("Its name."), "value": text("Its value.") }),
    )
}

fn role(what: &str) -> Value {
    word(what, Role::ALL.iter().map(|role| role.as_str()))
}

fn mode() -> Value {
    let mut mode = word(
        "How sessions get to their CAS.",
        UploadMode::ALL.iter().map(|mode| mode.as_str()),
    );
    if let Some(words) = mode["enum"].as_array_mut() {
        words.push(Value::Null);
    }
    mode
}

fn cas() -> Value {
    let hashes = |what: &str| json!({ "oneOf": [hex(what), list(what, &hex("A hash."))] });
    let number = |what: &str| whole(what, 0, 65535);
    let tolerance = word(
        "What is let pass.",
        CasTolerance::ALL.map(CasTolerance::as_str),
    );
    map(
        "A CAS.",
        &["cas_url"],
        &json!({
            "name": role("The role that it is named after."),
            "alias": list("Its other roles; without, the only CAS has all of them.", &role("A role.")),
            "cas_url": string("Where it is: `host` or `host:port`."),
            "cas_key": string("The hash of its key."),
            "cas_encryption_key": hex("The key that sessions are encrypted for."),
            "trust": map(
                "How strictly it is attested (MSE).",
                &[],
                &json!({
                    "pins": map("What it must be.", &[], &json!({
                        "mrenclave": hashes("One of these measurements."),
                        "mrsigner": hashes("One of these signers."),
                        "isvprodid": number("This product."),
                        "isvsvn": number("This security version, or a later one."),
                        "software_key": string("The hash of the key that all instances of its software have."),
                    })),
                    "tolerate": list("What is let pass.", &with_terms("what", &tolerance)),
                    "simulated": string("Whose simulated evidence is believed: `this-machine`, or the file of a trust anchor."),
                }),
            ),
            "tolerance": {
                "description": "Flags of attestation: an older form of `trust`.",
                "type": "string",
                "deprecated": true,
            },
            "mode": mode(),
        }),
    )
}

fn machine() -> Value {
    let measured = |what: &str| json!({ "description": what, "type": "string", "pattern": "^[0-9a-fA-F]{96}$" });
    map(
        "A confidential virtual machine, by what its TEE measured when it started.",
        &["tee", "measurement"],
        &json!({
            "tee": word("Which TEE it is.", ["tdx", "snp"]),
            "measurement": measured("MRTD of TDX, MEASUREMENT of SEV-SNP; 96 hex digits."),
            "rtmr0": measured("TDX: the firmware's configuration. Absent: any."),
            "rtmr1": measured("TDX, where it is required: boot loader and kernel."),
            "rtmr2": measured("TDX, where it is required: command line and initial file system."),
        }),
    )
}

fn policy() -> Value {
    let session = |what: &str| string(what);
    let tolerated = word(
        "What is let pass.",
        Tolerated::ALL.iter().map(|one| one.as_str()),
    );
    let advisory = string("An advisory: `INTEL-SA-00615`; `*` is every one.");
    map(
        "The policies that are made for the mesh.",
        &["namespace"],
        &json!({
            "namespace": session("The namespace of the mesh's sessions, which nobody else uses."),
            "image_policy_namespace": session("The namespace of the images' policies, if it is another."),
            "machines": list(
                "On hardware, the confidential virtual machines that services may run in.",
                &machine(),
            ),
            "tolerate": json!({ "oneOf": [
                string("Words with commas between them."),
                list("What attestation of the services lets pass.", &with_terms("what", &tolerated)),
            ] }),
            "ignore_advisories": json!({ "anyOf": [
                with_terms("id", &advisory),
                list("Security advisories that are let pass.", &with_terms("id", &advisory)),
            ] }),
            "maa": string("Microsoft's attestation service, which then judges evidence."),
            "access_policy_name": session("A session with the access policy."),
            "security_policy_name": session("A session with the security policy."),
            "attestation_policy_name": session("A session with the attestation policy."),
        }),
    )
}

fn service() -> Value {
    let time = |what: &str| json!({ "description": what, "type": ["string", "integer"], "pattern": "^[0-9]+s?$" });
    let mut schema = map(
        "A service.",
        &[],
        &json!({
            "name": service_name("Its name; without, the image's."),
            "image": string("Its image."),
            "curated": word("One of the services that come with MSE, instead of an image (MSE).", Curated::ALL.map(Curated::as_str)),
            "image_policy": string("A file with another template of its policy."),
            "image_secrets": string("A file with other secrets."),
            "env": string("A file with another list of its environment."),
            "helm_chart": string("Another chart."),
            "helm_extra_values": json!({ "description": "Values for its chart.", "type": "object" }),
            "replicas": whole("How many of it run (MSE).", 0, 10_000),
            "resources": map("What it may use (MSE).", &[], &json!({
                "memory": { "description": "Memory: `512Mi`.", "type": "string", "pattern": "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)$" },
                "cores": { "description": "Processors: `2`, `0.5`, `500m`.", "type": ["string", "number"] },
            })),
            "node_selector": {
                "description": "Labels that its nodes must have (MSE).",
                "type": "object",
                "additionalProperties": text("A value."),
            },
            "after": list("Services that are started before it (MSE).", &service_name("A service.")),
            "health": http_or_tcp("How its health is looked at (MSE).", &json!({
                "period": time("How often: `10s`."),
                "timeout": time("How long an answer may take."),
                "failures": whole("How many bad answers in a row make it ill.", 1, 1000),
            })),
            "ports": list("How others reach its ports (MSE).", &json!({ "oneOf": [
                port("A port."),
                map("A port.", &["port"], &json!({
                    "port": port("The port that others see."),
                    "target": port("The port that the program listens on."),
                    "name": string("What it is for: `http`."),
                })),
            ] })),
            "files": list("Files that it has besides those of its image, or in their place (MSE).", &file()),
            "volumes": list("Where its volumes are kept (MSE).", &map("A volume.", &["name"], &json!({
                "name": name("Its name in the manifest."),
                "size": { "description": "How large it is: `10Gi`.", "type": "string", "pattern": "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)$" },
                "storage_class": string("By which class of storage."),
            }))),
            "connections": list("Whom it may connect to (MSE); without, nothing is closed.", &json!({ "oneOf": [
                service_name("A service, on all ports that it listens on."),
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "to": service_name("A service."),
                        "network": string("Machines outside of the mesh: `10.0.0.0/8`."),
                        "host": string("A host outside of the mesh: `api.example.com`."),
                        "ca": string("For a host: the shield speaks TLS, and verifies it by the certificates in this file (PEM)."),
                        "tls": word("For a host: the program speaks TLS itself.", ["program"]),
                        "ports": list("On these ports.", &port("A port.")),
                    },
                    "oneOf": [
                        { "required": ["to"] },
                        { "required": ["network", "ports"] },
                        { "required": ["host", "ports", "ca"] },
                        { "required": ["host", "ports", "tls"] },
                    ],
                },
            ] })),
        }),
    );
    schema["oneOf"] = json!([{ "required": ["image"] }, { "required": ["curated"] }]);
    schema
}

fn file() -> Value {
    let mut schema = map(
        "A file.",
        &["path"],
        &json!({
            "path": path("Where it is."),
            "content": text("Its content, with `{{name}}` and `$$SCONE::secret$$`."),
            "from": string("A file beside the Meshfile with its content."),
        }),
    );
    schema["oneOf"] = json!([{ "required": ["content"] }, { "required": ["from"] }]);
    schema
}

fn repository() -> Value {
    map(
        "Where images are copied to.",
        &["destination"],
        &json!({
            "destination": string("The registry."),
            "squash": flag("Whether layers become one.", false),
            "strip": flag("Whether what the mesh builder needs is taken out.", true),
            "push": flag("Whether it is pushed.", true),
            "config_id": string("The session of a confidential signer."),
            "key_file": string("The key of the signer, or the file that it is in."),
        }),
    )
}
