//! What an app is made of. Everything in these objects is public.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use mse_workload::{AppId, Measured, Workload};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::settings::{KubernetesSettings, PinnedImage, PodTee};

/// The label that holds the name of the platform.
pub const PLATFORM: &str = "mse.dev/platform";
/// The label that holds the app's id.
pub const APP: &str = "mse.dev/app";
/// The label of what no hardware protects.
pub const SIMULATED: &str = "mse.dev/simulated";
/// The port of the enclave, of its pod and of its service.
pub const APP_PORT: u16 = 8443;

/// The container's name.
pub(super) const CONTAINER: &str = "enclave";

/// What launcher and enclave take besides the app: 64 MiB.
const OVERHEAD_MIB: u32 = 64;
/// What a bundle's folder may hold besides the bundle, and blocks of file systems.
const SLACK: u64 = 1 << 20;
/// How long a pod may take to end: the launcher gives the app 8 seconds of it.
const ENDING_SECONDS: u32 = 15;
/// Networks that an app does not reach: the cluster's, those of organisations, and a cloud's own services.
const PRIVATE_V4: [&str; 6] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
];
const PRIVATE_V6: [&str; 3] = ["::1/128", "fc00::/7", "fe80::/10"];

/// An app as a pod.
#[derive(Debug)]
pub struct AppPodSpec {
    /// What runs; its canonical form is what is launched and measured.
    pub workload: Workload,
    /// The canonical name of its curated runtime, for which there must be an image.
    pub curated: String,
    /// The size of the encrypted bundle.
    pub bundle_bytes: u64,
    /// The owner's certificate chain as PEM, with origin `owner`.
    pub certificate_chain: Option<String>,
    /// How long the enclave waits for its secrets.
    pub provisioning_timeout: Duration,
}

/// The objects of one app.
pub(super) struct AppObjects {
    pub(super) network_policy: NetworkPolicy,
    pub(super) config_map: ConfigMap,
    pub(super) service: Service,
    pub(super) deployment: Deployment,
}

impl AppObjects {
    pub(super) fn of(
        spec: &AppPodSpec,
        image: &PinnedImage,
        settings: &KubernetesSettings,
        owner: Option<&OwnerReference>,
    ) -> Self {
        let app = App {
            spec,
            image,
            settings,
            owner,
            id: spec.workload.app_id,
        };
        Self {
            network_policy: typed(app.network_policy()),
            config_map: typed(app.config_map()),
            service: typed(app.service()),
            deployment: typed(app.deployment()),
        }
    }
}

struct App<'a> {
    spec: &'a AppPodSpec,
    image: &'a PinnedImage,
    settings: &'a KubernetesSettings,
    owner: Option<&'a OwnerReference>,
    id: AppId,
}

