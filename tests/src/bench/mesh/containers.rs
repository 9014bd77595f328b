//! A container from its start to its first answer: a service that is attested and told its part by
//! a CAS, against the same image with its program as the command, and nothing of ours running.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptionsBuilder};
use mse_runtime::container::{
    ContainerSpec, ContainerTee, ImageId, MeshId, Network, RunningContainer,
};
use mse_runtime::process::EnclaveEvent;
use mse_runtime::running::{Running, Runtime};
use mse_workload::ServiceWorkload;
use mse_workload::launch::Phase;
use serde::Deserialize;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::owner;
use crate::bench::report::{Goal, Measured, Unit};
use crate::bench::{Bench, free_port, say};
use crate::containers::Engine;
use crate::owner::Owner;

/// The first answer comes at most this much later than that of the same image without us, in seconds.
const GOAL: f64 = 0.3;
/// How often it is asked.
const POLL: Duration = Duration::from_millis(5);
/// Who does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::bench) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(9, 1);
    let service = Service::prepare().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut stages: [Vec<f64>; STAGES.len()] = Default::default();
    // Once without the clock: the page cache has the image then, for both.
    service.attested().await?;
    service.plain().await?;
    for round in 1..=rounds {
        let course = service.attested().await?;
        ours.push(course.answer);
        for (samples, at) in std::iter::zip(&mut stages, course.stages) {
            samples.push(at);
        }
        theirs.push(service.plain().await?);
        say(format!(
            "containers: round {round} of {rounds}: {:.2} s and {:.2} s",
            ours[round - 1],
            theirs[round - 1]
        ));
    }
    let row = |what: &str, ours, theirs, goal| Measured {
        what: format!("Container start to {what}"),
        unit: Unit::Seconds,
        ours,
        theirs,
        goal,
    };
    let goal = Some(Goal::More(GOAL));
    let what = "the first answer; theirs: the image without us";
    let mut rows = vec![row(what, ours, theirs, goal)];
    for ((what, _), samples) in std::iter::zip(STAGES, stages) {
        rows.push(row(what, samples, Vec::new(), None));
    }
    Ok(rows)
}

/// Where the time goes: what the launcher tells on the way to the answer.
const STAGES: [(&str, Phase); 3] = [
    (
        "the question to the CAS: the root is copied",
        Phase::AwaitingProvisioning,
    ),
    ("the release: evidence was appraised", Phase::Starting),
    ("the start of the program in its sandbox", Phase::Running),
];

/// Seconds since the container was asked for.
struct Course {
    answer: f64,
    stages: [f64; STAGES.len()],
}

/// What `mse apply` left of the plan, as far as it is needed here.
#[derive(Deserialize)]
struct Plan {
    cas: PlannedCas,
    services: Vec<PlannedService>,
}

#[derive(Deserialize)]
struct PlannedCas {
    address: String,
}

#[derive(Deserialize)]
struct PlannedService {
    workload: ServiceWorkload,
}

/// An applied service, and its image in an engine.
struct Service {
    owner: Owner,
    engine: Engine,
    api: Docker,
    image: ImageId,
    cas: String,
    workload: ServiceWorkload,
    port: u16,
}

impl Service {
    async fn prepare() -> anyhow::Result<Self> {
        let port = free_port()?;
        let (owner, digest) = block_in_place(|| applied(port));
        let plan = std::fs::read_to_string(owner.path("target/mesh.json"))?;
        let plan: Plan = serde_json::from_str(&plan)?;
        let workload = plan.services.into_iter().next();
        let engine = Engine::start().await;
        let socket = engine.socket();
        let api = Docker::connect_with_unix(
            &socket.to_string_lossy(),
            PATIENCE.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )?;
        let layout = owner.path("cache/images/layouts").join(digest);
        Ok(Self {
            image: engine.runtime.load(&layout).await?,
            owner,
            engine,
            api: api.negotiate_version().await?,
            cas: plan.cas.address.replace("127.0.0.1", "localhost"),
            workload: workload.context("the plan has no service")?.workload,
            port,
        })
    }

