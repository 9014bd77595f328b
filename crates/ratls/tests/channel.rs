//! The attested channel against servers that lie: every test is a server over a real socket
//! whose evidence was really signed by the simulated platform.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::{CheckName, Evidence, Policy};
use mse_crypto::Digest;
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::{Nonce, challenge_report_data};
use mse_ratls::channel::Stage;
use mse_ratls::wire::{ATTEST, Challenge, ChallengeAnswer};
use mse_ratls::{
    ChannelBinding, ConnectError, Endpoint, Expected, GivenCollateral, TlsIdentity, connect,
};
use mse_simtee::Platform;
use mse_workload::Measurement;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "app.mse.localhost";

/// How a server answers the challenge.
#[derive(Clone, Default)]
enum Answer {
    /// As an enclave should.
    #[default]
    Honest,
    /// With evidence over another nonce: one it saw before.
    StaleNonce,
    /// With evidence over another connection's exporter.
    OtherChannel,
    /// By asking the honest enclave at this address over a connection of its own.
    Relay(String),
    /// By repeating the evidence of its certificate.
    CertificateEvidence(Vec<u8>),
    /// With an HTTP error.
    Nothing,
}

struct Site {
    platform: Arc<Platform>,
    _dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let platform = Platform::create(&dir.path().join("tee"), SystemTime::now()).unwrap();
        Self {
            platform: Arc::new(platform),
            _dir: dir,
        }
    }

    fn expected(&self, measurement: [u8; 32]) -> Expected {
        Expected {
            policy: Policy::strict().with_simulated(self.platform.trust_anchor().clone()),
            measurement: Some(Measurement(Digest(measurement))),
            mrsigner: None,
        }
    }

    fn collateral(&self) -> GivenCollateral {
        GivenCollateral(self.platform.collateral(SystemTime::now()).unwrap().into())
    }

    fn enclave(&self, measurement: [u8; 32]) -> FakeEnclave {
        let identity = TlsIdentity::generate().unwrap();
        let x25519 = KeyPair::generate();
        let report_data = identity.report_data(&x25519.public());
        let quote = self.platform.quote(measurement, &report_data).unwrap();
        FakeEnclave {
            platform: Arc::clone(&self.platform),
            measurement,
            certificate_evidence: Evidence::parse(&quote).unwrap(),
            identity: Arc::new(identity),
            x25519: Arc::new(x25519),
            answer: Answer::Honest,
            beside: Vec::new(),
            brought: Vec::new(),
        }
    }
}

#[derive(Clone)]
struct FakeEnclave {
    platform: Arc<Platform>,
    measurement: [u8; 32],
    certificate_evidence: Evidence,
    identity: Arc<TlsIdentity>,
    x25519: Arc<KeyPair>,
    answer: Answer,
    /// Sent behind the certificate.
    beside: Vec<Vec<u8>>,
    /// Sent with the answer to a challenge.
    brought: Vec<Vec<u8>>,
}

impl FakeEnclave {
    fn answering(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// Serves on loopback; what is asked besides the challenge is recorded.
    async fn serve(self) -> (Endpoint, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let certificate = self
            .identity
            .certificate(
                &[NAME.to_owned()],
                SystemTime::now() + Duration::from_secs(3600),
                &self.certificate_evidence,
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(self.config(certificate)));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let recorder = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (enclave, acceptor) = (self.clone(), acceptor.clone());
                let recorder = Arc::clone(&recorder);
                tokio::spawn(async move { enclave.connection(stream, acceptor, recorder).await });
            }
        });
        let endpoint = Endpoint {
            address,
            server_name: NAME.to_owned(),
        };
        (endpoint, asked)
    }

    fn config(&self, certificate: CertificateDer<'static>) -> ServerConfig {
        let beside = self.beside.iter().cloned().map(CertificateDer::from);
        let chain = std::iter::once(certificate).chain(beside);
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), self.identity.private_key())
            .unwrap()
    }

    async fn connection(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        asked: Arc<Mutex<Vec<String>>>,
    ) {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        let binding = ChannelBinding::of(stream.get_ref().1).unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let (enclave, asked) = (self.clone(), Arc::clone(&asked));
            async move {
                asked.lock().unwrap().push(request.uri().path().to_owned());
                Ok::<_, Infallible>(enclave.respond(request, binding).await)
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        binding: ChannelBinding,
    ) -> Response<Full<Bytes>> {
        if request.uri().path() != ATTEST {
            return Response::new(Full::from("app"));
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let challenge: Challenge = serde_json::from_slice(&body).unwrap();
        let mut nonce = Nonce([0; 32]);
        hex::decode_to_slice(&challenge.nonce, &mut nonce.0).unwrap();
        let (nonce, binding) = match &self.answer {
            Answer::Honest => (nonce, binding),
            Answer::StaleNonce => (Nonce([9; 32]), binding),
            Answer::OtherChannel => (nonce, ChannelBinding([9; 32])),
            Answer::Relay(victim) => return relay(victim, body).await,
            Answer::CertificateEvidence(evidence) => return self.answer_with(evidence),
            Answer::Nothing => {
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = StatusCode::NOT_FOUND;
                return answer;
            }
        };
        let report_data = challenge_report_data(
            &nonce,
            &binding,
            &self.identity.public(),
            &self.x25519.public(),
        );
        self.answer_with(&self.platform.quote(self.measurement, &report_data).unwrap())
    }

    fn answer_with(&self, evidence: &[u8]) -> Response<Full<Bytes>> {
        let answer = ChallengeAnswer {
            evidence: BASE64.encode(evidence),
            x25519: hex::encode(self.x25519.public().0),
            certificates: self.brought.iter().map(|one| BASE64.encode(one)).collect(),
        };
        Response::new(Full::from(serde_json::to_vec(&answer).unwrap()))
    }
}

/// Passes the challenge on to `victim` over a TLS connection of the relay's own, as the relay
/// attacks of 2026 do, and brings its answer back.
async fn relay(victim: &str, challenge: Bytes) -> Response<Full<Bytes>> {
    let mut roots = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(TrustsAll))
    .with_no_client_auth();
    roots.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(victim).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(roots))
        .connect(NAME.try_into().unwrap(), stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post(ATTEST)
        .header("host", NAME)
        .body(Full::new(challenge))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    Response::new(Full::new(
        answer.into_body().collect().await.unwrap().to_bytes(),
    ))
}

