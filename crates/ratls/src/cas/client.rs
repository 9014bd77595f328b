//! The client of a CAS.
//!
//! ```text
//! connect_pinned(address, key) ─────────────────────────────▶ CasClient
//! first_contact(address) ─▶ FirstContact ── attest(expected) ─▶ CasClient
//! ```
//!
//! A [`FirstContact`] can be used for one thing only: to attest the CAS. So nothing reaches a CAS
//! that was not known or proven before.

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mse_crypto::Zeroizing;
use mse_crypto::signing::SigningKey;
use mse_workload::CasKey;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::signer::{SIGNER_HEADER, signer_header};
use super::{
    ATTEST, AttestAnswer, AttestError, AttestRequest, AttestedCas, CasDescription, CasReport,
    DESCRIBE, ExpectedCas, REPORT_FORMAT, Shown, Stage, Tame, evidence_of, judge,
};
use crate::binding::{ChannelBinding, Nonce};
use crate::channel::CollateralSource;
use crate::pinned::{PinnedRoot, root_key};
use crate::wire;

/// How long reaching the CAS and the handshake may each take.
const CONNECTING: Duration = Duration::from_secs(20);
/// How long the CAS may take for an answer.
const ANSWERING: Duration = Duration::from_secs(60);
/// How long collateral may take.
const ENDORSING: Duration = Duration::from_secs(60);
/// An answer is at most this long: 8 MiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The answer to a challenge, a refusal: at most this long.
const MAX_SMALL: usize = 256 * 1024;

/// `host:port` of a CAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CasAddress {
    text: String,
    host: HeaderValue,
    name: ServerName<'static>,
}

impl FromStr for CasAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(200).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        port.parse::<u16>().map_err(|_| invalid())?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            text: text.to_owned(),
            host: HeaderValue::from_str(text).map_err(|_| invalid())?,
            name: ServerName::try_from(host.to_owned()).map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for CasAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address of a CAS: write `HOST:PORT`")]
pub struct InvalidAddress(String);

/// Who the client is: a TLS key with a certificate of any kind around it. It has no `Debug`.
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl ClientIdentity {
    /// A new P-256 key with a certificate that it signed itself, in PEM: for
    /// [`ClientIdentity::from_pem`].
    pub fn generate_pem() -> Result<Zeroizing<String>, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "a client of a CAS");
        // It is known by its key; nobody asks how old the certificate is.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key)?;
        let key = Zeroizing::new(key.serialize_pem());
        Ok(Zeroizing::new([certificate.pem().as_str(), &key].concat()))
    }

    /// From PEM: one private key, and its certificate.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidClientIdentity> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidClientIdentity::Certificate)?;
        if chain.is_empty() {
            return Err(InvalidClientIdentity::Certificate);
        }
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| InvalidClientIdentity::Key)?;
        Ok(Self { chain, key })
    }

    /// The client's own certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |own| own)
    }
}

/// The text is no client identity.
#[derive(Debug, thiserror::Error)]
pub enum InvalidClientIdentity {
    /// No certificate.
    #[error("it holds no certificate that can be read: a PEM block `CERTIFICATE` is expected")]
    Certificate,
    /// No key.
    #[error("it holds no private key that can be read: a PEM block `PRIVATE KEY` is expected")]
    Key,
}

/// Connects to the CAS at `address`, if its root key is `key`; as `client`, if it shall know who
/// asks.
pub async fn connect_pinned(
    address: &CasAddress,
    key: CasKey,
    client: Option<&ClientIdentity>,
) -> Result<CasClient, CasError> {
    connect(address, Some(key), client).await.map(CasClient)
}

/// Connects to whoever is at `address`: to be attested, and nothing else.
pub async fn first_contact(
    address: &CasAddress,
    client: Option<&ClientIdentity>,
) -> Result<FirstContact, CasError> {
    connect(address, None, client).await.map(FirstContact)
}

/// A connection to somebody who may be a CAS.
pub struct FirstContact(Connection);

impl FirstContact {
    /// The root key that the server showed. Nothing vouches for it yet.
    pub fn root_key(&self) -> CasKey {
        self.0.root
    }

