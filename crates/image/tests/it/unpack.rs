//! Layers of unknown origin.

use std::fs;
use std::io::Write;
use std::path::Path;

use mse_image::layer::{Compression, InvalidLayer, Limits, index};
use mse_image::layout::{LayoutError, Named};
use mse_image::manifest::{Blob, Manifest, architecture, media};
use mse_image::tree::{root_digest, scan};
use mse_image::unpack::UnpackError;
use mse_image::{BlobDigest, Image, Layout, Part, file_system, unpack};
use proptest::prelude::*;

/// An entry of a hostile archive.
#[derive(Clone, Debug)]
struct Hostile {
    kind: tar::EntryType,
    path: String,
    target: String,
    mode: u32,
}

fn archive(entries: &[Hostile]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        // As it is: the library would clean it.
        let bytes = entry.path.as_bytes();
        header.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        let content = if entry.kind.is_file() {
            entry.target.as_bytes()
        } else {
            b""
        };
        header.set_size(content.len() as u64);
        if entry.kind.is_symlink() || entry.kind.is_hard_link() {
            header.set_link_name_literal(&entry.target).unwrap();
        }
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layout with an image of these layers.
fn image(folder: &Path, layers: &[Vec<u8>]) -> (Layout, Image) {
    let layout = Layout::create(folder).unwrap();
    let diff_ids: Vec<BlobDigest> = layers.iter().map(|tar| BlobDigest::of(tar)).collect();
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let blobs: Vec<Blob> = layers
        .iter()
        .map(|tar| layout.add(tar, media::LAYER_TAR).unwrap())
        .collect();
    let manifest = Manifest {
        media_type: media::MANIFEST.into(),
        config: layout
            .add(config.to_string().as_bytes(), media::CONFIG)
            .unwrap(),
        layers: blobs,
        artifact_type: None,
        subject: None,
        annotations: std::collections::HashMap::new(),
    };
    let manifest = layout.add_manifest(&manifest).unwrap();
    layout
        .name(&[Named {
            manifest,
            name: None,
        }])
        .unwrap();
    let image = layout.image(None).unwrap();
    (layout, image)
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh.b",
        ".wh..wh..opq",
        "etc",
        "outside",
    ]);
    let path = prop::collection::vec(part.clone(), 1..4).prop_map(|parts| parts.join("/"));
    let target =
        (any::<bool>(), prop::collection::vec(part, 1..4)).prop_map(|(absolute, parts)| {
            let target = parts.join("/");
            if absolute {
                format!("/{target}")
            } else {
                target
            }
        });
    let kind = prop::sample::select(vec![
        tar::EntryType::Regular,
        tar::EntryType::Directory,
        tar::EntryType::Symlink,
        tar::EntryType::Link,
    ]);
    // Whoever runs this must be able to read what was unpacked.
    let mode = prop::sample::select(vec![0o755u32, 0o711, 0o700, 0o4755]);
    (kind, path, target, mode).prop_map(|(kind, path, target, mode)| Hostile {
        kind,
        path,
        target,
        mode,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_layers_say_nothing_leaves_the_folder_and_both_ways_agree(
        layers in prop::collection::vec(prop::collection::vec(hostile(), 0..8), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "untouched").unwrap();
        let layers: Vec<Vec<u8>> = layers.iter().map(|entries| archive(entries)).collect();
        let (layout, image) = image(&dir.path().join("layout"), &layers);
        let root = dir.path().join("root");
        if unpack(&layout, &image, Part::Whole, &root).is_ok() {
            let system = file_system(&layout, &image).unwrap();
            prop_assert_eq!(&scan(&root).unwrap(), &system);
            prop_assert_eq!(
                root_digest(&scan(&root).unwrap(), &[]).unwrap(),
                root_digest(&system, &[]).unwrap()
            );
        } else {
            prop_assert!(!root.exists());
        }
        prop_assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.retain(|name| name != "root");
        left.sort();
        prop_assert_eq!(left, ["layout", "outside"]);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = index(&bytes[..], Compression::None, &Limits::default());
        let _ = index(&bytes[..], Compression::Gzip, &Limits::default());
        let _ = Manifest::from_json(&bytes);
    }
}

fn refused(entries: &[Hostile]) -> InvalidLayer {
    index(&archive(entries)[..], Compression::None, &Limits::default()).unwrap_err()
}

fn entry(kind: tar::EntryType, path: &str) -> Hostile {
    Hostile {
        kind,
        path: path.into(),
        target: String::new(),
        mode: 0o644,
    }
}

#[test]
fn what_belongs_to_no_image_is_refused() {
    use tar::EntryType as Type;
    for (kind, path) in [
        (Type::Fifo, "run/pipe"),
        (Type::Char, "etc/tty"),
        (Type::Block, "disk"),
        (Type::GNUSparse, "sparse"),
    ] {
        assert!(
            matches!(refused(&[entry(kind, path)]), InvalidLayer::NotAFile(..)),
            "{path}"
        );
    }
    for path in ["../a", "a/../../b", "a/.wh."] {
        assert!(
            matches!(
                refused(&[entry(Type::Regular, path)]),
                InvalidLayer::Path(_)
            ),
            "{path}"
        );
    }
    // Engines make their own devices.
    let devices = archive(&[entry(Type::Char, "dev/null"), entry(Type::Regular, "a")]);
    let (layer, _) = index(&devices[..], Compression::None, &Limits::default()).unwrap();
    assert_eq!(layer.0.len(), 1);
}

#[test]
fn bombs_are_given_up() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..512 {
        gzip.write_all(&[0; 8 * 1024]).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    let limits = Limits {
        layer: 1 << 20,
        ..Limits::default()
    };
    assert!(matches!(
        index(&bomb[..], Compression::Gzip, &limits),
        Err(InvalidLayer::Read(_))
    ));
    let many: Vec<Hostile> = (0..20)
        .map(|n| entry(tar::EntryType::Regular, &format!("f{n}")))
        .collect();
    let limits = Limits {
        entries: 10,
        ..Limits::default()
    };
    let many = archive(&many);
    assert!(matches!(
        index(&many[..], Compression::None, &limits),
        Err(InvalidLayer::TooMany(10))
    ));
    let mut long = tar::Header::new_gnu();
    long.set_entry_type(tar::EntryType::GNULongName);
    long.set_size(2 << 20);
    long.set_cksum();
    let mut bytes = long.as_bytes().to_vec();
    bytes.resize(3 << 20, b'a');
    let result = index(&bytes[..], Compression::None, &Limits::default());
    assert!(matches!(result, Err(InvalidLayer::Extension(_))));
}

#[test]
fn long_names_and_targets_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("layer")).unwrap();
    let long = format!("/{}", vec!["part".repeat(20); 4].join("/"));
    let target = "t".repeat(180);
    let mut writer = mse_image::layer::LayerWriter::new(file, mse_image::Epoch(1));
    writer
        .file(&format!("{long}/file"), 0o755, 3, &b"abc"[..])
        .unwrap();
    writer.link(&format!("{long}/link"), &target).unwrap();
    writer.link("/short", "../a//b/").unwrap();
    writer.file("/last", 0o644, 1, &b"x"[..]).unwrap();
    let written = writer.finish().unwrap();
    let layer = fs::File::open(dir.path().join("layer")).unwrap();
    let (read, diff_id) = index(layer, Compression::Gzip, &Limits::default()).unwrap();
    assert_eq!((read, diff_id), (written.index, written.diff_id));
}

#[test]
fn a_layer_that_is_another_than_the_configuration_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = archive(&[entry(tar::EntryType::Regular, "a")]);
    let two = archive(&[entry(tar::EntryType::Regular, "b")]);
    let (layout, mut image) = image(&dir.path().join("layout"), std::slice::from_ref(&one));
    image.config.diff_ids[0] = BlobDigest::of(&two);
    assert!(matches!(
        file_system(&layout, &image),
        Err(UnpackError::DiffId { .. })
    ));
    let blob = image.manifest.layers[0].digest;
    fs::write(layout.blob_path(blob), &two).unwrap();
    let error = file_system(&layout, &image).unwrap_err();
    assert!(
        matches!(error, UnpackError::Layout(LayoutError::Content { .. })),
        "{error}"
    );
}
