//! Where collateral comes from: a PCCS (usually the platform's own), or a file. It need not be
//! trusted: every appraisal verifies it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mse_attest::{Collateral, DcapCollateral, Evidence};
use mse_ratls::CollateralSource;
use reqwest::Client;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::Mutex;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::raw_json;
use crate::api::{self, ApiClient};
use crate::exit::Exit;
use crate::failure::{Failure, root_cause};
use crate::private_file;
use crate::server_url::ServerUrl;

/// How long fetched collateral is used for further connections.
const KEPT: Duration = Duration::from_mins(10);
/// How long one document may take.
const CALL: Duration = Duration::from_secs(30);
/// Larger documents are not read.
const MAX_DOCUMENT: usize = mse_attest::MAX_COLLATERAL_BYTES;

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
    /// Always the same.
    Kept(Box<Collateral>),
    /// Fetched for the platform that the evidence comes from.
    Pccs(Pccs),
}

impl Collaterals {
    pub(crate) async fn of(choice: CollateralChoice<'_>) -> Result<Self, Failure> {
        match choice {
            CollateralChoice::File(file) => Self::kept(file),
            CollateralChoice::Pccs(url) => Pccs::at(&url, "").map(Self::Pccs),
            CollateralChoice::Platform(url) => {
                let platform = ApiClient::open(&url)?.platform().await?;
                Pccs::at(&url, &platform.pccs_path).map(Self::Pccs)
            }
        }
    }

    /// The PCCS that the platform at `server` serves under `path`.
    pub(crate) fn of_platform(server: &ServerUrl, path: &str) -> Result<Self, Failure> {
        Pccs::at(server, path).map(Self::Pccs)
    }

    /// The collateral for `evidence`.
    pub(crate) async fn fetch(&self, evidence: &Evidence) -> Result<Collateral, Failure> {
        self.collateral(evidence).await.map_err(|error| {
            Failure::new(Exit::Platform, error.to_string())
                .with_hint("name a service that knows this platform, or collateral that was kept")
        })
    }

    fn kept(file: &Path) -> Result<Self, Failure> {
        let json = private_file::read(file, MAX_DOCUMENT as u64)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no collateral file `{}`", file.display()),
            )
            .with_hint("`mse verify` keeps one with `--save-collateral FILE`")
        })?;
        Collateral::from_json(json.as_bytes())
            .map(|collateral| Self::Kept(Box::new(collateral)))
            .map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {error}", file.display()),
                )
            })
    }
}

impl CollateralSource for Collaterals {
    type Error = PccsError;

    async fn collateral(&self, evidence: &Evidence) -> Result<Collateral, PccsError> {
        match self {
            Self::Kept(collateral) => Ok((**collateral).clone()),
            Self::Pccs(pccs) => pccs.collateral(evidence).await,
        }
    }
}

/// A client of a provisioning certificate caching service (Intel's PCCS API, v4).
pub(crate) struct Pccs {
    http: Client,
    base: String,
    kept: Mutex<HashMap<Platform, (Instant, Collateral)>>,
}

/// What collateral is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Platform {
    fmspc: [u8; 6],
    ca: &'static str,
}

impl Pccs {
    fn at(server: &ServerUrl, path: &str) -> Result<Self, Failure> {
        let path = path.trim_end_matches('/');
        Ok(Self {
            http: api::http_client(server)?,
            base: format!("{}/sgx/certification/v4", server.at(path)),
            kept: Mutex::default(),
        })
    }

    async fn collateral(&self, evidence: &Evidence) -> Result<Collateral, PccsError> {
        let platform = Platform::of(evidence).ok_or(PccsError::NoPlatform)?;
        let mut kept = self.kept.lock().await;
        if let Some((fetched, collateral)) = kept.get(&platform)
            && fetched.elapsed() < KEPT
        {
            return Ok(collateral.clone());
        }
        let collateral = self.fetch(&platform).await?;
        kept.insert(platform, (Instant::now(), collateral.clone()));
        Ok(collateral)
    }

    async fn fetch(&self, platform: &Platform) -> Result<Collateral, PccsError> {
        let fmspc = hex::encode_upper(platform.fmspc);
        let (tcb, identity, crl, root_crl) = tokio::try_join!(
            self.get(
                format!("/tcb?fmspc={fmspc}"),
                &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"]
            ),
            self.get(
                "/qe/identity".to_owned(),
                &["SGX-Enclave-Identity-Issuer-Chain"]
            ),
            self.get(
                format!("/pckcrl?ca={}&encoding=der", platform.ca),
                &["SGX-PCK-CRL-Issuer-Chain"]
            ),
            self.get("/rootcacrl".to_owned(), &[]),
        )?;
        let (tcb_info, tcb_info_signature) = tcb.signed("tcbInfo")?;
        let (qe_identity, qe_identity_signature) = identity.signed("enclaveIdentity")?;
        Ok(DcapCollateral {
            pck_crl_issuer_chain: crl.chain,
            root_ca_crl: hex::decode(root_crl.body.trim_ascii())
                .map_err(|_| PccsError::malformed(&root_crl.url, "is not hexadecimal"))?,
            pck_crl: crl.body,
            tcb_info_issuer_chain: tcb.chain,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain: identity.chain,
            qe_identity,
            qe_identity_signature,
            pck_certificate_chain: None,
        }
        .into())
    }

