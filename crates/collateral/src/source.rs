//! Where collateral comes from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::document::Document;
use crate::platform::Fmspc;

/// Intel's own service.
pub const INTEL: &str = "https://api.trustedservices.intel.com";
/// Intel gives the CRL of its root at another host.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// AMD's own service.
pub const AMD: &str = "https://kdsintf.amd.com";

/// Address of a service: `https`, or `http` on this machine. Without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Whether the service is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether the connection is in clear.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    fn at(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let invalid = |why| InvalidBaseUrl {
            text: text.chars().take(200).collect(),
            why,
        };
        let url: Url = text.trim().parse().map_err(|_| {
            invalid("is no URL: write for instance `https://pccs.example.com:8081`")
        })?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(invalid(
                    "would tell the network in clear which platforms you verify: use `https`",
                ));
            }
            _ => return Err(invalid("is neither `https` nor `http`")),
        }
        if url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "must be scheme, host and, if need be, port and path",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must not hold a user name or a password"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The text is not the address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` {why}")]
pub struct InvalidBaseUrl {
    text: String,
    why: &'static str,
}

/// A service that speaks Intel's Provisioning Certification Service API, version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DcapSource {
    base: BaseUrl,
    form: DcapForm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DcapForm {
    /// Intel's own: no `rootcacrl`, the CRL of the root is elsewhere.
    Pcs { root_crl: String },
    /// A caching service.
    Pccs,
    /// A platform of ours: two kinds of machines share its paths, so every request says which.
    Mse,
}

impl DcapSource {
    /// The service at `base`: Intel's own by its host, else a caching service. The path
    /// `/sgx/certification/v4` may be written behind it or not.
    pub fn at(base: &BaseUrl) -> Self {
        let text = base.to_string();
        let base = text
            .strip_suffix("/sgx/certification/v4")
            .or_else(|| text.strip_suffix("/tdx/certification/v4"))
            .and_then(|stem| stem.parse().ok())
            .unwrap_or_else(|| base.clone());
        let form = if base.to_string() == INTEL {
            DcapForm::Pcs {
                root_crl: INTEL_ROOT_CRL.to_owned(),
            }
        } else {
            DcapForm::Pccs
        };
        Self { base, form }
    }

    /// A service in the form of Intel's own, which gives the CRL of the root at `root_crl`.
    pub fn pcs(base: BaseUrl, root_crl: &BaseUrl) -> Self {
        Self {
            base,
            form: DcapForm::Pcs {
                root_crl: root_crl.to_string(),
            },
        }
    }

    /// The collateral under `base` of an MSE platform (its API's URL and `pccs_path`).
    pub fn mse(base: BaseUrl) -> Self {
        Self {
            base,
            form: DcapForm::Mse,
        }
    }

    /// Its address.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// Where `document` is, or `None` if this is not Intel's. `about` is the machine type that it
    /// is wanted for.
    pub(crate) fn url(&self, document: &Document, about: Option<Fmspc>) -> Option<String> {
        let url = match document {
            Document::TcbInfo {
                tee,
                fmspc,
                edition,
            } => self.base.at(&format!(
                "/{tee}/certification/v4/tcb?fmspc={fmspc}&{}",
                edition.query()
            )),
            Document::QeIdentity { tee, edition } => self.base.at(&format!(
                "/{tee}/certification/v4/qe/identity?{}",
                edition.query()
            )),
            Document::PckCrl(ca) => self.base.at(&format!(
                "/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
            )),
            Document::RootCaCrl => match &self.form {
                DcapForm::Pcs { root_crl } => return Some(root_crl.clone()),
                DcapForm::Pccs | DcapForm::Mse => self.base.at("/sgx/certification/v4/rootcacrl"),
            },
            Document::Vcek { .. } | Document::AmdChain(..) | Document::AmdCrl(..) => return None,
        };
        match (&self.form, document, about) {
            (DcapForm::Mse, Document::TcbInfo { .. }, _) | (_, _, None) => Some(url),
            (DcapForm::Mse, _, Some(fmspc)) => {
                let mark = if url.contains('?') { '&' } else { '?' };
                Some(format!("{url}{mark}fmspc={fmspc}"))
            }
            _ => Some(url),
        }
    }
}

/// A service that speaks AMD's Key Distribution Service API, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KdsSource(BaseUrl);

impl KdsSource {
    /// The service at `base`.
    pub fn at(base: &BaseUrl) -> Self {
        let text = base.to_string();
        Self(
            text.strip_suffix("/vcek/v1")
                .and_then(|stem| stem.parse().ok())
                .unwrap_or_else(|| base.clone()),
        )
    }

