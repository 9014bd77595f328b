//! `mse collateral`

mod bundle;
mod fetch;
mod forecast;
mod show;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use mse_collateral::Facts;

use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::table;

/// Fetch, bundle and read the vendors' documents that evidence is checked with
///
/// They come from Intel (TCB info, QE identity, CRLs) and AMD (VCEK certificates, CRLs), or from a
/// cache of theirs. None of them needs to be trusted, wherever it comes from: each verification
/// checks signatures, dates and revocation itself.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral fetch quote.bin -o collateral.json
  mse collateral fetch --fmspc 00606A000000 --ca platform --tee tdx -o collateral.json
  mse collateral bundle sgx.json tdx.json snp.json -o bundle.json
  mse collateral show bundle.json
  mse collateral forecast quote.bin --collateral collateral.json")]
pub(crate) struct CollateralCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Fetch(fetch::Fetch),
    Bundle(bundle::Bundle),
    Show(show::Show),
    Forecast(forecast::Forecast),
}

impl CollateralCommand {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Fetch(command) => command.run(scene).await,
            Action::Bundle(command) => command.run(scene),
            Action::Show(command) => command.run(scene),
            Action::Forecast(command) => command.run(scene),
        }
    }
}

/// What documents say of themselves, as a table for people.
fn documents(facts: &[Facts], now: Timestamp) -> String {
    let rows: Vec<[String; 6]> = facts
        .iter()
        .map(|one| {
            let date = |date: Option<Timestamp>| {
                date.map_or_else(|| "-".to_owned(), |date| date.strftime("%F").to_string())
            };
            [
                one.document.to_owned(),
                one.problem.clone().unwrap_or_else(|| one.about.clone()),
                date(one.issued),
                date(one.next_update),
                one.tcb_evaluation_data_number
                    .map_or_else(|| "-".to_owned(), |number| number.to_string()),
                state(one, now).to_owned(),
            ]
        })
        .collect();
    table(
        [
            "DOCUMENT",
            "ABOUT",
            "ISSUED",
            "NEXT UPDATE",
            "EVAL",
            "STATE",
        ],
        &rows,
    )
}

/// Whether a document is in force, for people and programs.
fn state(facts: &Facts, now: Timestamp) -> &'static str {
    match facts.is_current(now) {
        Some(true) => "in force",
        Some(false) if facts.issued.is_some_and(|issued| now < issued) => "not yet in force",
        Some(false) => "out of date",
        None => "unreadable",
    }
}
