//! The layers of commands: the compiler's, and those of `run`.

use std::collections::BTreeMap;

use super::BuildError;
use super::context::Item;
use super::layers::Build;
use crate::layer::LayerWriter;
use crate::progress::Step;
use crate::spec::{Base, Kind, StepNetwork};
use crate::step::{Sandbox, StepError};

/// Debian's Java has the compiler in its run time, but no program of that name.
const COMPILER: &[&str] = &["java", "-m", "jdk.compiler/com.sun.tools.javac.Main"];

/// Files of Java among those that are copied, by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JavaFiles {
    sources: Vec<String>,
    archives: Vec<String>,
}

impl JavaFiles {
    pub(super) fn among(items: &BTreeMap<String, Item>) -> Self {
        let with = |ending: &str| -> Vec<String> {
            let wanted = items.keys().filter(|path| path.ends_with(ending));
            wanted.cloned().collect()
        };
        Self {
            sources: with(".java"),
            archives: with(".jar"),
        }
    }
}

impl Build {
    /// Compiles the sources of Java into the working folder, where `java NAME` finds them.
    pub(super) fn compile(&mut self) -> Result<(), BuildError> {
        let java = std::mem::take(&mut self.java);
        if self.spec.base != Base::Kind(Kind::Java) || java.sources.is_empty() {
            return Ok(());
        }
        let path: Vec<&str> = std::iter::once(".")
            .chain(java.archives.iter().map(String::as_str))
            .collect();
        let path = path.join(":");
        let mut program: Vec<&str> = COMPILER.to_vec();
        program.extend(["-encoding", "UTF-8", "-proc:none", "-cp", &path, "-d", "."]);
        program.extend(java.sources.iter().map(String::as_str));
        let history = format!("javac {}", java.sources.join(" "));
        self.command(
            Step::Compile,
            &program,
            StepNetwork::Off,
            &history,
            BuildError::Compile,
        )
    }

    /// Runs the commands.
    pub(super) fn run(&mut self) -> Result<(), BuildError> {
        let commands = self.spec.run.clone();
        let has = |path: &str| self.system.get(path).is_some();
        if !commands.is_empty() && !has("/usr/bin/sh") && !has("/bin/sh") {
            return Err(BuildError::NoShell);
        }
        for (at, command) in commands.iter().enumerate() {
            let number = at + 1;
            let step = Step::Run {
                number,
                command: command.clone(),
            };
            let program = ["/bin/sh", "-c", command];
            let network = self.spec.network;
            let history = format!("run: {command}");
            self.command(step, &program, network, &history, |source| {
                BuildError::Run {
                    number,
                    command: command.clone(),
                    source,
                }
            })?;
        }
        Ok(())
    }

    /// Runs a program in the image; what it changes becomes a layer.
    fn command(
        &mut self,
        step: Step,
        program: &[&str],
        network: StepNetwork,
        history: &str,
        failed: impl FnOnce(StepError) -> BuildError,
    ) -> Result<(), BuildError> {
        // A step that sees secret files is done anew: what it makes of them must not be kept.
        let key = self.confidential.is_none().then(|| {
            let key = self
                .key("command-1")
                .field(self.plan.pwd.as_bytes())
                .field(&[(network == StepNetwork::On).into()]);
            program
                .iter()
                .fold(key, |key, word| key.field(word.as_bytes()))
                .finish()
        });
        let made = self.step(step, key, |build, out| {
            build.unpack()?;
            let tree = build.tree.as_ref().expect("it was just unpacked");
            let mounts = match &build.confidential {
                Some(confidential) => confidential.mounts(),
                None => Vec::new(),
            };
            let epoch = build.spec.epoch.0.to_string();
            let sandbox = Sandbox {
                root: tree.path(),
                network,
                folder: &build.plan.pwd,
                mounts,
                environment: vec![
                    ("SOURCE_DATE_EPOCH".into(), epoch.into()),
                    ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
                ],
            };
            match sandbox.run(program, &build.progress, &build.cancel) {
                Ok(()) => {}
                Err(StepError::Cancelled) => return Err(BuildError::Cancelled),
                Err(error) => return Err(failed(error)),
            }
            let writer = LayerWriter::new(out, build.spec.epoch);
            Ok(tree.changes(&build.system, writer)?)
        })?;
        self.stack(made, history)
    }
}
