//! Manifests of services that come with MSE: ordinary ones, in `images/curated`.

use std::fmt;
use std::str::FromStr;

use mse_yaml::{Variables, shown};

use crate::model::ServiceManifest;

/// A service that a Meshfile may name without a manifest of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Curated {
    /// A database.
    Mariadb,
    /// A cache.
    Memcached,
    /// A web server and reverse proxy.
    Nginx,
    /// A database.
    Postgresql,
    /// A database in memory.
    Redis,
}

/// A file of a curated service's build context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CuratedFile {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub content: &'static str,
    /// Whether it is a program.
    pub executable: bool,
}

impl Curated {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Mariadb,
        Self::Memcached,
        Self::Nginx,
        Self::Postgresql,
        Self::Redis,
    ];

    /// As written in a Meshfile.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Memcached => "memcached",
            Self::Nginx => "nginx",
            Self::Postgresql => "postgresql",
            Self::Redis => "redis",
        }
    }

    /// Its name, or one that it has besides.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        if word == "postgres" {
            return Some(Self::Postgresql);
        }
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// The text of its manifest.
    pub fn manifest_text(self) -> &'static str {
        match self {
            Self::Mariadb => include_str!("../../../images/curated/mariadb/service.yaml"),
            Self::Memcached => include_str!("../../../images/curated/memcached/service.yaml"),
            Self::Nginx => include_str!("../../../images/curated/nginx/service.yaml"),
            Self::Postgresql => include_str!("../../../images/curated/postgresql/service.yaml"),
            Self::Redis => include_str!("../../../images/curated/redis/service.yaml"),
        }
    }

    /// Its manifest.
    ///
    /// # Panics
    ///
    /// Never: the tests read all of them.
    pub fn manifest(self) -> ServiceManifest {
        let (manifest, _) = ServiceManifest::read(self.manifest_text(), &Variables::new())
            .unwrap_or_else(|faults| panic!("the curated manifest `{self}`: {faults}"));
        manifest
    }

    /// The files beside its manifest.
    pub fn files(self) -> Vec<CuratedFile> {
        match self {
            Self::Mariadb => vec![
                CuratedFile {
                    name: "my.cnf",
                    content: include_str!("../../../images/curated/mariadb/my.cnf"),
                    executable: false,
                },
                CuratedFile {
                    name: "mariadb",
                    content: include_str!("../../../images/curated/mariadb/mariadb"),
                    executable: true,
                },
            ],
            Self::Memcached => Vec::new(),
            Self::Nginx => vec![CuratedFile {
                name: "nginx.conf",
                content: include_str!("../../../images/curated/nginx/nginx.conf"),
                executable: false,
            }],
            Self::Postgresql => vec![CuratedFile {
                name: "postgresql",
                content: include_str!("../../../images/curated/postgresql/postgresql"),
                executable: true,
            }],
            Self::Redis => vec![CuratedFile {
                name: "redis",
                content: include_str!("../../../images/curated/redis/redis"),
                executable: true,
            }],
        }
    }
}

impl FromStr for Curated {
    type Err = UnknownCurated;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::from_word(word).ok_or_else(|| UnknownCurated(word.to_owned()))
    }
}

/// A word that is no curated service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no curated service `{}`: there are mariadb, memcached, nginx, postgresql and redis", shown(.0))]
pub struct UnknownCurated(String);

impl fmt::Display for Curated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Toolchain;

    #[test]
    fn manifests_have_no_fault_and_copy_what_is_there() {
        for curated in Curated::ALL {
            let text = curated.manifest_text();
            let (manifest, warnings) = ServiceManifest::read(text, &Variables::new())
                .unwrap_or_else(|faults| panic!("{curated}: {faults}"));
            assert!(warnings.is_empty(), "{curated}: {warnings:?}");
            assert_eq!(manifest.build.name.as_str(), curated.as_str());
            assert_eq!(manifest.build.kind, Toolchain::Debian);
            let files: Vec<_> = curated.files().iter().map(|file| file.name).collect();
            assert_eq!(manifest.build.copy, files, "{curated}");
            assert!(!manifest.listen.is_empty() && manifest.build.health.is_some());
            // The shield is in front, and nothing else reaches the sandbox's own loopback.
            assert!(manifest.build.volumes.iter().all(|one| one.optional));
            assert_eq!(Curated::from_word(curated.as_str()), Some(curated));
        }
    }

    #[test]
    fn no_secret_is_an_argument_or_a_constant() {
        for curated in Curated::ALL {
            let manifest = curated.manifest();
            let command = manifest.build.command.to_text();
            assert!(!command.contains("$$"), "{curated}: {}", *command);
            for secret in &manifest.secrets.global {
                assert!(
                    secret.parameters.value.is_none(),
                    "{curated}: {}",
                    secret.name
                );
            }
        }
    }
}
