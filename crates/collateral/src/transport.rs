//! HTTP with bounds on everything: time, size, redirects, attempts.

use std::error::Error;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::answer::{Answer, AnswerError, issuer_chain};
use crate::platform::PlatformError;
use crate::source::BaseUrl;

/// What one request may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For one document, all attempts and pauses together.
    pub total: Duration,
    /// For a connection, for the head of an answer, and between two pieces of its body.
    pub read: Duration,
    /// The largest body, in bytes.
    pub max_bytes: usize,
    /// How often a request is made at most.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each further one.
    pub first_pause: Duration,
}

impl Default for Limits {
    /// 30 seconds in all, 10 per read, 1 MiB, four attempts.
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            read: Duration::from_secs(10),
            max_bytes: mse_attest::MAX_COLLATERAL_BYTES,
            attempts: 4,
            first_pause: Duration::from_millis(200),
        }
    }
}

/// An HTTP client for the services that it was made for.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: Client,
    limits: Limits,
}

impl Transport {
    /// A client for services at `bases`. `roots` (PEM or DER) are accepted besides the system's:
    /// a PCCS at home often signs its own certificate.
    pub(crate) fn new(
        bases: &[&BaseUrl],
        roots: &[Vec<u8>],
        limits: Limits,
    ) -> Result<Self, SetupError> {
        // Several crates speak TLS with this provider. An error means that it is installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("mse-collateral/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::custom(same_origin))
            .referer(false)
            .connect_timeout(limits.read);
        if bases.iter().all(|base| base.is_loopback()) {
            builder = builder.no_proxy();
        }
        if bases.iter().all(|base| base.is_plain()) {
            // A small machine may have no certificates of the system's; none are needed.
            builder = builder.tls_certs_only([]);
        } else if !roots.is_empty() {
            builder = builder.tls_certs_merge(read_roots(roots)?);
        }
        let http = builder
            .build()
            .map_err(|error| SetupError::Https(root_cause(&error)))?;
        Ok(Self { http, limits })
    }

    /// The answer to a `GET` of `url`, its issuer chain from the first of `chain_headers` that it
    /// has. What may pass (no connection, 5xx, 429) is tried again within the time.
    pub(crate) async fn get(
        &self,
        url: &str,
        chain_headers: &[&str],
    ) -> Result<Answer, FetchError> {
        let deadline = Instant::now() + self.limits.total;
        let mut attempt = 1;
        loop {
            let outcome = timeout_at(deadline, self.once(url, chain_headers))
                .await
                .unwrap_or_else(|_| Err(timed_out(url, self.limits.total)));
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_passing() || attempt >= self.limits.attempts => {
                    return Err(error);
                }
                Err(error) => error,
            };
            let pause = match error.retry_after() {
                Some(asked) => asked,
                None => jittered(self.limits.first_pause * (1 << (attempt - 1).min(8))),
            };
            if Instant::now()
                .checked_add(pause)
                .is_none_or(|end| end >= deadline)
            {
                return Err(error);
            }
            tracing::debug!(url, attempt, ?pause, %error, "asked again after a pause");
            sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, url: &str, chain_headers: &[&str]) -> Result<Answer, FetchError> {
        let response = timeout(self.limits.read, self.http.get(url).send())
            .await
            .map_err(|_| timed_out(url, self.limits.read))?
            .map_err(|error| FetchError::Unreachable {
                url: url.to_owned(),
                why: root_cause(&error),
            })?;
        check_status(url, &response)?;
        let chain = chain_headers
            .iter()
            .find_map(|name| response.headers().get(*name))
            .map(|header| issuer_chain(header.as_bytes()))
            .transpose()
            .map_err(|source| FetchError::Answer {
                url: url.to_owned(),
                source,
            })?;
        let body = self.body(url, response).await?;
        Ok(Answer { chain, body })
    }

