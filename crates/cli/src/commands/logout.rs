//! `mse logout`

use clap::Args;
use serde::Serialize;

use crate::api::ApiClient;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::session::Session;
use crate::ui::Report;

/// End the login, on the platform and on this machine
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse logout")]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        // A login that cannot be read, or is refused, is forgotten all the same.
        let session = Session::load(&scene.conf).unwrap_or_default();
        let was = session.as_ref().map(|session| session.email.clone());
        if let Some(session) = session {
            let server = session.server.clone();
            if let Err(failure) = ApiClient::of(session)?.logout().await {
                scene.ui.warn(format!(
                    "the login was not ended at {server}, only on this machine: {failure}"
                ));
            }
        }
        Session::forget(&scene.conf)?;
        scene.ui.report(&LoggedOut { email: was })
    }
}

#[derive(Serialize)]
struct LoggedOut {
    /// Who was logged in.
    email: Option<String>,
}

impl Report for LoggedOut {
    fn text(&self) -> String {
        match &self.email {
            Some(email) => format!("You are now logged out; you were {email}"),
            None => "You were not logged in".to_owned(),
        }
    }
}
