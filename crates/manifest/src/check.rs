use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use crate::application::PythonApplication;
use crate::certificate::{Chain, MAX_CHAIN_BYTES, OwnerCertificate};
use crate::diagnostic::{Diagnostic, Diagnostics, Report};
use crate::expiration::ExpirationDate;
use crate::load::Loaded;
use crate::manifest::{Cloud, Ssl, WrittenPath};
use crate::private_key::{MAX_KEY_BYTES, ParsedKey, PrivateKeyPem};
use crate::reader::nearest;
use crate::secrets::{MAX_SECRETS_BYTES, SecretsJson};
use crate::source::{ReadError, Show, read_bounded};

/// What [`Loaded::check`] cannot know from the manifest.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Who shall hold the TLS certificate.
    pub tls: TlsChoice,
    /// The zone of dates that are written without one.
    pub zone: TimeZone,
}

/// Who shall hold the TLS certificate of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsChoice {
    /// The owner, if the manifest has `[cloud.ssl]`, else the enclave itself.
    AsConfigured,
    /// The operator (`--untrusted-ssl`): `[cloud.ssl]` is not looked at.
    Operator,
}

/// What a deploy needs of the files that a manifest names; all of them have been checked.
pub struct Checked {
    /// Directory with the code; the module of the application is in it.
    pub code: PathBuf,
    /// Directory with the tests. May not exist; then there is a warning.
    pub tests: PathBuf,
    /// What only the enclave may read.
    pub secrets: Option<SecretsJson>,
    /// The owner's certificate. None if there is none, or the operator's is to be used.
    pub ssl: Option<OwnerCertificate>,
    /// When the app ends: as configured, else with the owner's certificate, else not by itself.
    pub expires_at: Option<Timestamp>,
    /// True if the operator's certificate is to be used, who could then read the traffic.
    pub dev_mode: bool,
    /// What is not wrong, but likely not meant; without those of [`Loaded::warnings`].
    pub warnings: Vec<Diagnostic>,
}

impl Loaded {
    /// Opens what the manifest names, and holds it against each other and `now`.
    ///
    /// Errors are all that were found; a manifest without `[cloud]` is one.
    pub fn check(&self, now: Timestamp, options: &CheckOptions) -> Result<Checked, Diagnostics> {
        let Some(cloud) = &self.manifest.cloud else {
            return Err(Diagnostics::from(
                self.source
                    .error("cloud", "is missing")
                    .help("add the section `[cloud]`, which says where the app is deployed"),
            ));
        };
        let mut check = Check {
            loaded: self,
            report: Report::default(),
            now,
        };
        let checked = check.cloud(cloud, options);
        let (checked, warnings) = check.report.finish(checked)?;
        Ok(Checked {
            warnings,
            ..checked
        })
    }
}

/// Each method returns `None` only after it reported why.
struct Check<'l> {
    loaded: &'l Loaded,
    report: Report,
    now: Timestamp,
}

