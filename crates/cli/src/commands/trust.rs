//! `mse trust`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::Scene;
use crate::failure::Failure;
use crate::trust::{KeptAnchor, TrustStore};
use crate::ui::{Report, table};

/// Choose which simulated platforms to trust
///
/// Hardware is trusted by its vendor's root, which is part of this program. A simulated platform
/// protects nothing from whoever runs it; its evidence is refused unless its trust anchor was
/// added here, or is named by `--simulated FILE`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse trust add /var/lib/mse/simulated-platform.toml
  mse trust list
  mse trust remove 5f1c")]
pub(crate) struct Trust {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Trust a simulated platform
    Add {
        /// The file that the platform wrote when it was set up
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the platforms that were added
    List,
    /// Trust a platform no longer
    Remove {
        /// The beginning of its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Trust {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let store = TrustStore::of(&scene.conf);
        match self.action {
            Action::Add { file } => {
                let anchor = store.add(&file)?;
                scene.ui.warn(
                    "evidence of this platform is accepted from now on, and no hardware stands behind it",
                );
                scene.ui.report(&Changed {
                    done: "added",
                    anchor,
                })
            }
            Action::List => scene.ui.report(&Anchors {
                anchors: store.list()?,
            }),
            Action::Remove { id } => scene.ui.report(&Changed {
                done: "removed",
                anchor: store.remove(&id)?,
            }),
        }
    }
}

#[derive(Serialize)]
struct Changed {
    done: &'static str,
    anchor: KeptAnchor,
}

impl Report for Changed {
    fn text(&self) -> String {
        format!(
            "The trust anchor {} of `{}` ({}) was {}",
            self.anchor.id, self.anchor.subject, self.anchor.tee, self.done
        )
    }
}

#[derive(Serialize)]
struct Anchors {
    anchors: Vec<KeptAnchor>,
}

impl Report for Anchors {
    fn text(&self) -> String {
        if self.anchors.is_empty() {
            return "No simulated platform is trusted; hardware is, by its vendor's root"
                .to_owned();
        }
        let rows: Vec<[String; 3]> = self
            .anchors
            .iter()
            .map(|anchor| {
                [
                    anchor.id.clone(),
                    anchor.tee.clone(),
                    anchor.subject.clone(),
                ]
            })
            .collect();
        table(["ID", "TEE", "ROOT"], &rows)
    }
}
