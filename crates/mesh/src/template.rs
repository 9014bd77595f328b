//! What an image says about its service to whoever makes policies of it: `/mse/service.json`.

use mse_yaml::{Code, Diagnostic, Faults, Field, Node, Severity};
use serde_json::Value;

use crate::model::{
    Environment, Health, ImageReference, InjectionFile, Port, Secrets, ServiceManifest,
    ServiceName, Volume,
};
use crate::read::{self, Reader};
use crate::text::MeshText;
use crate::write;

/// The version of the template's format that this code reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// A template in JSON is never larger: 4 MiB.
pub const MAX_TEMPLATE_JSON: usize = 4 * 1024 * 1024;

/// The part of a service manifest that the mesh builder needs. It is in the image, where everybody
/// who has the image reads it: nothing in it is secret.
///
/// Its fields are those of the manifest, without `build`; written as RFC 8785 JSON in the manifest's
/// canonical spelling, and read in this form only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTemplate {
    /// The name of the service, and of its image.
    pub name: ServiceName,
    /// The command line.
    pub command: MeshText,
    /// The working directory; None: the image's.
    pub pwd: Option<String>,
    /// The environment.
    pub environment: Environment,
    /// The secrets that it gives to and takes from its mesh.
    pub secrets: Secrets,
    /// Files that exist inside the enclave only.
    pub injection_files: Vec<InjectionFile>,
    /// Encrypted volumes.
    pub volumes: Vec<Volume>,
    /// The ports that it serves.
    pub listen: Vec<Port>,
    /// How it shows that it is well.
    pub health: Option<Health>,
    /// The version before, which must keep running until the update is done.
    pub stable: Option<ImageReference>,
}

impl ServiceTemplate {
    /// The canonical form: RFC 8785 JSON.
    pub fn canonical(&self) -> Result<Vec<u8>, InvalidTemplate> {
        let json = serde_json_canonicalizer::to_vec(&write::template(self))?;
        if json.len() > MAX_TEMPLATE_JSON {
            return Err(InvalidTemplate::TooLarge(json.len()));
        }
        Ok(json)
    }

    /// Reads the canonical form, and nothing else: no unknown field, no older spelling, nothing
    /// that a later reader could see differently.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidTemplate> {
        if json.len() > MAX_TEMPLATE_JSON {
            return Err(InvalidTemplate::TooLarge(json.len()));
        }
        let value: Value = serde_json::from_slice(json)?;
        if value["format"] != FORMAT {
            return Err(InvalidTemplate::Format(mse_yaml::shown(
                &value["format"].to_string(),
            )));
        }
        let node = Node::from_json(&value);
        let mut r = Reader::default();
        let template = read::template(&mut r, &Field::root(&node));
        let Some(template) = template.filter(|_| !r.report.has_errors()) else {
            r.report.ensure_error();
            return Err(InvalidTemplate::Faults(Faults(r.report.finish())));
        };
        if template.canonical()? != json {
            return Err(InvalidTemplate::Faults(Faults(vec![Diagnostic {
                code: Code::Legacy,
                severity: Severity::Error,
                line: None,
                column: None,
                path: String::new(),
                message: "it is not in its canonical form".into(),
                help: Some("build the image again".into()),
            }])));
        }
        Ok(template)
    }
}

impl ServiceManifest {
    /// What of the manifest goes into the image.
    pub fn template(&self) -> ServiceTemplate {
        ServiceTemplate {
            name: self.build.name.clone(),
            command: self.build.command.clone(),
            pwd: self.build.pwd.clone(),
            environment: self.environment.clone(),
            secrets: self.secrets.clone(),
            injection_files: self.injection_files.clone(),
            volumes: self.build.volumes.clone(),
            listen: self.listen.clone(),
            health: self.build.health.clone(),
            stable: self.build.stable.clone(),
        }
    }
}

/// A template that cannot be read, or written.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTemplate {
    /// Larger than [`MAX_TEMPLATE_JSON`].
    #[error("the template of the service is {0} bytes long: at most {MAX_TEMPLATE_JSON} are read")]
    TooLarge(usize),
    /// Not JSON.
    #[error("the template of the service is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A format of another time.
    #[error("the template of the service has format {0}: this program reads format {FORMAT}")]
    Format(String),
    /// Something in it cannot be.
    #[error("the template of the service is malformed: {0}")]
    Faults(Faults),
}
