//! An app on this machine, in clear: to try it before it is deployed.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mse_runtime::images::Catalogue;
use mse_runtime::python::PythonEnvironment;
use mse_workload::bundle::CodeTree;
use reqwest::Client;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::api;
use crate::conf_dir::cache_dir;
use crate::deploy::Plan;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::server_url::ServerUrl;
use crate::ui::Ui;

/// How long the app may take to answer.
const STARTING: Duration = Duration::from_secs(60);

/// A running app; it ends when this is dropped.
pub(crate) struct LocalApp {
    server: Child,
    address: SocketAddr,
    /// Where its output is kept while someone else's is shown.
    log: Option<PathBuf>,
    _folder: TempDir,
}

/// What becomes of the app's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppOutput {
    /// It goes where ours goes.
    Shown,
    /// It is kept, to be shown if something fails.
    Kept,
}

impl LocalApp {
    /// Starts what `plan` would deploy: the same files, the same runtime, the same environment,
    /// but neither encrypted nor confined. Ends when the app answers.
    pub(crate) async fn start(ui: &Ui, plan: &Plan, output: AppOutput) -> Result<Self, Failure> {
        let image = Catalogue::builtin()
            .resolve(&plan.image.name)
            .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        let step = ui.step(format!("Preparing the runtime {}", image.name()));
        let python = PythonEnvironment::ensure(&cache_dir()?.join("python"), image)
            .await
            .map_err(|error| Failure::other(error.to_string()).with_hint("the runtime's packages are fetched once, from the package index that pip uses: is there a network? A proxy is named by `HTTPS_PROXY`, another index by `PIP_INDEX_URL`"))?;
        step.done(&format!("The runtime {} is there", image.name()));

        let folder = TempDir::with_prefix("mse-localtest-")
            .map_err(|error| Failure::other(format!("no temporary folder can be made: {error}")))?;
        let layout = Layout::of(folder.path());
        layout.fill(&plan.tree)?;
        let step = ui.step("Starting the app");
        layout.prepare(ui, &python, plan).await?;
        let address = free_port()?;
        let log = (output == AppOutput::Kept).then(|| folder.path().join("log"));
        let server = layout.serve(&python, plan, address, log.as_deref())?;
        let mut app = Self {
            server,
            address,
            log,
            _folder: folder,
        };
        app.wait(plan).await?;
        step.done(&format!("The app answers at {}", app.url()));
        Ok(app)
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it wrote, if that was kept.
    pub(crate) fn log(&self) -> String {
        self.log
            .as_ref()
            .and_then(|log| fs::read(log).ok())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> Failure {
        match self.server.wait().await {
            Ok(status) => self.over(&format!("with {status}")),
            Err(error) => self.over(&format!("in an unknown way: {error}")),
        }
    }

    async fn wait(&mut self, plan: &Plan) -> Result<(), Failure> {
        let url = format!("{}{}", self.url(), plan.health.as_str());
        let client = local_client(&self.url())?;
        let began = Instant::now();
        let mut said = String::new();
        loop {
            if let Ok(Some(status)) = self.server.try_wait() {
                return Err(self.over(&format!("with {status}")));
            }
            let answer = client
                .get(&url)
                .timeout(Duration::from_secs(5))
                .send()
                .await;
            // As in the enclave: a success or a redirection.
            match answer.map(|answer| answer.status()) {
                Ok(status) if status.is_success() || status.is_redirection() => return Ok(()),
                Ok(status) => said = format!(", it answers `{status}`"),
                Err(_) => {}
            }
            if began.elapsed() > STARTING {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!(
                        "the app did not answer `{}` well in {} s{said}{}",
                        plan.health.as_str(),
                        STARTING.as_secs(),
                        self.last_words()
                    ),
                )
                .with_hint("does it have the path that `healthcheck_endpoint` names?"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn over(&self, how: &str) -> Failure {
        Failure::new(
            Exit::TestsFailed,
            format!("the app ended {how}{}", self.last_words()),
        )
    }

    fn last_words(&self) -> String {
        match self.log().trim() {
            "" => String::new(),
            log => format!(". It wrote:\n{log}"),
        }
    }
}

/// The folders of an app under one temporary folder.
struct Layout {
    code: PathBuf,
    packages: PathBuf,
    home: PathBuf,
}

impl Layout {
    fn of(root: &Path) -> Self {
        Self {
            code: root.join("app"),
            packages: root.join("packages"),
            home: root.join("home"),
        }
    }

    /// Copies what would be packed, and nothing else: what `.mseignore` names is missing here
    /// as it will be there.
    fn fill(&self, tree: &CodeTree) -> Result<(), Failure> {
        for folder in [&self.code, &self.packages, &self.home] {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::file("create the folder", folder, &error))?;
        }
        for file in tree.files() {
            let copy = self.code.join(&file.path);
            copy.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::copy(tree.locate(file), &copy))
                .map_err(|error| Failure::file("copy", &copy, &error))?;
        }
        Ok(())
    }

    async fn prepare(
        &self,
        ui: &Ui,
        python: &PythonEnvironment,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let words = python.prepare_command(&self.code, &self.packages);
        let output =
            self.command(&words, plan).output().await.map_err(|error| {
                Failure::other(format!("the runtime cannot be started: {error}"))
            })?;
        if output.status.success() {
            return Ok(());
        }
        let (warnings, why) = told_apart(&String::from_utf8_lossy(&output.stderr));
        for warning in warnings {
            ui.warn(warning);
        }
        Err(Failure::new(Exit::InvalidConfiguration, why).with_hint(
            "correct `requirements.txt`; if it is in order, can the package index be reached?",
        ))
    }

    fn serve(
        &self,
        python: &PythonEnvironment,
        plan: &Plan,
        address: SocketAddr,
        log: Option<&Path>,
    ) -> Result<Child, Failure> {
        let mut words: Vec<OsString> = vec![
            python.python().into(),
            "-I".into(),
            "-u".into(),
            "-B".into(),
            python.shim().into(),
        ];
        for (option, value) in [
            ("--app-dir", self.code.clone().into_os_string()),
            ("--deps", self.packages.clone().into_os_string()),
            ("--app", plan.manifest.python_application.to_string().into()),
            ("--tcp", address.to_string().into()),
            ("--scheme", "http".into()),
        ] {
            words.extend([option.into(), value]);
        }
        // The owner's own machine: the log may quote the code.
        words.push("--show-source".into());
        let mut command = self.command(&words, plan);
        if let Some(log) = log {
            let open = || {
                fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(log)
                    .map_err(|error| Failure::file("write", log, &error))
            };
            command.stdout(open()?).stderr(open()?);
        }
        command
            .spawn()
            .map_err(|error| Failure::other(format!("the app cannot be started: {error}")))
    }

    /// A command with the environment that the enclave gives, and nothing of the user's.
    fn command(&self, words: &[OsString], plan: &Plan) -> Command {
        let (program, arguments) = words.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.code)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.home)
            .envs(&plan.environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let (Some(_), Some(secrets)) = (&plan.checked.secrets, &plan.secrets_file) {
            command.env("SECRETS_PATH", secrets);
        }
        command
    }
}

/// The warnings among the lines, and the rest of them.
fn told_apart(lines: &str) -> (Vec<String>, String) {
    let (warnings, why): (Vec<&str>, Vec<&str>) = lines
        .trim()
        .lines()
        .partition(|line| line.starts_with(WARNING));
    let warnings = warnings
        .into_iter()
        .map(|line| line[WARNING.len()..].to_owned());
    (warnings.collect(), why.join("\n"))
}

const WARNING: &str = "warning: ";

/// A port that is free now.
fn free_port() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::other(format!("no port is free: {error}")))
}

fn local_client(url: &str) -> Result<Client, Failure> {
    let url: ServerUrl = url
        .parse()
        .map_err(|error| Failure::other(format!("{error}")))?;
    api::http_client(&url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_no_part_of_what_went_wrong() {
        let (warnings, why) = told_apart("warning: no hashes\nERROR: no such package\nand so on\n");
        assert_eq!(warnings, ["no hashes"]);
        assert_eq!(why, "ERROR: no such package\nand so on");
    }
}
