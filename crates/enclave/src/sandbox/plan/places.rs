//! Which places of a plan contradict each other or the system's own.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::network::{MAX_LISTENERS, Network};
use super::{MAX_VOLUMES, RootBase, SandboxPath, SandboxPlan, TreePlan};

impl SandboxPlan {
    /// Refuses a plan whose directories hide each other or the system's own.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        let mut seen = BTreeSet::new();
        for target in self.tree.targets() {
            if !seen.insert(target) {
                return Err(InvalidPlan::SameTarget(target.clone()));
            }
            if RESERVED
                .iter()
                .any(|reserved| target.as_path().starts_with(reserved))
                || SYSTEM
                    .iter()
                    .any(|system| target.as_path() == Path::new(system))
            {
                return Err(InvalidPlan::Reserved(target.clone()));
            }
        }
        self.tree.check_network()?;
        self.tree.check_volumes()?;
        self.tree.check_released()
    }
}

impl TreePlan {
    /// Refuses a network of its own with more listeners than can be handed up, or with names that
    /// a released file would hide.
    fn check_network(&self) -> Result<(), InvalidPlan> {
        let Network::Own(network) = &self.network else {
            return Ok(());
        };
        if network.listen.len() > MAX_LISTENERS {
            return Err(InvalidPlan::TooManyListeners(network.listen.len()));
        }
        let hosts = self
            .released
            .iter()
            .find(|place| place.as_path() == Path::new("/etc/hosts"));
        match hosts.filter(|_| !network.hosts.is_empty()) {
            Some(place) => Err(InvalidPlan::HidesHosts(place.clone())),
            None => Ok(()),
        }
    }

    /// Refuses volumes that lie in each other, or where nothing can be put. Below the app's code
    /// and home they may lie.
    fn check_volumes(&self) -> Result<(), InvalidPlan> {
        if self.volumes.len() > MAX_VOLUMES {
            return Err(InvalidPlan::TooManyVolumes(self.volumes.len()));
        }
        let binds = self.read_only.iter().map(|bind| &bind.target);
        let sockets = self.socket_dir.iter().map(|dir| &dir.target);
        let closed: Vec<&Path> = [&self.secrets.target]
            .into_iter()
            .chain(binds)
            .chain(sockets)
            .map(SandboxPath::as_path)
            .chain(self.base.closed().iter().map(Path::new))
            .collect();
        for (at, volume) in self.volumes.iter().enumerate() {
            let path = volume.target.as_path();
            let others = self.volumes.iter().enumerate();
            let is_within_another = others
                .filter(|(other, _)| *other != at)
                .any(|(_, other)| path.starts_with(other.target.as_path()));
            let hides = self
                .targets()
                .any(|target| target != &volume.target && target.as_path().starts_with(path));
            if is_within_another || hides || closed.iter().any(|closed| path.starts_with(closed)) {
                return Err(InvalidPlan::VolumePlace(volume.target.clone()));
            }
        }
        Ok(())
    }

    /// Refuses released files that hide each other, or lie where nothing can be put.
    fn check_released(&self) -> Result<(), InvalidPlan> {
        let places: BTreeSet<&Path> = self.released.iter().map(SandboxPath::as_path).collect();
        if places.len() < self.released.len() {
            let mut seen = BTreeSet::new();
            let twice = self.released.iter().find(|place| !seen.insert(*place));
            return twice.map_or(Ok(()), |place| Err(InvalidPlan::SameTarget(place.clone())));
        }
        let code = self.base.own_dirs().map(|own| &own.code.target);
        let volumes = self.volumes.iter().map(|volume| &volume.target);
        let binds = self.read_only.iter().map(|bind| &bind.target);
        let sockets = self.socket_dir.iter().map(|dir| &dir.target);
        let closed: Vec<&Path> = [&self.secrets.target]
            .into_iter()
            .chain(code)
            .chain(volumes)
            .chain(binds)
            .chain(sockets)
            .map(SandboxPath::as_path)
            .chain(RESERVED.iter().chain(self.base.closed()).map(Path::new))
            .collect();
        let home = self.base.own_dirs().map(|own| own.home.target.as_path());
        let kept: Vec<&Path> = SYSTEM.iter().map(Path::new).chain(home).collect();
        for place in &self.released {
            let path = place.as_path();
            if closed.iter().any(|closed| path.starts_with(closed))
                // A directory of the sandbox's own would be below the file.
                || closed.iter().chain(&kept).any(|kept| kept.starts_with(path))
            {
                return Err(InvalidPlan::Occupied(place.clone()));
            }
            let above = path
                .ancestors()
                .skip(1)
                .find(|above| places.contains(above));
            if above.is_some() {
                return Err(InvalidPlan::BelowFile(place.clone()));
            }
        }
        Ok(())
    }

