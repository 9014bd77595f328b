//! A CAS and services that it releases to, on one machine with a simulated TEE: all real programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mse_api::cas::{AUDIT_LINES, AuditLines, SESSIONS, StoredSession, Upload};
use mse_audit::entry::Entry;
use mse_ratls::cas::client::CasError;
use mse_runtime::process::{ProcessRuntime, ServiceSpec};
use mse_workload::bundle::{CodeTree, tree_digest};
use mse_workload::{
    Base, Measured, Measurement, Resources, SERVICE_FORMAT, ServiceWorkload, measurement,
};
use serde_json::Value;

use crate::cas_program::{CasMachine, Person, RunningCas};
use crate::programs::program;
use crate::services::Service;

/// A machine with a CAS and services.
pub struct ReleaseMachine {
    /// With the CAS.
    pub machine: CasMachine,
    /// The CAS.
    pub cas: RunningCas,
    services: ProcessRuntime,
}

impl ReleaseMachine {
    /// A new CAS, and no session.
    pub async fn new() -> Self {
        let machine = CasMachine::new(&program("mse-cas")).await;
        let cas = machine.create().await;
        Self::with(machine, cas)
    }

    /// With a CAS that runs.
    pub fn with(machine: CasMachine, cas: RunningCas) -> Self {
        let launcher = machine.folder.path().join("services");
        let platform = std::sync::Arc::clone(&machine.platform);
        let services = ProcessRuntime::open(&launcher, &program("mse-enclave"), platform).unwrap();
        Self {
            machine,
            cas,
            services,
        }
    }

    /// A folder with a program: these files.
    pub fn tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.machine.folder.path().join(name);
        for (path, content) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    /// What runs as `session`/`service` with the program in `tree`, as it is now.
    pub fn workload(&self, tree: &Path, session: &str, service: &str) -> ServiceWorkload {
        ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: tree_digest(&CodeTree::collect(tree).unwrap()).unwrap(),
            base: Base::Machine {},
            cas_key: self.cas.key,
            session: session.to_owned(),
            service: service.to_owned(),
            resources: Resources {
                memory_mib: 256,
                millicores: 1000,
            },
        }
    }

    /// What the TEE measures of it.
    pub fn measure(&self, workload: &ServiceWorkload) -> Measurement {
        measurement::simulated(&self.services.enclave_digest(), &workload.digest())
    }

    /// An entry of `attestation` that admits it.
    pub fn admits(&self, tree: &Path, session: &str, service: &str) -> String {
        let measurement = self.measure(&self.workload(tree, session, service));
        format!("{{mrenclave: '{}', simulated: true}}", measurement.0)
    }

    /// How to launch it, from the host's side.
    pub fn spec(&self, tree: &Path, session: &str, service: &str) -> ServiceSpec {
        ServiceSpec {
            workload: self.workload(tree, session, service),
            tree: tree.to_owned(),
            cas: self.cas.address.clone(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            volumes: BTreeMap::new(),
            one_time_password: None,
            access_token: None,
            hosts: BTreeMap::new(),
            release_timeout: Duration::from_secs(20),
        }
    }

    /// Launches it.
    pub async fn launch(&self, spec: ServiceSpec) -> Service {
        Service::of(self.services.launch_service(spec).await.unwrap())
    }

    /// Launches it and follows it to its end.
    pub async fn run(&self, tree: &Path, session: &str, service: &str) -> Service {
        let mut service = self.launch(self.spec(tree, session, service)).await;
        service.finish().await;
        service
    }

    /// Stores a session as the owner.
    pub async fn upload(&self, text: &str) -> Result<StoredSession, CasError> {
        self.upload_as(text, &self.machine.owner).await
    }

    /// Stores a session as somebody.
    pub async fn upload_as(&self, text: &str, who: &Person) -> Result<StoredSession, CasError> {
        let mut client = self.cas.connect(Some(who)).await?;
        client.post(SESSIONS, &Upload::Text(text.to_owned())).await
    }

    /// Asks the CAS for something, as the owner.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CasError> {
        let mut client = self.cas.connect(Some(&self.machine.owner)).await?;
        client.get(path).await
    }

    /// Tells the CAS something, as the owner.
    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<Value, CasError> {
        let mut client = self.cas.connect(Some(&self.machine.owner)).await?;
        client.post(path, body).await
    }

    /// The audit log.
    pub async fn audit(&self) -> Vec<Entry> {
        let page: AuditLines = self.get(&format!("{AUDIT_LINES}?from=0")).await.unwrap();
        page.lines
            .iter()
            .filter(|line| !line.starts_with("{\"head\""))
            .map(|line| Entry::from_canonical(line.as_bytes()).unwrap())
            .collect()
    }

    /// Every file of the host in which one of these stands.
    pub fn files_with(&self, needles: &[&[u8]]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.machine.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().filter_map(Result::ok) {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
                } else if let Ok(content) = std::fs::read(&path)
                    && needles
                        .iter()
                        .any(|needle| content.windows(needle.len()).any(|part| part == *needle))
                {
                    found.push(path);
                }
            }
        }
        found
    }
}
