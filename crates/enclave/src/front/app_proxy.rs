//! Requests on their way to the app, over its private socket.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mse_ratls::forwarding::strip_hop_by_hop;
use mse_tee::crowd::Seat;

use super::service::AnswerBody;
use crate::app_socket::AppSocket;

/// Connections to the app that are kept open.
const MAX_IDLE: usize = 64;

/// Forwards requests to the app's server, which speaks HTTP/1.1 on a UNIX socket.
pub(crate) struct AppProxy {
    socket: AppSocket,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl AppProxy {
    /// To the app that listens, or will listen, on `socket`.
    pub(crate) fn new(socket: AppSocket) -> Self {
        Self {
            socket,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Sends `request` to the app and gives its answer, whose body is streamed. The connection has the
    /// `seat`: it does not have to go while the app works on what it was asked whole, and each part of
    /// the answer that is taken counts as a word of the client's.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        seat: &Arc<Seat>,
    ) -> Response<AnswerBody> {
        let answering = request.body().is_end_stream().then(|| seat.answering());
        let upgrade = wants_upgrade(request.headers());
        let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
        prepare(&mut request, upgrade);
        let (mut sender, answer) = match self.send(request).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!(%error, "the app did not answer");
                return super::service::plain(StatusCode::BAD_GATEWAY, "the app did not answer\n");
            }
        };
        let (mut parts, body) = answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let mut answer = Response::from_parts(parts, body);
            let app_side = hyper::upgrade::on(&mut answer);
            let Some(client_side) = client_side else {
                return super::service::plain(
                    StatusCode::BAD_GATEWAY,
                    "the app switched protocols unasked\n",
                );
            };
            tokio::spawn(tunnel(client_side, app_side, Arc::clone(seat)));
            return answer.map(|body| body.map_err(Into::into).boxed_unsync());
        }
        strip_hop_by_hop(&mut parts.headers);
        parts.version = Version::default();
        let proxy = Arc::clone(self);
        // The connection is free again when the app's answer has been read.
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                proxy.keep(sender);
            }
        });
        drop(answering);
        let seat = Arc::clone(seat);
        let body = body.map_frame(move |frame| {
            seat.spoke();
            frame
        });
        Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
    }

    async fn send(
        &self,
        request: Request<Incoming>,
    ) -> Result<(SendRequest<Incoming>, Response<Incoming>), SendError> {
        let mut request = request;
        loop {
            let (mut sender, kept) = match self.take() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok((sender, answer)),
                // The app closed the kept connection before it took the request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(SendError::Http(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, SendError> {
        let stream = self.socket.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Incoming>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(sender);
        }
    }
}

/// The app wanted the connection to stay; it ends it, too.
async fn tunnel(
    client_side: hyper::upgrade::OnUpgrade,
    app_side: hyper::upgrade::OnUpgrade,
    seat: Arc<Seat>,
) {
    let _answering = seat.answering();
    if let (Ok(client), Ok(app)) = tokio::join!(client_side, app_side) {
        let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut app).await;
    }
}

/// Only WebSocket: any other protocol would be a way round what is done to requests here.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers
            .get(CONNECTION)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
            })
}

/// Makes a request of any HTTP version one for the app's HTTP/1.1 server.
fn prepare<B: Body>(request: &mut Request<B>, upgrade: bool) {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    let protocol = upgrade
        .then(|| request.headers().get(UPGRADE).cloned())
        .flatten();
    // Without it a body of unknown length would be dropped from a GET.
    let chunked = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // Whoever stands in front of the enclave is not trusted to say where a request came from.
    // With an underscore, a name would become the same variable of a WSGI app.
    let spoofed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_spoofable(name))
        .cloned()
        .collect();
    for name in spoofed {
        headers.remove(name);
    }
    headers.insert(
        HeaderName::from_static("x-forwarded-proto"),
        HeaderValue::from_static("https"),
    );
    if chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn is_spoofable(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_')
        || name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "x-real-ip")
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("its socket cannot be reached: {0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_fit_for_the_app() {
        let mut request = Request::builder()
            .uri("https://app.example:8443/path?x=1")
            .version(Version::HTTP_2)
            .header("connection", "close, x-private")
            .header("x-private", "1")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-port", "1")
            .header("x_forwarded_for", "6.6.6.6")
            .header("x-kept", "1")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        prepare(&mut request, false);
        assert_eq!(request.uri(), "/path?x=1");
        assert_eq!(request.version(), Version::HTTP_11);
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(request.headers()["host"], "app.example:8443");
        assert_eq!(request.headers()["x-forwarded-proto"], "https");
        assert_eq!(request.headers()["x-kept"], "1");
    }

    #[test]
    fn an_upgrade_survives() {
        let mut request = Request::builder()
            .uri("/ws")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        assert!(wants_upgrade(request.headers()));
        prepare(&mut request, true);
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["connection"], "upgrade");
    }
}
