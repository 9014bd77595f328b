//! Registries: pulling, pushing, and looking at images without pulling them.

mod credentials;
mod pull;
mod push;

use std::time::Duration;

use mse_crypto::pem;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;

pub use credentials::{Credentials, CredentialsError, Login};

use crate::digest::BlobDigest;
use crate::layout::LayoutError;
use crate::manifest::InvalidManifest;
use crate::reference::Reference;
use crate::service::NotOurs;

const CONNECT: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(60);

/// How to reach registries.
#[derive(Clone, Default)]
pub struct RegistryOptions {
    /// Certificates of further authorities, PEM.
    pub extra_authorities: Option<String>,
    /// Whom to be.
    pub credentials: Credentials,
    /// Whether plain HTTP may be spoken.
    pub plain_http: PlainHttp,
}

/// Whether HTTP without TLS may be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Never.
    #[default]
    Never,
    /// With registries on this machine.
    OnLoopback,
}

/// Access to registries. The program must have installed its TLS provider.
pub struct Registry {
    tls: oci_client::Client,
    plain: Option<oci_client::Client>,
    credentials: Credentials,
}

impl Registry {
    /// With these options; nothing is contacted yet.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let authorities = match &options.extra_authorities {
            None => Vec::new(),
            Some(text) => pem::decode_all(text)
                .map_err(|_| RegistryError::Authorities)?
                .into_iter()
                .map(|block| Certificate {
                    encoding: CertificateEncoding::Der,
                    data: block.der.to_vec(),
                })
                .collect(),
        };
        let client = |protocol| {
            oci_client::Client::try_from(ClientConfig {
                protocol,
                extra_root_certificates: authorities.clone(),
                // One request with a length: what every registry takes.
                use_monolithic_push: true,
                connect_timeout: Some(CONNECT),
                read_timeout: Some(READ),
                user_agent: concat!("mse-image/", env!("CARGO_PKG_VERSION")),
                ..ClientConfig::default()
            })
            .map_err(|source| RegistryError::Client(source.to_string()))
        };
        Ok(Self {
            tls: client(ClientProtocol::Https)?,
            plain: match options.plain_http {
                PlainHttp::Never => None,
                PlainHttp::OnLoopback => Some(client(ClientProtocol::Http)?),
            },
            credentials: options.credentials,
        })
    }

    fn client(&self, reference: &Reference) -> &oci_client::Client {
        match &self.plain {
            Some(plain) if reference.is_loopback() => plain,
            _ => &self.tls,
        }
    }

    fn auth(&self, reference: &Reference) -> Result<RegistryAuth, RegistryError> {
        Ok(match self.credentials.login(reference.registry())? {
            None => RegistryAuth::Anonymous,
            Some(Login::Password { user, password }) => {
                RegistryAuth::Basic(user, password.as_str().to_owned())
            }
            Some(Login::Token(token)) => RegistryAuth::Bearer(token.as_str().to_owned()),
        })
    }
}

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file with authorities is none.
    #[error("the file with further authorities is not PEM with certificates in it")]
    Authorities,
    /// No client.
    #[error("TLS cannot be set up: {0}")]
    Client(String),
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Not allowed.
    #[error(
        "the registry does not let you at `{0}`: log in with `docker login`, or give a user and password"
    )]
    Unauthorized(String),
    /// Not there.
    #[error("`{0}` is not in the registry")]
    NotFound(String),
    /// The registry cannot be reached, or complains.
    #[error("the registry failed for `{reference}`: {reason}")]
    Failed {
        /// What was asked for.
        reference: String,
        /// What it says.
        reason: String,
    },
    /// The registry gave something else.
    #[error(
        "the registry gave other bytes for `{reference}` than asked for: their digest is {found}"
    )]
    Content {
        /// What was asked for.
        reference: String,
        /// The digest of what came.
        found: BlobDigest,
    },
    /// A blob of another length.
    #[error("the registry gave a blob for `{0}` that is not as long as its manifest says")]
    Size(String),
    /// A small blob that is not small.
    #[error("the blob {digest} has {size} bytes: at most {limit} are read here")]
    TooLarge {
        /// Which.
        digest: BlobDigest,
        /// Its length.
        size: u64,
        /// What is read.
        limit: u64,
    },
    /// A manifest that cannot be used.
    #[error("`{reference}`: {source}")]
    Manifest {
        /// Of what.
        reference: String,
        /// What is wrong.
        source: InvalidManifest,
    },
    /// A layout that cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An image of another kind.
    #[error("`{0}`: {1}")]
    NotOurs(String, #[source] NotOurs),
    /// No file to keep a blob in.
    #[error("a blob cannot be kept: {0}")]
    Keep(#[source] std::io::Error),
}

impl RegistryError {
    fn of(reference: &Reference, error: OciDistributionError) -> Self {
        use oci_client::errors::OciErrorCode as Code;
        let named = || reference.to_string();
        let status = match &error {
            OciDistributionError::ServerError { code, .. } => Some(*code),
            OciDistributionError::RequestError(error) => {
                error.status().map(|status| status.as_u16())
            }
            _ => None,
        };
        match status {
            Some(401 | 403) => return Self::Unauthorized(named()),
            Some(404) => return Self::NotFound(named()),
            _ => {}
        }
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Unauthorized(named()),
            OciDistributionError::ImageManifestNotFoundError(_) => Self::NotFound(named()),
            OciDistributionError::RegistryError { envelope, url } => {
                let has = |codes: &[Code]| envelope.errors.iter().any(|e| codes.contains(&e.code));
                if has(&[Code::Unauthorized, Code::Denied]) {
                    Self::Unauthorized(named())
                } else if has(&[
                    Code::ManifestUnknown,
                    Code::BlobUnknown,
                    Code::NameUnknown,
                    Code::NotFound,
                ]) {
                    Self::NotFound(named())
                } else {
                    Self::Failed {
                        reference: named(),
                        reason: format!("{envelope} ({url})"),
                    }
                }
            }
            error => Self::Failed {
                reference: named(),
                reason: with_causes(&error),
            },
        }
    }
}

/// The whole chain: only its end says that a certificate is not trusted.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
