//! The client of the CAS: shows evidence, gets the configuration.

mod error;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use mse_crypto::hpke::KeyPair;
use mse_ratls::ChannelBinding;
use mse_ratls::binding::Nonce;
use mse_ratls::cas::client::{self, CasAddress, CasClient, connect_pinned};
use mse_ratls::release::{
    self, Configuration, Recorded, ReleaseChallenge, ReleaseRefusal, ReleaseRequest,
    RenewalRequest, SealedRelease, Target, VolumeReport, access_token_proof, release_report_data,
};
use mse_tee::attester::Attester;
use mse_workload::launch::AccessToken;
use mse_workload::{CasKey, ServiceWorkload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub(super) use self::error::CasError;

/// How long the CAS may take for an answer.
const ANSWERING: Duration = Duration::from_secs(30);
/// A challenge or what is recorded is at most this long.
const MAX_SMALL: usize = 16 * 1024;
/// A release is at most this long: base64 of the sealed configuration, and the ticket.
const MAX_SEALED: usize = release::MAX_RELEASE / 3 * 4 + 64 * 1024;
/// How much of a refusal's own words is passed on.
const MAX_WORDS: usize = 600;

/// A release is renewed at least this often, whatever the CAS says: a revocation is noticed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// And not more often than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// Where the CAS is, and which it must be.
pub(super) struct Cas {
    address: CasAddress,
    key: CasKey,
    target: Target,
    access_token: Option<AccessToken>,
}

/// What was released, and what renews it.
pub(super) struct Lease {
    pub(super) configuration: Configuration,
    /// Until when to ask again.
    pub(super) renew_in: Duration,
    key: Arc<KeyPair>,
    ticket: String,
}

/// With what the service can ask the CAS for more: the newest ticket.
pub(super) struct Standing(Mutex<(String, Duration)>);

impl Standing {
    pub(super) fn of(lease: &Lease) -> Self {
        Self(Mutex::new((lease.ticket.clone(), lease.renew_in)))
    }

    /// There is a newer lease.
    pub(super) fn renewed(&self, lease: &Lease) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = (lease.ticket.clone(), lease.renew_in);
    }

    pub(super) fn ticket(&self) -> String {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.clone()
    }

    pub(super) fn renew_in(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// A state of a volume, to be recorded.
pub(super) struct NewState<'a> {
    pub(super) name: &'a str,
    pub(super) sequence: u64,
    pub(super) root: String,
    pub(super) previous: u64,
}

impl Cas {
    /// The CAS of `workload`, at `address` as the host says.
    pub(super) fn new(address: &str, workload: &ServiceWorkload) -> Result<Self, CasError> {
        Ok(Self {
            address: address.parse()?,
            key: workload.cas_key,
            target: Target {
                session: workload.session.clone(),
                service: workload.service.clone(),
            },
            access_token: None,
        })
    }

    /// With the access token of the session, which is proven and never sent.
    pub(super) fn with_access_token(self, access_token: Option<AccessToken>) -> Self {
        Self {
            access_token,
            ..self
        }
    }

    /// Shows fresh evidence on a new connection, and gets what is released to it.
    pub(super) async fn release(
        &self,
        attester: &Attester,
        one_time_password: Option<&str>,
    ) -> Result<Lease, CasError> {
        let mut client = self.connect().await?;
        let challenge: ReleaseChallenge =
            post(&mut client, release::CHALLENGE, Bytes::new(), MAX_SMALL).await?;
        let mut nonce = Nonce([0; 32]);
        hex::decode_to_slice(&challenge.nonce, &mut nonce.0)
            .map_err(|_| CasError::Answer("its nonce is not 32 bytes in hex"))?;
        let key = Arc::new(KeyPair::generate());
        let binding = client.binding();
        let report_data = release_report_data(&nonce, &binding, &key.public(), &self.target);
        let attested = attester.evidence(&report_data).await?;
        let request = ReleaseRequest {
            target: self.target.clone(),
            nonce: challenge.nonce,
            x25519: hex::encode(key.public().0),
            evidence: BASE64.encode(attested.evidence.as_bytes()),
            certificates: attested
                .certificates
                .iter()
                .map(|one| BASE64.encode(one))
                .collect(),
            one_time_password: one_time_password.map(str::to_owned),
            access_token_proof: self
                .access_token
                .as_ref()
                .map(|token| access_token_proof(&token.0, &nonce, &binding)),
        };
        let sealed = post(&mut client, release::RELEASE, json(&request)?, MAX_SEALED).await?;
        self.open(sealed, key, &binding)
    }

    /// Gets the configuration as it is now, on a new connection, by the ticket of `lease`.
    pub(super) async fn renew(&self, lease: &Lease) -> Result<Lease, CasError> {
        let mut client = self.connect().await?;
        let request = RenewalRequest {
            ticket: lease.ticket.clone(),
        };
        let sealed = post(&mut client, release::RENEW, json(&request)?, MAX_SEALED).await?;
        self.open(sealed, Arc::clone(&lease.key), &client.binding())
    }

    /// Has the state of a volume recorded, on a new connection.
    pub(super) async fn record(&self, ticket: &str, state: &NewState<'_>) -> Result<(), CasError> {
        let mut client = self.connect().await?;
        let report = VolumeReport {
            ticket: ticket.to_owned(),
            name: state.name.to_owned(),
            sequence: state.sequence,
            root: state.root.clone(),
            previous: state.previous,
        };
        let Recorded {} = post(&mut client, release::VOLUME, json(&report)?, MAX_SMALL).await?;
        Ok(())
    }

    fn open(
        &self,
        sealed: SealedRelease,
        key: Arc<KeyPair>,
        binding: &ChannelBinding,
    ) -> Result<Lease, CasError> {
        let bytes = BASE64
            .decode(&sealed.sealed)
            .map_err(|_| CasError::Answer("the sealed configuration is not base64"))?;
        let configuration = Configuration::open(&bytes, &self.target, &key, binding)?;
        Ok(Lease {
            configuration,
            renew_in: Duration::from_secs(sealed.renew_in).clamp(SHORTEST, LONGEST),
            key,
            ticket: sealed.ticket,
        })
    }

    /// A connection of its own for each exchange: what is sealed is bound to it.
    async fn connect(&self) -> Result<CasClient, CasError> {
        Ok(connect_pinned(&self.address, self.key, None).await?)
    }
}

/// Posts `body` and reads the answer, of at most `limit` bytes.
async fn post<T: DeserializeOwned>(
    client: &mut CasClient,
    path: &'static str,
    body: Bytes,
    limit: usize,
) -> Result<T, CasError> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    let answer = timeout(ANSWERING, client.forward(request))
        .await
        .map_err(|_| client::CasError::Timeout("its answer", ANSWERING))??;
    let status = answer.status();
    if answer.body().len() > limit {
        return Err(CasError::Answer("it is longer than any may be"));
    }
    if status.is_success() {
        return serde_json::from_slice(answer.body())
            .map_err(|_| CasError::Answer("it is not JSON of the expected shape"));
    }
    Err(
        match serde_json::from_slice::<ReleaseRefusal>(answer.body()) {
            Ok(refusal) => CasError::Refused(tamed(refusal)),
            Err(_) => CasError::Status(status.as_u16()),
        },
    )
}

