//! A key-value store on this machine that answers what a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const TOKEN: &str = "kv-token-canary";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// With the query.
    pub(crate) path: String,
    pub(crate) token: Option<String>,
}

/// What is answered.
pub(crate) enum Reply {
    Json(u16, String),
    /// A status and header lines.
    Head(u16, String),
    /// Without end, and without saying so before.
    Endless,
    /// Nothing: the connection stays open.
    Silence,
}

pub(crate) struct Server {
    address: SocketAddr,
    is_plain: bool,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// An authority for test servers.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    /// As a key of the flow map `import_kv`.
    pub(crate) fn as_ca(&self) -> String {
        format!("ca: {}", serde_json::to_string(&self.0.pem()).unwrap())
    }

    fn acceptor(&self, name: SanType) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![name];
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Server {
    /// A server for 127.0.0.1, by the certificate of `authority`.
    pub(crate) async fn start(
        authority: &Authority,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let name = SanType::IpAddress([127, 0, 0, 1].into());
        Self::with(Some(authority.acceptor(name)), answer).await
    }

    /// One whose certificate is for somebody else.
    pub(crate) async fn misnamed(authority: &Authority) -> Self {
        let name = SanType::DnsName("elsewhere.example".try_into().unwrap());
        Self::with(Some(authority.acceptor(name)), |_| Reply::Silence).await
    }

    /// One without encryption.
    pub(crate) async fn plain(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(None, answer).await
    }

    async fn with(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            is_plain: acceptor.is_none(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&server.asked);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, asked, answer) =
                    (acceptor.clone(), Arc::clone(&asked), Arc::clone(&answer));
                tokio::spawn(async move {
                    match acceptor {
                        // A client that does not trust the certificate hangs up.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &asked, &*answer).await;
                            }
                        }
                        None => serve(stream, &asked, &*answer).await,
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_plain { "http" } else { "https" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Reply + ?Sized),
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let token = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-vault-token")
            .then(|| value.to_owned())
    });
    let request = Asked { path, token };
    asked.lock().unwrap().push(request.clone());
    let close = "connection: close\r\n";
    // The client may have hung up, having read enough.
    let _ = match answer(&request) {
        Reply::Json(status, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} x\r\n{close}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await
        }
        Reply::Head(status, headers) => {
            let text = format!("HTTP/1.1 {status} x\r\n{close}{headers}\r\n");
            stream.write_all(text.as_bytes()).await
        }
        Reply::Endless => {
            let text = format!("HTTP/1.1 200 x\r\n{close}\r\n{{\"data\": \"");
            let mut sent = stream.write_all(text.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(&[b'a'; 4096]).await;
            }
            sent
        }
        Reply::Silence => {
            // Until the client hangs up.
            let _ = stream.read_u8().await;
            Ok(())
        }
    };
    let _ = stream.shutdown().await;
}
