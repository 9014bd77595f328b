//! Results: medians, ratios and goals, as a table and as JSON.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::machine::Machine;
use super::versions::Versions;
use super::{Benchmark, Effort};

/// What one run found out.
#[derive(Debug, Serialize)]
pub struct Report {
    date: Timestamp,
    effort: Effort,
    machine: Machine,
    versions: Versions,
    results: Vec<Row>,
}

impl Report {
    pub(super) fn new(effort: Effort, machine: Machine, versions: Versions) -> Self {
        Self {
            date: Timestamp::now(),
            effort,
            machine,
            versions,
            results: Vec::new(),
        }
    }

    pub(super) fn extend(&mut self, benchmark: Benchmark, measured: Vec<Measured>) {
        self.results.extend(
            measured
                .into_iter()
                .map(|measured| Row::of(benchmark, measured)),
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "{}", self.versions)?;
        if self.effort == Effort::Quick {
            writeln!(f, "A quick run: the numbers say little.")?;
        }
        let rows: Vec<[String; COLUMNS]> = self.results.iter().map(Row::cells).collect();
        write!(f, "\n{}", markdown(&rows))
    }
}

/// One quantity, measured on our side and, where there is one, on the other.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) ours: Vec<f64>,
    /// Empty if there is nothing to compare with.
    pub(super) theirs: Vec<f64>,
    pub(super) goal: Option<Goal>,
}

/// What is counted, and hence which way is better.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "req/s")]
    RequestsPerSecond,
    #[serde(rename = "MiB/s")]
    MebibytesPerSecond,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "cores")]
    Cores,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Microseconds => format!("{value:.0} us"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::RequestsPerSecond => format!("{value:.0} req/s"),
            Self::MebibytesPerSecond => format!("{value:.0} MiB/s"),
            Self::Mebibytes => format!("{value:.0} MiB"),
            Self::Cores => format!("{value:.1} cores"),
        }
    }

    /// How many times better `ours` is than `theirs`.
    fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        match self {
            Self::PerSecond | Self::RequestsPerSecond | Self::MebibytesPerSecond => {
                Some(ours / theirs)
            }
            Self::Seconds | Self::Milliseconds | Self::Microseconds | Self::Mebibytes => {
                Some(theirs / ours)
            }
            // Using more of them is neither better nor worse.
            Self::Cores => None,
        }
    }
}

/// What was promised.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// The ratio is at least this.
    TimesBetter(f64),
    /// Ours is above theirs by at most this.
    More(f64),
    /// Ours is below this.
    Below(f64),
    /// Ours is this or less.
    AtMost(f64),
    /// Ours is this or more.
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, ours: f64, theirs: Option<f64>, unit: Unit) -> bool {
        match (self, theirs) {
            (Self::Below(bound), _) => ours < bound,
            (Self::AtMost(bound), _) => ours <= bound,
            (Self::AtLeast(bound), _) => ours >= bound,
            (Self::More(bound), Some(theirs)) => ours - theirs <= bound,
            (Self::TimesBetter(times), Some(theirs)) => {
                unit.ratio(ours, theirs).is_some_and(|ratio| ratio >= times)
            }
            (Self::More(_) | Self::TimesBetter(_), None) => false,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::TimesBetter(times) => format!(">= {times}x"),
            Self::More(bound) => format!("at most {} more", unit.show(bound)),
            Self::Below(bound) => format!("< {}", unit.show(bound)),
            Self::AtMost(bound) => format!("<= {}", unit.show(bound)),
            Self::AtLeast(bound) => format!(">= {}", unit.show(bound)),
        }
    }
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    benchmark: Benchmark,
    what: String,
    unit: Unit,
    ours: Samples,
    theirs: Option<Samples>,
    /// How many times better ours is.
    ratio: Option<f64>,
    goal: Option<String>,
    met: Option<bool>,
}

