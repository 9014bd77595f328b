//! Service manifests.

use mse_secrets::{KeyType, Kind};
use mse_session::UpdatePolicy;
use serde_json::{Value, json};

use super::{
    api_version, flag, http_or_tcp, list, map, name, path, paths, port, service_name, string, text,
    whole, word,
};
use crate::model::Toolchain;

pub(super) fn schema() -> Value {
    let mut schema = map(
        "A service manifest: how the image of a service is built, and what of its configuration the image's owner decides.",
        &["apiVersion", "kind", "build"],
        &json!({
            "apiVersion": api_version(),
            "kind": word("What the document is.", ["genservice"]),
            "build": build(),
            "environment": environment(),
            "secrets": map(
                "Secrets between the service and its mesh.",
                &[],
                &json!({
                    "global": list("Secrets that the service defines for the whole mesh.", &secret()),
                    "import": list("Secrets that another service must define.", &name("The name of a secret.")),
                }),
            ),
            "injection_files": list(
                "Files that exist inside the enclave only.",
                &map(
                    "A file.",
                    &["path", "content"],
                    &json!({
                        "path": path("Where it is."),
                        "content": text("Its content, with `{{name}}` and `$$SCONE::secret$$`."),
                    }),
                ),
            ),
            "listen": list("The ports that the service serves (MSE).", &json!({
                "oneOf": [
                    port("A port."),
                    map(
                        "A port with a name.",
                        &["port"],
                        &json!({ "port": port("Its number."), "name": string("What it is for: `http`.") }),
                    ),
                ],
            })),
        }),
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Service manifest");
    schema
}

fn build() -> Value {
    let java = ["java", "image", "python3", "java17-bullseye"];
    let kinds = Toolchain::ALL
        .into_iter()
        .map(Toolchain::as_str)
        .chain(java);
    let strings = |what: &str| list(what, &json!({ "type": "string" }));
    map(
        "How the image is built.",
        &["name", "kind", "to", "command"],
        &json!({
            "name": service_name("The name of the service."),
            "kind": word("What builds it.", kinds),
            "packages": list("Packages of Debian that the kind `debian` is built from (MSE).", &package("A package.")),
            "without": list("Packages that those depend on, and that are left out (MSE).", &package("A package.")),
            "from": string("The image to build on, if not the kind's."),
            "to": string("The image that comes out: `registry.example/app:1`."),
            "pwd": path("The working directory."),
            "command": text("The command line, which goes into the policy."),
            "copy": strings("Files and folders of the build context."),
            "requirements": string("A file of pip's requirements in the build context."),
            "run": strings("Commands that are run in the image, each in a step of its own."),
            "binaries": strings("The programs that run in the enclave, if not those that are found."),
            "dirs": paths("Folders that are encrypted."),
            "fs_dirs": paths("Folders that are measured."),
            "fs_files": paths("Files that are measured."),
            "plains": paths("Folders without protection."),
            "plain_files": paths("Files without protection."),
            "host_paths": paths("Paths of the host, without protection."),
            "volumes": list("Encrypted volumes.", &volume()),
            "signature": map(
                "How the image is signed.",
                &[],
                &json!({
                    "sign": flag("Without effect: images are always signed.", true),
                    "key": string("The file of the key."),
                }),
            ),
            "stable": string("The version before, which must keep running until the update is done."),
            "gen_policy": map(
                "Another policy.",
                &[],
                &json!({ "policy": string("The file of its template.") }),
            ),
            "network": flag("Whether `run` may use the network (MSE).", false),
            "health": http_or_tcp("How the service shows that it is well (MSE).", &json!({})),
        }),
    )
}

fn package(what: &str) -> Value {
    json!({ "description": what, "type": "string", "pattern": "^[a-z0-9][a-z0-9+.-]+$" })
}

fn volume() -> Value {
    let mut schema = map(
        "An encrypted volume.",
        &["name", "path"],
        &json!({
            "name": name("Its name."),
            "path": path("Where it is mounted."),
            "import": map(
                "It is another session's.",
                &["session", "volume"],
                &json!({
                    "session": text("The session."),
                    "volume": name("Its name there."),
                }),
            ),
            "optional": flag("Whether it is there only if the Meshfile names it (MSE).", false),
            "export": list("Who else may use it.", &map(
                "A session.",
                &["session"],
                &json!({
                    "session": text("The session."),
                    "session_hash": string("This version of it only."),
                    "update_policy": word(
                        "The most that it may choose.",
                        UpdatePolicy::ALL.map(UpdatePolicy::as_str),
                    ),
                    "volume_alias": name("The name under which it is imported."),
                }),
            )),
        }),
    );
    schema["not"] = json!({ "required": ["import", "export"] });
    schema
}

fn environment() -> Value {
    map(
        "The environment of the program.",
        &[],
        &json!({
            "local": list("Variables that no Meshfile changes.", &map(
                "A variable.",
                &["name", "value"],
                &json!({
                    "name": text("Its name."),
                    "value": text("Its value, with `{{name}}` and `$$SCONE::secret$$`."),
                }),
            )),
            "global": list("Variables that the Meshfile gives.", &map(
                "A variable.",
                &["name"],
                &json!({
                    "name": text("Its name."),
                    "value": text("Its value if no Meshfile gives one."),
                }),
            )),
        }),
    )
}

fn secret() -> Value {
    let texts = |what: &str| json!({ "oneOf": [text(what), list(what, &text("A name."))] });
    map(
        "A secret. Unless it has a value, the CAS makes it.",
        &["name", "kind"],
        &json!({
            "name": name("Its name."),
            "kind": word("What it is.", Kind::ALL.map(Kind::as_str)),
            "size": json!({ "oneOf": [
                whole("Characters or bytes.", 1, 4096),
                json!({ "type": "string", "pattern": "^[0-9]+$" }),
            ] }),
            "value": text("Its value: everybody who has the image can read it."),
            "key_type": word("The type of a key.", KeyType::ALL.iter().map(|one| one.as_str())),
            "migrate": flag("Whether a generated key stays when the session is updated.", false),
            "private_key": name("The secret that is the private key."),
            "issuer": name("The secret that is the certificate authority."),
            "common_name": text("The common name of a certificate."),
            "dns": texts("The DNS names of a certificate."),
            "san": texts("The alternative names of a certificate: `dns:…`, `ip:…`."),
            "endpoint": word("For which end of a connection a certificate is.", ["client", "server"]),
            "valid_for": string("How long a certificate is valid: `90 days`."),
            "export_public": flag("Whether anybody may read it.", false),
            "tenant_id": text("Of a token of Azure's."),
            "client_id": text("Of a token of Azure's."),
            "application_secret": text("Of a token of Azure's."),
        }),
    )
}
