//! What docs/compatibility.md and docs/manifest.md say.

use mse_mesh::{Kind, schema};
use serde_json::Value;

const MANIFEST: &str = include_str!("../../../../docs/manifest.md");

/// The reference names every field.
#[test]
fn the_reference_is_complete() {
    for kind in Kind::ALL {
        let mut missing = Vec::new();
        find(&schema(kind), &mut missing);
        assert!(missing.is_empty(), "{kind}: {missing:?}");
    }
}

fn find(schema: &Value, missing: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                missing.extend(
                    properties
                        .keys()
                        .filter(|key| !MANIFEST.contains(&format!("`{key}`")))
                        .cloned(),
                );
            }
            for value in map.values() {
                find(value, missing);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, missing)),
        _ => {}
    }
}
