use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::application::PythonApplication;
use crate::environment::EnvironmentName;
use crate::expiration::ExpirationDate;
use crate::image::ImageReference;

/// What an `mse.toml` says, as written: nothing it names has been opened.
///
/// The fields are public so that `mse init` can build one. What such a manifest writes with
/// [`Manifest::to_toml`] is not yet known to keep the rules on lengths; [`Manifest::parse`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the owner calls the app.
    pub name: String,
    /// What the enclave serves.
    pub python_application: PythonApplication,
    /// Path on the app that answers once it is ready. Starts with `/`.
    pub healthcheck_endpoint: String,
    /// Command that tests a running app. May be empty.
    pub tests_cmd: String,
    /// Python packages that the tests need, as `pip` understands them.
    pub tests_requirements: Vec<String>,
    /// Where and how it is deployed. An app that is only tested locally needs none.
    pub cloud: Option<Cloud>,
}

/// The section `[cloud]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Directory of the app's code.
    pub code: WrittenPath,
    /// Directory of the app's tests.
    pub tests: WrittenPath,
    /// The image it runs in.
    pub docker: ImageReference,
    /// The project it belongs to.
    pub project: String,
    /// The machine size it runs on.
    pub hardware: String,
    /// JSON object that only the enclave may read.
    pub secrets: Option<WrittenPath>,
    /// When the app shall end.
    pub expiration_date: Option<ExpirationDate>,
    /// The owner's own TLS certificate.
    pub ssl: Option<Ssl>,
    /// Environment of the app: measured, so that it cannot be changed, but readable by the operator.
    pub environment: BTreeMap<EnvironmentName, String>,
}

/// The section `[cloud.ssl]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// Name under which users reach the app.
    pub domain_name: String,
    /// PEM file with the certificate's private key.
    pub private_key: WrittenPath,
    /// PEM file with the certificate, and the chain behind it.
    pub certificate: WrittenPath,
}

impl Manifest {
    /// The manifest as text: keys in their canonical order, one per line, a blank line before each
    /// section. What is already in that form comes back byte by byte.
    pub fn to_toml(&self) -> String {
        let mut text = Writer::default();
        text.string("name", &self.name);
        text.string("python_application", &self.python_application.to_string());
        text.string("healthcheck_endpoint", &self.healthcheck_endpoint);
        text.string("tests_cmd", &self.tests_cmd);
        text.strings("tests_requirements", &self.tests_requirements);
        if let Some(cloud) = &self.cloud {
            cloud.write(&mut text);
        }
        text.0.concat()
    }
}

impl Cloud {
    fn write(&self, text: &mut Writer) {
        text.section("cloud");
        text.string("code", self.code.as_str());
        text.string("tests", self.tests.as_str());
        text.string("docker", &self.docker.to_string());
        text.string("project", &self.project);
        text.string("hardware", &self.hardware);
        if let Some(secrets) = &self.secrets {
            text.string("secrets", secrets.as_str());
        }
        if let Some(date) = &self.expiration_date {
            text.line("expiration_date", date);
        }
        if let Some(ssl) = &self.ssl {
            text.section("cloud.ssl");
            text.string("domain_name", &ssl.domain_name);
            text.string("private_key", ssl.private_key.as_str());
            text.string("certificate", ssl.certificate.as_str());
        }
        if !self.environment.is_empty() {
            text.section("cloud.environment");
            for (name, value) in &self.environment {
                text.string(name.as_str(), value);
            }
        }
    }
}

/// A path as the manifest has it: absolute, or relative to the manifest's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPath(String);

impl WrittenPath {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path that a program can open, given the directory that holds the manifest.
    pub fn resolve(&self, directory: &Path) -> PathBuf {
        directory.join(&self.0)
    }
}

impl From<String> for WrittenPath {
    fn from(path: String) -> Self {
        Self(path)
    }
}

impl From<&str> for WrittenPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

#[derive(Default)]
struct Writer(Vec<String>);

impl Writer {
    fn section(&mut self, name: &str) {
        self.0.push(format!("\n[{name}]\n"));
    }

    fn string(&mut self, key: &str, value: &str) {
        self.line(key, Value::from(value));
    }

    fn strings(&mut self, key: &str, values: &[String]) {
        self.line(key, Value::from(values.to_vec()));
    }

    fn line(&mut self, key: &str, value: impl fmt::Display) {
        self.0.push(format!("{key} = {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;
    use crate::load::CloudSection;

    fn rewritten(text: &str) -> String {
        let loaded = Manifest::parse(Path::new("mse.toml"), text, CloudSection::Optional)
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        loaded.manifest.to_toml()
    }

    #[test]
    fn canonical_text_comes_back_byte_by_byte() {
        for text in [fixtures::FULL, fixtures::MINIMAL, fixtures::WITHOUT_CLOUD] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn other_order_and_layout_become_canonical() {
        let text = r#"
            # A comment.
            tests_cmd = 'pytest'
            tests_requirements = [
                "pytest",
            ]
            healthcheck_endpoint = "/health"
            python_application = "app:app"
            name = " helloworld "
        "#;

        assert_eq!(rewritten(text), fixtures::WITHOUT_CLOUD);
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(
            tests_cmd in "[^\\p{Cc}]{0,40}",
            requirements in prop::collection::vec("[^\\p{Cc}\\s]{1,10}", 0..4),
            value in "[^\\x00]{0,40}",
        ) {
            let mut manifest = fixtures::manifest();
            manifest.tests_cmd = tests_cmd;
            manifest.tests_requirements = requirements;
            let cloud = manifest.cloud.as_mut().unwrap();
            cloud.environment.insert("TEXT".parse().unwrap(), value);

            let text = manifest.to_toml();
            let loaded = Manifest::parse(Path::new("mse.toml"), &text, CloudSection::Required);

            prop_assert_eq!(loaded.map(|loaded| loaded.manifest), Ok(manifest));
        }
    }
}
