//! An image: copied into the sandbox before anything else, and then what of it is encrypted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::ServiceWorkload;
use mse_workload::bundle::{FileMode as SealedMode, SourceSalt, UnsealError, digest_of};
use mse_workload::image::{IMAGE_KEY, SEALED};
use mse_workload::launch::ServiceCheck;

use super::configuration::ImageKey;
use crate::sandbox::{
    AppUid, CopiedRoot, FileMode, InvalidPath, PrivateFilesWriter, ReadOnlyBind, RootPlan,
    RootedSandbox, Sandbox, SandboxError, SandboxPath, SandboxPlan, Spawned,
};
use crate::unsealing::{self, UnsealIntoError};

/// An image whose copy, which nobody can change any more, has the measured digest.
pub(super) struct CheckedImage {
    folder: PathBuf,
    sealed: Option<Sealed>,
    unmeasured: Vec<String>,
    /// Until the sandbox is made of it.
    copy: Option<RootedSandbox>,
}

/// The encrypted part: on the host, and checked again when it is opened.
struct Sealed {
    bundle: PathBuf,
    digest: Digest,
}

impl CheckedImage {
    /// Copies the root file system in `folder` into a new sandbox.
    pub(super) async fn copy(
        folder: &Path,
        app_uid: AppUid,
        workload: &ServiceWorkload,
        sealed: Option<Digest>,
        unmeasured: &[String],
    ) -> Result<Self, ImageError> {
        // The stages of the sandbox are this program, which then has only the image's libraries.
        if !cfg!(target_feature = "crt-static") {
            return Err(ImageError::NotStatic);
        }
        let plan = RootPlan {
            app_uid,
            folder: folder.to_owned(),
            unmeasured: unmeasured.to_vec(),
            // The rest is for what the program keeps elsewhere, and for this program.
            max_bytes: (u64::from(workload.resources.memory_mib) << 20) / 4 * 3,
        };
        let sealed = sealed.map(|digest| Sealed {
            bundle: below(folder, SEALED),
            digest,
        });
        let checking = check_sealed(sealed.as_ref());
        let sandbox = Sandbox::new();
        let (copy, ()) = tokio::try_join!(async { Ok(sandbox.with_root(&plan).await?) }, checking)?;
        let copied = copy.copied();
        tracing::info!(
            entries = copied.entries,
            bytes = copied.bytes,
            "the image is copied into the sandbox"
        );
        if copied.digest != workload.tree {
            return Err(ImageError::other_digest(copied, workload.tree));
        }
        Ok(Self {
            folder: folder.to_owned(),
            sealed,
            unmeasured: unmeasured.to_vec(),
            copy: Some(copy),
        })
    }

    /// Whether a part of it is encrypted.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// What is taken from the host as it is: from the image's folder, or from the machine if the
    /// image has nothing there.
    pub(super) fn unmeasured(&self) -> Result<Vec<ReadOnlyBind>, ImageError> {
        let bind = |path: &String| {
            let of_machine = PathBuf::from(path);
            let source = [below(&self.folder, path), of_machine]
                .into_iter()
                .find(|source| fs::metadata(source).is_ok())
                .ok_or_else(|| ImageError::Unmeasured(path.clone()))?;
            let target = SandboxPath::try_from(path.as_str())?;
            Ok(ReadOnlyBind { source, target })
        };
        self.unmeasured.iter().map(bind).collect()
    }

    /// Makes the rest of the sandbox.
    pub(super) async fn spawn(&mut self, plan: &SandboxPlan) -> Result<Spawned, ImageError> {
        let copy = self.copy.take().ok_or(ImageError::Taken)?;
        Ok(copy.spawn(plan).await?)
    }

