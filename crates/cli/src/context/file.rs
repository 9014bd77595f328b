//! The file form: TOML, versions `1.0` and `2.0` of the tools before this one, with a table
//! `[mse]` of ours. Read strictly; written in one fixed layout.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mse_crypto::secretbox::Nonce;
use mse_crypto::{CodeKey, Zeroizing};
use mse_manifest::ExpirationDate;
use mse_workload::{AppId, Measured, Workload};
use serde::Deserialize;

use super::{Config, Context, Deployed, FormatVersion, Instance, Record, State, Tests};

/// The version of `[mse]`.
const FORMAT: u32 = 1;

/// Whether the code key is written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyInFile {
    /// It is: for the owner alone.
    Included,
    /// It is not: for whoever shall verify.
    LeftOut,
}

impl Context {
    /// Reads a context file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, ContextError> {
        let file: File = toml::from_str(text).map_err(|error| {
            // The whole message would show the line, which may hold the key.
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            ContextError::Toml {
                line,
                why: error.message().to_owned(),
            }
        })?;
        let version = match file.version.as_str() {
            "1.0" => FormatVersion::V1,
            "2.0" => FormatVersion::V2,
            other => return Err(ContextError::Version(other.chars().take(20).collect())),
        };
        let context = Self {
            version,
            config: file.config.read(version)?,
            instance: file.instance.map(InstanceTable::read).transpose()?,
            record: file.mse.map(MseTable::read).transpose()?,
        };
        context.check()?;
        Ok(context)
    }

    /// The file's text.
    pub(crate) fn to_toml(&self, key: KeyInFile) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        // Room for all of it: a text that grows leaves copies of its start behind.
        text.reserve(
            8_192
                + self
                    .config
                    .certificate
                    .as_ref()
                    .map_or(0, |pem| 2 * pem.len())
                + self.instance.as_ref().map_or(0, |instance| {
                    instance.nonces.keys().map(|path| 2 * path.len() + 64).sum()
                }),
        );
        self.write(&mut text, key);
        text
    }

    fn write(&self, text: &mut String, key: KeyInFile) {
        let version = match self.version {
            FormatVersion::V1 => "1.0",
            FormatVersion::V2 => "2.0",
        };
        line(text, "version", &quoted(version));
        text.push_str("\n[config]\n");
        let config = &self.config;
        line(text, "name", &quoted(&config.name));
        line(text, "project", &quoted(&config.project));
        line(text, "docker", &quoted(&config.docker));
        line(
            text,
            "python_application",
            &quoted(&config.python_application),
        );
        if let Some(tests) = &config.tests {
            // An export is for others: where the owner keeps the tests is none of their business.
            let folder = match key {
                KeyInFile::Included => tests.folder.to_string_lossy(),
                KeyInFile::LeftOut => "tests".into(),
            };
            line(text, "tests", &quoted(&folder));
            line(text, "tests_cmd", &quoted(&tests.command));
            let requirements: Vec<String> =
                tests.requirements.iter().map(|one| quoted(one)).collect();
            line(
                text,
                "tests_requirements",
                &format!("[{}]", requirements.join(", ")),
            );
        }
        if let (KeyInFile::Included, Some(key)) = (key, &config.code_key) {
            text.push_str("code_secret_key = \"");
            text.push_str(&key.to_hex());
            text.push_str("\"\n");
        }
        if let Some(pem) = &config.certificate {
            line(text, "ssl_app_certificate", &quoted(pem));
        }
        if let Some(instance) = &self.instance {
            text.push_str("\n[instance]\n");
            line(text, "id", &quoted(&instance.id.to_string()));
            line(
                text,
                "config_domain_name",
                &quoted(&instance.config_domain_name),
            );
            line(text, "enclave_size", &instance.enclave_size.to_string());
            line(text, "expires_at", &instance.expires_at.to_string());
            line(
                text,
                "ssl_certificate_origin",
                &quoted(&instance.origin.to_string()),
            );
            text.push_str("\n[instance.nonces]\n");
            for (path, nonce) in &instance.nonces {
                line(text, &quoted(path), &quoted(&nonce.to_string()));
            }
        }
        if let Some(record) = &self.record {
            record.write(text);
        }
    }

    /// The parts of a file must tell the same story: people read `[config]` and `[instance]`,
    /// programs compare the workload.
    fn check(&self) -> Result<(), ContextError> {
        if self.config.code_key.is_none() && self.record.is_none() {
            return Err(ContextError::missing("config.code_secret_key"));
        }
        let Some(Record {
            state, deployed, ..
        }) = &self.record
        else {
            return match &self.instance {
                Some(_) => Ok(()),
                None => Err(ContextError::missing("instance")),
            };
        };
        match (state, &self.instance, deployed) {
            (_, Some(instance), Some(deployed)) => self.check_story(instance, &deployed.workload),
            (State::Pending, None, None) => Ok(()),
            (_, None, _) => Err(ContextError::missing("instance")),
            (_, _, None) => Err(ContextError::missing("mse.workload")),
        }
    }

    fn check_story(&self, instance: &Instance, workload: &Workload) -> Result<(), ContextError> {
        let expires_at = workload
            .expires_at
            .and_then(|seconds| i64::try_from(seconds).ok());
        let certificate = self
            .config
            .certificate
            .as_ref()
            .map(|pem| mse_crypto::Digest::of(pem.as_bytes()));
        for (key, agrees) in [
            ("instance.id", instance.id == workload.app_id),
            ("config.docker", self.config.docker == workload.image.name),
            (
                "config.python_application",
                self.config.python_application == workload.application,
            ),
            (
                "instance.expires_at",
                Some(instance.expires_at.as_second()) == expires_at,
            ),
            (
                "instance.enclave_size",
                instance.enclave_size == workload.resources.memory_mib,
            ),
            (
                "instance.ssl_certificate_origin",
                instance.origin == workload.tls.origin,
            ),
            (
                "config.ssl_app_certificate",
                certificate == workload.tls.certificate,
            ),
            (
                "instance.config_domain_name",
                workload.tls.names.contains(&instance.config_domain_name),
            ),
        ] {
            if !agrees {
                return Err(ContextError::Contradiction(key));
            }
        }
        Ok(())
    }
}