#[derive(Debug)]
struct TrustsAll;

impl rustls::client::danger::ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

async fn refusal(endpoint: &Endpoint, expected: &Expected, site: &Site) -> ConnectError {
    let Err(error) = connect(endpoint, expected, &site.collateral()).await else {
        panic!("the channel was accepted");
    };
    assert!(error.is_refusal(), "{error}");
    error
}

fn failed(error: &ConnectError) -> (Stage, CheckName) {
    match error {
        ConnectError::Refused { stage, refusal } => (*stage, refusal.failed),
        other => panic!("not refused by appraisal: {other}"),
    }
}

#[tokio::test]
async fn an_honest_enclave_is_accepted_and_the_verdict_says_simulated() {
    let site = Site::new();
    let (endpoint, _) = site.enclave([1; 32]).serve().await;
    let mut channel = connect(&endpoint, &site.expected([1; 32]), &site.collateral())
        .await
        .unwrap();
    let attestation = channel.attestation();
    assert_eq!(
        attestation.challenge_appraisal.tee,
        mse_attest::Tee::Simulated
    );
    assert_eq!(
        attestation
            .challenge_appraisal
            .claims
            .sgx()
            .unwrap()
            .mrenclave,
        [1; 32]
    );
    let request = Request::get("/")
        .header("host", NAME)
        .body(mse_ratls::channel::full(""))
        .unwrap();
    let answer = channel.request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"app");
}

#[tokio::test]
async fn endorsements_of_the_host_fill_what_the_source_of_collateral_left_open() {
    let site = Site::new();
    let collateral = |given: &[Vec<u8>]| {
        let GivenCollateral(mut collateral) = site.collateral();
        collateral.certificates = given.to_vec();
        GivenCollateral(collateral)
    };
    let (beside, brought, given) = (vec![1; 9], vec![2; 9], vec![3; 9]);
    let used = async |enclave: FakeEnclave, given: &[Vec<u8>]| {
        let (endpoint, _) = enclave.serve().await;
        connect(&endpoint, &site.expected([1; 32]), &collateral(given))
            .await
            .map(|channel| channel.attestation().collateral.certificates.clone())
    };
    let mut enclave = site.enclave([1; 32]);
    enclave.brought = vec![brought.clone()];
    assert_eq!(used(enclave.clone(), &[]).await.unwrap(), [brought]);
    enclave.beside = vec![beside.clone()];
    assert_eq!(used(enclave.clone(), &[]).await.unwrap(), [beside]);
    let given = [given];
    assert_eq!(used(enclave.clone(), &given).await.unwrap(), given);

    enclave.brought = vec![vec![2; 9000]];
    let error = used(enclave.clone(), &[]).await.unwrap_err();
    assert!(matches!(error, ConnectError::Answer(_)), "{error}");
    enclave.beside = vec![vec![1; 9]; 5];
    let error = used(enclave.clone(), &[]).await.unwrap_err();
    assert!(matches!(error, ConnectError::Endorsements), "{error}");
}

