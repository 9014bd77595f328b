//! The client's side: connect, appraise, challenge. What comes out is a channel to use.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mse_attest::{Appraisal, Collateral, Evidence, Policy, ReferenceValues, Refusal, Verifier};
use mse_crypto::hpke::PublicKey;
use mse_workload::Measurement;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::binding::{ChannelBinding, Nonce, certificate_report_data, challenge_report_data};
use crate::certificate::{CertificateError, EnclaveCertificate, x25519_of};
use crate::provisioning::{PayloadError, ProvisioningPayload};
use crate::wire::{self, Challenge, ChallengeAnswer, Problem, SealedProvisioning};

/// How long reaching the server, the handshake, and the challenge may each take.
const STEP: Duration = Duration::from_secs(20);

/// How long the enclave may take to check what it was sent: it reads the whole bundle.
const PROVISIONING: Duration = Duration::from_secs(600);

/// Where to connect, and whom to expect there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port` of the TCP connection, usually the operator's gateway.
    pub address: String,
    /// The name asked for by SNI, which the certificate must cover.
    pub server_name: String,
}

/// What the enclave must turn out to be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Trust anchors, TCB and the rest.
    pub policy: Policy,
    /// The measurement; without it any enclave that satisfies the policy passes.
    pub measurement: Option<Measurement>,
    /// Who signed the enclave (the operator's key).
    pub mrsigner: Option<[u8; 32]>,
}

impl Expected {
    fn reference_values(&self, report_data: [u8; 64]) -> ReferenceValues {
        ReferenceValues {
            mrenclave: self.measurement.map(|measurement| measurement.0.0),
            mrsigner: self.mrsigner,
            report_data: Some(report_data),
            ..ReferenceValues::default()
        }
    }
}

/// Gives the collateral for a piece of evidence: from a PCCS, a cache or a file. Whatever it
/// gives is verified; it need not be trusted.
pub trait CollateralSource {
    /// Why there is none.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The collateral for `evidence`.
    fn collateral(
        &self,
        evidence: &Evidence,
    ) -> impl Future<Output = Result<Collateral, Self::Error>> + Send;
}

/// Collateral at hand: for offline use and tests.
pub struct GivenCollateral(pub Collateral);

impl CollateralSource for GivenCollateral {
    type Error = Infallible;

    async fn collateral(&self, _: &Evidence) -> Result<Collateral, Infallible> {
        Ok(self.0.clone())
    }
}

/// The body of a request through an [`AttestedChannel`].
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A TLS connection that was shown to end in the expected enclave.
pub struct AttestedChannel {
    sender: SendRequest<Body>,
    host: String,
    binding: ChannelBinding,
    attestation: Arc<Attestation>,
}

/// How a channel was attested.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// The server's certificate.
    pub certificate: EnclaveCertificate,
    /// What was found of the evidence in the certificate.
    pub certificate_appraisal: Appraisal,
    /// The fresh evidence of the challenge.
    pub challenge_evidence: Evidence,
    /// What was found of it: this is what the trust rests on.
    pub challenge_appraisal: Appraisal,
    /// The key that provisioning is sealed to.
    pub x25519: PublicKey,
    /// The endorsements used.
    pub collateral: Collateral,
}

