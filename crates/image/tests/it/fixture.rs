//! A folder for one test, and what tests share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_image::{Base, Built, Cancel, ImageSpec, Programs, Progress, Site, build};
use tempfile::TempDir;

/// One test's folder.
pub(crate) struct Scene {
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("context")).unwrap();
        for program in ["mse-launch", "mse-enclave"] {
            let path = dir.path().join(program);
            fs::write(&path, format!("#!/bin/sh\necho {program}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the context.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn spec(&self, base: Base) -> ImageSpec {
        let programs = Programs {
            launcher: self.path("mse-launch"),
            enclave: self.path("mse-enclave"),
        };
        ImageSpec::new("hello", base, &self.path("context"), programs)
    }

    /// With a cache that all tests share: packages are downloaded once.
    pub(crate) fn site(&self) -> Site {
        Site {
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-cache"),
            ..self.fresh_site()
        }
    }

    /// With a cache of its own, which is empty.
    pub(crate) fn fresh_site(&self) -> Site {
        Site {
            cache: self.path("cache"),
            sources: None,
            registry: None,
        }
    }

    pub(crate) async fn build(&self, spec: ImageSpec, progress: Progress) -> Built {
        self.build_at(self.site(), spec, progress).await
    }

    pub(crate) async fn build_at(&self, site: Site, spec: ImageSpec, progress: Progress) -> Built {
        let output = self.path("image");
        match build(spec, site, &output, Cancel::default(), progress).await {
            Ok(built) => built,
            Err(error) => panic!("{error}"),
        }
    }
}
