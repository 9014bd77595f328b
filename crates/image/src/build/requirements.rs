//! The layer of Python packages.

use std::fs;

use super::BuildError;
use super::context::locate;
use super::layers::{Build, layer_error};
use crate::debian::open_single;
use crate::layer::LayerWriter;
use crate::progress::Step;
use crate::step::python::{Pip, Requirements, install};

/// The package of Debian that has pip as a wheel, which runs without being installed.
const PIP: &str = "python3-pip-whl";

impl Build {
    /// Installs the Python packages. This comes before the files are copied, so that changed code
    /// does not install them anew.
    pub(super) fn requirements(&mut self) -> Result<(), BuildError> {
        let Some(name) = self.spec.requirements.clone() else {
            return self.nothing_confidential_yet();
        };
        let file = locate(&self.spec.context, &name)?;
        if self.system.get("/usr/bin/python3").is_none() {
            return Err(BuildError::NoPython);
        }
        let (tools, locked) = match &self.spec.lock {
            Some(lock) if lock.tools.is_empty() => return Err(BuildError::NotLocked("pip")),
            Some(lock) => (lock.tools.clone(), Some(lock.python.clone())),
            None => (self.choose(&[PIP.into()], &[], |name| name == PIP)?, None),
        };
        let text = fs::read(&file).map_err(|source| layer_error(&Step::Requirements, source))?;
        let environment = self.plan.environment.clone();
        let mut key = self.key("requirements-2").field(&text);
        if let Some(folder) = &environment {
            key = key.field(b"environment").field(folder.as_bytes());
        }
        for tool in &tools {
            key = key.field(&tool.sha256.0);
        }
        for package in locked.iter().flatten() {
            key = key
                .field(package.name.as_bytes())
                .field(package.version.as_bytes())
                .field(&package.sha256.0);
        }
        let mut python = Vec::new();
        let made = self.step_with(Step::Requirements, Some(key.finish()), &mut python, {
            let tools = tools.clone();
            move |build, out, python| {
                let debs = build.download(&tools)?;
                let scratch = tempfile::tempdir_in(build.cache.scratch())
                    .map_err(|source| layer_error(&Step::Requirements, source))?;
                let pip = scratch.path().join("pip.whl");
                let (_, deb) = debs.first().ok_or(BuildError::NotLocked("pip"))?;
                fs::write(&pip, open_single(deb, ".whl")?)
                    .map_err(|source| layer_error(&Step::Requirements, source))?;
                let work = scratch.path().join("work");
                fs::create_dir(&work).map_err(|source| layer_error(&Step::Requirements, source))?;
                build.unpack()?;
                let tree = build.tree.as_ref().expect("it was just unpacked");
                let requirements = match &locked {
                    Some(packages) => Requirements::Locked(packages),
                    None => Requirements::File(&file),
                };
                *python = install(
                    tree.path(),
                    &Pip {
                        wheel: &pip,
                        environment: environment.as_deref(),
                    },
                    &requirements,
                    &work,
                    &build.progress,
                    &build.cancel,
                )?;
                let writer = LayerWriter::new(out, build.spec.epoch);
                Ok(tree.changes(&build.system, writer)?)
            }
        })?;
        self.lock.python.clone_from(&made.python);
        self.lock.tools = tools;
        self.stack(made, &format!("pip install -r {name}"))?;
        self.nothing_confidential_yet()
    }
}
