//! A Meshfile, compiled and compared with what its CAS has: all that applying it would do.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Digest;
use mse_crypto::ecdsa::P256VerifyingKey;
use mse_crypto::signing::{SigningKey, VerifyingKey};
use mse_mesh::chart::{Chart, ChartError, ChartFile, Installation, manifests};
use mse_mesh::compile::{MeshImage, Ownership, Plan, Target, compile};
use mse_mesh::{
    Advisories, Destination, HostTls, Meshfile, OutsideHost, Role, ServiceName, UploadMode,
};
use mse_session::{Identity, KeyHash, Terms};
use mse_workload::EnclaveDigest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

use super::{Manifests, MeshArgs};
use crate::cas::{ClientKey, KnownCas};
use crate::cli::Scene;
use crate::commands::session::sign::{read_key_of, read_public_key_of};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{
    CasTolerances, Changes, ImagePrograms, ImageStore, MeshCas, MeshImages, Owner, Pulling,
    RegistryArgs, RunCas, RunPlan, Workshop, read_files,
};
use crate::private_file;
use crate::ui::counted;

/// A file of certificates is much shorter.
const MAX_CERTIFICATES: u64 = 1024 * 1024;

/// What a Meshfile is composed with.
pub(crate) struct Composing<'a> {
    pub(crate) given: &'a MeshArgs,
    pub(crate) registry: &'a RegistryArgs,
    pub(crate) programs: &'a ImagePrograms,
    /// The folder that paths in the Meshfile are below.
    pub(crate) context: &'a Path,
    /// Whether it is going to be applied, and not only looked at: then sessions that are delivered
    /// signed take the private key.
    pub(crate) applies: bool,
}

/// All that applying a Meshfile would do.
pub(crate) struct Composed {
    /// Its CAS, attested.
    pub(crate) known: KnownCas,
    pub(crate) tolerances: CasTolerances,
    pub(crate) simulated: bool,
    pub(crate) delivery: Delivery,
    /// What signs the sessions, if that is to be done.
    pub(crate) session_key: Option<SigningKey>,
    pub(crate) warnings: Vec<String>,
    /// Its sessions, compared with those of the CAS.
    pub(crate) changes: Changes,
    pub(crate) plan: RunPlan,
    pub(crate) chart: Vec<ChartFile>,
    /// Objects, if they are wanted.
    pub(crate) manifests: Vec<ChartFile>,
}

impl Composing<'_> {
    pub(crate) async fn compose(
        &self,
        scene: &Scene<'_>,
        mut mesh: Meshfile,
    ) -> Result<Composed, Failure> {
        let given = self.given;
        given.complete(&mut mesh);
        read_files(&mut mesh, self.context)?;
        let delivery = Delivery::of(&mesh)?;
        let signer = given.session_signer(delivery, self.applies)?;
        let images = MeshImages {
            workshop: Workshop {
                store: ImageStore::find()?,
                registry: self.registry.open()?,
            },
            programs: self.programs,
            pulling: given.pulling(),
            signer: given.image_signer.as_deref().map(signer_in).transpose()?,
        };
        let step = scene.ui.step("Looking at the images");
        let images = images.of(scene, &mesh).await?;
        step.done(&format!(
            "Looked at {}",
            counted(images.len(), "image", "images")
        ));
        self.prove_enclaves(&images)?;
        if delivery == Delivery::Signed {
            prove_readable(&images)?;
        }
        let key = client_key(scene)?;
        let ownership = match &signer {
            None if delivery == Delivery::Sealed => Ownership::Holder(key),
            None => Ownership::Sender,
            Some(signer) => Ownership::Signer {
                signer: signer.public(),
                reader: key,
            },
        };
        let MeshCas {
            mut known,
            tolerances,
        } = given.cas.attest(scene, &mesh).await?;
        let simulated = known.pin.simulated;
        let Plan {
            sessions,
            services,
            mut warnings,
        } = compile(
            &mesh,
            &Target {
                cas_key: known.pin.cas_key,
                simulated,
                images: &images,
                authorities: &authorities(&mesh, self.context)?,
                release: &given.release,
                owner: &ownership,
            },
        )
        .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        let installation = Installation {
            mesh: &mesh,
            services: &services,
            images: &images,
            cas: &known.pin.address,
            name: &given.release,
            simulated,
        };
        let (chart, manifests) = given.objects(&installation)?;
        warnings.extend(chart.warnings.iter().cloned());
        let owner = Owner {
            creator: match &ownership {
                Ownership::Sender | Ownership::Holder(_) => Identity::Tls(key),
                Ownership::Signer { signer, .. } => Identity::Signer(signer.clone()),
            },
            namespace: mesh.policy.namespace.clone(),
            takes_over: given.take_over,
        };
        let changes = Changes::find(&mut known, &sessions, &owner).await?;
        warnings.extend(changes.opened_ports());
        if self.applies {
            warnings.extend(changes.left_over(&mut known, &owner).await?);
        }
        for warning in &warnings {
            scene.ui.warn(warning.clone());
        }
        let cas = RunCas {
            address: known.pin.address.clone(),
            key: known.pin.cas_key,
            simulated,
        };
        let plan = RunPlan::of(&mesh, &given.release, cas, &services, &changes);
        Ok(Composed {
            known,
            tolerances,
            simulated,
            delivery,
            session_key: signer.and_then(SessionSigner::into_key),
            warnings,
            changes,
            plan,
            chart: chart.files,
            manifests,
        })
    }

    /// The enclave program is what keeps the promises of the others, so an image cannot bring just
    /// any.
    fn prove_enclaves(&self, images: &BTreeMap<ServiceName, MeshImage>) -> Result<(), Failure> {
        let mut accepted = self.given.accept_enclave.clone();
        if let Ok(programs) = self.programs.find() {
            let digest = File::open(&programs.enclave).and_then(Digest::of_reader);
            let digest =
                digest.map_err(|error| Failure::file("read", &programs.enclave, &error))?;
            accepted.push(EnclaveDigest(digest));
        }
        for (service, image) in images {
            let stable = image.stable.as_ref().map(|stable| stable.facts.enclave);
            for enclave in [Some(image.facts.enclave), stable].into_iter().flatten() {
                if !accepted.contains(&enclave) {
                    return Err(Failure::new(
                        Exit::Refused,
                        format!("the image of `{service}` has the enclave program {enclave}, which is none that is known here"),
                    )
                    .with_hint(format!("if it is that of a release that you trust: `--accept-enclave {enclave}`; else build the image again")));
                }
            }
        }
        Ok(())
    }
}