impl Record {
    fn write(&self, text: &mut String) {
        text.push_str("\n[mse]\n");
        line(text, "format", &FORMAT.to_string());
        line(text, "state", &quoted(self.state.as_str()));
        line(text, "source_salt", &quoted(&self.source_salt.to_hex()));
        line(text, "server", &quoted(&self.server.to_string()));
        let Some(deployed) = &self.deployed else {
            return;
        };
        line(text, "verified", &deployed.verified.to_string());
        line(text, "tee", &quoted(&deployed.tee));
        line(text, "gateway", &quoted(&deployed.gateway));
        line(
            text,
            "measurement",
            &quoted(&deployed.measurement.to_string()),
        );
        if let Some(enclave) = &deployed.enclave {
            line(text, "enclave", &quoted(&enclave.to_string()));
        }
        let workload = String::from_utf8_lossy(&deployed.workload.canonical()).into_owned();
        line(text, "workload", &quoted(&workload));
    }
}

/// Why a file is no context.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ContextError {
    /// Not TOML, or not of this shape.
    #[error("line {line}: {why}")]
    Toml {
        /// Line, from 1.
        line: usize,
        /// Without the line's text.
        why: String,
    },
    /// A version of another time.
    #[error("version `{0}` is not known: `1.0` and `2.0` are read")]
    Version(String),
    /// `[mse]` of another time.
    #[error("`mse.format` is {0}: this program reads format {FORMAT}")]
    Format(u32),
    /// A key that must be there.
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    /// A value that cannot be. It is not shown: it may be a key.
    #[error("`{key}` {why}")]
    Value {
        /// Where.
        key: &'static str,
        /// What it should be.
        why: String,
    },
    /// Two places that say different things.
    #[error("`{0}` contradicts the workload in `mse.workload`")]
    Contradiction(&'static str),
}

impl ContextError {
    fn missing(key: &'static str) -> Self {
        Self::Missing(key)
    }