impl App<'_> {
    fn network_policy(&self) -> Value {
        let of_gateway = json!({
            "podSelector": {"matchLabels": self.settings.gateway_labels},
            "namespaceSelector": {"matchLabels": {
                "kubernetes.io/metadata.name": self.gateway_namespace(),
            }},
        });
        // An empty selector would be everybody.
        let (ingress, mut egress) = if self.settings.gateway_labels.is_empty() {
            (json!([]), Vec::new())
        } else {
            let bundles = json!({"port": self.bundles_port(), "protocol": "TCP"});
            (
                json!([{
                    "from": [of_gateway],
                    "ports": [{"port": APP_PORT, "protocol": "TCP"}],
                }]),
                vec![json!({"to": [of_gateway], "ports": [bundles]})],
            )
        };
        egress.push(json!({
            "to": [{"namespaceSelector": {"matchLabels": {
                "kubernetes.io/metadata.name": "kube-system",
            }}}],
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        }));
        egress.push(json!({"to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE_V4}},
            {"ipBlock": {"cidr": "::/0", "except": PRIVATE_V6}},
        ]}));
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(),
            "spec": {
                "podSelector": {"matchLabels": self.selector()},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress,
                "egress": egress,
            },
        })
    }

    fn config_map(&self) -> Value {
        let canonical = self.spec.workload.canonical();
        let mut data = json!({"workload.json": String::from_utf8_lossy(&canonical)});
        if let Some(chain) = &self.spec.certificate_chain {
            data["certificate.pem"] = json!(chain);
        }
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(),
            "immutable": true,
            "data": data,
        })
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(),
            "spec": {
                "type": "ClusterIP",
                "selector": self.selector(),
                "ports": [{"name": "tls", "port": APP_PORT, "targetPort": "tls", "protocol": "TCP"}],
            },
        })
    }

    fn deployment(&self) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(),
            "spec": {
                // Its keys are its own: there are no two of it, and none after it.
                "replicas": 1,
                "revisionHistoryLimit": 0,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self.selector()},
                "template": {
                    "metadata": {"labels": self.labels(), "annotations": self.annotations()},
                    "spec": self.pod(),
                },
            },
        })
    }

    fn pod(&self) -> Value {
        let mut pod = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": ENDING_SECONDS,
            "containers": [self.container()],
            "volumes": self.volumes(),
        });
        let settings = self.settings;
        if let Some(class) = &settings.runtime_class {
            pod["runtimeClassName"] = json!(class);
        }
        if let Some(host_users) = settings.host_users {
            pod["hostUsers"] = json!(host_users);
        }
        if !settings.pull_secrets.is_empty() {
            let secrets = settings.pull_secrets.iter();
            pod["imagePullSecrets"] = secrets.map(|name| json!({"name": name})).collect();
        }
        if !settings.node_selector.is_empty() {
            pod["nodeSelector"] = json!(settings.node_selector);
        }
        if settings.tee == PodTee::Sgx {
            pod["tolerations"] =
                json!([{"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"}]);
        }
        pod
    }

    fn container(&self) -> Value {
        let resources = self.spec.workload.resources;
        let mut limits = BTreeMap::from([
            (
                "memory".to_owned(),
                format!("{}Mi", resources.memory_mib.saturating_add(OVERHEAD_MIB)),
            ),
            ("cpu".to_owned(), format!("{}m", resources.millicores)),
        ]);
        limits.extend(self.settings.resources.clone());
        let settings = self.settings;
        let mut mounts = vec![
            json!({"name": "app", "mountPath": "/mse/app", "readOnly": true}),
            json!({"name": "bundle", "mountPath": "/mse/bundle"}),
            json!({"name": "run", "mountPath": "/mse/run"}),
        ];
        if settings.simulated_platform.is_some() {
            mounts
                .push(json!({"name": "platform", "mountPath": "/mse/platform", "readOnly": true}));
        }
        json!({
            "name": CONTAINER,
            "image": self.image.to_string(),
            "imagePullPolicy": "IfNotPresent",
            "args": ["app"],
            // All that the launcher is told. None of it is secret, and only the workload is measured.
            "env": [
                {"name": "MSE_BUNDLE", "value": self.bundle_url()},
                {
                    "name": "MSE_PROVISIONING_SECONDS",
                    "value": self.spec.provisioning_timeout.as_secs().to_string(),
                },
                {"name": "MSE_PORT", "value": APP_PORT.to_string()},
                {"name": "MSE_TEE", "value": settings.tee.attester()},
            ],
            "ports": [{"name": "tls", "containerPort": APP_PORT, "protocol": "TCP"}],
            // Its output counts as storage, too, so that there is no limit but the folder's own.
            "resources": {
                "limits": limits,
                "requests": {"ephemeral-storage": self.bundle_room().to_string()},
            },
            // Ready is who shows evidence and can be provisioned.
            "readinessProbe": {"tcpSocket": {"port": "tls"}, "periodSeconds": 2},
            // What the sandbox is made with (docs/services.md); the app in it has none of that.
            "securityContext": {
                "readOnlyRootFilesystem": true,
                "procMount": "Unmasked",
                "capabilities": {
                    "drop": ["ALL"],
                    "add": ["SYS_ADMIN", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "KILL"],
                },
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Unconfined"},
            },
            "volumeMounts": mounts,
        })
    }

    fn volumes(&self) -> Vec<Value> {
        let mut volumes = vec![
            json!({"name": "app", "configMap": {"name": self.name()}}),
            json!({"name": "bundle", "emptyDir": {"sizeLimit": self.bundle_room().to_string()}}),
            json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
        ];
        if let Some(path) = &self.settings.simulated_platform {
            volumes
                .push(json!({"name": "platform", "hostPath": {"path": path, "type": "Directory"}}));
        }
        volumes
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "name": self.name(),
            "namespace": self.settings.namespace,
            "labels": self.labels(),
            "annotations": self.annotations(),
        });
        if let Some(owner) = self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        metadata
    }

    fn selector(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            (PLATFORM, self.settings.platform.clone()),
            (APP, self.id.to_string()),
        ])
    }

    fn labels(&self) -> BTreeMap<&'static str, String> {
        let mut labels = self.selector();
        labels.extend([
            ("app.kubernetes.io/name", "mse-app".to_owned()),
            ("app.kubernetes.io/instance", self.name()),
            ("app.kubernetes.io/managed-by", "mse-server".to_owned()),
        ]);
        if self.settings.tee == PodTee::Simulated {
            labels.insert(SIMULATED, "true".to_owned());
        }
        labels
    }

    fn annotations(&self) -> BTreeMap<&'static str, &'static str> {
        match self.settings.tee {
            PodTee::Simulated => BTreeMap::from([(
                SIMULATED,
                "true: no hardware protects this app; whoever owns its node can read everything it is told",
            )]),
            PodTee::Sgx | PodTee::Tdx | PodTee::Snp => BTreeMap::new(),
        }
    }

    fn name(&self) -> String {
        format!("mse-app-{}", self.id)
    }

    fn bundle_url(&self) -> String {
        let (base, digest) = (&self.settings.bundles, self.spec.workload.bundle);
        format!("{base}/bundles/{}/{digest}", self.id)
    }

    fn bundles_port(&self) -> u16 {
        let port = self.settings.bundles.rsplit_once(':');
        port.and_then(|(_, port)| port.parse().ok()).unwrap_or(80)
    }

    fn bundle_room(&self) -> u64 {
        self.spec.bundle_bytes + SLACK
    }

    fn gateway_namespace(&self) -> &str {
        let own = self.settings.gateway_namespace.as_deref();
        own.unwrap_or(&self.settings.namespace)
    }
}