impl MeshArgs {
    /// What the command line adds to the Meshfile.
    fn complete(&self, mesh: &mut Meshfile) {
        if let Some(namespace) = &self.policy_namespace {
            mesh.policy.namespace = namespace.clone();
        }
        let Some(until) = self.tolerate_until else {
            return;
        };
        let terms = || Terms {
            reason: "the Meshfile gives no reason".into(),
            until,
        };
        for one in &mut mesh.policy.tolerate {
            if one.what.is_dangerous() && one.terms.is_none() {
                one.terms = Some(terms());
            }
        }
        if let Advisories::All(none @ None) = &mut mesh.policy.ignore_advisories {
            *none = Some(terms());
        }
    }

    /// What runs the mesh on Kubernetes: the chart, and objects if they are wanted.
    fn objects(&self, installation: &Installation<'_>) -> Result<(Chart, Vec<ChartFile>), Failure> {
        let failed =
            |error: ChartError| Failure::new(Exit::InvalidConfiguration, error.to_string());
        let objects = match self.output {
            Some(Manifests::Yaml) => manifests(installation).map_err(failed)?,
            None => Vec::new(),
        };
        Ok((Chart::of(installation).map_err(failed)?, objects))
    }

    /// Who signs the sessions, where they are delivered signed.
    fn session_signer(
        &self,
        delivery: Delivery,
        signs: bool,
    ) -> Result<Option<SessionSigner>, Failure> {
        const OPTION: &str = "--session-key";
        match (&self.session_key, delivery) {
            (Some(file), Delivery::Signed) if signs => {
                Ok(Some(SessionSigner::Here(read_key_of(file, OPTION)?)))
            }
            (Some(file), Delivery::Signed) => {
                let known = read_public_key_of(file, OPTION)?;
                Ok(Some(SessionSigner::Known(known)))
            }
            (None, Delivery::Signed) if signs => Err(Failure::new(
                Exit::Usage,
                "`cas.mode` is `SignedManifest`, and there is no key to sign with",
            )
            .with_hint(
                "name it with `--session-key FILE`; `mse session keygen --output FILE` makes one",
            )),
            (None, Delivery::Signed) => Err(Failure::new(
                Exit::Usage,
                "`cas.mode` is `SignedManifest`, and it is not said who signs",
            )
            .with_hint("name the public key of the signer with `--session-key FILE`")),
            (Some(_), _) => Err(Failure::new(
                Exit::Usage,
                "`--session-key` signs nothing: `cas.mode` is not `SignedManifest`",
            )
            .with_hint("leave it away, or set the mode")),
            (None, _) => Ok(None),
        }
    }

