//! `mse mesh logs`

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use super::Which;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::mesh::run::ENCLAVE;
use crate::ui::print;

const LOOK: Duration = Duration::from_millis(200);
/// What is read of a log at once.
const PIECE: u64 = 1024 * 1024;

/// Show what the services of a mesh write
///
/// Lines of the enclave, and not of the program, begin with `[enclave]`. With `--json`, each line is a
/// document as those of `mse mesh up --json`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh logs
  mse mesh logs web --follow")]
pub(super) struct Logs {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    which: Which,
}

impl Logs {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let plan = self.which.target().plan()?;
        let folder = self.which.folder()?;
        let names: Vec<_> = plan.services.into_iter().map(|one| one.name).collect();
        let chosen = match &self.service {
            None => names,
            Some(name) if names.contains(name) => vec![name.clone()],
            Some(name) => {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("the mesh has no service `{name}`"),
                )
                .with_hint(format!("it has {}", names.join(", "))));
            }
        };
        let form = match (scene.ui.is_json(), chosen.len()) {
            (true, _) => Form::Json,
            (false, 1) => Form::Bare,
            (false, _) => Form::Named,
        };
        let mut logs: Vec<_> = chosen
            .into_iter()
            .map(|name| Tail {
                path: folder.log_file(&name),
                name,
                form,
                position: 0,
                rest: String::new(),
            })
            .collect();
        let interruption = interrupted();
        tokio::pin!(interruption);
        loop {
            for log in &mut logs {
                log.show()?;
            }
            if !self.follow {
                return Ok(());
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = &mut interruption => return Ok(()),
            }
        }
    }
}

/// How lines are shown.
#[derive(Clone, Copy)]
enum Form {
    /// As they are.
    Bare,
    /// Behind the name of the service, since there are several.
    Named,
    /// As documents.
    Json,
}

/// A log, as far as it was shown.
struct Tail {
    path: std::path::PathBuf,
    /// Of the service.
    name: String,
    form: Form,
    position: u64,
    /// A line that has no end yet.
    rest: String,
}

impl Tail {
    fn show(&mut self) -> Result<(), Failure> {
        let failed = |error: &std::io::Error| Failure::file("read", &self.path, error);
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        loop {
            file.seek(SeekFrom::Start(self.position))
                .map_err(|error| failed(&error))?;
            let mut bytes = Vec::new();
            (&mut file)
                .take(PIECE)
                .read_to_end(&mut bytes)
                .map_err(|error| failed(&error))?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.position += bytes.len() as u64;
            self.rest.push_str(&String::from_utf8_lossy(&bytes));
            while let Some(end) = self.rest.find('\n') {
                let line: String = self.rest.drain(..=end).collect();
                let line = line.trim_end_matches('\n');
                self.print(line)?;
            }
        }
    }

    fn print(&self, line: &str) -> Result<(), Failure> {
        let name = &self.name;
        match self.form {
            Form::Bare => print(line),
            Form::Named => print(&format!("{name} | {line}")),
            Form::Json => {
                let (of, text) = match line.strip_prefix(ENCLAVE) {
                    Some(text) => ("enclave", text),
                    None => ("program", line),
                };
                print(&json!({"event": "log", "service": name, "of": of, "text": text}).to_string())
            }
        }
    }
}