impl Row {
    fn of(benchmark: Benchmark, measured: Measured) -> Self {
        let Measured {
            what,
            unit,
            ours,
            theirs,
            goal,
        } = measured;
        let ours = Samples::of(ours);
        let theirs = (!theirs.is_empty()).then(|| Samples::of(theirs));
        let their_median = theirs.as_ref().map(|theirs| theirs.median);
        Self {
            benchmark,
            what,
            unit,
            ratio: their_median.and_then(|theirs| unit.ratio(ours.median, theirs)),
            goal: goal.map(|goal| goal.show(unit)),
            met: goal.map(|goal| goal.is_met(ours.median, their_median, unit)),
            ours,
            theirs,
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        let theirs = self.theirs.as_ref();
        [
            self.what.clone(),
            self.unit.show(self.ours.median),
            theirs.map_or_else(String::new, |theirs| self.unit.show(theirs.median)),
            self.ratio
                .map_or_else(String::new, |ratio| format!("{ratio:.2}x")),
            self.goal.clone().unwrap_or_default(),
            match self.met {
                Some(true) => "met".into(),
                Some(false) => "NOT MET".into(),
                None => String::new(),
            },
        ]
    }
}

const COLUMNS: usize = 6;
const HEADING: [&str; COLUMNS] = ["what (medians)", "ours", "theirs", "ratio", "goal", ""];
const NUMBERS: std::ops::Range<usize> = 1..4;

/// A table that reads well on a terminal and can be pasted into a document.
fn markdown(rows: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([HEADING[column].len(), 2]).max().unwrap_or(0)
    });
    let line = |cells: &[String; COLUMNS]| {
        let padded: Vec<String> = std::iter::zip(cells, widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if NUMBERS.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                }
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule = std::array::from_fn(|column| {
        let dashes = "-".repeat(widths[column] - 1);
        if NUMBERS.contains(&column) {
            format!("{dashes}:")
        } else {
            format!("-{dashes}")
        }
    });
    let head = [HEADING.map(str::to_owned), rule];
    head.iter().chain(rows).map(line).collect()
}

#[derive(Debug, Serialize)]
struct Samples {
    median: f64,
    samples: Vec<f64>,
}

impl Samples {
    fn of(samples: Vec<f64>) -> Self {
        Self {
            median: median(&samples),
            samples,
        }
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_table_is_markdown() {
        let row = ["a", "1 s", "10.5 s", "10.50x", ">= 2x", "met"].map(str::to_owned);
        assert_eq!(
            markdown(&[row]),
            "\
| what (medians) | ours | theirs |  ratio | goal  |     |
| -------------- | ---: | -----: | -----: | ----- | --- |
| a              |  1 s | 10.5 s | 10.50x | >= 2x | met |
"
        );
    }

    #[test]
    fn better_is_more_of_a_rate_and_less_of_a_time() {
        let goal = Goal::TimesBetter(3.0);
        assert!(goal.is_met(30.0, Some(10.0), Unit::RequestsPerSecond));
        assert!(!goal.is_met(29.0, Some(10.0), Unit::RequestsPerSecond));
        assert!(goal.is_met(10.0, Some(30.0), Unit::Milliseconds));
        assert!(!goal.is_met(30.0, Some(10.0), Unit::Milliseconds));
        assert!(!goal.is_met(30.0, None, Unit::RequestsPerSecond));
        assert!(!goal.is_met(f64::NAN, Some(10.0), Unit::RequestsPerSecond));
    }

    #[test]
    fn bounds_are_those_that_were_promised() {
        assert!(Goal::More(1.0).is_met(1.5, Some(0.5), Unit::Seconds));
        assert!(!Goal::More(1.0).is_met(1.6, Some(0.5), Unit::Seconds));
        assert!(Goal::Below(50.0).is_met(49.9, None, Unit::Milliseconds));
        assert!(!Goal::Below(50.0).is_met(50.0, None, Unit::Milliseconds));
        assert!(Goal::AtMost(50.0).is_met(50.0, None, Unit::Microseconds));
        assert!(!Goal::AtMost(50.0).is_met(f64::NAN, None, Unit::Microseconds));
        assert!(Goal::AtLeast(50.0).is_met(50.0, None, Unit::PerSecond));
        assert!(!Goal::AtLeast(50.0).is_met(49.9, None, Unit::PerSecond));
        assert_eq!(Goal::TimesBetter(0.9).show(Unit::PerSecond), ">= 0.9x");
    }
}