    /// Challenges the server. Only a CAS as `expected` at the other end of this very connection,
    /// with the root key that it showed, makes it a connection to use.
    pub async fn attest<Source: CollateralSource>(
        mut self,
        expected: &ExpectedCas,
        collateral: &Source,
    ) -> Result<(CasClient, AttestedCas), CasError> {
        let attested = self.0.attest(expected, Stage::Open, collateral).await?;
        Ok((CasClient(self.0), attested))
    }

    /// The same with an instance that waits for shares of its root key: for those who give them.
    pub async fn attest_recovering<Source: CollateralSource>(
        mut self,
        expected: &ExpectedCas,
        collateral: &Source,
    ) -> Result<(CasClient, AttestedCas), CasError> {
        let stage = Stage::Recovering;
        let attested = self.0.attest(expected, stage, collateral).await?;
        Ok((CasClient(self.0), attested))
    }
}

/// A connection to a CAS that is known.
pub struct CasClient(Connection);

impl CasClient {
    /// The root key of the CAS.
    pub fn root_key(&self) -> CasKey {
        self.0.root
    }

    /// The exporter value of the connection.
    pub fn binding(&self) -> ChannelBinding {
        self.0.binding
    }

    /// Shows with all that follows on this connection that the client has this signing key.
    pub fn show_signer(&mut self, key: &SigningKey) {
        let header = signer_header(key, &self.0.binding);
        self.0.signer = HeaderValue::from_str(&header).ok();
    }

    /// Challenges the CAS, anew.
    pub async fn attest<Source: CollateralSource>(
        &mut self,
        expected: &ExpectedCas,
        collateral: &Source,
    ) -> Result<AttestedCas, CasError> {
        self.0.attest(expected, Stage::Open, collateral).await
    }

    /// Where the CAS's store was at its last answer, `sequence:head`; a client that keeps it can
    /// tell later whether the store was set back.
    pub fn position(&self) -> Option<&str> {
        self.0.position.as_deref()
    }

    /// What the CAS says of itself.
    pub async fn description(&mut self) -> Result<CasDescription, CasError> {
        self.get(DESCRIBE).await
    }