/// A refusal whose words fit one line of a log.
fn tamed(refusal: ReleaseRefusal) -> ReleaseRefusal {
    let line = |text: String| -> String {
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(MAX_WORDS).collect()
    };
    ReleaseRefusal {
        code: refusal.code,
        message: line(refusal.message),
        check: refusal.check.map(line),
    }
}

fn json(message: &impl Serialize) -> Result<Bytes, CasError> {
    serde_json::to_vec(message)
        .ok()
        .filter(|body| body.len() <= release::MAX_REQUEST)
        .map(Bytes::from)
        .ok_or(CasError::Request)
}

#[cfg(test)]
mod tests {
    use mse_crypto::Digest;
    use mse_ratls::release::RefusalCode;
    use mse_workload::launch::ServiceCheck;
    use mse_workload::{Base, CasKey, Resources, SERVICE_FORMAT};

    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let workload = ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: Digest::of(b""),
            base: Base::Machine {},
            cas_key: CasKey::of(b""),
            session: "s".into(),
            service: "w".into(),
            resources: Resources {
                memory_mib: 1,
                millicores: 1,
            },
        };
        for good in [
            "localhost:1",
            "127.0.0.1:18765",
            "[::1]:1",
            "cas.example:443",
        ] {
            assert!(Cas::new(good, &workload).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "localhost:",
            "localhost:x",
            ":1",
            "a b:1",
            "h:70000",
        ] {
            let refused = Cas::new(bad, &workload).err().map(|error| error.check());
            assert_eq!(refused, Some(ServiceCheck::Launch), "{bad}");
        }
    }

    #[test]
    fn a_refusal_fits_one_line() {
        let refusal = tamed(ReleaseRefusal {
            code: RefusalCode::Attestation,
            message: format!("a\nb\u{1b}{}", "x".repeat(1000)),
            check: Some("mr\nenclave".into()),
        });
        let line = CasError::Refused(refusal).to_string();
        assert!(!line.chars().any(char::is_control), "{line}");
        assert!(line.starts_with("the CAS refused: a b x"), "{line}");
        assert!(line.ends_with("(check `mr enclave`)"), "{line}");
        assert!(line.len() < 700);
    }
}
