//! A small image as a folder: the shell of this machine with a few programs and their libraries,
//! and its digest, computed by another way than the enclave's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mse_crypto::{CodeKey, Digest};
use mse_workload::Base;
use mse_workload::bundle::{CodeTree, NonceSource, SourceSalt, seal};
use mse_workload::image::{
    ENCLAVE, Entry, EntryKind, FACTS, FACTS_FORMAT, ImageFacts, LAUNCHER, RootHasher, SEALED,
    SealedPart, is_measured,
};
use mse_workload::measurement::EnclaveDigest;
use serde_json::json;
use tempfile::TempDir;

/// Programs that the image has, besides `/bin/sh`.
const PROGRAMS: &[&str] = &[
    "cat", "env", "id", "ls", "mkdir", "sleep", "stat", "touch", "true",
];

/// An image, unpacked.
pub struct ImageRoot {
    folder: TempDir,
    sealed: Option<SealedPart>,
    unmeasured: Vec<String>,
}

impl ImageRoot {
    /// With a shell.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = Self {
            folder,
            sealed: None,
            unmeasured: Vec::new(),
        };
        for directory in [
            "bin",
            "etc",
            "tmp",
            "root",
            "usr/local/bin",
            "mse/bin",
            "srv",
            "run",
        ] {
            fs::create_dir_all(image.at(directory)).unwrap();
        }
        let mut libraries = BTreeSet::new();
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        image.add_program(&shell, "bin/sh", &mut libraries);
        for name in PROGRAMS {
            let program = Path::new("/bin").join(name);
            image.add_program(&program, &format!("usr/local/bin/{name}"), &mut libraries);
        }
        for library in libraries {
            let target = image.at(library.to_str().unwrap().trim_start_matches('/'));
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(library.canonicalize().unwrap(), target).unwrap();
        }
        image.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        image.write("srv/data.txt", "of the image");
        image
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it, relative.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file, 0644.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Leaves these paths unprotected.
    pub fn leave_unmeasured(&mut self, paths: &[&str]) {
        self.unmeasured = paths.iter().map(ToString::to_string).collect();
    }

    /// Encrypts files into [`SEALED`]: path without the leading slash, and content.
    pub fn seal(&mut self, files: &[(&str, &str)], key: &CodeKey) {
        let plain = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = plain.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let archive = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.at(SEALED.trim_start_matches('/')))
            .unwrap();
        let tree = CodeTree::collect(plain.path()).unwrap();
        let salt = SourceSalt::generate();
        let sealed = seal(&tree, key, &NonceSource::Fresh, &salt, &archive, &|_| {}).unwrap();
        self.sealed = Some(SealedPart {
            bundle: sealed.digest,
            key_check: sealed.key_check,
        });
    }

    /// The base of workloads that run it.
    pub fn base(&self) -> Base {
        Base::Image {
            sealed: self.sealed.as_ref().map(|sealed| sealed.bundle),
            unmeasured: self.unmeasured.clone(),
        }
    }

    /// The digest of its root file system.
    pub fn root_digest(&self) -> Digest {
        let mut found = Vec::new();
        collect(self.path(), &mut found);
        let root = self.path();
        let mut named: Vec<(String, &PathBuf)> = found
            .iter()
            .map(|path| {
                let below = path.strip_prefix(root).unwrap().to_str().unwrap();
                (format!("/{below}"), path)
            })
            .filter(|(name, _)| is_measured(name, &self.unmeasured))
            .collect();
        named.sort();
        let mut hasher = RootHasher::new();
        for (name, path) in named {
            let meta = fs::symlink_metadata(path).unwrap();
            let target = fs::read_link(path).unwrap_or_default();
            let kind = if meta.is_dir() {
                EntryKind::Folder
            } else if meta.is_symlink() {
                EntryKind::Link(target.to_str().unwrap())
            } else {
                EntryKind::File(Digest::of(&fs::read(path).unwrap()))
            };
            let mode = meta.mode();
            let path = &name;
            hasher.entry(&Entry { path, mode, kind }).unwrap();
        }
        hasher.finish()
    }

    /// Puts our own part in: the two programs, and what the image says about itself.
    pub fn complete(&self, launcher: &Path, enclave: &Path) -> ImageFacts {
        for (program, place) in [(launcher, LAUNCHER), (enclave, ENCLAVE)] {
            fs::copy(program, self.at(place.trim_start_matches('/'))).unwrap();
        }
        let facts = ImageFacts {
            format: FACTS_FORMAT,
            name: "web".into(),
            root: self.root_digest(),
            enclave: EnclaveDigest(Digest::of(&fs::read(enclave).unwrap())),
            sealed: self.sealed.clone(),
            unmeasured: self.unmeasured.clone(),
        };
        let place = self.at(FACTS.trim_start_matches('/'));
        fs::write(place, facts.canonical()).unwrap();
        facts
    }

    /// Writes it as an OCI layout of one layer into `folder`.
    pub fn write_oci(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: Vec<u8>, kind: &str| {
            let digest = Digest::of(&bytes);
            let size = bytes.len();
            fs::write(blobs.join(digest.to_string()), bytes).unwrap();
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": format!("sha256:{digest}"),
                "size": size,
            })
        };
        let mut layer = tar::Builder::new(Vec::new());
        layer.follow_symlinks(false);
        layer.append_dir_all(".", self.path()).unwrap();
        let layer = put(layer.into_inner().unwrap(), "layer.v1.tar");
        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [LAUNCHER], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let configuration = put(configuration.to_string().into(), "config.v1+json");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": configuration,
            "layers": [layer],
        });
        let manifest = put(manifest.to_string().into(), "manifest.v1+json");
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(
            folder.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )
        .unwrap();
    }

    fn add_program(&self, program: &Path, place: &str, libraries: &mut BTreeSet<PathBuf>) {
        fs::copy(program.canonicalize().unwrap(), self.at(place)).unwrap();
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        libraries.extend(
            listed
                .split_whitespace()
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
    }
}

impl Default for ImageRoot {
    fn default() -> Self {
        Self::new()
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found);
        }
        found.push(path);
    }
}