    /// `GET` of JSON.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, CasError> {
        let answer = self.0.ask(Method::GET, path, None, MAX_ANSWER).await?;
        parsed(&answer)
    }

    /// `DELETE`, answered with JSON.
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, CasError> {
        let answer = self.0.ask(Method::DELETE, path, None, MAX_ANSWER).await?;
        parsed(&answer)
    }

    /// `POST` of JSON, answered with JSON.
    pub async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CasError> {
        self.send(Method::POST, path, body).await
    }

    /// `PUT` of JSON, answered with JSON.
    pub async fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CasError> {
        self.send(Method::PUT, path, body).await
    }

    /// Whether nothing can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        self.0.sender.is_closed()
    }

    /// Sends a request as it is, but for `Host`, and gives the answer as it is, a refusal too: for
    /// those who forward for others.
    pub async fn forward(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, CasError> {
        self.0.exchange(request.map(Full::new), MAX_ANSWER).await
    }

    /// Sends bytes of any kind and gives the answer as it is, if it is no refusal.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, CasError> {
        self.0.ask(method, path, body, MAX_ANSWER).await
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CasError> {
        let body = json(body)?;
        let answer = self.0.ask(method, path, Some(body), MAX_ANSWER).await?;
        parsed(&answer)
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    binding: ChannelBinding,
    root: CasKey,
    position: Option<String>,
    signer: Option<HeaderValue>,
}

impl Connection {
    async fn attest<Source: CollateralSource>(
        &mut self,
        expected: &ExpectedCas,
        stage: Stage,
        source: &Source,
    ) -> Result<AttestedCas, CasError> {
        let nonce = Nonce::generate();
        let request = json(&AttestRequest::new(&nonce))?;
        let answer = self
            .ask(Method::POST, ATTEST, Some(request), MAX_SMALL)
            .await?;
        let answer: AttestAnswer = parsed(&answer)?;
        let evidence = evidence_of(&answer.evidence)?;
        let certificates = wire::decode_certificates(&answer.certificates)
            .ok_or(CasError::Answer("its certificates are over the bounds"))?;
        let mut collateral = within(ENDORSING, "the collateral", source.collateral(&evidence))
            .await?
            .map_err(|error| CasError::Collateral(Box::new(error)))?;
        if collateral.certificates.is_empty() {
            collateral.certificates = certificates;
        }
        let now = SystemTime::now();
        let appraisal = judge(
            &Shown {
                nonce,
                channel: self.binding,
                description: &answer.description,
                evidence: &evidence,
                collateral: &collateral,
            },
            expected,
            stage,
            now,
        )?;
        // The certificate is checked by the key in it: it must be the one that was vouched for.
        if answer.description.cas_key != self.root {
            return Err(AttestError::Key {
                found: self.root,
                expected: answer.description.cas_key,
            }
            .into());
        }
        let report = CasReport {
            format: REPORT_FORMAT,
            attested_at: now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            nonce: hex::encode(nonce.0),
            exporter: hex::encode(self.binding.0),
            description: answer.description.clone(),
            evidence: BASE64.encode(evidence.as_bytes()),
            collateral: serde_json::from_str(&collateral.to_json())
                .map_err(|_| CasError::Answer("its collateral is no JSON"))?,
        };
        Ok(AttestedCas {
            description: answer.description,
            appraisal,
            report,
        })
    }

    /// Sends a request and reads the answer, of at most `limit` bytes.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        limit: usize,
    ) -> Result<Bytes, CasError> {
        let (kind, body) = match body {
            Some((kind, body)) => (Some(kind), body),
            None => (None, Bytes::new()),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(path).map_err(|_| CasError::Request)?;
        if let Some(kind) = kind {
            let kind = HeaderValue::from_static(kind);
            request.headers_mut().insert(CONTENT_TYPE, kind);
        }
        let response = self.exchange(request, limit).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        Err(refusal(status, response.body()))
    }

    /// A request and its answer, of at most `limit` bytes; less if it is a refusal.
    async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, CasError> {
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(signer) = &self.signer {
            request.headers_mut().insert(SIGNER_HEADER, signer.clone());
        }
        within(ANSWERING, "its answer", async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            if let Some(position) = position_of(&response) {
                self.position = Some(position);
            }
            let limit = if response.status().is_success() {
                limit
            } else {
                limit.min(MAX_SMALL)
            };
            let (parts, body) = response.into_parts();
            Ok(Response::from_parts(parts, collect(body, limit).await?))
        })
        .await?
    }
}

/// `sequence:head`, if the header has just that.
fn position_of(response: &Response<Incoming>) -> Option<String> {
    let text = response.headers().get(POSITION)?.to_str().ok()?;
    let (sequence, head) = text.split_once(':')?;
    sequence.parse::<u64>().ok()?;
    let is_head = head.len() == 64 && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_head.then(|| text.to_owned())
}

/// The header with the store's position.
const POSITION: &str = "mse-position";

async fn connect(
    address: &CasAddress,
    key: Option<CasKey>,
    client: Option<&ClientIdentity>,
) -> Result<Connection, CasError> {
    let tls = TlsConnector::from(Arc::new(client_config(key, client)?));
    let stream = within(CONNECTING, "connecting", TcpStream::connect(&address.text))
        .await?
        .map_err(|error| CasError::Unreachable(address.text.clone(), error))?;
    // Few and small requests, each awaited.
    let _ = stream.set_nodelay(true);
    let handshake = tls.connect(address.name.clone(), stream);
    let stream = within(CONNECTING, "the TLS handshake", handshake)
        .await?
        .map_err(from_handshake)?;
    let session = stream.get_ref().1;
    let binding = ChannelBinding::of(session).map_err(CasError::Exporter)?;
    let root = session
        .peer_certificates()
        .and_then(root_key)
        .ok_or(CasError::Answer("it showed no certificate"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the CAS ended");
        }
    });
    Ok(Connection {
        sender,
        host: address.host.clone(),
        binding,
        root,
        position: None,
        signer: None,
    })
}

