//! A simulated enclave as a test needs it: attests itself, takes its secrets, serves a page.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::Evidence;
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::{ChannelBinding, Nonce, challenge_report_data};
use mse_ratls::wire::{self, Challenge, ChallengeAnswer, Problem, ProblemCode, SealedProvisioning};
use mse_ratls::{ProvisioningPayload, TlsIdentity};
use mse_simtee::Platform;
use mse_workload::bundle::{NoSink, unseal};
use mse_workload::{Measurement, Workload};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What an enclave is started with.
pub(crate) struct Launch {
    pub(crate) workload: Workload,
    pub(crate) bundle: Vec<u8>,
    pub(crate) measurement: Measurement,
    pub(crate) platform: Arc<Platform>,
    /// Counts the attempts to provision it.
    pub(crate) attempts: Arc<AtomicUsize>,
    /// Refuses whatever it is provisioned with.
    pub(crate) refuses: bool,
}

/// A running enclave; it ends when this is dropped.
pub(crate) struct FakeEnclave {
    pub(crate) address: SocketAddr,
    /// What it was provisioned with.
    pub(crate) received: Arc<Mutex<Option<Received>>>,
    task: JoinHandle<()>,
}

/// What an enclave got from the owner.
pub(crate) struct Received {
    pub(crate) secrets: Option<String>,
}

impl FakeEnclave {
    pub(crate) async fn start(launch: Launch) -> Self {
        let identity = TlsIdentity::generate().unwrap();
        let key = KeyPair::generate();
        let evidence = quote(&launch, &identity.report_data(&key.public()));
        let not_after = SystemTime::now() + Duration::from_hours(1);
        let certificate = identity
            .certificate(&launch.workload.tls.names, not_after, &evidence)
            .unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], identity.private_key())
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(None));
        let inside = Arc::new(Inside {
            launch,
            identity,
            key,
            received: Arc::clone(&received),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            // Its connections end with the enclave.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&inside)));
            }
        });
        Self {
            address,
            received,
            task,
        }
    }
}

impl Drop for FakeEnclave {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Inside {
    launch: Launch,
    identity: TlsIdentity,
    key: KeyPair,
    received: Arc<Mutex<Option<Received>>>,
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, inside: Arc<Inside>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let binding = ChannelBinding::of(stream.get_ref().1).unwrap();
    let service = service_fn(move |request| {
        let inside = Arc::clone(&inside);
        async move { Ok::<_, Infallible>(inside.answer(request, binding).await) }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Inside {
    async fn answer(
        &self,
        request: Request<Incoming>,
        binding: ChannelBinding,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        match path.as_str() {
            wire::ATTEST => self.attest(&body, &binding),
            wire::PROVISION => match self.provision(&body, &binding) {
                Ok(()) => Response::new(Full::default()),
                Err(problem) => {
                    let mut response = Response::new(serde_json::to_vec(&problem).unwrap().into());
                    *response.status_mut() =
                        StatusCode::from_u16(problem.code.http_status()).unwrap();
                    response
                }
            },
            "/echo" => Response::new(Full::new(body)),
            "/host" => Response::new(Full::new(host.into())),
            _ => Response::new("Hello world".into()),
        }
    }

    fn attest(&self, body: &[u8], binding: &ChannelBinding) -> Response<Full<Bytes>> {
        let challenge: Challenge = serde_json::from_slice(body).unwrap();
        let nonce = Nonce(hex::decode(challenge.nonce).unwrap().try_into().unwrap());
        let public = self.key.public();
        let data = challenge_report_data(&nonce, binding, &self.identity.public(), &public);
        let answer = ChallengeAnswer::new(&quote(&self.launch, &data), &public, &[]);
        Response::new(serde_json::to_vec(&answer).unwrap().into())
    }

    fn provision(&self, body: &[u8], binding: &ChannelBinding) -> Result<(), Problem> {
        let problem = |code, message: &str| Problem {
            code,
            message: message.to_owned(),
        };
        self.launch.attempts.fetch_add(1, Ordering::SeqCst);
        if self.launch.refuses {
            return Err(problem(
                ProblemCode::AlreadyProvisioned,
                "somebody was here before",
            ));
        }
        let sealed: SealedProvisioning = serde_json::from_slice(body).unwrap();
        let sealed = STANDARD.decode(sealed.sealed).unwrap();
        let workload = &self.launch.workload;
        let payload =
            ProvisioningPayload::open(&sealed, &workload.app_id, &self.key, binding).unwrap();
        let opened = unseal(
            &self.launch.bundle[..],
            &payload.code_key,
            &payload.source_salt,
            &mut NoSink,
        )
        .map_err(|error| problem(ProblemCode::WrongCodeKey, &error.to_string()))?;
        assert_eq!(opened.commitment, workload.source_commitment);
        *self.received.lock().unwrap() = Some(Received {
            secrets: payload.secrets.map(|secrets| secrets.to_string()),
        });
        Ok(())
    }
}

fn quote(launch: &Launch, report_data: &[u8; 64]) -> Evidence {
    let quote = launch
        .platform
        .quote(launch.measurement.0.0, report_data)
        .unwrap();
    Evidence::parse(&quote).unwrap()
}
