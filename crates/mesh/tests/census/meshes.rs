//! Meshfiles.

use mse_mesh::{CasTolerance, Document, Effect};
use serde_json::{Value, json};

use crate::{Construct, HEX, KEY, check, check_table, read, walk};

const HEAD: &str = "apiVersion: scone/5.8\nkind: mesh\n";
const CAS: &str = "name: cas, alias: [image, security, access, attestation], cas_url: cas.example";
const SERVICES: &str = "services: [{name: api, image: 'registry.example/api:1'}, {image: registry.example:5050/team/redis}]\n";

fn cas(rest: &str) -> String {
    format!("{HEAD}cas: [{{{CAS}, {rest}}}]\npolicy: {{namespace: shop}}\nenv: []\n{SERVICES}")
}

fn policy(rest: &str) -> String {
    format!("{HEAD}cas: [{{{CAS}}}]\npolicy: {{namespace: shop, {rest}}}\nenv: []\n{SERVICES}")
}

fn with(rest: &str) -> String {
    format!("{HEAD}cas: [{{{CAS}}}]\npolicy: {{namespace: shop}}\n{SERVICES}{rest}\n")
}

fn service(rest: &str) -> String {
    with("").replace("name: api,", &format!("name: api, {rest},"))
}

fn supported() -> Vec<Construct> {
    let plain = |path, fixture, pointer, expected| Construct {
        path,
        fixture,
        pointer,
        expected,
        warning: None,
    };
    let warned = |path, fixture, pointer, expected, warning| Construct {
        path,
        fixture,
        pointer,
        expected,
        warning: Some(warning),
    };
    let key: mse_session::KeyHash = KEY.parse().unwrap();
    let variables = "/env/0/env";
    vec![
        plain(".apiVersion", with(""), "/apiVersion", json!("mse/v1")),
        warned(".apiVersion", with("").replace("5.8", "6.0"), "/apiVersion", json!("mse/v1"), "only what `scone/5.8` has is known"),
        plain(".kind", with(""), "/kind", json!("mesh")),
        plain(".cas[].name", cas(""), "/cas/0/name", json!("cas")),
        plain(".cas[].alias[]", cas(""), "/cas/0/alias", json!(["image", "security", "access", "attestation"])),
        plain(".cas[].cas_url", cas("").replace("cas.example", "$CAS_URL"), "/cas/0/cas_url", json!("cas.example")),
        plain(".cas[].cas_url", cas("").replace("cas.example", "150.165.15.77"), "/cas/0/cas_url", json!("150.165.15.77")),
        plain(".cas[].cas_key", cas("cas_key: $CAS_KEY"), "/cas/0/cas_key", json!(key.to_string())),
        plain(".cas[].cas_encryption_key", cas("cas_encryption_key: $CAS_SESSION_ENCRYPTION_KEY"), "/cas/0/cas_encryption_key", json!(HEX)),
        plain(".cas[].mode", cas("cas_encryption_key: $CAS_SESSION_ENCRYPTION_KEY, mode: $UPLOAD_MODE"), "/cas/0/mode", json!("EncryptedManifest")),
        plain(".cas[].mode", cas("mode: SignedManifest"), "/cas/0/mode", json!("SignedManifest")),
        plain(".cas[].mode", cas("mode: ~"), "/cas/0/mode", Value::Null),
        warned(".cas[].tolerance", cas("tolerance: '--only_for_testing-trust-any --only_for_testing-debug  --only_for_testing-ignore-signer -C'"), "/cas/0/trust/tolerate", json!(["configuration-needed", "debug-mode", "any-signer", "any-enclave"]), "NO PROTECTION"),
        warned(".cas[].tolerance", cas("tolerance: -G"), "/cas/0/trust/tolerate", json!(["outdated-tcb"]), "known holes"),
        warned(".cas[].tolerance", cas("tolerance: --software-hardening-needed --insecure-configuration"), "/cas/0/trust/tolerate", json!(["configuration-needed", "software-hardening-needed"]), "set up insecurely"),
        warned(".cas[].tolerance", cas(&format!("tolerance: -CGS --mrenclave={HEX} --mrsigner {HEX} --isvprodid 41316 --isvsvn 5 -c {KEY} -s {HEX}")), "/cas/0/trust/pins", json!({"mrenclave": [HEX], "mrsigner": [HEX], "isvprodid": 41316, "isvsvn": 5, "software_key": HEX}), "command line in a text"),
        plain(".policy.namespace", policy("").replace("namespace: shop", "namespace: $APP_NAMESPACE"), "/policy/namespace", json!("shop-17-4")),
        plain(".policy.tolerate", policy("tolerate: hyperthreading"), "/policy/tolerate", json!(["hyperthreading"])),
        warned(".policy.tolerate", policy("tolerate: 'outdated-tcb, insecure-configuration,hyperthreading, insecure-igpu, software-hardening-needed'"), "/policy/tolerate", json!(["hyperthreading", "insecure-igpu", "software-hardening-needed", "insecure-configuration", "outdated-tcb"]), "WITHOUT A REASON AND FOR EVER"),
        warned(".policy.ignore_advisories", policy("ignore_advisories: '*'"), "/policy/ignore_advisories", json!("*"), "every security advisory is ignored"),
        plain(".policy.ignore_advisories", policy("ignore_advisories: 'INTEL-SA-00614, INTEL-SA-00586'"), "/policy/ignore_advisories", json!(["INTEL-SA-00586", "INTEL-SA-00614"])),
        plain(".policy.access_policy_name", policy("access_policy_name: security/policies/access"), "/policy/access_policy_name", json!("security/policies/access")),
        plain(".policy.security_policy_name", policy("security_policy_name: security/policies/security"), "/policy/security_policy_name", json!("security/policies/security")),
        plain(".policy.attestation_policy_name", policy("attestation_policy_name: security/policies/attestation"), "/policy/attestation_policy_name", json!("security/policies/attestation")),
        plain(".env", with("env: ~"), "/env", json!([])),
        plain(".env[].service", with("env: [{service: global, env: [{name: A, value: 1}]}]"), "/env/0/service", json!("global")),
        plain(".env[].service", with("env: [{service: global, env: ~}]"), variables, json!([])),
        plain(".env[].env[].name", with("env: [{service: api, env: [{name: imagePullSecrets, value: sconeapps}]}]"), variables, json!([{"name": "imagePullSecrets", "value": "sconeapps"}])),
        plain(".env[].env[].value", with("env: [{service: helm, env: [{name: PORT, value: 443}]}]"), "/env/0/env/0/value", json!("443")),
        warned(".env[].name", with("env: [{name: A, value: 10.96.0.10}, {name: B, value: ../secrets}]"), variables, json!([{"name": "A", "value": "10.96.0.10"}, {"name": "B", "value": "../secrets"}]), "they are for all services"),
        warned(".env[].key", with("env: [{key: nginx_server_name, value: www}]"), variables, json!([{"name": "nginx_server_name", "value": "www"}]), "`key` is an older spelling"),
        plain(".env[].value", with("env:\n- service: global\n  env:\n  - name: PEM\n    value: |\n      -----BEGIN CERTIFICATE-----\n          AAAA\n      -----END CERTIFICATE-----\n"), "/env/0/env/0/value", json!("-----BEGIN CERTIFICATE-----\n    AAAA\n-----END CERTIFICATE-----\n")),
        plain(".extra_policies[]", with("extra_policies: []"), "/extra_policies", Value::Null),
        warned(".helm[]", with("helm: ['db.persistence.enabled=true', 'db.volumes[0].name=external', 'db.volumes[0].claim.name=pvc', 'db.volumes[1].name=tmp', 'db.size=1Gi']"), "/helm_extra_values/db", json!({"persistence": {"enabled": true}, "volumes": [{"name": "external", "claim": {"name": "pvc"}}, {"name": "tmp"}], "size": "1Gi"}), "is of a draft"),
        plain(".helm_extra_values", with("helm_extra_values: {db: {persistence: {enabled: true, accessModes: [ReadWriteOnce], size: 1Gi}}}"), "/helm_extra_values/db/persistence", json!({"enabled": true, "accessModes": ["ReadWriteOnce"], "size": "1Gi"})),
        warned(".helm_extra_values", with("helm_extra_values: |\n  db:\n    size: 1Gi\n"), "/helm_extra_values/db/size", json!("1Gi"), "a text here"),
        plain(".services[].helm_extra_values", service("helm_extra_values: {resources: {limits: {sgx.k8s.io/sgx: 2}}}"), "/services/0/helm_extra_values/resources/limits", json!({"sgx.k8s.io/sgx": 2})),
        plain(".services[].image", service("").replace("'registry.example/api:1'", "$APP_IMAGE_REPO/api:1"), "/services/0/image", json!("registry.example:5050/team/api:1")),
        plain(".services[].image_secrets", service("image_secrets: secrets_example.yaml"), "/services/0/image_secrets", json!("secrets_example.yaml")),
        plain(".services[].name", with(""), "/services/0/name", json!("api")),
        plain(".services[].name", with(""), "/services/1/name", json!("redis")),
    ]
    .into_iter()
    .map(|mut construct: Construct| {
        construct.fixture = construct.fixture.replace(", }", "}").replace(", ,", ",");
        construct
    })
    .collect()
}

