//! A mesh of two services as a chart on the disk, and the programs that charts are checked with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use mse_crypto::Digest;
use mse_mesh::chart::{Chart, Installation, manifests};
use mse_mesh::compile::{MeshImage, Target, compile};
use mse_mesh::{Meshfile, ServiceManifest, Variables};
use mse_workload::image::{FACTS_FORMAT, ImageFacts};
use mse_workload::{CasKey, EnclaveDigest};
use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{repository, target};

/// What the program is told, and what thus no file and no object may hold.
pub const CANARY: &str = "canary-8c1f";

const WEB: &str = "
apiVersion: mse/v1
kind: genservice
environment:
  local: [{name: PASSWORD, value: $$MSE::password$$}]
  global: [{name: GREETING}]
secrets:
  global: [{name: password, kind: ascii, value: canary-8c1f-secret}]
injection_files: [{path: /etc/web.conf, content: canary-8c1f-file}]
build:
  name: web
  kind: python
  to: r.example/shop/web
  command: python3 web.py canary-8c1f-argument
  health: {http: {path: /health, port: 8080}}
listen: [{port: 8080, name: http}]
";

const DB: &str = "
apiVersion: mse/v1
kind: genservice
build:
  name: db
  kind: sconify_image
  from: r.example/base
  to: r.example/shop/db
  command: /usr/bin/db
  volumes: [{name: data, path: /data}]
listen: [5432]
";

/// Two services: `Web_1`, of which three run and everybody may connect to, and `db`, which has a
/// volume, and only `Web_1` may.
pub const MESH: &str = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: 'cas.example:8081'}]
policy: {namespace: team/shop}
env:
- {service: global, env: [{name: GREETING, value: canary-8c1f-environment}]}
- {service: helm, env: [{name: imagePullSecrets, value: registry}]}
services:
- name: Web_1
  image: r.example/shop/web
  replicas: 3
  ports: [{port: 80, target: 8080, name: http}]
  connections: [{to: db, ports: [5432]}]
- name: db
  image: r.example/shop/db
  resources: {memory: 2Gi, cores: 2}
  volumes: [{name: data, size: 10Gi, storage_class: fast}]
  connections: []
";

/// What a mesh is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompiledFor {
    /// A TEE.
    Hardware,
    /// A simulated one, too.
    Simulation,
}

/// A chart in a folder of its own.
pub struct ChartFolder {
    folder: TempDir,
    /// The objects that `mse apply --output yaml` writes, or why there are none.
    pub manifests: Result<String, String>,
}

impl ChartFolder {
    /// The chart of the mesh `text`, which has the services of [`MESH`].
    pub fn of(text: &str, target: CompiledFor) -> Self {
        // A mesh for hardware names the machines of its services.
        let machine = format!(
            "namespace: team/shop, machines: [{{tee: snp, measurement: {}}}]",
            "0b".repeat(48)
        );
        let text = match target {
            CompiledFor::Hardware => text.replace("namespace: team/shop", &machine),
            CompiledFor::Simulation => text.to_owned(),
        };
        let (mesh, _) = Meshfile::read(&text, &Variables::new()).expect("it is a Meshfile");
        let names = mesh.services.iter().map(|one| one.name.clone());
        let images: BTreeMap<_, _> = names.zip([WEB, DB].map(image)).collect();
        let simulated = target == CompiledFor::Simulation;
        let compiled = compile(
            &mesh,
            &Target {
                cas_key: CasKey::of(b"cas"),
                simulated,
                release: "mesh",
                owner: &mse_mesh::compile::Ownership::Sender,
                images: &images,
                authorities: &BTreeMap::new(),
            },
        );
        let plan = compiled.unwrap_or_else(|error| panic!("{error}"));
        let installation = Installation {
            mesh: &mesh,
            services: &plan.services,
            images: &images,
            cas: "cas.example:8081",
            name: "shop",
            simulated,
        };
        let chart = Chart::of(&installation);
        let folder = TempDir::new().expect("there is room for a folder");
        for file in chart.unwrap_or_else(|error| panic!("{error}")).files {
            let path = folder.path().join(file.path);
            let parent = path.parent().expect("it is in the folder");
            fs::create_dir_all(parent).expect("folders can be made");
            fs::write(path, file.content).expect("files can be written");
        }
        let manifests = manifests(&installation)
            .map(|files| {
                let texts = files.into_iter().map(|one| String::from_utf8(one.content));
                let texts: Result<Vec<_>, _> = texts.collect();
                texts.expect("they are UTF-8").concat()
            })
            .map_err(|error| error.to_string());
        Self { folder, manifests }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn image(manifest: &str) -> MeshImage {
    let read = ServiceManifest::read(manifest, &Variables::new());
    let (manifest, _) = read.expect("it is a service manifest");
    let name = manifest.build.name.to_string();
    let digest = Digest::of(name.as_bytes());
    let reference = format!("{}@sha256:{digest}", manifest.build.to);
    MeshImage {
        reference: reference.parse().expect("it is a reference"),
        facts: ImageFacts {
            format: FACTS_FORMAT,
            name,
            root: digest,
            enclave: EnclaveDigest(Digest::of(b"enclave")),
            sealed: None,
            unmeasured: Vec::new(),
        },
        template: manifest.template(),
        key: None,
        stable: None,
    }
}

/// A program of `scripts/kubernetes-tools`: `helm`, `kubectl`, `kubernetes-validate`.
pub fn tool(name: &str) -> Command {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let made = Command::new(repository().join("scripts/kubernetes-tools"))
            .arg(target().join("mse-kubernetes"))
            .output()
            .expect("scripts/kubernetes-tools can be run");
        assert!(
            made.status.success(),
            "helm and kubectl cannot be fetched: it takes npm, python3 with venv and, the first time, their registries; `./x setup` prepares it: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        String::from_utf8_lossy(&made.stdout).trim().into()
    });
    let mut command = Command::new(FOLDER.join(name));
    // Neither the user's settings nor the user's cluster.
    command.env_remove("KUBECONFIG");
    for (variable, folder) in [
        ("HELM_CONFIG_HOME", "config"),
        ("HELM_CACHE_HOME", "cache"),
        ("HELM_DATA_HOME", "data"),
    ] {
        command.env(variable, FOLDER.join("..").join(folder));
    }
    command
}

/// The documents of a YAML file, as a reader that is not ours sees them.
pub fn documents(yaml: &Path) -> Vec<Value> {
    const READ: &str = "import json, sys, yaml; print(json.dumps([one for one in yaml.safe_load_all(open(sys.argv[1])) if one]))";
    let json = printed(tool("../python/bin/python").args(["-c", READ]).arg(yaml));
    serde_json::from_str(&json).expect("it is a list")
}

/// What a command printed; it must have succeeded.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

/// What a command said as it failed; it must have.
pub fn refused(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    assert!(!output.status.success(), "{command:?} did not fail");
    said(&output)
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|one| String::from_utf8_lossy(one));
    format!("{out}{err}")
}
