//! The login: which platform, who, and the token that proves it.

use std::str::FromStr;

use jiff::Timestamp;
use mse_crypto::Zeroizing;
use serde::{Deserialize, Serialize};

use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::server_url::ServerUrl;

/// A login is a few lines.
const MAX_LOGIN_FILE: u64 = 64 * 1024;

/// A login at a platform, kept in `login.toml`, 0600.
pub(crate) struct Session {
    /// The platform's API.
    pub(crate) server: ServerUrl,
    /// Who logged in.
    pub(crate) email: String,
    /// Sent with every call.
    pub(crate) access_token: Zeroizing<String>,
    /// When the token ends.
    pub(crate) expires_at: Timestamp,
}

/// How a login that ended is followed by another.
pub(crate) const LOG_IN_AGAIN: &str = "log in again: `mse login --token TOKEN`, with a token that `mse-server token` prints (with the `--data-dir` of the server, if it has one), or `mse login --email E-MAIL`";

impl Session {
    /// The login, if there is one.
    pub(crate) fn load(conf: &ConfDir) -> Result<Option<Self>, Failure> {
        let path = conf.login_file();
        let Some(text) = private_file::read(&path, MAX_LOGIN_FILE)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        // The cause is not shown: it may quote the token.
        let unreadable = || {
            Failure::new(
                Exit::NotLoggedIn,
                format!("the login in `{}` cannot be read", path.display()),
            )
            .with_hint(LOG_IN_AGAIN)
        };
        let file: LoginFile = toml::from_str(&text).map_err(|_| unreadable())?;
        Ok(Some(Self {
            server: ServerUrl::from_str(&file.server).map_err(|_| unreadable())?,
            email: file.email,
            access_token: file.access_token,
            expires_at: file.expires_at,
        }))
    }

    /// The login, which must be there and still valid.
    pub(crate) fn required(conf: &ConfDir) -> Result<Self, Failure> {
        let Some(session) = Self::load(conf)? else {
            return Err(
                Failure::new(Exit::NotLoggedIn, "you are not logged in").with_hint(
                    "log in: `mse login --token TOKEN`, with the token that `mse-server` printed",
                ),
            );
        };
        if session.expires_at <= Timestamp::now() {
            let message = format!(
                "your login as `{}` at {} ended on {}",
                session.email,
                session.server,
                crate::ui::local(session.expires_at)
            );
            return Err(Failure::new(Exit::NotLoggedIn, message).with_hint(LOG_IN_AGAIN));
        }
        Ok(session)
    }

    /// Keeps the login.
    pub(crate) fn save(&self, conf: &ConfDir) -> Result<(), Failure> {
        conf.create()?;
        let file = LoginFile {
            server: self.server.to_string(),
            email: self.email.clone(),
            access_token: self.access_token.clone(),
            expires_at: self.expires_at,
        };
        let text = toml::to_string(&file)
            .map(Zeroizing::new)
            .map_err(|_| Failure::other("the login cannot be written as TOML"))?;
        private_file::write(&conf.login_file(), text.as_bytes())
    }

    /// Forgets the login on this machine.
    pub(crate) fn forget(conf: &ConfDir) -> Result<(), Failure> {
        let path = conf.login_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    server: String,
    email: String,
    access_token: Zeroizing<String>,
    expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(expires_at: Timestamp) -> Session {
        Session {
            server: "http://127.0.0.1:7310".parse().unwrap(),
            email: "owner@localhost".into(),
            access_token: Zeroizing::new("token-canary".into()),
            expires_at,
        }
    }

    #[test]
    fn a_login_comes_back_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let conf = ConfDir::at(dir.path());
        assert!(Session::load(&conf).unwrap().is_none());
        session(Timestamp::MAX).save(&conf).unwrap();
        let back = Session::required(&conf).unwrap();
        assert_eq!(back.access_token.as_str(), "token-canary");
        assert_eq!(back.server.to_string(), "http://127.0.0.1:7310");
        Session::forget(&conf).unwrap();
        Session::forget(&conf).unwrap();
        let failure = Session::required(&conf).err().unwrap();
        assert_eq!(failure.exit(), Exit::NotLoggedIn);
    }

    #[test]
    fn a_login_that_ended_or_cannot_be_read_asks_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let conf = ConfDir::at(dir.path());
        session(Timestamp::UNIX_EPOCH).save(&conf).unwrap();
        let ended = Session::required(&conf).err().unwrap();
        assert!(ended.message().contains("1970"), "{ended}");
        assert!(ended.hint().unwrap().contains("mse-server token"));
        // As the tools before this one wrote it.
        let old = "email = \"me@example.com\"\nrefresh_token = \"token-canary\"\n";
        std::fs::write(conf.login_file(), old).unwrap();
        let failure = Session::required(&conf).err().unwrap();
        assert_eq!(failure.exit(), Exit::NotLoggedIn);
        assert!(!failure.message().contains("token-canary"));
    }
}