#[test]
fn every_construct_is_read_with_its_meaning() {
    walk(supported());
}

#[test]
fn the_table_says_what_becomes_of_each_construct() {
    check_table("Meshfiles", &supported());
}

#[test]
fn each_flag_of_attestation_has_its_effect() {
    for (flags, what, effect) in [
        ("-C", CasTolerance::ConfigurationNeeded, Effect::Weaker),
        (
            "--accept-configuration-needed",
            CasTolerance::ConfigurationNeeded,
            Effect::Weaker,
        ),
        ("-G", CasTolerance::OutdatedTcb, Effect::Dangerous),
        (
            "--accept-group-out-of-date",
            CasTolerance::OutdatedTcb,
            Effect::Dangerous,
        ),
        ("-S", CasTolerance::SoftwareHardeningNeeded, Effect::Weaker),
        (
            "--accept-sw-hardening-needed",
            CasTolerance::SoftwareHardeningNeeded,
            Effect::Weaker,
        ),
        (
            "--only_for_testing-debug",
            CasTolerance::DebugMode,
            Effect::NoProtection,
        ),
    ] {
        let (document, _) = read(flags, &cas(&format!("tolerance: {flags}")));
        let Document::Mesh(mesh) = document else {
            panic!("a Meshfile");
        };
        let tolerated: Vec<_> = mesh.cas[0]
            .trust
            .tolerate
            .iter()
            .map(|one| one.what)
            .collect();
        assert_eq!(tolerated, [what], "{flags}");
        assert_eq!(what.effect(), effect);
    }
    for (flags, words, help) in [
        (
            "--accept-group-out-of-dat",
            "no flag of attestation",
            "--accept-group-out-of-date",
        ),
        (
            "--only_for_testing-debugg",
            "no flag of attestation",
            "--only_for_testing-debug",
        ),
        ("-X", "no flag of attestation", ""),
        ("--mrenclave", "needs a value", ""),
        ("--mrenclave 00", "64 hex digits", ""),
        ("--only_for_testing-ignore-signer", "must be pinned", "pin"),
        ("--only_for_testing-trust-any", "debuggable", "debug-mode"),
    ] {
        let outcome = check(&cas(&format!("tolerance: {flags}")));
        let found = outcome.errors().find(|one| one.message.contains(words));
        let found = found.unwrap_or_else(|| panic!("{flags}: {:#?}", outcome.diagnostics));
        assert!(
            found.help.clone().unwrap_or_default().contains(help),
            "{found}"
        );
    }
}

