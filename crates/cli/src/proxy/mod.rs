//! A local port that speaks plain HTTP/1.1 and forwards to one app or CAS, over connections each of
//! which was verified first: so that any program can use it.
//!
//! Bodies are streamed both ways for apps. Upgrades (websockets) are refused with 501. The port is for
//! this machine only, and requests must name it as such: a web page cannot reach through it by
//! pointing a name of its own here.

mod upstream;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mse_ratls::forwarding::strip_hop_by_hop;
use tokio::net::{TcpListener, TcpStream};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::server_url::is_loopback_host;

pub(crate) use upstream::{AnswerBody, Upstream};

/// What a port forwards to.
pub(crate) trait Forward: Send + Sync + 'static {
    /// What requests name it by.
    fn host(&self) -> &HeaderValue;

    /// Sends a request on a verified connection.
    fn send(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Failure>> + Send;
}

/// Any free port of this machine.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Refuses an address that others can reach.
pub(crate) fn prove_local(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format!("`{address}` can be reached from other machines, in clear"),
    )
    .with_hint("listen on this machine only: `--listen 127.0.0.1:PORT`"))
}

/// A port, ready to forward.
pub(crate) struct LocalProxy<U> {
    listener: TcpListener,
    address: SocketAddr,
    upstream: Arc<U>,
}

impl<U: Forward> LocalProxy<U> {
    /// Listens on `address`, which must be on this machine: what goes in there is in clear.
    pub(crate) async fn bind(address: SocketAddr, upstream: U) -> Result<Self, Failure> {
        prove_local(address)?;
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|error: std::io::Error| {
            Failure::other(format!("could not listen on `{address}`: {error}"))
                .with_hint("choose another port, or 0 for any free one")
        })?;
        Ok(Self {
            listener,
            address,
            upstream: Arc::new(upstream),
        })
    }

    /// Where programs find it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards until it is dropped. `on_failure` hears of every connection that was refused.
    pub(crate) async fn serve(self, on_failure: impl Fn(&Failure) + Send + Sync + 'static) {
        let on_failure = Arc::new(on_failure);
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let upstream = Arc::clone(&self.upstream);
                    let on_failure = Arc::clone(&on_failure);
                    tokio::spawn(serve_connection(stream, upstream, on_failure));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Mostly too many open files: give some a chance to be closed.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve_connection<U: Forward, F: Fn(&Failure) + Send + Sync + 'static>(
    stream: TcpStream,
    upstream: Arc<U>,
    on_failure: Arc<F>,
) {
    let service = service_fn(|request| {
        let upstream = Arc::clone(&upstream);
        let on_failure = Arc::clone(&on_failure);
        async move { Ok::<_, Infallible>(forward(request, &upstream, &*on_failure).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a local connection ended");
    }
}

async fn forward(
    mut request: Request<Incoming>,
    upstream: &Arc<impl Forward>,
    on_failure: &impl Fn(&Failure),
) -> Response<AnswerBody> {
    if !names_this_machine(request.headers()) {
        return refusal(
            StatusCode::MISDIRECTED_REQUEST,
            &Failure::new(
                Exit::Usage,
                "this port answers only for the names of this machine",
            ),
        );
    }
    // Any other protocol may be ignored (RFC 9110 §7.8); a WebSocket client would wait for it.
    if asks_for_websocket(request.headers()) {
        return refusal(
            StatusCode::NOT_IMPLEMENTED,
            &Failure::new(Exit::Usage, "upgrades (websockets) are not forwarded"),
        );
    }
    let path = request
        .uri()
        .path_and_query()
        .and_then(|path| path.as_str().parse().ok())
        .unwrap_or_default();
    *request.uri_mut() = path;
    *request.version_mut() = http::Version::HTTP_11;
    let local = request.headers().get(HOST).cloned();
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, upstream.host().clone());

    match upstream.send(request).await {
        Ok(mut response) => {
            strip_hop_by_hop(response.headers_mut());
            if let Some(local) = &local {
                keep_redirect_here(response.headers_mut(), upstream.host(), local);
            }
            response
        }
        Err(failure) => {
            on_failure(&failure);
            refusal(StatusCode::BAD_GATEWAY, &failure)
        }
    }
}

/// The answer of the port itself.
pub(crate) fn refusal(status: StatusCode, failure: &Failure) -> Response<AnswerBody> {
    let body = Full::new(Bytes::from(failure.to_json().to_string()));
    let mut response = Response::new(
        body.map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A redirection to the app's own name, which is reached only through here, leads back here.
fn keep_redirect_here(headers: &mut HeaderMap, app: &HeaderValue, local: &HeaderValue) {
    let here = headers.get(LOCATION).and_then(|location| {
        let (app, local) = (app.to_str().ok()?, local.to_str().ok()?);
        let rest = location
            .to_str()
            .ok()?
            .strip_prefix("https://")?
            .strip_prefix(app)?;
        let whole = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        whole.then(|| HeaderValue::try_from(format!("http://{local}{rest}")).ok())?
    });
    if let Some(here) = here {
        headers.insert(LOCATION, here);
    }
}

/// Whether the request was meant for this machine by its sender.
fn names_this_machine(headers: &HeaderMap) -> bool {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
        .is_some_and(|authority| is_loopback_host(authority.host()))
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, HeaderName};

    use super::*;

    #[test]
    fn redirections_to_the_app_stay_here_and_others_are_kept() {
        let rewritten = |location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(location));
            keep_redirect_here(
                &mut headers,
                &HeaderValue::from_static("id.mse.localhost"),
                &HeaderValue::from_static("127.0.0.1:8000"),
            );
            headers[LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(
            rewritten("https://id.mse.localhost/items/?a=1"),
            "http://127.0.0.1:8000/items/?a=1"
        );
        for kept in [
            "/items/",
            "https://id.mse.localhost.evil.example/",
            "https://other.example/",
        ] {
            assert_eq!(rewritten(kept), kept);
        }
    }

    fn host(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for good in [
            "127.0.0.1:8080",
            "localhost",
            "localhost:1",
            "[::1]:80",
            "app.localhost",
        ] {
            assert!(names_this_machine(&host(good)), "{good}");
        }
        for bad in ["evil.example.com", "127.0.0.1.example.com", "10.0.0.1", ""] {
            assert!(!names_this_machine(&host(bad)), "{bad}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn what_concerns_one_connection_is_not_forwarded() {
        let mut headers = host("localhost");
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Mine"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("keep-alive", HeaderValue::from_static("1"));
        headers.insert("x-yours", HeaderValue::from_static("1"));
        strip_hop_by_hop(&mut headers);
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-yours"]);
    }
}
