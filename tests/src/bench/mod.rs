//! The benchmarks of `docs/benchmarks.md`: what MSE promises, measured against the system that it
//! replaces or against a bound, in one run on one machine.
//!
//! Where there is something to compare with, the two sides take turns, so that what else the
//! machine does meets both; what is reported is the median of each side.

mod cas;
mod code_tree;
mod deploy;
pub mod encrypt;
mod hypercorn;
mod machine;
mod measure;
mod mesh;
mod process;
mod report;
mod requests;
pub mod shield;
mod versions;

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

pub use cas::flood::hold as hold_connections;
pub use report::Report;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Benchmark {
    /// From `mse deploy` to the first answer.
    Deploy,
    /// Requests per second through the TLS front.
    Requests,
    /// Encryption of a code tree.
    Encrypt,
    /// Recomputing a measurement.
    Measure,
    /// Releases of a CAS.
    Releases,
    /// A CAS that strangers open connections to.
    Flood,
    /// Updates of a CAS's sessions, and very many of them.
    Sessions,
    /// TCP through the network shield.
    Shield,
    /// Building the image of a service.
    Image,
    /// Applying a mesh.
    Mesh,
    /// From the start of a container to its first answer.
    Containers,
}

impl Benchmark {
    /// Whether it needs what the replaced system is measured with.
    fn has_other_side(self) -> bool {
        matches!(
            self,
            Self::Deploy | Self::Requests | Self::Encrypt | Self::Measure
        )
    }
}

/// How long a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// The sizes and repetitions of the documents: some minutes.
    Full,
    /// Enough to see that everything works; the numbers say little.
    Quick,
}

impl Effort {
    /// `full` or `quick`, whichever this is.
    fn choose<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Where a run finds what it needs.
#[derive(Debug)]
pub struct Bench {
    /// How long it may take.
    pub effort: Effort,
    /// Interpreter of the environment with `tests/bench/requirements.txt`.
    pub python: PathBuf,
    /// Code trees are kept here between runs.
    pub work: PathBuf,
    /// What is encrypted is written here, and gone afterwards.
    pub scratch: PathBuf,
}

impl Bench {
    /// Runs `benchmarks` one after the other.
    pub async fn run(&self, benchmarks: &[Benchmark]) -> anyhow::Result<Report> {
        std::fs::create_dir_all(&self.work)
            .with_context(|| format!("the folder `{}` cannot be made", self.work.display()))?;
        let mut report = Report::new(
            self.effort,
            machine::Machine::describe()?,
            if benchmarks
                .iter()
                .any(|benchmark| benchmark.has_other_side())
            {
                versions::find(&self.python)?
            } else {
                versions::ours()
            },
        );
        for &benchmark in benchmarks {
            let measured = match benchmark {
                Benchmark::Deploy => deploy::run(self).await,
                Benchmark::Requests => requests::run(self).await,
                Benchmark::Encrypt => encrypt::run(self),
                Benchmark::Measure => measure::run(self),
                Benchmark::Releases => cas::releases::run(self).await,
                Benchmark::Flood => cas::flood::run(self).await,
                Benchmark::Sessions => cas::sessions::run(self).await,
                Benchmark::Shield => shield::run(self).await,
                Benchmark::Image => mesh::image::run(self),
                Benchmark::Mesh => mesh::apply::run(self),
                Benchmark::Containers => mesh::containers::run(self).await,
            };
            report.extend(benchmark, measured?);
        }
        Ok(report)
    }
}

/// Says what goes on, apart from the results.
fn say(what: impl std::fmt::Display) {
    eprintln!("{what}");
}

/// A port that nobody listens on. Somebody may take it before it is used, and it shows then.
fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// What the apps of `tests/bench/apps` and `examples/helloworld` answer.
const HELLO: &str = "Hello world";

/// A script or an app of `tests/bench`.
fn asset(name: &str) -> PathBuf {
    crate::programs::repository().join("tests/bench").join(name)
}