#[test]
fn additions_of_mse_are_read_in_both_versions() {
    let text = service(
        "replicas: 3, resources: {memory: 1Gi, cores: 0.5}, node_selector: {disk: fast}, after: [redis], \
         health: {http: {path: /health, port: 8080}, period: 10s, failures: 3}, ports: [80, {port: 443, target: 8443, name: https}], \
         volumes: [{name: data, size: 10Gi, storage_class: fast}], connections: [redis, {to: redis, ports: [6379]}, {network: 10.0.0.0/8, ports: [443]}]",
    );
    for text in [text.replace("scone/5.8", "mse/v1"), text] {
        let (document, outcome) = read("", &text);
        assert_eq!(outcome.diagnostics, []);
        let canonical = crate::json(&document);
        assert_eq!(
            canonical["services"][0],
            json!({
                "name": "api",
                "image": "registry.example/api:1",
                "replicas": 3,
                "resources": {"memory": "1Gi", "cores": "500m"},
                "node_selector": {"disk": "fast"},
                "after": ["redis"],
                "health": {"http": {"path": "/health", "port": 8080}, "period": "10s", "failures": 3},
                "ports": [80, {"port": 443, "target": 8443, "name": "https"}],
                "volumes": [{"name": "data", "size": "10Gi", "storage_class": "fast"}],
                "connections": [{"to": "redis"}, {"to": "redis", "ports": [6379]}, {"network": "10.0.0.0/8", "ports": [443]}],
            })
        );
    }
    let trust = format!(
        "trust: {{pins: {{mrenclave: {HEX}, isvsvn: 5}}, tolerate: [{{what: outdated-tcb, reason: firmware comes in May, until: 2027-05-31}}], simulated: this-machine}}"
    );
    let (document, outcome) = read("", &cas(&trust));
    assert_eq!(outcome.warnings().count(), 2, "{:#?}", outcome.diagnostics);
    assert_eq!(
        crate::json(&document)["cas"][0]["trust"],
        json!({
            "pins": {"mrenclave": [HEX], "isvsvn": 5},
            "tolerate": [{"what": "outdated-tcb", "reason": "firmware comes in May", "until": "2027-05-31T23:59:59Z"}],
            "simulated": "this-machine",
        })
    );
}

