//! What the platform's own images are made of.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use mse_image::{Base, ImageSpec, PlatformPart};
use mse_runtime::images::{Catalogue, Image};
use mse_workload::image::LAUNCHER;
use serde_json::json;

use crate::failure::Failure;

/// Where the packages of a curated runtime are, in its image.
const ENVIRONMENT: &str = "/opt/mse";
/// What says so to `mse-launch app`.
const RUNTIME: &str = "runtime.json";
const LOCK: &str = "requirements.lock";
/// As whom the chart runs the platform's programs.
const UNPRIVILEGED: u32 = 65532;

/// An image that `deploy/helm/mse` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `mse-server`, and the enclave program whose measurement it tells with the simulated TEE.
    Server,
    /// `mse cas run`, and the CAS that it launches.
    Cas,
    /// The pods of apps that use this curated runtime.
    Runtime(&'static Image),
}

impl Part {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let runtimes = Catalogue::builtin().images().map(Self::Runtime);
        [Self::Server, Self::Cas]
            .into_iter()
            .chain(runtimes)
            .collect()
    }

    /// What the image is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "mse-server",
            Self::Cas => "mse-cas",
            Self::Runtime(image) => image.name(),
        }
    }

    /// The programs that are in it.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Server => &["mse-server", "mse-enclave"],
            Self::Cas => &["mse", "mse-cas"],
            Self::Runtime(_) => &["mse-launch", "mse-enclave"],
        }
    }

    /// What it is for, in one line.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Server => "API, gateway and control of the platform",
            Self::Cas => "A CAS, on the simulated TEE",
            Self::Runtime(image) => image.description(),
        }
    }

    /// What is to be built, of programs in `programs`. `context` is an empty folder.
    pub(super) fn spec(self, programs: &Path, context: &Path) -> Result<ImageSpec, Failure> {
        let part = |entry_point: &str, user| PlatformPart {
            programs: self
                .programs()
                .iter()
                .map(|name| programs.join(name))
                .collect(),
            files: [].into(),
            entry_point: entry_point.to_owned(),
            user,
        };
        // What every base has: authorities, names of the system, a shell for its administrator.
        let plain = Base::Debian {
            packages: Vec::new(),
            without: Vec::new(),
        };
        match self {
            Self::Server => Ok(ImageSpec::of_platform(
                self.name(),
                plain,
                context,
                part("/mse/bin/mse-server", UNPRIVILEGED),
            )),
            Self::Cas => Ok(ImageSpec::of_platform(
                self.name(),
                plain,
                context,
                part("/mse/bin/mse", UNPRIVILEGED),
            )),
            Self::Runtime(image) => {
                let lock = context.join(LOCK);
                fs::write(&lock, image.lock())
                    .map_err(|error| Failure::file("write", &lock, &error))?;
                // It makes the sandbox, for which it needs the rights that its pod gives it.
                let mut part = part(LAUNCHER, 0);
                part.files.insert(RUNTIME.to_owned(), runtime_file(image));
                // Wheels take the library of C++ from the system.
                let base = Base::Debian {
                    packages: vec!["python3".into(), "libstdc++6".into()],
                    without: Vec::new(),
                };
                let mut spec = ImageSpec::of_platform(self.name(), base, context, part);
                spec.requirements = Some(LOCK.to_owned());
                spec.environment = Some(ENVIRONMENT.to_owned());
                Ok(spec)
            }
        }
    }
}

/// `/mse/runtime.json`, as `mse-launch app` reads it.
fn runtime_file(image: &Image) -> Vec<u8> {
    let file = json!({
        "image": image.name(),
        "interpreter": format!("{ENVIRONMENT}/bin/python"),
        // Debian's own Python, which is in `/usr`.
        "prefixes": [],
        "environment": ENVIRONMENT,
    });
    file.to_string().into_bytes()
}

impl FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::all().into_iter().find(|part| part.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().iter().map(|part| part.name()).collect();
            format!(
                "the platform has no such image: there are {}",
                names.join(", ")
            )
        })
    }
}