#[tokio::test]
async fn another_measurement_is_refused_before_anything_is_sent() {
    let site = Site::new();
    let (endpoint, asked) = site.enclave([1; 32]).serve().await;
    let error = refusal(&endpoint, &site.expected([2; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Certificate, CheckName::MrEnclave));
    assert!(
        asked.lock().unwrap().is_empty(),
        "not even the challenge was sent"
    );
}

#[tokio::test]
async fn a_quote_from_another_root_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    let (endpoint, asked) = other.enclave([1; 32]).serve().await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &other).await;
    assert_eq!(failed(&error), (Stage::Certificate, CheckName::RootOfTrust));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn simulated_evidence_is_refused_by_default() {
    let site = Site::new();
    let (endpoint, asked) = site.enclave([1; 32]).serve().await;
    let mut expected = site.expected([1; 32]);
    expected.policy = Policy::strict();
    let error = refusal(&endpoint, &expected, &site).await;
    assert_eq!(failed(&error), (Stage::Certificate, CheckName::RootOfTrust));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn evidence_replayed_for_another_tls_key_is_refused() {
    let site = Site::new();
    let honest = site.enclave([1; 32]);
    let thief = FakeEnclave {
        identity: Arc::new(TlsIdentity::generate().unwrap()),
        ..honest
    };
    let (endpoint, asked) = thief.serve().await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Certificate, CheckName::ReportData));
    assert!(asked.lock().unwrap().is_empty());
}

/// Invariant 10: whoever relays the transport, even from a valid enclave, gets nothing.
#[tokio::test]
async fn an_enclave_of_another_app_that_relays_the_challenge_is_refused() {
    let site = Site::new();
    let (victim, _) = site.enclave([1; 32]).serve().await;
    // The relay is an honest enclave of another app.
    let relay = site
        .enclave([2; 32])
        .answering(Answer::Relay(victim.address));
    let (endpoint, asked) = relay.serve().await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Certificate, CheckName::MrEnclave));
    assert!(asked.lock().unwrap().is_empty());
}

/// The same relay against a client that expects no particular app: the certificate passes, and
/// the challenge is what stops it.
#[tokio::test]
async fn a_relay_is_stopped_by_the_challenge_when_the_certificate_passes() {
    let site = Site::new();
    let (victim, _) = site.enclave([1; 32]).serve().await;
    let relay = site
        .enclave([1; 32])
        .answering(Answer::Relay(victim.address));
    let (endpoint, asked) = relay.serve().await;
    let mut expected = site.expected([1; 32]);
    expected.measurement = None;
    let error = refusal(&endpoint, &expected, &site).await;
    assert!(
        matches!(&error, ConnectError::Answer(_))
            || failed(&error) == (Stage::Challenge, CheckName::ReportData),
        "{error}"
    );
    assert_eq!(*asked.lock().unwrap(), [ATTEST]);
}

/// A relay that also copies the victim's X25519 key fails at the exporter.
#[tokio::test]
async fn evidence_over_another_connection_is_refused() {
    let site = Site::new();
    let (endpoint, _) = site
        .enclave([1; 32])
        .answering(Answer::OtherChannel)
        .serve()
        .await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Challenge, CheckName::ReportData));
}

#[tokio::test]
async fn a_stale_nonce_is_refused() {
    let site = Site::new();
    let (endpoint, _) = site
        .enclave([1; 32])
        .answering(Answer::StaleNonce)
        .serve()
        .await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Challenge, CheckName::ReportData));
}

#[tokio::test]
async fn the_certificates_evidence_is_no_answer_to_a_challenge() {
    let site = Site::new();
    let enclave = site.enclave([1; 32]);
    let evidence = enclave.certificate_evidence.as_bytes().to_vec();
    let (endpoint, _) = enclave
        .answering(Answer::CertificateEvidence(evidence))
        .serve()
        .await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert_eq!(failed(&error), (Stage::Challenge, CheckName::ReportData));
}

#[tokio::test]
async fn a_server_without_a_challenge_is_refused() {
    let site = Site::new();
    let (endpoint, _) = site
        .enclave([1; 32])
        .answering(Answer::Nothing)
        .serve()
        .await;
    let error = refusal(&endpoint, &site.expected([1; 32]), &site).await;
    assert!(matches!(error, ConnectError::NoChallenge(404)), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let site = Site::new();
    let (endpoint, _) = site.enclave([1; 32]).serve().await;
    let elsewhere = Endpoint {
        server_name: "other.mse.localhost".into(),
        ..endpoint
    };
    let error = refusal(&elsewhere, &site.expected([1; 32]), &site).await;
    assert!(matches!(error, ConnectError::WrongName { .. }), "{error}");
}
