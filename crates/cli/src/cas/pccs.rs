//! The collateral of this machine's simulated platform, served on loopback as a PCCS does.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_simtee::{Platform, pccs};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped.
pub(crate) struct LocalPccs {
    url: String,
    _tasks: JoinSet<()>,
}

impl LocalPccs {
    /// Serves the collateral of `platform` on a free port.
    pub(crate) async fn start(platform: Arc<Platform>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, platform));
        Ok(Self { url, _tasks: tasks })
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(listener: TcpListener, platform: Arc<Platform>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let platform = Arc::clone(&platform);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&platform, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // Whoever asks is on this machine, and asks again if it broke off.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(platform: &Platform, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let asked = request
        .uri()
        .path_and_query()
        .map_or("/", |asked| asked.as_str());
    let found = platform
        .collateral(SystemTime::now())
        .ok()
        .and_then(|collateral| pccs::respond(asked, &collateral));
    let mut response = Response::new(Full::default());
    let Some(found) = found else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    for (name, value) in &found.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(*name),
            HeaderValue::try_from(value.as_str()),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    *response.body_mut() = Full::from(found.body);
    response
}
