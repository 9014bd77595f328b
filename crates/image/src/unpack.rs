//! Writing an image's file system into a folder.
//!
//! The layers are first laid over each other in memory. What then is written has only real folders
//! above it, so that no link of the image can lead anything out of the folder.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::bundle::UnsealError;
use mse_workload::image::{OWN, SEALED};

use crate::digest::BlobDigest;
use crate::layer::{ChangeKind, Compression, InvalidLayer, LayerIndex, Limits, index, visit};
use crate::layout::{Image, Layout, LayoutError};
use crate::tree::{ApplyError, FileSystem, Node};

/// Bytes of all files together: 64 GiB. One layer is bounded as well.
const MAX_SIZE: u64 = 64 << 30;

/// Which part of an image is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Without `/mse`: what the program sees.
    WithoutOwn,
}

/// The file system of an image, without unpacking it. All digests are compared.
pub fn file_system(layout: &Layout, image: &Image) -> Result<FileSystem, UnpackError> {
    let mut system = FileSystem::default();
    for (number, blob) in image.manifest.layers.iter().enumerate() {
        let compression = blob.compression().map_err(LayoutError::from)?;
        let file = layout.open_blob(blob)?;
        let (layer, diff_id) = index(file, compression, &Limits::default())?;
        expect(diff_id, image.config.diff_ids[number])?;
        add(&mut system, number, &layer)?;
    }
    Ok(system)
}

/// Writes the image into `folder`, which must be empty or missing. What fails half-way is removed.
pub fn unpack(
    layout: &Layout,
    image: &Image,
    part: Part,
    folder: &Path,
) -> Result<FileSystem, UnpackError> {
    let system = file_system(layout, image)?;
    let sources = image
        .manifest
        .layers
        .iter()
        .map(|blob| {
            let compression = blob.compression().map_err(LayoutError::from)?;
            Ok((layout.blob_path(blob.digest), compression))
        })
        .collect::<Result<Vec<_>, LayoutError>>()?;
    write(&system, &sources, part, folder)?;
    Ok(system)
}

/// The bundle digest of the encrypted part, if the image has one.
pub fn sealed_digest(layout: &Layout, image: &Image) -> Result<Option<Digest>, UnpackError> {
    let mut digest = None;
    for blob in &image.manifest.layers {
        let compression = blob.compression().map_err(LayoutError::from)?;
        visit(
            layout.open_blob(blob)?,
            compression,
            &Limits::default(),
            &mut |change, content| {
                if change.path == SEALED && matches!(change.kind, ChangeKind::File { .. }) {
                    digest = Some(mse_workload::bundle::digest_of(content));
                }
                Ok(())
            },
        )?;
    }
    Ok(digest.transpose()?)
}

/// Lays a layer over `system`, within the bounds of an image.
pub(crate) fn add(
    system: &mut FileSystem,
    number: usize,
    layer: &LayerIndex,
) -> Result<(), UnpackError> {
    system.apply(number, layer)?;
    match system.size() {
        size if size > MAX_SIZE => Err(UnpackError::TooLarge(size)),
        _ => Ok(()),
    }
}

/// Writes `system`, whose layers are in the files `sources`, into `folder`.
pub(crate) fn write(
    system: &FileSystem,
    sources: &[(PathBuf, Compression)],
    part: Part,
    folder: &Path,
) -> Result<(), UnpackError> {
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError::Write(path, source)
    };
    fs::create_dir_all(folder).map_err(written(folder))?;
    if fs::read_dir(folder)
        .map_err(written(folder))?
        .next()
        .is_some()
    {
        return Err(UnpackError::NotEmpty(folder.to_owned()));
    }
    let result = write_into(system, sources, part, folder);
    if result.is_err() {
        let _ = fs::remove_dir_all(folder);
    }
    result
}

