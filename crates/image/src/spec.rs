//! What an image shall be: the plain facts, whatever language they were written in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mse_crypto::CodeKey;

use crate::lock::ImageLock;
use crate::reference::Reference;

/// Everything that decides the bytes of an image. The same spec, context, base and lock make the
/// same manifest digest on every machine.
#[derive(Clone)]
pub struct ImageSpec {
    /// The service's name; also the name of the image in its layout.
    pub name: String,
    /// What it stands on.
    pub base: Base,
    /// The folder that `copy` and `requirements` are paths below.
    pub context: PathBuf,
    /// Files and folders of the context. `a/b` becomes `a/b` below `pwd`, as commands expect that
    /// name their files so.
    pub copy: Vec<String>,
    /// The pip requirements file, below the context.
    pub requirements: Option<String>,
    /// The absolute folder of a virtual environment that is made for the requirements; without it
    /// they are installed among the system's packages.
    pub environment: Option<String>,
    /// Commands for `sh -c`, each one step and one layer.
    pub run: Vec<String>,
    /// The working folder, absolute.
    pub pwd: String,
    /// Absolute folders whose files are to be in the image only encrypted.
    pub dirs: Vec<String>,
    /// Absolute folders that are not protected at all.
    pub plains: Vec<String>,
    /// Absolute files that are not protected at all.
    pub plain_files: Vec<String>,
    /// Absolute paths that the host provides.
    pub host_paths: Vec<String>,
    /// What is in `/mse`, and what the container starts.
    pub own: Own,
    /// The key for `dirs`; needed if there are any.
    pub image_key: Option<CodeKey>,
    /// Whether `run` steps have the network. The step of `requirements` always has it.
    pub network: StepNetwork,
    /// What the image gives as time of its making, in seconds of Unix time.
    pub epoch: Epoch,
    /// Build exactly what an earlier build recorded, or fail.
    pub lock: Option<ImageLock>,
}

/// What an image stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A tool chain, built from Debian's packages.
    Kind(Kind),
    /// These packages of Debian and what they need.
    Debian {
        /// Names of packages.
        packages: Vec<String>,
        /// What of their needs is left out: what the program does not use.
        without: Vec<String>,
    },
    /// An image in a registry.
    Reference(Reference),
    /// An image in an OCI layout on disk.
    Layout(PathBuf),
}

/// A tool chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Debian's Python 3.
    Python,
    /// Debian's default Java, without a display.
    Java,
}

/// Our own part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// That of a service, whose root file system is measured. The container starts its launcher.
    Service {
        /// Launcher and enclave.
        programs: Programs,
        /// The bytes of `/mse/service.json`.
        template: Vec<u8>,
    },
    /// That of a part of the platform. The image says nothing about itself: nobody measures it.
    Platform(PlatformPart),
}

/// What makes an image a part of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformPart {
    /// Static programs; each is in `/mse/bin` under its own name.
    pub programs: Vec<PathBuf>,
    /// Files by their names in `/mse`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the container starts.
    pub entry_point: String,
    /// As whom, if whoever runs it does not say: user and group.
    pub user: u32,
}

/// The static programs of a service that go into `/mse/bin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `mse-launch`.
    pub launcher: PathBuf,
    /// `mse-enclave`.
    pub enclave: PathBuf,
}

/// Whether a step may use the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepNetwork {
    /// It sees no network at all.
    Off,
    /// It has the machine's.
    On,
}

/// Seconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u32);

impl ImageSpec {
    /// A service with nothing in it but a name, a base and our programs.
    pub fn new(name: &str, base: Base, context: &Path, programs: Programs) -> Self {
        let template = b"{}".to_vec();
        Self::with(name, base, context, Own::Service { programs, template })
    }

    /// With this `/mse/service.json`, if it is a service.
    #[must_use]
    pub fn with_template(mut self, json: Vec<u8>) -> Self {
        if let Own::Service { template, .. } = &mut self.own {
            *template = json;
        }
        self
    }

    /// A part of the platform, with nothing else in it.
    pub fn of_platform(name: &str, base: Base, context: &Path, part: PlatformPart) -> Self {
        Self::with(name, base, context, Own::Platform(part))
    }

    fn with(name: &str, base: Base, context: &Path, own: Own) -> Self {
        Self {
            name: name.to_owned(),
            base,
            context: context.to_owned(),
            copy: Vec::new(),
            requirements: None,
            environment: None,
            run: Vec::new(),
            pwd: "/".into(),
            dirs: Vec::new(),
            plains: Vec::new(),
            plain_files: Vec::new(),
            host_paths: Vec::new(),
            own,
            image_key: None,
            network: StepNetwork::Off,
            epoch: Epoch::default(),
            lock: None,
        }
    }
}
