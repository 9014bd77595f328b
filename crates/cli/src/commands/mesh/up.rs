//! `mse mesh up`

use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{MAX_WAIT, Which};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::following::is_warning;
use crate::mesh::RegistryArgs;
use crate::mesh::run::{Engine, EngineKind, Line, Manner, MeshState, NetworkKind, run};
use crate::ui::{Report, good, print, table};

/// How often a mesh in the background is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Run all services of a mesh on this machine
///
/// Each service starts when those that it comes after are well. One that ends with an error is
/// started again; one whose evidence or image is refused is not. Ctrl-C ends all of them.
///
/// The TEE is SIMULATED: no hardware protects the services from this machine's owner.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh up
  mse mesh up --runtime container
  mse mesh up --runtime container --network host
  mse mesh up --detach --wait 60
  mse mesh up --target shop/target --json")]
pub(super) struct Up {
    #[command(flatten)]
    which: Which,
    /// What runs the services
    #[arg(long, value_enum, default_value_t = EngineKind::Process)]
    runtime: EngineKind,
    /// With `--runtime container`: what the containers are connected to [default: mesh]
    ///
    /// In a network of the mesh, services find each other by name. Ports that no service connects to are
    /// published on 127.0.0.1, and the others nowhere.
    #[arg(long, value_enum)]
    network: Option<NetworkKind>,
    /// Run in the background, and return when all services are well
    #[arg(short, long)]
    detach: bool,
    /// With `--detach`: how many seconds to wait for that
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(1..=MAX_WAIT))]
    wait: u64,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Up {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let manner = self.manner()?;
        let plan = self.which.target().plan()?;
        let folder = self.which.folder()?;
        folder.create()?;
        scene.ui.warn(
            "SIMULATED: no hardware protects these services; whoever owns this machine can read everything they are told",
        );
        if self.network == Some(NetworkKind::Host) {
            scene.ui.warn(
                "the services use this machine's own network: all of their ports are open on it",
            );
        }
        if self.detach {
            return self.behind(scene).await;
        }
        let _lock = folder.lock()?;
        // It names a process that has ended, and whose number may be another's by now.
        folder.forget()?;
        let registry = self.registry.open()?;
        let engine = Engine::prepare(scene, manner, &plan, &registry, &folder).await?;
        let is_json = scene.ui.is_json();
        let reload = async |engine: Engine| {
            let plan = self.which.target().plan()?;
            let engine = engine.renewed(&plan, &registry).await?;
            Ok((plan, engine))
        };
        let each = move |line: &Line| show(line, is_json);
        let state = run(plan, engine, &folder, reload, each).await?;
        match state.failed() {
            None => Ok(()),
            Some(service) => Err(Failure::new(
                Exit::Refused,
                format!(
                    "`{}` does not run: {}",
                    service.name,
                    service.why.as_deref().unwrap_or("no word of why")
                ),
            )),
        }
    }

    fn manner(&self) -> Result<Manner, Failure> {
        if self.runtime == EngineKind::Process && self.network.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "`--network` is for `--runtime container`: processes are in this machine's network",
            ));
        }
        Ok(Manner {
            engine: self.runtime,
            network: self.network.unwrap_or_default(),
        })
    }

    /// Has another process of this program do it.
    async fn behind(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let folder = self.which.folder()?;
        // It is free now: whoever holds it from here on is the process that is started.
        drop(folder.lock()?);
        folder.forget()?;
        let log = folder.own_log()?;
        let errors = log
            .try_clone()
            .map_err(|error| Failure::other(error.to_string()))?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::other(format!("this program's own place is unknown: {error}"))
        })?;
        let mut command = Command::new(program);
        command
            .args(self.words(scene))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| Failure::other(format!("the mesh cannot be started: {error}")))?;
        let step = scene.ui.step("Starting the services");
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        loop {
            if let Some(state) = folder.state()? {
                if let Some(service) = state.failed() {
                    return Err(Failure::new(
                        Exit::Refused,
                        format!(
                            "`{}` does not run: {}",
                            service.name,
                            service.why.as_deref().unwrap_or("no word of why")
                        ),
                    )
                    .with_hint("`mse mesh logs` shows more, `mse mesh down` ends the others"));
                }
                if state.is_up() {
                    step.done("All services are well");
                    return scene.ui.report(&Shown(state));
                }
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(
                    Failure::other(format!("the mesh ended: {status}")).with_hint(format!(
                        "`{}` has what it said",
                        folder.own_log_file().display()
                    )),
                );
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("not all services are well after {} seconds", self.wait),
                )
                .with_hint(
                    "they go on: `mse mesh ps` shows how they are, `mse mesh down` ends them",
                ));
            }
            sleep(LOOK).await;
        }
    }

    /// The same command, in the foreground.
    fn words(&self, scene: &Scene<'_>) -> Vec<std::ffi::OsString> {
        let mut words: Vec<std::ffi::OsString> = vec!["mesh".into(), "up".into()];
        words.extend(["--target".into(), self.which.target.clone().into()]);
        words.push("--runtime".into());
        words.push(match self.runtime {
            EngineKind::Process => "process".into(),
            EngineKind::Container => "container".into(),
        });
        if let Some(network) = self.network {
            words.push("--network".into());
            words.push(match network {
                NetworkKind::Mesh => "mesh".into(),
                NetworkKind::Host => "host".into(),
            });
        }
        words.extend(self.registry.words());
        if let Some(enclave) = &scene.global.enclave {
            words.extend(["--enclave".into(), enclave.into()]);
        }
        words
    }
}

fn show(line: &Line, is_json: bool) {
    let Line {
        service,
        is_program,
        text,
    } = line;
    // A terminal that is gone must not end the services.
    if is_json {
        let of = if *is_program { "program" } else { "enclave" };
        let _ =
            print(&json!({"event": "log", "service": service, "of": of, "text": text}).to_string());
    } else if *is_program {
        let _ = print(&format!("{service} | {text}"));
    } else if is_warning(text) {
        eprintln!("{service} | enclave: {}", text.trim_start());
    }
}

/// The state of a mesh, for people.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub(super) struct Shown(pub(super) MeshState);

impl Report for Shown {
    fn text(&self) -> String {
        let rows: Vec<_> = self
            .0
            .services
            .iter()
            .map(|one| {
                let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
                [
                    one.name.clone(),
                    one.standing.as_str().to_owned(),
                    one.restarts.to_string(),
                    ports.join(","),
                    one.measurement[..16].to_owned(),
                    one.why.clone().unwrap_or_default(),
                ]
            })
            .collect();
        format!(
            "{}\n{}",
            good(format!("`{}`, SIMULATED", self.0.namespace)),
            table(
                ["SERVICE", "STATE", "RESTARTS", "PORTS", "MEASUREMENT", ""],
                &rows
            )
        )
    }
}