/// Connects to `endpoint` over TLS 1.3, appraises the certificate's evidence, challenges the
/// channel, and gives the channel out only if all of it is as `expected`. Nothing but the
/// challenge has been sent by then.
pub async fn connect<Source: CollateralSource>(
    endpoint: &Endpoint,
    expected: &Expected,
    collateral: &Source,
) -> Result<AttestedChannel, ConnectError> {
    let stream = handshake(endpoint).await?;
    let session = stream.get_ref().1;
    let binding = ChannelBinding::of(session).map_err(ConnectError::Exporter)?;
    let (leaf, beside) = session
        .peer_certificates()
        .and_then(|chain| chain.split_first())
        .ok_or(ConnectError::NotAnEnclave(CertificateError::Malformed))?;
    let certificate = EnclaveCertificate::parse(leaf).map_err(ConnectError::NotAnEnclave)?;
    let beside = endorsements(beside)?;
    if !certificate.covers(&endpoint.server_name) {
        return Err(ConnectError::WrongName {
            expected: endpoint.server_name.clone(),
            found: certificate.names.join(", "),
        });
    }
    if !certificate.is_valid_at(SystemTime::now()) {
        return Err(ConnectError::Expired);
    }
    let mut collateral = within(
        STEP,
        "fetching collateral",
        collateral.collateral(&certificate.evidence),
    )
    .await?
    .map_err(|error| ConnectError::Collateral(Box::new(error)))?;

    if collateral.certificates.is_empty() {
        collateral.certificates = beside;
    }

    // The report data's second half is only a claim until the first half, and then the
    // challenge, have been checked over the very same key.
    // One verifier for both: the second time it remembers chains and collateral.
    let verifier = Verifier::new(expected.policy.clone());
    let claimed = appraise_certificate(&certificate, expected, &verifier, &collateral)?;
    let x25519 = claimed
        .claims
        .report_data()
        .map(|data| x25519_of(&data))
        .ok_or(ConnectError::Answer(
            "its certificate's evidence has no report data",
        ))?;

    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the attested connection ended");
        }
    });
    let nonce = Nonce::generate();
    let answer = within(
        STEP,
        "the channel challenge",
        challenge(&mut sender, &endpoint.server_name, &nonce),
    )
    .await??;
    let evidence = BASE64
        .decode(&answer.evidence)
        .ok()
        .and_then(|bytes| Evidence::parse(&bytes).ok())
        .ok_or(ConnectError::Answer("its evidence cannot be read"))?;
    if answer.x25519 != hex::encode(x25519.0) {
        return Err(ConnectError::Answer(
            "it names another X25519 key than the certificate",
        ));
    }
    let brought = answer
        .certificates()
        .ok_or(ConnectError::Answer("its certificates are over the bounds"))?;
    if collateral.certificates.is_empty() {
        collateral.certificates = brought;
    }
    let wanted = challenge_report_data(&nonce, &binding, &certificate.tls_key, &x25519);
    let fresh = verifier
        .appraise(
            &evidence,
            &collateral,
            &expected.reference_values(wanted),
            SystemTime::now(),
        )
        .map_err(|refusal| ConnectError::refused(Stage::Challenge, refusal))?;

    Ok(AttestedChannel {
        sender,
        host: endpoint.server_name.clone(),
        binding,
        attestation: Arc::new(Attestation {
            certificate,
            certificate_appraisal: claimed,
            challenge_evidence: evidence,
            challenge_appraisal: fresh,
            x25519,
            collateral,
        }),
    })
}

impl AttestedChannel {
    /// How it was attested.
    pub fn attestation(&self) -> &Attestation {
        &self.attestation
    }

    /// Sends the owner's secrets, sealed to the attested key and bound to this connection.
    pub async fn provision(&mut self, payload: &ProvisioningPayload) -> Result<(), ProvisionError> {
        let sealed = payload.seal(&self.attestation.x25519, &self.binding)?;
        let body = serde_json::to_vec(&SealedProvisioning {
            sealed: BASE64.encode(sealed),
        })
        .map_err(|_| PayloadError::Json)?;
        if body.len() > wire::MAX_PROVISIONING {
            return Err(PayloadError::TooLarge.into());
        }
        let request = post(wire::PROVISION, &self.host, body);
        let response = timeout(PROVISIONING, self.sender.send_request(request))
            .await
            .map_err(|_| ProvisionError::Timeout)??;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status().as_u16();
        let body = collect(response, wire::MAX_ANSWER).await;
        match body.and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok()) {
            Some(problem) => Err(ProvisionError::Refused(problem)),
            None => Err(ProvisionError::Status(status)),
        }
    }

    /// Sends a request over the channel; the answer's body can be streamed.
    pub async fn request(
        &mut self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Whether the connection is gone: then connect, and attest, anew.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A body of the bytes at hand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    UnsyncBoxBody::new(Full::new(bytes.into()).map_err(|never: Infallible| match never {}))
}

