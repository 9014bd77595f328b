//! The values of a service's chart.

use mse_workload::ServiceWorkload;
use serde_json::{Map, Value, json};

use super::network::Connections;
use super::ports::Ports;
use super::probes::Probes;
use super::{ChartError, Installation, extra, is_label};
use crate::compile::PlannedService;
use crate::model::MeshService;

/// What launcher and enclave take besides the service, in MiB: as in `mse_runtime::container`.
const LAUNCHER_MIB: u32 = 64;
/// How large a volume is if the Meshfile does not say.
const VOLUME_SIZE: &str = "1Gi";
/// What only Jobs may have otherwise.
const ALWAYS: &str = "Always";

/// A service's chart.
pub(super) struct ServiceChart {
    /// Its name, and that of its objects.
    pub(super) name: String,
    /// Its values.
    pub(super) values: Value,
    /// Those of them that cannot be others, because they are measured.
    pub(super) workload: Value,
}

impl ServiceChart {
    /// The charts of all services, in the order of the Meshfile.
    pub(super) fn all(
        installation: &Installation<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Self>, ChartError> {
        let services = pairs(installation)?;
        let ports: Vec<_> = services
            .iter()
            .map(|(service, planned)| Ports::of(installation, service, planned))
            .collect();
        let connections = Connections::of(installation.mesh, &ports);
        let mut charts = Vec::new();
        for ((service, planned), ports) in services.into_iter().zip(&ports) {
            charts.push(Self::of(service, planned, ports, &connections, warnings)?);
        }
        Ok(charts)
    }

    fn of(
        service: &MeshService,
        planned: &PlannedService,
        ports: &Ports,
        connections: &Connections<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ChartError> {
        let name = service.name.dns_label();
        if !is_label(&name) {
            return Err(ChartError::Name(service.name.clone()));
        }
        if name == extra::GLOBAL {
            return Err(ChartError::Reserved(service.name.clone()));
        }
        if planned.image.digest().is_none() {
            return Err(ChartError::NoDigest(service.name.clone()));
        }
        let probes = Probes {
            probe: planned.health.as_ref(),
            shielded: connections.are_shielded(),
        };
        let replicas = service.replicas.unwrap_or(1);
        let volumes = volumes(service, planned);
        warn(service, planned, replicas, warnings);
        Connections::warn(service, warnings);
        let workload = workload(&planned.workload);
        let secrets = planned.values.get("imagePullSecrets");
        let secrets: Vec<_> = secrets
            .map(|name| json!({"name": name}))
            .into_iter()
            .collect();
        let values = json!({
            "replicaCount": replicas,
            "image": planned.image.as_str(),
            "imagePullPolicy": "IfNotPresent",
            "imagePullSecrets": secrets,
            "tee": "",
            "runtimeClassName": "",
            "hostUsers": false,
            "sgxEpcMib": epc(planned),
            "workload": workload,
            "launcher": {"memoryMib": LAUNCHER_MIB},
            "resources": {},
            "nodeSelector": service.node_selector,
            "tolerations": [],
            "affinity": {},
            "podLabels": {},
            "podAnnotations": {},
            "ports": ports.values(),
            "service": {"type": "ClusterIP", "annotations": {}},
            "networkPolicy": connections.values(service),
            "volumes": volumes,
            "startupProbe": Probes::startup(),
            "readinessProbe": probes.readiness(),
            "livenessProbe": probes.liveness(),
        });
        Ok(Self {
            name,
            values,
            workload,
        })
    }
}

/// Each service of the Meshfile with its plan.
fn pairs<'a>(
    installation: &Installation<'a>,
) -> Result<Vec<(&'a MeshService, &'a PlannedService)>, ChartError> {
    let (mesh, plan) = (installation.mesh, installation.services);
    let mut pairs = Vec::new();
    for service in &mesh.services {
        let planned = plan.iter().find(|one| one.name == service.name);
        let planned = planned.ok_or_else(|| ChartError::OtherPlan(service.name.clone()))?;
        pairs.push((service, planned));
    }
    match plan.iter().find(|one| mesh.service(&one.name).is_none()) {
        Some(other) => Err(ChartError::OtherPlan(other.name.clone())),
        None => Ok(pairs),
    }
}

/// What the launcher is told of the workload.
fn workload(workload: &ServiceWorkload) -> Value {
    json!({
        "casKey": workload.cas_key.to_string(),
        "session": workload.session,
        "service": workload.service,
        "memoryMib": workload.resources.memory_mib,
        "millicores": workload.resources.millicores,
    })
}

/// Enclave memory by the mesh variable of the original; 0: as the mesh does.
fn epc(planned: &PlannedService) -> u32 {
    let given = planned.values.get("sgxEpcMem");
    given.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn volumes(service: &MeshService, planned: &PlannedService) -> Vec<Value> {
    let volumes = planned.volumes.iter().map(|name| {
        let kept = service.volumes.iter().find(|one| one.name == *name);
        let size = kept.and_then(|one| one.size);
        let mut volume = Map::new();
        volume.insert("name".into(), json!(name.as_str()));
        volume.insert(
            "size".into(),
            json!(size.map_or_else(|| VOLUME_SIZE.to_owned(), |size| size.to_string())),
        );
        if let Some(class) = kept.and_then(|one| one.storage_class.as_deref()) {
            volume.insert("storageClass".into(), json!(class));
        }
        Value::Object(volume)
    });
    volumes.collect()
}

/// What the Meshfile says and a Deployment does not do.
fn warn(
    service: &MeshService,
    planned: &PlannedService,
    replicas: u32,
    warnings: &mut Vec<String>,
) {
    let name = &service.name;
    if service.helm_chart.is_some() {
        warnings.push(format!(
            "{name}: `helm_chart` has no effect: the chart is made by this program"
        ));
    }
    if let Some(policy) = planned.values.get("restartPolicy")
        && policy != ALWAYS
    {
        warnings.push(format!(
            "{name}: `restartPolicy` has no effect on Kubernetes: the pods of a Deployment always restart"
        ));
    }
    if replicas > 1 && !planned.volumes.is_empty() {
        warnings.push(format!(
            "{name}: `replicas` is {replicas}, and it has a volume: the CAS lets one instance write it, and ends the others"
        ));
    }
}
