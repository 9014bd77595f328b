//! `mse collateral forecast`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mse_attest::forecast::{self, Event, Prospect, UnderCollateral};
use mse_attest::{Collateral, Evidence};
use mse_collateral::CollateralFile;
use mse_collateral::bundle::BundleError;
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::moment::{Moment, timestamp};
use crate::policy_file::policy_with_anchors;
use crate::trust::TrustStore;
use crate::ui::{Report, bad, caution, good, heading, local, pairs, remaining, table};
use crate::verification::{Endorsements, EvidenceFile, Unreadable, read_collateral_file};

/// Say when and why platforms will stop passing
///
/// Documents and certificates expire, exceptions of the policy end, and new collateral takes
/// platforms out of date. Each of these instants is looked at as `mse verify` would see it, with
/// the newest collateral given. Give collateral of several days, or Intel's early update, to see
/// what a TCB recovery brings. Nothing is fetched.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral forecast quote.bin --collateral collateral.json
  mse collateral forecast fleet/*.bin --collateral standard.json --collateral early.json
  mse collateral forecast quote.bin --collateral c.json --policy policy.toml --until 2028-01-01")]
pub(super) struct Forecast {
    /// Evidence of the platforms, as their TEEs made it
    #[arg(value_name = "EVIDENCE", required = true)]
    evidence: Vec<PathBuf>,
    /// Collateral; may be given several times. Each platform uses what is about it
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// Certificates (or CRLs) that vouch for the evidence, as for `mse verify`
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// The policy [default: the strict one]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the forecast begins [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Where it ends [default: a year later]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

impl Forecast {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let trust = policy_with_anchors(
            self.policy.as_deref(),
            &TrustStore::of(&scene.conf),
            scene.global.simulated.as_deref(),
        )?;
        let from = self.at.unwrap_or_else(Moment::now);
        let until = self.until.unwrap_or_else(|| from.after(YEAR));
        let files = self
            .collateral
            .iter()
            .map(|file| read_collateral_file(file))
            .collect::<Result<Vec<_>, _>>()?;
        let endorsements = self.endorsements()?;
        let forecasts = self
            .evidence
            .iter()
            .map(|file| {
                let evidence = readable(file, "evidence", EvidenceFile::read(file))?.evidence;
                let selected = self.select(&evidence, &files, &endorsements)?;
                let forecast = forecast::forecast(
                    &evidence,
                    &selected.collaterals,
                    &trust.policy,
                    from.time(),
                    until.time(),
                )
                .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
                Ok(OfPlatform {
                    evidence: file.clone(),
                    collateral: selected.files,
                    lacking: selected.lacking,
                    forecast,
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        scene.ui.report(&Forecasts {
            policy: self.policy,
            forecasts,
        })
    }

    fn endorsements(&self) -> Result<Endorsements, Failure> {
        match self.endorsements.first() {
            Some(first) => readable(
                first,
                "certificate or CRL",
                Endorsements::read(&self.endorsements),
            ),
            None => Ok(Endorsements::default()),
        }
    }

    /// The collateral for `evidence`, with the certificates and CRLs that were named besides.
    fn select(
        &self,
        evidence: &Evidence,
        files: &[CollateralFile],
        endorsements: &Endorsements,
    ) -> Result<Selected, Failure> {
        let mut selected = Selected::default();
        for (file, kept) in self.collateral.iter().zip(files) {
            match kept.select(evidence) {
                Ok(collateral) => {
                    selected.files.push(file.clone());
                    selected.collaterals.push(collateral);
                }
                Err(BundleError::NotFound { .. }) => selected.lacking.push(file.clone()),
                Err(error) => {
                    return Err(Failure::new(
                        Exit::InvalidConfiguration,
                        format!("`{}`: {error}", file.display()),
                    ));
                }
            }
        }
        if selected.collaterals.is_empty() && !self.endorsements.is_empty() {
            selected.collaterals.push(Collateral::none());
        }
        for collateral in &mut selected.collaterals {
            let Endorsements {
                certificates, crls, ..
            } = endorsements;
            collateral.certificates.extend(certificates.iter().cloned());
            collateral.crls.extend(crls.iter().cloned());
        }
        Ok(selected)
    }
}

/// What the files have for one platform.
#[derive(Default)]
struct Selected {
    /// Where `collaterals` come from.
    files: Vec<PathBuf>,
    /// Bundles that have nothing for it.
    lacking: Vec<PathBuf>,
    collaterals: Vec<Collateral>,
}

#[derive(Serialize)]
struct Forecasts {
    policy: Option<PathBuf>,
    forecasts: Vec<OfPlatform>,
}

#[derive(Serialize)]
struct OfPlatform {
    evidence: PathBuf,
    /// The files that `index` and `set_aside` count.
    collateral: Vec<PathBuf>,
    /// Bundles that have nothing for this platform.
    lacking: Vec<PathBuf>,
    #[serde(flatten)]
    forecast: forecast::Forecast,
}

impl Report for Forecasts {
    fn text(&self) -> String {
        let parts: Vec<String> = self.forecasts.iter().map(OfPlatform::text).collect();
        parts.join("\n\n")
    }
}

impl OfPlatform {
    fn text(&self) -> String {
        let (forecast, files) = (&self.forecast, &self.collateral);
        let mut parts = vec![
            heading(format!("{} ({})", self.evidence.display(), forecast.kind)),
            pairs(&[
                ("At first", verdict(&forecast.start)),
                ("Refused", self.when(forecast.refused_from)),
                (
                    "Even with fresh collateral",
                    self.when(forecast.refused_for_good_from),
                ),
            ]),
            String::new(),
            self.timeline(),
        ];
        if !forecast.collaterals.is_empty() {
            parts.push(String::new());
            parts.push(collaterals(&forecast.collaterals, files));
        }
        for file in &self.lacking {
            parts.push(format!(
                "`{}` has nothing for this platform",
                file.display()
            ));
        }
        for index in &forecast.set_aside {
            if let Some(file) = files.get(*index) {
                parts.push(format!(
                    "`{}` was set aside: it is not about this platform, or does not verify",
                    file.display()
                ));
            }
        }
        parts.join("\n")
    }

    /// From when on something is so, and how long that is from the beginning.
    fn when(&self, at: Option<u64>) -> String {
        let (from, until) = (self.forecast.from, self.forecast.until);
        match at {
            None => good(format!("not up to {}", date(until))),
            Some(at) if at == from => bad("from the beginning"),
            Some(at) => {
                let left = timestamp(at)
                    .zip(timestamp(from))
                    .map_or_else(String::new, |(at, from)| {
                        format!(", {} after the beginning", remaining(at, from))
                    });
                caution(format!("from {}{left}", date(at)))
            }
        }
    }

    fn timeline(&self) -> String {
        let forecast = &self.forecast;
        let mut lines = vec![point(
            forecast.from,
            mark(&forecast.start),
            &format!("the forecast begins: {}", verdict(&forecast.start)),
        )];
        for event in &forecast.events {
            lines.push(format!("{:INDENT$}  │", ""));
            lines.push(point(event.at, mark(&event.verdict), &event.what));
            for detail in [&event.effect, &remedy(event)] {
                if !detail.is_empty() {
                    lines.push(format!("{:INDENT$}  │    {detail}", ""));
                }
            }
        }
        lines.push(format!("{:INDENT$}  │", ""));
        lines.push(point(forecast.until, "╵", "the forecast ends"));
        lines.join("\n")
    }
}

fn point(at: u64, mark: &str, what: &str) -> String {
    format!("  {:width$}  {mark}  {what}", date(at), width = INDENT - 2)
}

/// Also to be told apart without colour.
fn mark(verdict: &Prospect) -> &'static str {
    if verdict.accepted { "●" } else { "✗" }
}

fn remedy(event: &Event) -> String {
    match event.remedy.as_str() {
        "" => String::new(),
        remedy => format!("→ {remedy}"),
    }
}

fn verdict(prospect: &Prospect) -> String {
    let status = prospect
        .status
        .map_or_else(String::new, |status| format!(", {status}"));
    let level = prospect
        .level_date
        .as_ref()
        .map_or_else(String::new, |date| format!(" as of {}", day(date)));
    match (&prospect.why, prospect.accepted) {
        (_, true) if prospect.tolerated.is_empty() => {
            format!("{}{status}{level}", good("accepted"))
        }
        (_, true) => format!(
            "{}{status}{level}: {}",
            caution("accepted under exceptions"),
            prospect.tolerated.join("; ")
        ),
        (Some(why), false) => format!("{}{status}{level}: {why}", bad("refused")),
        (None, false) => bad("refused"),
    }
}

fn collaterals(all: &[UnderCollateral], files: &[PathBuf]) -> String {
    let rows: Vec<[String; 6]> = all
        .iter()
        .map(|under| {
            [
                under.evaluation_number.to_string(),
                date(under.applies_from),
                date(under.expires),
                under
                    .verdict
                    .status
                    .map_or_else(|| "none".to_owned(), |status| status.to_string()),
                if under.verdict.accepted {
                    "accepted"
                } else if under.verdict.fresh_collateral_helps {
                    "refused: expired"
                } else {
                    "refused"
                }
                .to_owned(),
                files
                    .get(under.index)
                    .map_or_else(String::new, |file| file.display().to_string()),
            ]
        })
        .collect();
    let table = table(
        [
            "TCB NUMBER",
            "APPLIES FROM",
            "EXPIRES",
            "STATUS",
            "VERDICT",
            "FILE",
        ],
        &rows,
    );
    if let Some(newest) = all.last()
        && let Some(level) = &newest.newest_level_date
    {
        let behind = if newest.lacking.is_empty() {
            "the platform meets it".to_owned()
        } else {
            format!(
                "the platform is behind it:\n  {}",
                newest.lacking.join("\n  ")
            )
        };
        return format!(
            "{table}\nThe newest TCB level of number {} is of {}: {behind}",
            newest.evaluation_number,
            day(level)
        );
    }
    table
}

fn date(seconds: u64) -> String {
    timestamp(seconds).map_or_else(|| seconds.to_string(), local)
}

/// The day of an RFC 3339 date, which is all that TCB levels have.
fn day(date: &str) -> &str {
    date.split_once('T').map_or(date, |(day, _)| day)
}

/// A file that was to be read whatever the platforms are: a forecast needs all of them.
fn readable<T>(
    file: &Path,
    what: &str,
    read: Result<Result<T, Unreadable>, Failure>,
) -> Result<T, Failure> {
    read?.map_err(|unreadable| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no {what}: {}", file.display(), unreadable.why),
        )
    })
}

const INDENT: usize = 27;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
