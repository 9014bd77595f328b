//! `mse login`

use clap::Args;
use mse_api::{Login as Credentials, User};
use mse_crypto::Zeroizing;
use serde::Serialize;

use crate::api::ApiClient;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::server_url::{EMBEDDED, ServerUrl};
use crate::session::Session;
use crate::ui::{Report, Ui};

/// Log in to a platform
///
/// With the one-time token that the platform printed when it started, or with an e-mail address
/// and a password. The password is asked for, or taken from the environment variable
/// `MSE_PASSWORD`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse login --token aB3…                             the platform on this machine
  mse login --server https://mse.example.com --email me@example.com
  mse login --whoami")]
pub(crate) struct Login {
    /// The platform's API [default: the one of the last login, else http://127.0.0.1:7310]
    #[arg(long, value_name = "URL", env = "MSE_BASE_URL", hide_env_values = true)]
    server: Option<ServerUrl>,
    /// A one-time token
    #[arg(long, value_name = "TOKEN", conflicts_with = "email")]
    token: Option<String>,
    /// A local account
    #[arg(long, value_name = "E-MAIL")]
    email: Option<String>,
    /// Only say who is logged in
    #[arg(long, conflicts_with_all = ["token", "email"])]
    whoami: bool,
}

impl Login {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        if self.whoami {
            return whoami(scene).await;
        }
        let wants_new = self.token.is_some() || self.email.is_some();
        if !wants_new && self.server.is_none() && is_valid(scene).await? {
            return whoami(scene).await;
        }
        let server = match self.server {
            Some(server) => server,
            None => default_server(scene)?,
        };
        let credentials = match (self.token, self.email) {
            (Some(token), _) => Credentials::Token {
                one_time_token: token,
            },
            (None, Some(email)) => Credentials::Password {
                password: password(scene.ui, &email)?.to_string(),
                email,
            },
            (None, None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("nothing says how to log in to {server}"),
                )
                .with_hint("`mse login --token TOKEN`, with the token that `mse-server` printed when it started (`mse-server token` makes another), or `mse login --email E-MAIL`"));
            }
        };
        let token = ApiClient::open(&server)?
            .login(&credentials)
            .await
            .map_err(|failure| refused(failure.into()))?;
        let session = Session {
            server,
            email: token.email,
            access_token: Zeroizing::new(token.access_token),
            expires_at: token.expires_at,
        };
        session.save(&scene.conf)?;
        let report = LoggedIn {
            server: session.server.to_string(),
            email: session.email.clone(),
            expires_at: session.expires_at,
            file: Some(scene.conf.login_file().display().to_string()),
        };
        scene.ui.report(&report)
    }
}

/// Who is logged in, and where.
#[derive(Serialize)]
struct LoggedIn {
    server: String,
    email: String,
    expires_at: jiff::Timestamp,
    /// Where the login was kept, if it was just made.
    file: Option<String>,
}

impl Report for LoggedIn {
    fn text(&self) -> String {
        match &self.file {
            Some(file) => format!(
                "You are logged in to {} as {}; the login is kept in {file}",
                self.server, self.email
            ),
            None => format!(
                "You are currently logged in as {} at {}",
                self.email, self.server
            ),
        }
    }
}

async fn whoami(scene: &Scene<'_>) -> Result<(), Failure> {
    let session = Session::required(&scene.conf)?;
    let (server, expires_at) = (session.server.to_string(), session.expires_at);
    let User { email, .. } = ApiClient::of(session)?.me().await?;
    scene.ui.report(&LoggedIn {
        server,
        email,
        expires_at,
        file: None,
    })
}

/// Whether there is a login that the platform still takes.
async fn is_valid(scene: &Scene<'_>) -> Result<bool, Failure> {
    let session = match Session::required(&scene.conf) {
        Ok(session) => session,
        Err(failure) if failure.exit() == Exit::NotLoggedIn => return Ok(false),
        Err(failure) => return Err(failure),
    };
    match ApiClient::of(session)?.me().await.map_err(Failure::from) {
        Ok(_) => Ok(true),
        Err(failure) if failure.exit() == Exit::NotLoggedIn => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn default_server(scene: &Scene<'_>) -> Result<ServerUrl, Failure> {
    if let Ok(Some(session)) = Session::load(&scene.conf) {
        return Ok(session.server);
    }
    EMBEDDED
        .parse()
        .map_err(|error| Failure::other(format!("{error}")))
}

fn password(ui: &Ui, email: &str) -> Result<Zeroizing<String>, Failure> {
    if let Ok(password) = std::env::var("MSE_PASSWORD") {
        return Ok(Zeroizing::new(password));
    }
    if !ui.is_interactive() {
        return Err(Failure::new(
            Exit::Usage,
            "there is no terminal to ask for the password on",
        )
        .with_hint("give it in the environment variable `MSE_PASSWORD`"));
    }
    dialoguer::Password::new()
        .with_prompt(format!("Password of {email}"))
        .interact()
        .map(Zeroizing::new)
        .map_err(|error| Failure::new(Exit::Cancelled, format!("no password was given: {error}")))
}

/// A login that is refused is not "log in again".
fn refused(failure: Failure) -> Failure {
    if failure.exit() == Exit::NotLoggedIn {
        let message = failure.message().to_owned();
        return Failure::new(Exit::NotLoggedIn, message).with_hint(
            "a token works once and for a limited time: `mse-server token` makes another",
        );
    }
    failure
}
