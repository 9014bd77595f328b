//! A service on loopback. It speaks HTTP by hand, so that it can also speak it badly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mse_attest::DcapCollateral;
use mse_collateral::{BaseUrl, Clock, Fetcher, Limits, Options, Sources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use std::time::{Duration, SystemTime};

/// What a service answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An ordinary answer.
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then nothing.
    Hang(Vec<u8>),
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).with_body(body)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Http {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn with_body(self, new: impl Into<Vec<u8>>) -> Self {
        match self {
            Self::Http {
                status, headers, ..
            } => Self::Http {
                status,
                headers,
                body: new.into(),
            },
            other => other,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn without_headers(self) -> Self {
        match self {
            Self::Http { status, body, .. } => Self::status(status).with_body(body),
            other => other,
        }
    }
}

/// The replies by path and query, each a row of which the last is repeated.
pub(crate) type Replies = HashMap<String, Vec<Reply>>;

/// A service that runs until it is dropped.
pub(crate) struct Service {
    pub(crate) url: BaseUrl,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    replies: Mutex<Replies>,
    asked: Mutex<Vec<String>>,
}

impl Service {
    pub(crate) async fn start(replies: Replies) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            replies: Mutex::new(replies),
            asked: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            url: url.parse().unwrap(),
            state,
            _tasks: tasks,
        }
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Answers otherwise from now on.
    pub(crate) fn change(&self, path: &str, replies: impl Into<Vec<Reply>>) {
        let mut known = self.state.replies.lock().unwrap();
        assert!(
            known.insert(path.to_owned(), replies.into()).is_some(),
            "nobody asks for {path}: {:?}",
            known.keys()
        );
    }

    /// Answers every request so from now on.
    pub(crate) fn change_all(&self, reply: &Reply) {
        for replies in self.state.replies.lock().unwrap().values_mut() {
            *replies = vec![reply.clone()];
        }
    }

    pub(crate) fn fetcher(&self, options: Options) -> Fetcher {
        Fetcher::new(Sources::both_at(&self.url), options).unwrap()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) if head.len() < 16 * 1024 => head.push(byte),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let reply = {
        let mut replies = state.replies.lock().unwrap();
        match replies.get_mut(&path) {
            Some(row) if row.len() > 1 => row.remove(0),
            Some(row) => row[0].clone(),
            None => Reply::status(404),
        }
    };
    state.asked.lock().unwrap().push(path);
    let (bytes, hangs) = match reply {
        Reply::Raw(bytes) => (bytes, false),
        Reply::Hang(bytes) => (bytes, true),
        Reply::Http {
            status,
            headers,
            body,
        } => {
            let headers: Vec<String> = headers
                .into_iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n",
                headers.concat(),
                body.len()
            );
            ([head.into_bytes(), body].concat(), false)
        }
    };
    let _ = stream.write_all(&bytes).await;
    if hangs {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

/// The replies of a service that has this collateral, in the form of a PCCS.
pub(crate) fn pccs(collateral: &DcapCollateral) -> Replies {
    let (tee, fmspc, ca) = facts(collateral);
    let mut replies = Replies::new();
    let mut add = |path: String, reply: Reply| replies.insert(path, vec![reply]);
    add(
        format!("/{tee}/certification/v4/tcb?fmspc={fmspc}&update=standard"),
        signed(
            "tcbInfo",
            &collateral.tcb_info,
            &collateral.tcb_info_signature,
        )
        .with(
            "TCB-Info-Issuer-Chain",
            &percent_encode(&collateral.tcb_info_issuer_chain),
        ),
    );
    add(
        format!("/{tee}/certification/v4/qe/identity?update=standard"),
        signed(
            "enclaveIdentity",
            &collateral.qe_identity,
            &collateral.qe_identity_signature,
        )
        .with(
            "SGX-Enclave-Identity-Issuer-Chain",
            &percent_encode(&collateral.qe_identity_issuer_chain),
        ),
    );
    add(
        format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
        Reply::ok(collateral.pck_crl.clone()).with(
            "SGX-PCK-CRL-Issuer-Chain",
            &percent_encode(&collateral.pck_crl_issuer_chain),
        ),
    );
    add(
        "/sgx/certification/v4/rootcacrl".to_owned(),
        Reply::ok(hex::encode(&collateral.root_ca_crl)),
    );
    replies
}

/// TEE, FMSPC and CA in the words of the paths.
pub(crate) fn facts(collateral: &DcapCollateral) -> (&'static str, String, &'static str) {
    let value: serde_json::Value = serde_json::from_str(&collateral.tcb_info).unwrap();
    let tee = if value["id"] == "TDX" { "tdx" } else { "sgx" };
    let ca = mse_collateral::answer::Crl::parse(&collateral.pck_crl).unwrap();
    let ca = if ca.issuer.contains("Processor") {
        "processor"
    } else {
        "platform"
    };
    (tee, value["fmspc"].as_str().unwrap().to_uppercase(), ca)
}

pub(crate) fn signed(name: &str, text: &str, signature: &[u8]) -> Reply {
    let signature = hex::encode(signature);
    Reply::ok(format!(r#"{{"{name}":{text},"signature":"{signature}"}}"#))
        .with("Content-Type", "application/octet-stream")
}

pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Options for tests: the clock stands, and nobody waits long.
pub(crate) fn options(now: SystemTime) -> Options {
    Options {
        clock: Clock::of(move || now),
        limits: Limits {
            first_pause: Duration::from_millis(1),
            ..Limits::default()
        },
        ..Options::default()
    }
}
