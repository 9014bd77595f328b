//! `./x bench`: the benchmarks of `docs/benchmarks.md`, as a table and as JSON.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use mse_tests::bench::{Bench, Benchmark, Effort, encrypt, hold_connections, shield};
use mse_tests::programs::target;
use mse_workload::CasKey;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    match options.part {
        None => {}
        Some(Part::Seal { code, archive }) => {
            serde_json::to_writer(io::stdout(), &encrypt::seal_here(&code, &archive)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Part::Shield { side, listen, to }) => {
            shield::serve_side(&side, listen, to).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Part::Strangers {
            address,
            key,
            from,
            count,
            processes,
            silent,
        }) => {
            hold_connections(&address, key, from, count, processes, silent).await?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    // As in the tests: one provider for everything that speaks TLS here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let bench = Bench {
        effort: if options.quick {
            Effort::Quick
        } else {
            Effort::Full
        },
        python: options
            .python
            .unwrap_or_else(|| target().join("bench-venv/bin/python")),
        work: target().join("bench"),
        scratch: options.scratch,
    };
    let chosen = if options.only.is_empty() {
        Benchmark::value_variants()
    } else {
        &options.only
    };
    let report = bench.run(chosen).await?;
    println!("\n{report}");
    let json = options.json.unwrap_or_else(|| target().join("bench.json"));
    fs::write(&json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("`{}` cannot be written", json.display()))?;
    println!("As JSON: {}", json.display());
    Ok(ExitCode::SUCCESS)
}

/// Measures what MSE promises, against the system that it replaces (docs/benchmarks.md)
#[derive(Parser)]
#[command(name = "./x bench", args_conflicts_with_subcommands = true)]
struct Options {
    /// Small sizes and one round: shows that it works, and little else
    #[arg(long)]
    quick: bool,
    /// Only these, separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<Benchmark>,
    /// Write the results here instead of to `target/bench.json`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Interpreter of an environment with `tests/bench/requirements.txt`
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Encrypt into this folder: in memory, so that no disk is measured
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/dev/shm",
        overrides_with = "scratch"
    )]
    scratch: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs in a process of its own.
#[derive(Subcommand)]
enum Part {
    /// Our side of the encryption
    #[command(hide = true)]
    Seal {
        /// The folder of the code
        code: PathBuf,
        /// The bundle to be made
        archive: PathBuf,
    },
    /// One side of the network shield, until the standard input ends
    #[command(hide = true)]
    Shield {
        /// Its variables, as JSON
        side: PathBuf,
        /// The port that it listens on
        listen: u16,
        /// The port of the program, for a server's side
        to: u16,
    },
    /// Connections to a CAS that say nothing, until the standard input ends
    #[command(hide = true)]
    Strangers {
        /// `host:port`
        address: String,
        /// Root key of the CAS
        key: CasKey,
        /// Number of the first one
        from: usize,
        /// How many
        count: usize,
        /// How many processes do this
        processes: usize,
        /// None says anything
        #[arg(long)]
        silent: bool,
    },
}
