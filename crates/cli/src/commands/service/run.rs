//! `mse service run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use mse_api::LogStream;
use mse_crypto::Zeroizing;
use mse_runtime::process::guard::Guard;
use mse_runtime::process::{ProcessRuntime, RunningEnclave, ServiceSpec};
use mse_simtee::Platform;
use mse_workload::launch::{AccessToken, Phase, ServiceCheck, ServiceEnd};
use mse_workload::{Measurement, ServiceWorkload};
use serde::Serialize;
use serde_json::json;

use super::image::UnpackedImage;
use super::{Measured, existing};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::following::{self, Ended, Heard, is_warning};
use crate::interrupt::interrupted;
use crate::private_file;
use crate::reference::ReferenceSource;
use crate::ui::{Report, Step, Ui, print};

/// How many of the enclave's last lines explain a failure.
const LAST_LINES: usize = 10;

/// Run a service on this machine's simulated TEE
///
/// The enclave reads the program, proves to the CAS what it is, gets arguments, environment and
/// files, and only then starts the program. What the program writes comes out here, warnings of
/// the enclave on standard error. `--json` prints one JSON document per line: what happens, and
/// each line of output.
///
/// The TEE is SIMULATED: no hardware protects the service from this machine's owner. A CAS
/// accepts it only if it was told to trust this machine's anchor, `trust-anchor.toml` in the
/// folder of the platform.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse service run ./web --session team/shop --service web
  mse service run ./web --cas cas.example:18765 --cas-key $KEY --session team/shop --service web
  mse service run ./job --cas here --session jobs --service nightly -- 2026-11-26
  mse service run ./web --session team/shop --service web --env ZONE=a
  mse service run ./db --session team/shop --service db --volume data=/srv/db
  mse service run --image ./web-image --session team/shop --service web")]
pub(super) struct Run {
    #[command(flatten)]
    measured: Measured,
    /// A variable for a session that takes it from the host; without a value, this shell's own
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// The folder for an encrypted volume of the session; made if it is not there
    #[arg(long = "volume", value_name = "NAME=DIR", value_parser = volume)]
    volumes: Vec<(String, PathBuf)>,
    /// The one-time password, if the session asks for one
    #[arg(long, value_name = "DIGITS")]
    otp: Option<String>,
    /// A file with the session's access token, if it has one: never as an argument, which others see
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// How many seconds to wait for the CAS
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// The folder of the simulated platform; made if it is not there [default: in the
    /// configuration folder]
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
    /// Arguments for a session that takes them from the host
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

impl Run {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let ui = scene.ui;
        ui.warn(
            "SIMULATED: no hardware protects this service; whoever owns this machine can read everything it is told",
        );
        let step = ui.step("Reading the program");
        let (cas_key, address) = self.measured.cas(scene)?;
        let cas = address.ok_or_else(|| {
            Failure::new(Exit::Usage, "nothing says where the CAS is")
                .with_hint("name it with `--cas NAME`, or its address with `--cas HOST:PORT`")
        })?;
        let source = Source::of(&self.measured, scene)?;
        let program = self.measured.program()?;
        step.done(&format!("Read the program: {}", program.extent));
        let workload = self.measured.workload(cas_key, program)?;
        let folder = self
            .platform
            .clone()
            .unwrap_or_else(|| scene.conf.simulated_platform());
        // Its own for each run: a launcher ends whatever else was launched from the same folder.
        let data = tempfile::Builder::new()
            .prefix("mse-service-")
            .tempdir()
            .map_err(|error| Failure::other(format!("no temporary folder can be made: {error}")))?;
        let runtime = runtime(scene, &source.enclave, &folder, data.path())?;
        let spec = self.spec(workload.clone(), source.tree, cas)?;
        let step = ui.step("Starting the enclave");
        let enclave = runtime
            .launch_service(spec)
            .await
            .map_err(|error| Failure::other(error.to_string()))?;
        let launched = Launched {
            event: "launched",
            tee: "simulated",
            measurement: enclave.measurement(),
            trust_anchor: folder.join("trust-anchor.toml"),
            workload,
        };
        step.done(&launched.text());
        if ui.is_json() {
            ui.report(&launched)?;
        }
        follow(ui, enclave).await
    }

    fn spec(
        self,
        workload: ServiceWorkload,
        tree: PathBuf,
        cas: String,
    ) -> Result<ServiceSpec, Failure> {
        let access_token = self.access_token_file.as_deref().map(access_token);
        Ok(ServiceSpec {
            workload,
            tree,
            cas,
            arguments: self.arguments,
            environment: BTreeMap::from_iter(self.environment),
            one_time_password: self.otp,
            access_token: access_token.transpose()?,
            volumes: BTreeMap::from_iter(self.volumes),
            hosts: BTreeMap::new(),
            release_timeout: Duration::from_secs(self.wait),
        })
    }
}