#[test]
fn typing_errors_are_found() {
    for (text, path, word) in [
        (
            with("helm_extra_value: {}"),
            "helm_extra_value",
            "helm_extra_values",
        ),
        (cas("cas_kee: x"), "cas[0].cas_kee", "cas_key"),
        (
            cas("mode: EncryptedManifst"),
            "cas[0].mode",
            "EncryptedManifest",
        ),
        (
            cas("").replace("security,", "securty,"),
            "cas[0].alias[1]",
            "security",
        ),
        (policy("tolerates: x"), "policy.tolerates", "tolerate"),
        (
            policy("tolerate: outdated-tbc"),
            "policy.tolerate",
            "outdated-tcb",
        ),
        (service("imag: x"), "services[0].imag", "image"),
        (
            with("env: [{service: apy, env: []}]"),
            "env[0].service",
            "api",
        ),
    ] {
        let outcome = check(&text);
        let found = outcome.errors().find(|one| one.path == path);
        let found = found.unwrap_or_else(|| panic!("{text}\n{:#?}", outcome.diagnostics));
        assert!(
            found.help.as_ref().unwrap().contains(&format!("`{word}`")),
            "{found}"
        );
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, words) in [
        (
            cas("").replace("cas_url: cas.example", "mode: ~"),
            "`cas_url` is missing",
        ),
        (
            cas("").replace("cas.example", "'https://cas.example'"),
            "no place of a CAS",
        ),
        (
            cas("").replace(", attestation", ""),
            "no CAS has the role `attestation`",
        ),
        (
            cas("}, {name: cas, cas_url: other.example"),
            "more than one CAS has the role `cas`",
        ),
        (cas("mode: EncryptedManifest"), "without the key of the CAS"),
        (
            cas("tolerance: -G, trust: {}"),
            "`trust`, which is there, too",
        ),
        (
            cas(&format!("cas_key: {HEX}, tolerance: -c {KEY}")),
            "name different keys",
        ),
        (
            policy("ignore_advisories: '*, INTEL-SA-1'"),
            "stands with other advisories",
        ),
        (policy("ignore_advisories: nonsense"), "no advisory"),
        (
            policy("maa: 'http://maa.example'"),
            "no address of an attestation service",
        ),
        (
            with("env: [{env: [{name: A, value: 1}]}]"),
            "`service` is missing",
        ),
        (
            with(
                "env: [{service: api, env: [{name: A, value: 1}]}, {service: api, env: [{name: A, value: 2}]}]",
            ),
            "twice for `api`, with different values",
        ),
        (with("helm: [x]"), "no assignment"),
        (
            with("helm: ['a.b=1', 'a[0]=2']"),
            "a list in one assignment and a map in another",
        ),
        (service("after: [api]"), "wait for each other"),
        (service("after: [nobody]"), "no service `nobody`"),
        (service("connections: [nobody]"), "no service `nobody`"),
        (
            service("connections: [{network: 10.0.0.0/8}]"),
            "needs its ports",
        ),
        (service("resources: {memory: 512}"), "no amount of memory"),
        (service("ports: [80, 80]"), "another port is called `80`"),
        (
            with("").replace("name: api", "name: Redis"),
            "are both `redis` in DNS",
        ),
        (
            with("").replace("name: api", "name: global"),
            "stands for all services",
        ),
    ] {
        let outcome = check(&text);
        assert!(outcome.document.is_none());
        assert!(
            outcome.errors().any(|one| one.message.contains(words)),
            "{words}\n{text}\n{:#?}",
            outcome.diagnostics
        );
    }
}
