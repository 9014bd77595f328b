//! `mse cas proxy`

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;

use crate::cas::{CasChoice, CasUpstream};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::proxy::{ANY_PORT, LocalProxy, prove_local};
use crate::ui::{Report, caution};

/// Open a local port that forwards to a CAS as you, for curl and other programs
///
/// Plain HTTP/1.1 on this machine goes to the CAS over verified TLS with your key: whoever reaches
/// the port, each user and program of this machine, acts as you for as long as it is open. Requests
/// of web pages are refused.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas proxy --listen 127.0.0.1:8089 &  curl http://127.0.0.1:8089/v1/sessions
  mse cas proxy --cas prod --json")]
pub(super) struct Proxy {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ANY_PORT)]
    listen: SocketAddr,
    #[command(flatten)]
    cas: CasChoice,
}

impl Proxy {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        prove_local(self.listen)?;
        let upstream = CasUpstream::open(scene, &self.cas).await?;
        let (cas, address) = (upstream.name(), upstream.address());
        let proxy = LocalProxy::bind(self.listen, upstream).await?;
        scene.ui.report(&Listening {
            url: proxy.url(),
            cas,
            address,
        })?;
        let json = scene.ui.is_json();
        let forwarding = proxy.serve(move |failure| {
            if json {
                eprintln!("{}", failure.to_json());
            } else {
                eprintln!("error: {failure}");
            }
        });
        tokio::select! {
            () = forwarding => Err(Failure::other("the local port was closed")),
            // How this is meant to end.
            _ = interrupted() => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Listening {
    url: String,
    cas: String,
    address: String,
}

impl Report for Listening {
    fn text(&self) -> String {
        format!(
            "Forwarding {} to `{}` ({}) {}; Ctrl-C ends it",
            self.url,
            self.cas,
            self.address,
            caution("as you, for everybody on this machine")
        )
    }
}