/// The first line of a file.
fn access_token(file: &Path) -> Result<AccessToken, Failure> {
    let text = private_file::read(file, MAX_ACCESS_TOKEN)?
        .map(Zeroizing::new)
        .ok_or_else(|| {
            let name = file.display();
            Failure::new(Exit::NotFound, format!("there is no file `{name}`"))
                .with_hint("write the session's access token into it")
        })?;
    let line = text.lines().next().unwrap_or_default();
    Ok(AccessToken(Zeroizing::new(line.to_owned())))
}

/// A token is shorter than this, in bytes.
const MAX_ACCESS_TOKEN: u64 = 64 * 1024;

/// Where the program lies, and which enclave program runs it.
struct Source {
    tree: PathBuf,
    enclave: PathBuf,
}

impl Source {
    fn of(measured: &Measured, scene: &Scene<'_>) -> Result<Self, Failure> {
        if let Some(image) = &measured.image {
            let image = UnpackedImage::open(image)?;
            return Ok(Self {
                tree: image.folder().to_owned(),
                enclave: image.enclave(),
            });
        }
        let enclave = match scene.enclave_reference()?.source {
            ReferenceSource::Program(program) => program,
            ReferenceSource::Given => {
                return Err(Failure::new(
                    Exit::InvalidConfiguration,
                    "`--enclave` names a digest, and a digest cannot be run",
                )
                .with_hint("name the `mse-enclave` program: `--enclave FILE`"));
            }
        };
        let folder = measured.folder.as_deref().unwrap_or(Path::new("."));
        Ok(Self {
            tree: existing(folder)?,
            enclave,
        })
    }
}

fn runtime(
    scene: &Scene<'_>,
    enclave: &Path,
    platform: &Path,
    data: &Path,
) -> Result<ProcessRuntime, Failure> {
    scene.conf.create()?;
    let platform = Platform::open_or_create(platform, SystemTime::now())
        .map_err(|error| Failure::other(error.to_string()))?;
    let runtime = ProcessRuntime::open(data, enclave, Arc::new(platform))
        .map_err(|error| Failure::other(error.to_string()))?;
    Ok(runtime.with_guard(Guard::OwnProgram))
}

/// `NAME=VALUE`, or `NAME` with the value that it has here.
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = if let Some((name, value)) = text.split_once('=') {
        (name, value.to_owned())
    } else {
        let value = std::env::var(text)
            .map_err(|_| format!("`{text}` is not set here: write `{text}=VALUE`"))?;
        (text, value)
    };
    if name.is_empty() {
        return Err("write `NAME=VALUE`".to_owned());
    }
    Ok((name.to_owned(), value))
}

/// `NAME=DIR`. The enclave has another working directory: the folder becomes an absolute path.
fn volume(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = text
        .split_once('=')
        .filter(|(name, folder)| !name.is_empty() && !folder.is_empty())
        .ok_or("write `NAME=DIR`")?;
    let folder = std::path::absolute(folder).map_err(|error| format!("`{folder}`: {error}"))?;
    Ok((name.to_owned(), folder))
}

/// Shows what an enclave does until it ends.
async fn follow(ui: &Ui, mut enclave: RunningEnclave) -> Result<(), Failure> {
    let mut shown = Shown {
        ui,
        step: Some(ui.step("Asking the CAS")),
        last_lines: Vec::new(),
    };
    let ended = following::follow(&mut enclave, interrupted(), |heard| shown.hear(heard)).await?;
    shown.ended(ended)
}

/// What is shown of an enclave.
struct Shown<'a> {
    ui: &'a Ui,
    step: Option<Step>,
    /// What the enclave wrote last.
    last_lines: Vec<String>,
}