/// TLS 1.3 only, no resumption: the exporter of each connection is its own.
fn client_config(
    key: Option<CasKey>,
    client: Option<&ClientIdentity>,
) -> Result<ClientConfig, CasError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let root = match key {
        Some(key) => PinnedRoot::new(key, algorithms),
        None => PinnedRoot::of_anybody(algorithms),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CasError::Client)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(root));
    let mut config = match client {
        Some(client) => builder
            .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
            .map_err(CasError::Client)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn from_handshake(error: io::Error) -> CasError {
    let refused = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match refused {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why))) => {
            CasError::Identity(why.to_string())
        }
        Some(rustls::Error::InvalidCertificate(why)) => CasError::Identity(why.to_string()),
        _ => CasError::Handshake(error),
    }
}

async fn collect(body: Incoming, limit: usize) -> Result<Bytes, CasError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(CasError::Http(*error)),
            Err(_) => Err(CasError::Answer("it is longer than any may be")),
        },
    }
}

/// The form in which a CAS refuses: `mse_api::cas::CasError`, read leniently.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// For programs: lower-case words with hyphens.
    pub code: String,
    /// For people; holds no secret.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Faults of what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<serde_json::Value>,
}

fn refusal(status: StatusCode, body: &[u8]) -> CasError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => CasError::Refused {
            status: status.as_u16(),
            code: Tame(&problem.code).to_string(),
            message: Tame(&problem.message).to_string(),
            hint: problem.hint.map(|hint| Tame(&hint).to_string()),
            faults: problem.faults,
        },
        Err(_) => CasError::Status(status.as_u16()),
    }
}

fn json(body: &impl Serialize) -> Result<(&'static str, Bytes), CasError> {
    let body = serde_json::to_vec(body).map_err(|_| CasError::Request)?;
    Ok(("application/json", body.into()))
}

fn parsed<T: DeserializeOwned>(answer: &[u8]) -> Result<T, CasError> {
    serde_json::from_slice(answer)
        .map_err(|_| CasError::Answer("it is not JSON of the expected shape"))
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, CasError> {
    timeout(limit, future)
        .await
        .map_err(|_| CasError::Timeout(what, limit))
}

/// What went wrong with a CAS.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// No TCP connection.
    #[error("the CAS at `{0}` cannot be reached: {1}")]
    Unreachable(String, #[source] io::Error),
    /// A step took too long.
    #[error("the CAS gave nothing: {0} took longer than {seconds} seconds", seconds = .1.as_secs())]
    Timeout(&'static str, Duration),
    /// TLS failed.
    #[error("the TLS 1.3 handshake with the CAS failed: {0}")]
    Handshake(#[source] io::Error),
    /// Somebody else answers.
    #[error("the server is not the CAS: {0}")]
    Identity(String),
    /// The client's own certificate and key.
    #[error("the client's TLS key cannot be used: {0}")]
    Client(#[source] rustls::Error),
    /// Not known to happen with TLS 1.3.
    #[error("the TLS connection gives no exporter value: {0}")]
    Exporter(#[source] rustls::Error),
    /// HTTP failed.
    #[error("the connection to the CAS broke off: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be made")]
    Request,
    /// The CAS says no.
    #[error("the CAS refused: {message} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// For programs.
        code: String,
        /// For people.
        message: String,
        /// How to mend it.
        hint: Option<String>,
        /// Faults of what was sent, as the CAS wrote them.
        faults: Vec<serde_json::Value>,
    },
    /// Something says no.
    #[error("the CAS answered with status {0}: is something else at its address?")]
    Status(u16),
    /// The answer cannot be.
    #[error("the answer of the CAS is no good: {0}")]
    Answer(&'static str),
    /// Nothing to verify the evidence with.
    #[error("there is no collateral for the evidence of the CAS: {0}")]
    Collateral(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not what it should be.
    #[error(transparent)]
    Attest(#[from] AttestError),
}
