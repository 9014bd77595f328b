//! Where the endorsements of services' evidence come from. Nothing of it is trusted.

use std::sync::Arc;

use mse_attest::{Collateral, Evidence};
use mse_collateral::source::InvalidBaseUrl;
use mse_collateral::{BaseUrl, FetchError, Fetcher, Options, SetupError, Sources};
use mse_ratls::CollateralSource;

/// Stands for the vendors' own services.
const VENDORS: &str = "vendors";

/// Services with collateral, in the order in which they are asked.
#[derive(Clone)]
pub struct Collaterals(Arc<[Fetcher]>);

impl Collaterals {
    /// Those at these base URLs, or `vendors`; without any, the vendors'.
    pub fn of(texts: &[String]) -> Result<Self, SourcesError> {
        let sources = if texts.is_empty() {
            vec![Sources::vendors()]
        } else {
            texts
                .iter()
                .map(|text| match text.as_str() {
                    VENDORS => Ok(Sources::vendors()),
                    url => Ok(Sources::both_at(&url.parse::<BaseUrl>()?)),
                })
                .collect::<Result<_, InvalidBaseUrl>>()?
        };
        let fetchers = sources
            .into_iter()
            .map(|sources| Fetcher::new(sources, Options::default()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self(fetchers.into()))
    }
}

impl CollateralSource for Collaterals {
    type Error = NoCollateral;

    /// From the first service that has it. What went wrong with the first one is told if none has.
    async fn collateral(&self, evidence: &Evidence) -> Result<Collateral, NoCollateral> {
        let mut first = None;
        for fetcher in self.0.iter() {
            match Box::pin(fetcher.collateral(evidence)).await {
                Ok(fetched) => {
                    for warning in &fetched.warnings {
                        tracing::warn!(freshness = %fetched.freshness, "{warning}");
                    }
                    return Ok(fetched.collateral);
                }
                Err(error) => {
                    tracing::debug!(%error, "a service has no collateral");
                    first = first.or(Some(error));
                }
            }
        }
        Err(NoCollateral(first))
    }
}

/// No service has it.
#[derive(Debug, thiserror::Error)]
#[error("no service has the collateral: {why}", why = .0.as_ref().map_or_else(|| "there is none to ask".to_owned(), ToString::to_string))]
pub struct NoCollateral(#[source] Option<FetchError>);

/// A service that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// Not an address.
    #[error("a service with collateral: {0}; or write `vendors` for those of the vendors")]
    Url(#[from] InvalidBaseUrl),
    /// No client for it.
    #[error("services with collateral cannot be asked: {0}")]
    Setup(#[from] SetupError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_by_url_and_the_vendors_by_a_word() {
        let of = |texts: &[&str]| {
            Collaterals::of(
                &texts
                    .iter()
                    .map(|&text| text.to_owned())
                    .collect::<Vec<_>>(),
            )
            .map(|found| found.0.len())
        };
        assert_eq!(of(&[]).unwrap(), 1);
        assert_eq!(of(&["http://127.0.0.1:1", "vendors"]).unwrap(), 2);
        let refused = of(&["http://pccs.example"]).unwrap_err().to_string();
        assert!(refused.contains("pccs.example"), "{refused}");
    }
}