    fn targets(&self) -> impl Iterator<Item = &SandboxPath> {
        let own = self.base.own_dirs().into_iter();
        own.flat_map(|own| [&own.code.target, &own.home.target])
            .chain([&self.secrets.target])
            .chain(self.read_only.iter().map(|bind| &bind.target))
            .chain(self.socket_dir.iter().map(|dir| &dir.target))
            .chain(self.volumes.iter().map(|volume| &volume.target))
    }
}

impl RootBase {
    /// Directories into which nothing can be put, besides those that the sandbox makes.
    fn closed(&self) -> &'static [&'static str] {
        match self {
            Self::Machine(_) => READ_ONLY,
            Self::Image => &[mse_workload::image::OWN],
        }
    }
}

/// Directories below which the plan may put nothing: the sandbox makes them.
const RESERVED: &[&str] = &["/proc", "/dev", "/sys"];

/// Directories that the plan may not replace.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/run", "/tmp",
];

/// Directories of the system that are mounted read-only: nothing can be put into them.
const READ_ONLY: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ssl/certs",
    "/etc/alternatives",
];

/// A plan that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPlan {
    /// Two directories at one place.
    #[error("the sandbox plan puts two directories at `{0}`; give each its own")]
    SameTarget(SandboxPath),
    /// A directory where the sandbox makes its own.
    #[error(
        "the sandbox plan puts a directory at `{0}`, which the sandbox makes itself; choose another place"
    )]
    Reserved(SandboxPath),
    /// A released file where nothing can be put.
    #[error(
        "a released file cannot be put at `{0}`: the program's tree, the system's directories (those of an image are open), volumes, `/proc`, `/dev` and `/sys` are closed to it; choose another place, such as below `/etc` or `/run/secrets`"
    )]
    Occupied(SandboxPath),
    /// A released file is another's directory.
    #[error("a released file cannot be put at `{0}`: another one is where its directory should be")]
    BelowFile(SandboxPath),
    /// A volume where nothing can be put, or that hides something.
    #[error(
        "a volume cannot be mounted at `{0}`: it would lie in the system's directories or in another volume, or hide what the sandbox has there; choose another place, such as below `/data` or `/var/lib`"
    )]
    VolumePlace(SandboxPath),
    /// Too many.
    #[error("there are {0} volumes: at most {MAX_VOLUMES} are mounted")]
    TooManyVolumes(usize),
    /// Too many.
    #[error("the app's network has {0} listeners: at most {MAX_LISTENERS} are made")]
    TooManyListeners(usize),
    /// A released file that would hide the names of the app's network.
    #[error(
        "a released file cannot be put at `{0}`: the network shield writes it, with the names of its destinations; take the file out"
    )]
    HidesHosts(SandboxPath),
    /// A user id that may belong to somebody.
    #[error("the user id `{0}` may belong to an account; choose one from 61184 to 65519")]
    Uid(u32),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{
        AppCommand, AppDirs, AppUid, CodeAccess, LaunchPlan, PrivateDir, ProcessLimits,
        ReadOnlyBind, StartDir,
    };
    use super::*;

    #[test]
    fn released_files_have_places_of_their_own() {
        let path = |path: &str| SandboxPath::try_from(path).unwrap();
        let private = |target: &str| PrivateDir {
            target: path(target),
            max_bytes: 1,
        };
        let check = |places: &[&str]| {
            let tree = TreePlan {
                app_uid: AppUid::nth(0),
                base: RootBase::Machine(AppDirs {
                    code: private("/app"),
                    code_access: CodeAccess::ReadOnly,
                    home: private("/root"),
                }),
                secrets: private("/run/mse"),
                tmp_bytes: 1,
                shm_bytes: 1,
                read_only: vec![ReadOnlyBind {
                    source: "/opt/python".into(),
                    target: path("/opt/python"),
                }],
                socket_dir: None,
                released: places.iter().map(|place| path(place)).collect(),
                volumes: vec![private("/data")],
                network: Network::Host,
            };
            tree.check_released()
        };
        check(&[
            "/etc/a",
            "/etc/ab",
            "/etc/hosts",
            "/root/.netrc",
            "/tmp/x",
            "/run/secrets/x",
        ])
        .unwrap();
        for bad in [
            "/app",
            "/app/x",
            "/run/mse/x",
            "/data",
            "/data/x",
            "/run",
            "/root",
            "/tmp",
            "/usr/x",
            "/lib64/x",
            "/opt",
            "/opt/python/x",
            "/etc",
            "/etc/ssl",
            "/etc/ssl/certs/x",
            "/proc/x",
            "/dev/null",
            "/dev",
        ] {
            assert!(
                matches!(check(&[bad]), Err(InvalidPlan::Occupied(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            check(&["/a/b", "/x", "/a/b"]),
            Err(InvalidPlan::SameTarget(_))
        ));
        for above in [&["/a", "/a/b"], &["/a/b/c", "/a"]] {
            assert!(matches!(check(above), Err(InvalidPlan::BelowFile(_))));
        }
    }

    #[test]
    fn volumes_have_places_of_their_own() {
        let path = |path: &str| SandboxPath::try_from(path).unwrap();
        let private = |target: &str| PrivateDir {
            target: path(target),
            max_bytes: 1,
        };
        let check = |places: &[&str]| {
            let command = AppCommand {
                program: "x".into(),
                args: Vec::new(),
                env: BTreeMap::new(),
                cwd: StartDir::Root,
            };
            let plan = SandboxPlan {
                tree: TreePlan {
                    app_uid: AppUid::nth(0),
                    base: RootBase::Machine(AppDirs {
                        code: private("/srv/app"),
                        code_access: CodeAccess::ReadOnly,
                        home: private("/root"),
                    }),
                    secrets: private("/run/mse"),
                    tmp_bytes: 1,
                    shm_bytes: 1,
                    read_only: Vec::new(),
                    socket_dir: None,
                    released: Vec::new(),
                    volumes: places.iter().map(|place| private(place)).collect(),
                    network: Network::Host,
                },
                launch: LaunchPlan {
                    prepare: Vec::new(),
                    serve: command,
                    limits: ProcessLimits {
                        open_files: 1,
                        processes: 1,
                    },
                },
            };
            plan.validate()
        };
        for good in [
            &["/data"][..],
            &["/srv/app/data", "/root/data", "/var/lib/db"],
            &["/tmp/x", "/etc/x", "/a", "/ab"],
        ] {
            check(good).unwrap();
        }
        for bad in [
            &["/a", "/a"][..],
            &["/a", "/a/b"],
            &["/a/b", "/a"],
            &["/srv"],
            &["/run"],
            &["/run/mse"],
            &["/run/mse/x"],
            &["/usr/x"],
            &["/etc/ssl/certs/x"],
            &["/etc"],
            &["/tmp"],
            &["/dev/shm"],
            &["/proc/x"],
            &["/srv/app"],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=MAX_VOLUMES).map(|n| format!("/v/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(check(&many), Err(InvalidPlan::TooManyVolumes(_))));
    }
}