impl Shown<'_> {
    fn hear(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Line(stream, text) => self.line(stream, text),
            Heard::Phase(phase) => self.phase(&phase),
            Heard::Health { well } if self.ui.is_json() => {
                print(&json!({"event": "health", "well": well}).to_string())
            }
            Heard::Health { .. } => Ok(()),
        }
    }

    fn line(&mut self, stream: LogStream, text: String) -> Result<(), Failure> {
        let name = match stream {
            LogStream::App => "program",
            _ => "enclave",
        };
        if self.ui.is_json() {
            return print(&json!({"event": "log", "of": name, "text": text}).to_string());
        }
        if stream == LogStream::App {
            return print(&text);
        }
        if is_warning(&text) {
            eprintln!("enclave: {}", text.trim_start());
        }
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.remove(0);
        }
        self.last_lines.push(text);
        Ok(())
    }

    fn phase(&mut self, phase: &Phase) -> Result<(), Failure> {
        if self.ui.is_json() {
            let mut event = json!(phase);
            event["event"] = "phase".into();
            print(&event.to_string())?;
        }
        match phase {
            Phase::Running => {
                if let Some(step) = self.step.take() {
                    step.done("The CAS released the configuration; the program runs");
                }
            }
            Phase::Failed { .. } | Phase::Stopped { .. } => self.step = None,
            Phase::AwaitingProvisioning | Phase::Starting => {}
        }
        Ok(())
    }

    fn ended(self, ended: Ended) -> Result<(), Failure> {
        let how = ended.how.as_deref().unwrap_or("no word of how");
        let reason = ended.reason.unwrap_or_else(|| {
            let mut reason = format!("the enclave ended: {how}");
            for line in &self.last_lines {
                reason.push('\n');
                reason.push_str(line);
            }
            reason
        });
        if self.ui.is_json() {
            print(&json!({"event": "ended", "reason": reason, "end": ended.end}).to_string())?;
        }
        match ended.end {
            Some(ServiceEnd::Program { code: 0 }) => Ok(()),
            Some(ServiceEnd::Program { code }) => {
                Err(Failure::other(reason).details(json!({"program_exit_code": code})))
            }
            Some(ServiceEnd::Refused { check }) => {
                let (exit, hint) = explained(check);
                Err(Failure::new(exit, reason)
                    .with_hint(hint)
                    .details(json!({"check": check})))
            }
            None if how == "exit status: 0" => Ok(()),
            None => Err(Failure::other(reason)),
        }
    }
}

/// The exit code of a failed check, and what to do.
fn explained(check: ServiceCheck) -> (Exit, &'static str) {
    match check {
        ServiceCheck::Launch => (
            Exit::InvalidConfiguration,
            "compare the options with `mse service run --help`",
        ),
        ServiceCheck::Tree => (
            Exit::Refused,
            "something writes to the folder while it is read: start again when it is at rest",
        ),
        ServiceCheck::CasReachable => (
            Exit::Platform,
            "does the CAS run, and is `--cas HOST:PORT` its address?",
        ),
        ServiceCheck::CasIdentity => (
            Exit::Refused,
            "`--cas` leads to another CAS than `--cas-key` names: one of the two is wrong, or somebody is in between",
        ),
        ServiceCheck::Release => (
            Exit::Refused,
            "compare the session with what `mse service measure` prints for the same folder and options, and see that the CAS trusts this platform's anchor",
        ),
        ServiceCheck::Answer => (
            Exit::Refused,
            "is a CAS of the same version at `--cas HOST:PORT`?",
        ),
        ServiceCheck::Configuration => (
            Exit::InvalidConfiguration,
            "the session's author can change it; values of the host are given with `--env` and behind `--`",
        ),
        ServiceCheck::Machine => (
            Exit::Other,
            "the program's name must be an absolute path or be found in the session's `PATH`, and the working directory must exist",
        ),
        ServiceCheck::Renewal => (
            Exit::Platform,
            "start the service again when the CAS can be reached",
        ),
        ServiceCheck::Revocation => (Exit::Refused, "ask the session's owner"),
        ServiceCheck::VolumeStale => (
            Exit::Refused,
            "bring the newest copy of the volume's folder: the CAS accepts no other",
        ),
        ServiceCheck::Volume => (
            Exit::Refused,
            "is the folder behind `--volume NAME=DIR` the volume's, whole and writable? Any copy of it that holds the recorded state will do",
        ),
        ServiceCheck::VolumeRecord => (
            Exit::Refused,
            "run one instance that writes to a volume at a time, and start this one again: it goes on from the recorded state",
        ),
    }
}

#[derive(Serialize)]
struct Launched {
    event: &'static str,
    tee: &'static str,
    measurement: Measurement,
    trust_anchor: PathBuf,
    workload: ServiceWorkload,
}

impl Report for Launched {
    fn text(&self) -> String {
        format!(
            "Started the enclave: measurement {}, trust anchor `{}`",
            self.measurement,
            self.trust_anchor.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_a_name_and_a_folder() {
        let (name, folder) = volume("data=some/dir").unwrap();
        assert_eq!(name, "data");
        assert!(folder.is_absolute() && folder.ends_with("some/dir"));
        for bad in ["data", "=dir", "data="] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_have_a_name_and_a_value() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("=b").is_err());
        assert!(variable("MSE_NOT_SET_ANYWHERE").is_err());
        assert!(variable("PATH").is_ok());
    }
}