    async fn body(&self, url: &str, mut response: Response) -> Result<Vec<u8>, FetchError> {
        let limit = self.limits.max_bytes;
        let too_large = || FetchError::TooLarge {
            url: url.to_owned(),
            limit,
        };
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        loop {
            let chunk = timeout(self.limits.read, response.chunk())
                .await
                .map_err(|_| timed_out(url, self.limits.read))?
                .map_err(|error| FetchError::CutShort {
                    url: url.to_owned(),
                    why: root_cause(&error),
                })?;
            let Some(chunk) = chunk else {
                return Ok(body);
            };
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
    }
}

/// Why there is no collateral.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The evidence does not say what to ask for.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// No service is configured for this kind of TEE.
    #[error("no service is known that has {what}; name one")]
    NoSource {
        /// What was wanted.
        what: String,
    },
    /// No connection, or it broke before the answer began.
    #[error("`{url}` cannot be reached: {why}; check the address and the network")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        why: String,
    },
    /// Too slow.
    #[error("`{url}` did not answer within {after:?}; try again, or name another service")]
    TimedOut {
        /// What was asked for.
        url: String,
        /// The time that is over.
        after: Duration,
    },
    /// 404: the platform is not known there.
    #[error(
        "`{url}` does not have this document (status 404): the service does not know this platform; name another service, or register the platform there"
    )]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// 429.
    #[error("`{url}` wants fewer requests (status 429){}; try again later, or ask a cache", wait_text(*.wait))]
    RateLimited {
        /// What was asked for.
        url: String,
        /// How long it wants us to wait.
        wait: Option<Duration>,
    },
    /// Any other status.
    #[error("`{url}` answered with status {status}; {}", status_fix(*.status))]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// How long it wants us to wait.
        wait: Option<Duration>,
    },
    /// A redirect to somewhere else, which is not followed.
    #[error(
        "`{url}` wants to redirect to `{to}`, which is another host; name that service if you mean it"
    )]
    Redirected {
        /// What was asked for.
        url: String,
        /// Where it points to.
        to: String,
    },
    /// Larger than any genuine document.
    #[error(
        "the answer of `{url}` has more than {limit} bytes; check that the URL is that of a collateral service"
    )]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The most that is read.
        limit: usize,
    },
    /// The connection broke within the answer.
    #[error("the answer of `{url}` is cut short: {why}; try again")]
    CutShort {
        /// What was asked for.
        url: String,
        /// Why.
        why: String,
    },
    /// An answer that makes no sense, or is about something else.
    #[error("the answer of `{url}` {source}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        source: AnswerError,
    },
}

impl FetchError {
    /// Whether the same request may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RateLimited { .. }
            | Self::CutShort { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the service knows nothing about the platform.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait, .. } | Self::Status { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// TLS.
    #[error(
        "HTTPS cannot be set up: {0}; install the system's CA certificates, on Debian and Ubuntu with `apt install ca-certificates`"
    )]
    Https(String),
    /// A further root.
    #[error(
        "a further root certificate is neither PEM nor DER: {0}; give the service's CA certificate"
    )]
    Root(String),
}

fn timed_out(url: &str, after: Duration) -> FetchError {
    FetchError::TimedOut {
        url: url.to_owned(),
        after,
    }
}

fn check_status(url: &str, response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    let url = url.to_owned();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let to = response
            .headers()
            .get(LOCATION)
            .map(|to| {
                String::from_utf8_lossy(to.as_bytes())
                    .chars()
                    .take(200)
                    .collect()
            })
            .unwrap_or_default();
        return Err(FetchError::Redirected { url, to });
    }
    let wait = wait_of(response.headers(), SystemTime::now());
    Err(match status {
        StatusCode::NOT_FOUND => FetchError::NotFound { url },
        StatusCode::TOO_MANY_REQUESTS => FetchError::RateLimited { url, wait },
        status => FetchError::Status {
            url,
            status: status.as_u16(),
            wait,
        },
    })
}

/// `Retry-After`: seconds, or a date (RFC 9110).
fn wait_of(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: Timestamp = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let date = SystemTime::try_from(date).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn wait_text(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(" and says to wait {} s", wait.as_secs())
    })
}

fn status_fix(status: u16) -> &'static str {
    match status {
        400 => {
            "the service does not take this request: check the platform and the service's version"
        }
        401 | 403 => {
            "the service wants a login or a client's certificate, which this program does not send"
        }
        500.. => "the service has trouble: try again later, or name another one",
        _ => "check that the URL is that of a collateral service",
    }
}

/// Follows redirects only to the same scheme, host and port, and not for ever.
fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt
        .previous()
        .first()
        .is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= 3 {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn read_roots(roots: &[Vec<u8>]) -> Result<Vec<Certificate>, SetupError> {
    let mut certificates = Vec::new();
    for root in roots {
        let read = if root.first() == Some(&0x30) {
            Certificate::from_der(root).map(|certificate| vec![certificate])
        } else {
            Certificate::from_pem_bundle(root)
        };
        certificates.extend(read.map_err(|error| SetupError::Root(root_cause(&error)))?);
    }
    Ok(certificates)
}

/// Between half of `pause` and all of it: clients that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    // Without randomness the pause is merely the longest.
    let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + part / 2.0)
}

/// The innermost cause: the outer texts only say that something failed.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            wait_of(&headers, now.try_into().unwrap())
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait("Thu, 01 Jan 2026 00:01:00 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(wait("Wed, 31 Dec 2025 00:01:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn jitter_never_lengthens_a_pause() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(2));
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&pause));
        }
    }
}
