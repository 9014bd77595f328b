//! Whom to be at a registry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Zeroizing;
use serde::Deserialize;

/// docker's configuration is never larger: 1 MiB.
const MAX_CONFIG: u64 = 1 << 20;
/// Docker Hub's name in docker's configuration.
const HUB: &str = "https://index.docker.io/v1/";

/// Where logins come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// From nowhere.
    #[default]
    Anonymous,
    /// The same for every registry that is asked.
    Given(Login),
    /// From docker's `config.json`; a missing file means nobody logged in.
    DockerConfig(PathBuf),
}

/// A login. It has no `Debug`.
#[derive(Clone)]
pub enum Login {
    /// By name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// By a token of the registry.
    Token(Zeroizing<String>),
}

impl Credentials {
    /// docker's `config.json` as docker finds it.
    pub fn of_docker() -> Self {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        folder.map_or(Self::Anonymous, |folder| {
            Self::DockerConfig(folder.join("config.json"))
        })
    }

    pub(super) fn login(&self, registry: &str) -> Result<Option<Login>, CredentialsError> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Given(login) => Ok(Some(login.clone())),
            Self::DockerConfig(path) => match read(path)? {
                None => Ok(None),
                Some(json) => login_from(&json, registry, path),
            },
        }
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: Option<Zeroizing<String>>,
    #[serde(default, rename = "registrytoken")]
    token: Option<Zeroizing<String>>,
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CredentialsError> {
    let failed = |source| CredentialsError::Read(path.to_owned(), source);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut json = Zeroizing::new(Vec::new());
    file.take(MAX_CONFIG)
        .read_to_end(&mut json)
        .map_err(failed)?;
    Ok(Some(json))
}

fn login_from(json: &[u8], registry: &str, path: &Path) -> Result<Option<Login>, CredentialsError> {
    let config: DockerConfig = serde_json::from_slice(json)
        .map_err(|error| CredentialsError::Json(path.to_owned(), error.to_string()))?;
    let is_this = |name: &str| {
        let host = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        name == registry
            || host.split('/').next() == Some(registry)
            || (registry == "docker.io" && name == HUB)
    };
    if let Some((_, helper)) = config.helpers.iter().find(|(name, _)| is_this(name)) {
        return from_helper(helper, registry);
    }
    let found = config.auths.iter().find(|(name, _)| is_this(name));
    match (found, config.store) {
        (
            Some((
                _,
                DockerAuth {
                    token: Some(token), ..
                },
            )),
            _,
        ) => Ok(Some(Login::Token(token.clone()))),
        (
            Some((
                _,
                DockerAuth {
                    auth: Some(auth), ..
                },
            )),
            _,
        ) if !auth.is_empty() => {
            let invalid = || CredentialsError::Auth(path.to_owned(), registry.to_owned());
            let bytes = Zeroizing::new(BASE64.decode(auth.as_bytes()).map_err(|_| invalid())?);
            let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
            let (user, password) = text.split_once(':').ok_or_else(invalid)?;
            Ok(Some(Login::Password {
                user: user.to_owned(),
                password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
            }))
        }
        (_, Some(store)) => from_helper(&store, registry),
        _ => Ok(None),
    }
}

/// Asks `docker-credential-NAME get`, as docker does.
fn from_helper(name: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Username")]
        user: String,
        #[serde(rename = "Secret")]
        secret: Zeroizing<String>,
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return Err(CredentialsError::Helper(name.escape_debug().to_string()));
    }
    let failed = |_| CredentialsError::Helper(name.to_owned());
    let server = if registry == "docker.io" {
        HUB
    } else {
        registry
    };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(server.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let bytes = Zeroizing::new(output.stdout);
    // It fails as well if it knows nothing of this registry.
    if !output.status.success() {
        return Ok(None);
    }
    let answer: Answer =
        serde_json::from_slice(&bytes).map_err(|_| CredentialsError::Helper(name.to_owned()))?;
    Ok(Some(Login::Password {
        user: answer.user,
        password: answer.secret,
    }))
}

/// Credentials that cannot be used. No error has any of their content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("`{at}` cannot be read: {1}", at = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file is malformed.
    #[error("`{at}` is not as docker writes it: {1}", at = .0.display())]
    Json(PathBuf, String),
    /// A login that is none.
    #[error("`{at}` has a malformed login for `{1}`: log in again", at = .0.display())]
    Auth(PathBuf, String),
    /// A helper that does not work.
    #[error(
        "the credential helper `docker-credential-{0}` cannot be used: install it, or remove it from docker's config.json"
    )]
    Helper(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &serde_json::Value, registry: &str) -> Result<Option<Login>, CredentialsError> {
        login_from(
            json.to_string().as_bytes(),
            registry,
            Path::new("config.json"),
        )
    }

    #[test]
    fn logins_are_found_as_docker_finds_them() {
        let json = serde_json::json!({"auths": {
            "registry.example:5000": {"auth": BASE64.encode("me:pass:word")},
            "https://index.docker.io/v1/": {"auth": BASE64.encode("hub:x")},
            "token.example": {"registrytoken": "t"},
            "empty.example": {},
        }});
        let Some(Login::Password { user, password }) = of(&json, "registry.example:5000").unwrap()
        else {
            panic!("there is a password");
        };
        assert_eq!((user.as_str(), password.as_str()), ("me", "pass:word"));
        assert!(
            matches!(of(&json, "docker.io").unwrap(), Some(Login::Password { user, .. }) if user == "hub")
        );
        assert!(matches!(
            of(&json, "token.example").unwrap(),
            Some(Login::Token(_))
        ));
        assert!(of(&json, "registry.example").unwrap().is_none());
        assert!(of(&json, "empty.example").unwrap().is_none());
    }

    #[test]
    fn malformed_logins_are_named_without_their_content() {
        let json = serde_json::json!({"auths": {"r.example": {"auth": "c2VjcmV0"}}});
        let error = of(&json, "r.example").err().unwrap().to_string();
        assert!(
            error.contains("r.example") && !error.contains("c2Vj"),
            "{error}"
        );
        let json = serde_json::json!({"credsStore": "../../bin/sh"});
        assert!(matches!(
            of(&json, "r.example"),
            Err(CredentialsError::Helper(_))
        ));
    }
}
