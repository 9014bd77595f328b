//! What keys there are in each section, and what each must be.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls_pki_types::DnsName;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::environment::{EnvironmentName, InvalidEnvironmentName};
use crate::expiration::{ExpirationDate, InvalidExpirationDate};
use crate::load::CloudSection;
use crate::manifest::{Cloud, Manifest, Ssl};
use crate::reader::{Expected, Field, Reader, Section};
use crate::source::{Show, printable};

const ROOT_KEYS: &[&str] = &[
    "name",
    "python_application",
    "healthcheck_endpoint",
    "tests_cmd",
    "tests_requirements",
    "cloud",
];
const CLOUD_KEYS: &[&str] = &[
    "code",
    "tests",
    "docker",
    "project",
    "hardware",
    "secrets",
    "expiration_date",
    "dev_mode",
    "ssl",
    "environment",
];
const SSL_KEYS: &[&str] = &["domain_name", "private_key", "certificate"];
const ALL_KEYS: &[(&str, &[&str])] = &[
    ("", ROOT_KEYS),
    ("cloud", CLOUD_KEYS),
    ("cloud.ssl", SSL_KEYS),
];

/// Each returns `None` only after it reported why. Every key is read before the first `?`, so that
/// one fault does not hide the next.
impl Reader<'_> {
    pub(crate) fn manifest(
        &mut self,
        document: &DeTable<'_>,
        cloud: CloudSection,
    ) -> Option<Manifest> {
        let root = &Section {
            path: "",
            known: ROOT_KEYS,
            entries: document,
            span: None,
        };
        self.refuse_unknown(root, ALL_KEYS);

        let name = self
            .require(root, "name", "add `name = \"…\"`: what you call the app")
            .and_then(|field| self.words(&field, 1..=255, "call the app something"));
        let python_application = self
            .require(
                root,
                "python_application",
                "add for instance `python_application = \"app:app\"`",
            )
            .and_then(|field| {
                self.parsed(
                    &field,
                    "for `app = Flask(__name__)` in `app.py` write `app:app`",
                )
            });
        let healthcheck_endpoint = self
            .require(
                root,
                "healthcheck_endpoint",
                "add for instance `healthcheck_endpoint = \"/health\"`",
            )
            .and_then(|field| self.endpoint(&field));
        let tests_cmd = self
            .require(
                root,
                "tests_cmd",
                "add for instance `tests_cmd = \"pytest\"`; it may be empty",
            )
            .and_then(|field| self.line(&field));
        let tests_requirements = self
            .require(
                root,
                "tests_requirements",
                "add for instance `tests_requirements = [\"pytest\"]`",
            )
            .and_then(|field| self.list(&field));
        let cloud = match cloud {
            CloudSection::Required => self.require(
                root,
                "cloud",
                "add the section `[cloud]`, which says where the app is deployed",
            ),
            CloudSection::Optional => self.find(root, "cloud"),
        };
        let cloud = cloud.map(|field| {
            self.table("cloud", CLOUD_KEYS, &field)
                .and_then(|it| self.cloud(&it))
        });

        Some(Manifest {
            name: name?,
            python_application: python_application?,
            healthcheck_endpoint: healthcheck_endpoint?,
            tests_cmd: tests_cmd?,
            tests_requirements: tests_requirements?,
            cloud: flatten(cloud)?,
        })
    }

    fn cloud(&mut self, section: &Section<'_>) -> Option<Cloud> {
        self.refuse_unknown(section, ALL_KEYS);

        let code = self
            .require(section, "code", "add for instance `code = \"mse_src\"`")
            .and_then(|field| self.path(&field, "name the directory of the app's code"));
        let tests = self
            .require(section, "tests", "add for instance `tests = \"tests\"`")
            .and_then(|field| self.path(&field, "name the directory of the app's tests"));
        let docker = self
            .require(
                section,
                "docker",
                "add for instance `docker = \"mse-flask:20261123000000\"`",
            )
            .and_then(|field| {
                self.parsed(
                    &field,
                    "name a fixed version, for instance `mse-flask:20261123000000`",
                )
            });
        let project = self
            .require(
                section,
                "project",
                "add for instance `project = \"default\"`",
            )
            .and_then(|field| {
                self.words(&field, 1..=255, "name a project, for instance `default`")
            });
        let hardware = self
            .require(
                section,
                "hardware",
                "add for instance `hardware = \"4g-eu-001\"`",
            )
            .and_then(|field| {
                self.words(
                    &field,
                    1..=16,
                    "name a machine size, for instance `4g-eu-001`",
                )
            });
        let secrets = self
            .find(section, "secrets")
            .map(|field| self.file(field, "name a JSON file, for instance `secrets.json`"));
        let expiration_date = self
            .find(section, "expiration_date")
            .map(|field| self.expiration(&field));
        let ssl = self.find(section, "ssl").map(|field| {
            self.table("cloud.ssl", SSL_KEYS, &field)
                .and_then(|it| self.ssl(&it))
        });
        let environment = match self.find(section, "environment") {
            Some(field) => self.environment(&field),
            None => Some(BTreeMap::new()),
        };
        if let Some(field) = self.find(section, "dev_mode") {
            let warning = self
                .source
                .warning(&field.key, "is ignored")
                .help("remove it: `--untrusted-ssl` on the command line decides it");
            self.report
                .push(self.source.place(warning, &field.span, field.show));
        }

        Some(Cloud {
            code: code?,
            tests: tests?,
            docker: docker?,
            project: project?,
            hardware: hardware?,
            secrets: flatten(secrets)?,
            expiration_date: flatten(expiration_date)?,
            ssl: flatten(ssl)?,
            environment: environment?,
        })
    }

    fn ssl(&mut self, section: &Section<'_>) -> Option<Ssl> {
        self.refuse_unknown(section, ALL_KEYS);

        let domain_name = self
            .require(
                section,
                "domain_name",
                "add the name under which users reach the app",
            )
            .and_then(|field| self.domain_name(&field));
        let private_key = self
            .require(
                section,
                "private_key",
                "add the path of the certificate's private key (PEM)",
            )
            .and_then(|field| self.file(field, "name the PEM file of the private key"));
        let certificate = self
            .require(
                section,
                "certificate",
                "add the path of the certificate chain (PEM)",
            )
            .and_then(|field| self.file(field, "name the PEM file of the certificate chain"));

        Some(Ssl {
            domain_name: domain_name?,
            private_key: private_key?,
            certificate: certificate?,
        })
    }

    fn endpoint(&mut self, field: &Field<'_>) -> Option<String> {
        let endpoint = self.words(field, 1..=255, "name a path, for instance `/health`")?;
        if !endpoint.starts_with('/') {
            return self.refuse(
                field,
                "must start with `/`",
                &format!("write `/{endpoint}`"),
            );
        }
        // It is put behind the host in a request line.
        if endpoint.contains(char::is_whitespace) {
            return self.refuse(field, "must not hold spaces", "write a space as `%20`");
        }
        Some(endpoint)
    }

    fn domain_name(&mut self, field: &Field<'_>) -> Option<String> {
        let help = "write a name such as `app.example.com`";
        let domain_name = self.words(field, 1..=255, help)?;
        if DnsName::try_from(domain_name.as_str()).is_err() {
            return self.refuse(
                field,
                "must be a DNS name, without scheme, port or `*`",
                help,
            );
        }
        Some(domain_name)
    }

    fn expiration(&mut self, field: &Field<'_>) -> Option<ExpirationDate> {
        let date = match field.value {
            DeValue::String(text) => text.parse(),
            DeValue::Datetime(date) => date.to_string().parse(),
            DeValue::Integer(seconds) => u64::from_str_radix(seconds.as_str(), seconds.radix())
                .map_err(|_| InvalidExpirationDate::Epoch)
                .and_then(|seconds| ExpirationDate::from_epoch(Duration::from_secs(seconds))),
            DeValue::Float(seconds) => seconds
                .as_str()
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or(InvalidExpirationDate::Epoch)
                .and_then(ExpirationDate::from_epoch),
            DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return self.wrong_type(field, Expected::DateTime);
            }
        };
        match date {
            Ok(date) => Some(date),
            Err(error) => self.refuse(
                field,
                &error.to_string(),
                "write for instance `2027-01-31T18:00:00Z`",
            ),
        }
    }

    fn environment(&mut self, field: &Field<'_>) -> Option<BTreeMap<EnvironmentName, String>> {
        const MOST: usize = 256;
        let section = self.table("cloud.environment", &[], field)?;
        let count = section.entries.len();
        if count > MOST {
            let problem = format!("must have at most {MOST} names, but has {count}");
            return self.refuse(field, &problem, ELSEWHERE);
        }
        let variables: Vec<_> = section
            .entries
            .iter()
            .map(|(name, value)| self.variable(name, value))
            .collect();
        variables.into_iter().collect()
    }

    fn variable(
        &mut self,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<(EnvironmentName, String)> {
        // Linux allows 128 KiB for one variable.
        const MOST_BYTES: usize = 64 << 10;
        let field = Field {
            key: format!("cloud.environment.{}", printable(name.get_ref(), 64)),
            value: value.get_ref(),
            span: name.span(),
            show: Show::Key,
        };
        let name = match name.get_ref().parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let help = match error {
                    InvalidEnvironmentName::Form => "write for instance `LOG_LEVEL`",
                    InvalidEnvironmentName::Reserved => "choose another name",
                };
                self.refuse(&field, &error.to_string(), help)
            }
        };
        let text = match field.value {
            DeValue::String(text) if text.len() > MOST_BYTES => {
                self.refuse(&field, "must be at most 64 KiB", ELSEWHERE)
            }
            DeValue::String(text) if text.contains('\0') => {
                self.refuse(&field, "must not hold a NUL character", "remove it")
            }
            DeValue::String(text) => Some(text.as_ref().to_owned()),
            _ => self.wrong_type(&field, Expected::String),
        };
        Some((name?, text?))
    }
}

const ELSEWHERE: &str = "put it into a file beside the code";

/// From "absent, or present and perhaps at fault" to "at fault, or perhaps absent".
#[expect(
    clippy::option_option,
    reason = "the two layers mean different things, see above"
)]
fn flatten<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

#[cfg(test)]
mod tests;