    /// The seconds until the attested service answers.
    async fn attested(&self) -> anyhow::Result<Course> {
        let spec = ContainerSpec {
            name: "attested".into(),
            mesh: MeshId::new("bench", &self.owner.path("target")),
            image: self.image.clone(),
            cas: self.cas.clone(),
            cas_key: self.workload.cas_key,
            session: self.workload.session.clone(),
            service: self.workload.service.clone(),
            resources: self.workload.resources,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            tee: ContainerTee::Simulated(self.owner.platform()),
            volumes: BTreeMap::new(),
            ports: Vec::new(),
            network: Network::Host,
            hosts: BTreeMap::new(),
        };
        let began = Instant::now();
        let running = self.engine.runtime.launch(spec).await?;
        let expected = format!("hello {USER}, 32 characters");
        finish(running, began, first_answer(self.port, began, &expected)).await
    }

    /// The seconds until the same program answers in a container that knows nothing of us.
    async fn plain(&self) -> anyhow::Result<f64> {
        let resources = self.workload.resources;
        let body = ContainerCreateBody {
            image: Some(self.image.to_string()),
            entrypoint: Some(vec!["/usr/bin/python3".into(), "app.py".into()]),
            working_dir: Some("/app".into()),
            env: Some(vec![
                format!("API_USER={USER}"),
                format!("API_PORT={}", self.port),
                "API_PASSWORD=none".into(),
            ]),
            host_config: Some(HostConfig {
                memory: Some(i64::from(resources.memory_mib) << 20),
                nano_cpus: Some(i64::from(resources.millicores) * 1_000_000),
                network_mode: Some("host".into()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let began = Instant::now();
        let created = self
            .api
            .create_container(None::<CreateContainerOptions>, body)
            .await?;
        self.api.start_container(&created.id, None).await?;
        let seconds = first_answer(self.port, began, &format!("hello {USER}, 4 characters")).await;
        let remove = RemoveContainerOptionsBuilder::new().force(true).build();
        self.api.remove_container(&created.id, Some(remove)).await?;
        seconds
    }
}

const USER: &str = "bench";

/// An owner that built the service, runs a CAS and applied the mesh; and the digest of the image.
fn applied(port: u16) -> (Owner, String) {
    let mut owner = owner();
    let built = owner.json(&["apply", "-f", "service.yaml", "--no-push"]);
    let digest = built["digest"].as_str().unwrap_or_default();
    let digest = digest.trim_start_matches("sha256:").to_owned();
    owner.run_cas("127.0.0.1:0");
    let (user, port) = (format!("API_USER={USER}"), format!("API_PORT={port}"));
    let apply = ["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"];
    owner.done(&[&apply[..], &["-e", &user, "-e", &port]].concat());
    (owner, digest)
}

/// Waits for the answer, then ends the container. What happens meanwhile is taken in, and told if
/// there is no answer.
async fn finish(
    mut running: RunningContainer,
    began: Instant,
    answered: impl Future<Output = anyhow::Result<f64>>,
) -> anyhow::Result<Course> {
    let mut log = Vec::new();
    let mut stages = [f64::NAN; STAGES.len()];
    tokio::pin!(answered);
    let seconds = loop {
        tokio::select! {
            answered = &mut answered => break answered,
            event = running.next() => match event {
                Some(EnclaveEvent::Log { text, .. }) => log.push(text),
                Some(EnclaveEvent::Phase(phase)) => {
                    let at = STAGES.iter().position(|(_, stage)| *stage == phase);
                    if let Some(at) = at {
                        stages[at] = began.elapsed().as_secs_f64();
                    }
                }
                Some(EnclaveEvent::Exited { how }) => bail!("the container ended: {how}\n{}", log.join("\n")),
                Some(_) => {}
                None => bail!("the container ended"),
            }
        }
    };
    running.stop(Duration::from_secs(1));
    let ended = async { while running.next().await.is_some() {} };
    timeout(PATIENCE, ended).await.context("it does not end")?;
    let answer = seconds.with_context(|| log.join("\n"))?;
    Ok(Course { answer, stages })
}

/// The seconds from `began` until there is this answer.
async fn first_answer(port: u16, began: Instant, expected: &str) -> anyhow::Result<f64> {
    let url = format!("http://127.0.0.1:{port}/");
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    loop {
        if let Ok(answer) = client.get(&url).send().await {
            let text = answer.text().await?;
            let seconds = began.elapsed().as_secs_f64();
            if text != expected {
                bail!("it answers `{text}`, not `{expected}`");
            }
            return Ok(seconds);
        }
        if began.elapsed() > PATIENCE {
            bail!("nobody answers on port {port}");
        }
        tokio::time::sleep(POLL).await;
    }
}
