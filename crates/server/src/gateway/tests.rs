//! Where TLS ends, seen from a user with TLS of its own.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mse_attest::Evidence;
use mse_crypto::Digest;
use mse_crypto::hpke::PublicKey;
use mse_ratls::TlsIdentity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::data_dir::DataDir;

const DOMAIN: &str = "hello-1234.mse.localhost";
const CONFIG_DOMAIN: &str = "some-id.mse.localhost";

#[tokio::test]
async fn for_the_operator_tls_ends_here_and_begins_anew() {
    let bench = Bench::new().await;
    let route = bench.open(TlsOrigin::Operator, bench.measurement).await;
    let trusting = bench.trusting_the_operator();
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, route.port()));
    for (address, name) in [(bench.gateway.address(), DOMAIN), (direct, "localhost")] {
        let mut user = connect(address, name, &trusting).await.unwrap();
        assert_eq!(echoed(&mut user).await.unwrap(), "hello");
    }
    let traffic = &route.route.traffic;
    assert_eq!((traffic.connections(), traffic.open()), (2, 0));
    assert!(
        traffic.received() > 400 && traffic.sent() > 1000,
        "{traffic:?}"
    );
}

#[tokio::test]
async fn the_configuration_domain_leads_into_the_enclave_for_everyone() {
    let bench = Bench::new().await;
    let enclaves = bench.trusting_the_enclave();
    for origin in [TlsOrigin::Operator, TlsOrigin::Owner, TlsOrigin::Enclave] {
        let route = bench.open(origin, bench.measurement).await;
        let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, route.port()));
        for address in [bench.gateway.address(), direct] {
            let mut user = connect(address, CONFIG_DOMAIN, &enclaves).await.unwrap();
            assert_eq!(echoed(&mut user).await.unwrap(), "hello");
        }
        // With the app's own domain, only for those who keep the operator out.
        let user = connect(bench.gateway.address(), DOMAIN, &enclaves).await;
        assert_eq!(user.is_ok(), origin != TlsOrigin::Operator, "{origin}");
    }
}

#[tokio::test]
async fn what_is_not_the_launched_enclave_gets_nothing_of_the_user() {
    let bench = Bench::new().await;
    let other = Measurement(Digest::of(b"other"));
    let _route = bench.open(TlsOrigin::Operator, other).await;
    let mut user = connect(
        bench.gateway.address(),
        DOMAIN,
        &bench.trusting_the_operator(),
    )
    .await
    .unwrap();
    assert!(echoed(&mut user).await.is_none());
    assert_eq!(bench.heard.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_closed_route_ends_its_connections() {
    let bench = Bench::new().await;
    let route = bench.open(TlsOrigin::Enclave, bench.measurement).await;
    let enclaves = bench.trusting_the_enclave();
    let mut user = connect(bench.gateway.address(), DOMAIN, &enclaves)
        .await
        .unwrap();
    route.withdraw();
    // Nobody else gets in, who is in stays,
    let refused = connect(bench.gateway.address(), DOMAIN, &enclaves).await;
    assert!(refused.is_err());
    assert_eq!(echoed(&mut user).await.unwrap(), "hello");
    // and that ends with the route.
    let mut user = {
        let route = bench.open(TlsOrigin::Enclave, bench.measurement).await;
        let user = connect(bench.gateway.address(), DOMAIN, &enclaves)
            .await
            .unwrap();
        drop(route);
        user
    };
    assert!(echoed(&mut user).await.is_none());
}

struct Bench {
    _folder: tempfile::TempDir,
    gateway: Gateway,
    operator_ca: CertificateDer<'static>,
    enclave_certificate: CertificateDer<'static>,
    measurement: Measurement,
    upstream: u16,
    heard: Arc<AtomicUsize>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::prepare(&folder.path().join("data")).unwrap();
        let platform = Platform::create(&data.platform(), SystemTime::now()).unwrap();
        let measurement = Measurement(Digest::of(b"enclave"));

        let identity = TlsIdentity::generate().unwrap();
        let report_data = identity.report_data(&PublicKey([9; 32]));
        let quote = platform.quote(measurement.0.0, &report_data).unwrap();
        let until = SystemTime::now() + Duration::from_secs(600);
        let names = [DOMAIN.to_owned(), CONFIG_DOMAIN.to_owned()];
        let enclave_certificate = identity
            .certificate(&names, until, &Evidence::parse(&quote).unwrap())
            .unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let upstream = echo(&identity, &enclave_certificate, Arc::clone(&heard)).await;

        let operator = OperatorTls::load(None, &data, "mse.localhost").unwrap();
        let gateway = Gateway::start(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            None,
            PortRange::Any,
            operator,
            Arc::new(platform),
        )
        .await
        .unwrap();
        Self {
            operator_ca: CertificateDer::from_pem_file(data.operator_ca()).unwrap(),
            _folder: folder,
            gateway,
            enclave_certificate,
            measurement,
            upstream,
            heard,
        }
    }

    async fn open(&self, origin: TlsOrigin, measurement: Measurement) -> OpenRoute {
        let spec = RouteSpec {
            origin,
            domain: DOMAIN.into(),
            config_domain: CONFIG_DOMAIN.into(),
            upstream: ([127, 0, 0, 1], self.upstream).into(),
            measurement: Some(measurement),
            port: None,
            traffic: Arc::default(),
        };
        self.gateway.open(spec).await.unwrap()
    }

    fn trusting_the_operator(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.operator_ca.clone()).unwrap();
        let config = builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }

    fn trusting_the_enclave(&self) -> Arc<ClientConfig> {
        let verifier = ThisCertificate(self.enclave_certificate.clone());
        let config = builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Arc::new(config.with_no_client_auth())
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// A TLS server that gives back what it hears, and counts it.
async fn echo(
    identity: &TlsIdentity,
    certificate: &CertificateDer<'static>,
    heard: Arc<AtomicUsize>,
) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], identity.private_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
            tokio::spawn(async move {
                // A user that does not like the certificate leaves.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    heard.fetch_add(length, Ordering::SeqCst);
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

async fn connect(
    address: SocketAddr,
    name: &'static str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

/// What comes back, or nothing if the connection ends.
async fn echoed(user: &mut TlsStream<TcpStream>) -> Option<String> {
    user.write_all(b"hello").await.ok()?;
    user.flush().await.ok()?;
    let mut answer = [0; 5];
    user.read_exact(&mut answer).await.ok()?;
    user.shutdown().await.ok()?;
    let mut rest = Vec::new();
    user.read_to_end(&mut rest).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[derive(Debug)]
struct ThisCertificate(CertificateDer<'static>);

impl ServerCertVerifier for ThisCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
