//! The measurement that an enclave must have, and whether a context's story is true of the code.

use std::path::Path;

use mse_attest::Tee;
use mse_crypto::Digest;
use mse_runtime::images::Catalogue;
use mse_workload::bundle::{self, CodeTree, NonceSource};
use mse_workload::{EnclaveDigest, Measured, Measurement, Workload, measurement};
use serde::Serialize;

use crate::context::{Context, Record};
use crate::exit::Exit;
use crate::failure::Failure;

/// The measurement of an enclave of `workload` that was started from the program `enclave`, on a
/// TEE of the kind `tee`.
pub(crate) fn expected_measurement(
    tee: &str,
    enclave: &EnclaveDigest,
    workload: &Workload,
) -> Result<Measurement, Failure> {
    if tee == Tee::Simulated.as_str() {
        return Ok(measurement::simulated(enclave, &workload.digest()));
    }
    Err(Failure::new(
        Exit::Refused,
        format!("this `mse` cannot compute the measurement of an enclave on the TEE `{tee}`"),
    )
    .with_hint("compare with a fingerprint that was published: `--fingerprint HEX`"))
}

/// The workload must run on an image that this program knows by its content, not by its name.
pub(crate) fn check_image(workload: &Workload) -> Result<(), Failure> {
    let name = &workload.image.name;
    let known = Catalogue::builtin()
        .resolve(name)
        .map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
    if known.digest() == workload.image.digest {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "the app runs on an image that is called `{name}` but has the digest `{}` instead of `{}`",
            workload.image.digest,
            known.digest()
        ),
    )
    .with_hint("use the release of `mse` that it was deployed with, or do not trust it"))
}

/// How code was compared with what runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SourceCheck {
    /// How many files were compared.
    pub(crate) files: usize,
    /// Recomputed from the code, and equal to the workload's.
    pub(crate) source_commitment: Digest,
    /// Recomputed by encrypting again, and equal to the workload's; needs the code key.
    pub(crate) bundle: Option<Digest>,
}

/// The code in `folder` must be the code of `workload`, which `context` is about.
pub(crate) fn check_source(
    folder: &Path,
    workload: &Workload,
    context: &Context,
    record: &Record,
) -> Result<SourceCheck, Failure> {
    if !folder.is_dir() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no folder `{}` with code", folder.display()),
        )
        .with_hint("name the folder that `cloud.code` named when the app was deployed"));
    }
    let tree = CodeTree::collect(folder)
        .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
    let commitment = bundle::source_commitment(&tree, &record.source_salt)
        .map_err(|error| Failure::other(error.to_string()))?;
    let other_code = |what: &str, found: Digest, expected: Digest| {
        Failure::new(
            Exit::Refused,
            format!(
                "the code in `{}` is not the code that runs: its {what} is `{found}`, that of the app is `{expected}`",
                folder.display()
            ),
        )
        .with_hint("compare with the folder exactly as it was deployed; what `.mseignore` names does not count")
    };
    if commitment != workload.source_commitment {
        return Err(other_code(
            "source commitment",
            commitment,
            workload.source_commitment,
        ));
    }
    let bundle = encrypt_again(&tree, context, record)?;
    if let Some(digest) = bundle
        && digest != workload.bundle
    {
        return Err(other_code("bundle digest", digest, workload.bundle));
    }
    Ok(SourceCheck {
        files: tree.files().len(),
        source_commitment: commitment,
        bundle,
    })
}

/// The bundle digest that the same key and nonces make of `tree`; none without the key.
fn encrypt_again(
    tree: &CodeTree,
    context: &Context,
    record: &Record,
) -> Result<Option<Digest>, Failure> {
    let (Some(key), Some(instance)) = (&context.config.code_key, &context.instance) else {
        return Ok(None);
    };
    let archive = tempfile::tempfile()
        .map_err(|error| Failure::other(format!("no temporary file can be made: {error}")))?;
    bundle::seal(
        tree,
        key,
        &NonceSource::Again(&instance.nonces),
        &record.source_salt,
        &archive,
        &|_| {},
    )
    .map(|sealed| Some(sealed.digest))
    .map_err(|error| match error {
        bundle::SealError::NonceNotFound(_) => Failure::new(Exit::Refused, error.to_string()),
        other => Failure::other(other.to_string()),
    })
}
