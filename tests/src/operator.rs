//! An operator that tampers: it stands before a real `mse-server` and changes what goes through.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_workload::bundle::digest_of;
use tokio::net::TcpListener;

/// What the operator changes.
#[derive(Debug, Clone)]
pub enum Tampering {
    /// One bit of the uploaded code, and the digest that goes with it.
    Code,
    /// One bit of the uploaded code, and nothing else: damage on the way.
    CodeOnly,
    /// A text in the description of the app, replaced by one of the same length.
    Conf(&'static str, &'static str),
    /// The same, and the client is told in this field that nothing was replaced.
    Both(&'static str, &'static str, &'static str),
    /// A field of what the client is told about its app.
    Answer(&'static str, fn(&mut serde_json::Value)),
}

/// Its address: use `http://<address>` as the platform's.
pub struct Operator {
    /// `host:port`.
    pub address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Operator {
    /// Stands before the API at `api` (`host:port`).
    pub fn before(api: &str, tampering: Tampering) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let relay = Arc::new(Relay {
            api: api.to_owned(),
            client: reqwest::Client::new(),
            tampering,
        });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let relay = Arc::clone(&relay);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let relay = Arc::clone(&relay);
                        async move { Ok::<_, Infallible>(relay.pass(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

struct Relay {
    api: String,
    client: reqwest::Client,
    tampering: Tampering,
}

impl Relay {
    async fn pass(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let mut body = body.collect().await.unwrap().to_bytes().to_vec();
        let path = parts.uri.path_and_query().unwrap().as_str();
        if parts.method == Method::POST && path == "/apps" {
            self.tamper_with_upload(&mut body);
        }
        let mut headers = parts.headers;
        headers.remove("host");
        headers.remove("content-length");
        headers.remove("transfer-encoding");
        let answer = self
            .client
            .request(parts.method, format!("http://{}{path}", self.api))
            .headers(headers)
            .body(body)
            .send()
            .await
            .unwrap();
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if name != "content-length" && name != "transfer-encoding" {
                response = response.header(name, value);
            }
        }
        let mut body = answer.bytes().await.unwrap().to_vec();
        if let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&body) {
            match &self.tampering {
                Tampering::Answer(field, change) if json.get(field).is_some() => {
                    change(&mut json[*field]);
                    body = json.to_string().into_bytes();
                }
                Tampering::Both(was, _, field) if json.get(field).is_some() => {
                    json[*field] = (*was).into();
                    body = json.to_string().into_bytes();
                }
                _ => {}
            }
        }
        response.body(Full::from(body)).unwrap()
    }

    fn tamper_with_upload(&self, body: &mut [u8]) {
        match &self.tampering {
            Tampering::Code | Tampering::CodeOnly => {
                let archive = archive_in(body);
                let before = digest_of(&body[archive.clone()]).unwrap().to_string();
                // Behind the first header, nonce and tag.
                body[archive.start + 512 + 45] ^= 1;
                if matches!(self.tampering, Tampering::Code) {
                    let after = digest_of(&body[archive]).unwrap().to_string();
                    replace(body, before.as_bytes(), after.as_bytes());
                }
            }
            Tampering::Conf(from, to) | Tampering::Both(from, to, _) => {
                replace(body, from.as_bytes(), to.as_bytes());
            }
            Tampering::Answer(..) => {}
        }
    }
}

/// Where the archive lies in a multipart body.
fn archive_in(body: &[u8]) -> std::ops::Range<usize> {
    let part = find(body, b"name=\"code\"").expect("a part with the code");
    let start = part + find(&body[part..], b"\r\n\r\n").expect("its headers end") + 4;
    let boundary = body[..find(body, b"\r\n").expect("a boundary")].to_vec();
    let end = start + find(&body[start..], &boundary).expect("its end") - 2;
    start..end
}

fn replace(body: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len(), "lengths stand in headers");
    let at = find(body, from).expect("what is to be replaced is there");
    body[at..at + to.len()].copy_from_slice(to);
}

fn find(body: &[u8], needle: &[u8]) -> Option<usize> {
    body.windows(needle.len())
        .position(|window| window == needle)
}