    /// Its address.
    pub fn base(&self) -> &BaseUrl {
        &self.0
    }

    /// Where `document` is, or `None` if this is not AMD's.
    pub(crate) fn url(&self, document: &Document) -> Option<String> {
        match document {
            Document::Vcek {
                product,
                chip_id,
                tcb,
            } => Some(
                self.0
                    .at(&format!("/vcek/v1/{product}/{chip_id}?{}", tcb.query())),
            ),
            Document::AmdChain(product, key) => {
                Some(self.0.at(&format!("/{key}/v1/{product}/cert_chain")))
            }
            Document::AmdCrl(product, key) => Some(self.0.at(&format!("/{key}/v1/{product}/crl"))),
            _ => None,
        }
    }
}

/// Where to ask for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// For SGX and TDX.
    pub dcap: Option<DcapSource>,
    /// For SEV-SNP.
    pub amd: Option<KdsSource>,
}

impl Sources {
    /// The vendors' own services.
    pub fn vendors() -> Self {
        let of = |url: &str| url.parse::<BaseUrl>().ok();
        Self {
            dcap: of(INTEL).map(|base| DcapSource::at(&base)),
            amd: of(AMD).map(|base| KdsSource::at(&base)),
        }
    }

    /// One service for both: a cache that has the paths of Intel's and AMD's service.
    pub fn both_at(base: &BaseUrl) -> Self {
        Self {
            dcap: Some(DcapSource::at(base)),
            amd: Some(KdsSource::at(base)),
        }
    }

    /// Whether all services are on this machine.
    pub fn are_local(&self) -> bool {
        self.bases().all(BaseUrl::is_loopback)
    }

    pub(crate) fn url(&self, document: &Document, about: Option<Fmspc>) -> Option<String> {
        let dcap = self.dcap.as_ref();
        dcap.and_then(|source| source.url(document, about))
            .or_else(|| self.amd.as_ref()?.url(document))
    }

    pub(crate) fn bases(&self) -> impl Iterator<Item = &BaseUrl> {
        let dcap = self.dcap.as_ref().map(DcapSource::base);
        dcap.into_iter()
            .chain(self.amd.as_ref().map(KdsSource::base))
    }
}

/// A loopback address, `localhost`, or a name below it.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.is_loopback();
        }
        let host = host.to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Edition;
    use crate::platform::{DcapTee, PckCa};

    fn base(text: &str) -> BaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "http://127.0.0.1:8081",
            "http://[::1]:81/x/",
            "https://pccs.example.com",
        ] {
            assert_eq!(base(good).to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "http://pccs.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "pccs.example.com",
            "https://me:secret@example.com",
            "https://example.com/?x",
        ] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_root_crl_is_where_the_form_has_it() {
        let url = |source: &DcapSource| source.url(&Document::RootCaCrl, None).unwrap();
        assert_eq!(url(&DcapSource::at(&base(INTEL))), INTEL_ROOT_CRL);
        for written in [
            "https://p.example/",
            "https://p.example/sgx/certification/v4/",
        ] {
            assert_eq!(
                url(&DcapSource::at(&base(written))),
                "https://p.example/sgx/certification/v4/rootcacrl"
            );
        }
    }

    #[test]
    fn only_a_platform_of_ours_is_told_more_than_the_api_has() {
        let fmspc = Fmspc([0, 0x60, 0x6a, 0, 0, 0]);
        let url = |source: DcapSource, document: Document| source.url(&document, Some(fmspc));
        let identity = |edition| Document::QeIdentity {
            tee: DcapTee::Tdx,
            edition,
        };
        assert_eq!(
            url(
                DcapSource::at(&base("https://p.example")),
                identity(Edition::Early)
            )
            .unwrap(),
            "https://p.example/tdx/certification/v4/qe/identity?update=early"
        );
        let ours = || DcapSource::mse(base("https://m.example/pccs"));
        assert_eq!(
            url(ours(), identity(Edition::Number(18))).unwrap(),
            "https://m.example/pccs/tdx/certification/v4/qe/identity?tcbEvaluationDataNumber=18&fmspc=00606A000000"
        );
        assert_eq!(
            url(ours(), Document::RootCaCrl).unwrap(),
            "https://m.example/pccs/sgx/certification/v4/rootcacrl?fmspc=00606A000000"
        );
        assert_eq!(
            url(ours(), Document::PckCrl(PckCa::Processor)).unwrap(),
            "https://m.example/pccs/sgx/certification/v4/pckcrl?ca=processor&encoding=der&fmspc=00606A000000"
        );
    }
}