impl Check<'_> {
    fn cloud(&mut self, cloud: &Cloud, options: &CheckOptions) -> Option<Checked> {
        let code = self.code(&cloud.code, &self.loaded.manifest.python_application);
        let tests = self.tests(&cloud.tests);
        let secrets = cloud.secrets.as_ref().map(|path| self.secrets(path));
        let configured_end = cloud
            .expiration_date
            .as_ref()
            .map(|date| self.expiration(date, &options.zone));
        let ssl = match options.tls {
            TlsChoice::AsConfigured => cloud
                .ssl
                .as_ref()
                .map(|ssl| self.ssl(ssl, configured_end.flatten())),
            TlsChoice::Operator => None,
        };
        let secrets = match secrets {
            Some(secrets) => Some(secrets?),
            None => None,
        };
        let ssl = match ssl {
            Some(ssl) => Some(ssl?),
            None => None,
        };
        let expires_at = match configured_end {
            Some(end) => Some(end?),
            None => ssl.as_ref().map(|ssl| ssl.not_after),
        };
        Some(Checked {
            code: code?,
            tests,
            secrets,
            ssl,
            expires_at,
            dev_mode: options.tls == TlsChoice::Operator,
            warnings: Vec::new(),
        })
    }

    fn code(&mut self, written: &WrittenPath, application: &PythonApplication) -> Option<PathBuf> {
        let directory = self.loaded.resolve(written);
        if !directory.is_dir() {
            let problem = format!("is `{}`, which is no directory", directory.display());
            return self.refuse(
                "cloud.code",
                problem,
                "name the directory of the app's code",
            );
        }
        let [module, package] = application.candidates();
        if !directory.join(&module).is_file() && !directory.join(&package).is_file() {
            let problem = format!(
                "names the module `{}`, but `{}` has neither `{}` nor `{}`",
                application.module(),
                directory.display(),
                module.display(),
                package.display()
            );
            let help = match nearest_module(&directory, application.module()) {
                Some(near) => format!("did you mean `{near}:{}`?", application.variable()),
                None => "name a module in `cloud.code`, or correct `cloud.code`".to_owned(),
            };
            return self.refuse("python_application", problem, &help);
        }
        Some(directory)
    }

    fn tests(&mut self, written: &WrittenPath) -> PathBuf {
        let directory = self.loaded.resolve(written);
        if !directory.is_dir() {
            let problem = format!("is `{}`, which is no directory", directory.display());
            self.warning(
                "cloud.tests",
                problem,
                "`mse test` and `mse localtest` need it",
            );
        }
        directory
    }

    fn secrets(&mut self, written: &WrittenPath) -> Option<SecretsJson> {
        let key = "cloud.secrets";
        let (path, bytes) = self.read(key, written, MAX_SECRETS_BYTES)?;
        match SecretsJson::parse(bytes) {
            Ok(secrets) => Some(secrets),
            Err(error) => {
                let problem = format!("is `{}`, which {error}", path.display());
                self.refuse(
                    key,
                    problem,
                    "write a JSON object, for instance `{\"token\": \"…\"}`",
                )
            }
        }
    }

    fn expiration(&mut self, date: &ExpirationDate, zone: &TimeZone) -> Option<Timestamp> {
        let key = "cloud.expiration_date";
        let instant = match date.instant(zone) {
            Ok(instant) => instant,
            Err(error) => return self.refuse(key, error.to_string(), "choose an earlier date"),
        };
        if !date.has_zone() {
            let problem = format!("has no zone: it means {instant} here, another time elsewhere");
            self.warning(
                key,
                problem,
                &format!("write `{instant}`, or add your offset"),
            );
        }
        if instant <= self.now {
            let problem = format!("is in the past: {instant}, and it is {}", self.now);
            return self.refuse(key, problem, "choose a later date, or leave it out");
        }
        Some(instant)
    }

    fn ssl(&mut self, ssl: &Ssl, configured_end: Option<Timestamp>) -> Option<OwnerCertificate> {
        let chain = self.chain(ssl);
        let private_key = self.private_key(&ssl.private_key);
        if let (Some(end), Some(chain)) = (configured_end, &chain)
            && end > chain.not_after
        {
            let problem = format!("is later than the certificate's end, {}", chain.not_after);
            let help = "end the app earlier, or renew the certificate";
            self.error("cloud.expiration_date", problem, help);
        }
        let (chain, private_key) = (chain?, private_key?);
        if chain.public_key != private_key.public_key {
            let problem = "does not belong to the certificate".to_owned();
            let help = "name the key that the certificate was requested with";
            return self.refuse("cloud.ssl.private_key", problem, help);
        }
        Some(OwnerCertificate {
            domain_name: ssl.domain_name.clone(),
            chain_pem: chain.pem,
            leaf_der: chain.leaf_der,
            not_after: chain.not_after,
            private_key: private_key.pem,
        })
    }

    fn chain(&mut self, ssl: &Ssl) -> Option<Chain> {
        let key = "cloud.ssl.certificate";
        let (path, bytes) = self.read(key, &ssl.certificate, MAX_CHAIN_BYTES)?;
        let path = path.display();
        let chain = match Chain::parse(&bytes) {
            Ok(chain) => chain,
            Err(error) => {
                return self.refuse(key, format!("is `{path}`, which {error}"), error.help());
            }
        };
        if !chain.covers(&ssl.domain_name) {
            let problem = format!(
                "is not among the certificate's names: {}",
                chain.dns_names.join(", ")
            );
            self.error(
                "cloud.ssl.domain_name",
                problem,
                "use one of these, or another certificate",
            );
        }
        if chain.not_after <= self.now {
            let problem = format!(
                "is in the past: the certificate ended at {}",
                chain.not_after
            );
            self.error(key, problem, "renew the certificate");
        }
        if chain.not_before > self.now {
            let problem = format!(
                "is not valid before {}, and it is {}",
                chain.not_before, self.now
            );
            self.error(key, problem, "check the clock of this machine");
        }
        if let Some((subject, end)) = &chain.issuers_end
            && *end <= self.now
        {
            let problem = format!("has in its chain `{subject}`, which ended at {end}");
            self.error(
                key,
                problem,
                "get the current chain from the certificate's issuer",
            );
        }
        Some(chain)
    }

    fn private_key(&mut self, written: &WrittenPath) -> Option<ParsedKey> {
        let key = "cloud.ssl.private_key";
        let (path, bytes) = self.read(key, written, MAX_KEY_BYTES)?;
        if readable_by_others(&path) {
            let path = path.display();
            let problem = format!("is `{path}`, which other users of this machine may read");
            self.warning(key, problem, &format!("run `chmod 600 {path}`"));
        }
        match PrivateKeyPem::parse(bytes) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let problem = format!("is `{}`, which {error}", path.display());
                self.refuse(key, problem, error.help())
            }
        }
    }

    fn read(
        &mut self,
        key: &str,
        written: &WrittenPath,
        limit: u64,
    ) -> Option<(PathBuf, Zeroizing<Vec<u8>>)> {
        let path = self.loaded.resolve(written);
        match read_bounded(&path, limit) {
            Ok(bytes) => Some((path, Zeroizing::new(bytes))),
            Err(error) => {
                let help = match error {
                    ReadError::NotFound => "relative paths start at the directory of the manifest",
                    ReadError::NotAFile => "name a file",
                    ReadError::TooLarge { .. } => "is this the right file?",
                    ReadError::Io(_) => "make the file readable for you",
                };
                self.refuse(key, format!("is `{}`, which {error}", path.display()), help)
            }
        }
    }

    fn refuse<T>(&mut self, key: &str, problem: String, help: &str) -> Option<T> {
        self.error(key, problem, help);
        None
    }

    fn error(&mut self, key: &str, problem: String, help: &str) {
        let error = self.loaded.source.error(key, problem).help(help);
        self.report.push(self.loaded.place(error, Show::Line));
    }

    fn warning(&mut self, key: &str, problem: String, help: &str) {
        let warning = self.loaded.source.warning(key, problem).help(help);
        self.report.push(self.loaded.place(warning, Show::Line));
    }
}

/// A module that is in `directory`, and whose name is like that of the one which is not.
fn nearest_module(directory: &Path, module: &str) -> Option<String> {
    let files: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let mut modules: Vec<&str> = files
        .iter()
        .filter_map(|file| file.strip_suffix(".py"))
        .collect();
    modules.sort_unstable();
    match modules[..] {
        [only] => Some(only.to_owned()),
        _ => nearest(module, &modules).map(str::to_owned),
    }
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Windows has no such bits: files in the user's profile are the user's alone by default.
#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests;
