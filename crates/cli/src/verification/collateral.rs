//! Where collateral comes from: a service (usually the platform's own), or a file. It need not be
//! trusted: every appraisal verifies it.

use std::path::Path;
use std::time::SystemTime;

use mse_attest::{Collateral, Evidence};
use mse_collateral::{
    BaseUrl, BundleError, CollateralFile, DcapSource, FetchError, Fetcher, KdsSource, Options,
    SetupError, Sources, bundle,
};
use mse_ratls::CollateralSource;
use mse_simtee::{Platform, PlatformError};

use crate::api::ApiClient;
use crate::conf_dir::cache_dir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::server_url::ServerUrl;

/// Where the user wants collateral from.
#[derive(Debug, Clone)]
pub(crate) enum CollateralChoice<'a> {
    /// A file that was kept: for verification without a network.
    File(&'a Path),
    /// A PCCS.
    Pccs(ServerUrl),
    /// The PCCS of a platform.
    Platform(ServerUrl),
}

/// A source of collateral.
pub(crate) enum Collaterals {
    /// Always from the same file.
    Kept(CollateralFile),
    /// Fetched for the platform that the evidence comes from.
    Service(Box<Fetcher>),
    /// This machine's simulated platform.
    Own(Box<Platform>),
}

impl Collaterals {
    pub(crate) async fn of(choice: CollateralChoice<'_>) -> Result<Self, Failure> {
        match choice {
            CollateralChoice::File(file) => Ok(Self::Kept(read_file(file)?)),
            CollateralChoice::Pccs(url) => {
                let base = base_url(&url.to_string())?;
                Self::service(Sources::both_at(&base))
            }
            CollateralChoice::Platform(url) => {
                let platform = ApiClient::open(&url)?.platform().await?;
                Self::of_platform(&url, &platform.pccs_path)
            }
        }
    }

    /// The collateral that the platform at `server` serves under `path`.
    pub(crate) fn of_platform(server: &ServerUrl, path: &str) -> Result<Self, Failure> {
        let base = base_url(&server.at(path))?;
        Self::service(Sources {
            amd: Some(KdsSource::at(&base)),
            dcap: Some(DcapSource::mse(base)),
        })
    }

    /// The collateral for `evidence`.
    pub(crate) async fn fetch(&self, evidence: &Evidence) -> Result<Collateral, Failure> {
        self.collateral(evidence).await.map_err(|error| {
            Failure::new(Exit::Platform, error.to_string())
                .with_hint("name a service that knows this platform, or collateral that was kept")
        })
    }

    fn service(sources: Sources) -> Result<Self, Failure> {
        let options = Options {
            cache: cache_for(&sources)?,
            ..Options::default()
        };
        Ok(Self::Service(Box::new(Fetcher::new(sources, options)?)))
    }
}

impl CollateralSource for Collaterals {
    type Error = SourceError;

    async fn collateral(&self, evidence: &Evidence) -> Result<Collateral, SourceError> {
        match self {
            Self::Kept(file) => Ok(file.select(evidence)?),
            Self::Service(fetcher) => {
                // Large, and inside of everything that connects.
                let fetched = Box::pin(fetcher.collateral(evidence)).await?;
                for warning in &fetched.warnings {
                    tracing::warn!(freshness = %fetched.freshness, "{warning}");
                }
                Ok(fetched.collateral)
            }
            Self::Own(platform) => Ok(platform.collateral(SystemTime::now())?.into()),
        }
    }
}

/// Why there is no collateral.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file has none.
    #[error(transparent)]
    File(#[from] BundleError),
    /// The service gives none.
    #[error(transparent)]
    Service(#[from] FetchError),
    /// This machine's platform gives none.
    #[error(transparent)]
    Own(#[from] PlatformError),
}

/// Where answers of `sources` are kept between runs. Those of this machine's own services are not:
/// asking is cheap, and a platform that was set up anew at the same address has other documents.
pub(crate) fn cache_for(sources: &Sources) -> Result<Option<std::path::PathBuf>, Failure> {
    if sources.are_local() {
        return Ok(None);
    }
    Ok(Some(cache_dir()?.join("collateral")))
}

/// Reads a file with collateral, in any of its forms.
pub(crate) fn read_file(file: &Path) -> Result<CollateralFile, Failure> {
    let json = private_file::read(file, bundle::MAX_BUNDLE_BYTES as u64)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no collateral file `{}`", file.display()),
        )
        .with_hint("`mse collateral fetch` makes one, and `mse verify` keeps one with `--save-collateral FILE`")
    })?;
    CollateralFile::from_json(json.as_bytes()).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {error}", file.display()),
        )
    })
}

/// Writes collateral to `file`, for [`CollateralChoice::File`].
pub(crate) fn save(collateral: &Collateral, file: &Path) -> Result<(), Failure> {
    private_file::write(file, collateral.to_json().as_bytes())
}

fn base_url(text: &str) -> Result<BaseUrl, Failure> {
    text.parse()
        .map_err(|error: mse_collateral::source::InvalidBaseUrl| {
            Failure::new(Exit::InvalidConfiguration, error.to_string())
        })
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let exit = match &error {
            FetchError::NotFound { .. } => Exit::NotFound,
            FetchError::TimedOut { .. } => Exit::TimedOut,
            FetchError::Platform(_) | FetchError::NoSource { .. } => Exit::InvalidConfiguration,
            _ => Exit::Platform,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::other(error.to_string())
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        let exit = match &error {
            BundleError::NotFound { .. } => Exit::NotFound,
            _ => Exit::InvalidConfiguration,
        };
        Self::new(exit, error.to_string())
    }
}
