//! What the front answers: the enclave's own paths by itself, everything else through the app.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::{Nonce, challenge_report_data};
use mse_ratls::wire::{
    ATTEST, Challenge, ChallengeAnswer, MAX_CHALLENGE, MAX_PROVISIONING, PREFIX, PROVISION,
    Problem, ProblemCode, STATE, STATUS_HEADER, SealedProvisioning, State,
};
use mse_ratls::{ChannelBinding, TlsPublicKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::app_proxy::AppProxy;
use super::certificates::Certificates;
use crate::provisioning::Provisioning;
use mse_tee::attester::Attester;
use mse_tee::crowd::Seat;

/// Challenges that are answered at once.
const MAX_CHALLENGES: usize = 16;
/// Provisioning requests that are read at once.
const MAX_PROVISIONINGS: usize = 4;
/// How long a request may wait for its turn, and how long its body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What all connections of the front share.
pub(crate) struct Enclave {
    certificates: Arc<Certificates>,
    attester: Attester,
    tls_key: TlsPublicKey,
    x25519: Arc<KeyPair>,
    provisioning: Provisioning,
    app: OnceLock<Arc<AppProxy>>,
    /// Anyone may ask for evidence, and each answer costs the platform a signature.
    challenges: Semaphore,
    /// Anyone may send something to provision with, and it is held in memory while it is read.
    provisionings: Semaphore,
}

impl Enclave {
    /// An enclave that waits for its secrets.
    pub(crate) fn new(
        certificates: Certificates,
        attester: Attester,
        tls_key: TlsPublicKey,
        x25519: Arc<KeyPair>,
        provisioning: Provisioning,
    ) -> Self {
        Self {
            certificates: Arc::new(certificates),
            attester,
            tls_key,
            x25519,
            provisioning,
            app: OnceLock::new(),
            challenges: Semaphore::new(MAX_CHALLENGES),
            provisionings: Semaphore::new(MAX_PROVISIONINGS),
        }
    }

    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// From now on requests go to the app.
    pub(crate) fn open(&self, app: AppProxy) {
        // The app starts once, so the cell is empty.
        let _ = self.app.set(Arc::new(app));
    }

    fn state(&self) -> &'static str {
        match (self.app.get(), self.provisioning.is_done()) {
            (Some(_), _) => "running",
            (None, true) => "starting",
            (None, false) => "awaiting-provisioning",
        }
    }
}

/// One TLS connection.
#[derive(Clone)]
pub(crate) struct Connection {
    enclave: Arc<Enclave>,
    binding: ChannelBinding,
    /// Whether it was given the enclave's own certificate.
    owns_certificate: bool,
    seat: Arc<Seat>,
}