async fn handshake(endpoint: &Endpoint) -> Result<TlsStream<TcpStream>, ConnectError> {
    let stream = within(STEP, "connecting", TcpStream::connect(&endpoint.address))
        .await?
        .map_err(|source| ConnectError::Unreachable(endpoint.address.clone(), source))?;
    // Requests are small and answers awaited: waiting to fill packets only adds latency.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(endpoint.server_name.clone())
        .map_err(|_| ConnectError::Name(endpoint.server_name.clone()))?;
    let connector = TlsConnector::from(Arc::new(client_config()));
    within(STEP, "the TLS handshake", connector.connect(name, stream))
        .await?
        .map_err(ConnectError::Handshake)
}

/// What the server sent behind its certificate: endorsements of the host's, which the appraisal
/// verifies like any collateral.
fn endorsements(beside: &[CertificateDer<'_>]) -> Result<Vec<Vec<u8>>, ConnectError> {
    let within = beside.len() <= wire::MAX_CERTIFICATES
        && beside.iter().all(|one| one.len() <= wire::MAX_CERTIFICATE);
    if !within {
        return Err(ConnectError::Endorsements);
    }
    Ok(beside.iter().map(|one| one.to_vec()).collect())
}

/// Appraises the certificate's evidence over the certificate's own key.
fn appraise_certificate(
    certificate: &EnclaveCertificate,
    expected: &Expected,
    verifier: &Verifier,
    collateral: &Collateral,
) -> Result<Appraisal, ConnectError> {
    // The X25519 half is what the evidence says; the TLS half must be this certificate's key.
    let stated = certificate
        .evidence
        .stated_report_data()
        .ok_or(ConnectError::Answer(
            "its certificate's evidence has no report data",
        ))?;
    let bound = certificate_report_data(&certificate.tls_key, &x25519_of(&stated));
    verifier
        .appraise(
            &certificate.evidence,
            collateral,
            &expected.reference_values(bound),
            SystemTime::now(),
        )
        .map_err(|refusal| ConnectError::refused(Stage::Certificate, refusal))
}

async fn challenge(
    sender: &mut SendRequest<Body>,
    host: &str,
    nonce: &Nonce,
) -> Result<ChallengeAnswer, ConnectError> {
    let body = serde_json::to_vec(&Challenge {
        nonce: hex::encode(nonce.0),
    })
    .map_err(|_| ConnectError::Answer("the challenge cannot be written"))?;
    let response = sender
        .send_request(post(wire::ATTEST, host, body))
        .await
        .map_err(ConnectError::Http)?;
    if !response.status().is_success() {
        return Err(ConnectError::NoChallenge(response.status().as_u16()));
    }
    let bytes = collect(response, wire::MAX_ANSWER)
        .await
        .ok_or(ConnectError::Answer("it is too long or breaks off"))?;
    serde_json::from_slice(&bytes).map_err(|_| ConnectError::Answer("it is malformed"))
}

fn post(path: &str, host: &str, body: Vec<u8>) -> http::Request<Body> {
    let mut request = http::Request::new(full(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::try_from(path).unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    if let Ok(host) = http::HeaderValue::from_str(host) {
        headers.insert(http::header::HOST, host);
    }
    request
}

async fn collect(response: http::Response<Incoming>, limit: usize) -> Option<Bytes> {
    let body = Limited::new(response.into_body(), limit);
    body.collect()
        .await
        .ok()
        .map(http_body_util::Collected::to_bytes)
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, ConnectError> {
    timeout(limit, future)
        .await
        .map_err(|_| ConnectError::Timeout(what))
}

/// TLS 1.3 only, no resumption: every connection is attested by itself.
fn client_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(EvidenceDecides(provider.signature_verification_algorithms));
    let mut config = config_builder(provider)
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn config_builder(
    provider: Arc<CryptoProvider>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 cipher suites")
}

/// Takes any certificate, but no signature that its key did not make: who the server is, its
/// evidence decides, right after the handshake and before anything is sent.
#[derive(Debug)]
struct EvidenceDecides(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for EvidenceDecides {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Which evidence was appraised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// That in the certificate.
    Certificate,
    /// That of the channel challenge.
    Challenge,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "the certificate's evidence",
            Self::Challenge => "the channel challenge's evidence",
        })
    }
}

/// Why there is no attested channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error("`{0}` cannot be reached: {1}; is the app still running?")]
    Unreachable(String, #[source] std::io::Error),
    /// A step took too long.
    #[error("{0} took longer than {limit} seconds", limit = STEP.as_secs())]
    Timeout(&'static str),
    /// The name cannot be asked for.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// TLS failed.
    #[error("the TLS 1.3 handshake failed: {0}; is the app still running?")]
    Handshake(#[source] std::io::Error),
    /// TLS has no exporter value.
    #[error("the TLS connection gives no exporter value: {0}")]
    Exporter(#[source] rustls::Error),
    /// The certificate is no enclave's.
    #[error(transparent)]
    NotAnEnclave(CertificateError),
    /// More, or larger ones, than any platform needs.
    #[error(
        "the server sent more than {} certificates of {} bytes behind its own: it is no enclave of MSE",
        wire::MAX_CERTIFICATES,
        wire::MAX_CERTIFICATE
    )]
    Endorsements,
    /// The certificate is for another name.
    #[error("the certificate is for `{found}` and not for `{expected}`")]
    WrongName {
        /// The name asked for.
        expected: String,
        /// The names it has.
        found: String,
    },
    /// The certificate's dates, which end with the app's expiry.
    #[error("the enclave's certificate is not valid now: the app has expired, or a clock is wrong")]
    Expired,
    /// No collateral.
    #[error("the collateral to check the evidence with cannot be had: {0}")]
    Collateral(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The evidence was appraised and refused.
    #[error("{stage} was refused: {refusal}")]
    Refused {
        /// Which.
        stage: Stage,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// The server knows no challenge.
    #[error(
        "the server answered the channel challenge with status {0}: it is no enclave of MSE, or something stands in between"
    )]
    NoChallenge(u16),
    /// The answer makes no sense.
    #[error("the answer to the channel challenge is no good: {0}")]
    Answer(&'static str),
    /// HTTP failed.
    #[error("the connection broke off: {0}")]
    Http(#[source] hyper::Error),
}

impl ConnectError {
    fn refused(stage: Stage, refusal: Refusal) -> Self {
        Self::Refused {
            stage,
            refusal: Box::new(refusal),
        }
    }

    /// Whether the enclave is not what was expected, as opposed to not being reached.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotAnEnclave(_)
                | Self::Endorsements
                | Self::WrongName { .. }
                | Self::Expired
                | Self::Refused { .. }
                | Self::NoChallenge(_)
                | Self::Answer(_)
        )
    }
}

/// Why the enclave did not take its secrets.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Nothing was sent.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The enclave says no.
    #[error("the enclave refused to be provisioned: {0}")]
    Refused(Problem),
    /// It says no without a reason.
    #[error("the enclave refused to be provisioned with status {0}")]
    Status(u16),
    /// No answer.
    #[error("the enclave did not answer within {} seconds whether it takes its secrets", PROVISIONING.as_secs())]
    Timeout,
    /// HTTP failed.
    #[error("the connection broke off while provisioning: {0}")]
    Http(#[from] hyper::Error),
}