/// A test holds that nothing is lost on the way.
fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("it is written as the type says")
}

#[cfg(test)]
mod tests {
    use mse_crypto::Digest;

    use super::super::settings::tests::{read, table};
    use super::*;

    fn workload() -> Workload {
        let text = json!({
            "format": 1,
            "app_id": "11111111-2222-4333-8444-555555555555",
            "application": "app:app",
            "image": {"name": "mse-flask", "digest": Digest::of(b"image")},
            "bundle": Digest::of(b"bundle"),
            "source_commitment": Digest::of(b"source"),
            "code_key_check": Digest::of(b"check"),
            "tls": {"origin": "self", "names": ["a.mse.localhost"], "certificate": null},
            "expires_at": null,
            "resources": {"memory_mib": 512, "millicores": 500},
            "health_endpoint": "/health",
            "environment": {},
            "provisioning": {"by": "owner"},
        });
        Workload::from_json(text.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn objects(changes: &[(&str, &str)]) -> [Value; 4] {
        let settings = read(&table(changes)).unwrap();
        let spec = AppPodSpec {
            workload: workload(),
            curated: "mse-flask".into(),
            bundle_bytes: 5 << 20,
            certificate_chain: None,
            provisioning_timeout: Duration::from_secs(900),
        };
        let image = &settings.images["mse-flask"];
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "ServiceAccount".into(),
            name: "mse-server".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        };
        let app = App {
            spec: &spec,
            image,
            settings: &settings,
            owner: Some(&owner),
            id: spec.workload.app_id,
        };
        let written = [
            app.network_policy(),
            app.config_map(),
            app.service(),
            app.deployment(),
        ];
        // Nothing is lost in the types: a misspelt field would be.
        let made = AppObjects::of(&spec, image, &settings, Some(&owner));
        let read = [
            json!(made.network_policy),
            json!(made.config_map),
            json!(made.service),
            json!(made.deployment),
        ];
        for (written, read) in written.iter().zip(&read) {
            assert_eq!(sorted(written), sorted(read));
        }
        written
    }

    /// Members in order, and none that is empty: types leave those out.
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let members: BTreeMap<_, _> = members
                    .iter()
                    .map(|(name, value)| (name.clone(), sorted(value)))
                    .collect();
                json!(members)
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }

    fn yaml(objects: &[Value]) -> String {
        let documents = objects
            .iter()
            .map(|one| serde_saphyr::to_string(one).unwrap());
        documents.collect::<Vec<_>>().join("---\n")
    }

    #[test]
    fn an_app_for_hardware() {
        let gateway = (
            "gateway-labels",
            "{ 'app.kubernetes.io/name' = 'mse-server' }",
        );
        insta::assert_snapshot!(
            "snp",
            yaml(&objects(&[gateway, ("gateway-namespace", "'mse'")]))
        );
    }

    #[test]
    fn a_simulated_app_says_so_on_every_object() {
        let changes = [
            ("tee", "'simulated'"),
            ("simulated-platform", "'/srv/tee'"),
            ("host-users", "false"),
            ("pull-secrets", "['registry']"),
            ("node-selector", "{ pool = 'apps' }"),
        ];
        let objects = objects(&changes);
        for object in &objects {
            assert_eq!(object["metadata"]["labels"][SIMULATED], "true");
            assert!(object["metadata"]["annotations"][SIMULATED].is_string());
        }
        insta::assert_snapshot!("simulated", yaml(&objects));
    }

    #[test]
    fn sgx_has_its_devices_and_nothing_is_simulated_unless_asked() {
        let [_, _, _, deployment] = objects(&[("tee", "'sgx'")]);
        let text = deployment.to_string();
        assert!(text.contains("\"sgx.intel.com/enclave\":\"1\""), "{text}");
        assert!(
            text.contains("gramine") && !text.contains("imulated"),
            "{text}"
        );
    }
}
