//! Documents in their canonical form: `mse/v1`, in one spelling.

mod manifest;
mod meshfile;
mod yaml;

use serde_json::{Map, Value};

pub(crate) use self::manifest::template;
use crate::check::Document;
use crate::model::{Meshfile, ServiceManifest};
use crate::text::MeshText;

impl Document {
    /// The document in its canonical form: [`ServiceManifest::to_yaml`], [`Meshfile::to_yaml`].
    pub fn to_yaml(&self) -> String {
        match self {
            Self::Service(manifest) => manifest.to_yaml(),
            Self::Mesh(mesh) => mesh.to_yaml(),
        }
    }
}

impl ServiceManifest {
    /// The manifest as YAML of `mse/v1`, which is read as this manifest (but for its
    /// `api_version`), whatever variables the reader has. Comments are not in it.
    pub fn to_yaml(&self) -> String {
        yaml::document(&self.to_json())
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        manifest::manifest(self)
    }
}

impl Meshfile {
    /// The Meshfile as YAML of `mse/v1`, which is read as this Meshfile (but for its
    /// `api_version`), whatever variables the reader has. Comments are not in it.
    pub fn to_yaml(&self) -> String {
        yaml::document(&self.to_json())
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        meshfile::meshfile(self)
    }
}

/// A map that is being written; what is absent or empty is left out.
#[derive(Default)]
struct Writing(Map<String, Value>);

impl Writing {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A text, if there is one.
    fn put_shown(&mut self, key: &str, value: Option<&impl ToString>) {
        self.put_some(key, value.map(ToString::to_string));
    }

    fn put_list(&mut self, key: &str, items: impl IntoIterator<Item = impl Into<Value>>) {
        let items: Vec<Value> = items.into_iter().map(Into::into).collect();
        if !items.is_empty() {
            self.put(key, items);
        }
    }

    fn put_map(&mut self, key: &str, map: Self) {
        if !map.0.is_empty() {
            self.put(key, map);
        }
    }

    /// What is true is written.
    fn put_flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.put(key, true);
        }
    }
}

impl From<Writing> for Value {
    fn from(writing: Writing) -> Self {
        Self::Object(writing.0)
    }
}

fn text(text: &MeshText) -> Value {
    Value::from(text.to_text().as_str())
}