fn write_into(
    system: &FileSystem,
    sources: &[(PathBuf, Compression)],
    part: Part,
    folder: &Path,
) -> Result<(), UnpackError> {
    let wanted = |path: &str| {
        part == Part::Whole
            || !path
                .strip_prefix(OWN)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let on_disk = |path: &str| folder.join(path.trim_start_matches('/'));
    let failed = |path: &str| {
        let path = on_disk(path);
        move |source| UnpackError::Write(path, source)
    };
    let mut files: Vec<HashMap<u64, Vec<(&str, u32)>>> = vec![HashMap::new(); sources.len()];
    let mut folders = Vec::new();
    for (path, node) in system.iter().filter(|(path, _)| wanted(path)) {
        match node {
            Node::Folder { mode } => {
                fs::create_dir(on_disk(path)).map_err(failed(path))?;
                folders.push((path, *mode));
            }
            Node::Link { target } => symlink(target, on_disk(path)).map_err(failed(path))?,
            Node::File(file) => {
                let (layer, entry) = file.source.ok_or(UnpackError::NoSource)?;
                let places = files.get_mut(layer).ok_or(UnpackError::NoSource)?;
                places.entry(entry).or_default().push((path, file.mode));
            }
        }
    }
    for ((source, compression), places) in sources.iter().zip(&files) {
        if !places.is_empty() {
            write_files(source, *compression, places, folder)?;
        }
    }
    // Only now: nothing can be put into a folder that its owner may not write.
    for (path, mode) in folders.into_iter().rev() {
        fs::set_permissions(on_disk(path), Permissions::from_mode(mode)).map_err(failed(path))?;
    }
    Ok(())
}

fn write_files(
    source: &Path,
    compression: Compression,
    places: &HashMap<u64, Vec<(&str, u32)>>,
    folder: &Path,
) -> Result<(), UnpackError> {
    let layer = File::open(source).map_err(|error| UnpackError::Write(source.to_owned(), error))?;
    visit(
        layer,
        compression,
        &Limits::default(),
        &mut |change, content| {
            let ChangeKind::File { entry, .. } = change.kind else {
                return Ok(());
            };
            let Some((first, others)) = places.get(&entry).and_then(|all| all.split_first()) else {
                return Ok(());
            };
            let failed = |error| InvalidLayer::Write(change.path.clone(), error);
            let first_path = write_file(folder, *first, content).map_err(failed)?;
            for other in others {
                let mut copy = File::open(&first_path).map_err(failed)?;
                write_file(folder, *other, &mut copy).map_err(failed)?;
            }
            Ok(())
        },
    )?;
    Ok(())
}

fn write_file(
    folder: &Path,
    (path, mode): (&str, u32),
    content: &mut dyn Read,
) -> io::Result<PathBuf> {
    let path = folder.join(path.trim_start_matches('/'));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(path)
}

fn expect(found: BlobDigest, expected: BlobDigest) -> Result<(), UnpackError> {
    if found == expected {
        Ok(())
    } else {
        Err(UnpackError::DiffId { expected, found })
    }
}

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The layout is at fault.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer is at fault.
    #[error(transparent)]
    Layer(#[from] InvalidLayer),
    /// Layers do not fit each other.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A layer is another than the configuration says.
    #[error("a layer unpacks to {found}: the image's configuration says {expected}")]
    DiffId {
        /// In the configuration.
        expected: BlobDigest,
        /// As it is.
        found: BlobDigest,
    },
    /// The encrypted part is no bundle.
    #[error("the encrypted part cannot be read: {0}")]
    Sealed(#[from] UnsealError),
    /// Larger than images may be.
    #[error("the image's files have {0} bytes together: at most {MAX_SIZE} are unpacked")]
    TooLarge(u64),
    /// The target is in use.
    #[error("`{at}` is not empty: name a folder that is, or that is not there", at = .0.display())]
    NotEmpty(PathBuf),
    /// Something cannot be written.
    #[error("`{at}` cannot be written: {1}", at = .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A file system that no layers are behind.
    #[error("the file system does not say which layer has its files")]
    NoSource,
}
