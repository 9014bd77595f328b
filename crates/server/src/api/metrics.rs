//! Figures of a running app, as existing clients read them: `name: [when, value]`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use jiff::Timestamp;
use mse_api::ApiError;
use serde_json::{Value, json};

use super::State;
use super::caller::Caller;
use super::refusal::Refusal;

/// Figures of an app, measured over a quarter of a second: `name: [when, value]`.
///
/// Times in milliseconds, `cpu_usage` in percent of a core, sizes in bytes, throughput in bytes
/// per second. A value is `null` where nothing can be known: what happens inside a connection is
/// encrypted, and the enclave's storage is its own.
#[utoipa::path(
    get, path = "/apps/{id}/metrics", tag = "apps", params(("id" = Uuid, Path)),
    responses(
        (status = OK, body = BTreeMap<String, Vec<Value>>),
        (status = NOT_FOUND, body = ApiError),
    )
)]
pub(super) async fn metrics(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BTreeMap<String, Value>>, Refusal> {
    let app = api.own_app(&caller, &id).await?;
    let Some(supervised) = api.fleet.supervised(app.id()) else {
        return Ok(Json(Figures::default().shown()));
    };
    let traffic = &supervised.traffic;
    let before = (
        traffic.received(),
        traffic.sent(),
        usage(supervised.pid()).await,
    );
    tokio::time::sleep(WINDOW).await;
    let after = (
        traffic.received(),
        traffic.sent(),
        usage(supervised.pid()).await,
    );
    let per_second = |before: u64, after: u64| {
        after.saturating_sub(before) * 1000 / u64::try_from(WINDOW.as_millis()).unwrap_or(1)
    };
    let figures = Figures {
        connect_millis: traffic
            .average_connect()
            .map(|time| time.as_secs_f64() * 1000.0),
        connections: Some(traffic.open()),
        connections_ever: Some(traffic.connections()),
        cpu_percent: before.2.zip(after.2).map(|(before, after)| {
            let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
            f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) * 100.0
                / (TICKS_PER_SECOND * WINDOW.as_secs_f64())
        }),
        memory: after.2.map(|usage| usage.memory),
        received: Some(traffic.received()),
        sent: Some(traffic.sent()),
        receiving: Some(per_second(before.0, after.0)),
        sending: Some(per_second(before.1, after.1)),
    };
    Ok(Json(figures.shown()))
}

#[derive(Default)]
struct Figures {
    connect_millis: Option<f64>,
    connections: Option<u64>,
    connections_ever: Option<u64>,
    cpu_percent: Option<f64>,
    memory: Option<u64>,
    received: Option<u64>,
    sent: Option<u64>,
    receiving: Option<u64>,
    sending: Option<u64>,
}

impl Figures {
    fn shown(self) -> BTreeMap<String, Value> {
        let now = Timestamp::now().as_second();
        let unknown: Option<f64> = None;
        [
            ("average_connect_time", json!([now, self.connect_millis])),
            ("average_queue_time", json!([now, unknown])),
            ("average_response_time", json!([now, unknown])),
            ("average_query_time", json!([now, unknown])),
            ("amount_of_connection", json!([now, self.connections])),
            ("connections_total", json!([now, self.connections_ever])),
            ("cpu_usage", json!([now, self.cpu_percent])),
            ("memory_usage", json!([now, self.memory])),
            ("fs_usage", json!([now, unknown])),
            ("bytes_in", json!([now, self.received])),
            ("bytes_out", json!([now, self.sent])),
            ("throughput_in", json!([now, self.receiving])),
            ("throughput_out", json!([now, self.sending])),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

#[derive(Clone, Copy)]
struct Usage {
    cpu_ticks: u64,
    memory: u64,
}

/// What a process and its descendants have used; nothing if there is no such process.
async fn usage(root: Option<u32>) -> Option<Usage> {
    let root = root?;
    tokio::task::spawn_blocking(move || usage_of_tree(root))
        .await
        .ok()?
}

fn usage_of_tree(root: u32) -> Option<Usage> {
    let processes: HashMap<u32, Process> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, Process::parse(&stat)?))
        })
        .collect();
    processes.get(&root)?;
    let belongs = |mut pid: u32| {
        // Deeper than any real tree: a table read in pieces might hold a loop.
        for _ in 0..64 {
            if pid == root {
                return true;
            }
            match processes.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    };
    let mut usage = Usage {
        cpu_ticks: 0,
        memory: 0,
    };
    for (pid, process) in &processes {
        if belongs(*pid) {
            usage.cpu_ticks += process.cpu_ticks;
            usage.memory += process.resident_pages * PAGE;
        }
    }
    Some(usage)
}

struct Process {
    parent: u32,
    cpu_ticks: u64,
    resident_pages: u64,
}

impl Process {
    /// Reads `/proc/<pid>/stat`, whose second field may hold anything up to the last `)`.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let number = |index: usize| -> Option<u64> { fields.get(index)?.parse().ok() };
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            cpu_ticks: number(11)? + number(12)?,
            resident_pages: number(21)?,
        })
    }
}

const WINDOW: Duration = Duration::from_millis(250);
/// Fixed by the kernel's interface on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 11 22 0 0 20 0 1 0 5 1000 33 0 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.parent, 7);
        assert_eq!(process.cpu_ticks, 33);
        assert_eq!(process.resident_pages, 33);
        assert!(Process::parse("42 (a S 7").is_none());
    }

    #[test]
    fn this_process_uses_memory_and_nobody_uses_none() {
        let own = usage_of_tree(std::process::id()).unwrap();
        assert!(own.memory > 100_000, "{}", own.memory);
        assert!(usage_of_tree(u32::MAX).is_none());
    }
}
