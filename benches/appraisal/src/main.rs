//! How long one verification takes, on one core: `mse-attest` against `dcap-qvl` and `sev`, on the
//! same evidence, in the same run, taking turns.
//!
//! - *cold*: everything is verified: chains, CRLs, collateral, evidence. Ours also parses the
//!   evidence and appraises it under a policy, which the peers' callers do afterwards.
//! - *warm*: ours with [`Verifier`], which keeps verified chains and collateral by their digest.
//!   The peers have no such thing, so they are measured as they are.
//! - *floor*: the signature checks alone, on aws-lc: nobody who checks them all is faster.

mod peers;
mod samples;

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use mse_attest::{Evidence, ReferenceValues, Verifier, appraise};
use serde::Serialize;

use samples::Sample;

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(20, |text| text.parse().expect("the number of rounds"));
    let samples = samples::read();
    let floor = peers::Floor::measure();
    let mut table = BTreeMap::<&str, Row>::new();
    for sample in &samples {
        let row = table.entry(sample.kind).or_default();
        row.samples += 1;
        measure(sample, rounds, row);
    }
    for (kind, row) in &mut table {
        row.floor_cold = floor.cold(kind);
        row.floor_warm = floor.warm(kind);
    }
    println!("{}", table_text(&table, &floor));
    if let Some(file) = std::env::args().nth(2) {
        let json = serde_json::to_string_pretty(&table).expect("numbers are JSON");
        std::fs::write(&file, json).expect("the result can be written");
    }
}

/// Microseconds, a median per sample.
#[derive(Default, Serialize)]
struct Row {
    samples: usize,
    ours_cold: Vec<f64>,
    ours_warm: Vec<f64>,
    peer: Vec<f64>,
    floor_cold: f64,
    floor_warm: f64,
}

fn measure(sample: &Sample, rounds: usize, row: &mut Row) {
    let expected = ReferenceValues::default();
    let cold = || {
        let evidence = Evidence::parse(&sample.evidence).expect("a genuine sample");
        appraise(
            &evidence,
            &sample.collateral,
            &sample.policy,
            &expected,
            sample.now,
        )
        .map(|appraisal| appraisal.tee)
        .expect("a genuine sample is accepted")
    };
    let verifier = Verifier::new(sample.policy.clone());
    let warm = || {
        let evidence = Evidence::parse(&sample.evidence).expect("a genuine sample");
        verifier
            .appraise(&evidence, &sample.collateral, &expected, sample.now)
            .map(|appraisal| appraisal.tee)
            .expect("a genuine sample is accepted")
    };
    let (mut colds, mut warms, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    warm();
    for _ in 0..rounds {
        colds.push(time(cold));
        warms.push(time(warm));
        peers.push(time(|| peers::verify(sample)));
    }
    row.ours_cold.push(median(colds));
    row.ours_warm.push(median(warms));
    row.peer.push(median(peers));
}

fn time<T>(what: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(what());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table_text(table: &BTreeMap<&str, Row>, floor: &peers::Floor) -> String {
    let mut lines = vec![
        format!(
            "one signature check: P-256 {:.0} us, P-384 {:.0} us, RSA-4096 {:.0} us",
            floor.p256, floor.p384, floor.rsa4096
        ),
        String::new(),
        "| evidence | samples | ours cold | floor | peer | ratio | goal | | ours warm | floor | ratio | goal | |".into(),
        "| --- | --: | --: | --: | --: | --: | --- | --- | --: | --: | --: | --- | --- |".into(),
    ];
    for (kind, row) in table {
        let (cold, warm, peer) = (
            middle(&row.ours_cold),
            middle(&row.ours_warm),
            middle(&row.peer),
        );
        let verdict = |met: bool| if met { "met" } else { "NOT MET" };
        lines.push(format!(
            "| {kind} | {} | {cold:.0} us | {:.0} us | {peer:.0} us | {:.2}x | >= 1x | {} | {warm:.0} us | {:.0} us | {:.2}x | >= 3x | {} |",
            row.samples,
            row.floor_cold,
            peer / cold,
            verdict(peer >= cold),
            row.floor_warm,
            peer / warm,
            verdict(peer >= 3.0 * warm),
        ));
    }
    lines.join("\n")
}
