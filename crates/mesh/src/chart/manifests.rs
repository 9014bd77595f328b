//! The objects of the chart with its own values, for whoever has no Helm. A test holds them against
//! what Helm renders: `tests/tests/kubernetes_chart.rs`.

use serde_json::{Map, Value, json};

use super::ChartError;

/// As the templates are: what they know, this does.
const RIGHTS: [&str; 6] = [
    "SYS_ADMIN",
    "SETUID",
    "SETGID",
    "CHOWN",
    "DAC_OVERRIDE",
    "KILL",
];
const SIMULATED: &str =
    "true: no hardware protects this service; whoever owns its node can read everything it is told";

/// A service as the chart has it, whose objects are made.
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    /// The name of the installation: what Helm calls a release.
    pub(super) release: &'a str,
    pub(super) global: &'a Value,
    /// With what the Meshfile adds.
    pub(super) values: &'a Value,
}

impl Service<'_> {
    /// All objects, in the order in which they are applied.
    pub(super) fn objects(&self) -> Result<Vec<Value>, ChartError> {
        let tee = self.tee()?;
        let mut objects = Vec::new();
        objects.extend(self.network_policy(tee));
        objects.extend(self.disruption_budget(tee));
        objects.push(self.service_account(tee));
        objects.extend(self.claims(tee));
        objects.extend(self.service(tee));
        objects.push(self.deployment(tee));
        Ok(objects)
    }

    fn tee(&self) -> Result<&str, ChartError> {
        let [own, common] = [self.values, self.global].map(|values| text(&values["tee"]));
        match (own, common) {
            ("", "") => Err(ChartError::NoTee),
            ("", tee) | (tee, _) => Ok(tee),
        }
    }

    fn selector(&self) -> Value {
        json!({
            "app.kubernetes.io/name": self.name,
            "app.kubernetes.io/instance": self.release,
        })
    }

    fn labels(&self, tee: &str) -> Value {
        let mut labels = self.selector();
        labels["app.kubernetes.io/managed-by"] = json!("mse");
        labels["app.kubernetes.io/part-of"] = self.global["mesh"].clone();
        if tee == "simulated" {
            labels["mse.dev/simulated"] = json!("true");
        }
        labels
    }

    fn object(&self, api: &str, kind: &str, name: &str, tee: &str) -> Value {
        json!({
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": name, "labels": self.labels(tee)},
        })
    }

    fn service_account(&self, tee: &str) -> Value {
        let mut account = self.object("v1", "ServiceAccount", self.name, tee);
        account["automountServiceAccountToken"] = json!(false);
        account
    }

    fn service(&self, tee: &str) -> Option<Value> {
        let ports = list(&self.values["ports"]);
        if ports.is_empty() {
            return None;
        }
        let ports: Vec<_> = ports
            .iter()
            .map(|port| over(port, json!({"protocol": "TCP"})))
            .collect();
        let mut service = self.object("v1", "Service", self.name, tee);
        set(
            &mut service["metadata"],
            "annotations",
            &self.values["service"]["annotations"],
        );
        service["spec"] = json!({
            "type": self.values["service"]["type"],
            "selector": self.selector(),
            "ports": ports,
        });
        Some(service)
    }

    fn disruption_budget(&self, tee: &str) -> Option<Value> {
        let several = self.values["replicaCount"]
            .as_u64()
            .is_some_and(|count| count > 1);
        several.then(|| {
            let mut budget = self.object("policy/v1", "PodDisruptionBudget", self.name, tee);
            budget["spec"] = json!({
                "maxUnavailable": 1,
                "selector": {"matchLabels": self.selector()},
            });
            budget
        })
    }

    fn claim(&self, volume: &Value) -> String {
        let name = text(&volume["name"])
            .to_lowercase()
            .replace(['_', '.'], "-");
        format!("{}-{name}", self.name)
    }

    fn claims(&self, tee: &str) -> Vec<Value> {
        let volumes = list(&self.values["volumes"]).iter();
        let own = volumes.filter(|volume| text(&volume["existingClaim"]).is_empty());
        own.map(|volume| {
            let mut claim = self.object("v1", "PersistentVolumeClaim", &self.claim(volume), tee);
            claim["spec"] = json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": volume["size"]}},
            });
            set(
                &mut claim["spec"],
                "storageClassName",
                &volume["storageClass"],
            );
            claim
        })
        .collect()
    }

    fn peer(&self, name: &Value) -> Value {
        json!({"podSelector": {"matchLabels": {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/instance": self.release,
        }}})
    }

    fn network_policy(&self, tee: &str) -> Option<Value> {
        let rules = &self.values["networkPolicy"];
        if rules["enabled"] != json!(true) {
            return None;
        }
        let ingress: Value = list(&rules["ingress"])
            .iter()
            .map(|rule| {
                let mut open = json!({"ports": [{"port": rule["port"], "protocol": "TCP"}]});
                let from: Value = list(&rule["from"])
                    .iter()
                    .map(|name| self.peer(name))
                    .collect();
                set(&mut open, "from", &from);
                open
            })
            .collect();
        let mut policy = self.object("networking.k8s.io/v1", "NetworkPolicy", self.name, tee);
        policy["spec"] = json!({
            "podSelector": {"matchLabels": self.selector()},
            "policyTypes": ["Ingress", "Egress"],
            "egress": self.egress(&rules["egress"]),
        });
        set(&mut policy["spec"], "ingress", &ingress);
        Some(policy)
    }

    fn egress(&self, rules: &Value) -> Vec<Value> {
        if rules["unrestricted"] == json!(true) {
            return vec![json!({})];
        }
        let tcp = |port: &Value| json!({"port": port, "protocol": "TCP"});
        let policy = &self.global["networkPolicy"];
        let mut names =
            json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]});
        set(&mut names, "to", &policy["dns"]);

        let (host, port) = text(&self.global["cas"])
            .rsplit_once(':')
            .unwrap_or_default();
        let port = port.parse::<u16>().map_or(Value::Null, Value::from);
        let mut cas = json!({"ports": [tcp(&port)]});
        let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let width = address.map(|address| if address.is_ipv4() { 32 } else { 128 });
        if !list(&policy["cas"]).is_empty() {
            set(&mut cas, "to", &policy["cas"]);
        } else if let (Some(address), Some(width)) = (address, width) {
            cas["to"] = json!([{"ipBlock": {"cidr": format!("{address}/{width}")}}]);
        }
        let services = list(&rules["services"])
            .iter()
            .map(|rule| json!({"ports": [tcp(&rule["port"])], "to": [self.peer(&rule["name"])]}));
        let networks = list(&rules["networks"]).iter().map(|rule| {
            let mut open = json!({"to": [{"ipBlock": {"cidr": rule["cidr"]}}]});
            let ports: Value = list(&rule["ports"]).iter().map(tcp).collect();
            set(&mut open, "ports", &ports);
            open
        });
        [names, cas]
            .into_iter()
            .chain(services)
            .chain(networks)
            .collect()
    }

    fn deployment(&self, tee: &str) -> Value {
        let values = self.values;
        let is_simulated = tee == "simulated";
        let mut deployment = self.object("apps/v1", "Deployment", self.name, tee);
        let strategy = if list(&values["volumes"]).is_empty() {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
        } else {
            json!({"type": "Recreate"})
        };
        let mut annotations = values["podAnnotations"].clone();
        if is_simulated {
            deployment["metadata"]["annotations"] = json!({"mse.dev/simulated": SIMULATED});
            annotations["mse.dev/simulated"] = json!(SIMULATED);
        }
        let mut metadata = json!({"labels": over(&self.labels(tee), values["podLabels"].clone())});
        set(&mut metadata, "annotations", &annotations);
        deployment["spec"] = json!({
            "replicas": values["replicaCount"],
            "selector": {"matchLabels": self.selector()},
            "strategy": strategy,
            "template": {"metadata": metadata, "spec": self.pod(tee)},
        });
        deployment
    }

    fn pod(&self, tee: &str) -> Value {
        let (global, values) = (self.global, self.values);
        let mut pod = json!({
            "serviceAccountName": self.name,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Always",
            "containers": [self.container(tee)],
            "volumes": self.volumes(tee),
        });
        set(&mut pod, "hostUsers", &values["hostUsers"]);
        let class = match text(&values["runtimeClassName"]) {
            "" => text(&global["runtimeClasses"][tee]),
            class => class,
        };
        set(&mut pod, "runtimeClassName", &json!(class));
        let mut secrets = list(&global["imagePullSecrets"]).to_vec();
        for secret in list(&values["imagePullSecrets"]) {
            if !secrets.contains(secret) {
                secrets.push(secret.clone());
            }
        }
        set(&mut pod, "imagePullSecrets", &json!(secrets));
        let mut tolerations = list(&values["tolerations"]).to_vec();
        if tee == "sgx" {
            tolerations.extend_from_slice(list(&global["sgx"]["tolerations"]));
        }
        set(&mut pod, "tolerations", &json!(tolerations));
        set(&mut pod, "nodeSelector", &values["nodeSelector"]);
        set(&mut pod, "affinity", &values["affinity"]);
        pod
    }

    fn container(&self, tee: &str) -> Value {
        let values = self.values;
        let mut ports: Vec<Value> = Vec::new();
        for port in list(&values["ports"]) {
            let number = &port["targetPort"];
            if !ports
                .iter()
                .any(|listed| listed["containerPort"] == *number)
            {
                ports.push(
                    json!({"name": port["name"], "containerPort": number, "protocol": "TCP"}),
                );
            }
        }
        let mut mounts = vec![json!({"name": "run", "mountPath": "/mse/run"})];
        if tee == "simulated" {
            mounts
                .push(json!({"name": "platform", "mountPath": "/mse/platform", "readOnly": true}));
        }
        for (index, volume) in list(&values["volumes"]).iter().enumerate() {
            mounts.push(json!({
                "name": format!("volume-{index}"),
                "mountPath": format!("/mse/volumes/{}", text(&volume["name"])),
                "subPath": "ciphertext",
            }));
        }
        let mut resources = json!({"limits": self.limits(tee)});
        set(&mut resources, "requests", &values["resources"]["requests"]);
        let mut container = json!({
            "name": "service",
            "image": values["image"],
            "imagePullPolicy": values["imagePullPolicy"],
            "env": self.variables(tee),
            "resources": resources,
            "securityContext": {
                "readOnlyRootFilesystem": true,
                "procMount": "Unmasked",
                "capabilities": {"drop": ["ALL"], "add": RIGHTS},
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Unconfined"},
            },
            "volumeMounts": mounts,
        });
        set(&mut container, "ports", &json!(ports));
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            set(&mut container, probe, &values[probe]);
        }
        container
    }

    fn variables(&self, tee: &str) -> Value {
        let workload = &self.values["workload"];
        let source = match tee {
            "sgx" => "gramine",
            "tdx" | "snp" => "tsm",
            other => other,
        };
        let variables = [
            ("MSE_CAS", text(&self.global["cas"]).to_owned()),
            ("MSE_CAS_KEY", text(&workload["casKey"]).to_owned()),
            ("MSE_SESSION", text(&workload["session"]).to_owned()),
            ("MSE_SERVICE", text(&workload["service"]).to_owned()),
            ("MSE_MEMORY_MIB", workload["memoryMib"].to_string()),
            ("MSE_MILLICORES", workload["millicores"].to_string()),
            ("MSE_TEE", source.to_owned()),
        ];
        let variables = variables
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}));
        variables.collect()
    }

    fn limits(&self, tee: &str) -> Value {
        let values = self.values;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let workload = &values["workload"];
        let memory = number(&workload["memoryMib"]) + number(&values["launcher"]["memoryMib"]);
        let mut limits = json!({
            "memory": format!("{memory}Mi"),
            "cpu": format!("{}m", number(&workload["millicores"])),
        });
        if tee == "sgx" {
            limits = over(&self.global["sgx"]["resources"], limits);
            match number(&values["sgxEpcMib"]) {
                0 => {}
                mib => limits["sgx.intel.com/epc"] = json!(format!("{mib}Mi")),
            }
        }
        limits
    }

    fn volumes(&self, tee: &str) -> Vec<Value> {
        let mut volumes =
            vec![json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})];
        if tee == "simulated" {
            let path = &self.global["simulated"]["platform"];
            volumes
                .push(json!({"name": "platform", "hostPath": {"path": path, "type": "Directory"}}));
        }
        for (index, volume) in list(&self.values["volumes"]).iter().enumerate() {
            let claim = match text(&volume["existingClaim"]) {
                "" => self.claim(volume),
                claim => claim.to_owned(),
            };
            volumes.push(json!({
                "name": format!("volume-{index}"),
                "persistentVolumeClaim": {"claimName": claim},
            }));
        }
        volumes
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Sets what says something.
fn set(object: &mut Value, key: &str, value: &Value) {
    let says_nothing = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !says_nothing {
        object[key] = value.clone();
    }
}

/// `value` with the entries of `more`, which count.
fn over(value: &Value, more: Value) -> Value {
    let mut all: Map<_, _> = value.as_object().cloned().unwrap_or_default();
    if let Value::Object(more) = more {
        all.extend(more);
    }
    Value::Object(all)
}
