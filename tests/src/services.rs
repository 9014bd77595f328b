//! A machine that runs services of a CAS: the real enclave program, launched by the real runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mse_api::LogStream;
use mse_runtime::process::{EnclaveEvent, ProcessRuntime, RunningEnclave, ServiceSpec};
use mse_simtee::Platform;
use mse_workload::bundle::{CodeTree, tree_digest};
use mse_workload::launch::{Phase, ServiceEnd};
use mse_workload::{
    Base, Measured, Measurement, Resources, SERVICE_FORMAT, ServiceWorkload, measurement,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::cas::{FakeCas, SERVICE, SESSION};

/// A machine that runs services of a CAS.
pub struct ServiceMachine {
    /// Its simulated TEE.
    pub platform: Arc<Platform>,
    /// The CAS.
    pub cas: FakeCas,
    runtime: ProcessRuntime,
    tree: PathBuf,
    /// Everything that the host sees: the launcher's data, and the program's tree.
    pub data: TempDir,
}

impl ServiceMachine {
    /// With a program that is one file, and a CAS that releases to it.
    pub async fn new(enclave: &Path) -> Self {
        let data = tempfile::tempdir().unwrap();
        let tree = data.path().join("tree");
        std::fs::create_dir_all(tree.join("lib")).unwrap();
        std::fs::write(tree.join("main.txt"), "the program").unwrap();
        std::fs::write(tree.join("lib/data.txt"), "its data").unwrap();
        let platform = Platform::create(&data.path().join("tee"), SystemTime::now()).unwrap();
        let platform = Arc::new(platform);
        let launcher = data.path().join("launcher");
        let runtime = ProcessRuntime::open(&launcher, enclave, Arc::clone(&platform)).unwrap();
        let cas = FakeCas::start(&platform).await;
        let machine = Self {
            platform,
            cas,
            runtime,
            tree,
            data,
        };
        machine.cas.policies().measurement = Some(machine.measure(&machine.workload()));
        machine
    }

    /// The program's folder.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// What runs, as the folder is now.
    pub fn workload(&self) -> ServiceWorkload {
        ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: tree_digest(&CodeTree::collect(&self.tree).unwrap()).unwrap(),
            base: Base::Machine {},
            cas_key: self.cas.key,
            session: SESSION.to_owned(),
            service: SERVICE.to_owned(),
            resources: Resources {
                memory_mib: 256,
                millicores: 1000,
            },
        }
    }

    /// What the machine measures.
    pub fn measure(&self, workload: &ServiceWorkload) -> Measurement {
        measurement::simulated(&self.runtime.enclave_digest(), &workload.digest())
    }

    /// How to launch it, from the host's side.
    pub fn spec(&self) -> ServiceSpec {
        ServiceSpec {
            workload: self.workload(),
            tree: self.tree.clone(),
            cas: self.cas.address.clone(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            one_time_password: None,
            access_token: None,
            volumes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            release_timeout: Duration::from_secs(20),
        }
    }

    /// Launches it.
    pub async fn launch(&self, spec: ServiceSpec) -> Service {
        Service::of(self.runtime.launch_service(spec).await.unwrap())
    }

    /// Launches what [`Self::spec`] says and follows it to its end.
    pub async fn run(&self) -> Service {
        self.run_spec(self.spec()).await
    }

    /// Launches `spec` and follows it to its end.
    pub async fn run_spec(&self, spec: ServiceSpec) -> Service {
        let mut service = self.launch(spec).await;
        service.finish().await;
        service
    }
}

/// A service that was launched, and what was seen of it.
pub struct Service {
    /// It.
    pub enclave: RunningEnclave,
    /// What its program wrote.
    pub lines: Vec<String>,
    /// What the enclave wrote.
    pub log: Vec<String>,
    /// How far it came.
    pub phases: Vec<Phase>,
    /// What its health check found, one after the other.
    pub health: Vec<bool>,
    /// How it ended.
    pub end: Option<ServiceEnd>,
    /// How the process ended.
    pub how: Option<String>,
}

impl Service {
    /// One that was launched just now.
    pub fn of(enclave: RunningEnclave) -> Self {
        Self {
            enclave,
            lines: Vec::new(),
            log: Vec::new(),
            phases: Vec::new(),
            health: Vec::new(),
            end: None,
            how: None,
        }
    }

    /// Follows it to its end.
    pub async fn finish(&mut self) {
        while self.how.is_none() {
            self.step().await;
        }
    }

    /// Follows it until the next thing happens.
    pub async fn until_next(&mut self) {
        assert!(self.how.is_none(), "it ended: {self:#?}");
        self.step().await;
    }

    /// Follows it until its program wrote `line`.
    pub async fn until_line(&mut self, line: &str) {
        while !self.lines.iter().any(|seen| seen == line) {
            assert!(self.how.is_none(), "it ended before `{line}`: {self:#?}");
            self.step().await;
        }
    }

    /// Why it ended, as told to people.
    pub fn reason(&self) -> &str {
        match self.phases.last() {
            Some(Phase::Failed { reason } | Phase::Stopped { reason }) => reason,
            other => panic!("it did not end: {other:?}"),
        }
    }

    /// Whether the program was ever started.
    pub fn ran(&self) -> bool {
        self.phases
            .iter()
            .any(|phase| matches!(phase, Phase::Starting | Phase::Running))
    }

    async fn step(&mut self) {
        let next = timeout(Duration::from_secs(60), self.enclave.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing happened for a minute: {self:#?}"));
        match next.expect("an event before the end") {
            EnclaveEvent::Log { stream, text } => match stream {
                LogStream::App => self.lines.push(text),
                _ => self.log.push(text),
            },
            EnclaveEvent::Phase(phase) => self.phases.push(phase),
            EnclaveEvent::Health { well } => self.health.push(well),
            EnclaveEvent::ServiceEnded(end) => self.end = Some(end),
            EnclaveEvent::Exited { how } => self.how = Some(how),
            EnclaveEvent::Confinement(_)
            | EnclaveEvent::Listening { .. }
            | EnclaveEvent::Waiting { .. } => {}
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("lines", &self.lines)
            .field("log", &self.log)
            .field("phases", &self.phases)
            .field("health", &self.health)
            .field("end", &self.end)
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}