    async fn get(&self, path: String, chain_headers: &[&str]) -> Result<Document, PccsError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |why| PccsError::Unreachable {
            url: url.clone(),
            why,
        };
        let response = self
            .http
            .get(&url)
            .timeout(CALL)
            .send()
            .await
            .map_err(|error| unreachable(root_cause(&error)))?;
        if !response.status().is_success() {
            return Err(PccsError::Refused {
                status: response.status().as_u16(),
                url,
            });
        }
        let chain = match chain_headers {
            [] => String::new(),
            names => names
                .iter()
                .find_map(|name| response.headers().get(*name)?.to_str().ok())
                .and_then(percent_decode)
                .ok_or_else(|| PccsError::malformed(&url, "has no issuer chain in its header"))?,
        };
        let body = api::read_bounded(response, MAX_DOCUMENT)
            .await
            .map_err(unreachable)?;
        Ok(Document { url, chain, body })
    }
}

struct Document {
    url: String,
    chain: String,
    body: Vec<u8>,
}

impl Document {
    /// The signed member `name`, to the letter, and the signature beside it.
    fn signed(&self, name: &'static str) -> Result<(String, Vec<u8>), PccsError> {
        let text = std::str::from_utf8(&self.body)
            .map_err(|_| PccsError::malformed(&self.url, "is not UTF-8"))?;
        let document = raw_json::member(text, name);
        let signature = raw_json::member(text, "signature")
            .and_then(|quoted| hex::decode(quoted.trim_matches('"')).ok());
        match (document, signature) {
            (Some(document), Some(signature)) => Ok((document.to_owned(), signature)),
            _ => Err(PccsError::malformed(&self.url, "is not a signed document")),
        }
    }
}

impl Platform {
    /// Reads what to ask for from the PCK certificate in the evidence. Nothing is verified: with
    /// a wrong answer here the collateral does not fit, and the appraisal says so.
    fn of(evidence: &Evidence) -> Option<Self> {
        const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";
        /// DER of the OID 1.2.840.113741.1.13.1.4 and of the head of an OCTET STRING of 6 bytes.
        const FMSPC: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01\x04\x04\x06";

        let raw = evidence.as_bytes();
        let chain = &raw[find(raw, PEM)?..];
        let leaf = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
        let (_, certificate) = X509Certificate::from_der(&leaf).ok()?;
        let issuer = certificate.issuer().to_string();
        Some(Self {
            fmspc: *leaf
                .get(find(&leaf, FMSPC)? + FMSPC.len()..)?
                .first_chunk()?,
            ca: if issuer.contains("Processor CA") {
                "processor"
            } else {
                "platform"
            },
        })
    }
}

/// Why there is no collateral.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PccsError {
    /// The evidence does not say which platform it comes from.
    #[error("the evidence holds no PCK certificate that names its platform")]
    NoPlatform,
    /// No answer.
    #[error("`{url}` cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The answer is no.
    #[error("`{url}` answered with status {status}: it does not know this platform")]
    Refused { url: String, status: u16 },
    /// The answer makes no sense.
    #[error("the answer of `{url}` {why}")]
    Malformed { url: String, why: &'static str },
}

impl PccsError {
    fn malformed(url: &str, why: &'static str) -> Self {
        Self::Malformed {
            url: url.to_owned(),
            why,
        }
    }
}

/// Writes collateral to `file`, for [`CollateralChoice::File`].
pub(crate) fn save(collateral: &Collateral, file: &Path) -> Result<(), Failure> {
    private_file::write(file, collateral.to_json().as_bytes())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let digits = [*high, *low];
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                bytes.push(byte[0]);
                rest = behind;
            }
            (b'%', _) => return None,
            (other, _) => {
                bytes.push(*other);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mse_simtee::Platform as SimulatedPlatform;

    use super::*;

    #[test]
    fn the_platform_is_read_from_the_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let simulated = SimulatedPlatform::create(&dir.path().join("p"), now).unwrap();
        let evidence = Evidence::parse(&simulated.quote([7; 32], &[9; 64]).unwrap()).unwrap();
        let platform = Platform::of(&evidence).unwrap();
        assert_eq!(platform.ca, "platform");
        let tcb_info = simulated.collateral(now).unwrap().tcb_info;
        assert!(
            tcb_info.contains(&hex::encode_upper(platform.fmspc)),
            "{tcb_info}"
        );
    }

    #[test]
    fn percent_decoding_gives_back_what_was_encoded() {
        assert_eq!(percent_decode("a%0Ab%2F"), Some("a\nb/".to_owned()));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
