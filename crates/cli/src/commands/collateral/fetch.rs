//! `mse collateral fetch`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use mse_collateral::source::BaseUrl;
use mse_collateral::{
    ChipId, DcapPlatform, DcapTee, Edition, Facts, Fetched, Fetcher, Fmspc, Freshness, Options,
    PckCa, Platform, Product, SnpPlatform, Sources, Tcb, Vek,
};
use serde::Serialize;

use super::documents;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Report;
use crate::verification::{EvidenceFile, cache_for, save_collateral};

/// Fetch the collateral for a piece of evidence, or for a platform that is named
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral fetch quote.bin -o collateral.json
  mse collateral fetch report.bin --product Milan -o collateral.json
  mse collateral fetch --fmspc 00606A000000 --ca platform --tee tdx -o collateral.json
  mse collateral fetch quote.bin --source https://pccs.example.com:8081 -o collateral.json
  mse collateral fetch quote.bin --update early -o collateral.json")]
pub(crate) struct Fetch {
    /// Evidence: a quote, an attestation report, or a certificate that carries one
    #[arg(value_name = "EVIDENCE-FILE", required_unless_present_any = ["fmspc", "chip_id"])]
    evidence: Option<PathBuf>,
    /// The type of an Intel machine: 12 hexadecimal digits
    #[arg(long, value_name = "HEX", conflicts_with_all = ["evidence", "chip_id"])]
    fmspc: Option<Fmspc>,
    /// Who certified the Intel machine: `processor` or `platform`
    #[arg(
        long,
        value_name = "CA",
        requires = "fmspc",
        default_value = "platform"
    )]
    ca: PckCa,
    /// Which TEE of the Intel machine: `sgx` or `tdx`
    #[arg(long, value_name = "TEE", requires = "fmspc", default_value = "sgx")]
    tee: DcapTee,
    /// The product line of an AMD machine: `Milan`, `Genoa` or `Turin`; old reports do not say it
    #[arg(long, value_name = "NAME")]
    product: Option<Product>,
    /// The chip of an AMD machine: 128 hexadecimal digits, on Turin 16
    #[arg(long, value_name = "HEX", conflicts_with = "evidence", requires_all = ["product", "tcb"])]
    chip_id: Option<ChipId>,
    /// Its TCB: boot loader, TEE, SNP and microcode; on Turin, FMC first
    #[arg(
        long,
        value_name = "N,N,N,N",
        requires = "chip_id",
        value_delimiter = ',',
        num_args = 1
    )]
    tcb: Vec<u8>,
    /// Whom to ask: a PCCS, or a cache of AMD's service [default: Intel and AMD themselves]
    #[arg(long, value_name = "URL")]
    source: Option<BaseUrl>,
    /// A certificate authority that the source is accepted by, besides the system's (PEM or DER)
    #[arg(long, value_name = "FILE", requires = "source")]
    source_ca: Option<PathBuf>,
    /// Which TCB evaluation of Intel's: `standard`, `early`, or its number
    #[arg(long, value_name = "WHICH", default_value = "standard")]
    update: Edition,
    /// Do not use what was fetched before, and do not keep what comes
    #[arg(long)]
    no_cache: bool,
    /// Write the collateral to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Fetch {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let platform = self.platform()?;
        let sources = match &self.source {
            Some(base) => Sources::both_at(base),
            None => Sources::vendors(),
        };
        let cache = if self.no_cache {
            None
        } else {
            cache_for(&sources)?
        };
        let options = Options {
            edition: self.update,
            cache,
            roots: match &self.source_ca {
                Some(file) => vec![read_root(file)?],
                None => Vec::new(),
            },
            ..Options::default()
        };
        let fetcher = Fetcher::new(sources, options)?;
        let step = scene.ui.step("Asking for collateral");
        let fetched = fetcher.platform(&platform).await?;
        step.done("Collateral fetched");
        for warning in &fetched.warnings {
            scene.ui.warn(warning);
        }
        if fetched.freshness == Freshness::Stale {
            scene.ui.warn(
                "some of the collateral is out of date, and no newer could be had: a verification at the present time refuses it",
            );
        }
        save_collateral(&fetched.collateral, &self.output)?;
        scene.ui.report(&Saved::of(self.output, fetched))
    }

    /// What to ask for.
    fn platform(&self) -> Result<Platform, Failure> {
        if let Some(fmspc) = self.fmspc {
            let (tee, ca) = (self.tee, self.ca);
            return Ok(Platform::Dcap(DcapPlatform { tee, fmspc, ca }));
        }
        if let Some(chip_id) = self.chip_id.clone() {
            return Ok(Platform::Snp(SnpPlatform {
                product: self.product,
                key: Vek::Vcek,
                chip_id: Some(chip_id),
                tcb: tcb(self.product, &self.tcb)?,
            }));
        }
        let file = self.evidence.as_deref().unwrap_or(Path::new(""));
        let evidence = EvidenceFile::read(file)?
            .map_err(|unreadable| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}` is no evidence: {}", file.display(), unreadable.why),
                )
                .with_hint("give a quote, a report, or a certificate that carries one")
            })?
            .evidence;
        let mut platform = Platform::of(&evidence)
            .map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {error}", file.display()),
                )
            })?
            .ok_or_else(|| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!(
                        "evidence of the kind `{}` carries all that it is checked with",
                        evidence.kind()
                    ),
                )
                .with_hint("verify it without collateral")
            })?;
        if let (Platform::Snp(platform), Some(product)) = (&mut platform, self.product) {
            platform.product = Some(product);
        }
        Ok(platform)
    }
}

/// The numbers in the order of the product line.
fn tcb(product: Option<Product>, numbers: &[u8]) -> Result<Tcb, Failure> {
    let (fmc, rest) = match (product, numbers) {
        (Some(Product::Turin), [fmc, rest @ ..]) => (Some(*fmc), rest),
        (_, rest) => (None, rest),
    };
    let [boot_loader, tee, snp, microcode] = *rest else {
        return Err(
            Failure::new(Exit::Usage, "`--tcb` takes four numbers, and on Turin five")
                .with_hint("write for instance `--tcb 4,0,24,219`"),
        );
    };
    Ok(Tcb {
        fmc,
        boot_loader,
        tee,
        snp,
        microcode,
    })
}

/// The certificates of a further authority.
fn read_root(file: &Path) -> Result<Vec<u8>, Failure> {
    /// No file of certificates that anybody means is larger.
    const LIMIT: u64 = 1024 * 1024;

    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Exit::NotFound,
                format!("there is no file `{}`", file.display()),
            ),
            _ => Failure::file("read", file, &error),
        })?;
    Ok(bytes)
}

#[derive(Serialize)]
struct Saved {
    file: PathBuf,
    platform: Option<Platform>,
    freshness: Freshness,
    expires: Option<Timestamp>,
    documents: Vec<Facts>,
}

impl Saved {
    fn of(file: PathBuf, fetched: Fetched) -> Self {
        Self {
            file,
            documents: Facts::of(&fetched.collateral),
            platform: fetched.platform,
            freshness: fetched.freshness,
            expires: fetched
                .expires
                .and_then(|expires| Timestamp::try_from(expires).ok()),
        }
    }
}

impl Report for Saved {
    fn text(&self) -> String {
        let platform = self
            .platform
            .as_ref()
            .map_or_else(String::new, |platform| format!(" for `{platform}`"));
        format!(
            "{}\nThe collateral{platform} has been saved at: {}",
            documents(&self.documents, Timestamp::now()),
            self.file.display()
        )
    }
}
