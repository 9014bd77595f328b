//! `mse service`

mod image;
mod measure;
mod run;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use mse_crypto::Digest;
use mse_workload::bundle::{CodeTree, tree_digest};
use mse_workload::image::ImageFacts;
use mse_workload::{Base, CasKey, Measured as _, Resources, SERVICE_FORMAT, ServiceWorkload};
use serde::Serialize;

use crate::cas::{CasChoice, CasName, CasPins};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::counted;
use image::UnpackedImage;

/// Run a program whose arguments, environment and files a CAS releases
///
/// A service is a folder with a program, measured as it is, and the name of a session of a CAS.
/// Everything that the program is told comes from that session, after the enclave has proven what
/// it is: nothing of this machine's environment does.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse service measure ./web --session team/shop --service web
  mse service run ./web --session team/shop --service web
  mse service run ./web --cas cas.example:18765 --cas-key $KEY --session team/shop --service web
  mse service run --image ./web-image --session team/shop --service web")]
pub(crate) struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Run(Box<run::Run>),
    Measure(measure::MeasureService),
}

impl Service {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.what {
            What::Run(command) => Box::pin(command.run(scene)).await,
            What::Measure(command) => command.run(scene),
        }
    }
}

/// What of a service is measured.
#[derive(Args)]
struct Measured {
    /// The folder with the program and all that belongs to it
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The folder with an image instead: the root file system of a container, with what the image
    /// says about itself in `mse/image.json`
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    image: Option<PathBuf>,
    /// The CAS: its name in `mse cas list`, or its address, which goes with `--cas-key` [default: the
    /// only one there]
    #[arg(
        long,
        value_name = "NAME|HOST:PORT",
        env = "MSE_CAS_NAME",
        hide_env_values = true
    )]
    cas: Option<WhichCas>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of the CAS's root certificate [default:
    /// that of the CAS with this name]
    #[arg(long, value_name = "HEX")]
    cas_key: Option<CasKey>,
    /// The session, with its namespaces
    #[arg(long, value_name = "NAME")]
    session: String,
    /// The service in the session
    #[arg(long, value_name = "NAME")]
    service: String,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Cores, as in `2` or `0.5`
    #[arg(long, value_name = "CORES", default_value = "1", value_parser = millicores)]
    cores: u32,
}

/// A CAS, as the user names it.
#[derive(Clone)]
enum WhichCas {
    /// One that was attested.
    Known(CasName),
    /// Whatever is there; the enclave checks that it has the right key.
    At(String),
}

impl FromStr for WhichCas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return Ok(Self::At(text.to_owned()));
        }
        text.parse().map(Self::Known)
    }
}

impl Measured {
    /// The key of the CAS, and its address as far as it is known.
    fn cas(&self, scene: &Scene<'_>) -> Result<(CasKey, Option<String>), Failure> {
        let name = match (&self.cas, self.cas_key) {
            (Some(WhichCas::At(address)), Some(key)) => return Ok((key, Some(address.clone()))),
            (None, Some(key)) => return Ok((key, None)),
            (Some(WhichCas::At(address)), None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("which CAS is to be at `{address}`, nothing says"),
                )
                .with_hint("give its key with `--cas-key`, or attest it and name it: `mse cas attest ADDRESS --name NAME`"));
            }
            (Some(WhichCas::Known(name)), _) => Some(name.clone()),
            (None, None) => None,
        };
        let name = CasChoice::of(name).name(scene)?;
        let pin = CasPins::of(&scene.conf).required(&name)?;
        let key = self.cas_key.unwrap_or(pin.cas_key);
        if key != pin.cas_key {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`--cas-key` is {key}, and `{name}` was attested with {}",
                    pin.cas_key
                ),
            )
            .with_hint("leave `--cas-key` away, or name the address"));
        }
        Ok((key, Some(pin.address)))
    }

    /// The program that is named: a folder, or an image.
    fn program(&self) -> Result<Program, Failure> {
        match (&self.folder, &self.image) {
            (Some(folder), None) => Program::in_folder(folder),
            (None, Some(image)) => {
                let image = UnpackedImage::open(image)?;
                Ok(Program::of_image(image.facts()))
            }
            _ => Err(
                Failure::new(Exit::Usage, "nothing says which program it is")
                    .with_hint("name the folder with the program, or an image with `--image DIR`"),
            ),
        }
    }

    /// What runs `program`.
    fn workload(&self, cas_key: CasKey, program: Program) -> Result<ServiceWorkload, Failure> {
        let workload = ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: program.tree,
            base: program.base,
            cas_key,
            session: self.session.clone(),
            service: self.service.clone(),
            resources: Resources {
                memory_mib: self.memory,
                millicores: self.cores,
            },
        };
        workload
            .check()
            .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        Ok(workload)
    }
}

/// What of a program is measured.
struct Program {
    tree: Digest,
    base: Base,
    extent: Extent,
}

/// How much it is.
#[derive(Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Extent {
    /// So many files of a folder.
    Files(usize),
    /// The image of this name.
    Image(String),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => f.write_str(&counted(*files, "file", "files")),
            Self::Image(name) => write!(f, "image `{name}`"),
        }
    }
}

impl Program {
    /// Reads the whole folder.
    fn in_folder(folder: &Path) -> Result<Self, Failure> {
        let invalid = |error: String| Failure::new(Exit::InvalidConfiguration, error);
        let tree = CodeTree::collect(&existing(folder)?).map_err(|e| invalid(e.to_string()))?;
        Ok(Self {
            tree: tree_digest(&tree).map_err(|error| invalid(error.to_string()))?,
            base: Base::Machine {},
            extent: Extent::Files(tree.files().len()),
        })
    }

    /// Takes what the image says: whether it is so, the enclave finds out.
    fn of_image(facts: &ImageFacts) -> Self {
        Self {
            tree: facts.root,
            base: facts.base(),
            extent: Extent::Image(facts.name.clone()),
        }
    }
}

/// The folder itself: the one that is named may be a link to it.
fn existing(folder: &Path) -> Result<PathBuf, Failure> {
    folder.canonicalize().map_err(|error| {
        Failure::new(
            Exit::NotFound,
            format!("the folder `{}` cannot be read: {error}", folder.display()),
        )
        .with_hint("name the folder with the program")
    })
}

/// Reads a number of cores with at most three decimals.
pub(crate) fn millicores(text: &str) -> Result<u32, String> {
    let wrong = || "write a number of cores from 0.001 to 1024, such as `2` or `0.5`".to_owned();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 || whole.len() > 4 {
        return Err(wrong());
    }
    let thousandths: u32 = format!("{decimals:0<3}").parse().map_err(|_| wrong())?;
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    Some(whole * 1000 + thousandths)
        .filter(|found| (1..=1_024_000).contains(found))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_have_three_decimals() {
        for (text, expected) in [("1", 1000), ("0.5", 500), ("2.25", 2250), ("0.001", 1)] {
            assert_eq!(millicores(text), Ok(expected), "{text}");
        }
        for text in [
            "", "0", "0.0", "1.", ".5", "-1", "1e3", "0.0001", "9999", "1,5",
        ] {
            assert!(millicores(text).is_err(), "{text}");
        }
    }
}
