//! From `mse deploy` to the first answer over TLS, against the start-up of the bare app.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use tokio::task::block_in_place;

use super::hypercorn::{Hypercorn, Transport};
use super::report::{Goal, Measured, Unit};
use super::{Bench, HELLO, say};
use crate::platform::{Person, Server};

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(7, 1);
    let platform = block_in_place(Platform::start);
    // The first deploy makes the image's environment, the first start compiles the app: both once.
    block_in_place(|| platform.deploy())?;
    let code = platform.manifest.with_file_name("mse_src");
    Hypercorn::start(&bench.python, &code, Transport::Plain).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let deployed = block_in_place(|| platform.deploy())?;
        let bare = Hypercorn::start(&bench.python, &code, Transport::Plain).await?;
        let bare = bare.start_up.as_secs_f64();
        say(format!(
            "deploy: round {round} of {rounds}: {deployed:.2} s and {bare:.2} s"
        ));
        ours.push(deployed);
        theirs.push(bare);
    }
    Ok(vec![Measured {
        what: "From `mse deploy` to the first answer; theirs: bare start".into(),
        unit: Unit::Seconds,
        ours,
        theirs,
        goal: Some(Goal::More(1.0)),
    }])
}

/// A running embedded platform and an owner with an app.
struct Platform {
    owner: Person,
    manifest: std::path::PathBuf,
    _server: Server,
}

impl Platform {
    fn start() -> Self {
        let server = Server::start();
        let owner = Person::owner(&server);
        Self {
            manifest: owner.take_example("helloworld"),
            owner,
            _server: server,
        }
    }

    /// Deploys the app with verification, asks it once with the certificate that was verified, and
    /// stops it. The seconds until the answer.
    fn deploy(&self) -> anyhow::Result<f64> {
        let began = Instant::now();
        let deployed = self.owner.deploy(&self.manifest, &[]);
        ensure!(
            deployed["verified"] == true,
            "`mse deploy` did not verify the enclave"
        );
        let text = |field: &str| {
            deployed[field]
                .as_str()
                .with_context(|| format!("`mse deploy --json` has no `{field}`"))
        };
        let answer = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--cacert"])
            .args([text("certificate")?, text("url")?])
            .output()
            .context("`curl` cannot be run")?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(
            answer.status.success() && answer.stdout == HELLO.as_bytes(),
            "the app does not answer: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
        self.owner.run(&["stop", text("id")?]).succeeded();
        Ok(seconds)
    }
}