    fn pulling(&self) -> Pulling {
        match (self.no_pull, self.pull) {
            (true, _) => Pulling::Never,
            (_, true) => Pulling::Always,
            _ => Pulling::WhenMissing,
        }
    }
}

/// Who signs the sessions.
enum SessionSigner {
    /// By this key.
    Here(SigningKey),
    /// Whoever has the private key of this one.
    Known(VerifyingKey),
}

impl SessionSigner {
    fn public(&self) -> VerifyingKey {
        match self {
            Self::Here(key) => key.public(),
            Self::Known(key) => key.clone(),
        }
    }

    fn into_key(self) -> Option<SigningKey> {
        match self {
            Self::Here(key) => Some(key),
            Self::Known(_) => None,
        }
    }
}

/// The key of whoever applies the mesh.
fn client_key(scene: &Scene<'_>) -> Result<KeyHash, Failure> {
    let key = ClientKey::load(&scene.conf)?.ok_or_else(|| {
        Failure::new(
            Exit::InvalidConfiguration,
            "you have no key yet that CASes know you by",
        )
        .with_hint("make one: `mse cas keygen`")
    })?;
    Ok(key.hash)
}

/// Whoever carries signed sessions reads them.
fn prove_readable(images: &BTreeMap<ServiceName, MeshImage>) -> Result<(), Failure> {
    let with_key = images.iter().find(|(_, image)| image.key.is_some());
    let Some((service, _)) = with_key else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::InvalidConfiguration,
        format!("the image of `{service}` has an encrypted part, and its key would stand in a session that whoever carries it can read"),
    )
    .with_hint("choose `mode: EncryptedManifest`"))
}

/// The files with certificates of those who vouch for hosts outside of the mesh.
fn authorities(mesh: &Meshfile, context: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let connections = mesh.services.iter().flat_map(|one| &one.connections);
    let files = connections.flatten().filter_map(|one| match &one.to {
        Destination::Host(OutsideHost {
            tls: HostTls::Shield(file),
            ..
        }) => Some(file),
        _ => None,
    });
    files
        .map(|file| Ok((file.clone(), certificates(&context.join(file))?)))
        .collect()
}

/// The certificates in a file, and nothing else of it.
fn certificates(file: &Path) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {why}", file.display()),
        )
        .with_hint("`ca` names a file with the certificates (PEM) of those who vouch for the host")
    };
    let text = private_file::read(file, MAX_CERTIFICATES)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no file `{}`", file.display()),
        )
        .with_hint("`ca` of a connection names it, relative to the Meshfile")
    })?;
    if text.contains("PRIVATE KEY-----") {
        return Err(wrong("it has a private key, which would become public"));
    }
    let mut found = String::new();
    for one in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let one = one.map_err(|_| wrong("it is not PEM"))?;
        let parsed = x509_parser::parse_x509_certificate(&one);
        let (_, parsed) = parsed.map_err(|_| wrong("a certificate in it cannot be read"))?;
        if !parsed.is_ca() {
            return Err(wrong(&format!(
                "the certificate of `{}` is not that of a CA",
                parsed.subject()
            )));
        }
        found.push_str(&pem(&one));
    }
    if found.is_empty() {
        return Err(wrong("there is no certificate in it"));
    }
    Ok(found)
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// A public key, PEM.
fn signer_in(file: &Path) -> Result<P256VerifyingKey, Failure> {
    let text = private_file::read(file, 64 * 1024)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no key `{}`", file.display()),
        )
    })?;
    P256VerifyingKey::from_pem(&text).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "`{}` is no key of who signs images: {error}",
                file.display()
            ),
        )
        .with_hint(
            "give the public key on P-256, PEM: `mse image sign` writes it beside the private one",
        )
    })
}

/// How sessions get to the CAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// From here.
    Upload,
    /// As sealed files.
    Sealed,
    /// As signed files.
    Signed,
    /// Not at all.
    Nothing,
}

impl Delivery {
    fn of(mesh: &Meshfile) -> Result<Self, Failure> {
        let mode = mesh.cas_for(Role::Cas).and_then(|cas| cas.mode);
        match mode {
            None | Some(UploadMode::Upload) => Ok(Self::Upload),
            Some(UploadMode::EncryptedOnly | UploadMode::EncryptedManifest) => Ok(Self::Sealed),
            Some(UploadMode::NoUpload) => Ok(Self::Nothing),
            Some(UploadMode::SignedManifest) => Ok(Self::Signed),
            Some(mode @ UploadMode::SignOnline) => Err(Failure::new(
                Exit::InvalidConfiguration,
                format!("`cas.mode` is `{mode}`, which is not served"),
            )
            .with_hint("`SignedManifest` leaves signed files, to which others add their signatures with `mse session sign`")),
        }
    }
}
