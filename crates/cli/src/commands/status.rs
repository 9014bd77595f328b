//! `mse status`

use clap::Args;
use jiff::Timestamp;
use mse_api::{App, AppStatus, Hardware};
use serde::Serialize;
use serde_json::Value;

use super::list::coloured;
use crate::app_name::AppName;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::{Report, heading, local, pairs, remaining};

/// Show everything the platform says of an app
///
/// It is the operator's word; `mse verify` shows what is proven.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse status hello
  mse status 3f2b8c1e-5d0a-4f6b-9a57-2c1b7e1f0a11 --json")]
pub(crate) struct Status {
    /// Id of the app, or name of a live one
    #[arg(value_name = "APP")]
    app: AppName,
}

impl Status {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (api, id) = scene.api_and_app(&self.app).await?;
        let app = api.app(id).await.map_err(|failure| {
            if failure.is_not_found() {
                self.app.not_found()
            } else {
                failure.into()
            }
        })?;
        let hardware = match api.hardware(&app.hardware_name).await {
            Ok(hardware) => Some(hardware),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure.into()),
        };
        let metrics = match app.status {
            AppStatus::Running => match api.metrics(id).await {
                Ok(metrics) => Some(metrics),
                Err(failure) => {
                    scene
                        .ui
                        .warn(format!("the platform gives no figures: {failure}"));
                    None
                }
            },
            _ => None,
        };
        scene.ui.report(&AppState {
            simulated: app.tee == "simulated",
            app,
            hardware,
            metrics,
        })
    }
}

#[derive(Serialize)]
struct AppState {
    #[serde(flatten)]
    app: App,
    simulated: bool,
    hardware: Option<Hardware>,
    metrics: Option<Value>,
}

impl Report for AppState {
    fn text(&self) -> String {
        let app = &self.app;
        let mut parts = vec![
            heading("Microservice"),
            pairs(&[
                ("Name", app.name.clone()),
                ("Domain", app.domain_name.clone()),
                ("URL", app.url.clone()),
                ("Hardware", app.hardware_name.clone()),
                ("Application", app.python_application.clone()),
                ("Image", app.docker.clone()),
                ("Health endpoint", app.healthcheck_endpoint.clone()),
            ]),
            heading("Deployment"),
            pairs(&self.deployment()),
            heading("Status"),
            pairs(&self.status()),
        ];
        if !app.confinement.is_empty() {
            let rows: Vec<(&str, String)> = app
                .confinement
                .iter()
                .map(|one| {
                    let mark = if one.applied { "yes" } else { "NO" };
                    (one.name.as_str(), format!("{mark}: {}", one.detail))
                })
                .collect();
            parts.extend([heading("Confinement"), pairs(&rows)]);
        }
        if let Some(metrics) = &self.metrics {
            let rows = figures(metrics);
            if !rows.is_empty() {
                parts.extend([heading("Figures"), pairs(&rows)]);
            }
        }
        parts.join("\n")
    }
}

impl AppState {
    fn deployment(&self) -> Vec<(&'static str, String)> {
        let app = &self.app;
        let mut rows = vec![
            ("ID", app.id.to_string()),
            ("Verified at", app.config_domain_name.clone()),
            ("Gateway", app.gateway.clone()),
            (
                "TEE",
                if self.simulated {
                    "simulated: no hardware protects this app".to_owned()
                } else {
                    app.tee.clone()
                },
            ),
            ("Certificate origin", app.ssl_certificate_origin.to_string()),
        ];
        if let Some(hardware) = &self.hardware {
            rows.push(("Memory", format!("{} MiB", hardware.enclave_size)));
            rows.push(("Cores", format!("{:.2}", hardware.cores)));
        }
        rows.push(("Created", local(app.created_at)));
        let left = if app.status.is_terminated() {
            String::new()
        } else {
            format!(" ({})", remaining(app.expires_at, Timestamp::now()))
        };
        rows.push(("Expires", format!("{}{left}", local(app.expires_at))));
        rows
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let app = &self.app;
        let mut rows = vec![("Status", coloured(app.status))];
        if let Some(at) = app.ready_at {
            rows.push(("Ready since", local(at)));
        }
        if let Some(at) = app.stopped_at {
            rows.push(("Ended", local(at)));
        }
        if let Some(reason) = &app.status_reason
            && reason != app.status.as_str()
        {
            rows.push(("Because", reason.clone()));
        }
        rows
    }
}

/// The figures that are known, with their units. Each is a pair of a time and a value.
fn figures(metrics: &Value) -> Vec<(&'static str, String)> {
    type Form = fn(f64) -> String;
    let value = |name: &str| metrics.get(name)?.get(1)?.as_f64();
    let known: [(&'static str, &str, Form); 9] = [
        ("Queue time", "average_queue_time", seconds),
        ("Connect time", "average_connect_time", seconds),
        ("Response time", "average_response_time", seconds),
        ("Query time", "average_query_time", seconds),
        ("Connections", "amount_of_connection", |count| {
            format!("{count:.0}")
        }),
        ("CPU", "cpu_usage", |share| format!("{share:.2} %")),
        ("File system", "fs_usage", bytes),
        ("Throughput in", "throughput_in", |rate| {
            format!("{}/s", bytes(rate))
        }),
        ("Throughput out", "throughput_out", |rate| {
            format!("{}/s", bytes(rate))
        }),
    ];
    known
        .into_iter()
        .filter_map(|(label, name, form)| Some((label, form(value(name)?))))
        .collect()
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3} s")
}

fn bytes(bytes: f64) -> String {
    let mut amount = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{amount:.digits$} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_and_unknown_ones_are_left_out() {
        let metrics = serde_json::json!({
            "cpu_usage": [0, 12.345],
            "throughput_in": [0, 2048],
            "average_query_time": ["x", 0.0123],
            "something_new": [0, 1],
            "fs_usage": null,
        });
        assert_eq!(
            figures(&metrics),
            [
                ("Query time", "0.012 s".to_owned()),
                ("CPU", "12.35 %".to_owned()),
                ("Throughput in", "2.0 KiB/s".to_owned()),
            ]
        );
    }
}
