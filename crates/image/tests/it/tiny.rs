//! The smallest image.

use std::path::Path;

use mse_image::Layout;
use mse_image::layer::LayerWriter;
use mse_image::layout::Named;
use mse_image::manifest::{Manifest, architecture, media};

/// A layout with one image of one layer, made of these files.
pub(crate) fn tiny_base(folder: &Path, files: &[(&str, &str)]) -> Layout {
    let layout = Layout::create(folder).unwrap();
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    let mut writer = LayerWriter::new(file.reopen().unwrap(), mse_image::Epoch(0));
    for (path, content) in files {
        writer
            .file(path, 0o644, content.len() as u64, content.as_bytes())
            .unwrap();
    }
    let layer = writer.finish().unwrap();
    layout.adopt(layer.blob.digest, file.path()).unwrap();
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    });
    let config = layout
        .add(config.to_string().as_bytes(), media::CONFIG)
        .unwrap();
    let manifest = Manifest {
        media_type: media::MANIFEST.into(),
        config,
        layers: vec![layer.blob],
        artifact_type: None,
        subject: None,
        annotations: std::collections::HashMap::new(),
    };
    let manifest = layout.add_manifest(&manifest).unwrap();
    layout
        .name(&[Named {
            manifest,
            name: Some("base".into()),
        }])
        .unwrap();
    layout
}
