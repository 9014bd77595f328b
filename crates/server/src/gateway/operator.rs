//! TLS that ends at the gateway, for apps whose owner chose that (`--untrusted-ssl`).
//!
//! Towards the enclave the gateway speaks TLS again, and appraises who answers: only the enclave
//! that was launched for the app. That protects the operator from mistakes of its own; the owner
//! trusts nothing of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mse_attest::{Policy, ReferenceValues, appraise};
use mse_crypto::Digest;
use mse_ratls::certificate::EnclaveCertificate;
use mse_simtee::Platform;
use mse_workload::Measurement;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::authority::{self, KeyedChain};
use crate::config::KeyFiles;
use crate::data_dir::{DataDir, DataDirError};

/// The gateway's own certificate, ready to serve.
#[derive(Clone)]
pub struct OperatorTls {
    acceptor: TlsAcceptor,
}

impl OperatorTls {
    /// The operator's certificate if it brings one, else one of the embedded authority.
    pub fn load(
        files: Option<&KeyFiles>,
        data: &DataDir,
        suffix: &str,
    ) -> Result<Self, OperatorError> {
        let keyed = match files {
            Some(files) => read(files)?,
            None => authority::issue(data, suffix)?,
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(OperatorError::Tls)?
            .with_no_client_auth()
            .with_single_cert(keyed.chain, keyed.key)
            .map_err(OperatorError::Tls)?;
        // Bytes are passed on as they come, so both sides must speak the same protocol.
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        user: S,
    ) -> io::Result<server::TlsStream<S>> {
        self.acceptor.accept(user).await
    }
}

/// The way to one enclave.
pub(super) struct Towards {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Towards {
    /// The way to the enclave that was measured so.
    pub(super) fn new(
        platform: Arc<Platform>,
        measurement: Measurement,
        config_domain: &str,
    ) -> Result<Self, OperatorError> {
        let verifier = LaunchedEnclave {
            platform,
            measurement,
            provider: provider(),
            appraised: Mutex::default(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(OperatorError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(config_domain.to_owned()).map_err(|_| {
                OperatorError::Certificate(format!("`{config_domain}` is not a server name"))
            })?,
        })
    }

    pub(super) async fn connect(
        &self,
        enclave: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), enclave).await
    }
}

/// Accepts the enclave that this platform launched, known by the evidence in its certificate.
struct LaunchedEnclave {
    platform: Arc<Platform>,
    measurement: Measurement,
    provider: Arc<CryptoProvider>,
    /// The certificate that was appraised last: a running app keeps its own.
    appraised: Mutex<Option<Digest>>,
}

impl fmt::Debug for LaunchedEnclave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchedEnclave")
            .field("measurement", &self.measurement)
            .finish_non_exhaustive()
    }
}

impl LaunchedEnclave {
    fn appraise(&self, der: &[u8]) -> Result<(), String> {
        let certificate = EnclaveCertificate::parse(der).map_err(|error| error.to_string())?;
        let now = SystemTime::now();
        let collateral = self
            .platform
            .collateral(now)
            .map_err(|error| error.to_string())?
            .into();
        let policy = Policy::strict().with_simulated(self.platform.trust_anchor().clone());
        let expected = ReferenceValues {
            mrenclave: Some(self.measurement.0.0),
            ..ReferenceValues::default()
        };
        let appraisal = appraise(&certificate.evidence, &collateral, &policy, &expected, now)
            .map_err(|refusal| refusal.to_string())?;
        // The first half of the report data binds the evidence to this TLS key.
        let bound = appraisal.claims.report_data();
        let key = Digest::of(&certificate.tls_key.0);
        if bound.is_none_or(|bound| bound[..32] != *key.as_ref()) {
            return Err("its evidence is for another TLS key".into());
        }
        Ok(())
    }
}

impl ServerCertVerifier for LaunchedEnclave {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = Digest::of(end_entity);
        let mut appraised = self
            .appraised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *appraised != Some(digest) {
            if let Err(why) = self.appraise(end_entity) {
                tracing::warn!(
                    why,
                    "what answers as an enclave is not the one that was launched"
                );
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
            *appraised = Some(digest);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Why the gateway has no TLS of its own.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A file.
    #[error("`{path}` cannot be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A certificate or key that is none.
    #[error("the gateway's certificate cannot be used: {0}")]
    Certificate(String),
    /// The embedded authority.
    #[error("the gateway's certificate cannot be made: {0}")]
    Authority(#[from] rcgen::Error),
    /// Certificate and key do not go together.
    #[error("the gateway's certificate and key cannot be used: {0}")]
    Tls(#[source] Error),
}

fn read(files: &KeyFiles) -> Result<KeyedChain, OperatorError> {
    let bytes = |path: &Path| {
        std::fs::read(path).map_err(|source| OperatorError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let broken = |path: &Path, error: rustls_pki_types::pem::Error| {
        OperatorError::Certificate(format!("`{}`: {error}", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(&files.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(&files.certificate, error))?;
    let key = mse_crypto::Zeroizing::new(bytes(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| broken(&files.key, error))?;
    Ok(KeyedChain { chain, key })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const HTTP_1_1: &[u8] = b"http/1.1";