    /// Puts the encrypted files over the root.
    pub(super) async fn unseal_into(
        &self,
        files: &mut PrivateFilesWriter,
        key: Option<ImageKey>,
    ) -> Result<(), ImageError> {
        let Some(sealed) = &self.sealed else {
            return Ok(());
        };
        let ImageKey(key) = key.ok_or(ImageError::NoKey)?;
        // The salt is for commitments to sources, and there is none here.
        let salt = SourceSalt::generate();
        let unsealed =
            unsealing::unseal_into(files, &sealed.bundle, key, salt, mode_in_image).await;
        match unsealed {
            Ok(unsealed) if unsealed.digest == sealed.digest => Ok(()),
            Ok(_) => Err(ImageError::SealedChanged),
            Err(UnsealIntoError::Unseal(UnsealError::WrongKey(file))) => {
                Err(ImageError::WrongKey(file))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn mode_in_image(mode: SealedMode) -> FileMode {
    FileMode::from(match mode {
        SealedMode::Plain => 0o644,
        SealedMode::Executable => 0o755,
    })
}

/// Where the image's `path` is on the host.
fn below(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/'))
}

async fn check_sealed(sealed: Option<&Sealed>) -> Result<(), ImageError> {
    let Some(Sealed { bundle, digest }) = sealed else {
        return Ok(());
    };
    let (bundle, expected) = (bundle.clone(), *digest);
    let read = tokio::task::spawn_blocking(move || {
        let file = File::open(bundle).map_err(UnsealError::Read)?;
        digest_of(io::BufReader::new(file))
    });
    let found = read
        .await
        .map_err(|_| ImageError::SealedUnread)?
        .map_err(ImageError::Sealed)?;
    if found == expected {
        Ok(())
    } else {
        Err(ImageError::OtherSealed { found, expected })
    }
}

/// Why the image is not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "its root file system has the digest `{found}` and not the measured `{expected}`{mounts}"
    )]
    OtherDigest {
        found: Digest,
        expected: Digest,
        mounts: String,
    },
    #[error("its encrypted part `{SEALED}`: {0}")]
    Sealed(UnsealError),
    #[error("its encrypted part `{SEALED}` could not be read")]
    SealedUnread,
    #[error(
        "its encrypted part `{SEALED}` has the digest `{found}` and not the measured `{expected}`"
    )]
    OtherSealed { found: Digest, expected: Digest },
    #[error("its encrypted part `{SEALED}` changed after it was checked")]
    SealedChanged,
    #[error(
        "it is encrypted, and the session injects no key: have it inject the image key, 64 hexadecimal digits, at `{IMAGE_KEY}`"
    )]
    NoKey,
    #[error(
        "the released image key does not open its encrypted part (`{0}`): the session injects the key of another image at `{IMAGE_KEY}`"
    )]
    WrongKey(String),
    #[error(
        "the unprotected path `{0}` is neither in the image nor on this machine; make it, or mount it into the container"
    )]
    Unmeasured(String),
    #[error(
        "this mse-enclave is linked dynamically, and an image does not bring its libraries: take the one of the image, or build it with `-C target-feature=+crt-static`"
    )]
    NotStatic,
    #[error("its copy was used up")]
    Taken,
    #[error(transparent)]
    Unsealing(#[from] UnsealIntoError),
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl ImageError {
    fn other_digest(copied: &CopiedRoot, expected: Digest) -> Self {
        let mounts = match copied.other_mounts.as_slice() {
            [] => String::new(),
            mounts => format!(
                "; something is mounted at `{}`, which is not the image's: mount it elsewhere, below `/mse` for example",
                mounts.join("`, `")
            ),
        };
        Self::OtherDigest {
            found: copied.digest,
            expected,
            mounts,
        }
    }

    /// The check that failed.
    pub(super) fn check(&self) -> ServiceCheck {
        match self {
            Self::OtherDigest { .. }
            | Self::Sealed(_)
            | Self::SealedUnread
            | Self::OtherSealed { .. }
            | Self::SealedChanged
            | Self::Unsealing(UnsealIntoError::Unseal(_) | UnsealIntoError::Unread)
            | Self::Sandbox(SandboxError::Root(_)) => ServiceCheck::Tree,
            Self::NoKey | Self::WrongKey(_) | Self::Unmeasured(_) | Self::Path(_) => {
                ServiceCheck::Configuration
            }
            Self::Unsealing(_) | Self::NotStatic | Self::Taken | Self::Sandbox(_) => {
                ServiceCheck::Machine
            }
        }
    }
}