    fn value(key: &'static str, why: &(impl ToString + ?Sized)) -> Self {
        Self::Value {
            key,
            why: why.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    config: ConfigTable,
    instance: Option<InstanceTable>,
    mse: Option<MseTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigTable {
    name: String,
    project: String,
    docker: String,
    python_application: String,
    tests: Option<PathBuf>,
    tests_cmd: Option<String>,
    tests_requirements: Option<Vec<String>>,
    code_secret_key: Option<Zeroizing<String>>,
    ssl_app_certificate: Option<String>,
}

impl ConfigTable {
    fn read(self, version: FormatVersion) -> Result<Config, ContextError> {
        let tests = match (self.tests, self.tests_cmd, self.tests_requirements) {
            (Some(folder), Some(command), Some(requirements)) => Some(Tests {
                folder,
                command,
                requirements,
            }),
            (None, None, None) if version == FormatVersion::V1 => None,
            (None, _, _) => return Err(ContextError::missing("config.tests")),
            (_, None, _) => return Err(ContextError::missing("config.tests_cmd")),
            _ => return Err(ContextError::missing("config.tests_requirements")),
        };
        let code_key = self
            .code_secret_key
            .map(|hex| CodeKey::from_hex(&hex))
            .transpose()
            .map_err(|_| {
                ContextError::value("config.code_secret_key", "is not 64 hexadecimal digits")
            })?;
        Ok(Config {
            name: self.name,
            project: self.project,
            docker: self.docker,
            python_application: self.python_application,
            tests,
            code_key,
            certificate: self.ssl_app_certificate,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceTable {
    id: String,
    config_domain_name: String,
    enclave_size: u32,
    expires_at: TextOrDate,
    ssl_certificate_origin: String,
    nonces: BTreeMap<String, Nonce>,
}

/// The tools before this one wrote a date; a text is read as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrDate {
    Date(toml::value::Datetime),
    Text(String),
}

impl InstanceTable {
    fn read(self) -> Result<Instance, ContextError> {
        let id: AppId = self
            .id
            .parse()
            .map_err(|error| ContextError::value("instance.id", &error))?;
        let origin = self.ssl_certificate_origin.parse().map_err(|_| {
            ContextError::value(
                "instance.ssl_certificate_origin",
                "must be `self`, `owner` or `operator`",
            )
        })?;
        Ok(Instance {
            id,
            config_domain_name: self.config_domain_name,
            enclave_size: self.enclave_size,
            expires_at: self.expires_at.read()?,
            origin,
            nonces: self.nonces,
        })
    }
}

impl TextOrDate {
    /// A date without a zone means the local one: the tools that wrote such read it so.
    fn read(self) -> Result<Timestamp, ContextError> {
        let text = match self {
            Self::Date(date) => date.to_string(),
            Self::Text(text) => text,
        };
        text.parse::<ExpirationDate>()
            .and_then(|date| date.instant(&TimeZone::system()))
            .map_err(|error| ContextError::value("instance.expires_at", &error))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MseTable {
    format: u32,
    state: String,
    source_salt: Zeroizing<String>,
    server: String,
    verified: Option<bool>,
    tee: Option<String>,
    gateway: Option<String>,
    measurement: Option<String>,
    enclave: Option<String>,
    workload: Option<String>,
}

impl MseTable {
    fn read(self) -> Result<Record, ContextError> {
        if self.format != FORMAT {
            return Err(ContextError::Format(self.format));
        }
        let state = match self.state.as_str() {
            "pending" => State::Pending,
            "running" => State::Running,
            _ => {
                return Err(ContextError::value(
                    "mse.state",
                    "must be `pending` or `running`",
                ));
            }
        };
        let deployed = match self.workload {
            None => None,
            Some(workload) => Some(Deployed {
                workload: Workload::from_json(workload.as_bytes())
                    .map_err(|error| ContextError::value("mse.workload", &error))?,
                measurement: self
                    .measurement
                    .ok_or(ContextError::missing("mse.measurement"))?
                    .parse()
                    .map_err(|error| ContextError::value("mse.measurement", &error))?,
                enclave: self
                    .enclave
                    .map(|hex| hex.parse())
                    .transpose()
                    .map_err(|error| ContextError::value("mse.enclave", &error))?,
                gateway: self.gateway.ok_or(ContextError::missing("mse.gateway"))?,
                tee: self.tee.ok_or(ContextError::missing("mse.tee"))?,
                verified: self.verified.ok_or(ContextError::missing("mse.verified"))?,
            }),
        };
        Ok(Record {
            state,
            source_salt: self
                .source_salt
                .parse()
                .map_err(|error| ContextError::value("mse.source_salt", &error))?,
            server: self
                .server
                .parse()
                .map_err(|error| ContextError::value("mse.server", &error))?,
            deployed,
        })
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{key} = {value}");
}

/// A TOML basic string, on one line; also a quoted key.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// For error messages: which file it is.
pub(super) fn describe(path: &Path, error: &ContextError) -> String {
    format!("the context `{}` cannot be read: {error}", path.display())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