impl Connection {
    pub(super) fn new(
        enclave: Arc<Enclave>,
        binding: ChannelBinding,
        owns_certificate: bool,
        seat: Arc<Seat>,
    ) -> Self {
        Self {
            enclave,
            binding,
            owns_certificate,
            seat,
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        // Who has not asked whole yet keeps no seat by that: anybody may ask as slowly as they like.
        self.seat.spoke();
        if request.uri().path().starts_with(PREFIX) {
            return self
                .answer_itself(request)
                .await
                .unwrap_or_else(|problem| refusal(&problem));
        }
        match self.enclave.app.get() {
            Some(app) => app.forward(request, &self.seat).await,
            None => self.not_yet(request.method()),
        }
    }

    async fn answer_itself(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, ATTEST) => self.attest(request).await,
            (&Method::POST, PROVISION) => self.provision(request).await,
            (&Method::GET, STATE) => Ok(json(
                StatusCode::OK,
                &State {
                    state: self.enclave.state().to_owned(),
                },
            )),
            (method, path) => Err(problem(
                ProblemCode::NoSuchThing,
                format!("the enclave has no `{method} {path}`"),
            )),
        }
    }

    /// Answers the channel challenge with fresh evidence over this very connection.
    async fn attest(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Problem> {
        if !self.owns_certificate {
            return Err(problem(
                ProblemCode::NoSuchThing,
                "this name is served with the owner's certificate: challenge the enclave at its own name",
            ));
        }
        let challenge: Challenge = read(request, MAX_CHALLENGE).await?;
        let mut nonce = [0; 32];
        hex::decode_to_slice(&challenge.nonce, &mut nonce).map_err(|_| {
            problem(
                ProblemCode::Malformed,
                "`nonce` must be 32 bytes in hexadecimal",
            )
        })?;
        let _turn = turn(&self.enclave.challenges).await?;
        let _answering = self.seat.answering();
        let x25519 = self.enclave.x25519.public();
        let report_data =
            challenge_report_data(&Nonce(nonce), &self.binding, &self.enclave.tls_key, &x25519);
        let attested = self
            .enclave
            .attester
            .evidence(&report_data)
            .await
            .map_err(|error| problem(ProblemCode::NoEvidence, error.to_string()))?;
        Ok(json(
            StatusCode::OK,
            &ChallengeAnswer::new(&attested.evidence, &x25519, &attested.certificates),
        ))
    }

    async fn provision(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Problem> {
        if !self.owns_certificate {
            return Err(problem(
                ProblemCode::NoSuchThing,
                "provision the enclave at its own name",
            ));
        }
        self.enclave.provisioning.check_open()?;
        let _turn = turn(&self.enclave.provisionings).await?;
        let body: SealedProvisioning = read(request, MAX_PROVISIONING).await?;
        // A large bundle takes its time, in which silent ones must not end this.
        let _answering = self.seat.answering();
        let sealed = BASE64
            .decode(&body.sealed)
            .map_err(|_| problem(ProblemCode::Malformed, "`sealed` must be base64"))?;
        self.enclave
            .provisioning
            .provision(&sealed, &self.enclave.x25519, &self.binding)
            .await?;
        Ok(json(
            StatusCode::OK,
            &State {
                state: "starting".to_owned(),
            },
        ))
    }

    /// Before the app runs. Existing clients take 200 with `Mse-Status` for "waits for its
    /// secrets" and anything without it, but 503, for "ready".
    fn not_yet(&self, method: &Method) -> Response<AnswerBody> {
        if self.enclave.provisioning.is_done() {
            let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "the app is starting\n");
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return answer;
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::OK, "this enclave waits for its secrets\n");
            answer
                .headers_mut()
                .insert(STATUS_HEADER, HeaderValue::from_static("Waiting"));
            return answer;
        }
        refusal(&problem(
            ProblemCode::Malformed,
            format!(
                "secrets are taken at `{PROVISION}`, sealed to the attested key; the older form in clear is not enabled"
            ),
        ))
    }
}

/// An answer of plain text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    with_type(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<AnswerBody> {
    with_type(
        status,
        "application/json",
        serde_json::to_vec(value).unwrap_or_default().into(),
    )
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<AnswerBody> {
    let body = Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn refusal(problem: &Problem) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(problem.code.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json(status, problem);
    if problem.code == ProblemCode::NoSuchThing {
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    answer
}

fn problem(code: ProblemCode, message: impl Into<String>) -> Problem {
    Problem {
        code,
        message: message.into(),
    }
}

/// Waits for one of few turns.
async fn turn(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, Problem> {
    match timeout(PATIENCE, semaphore.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(problem(
            ProblemCode::Busy,
            "too many requests of this kind: try again",
        )),
    }
}

/// Reads a JSON body of at most `limit` bytes. What was wrong with it is not repeated: it may
/// be most of a secret.
async fn read<T: DeserializeOwned>(request: Request<Incoming>, limit: usize) -> Result<T, Problem> {
    let body = Limited::new(request.into_body(), limit).collect();
    let body = timeout(PATIENCE, body)
        .await
        .map_err(|_| problem(ProblemCode::Malformed, "the body takes too long"))?
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                problem(
                    ProblemCode::TooLarge,
                    format!("the body is over {limit} bytes"),
                )
            } else {
                problem(ProblemCode::Malformed, "the body breaks off")
            }
        })?
        .to_bytes();
    serde_json::from_slice(&body).map_err(|_| {
        problem(
            ProblemCode::Malformed,
            "the body is not the JSON expected here",
        )
    })
}
