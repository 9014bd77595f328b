//! The encrypted bundle: fetched in clear over the cluster's network, and kept only if it has the
//! digest that the workload names. The enclave checks it again, and its owner's key opens it or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use mse_crypto::Digest;
use mse_workload::bundle;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often the server is asked: it may be starting itself.
const ATTEMPTS: u32 = 10;
/// The first wait between two attempts; each next one is twice as long, up to the longest.
const WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bundle that is what it should be.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) path: PathBuf,
}

impl Bundle {
    /// Gets the bundle of this digest into `folder`.
    pub(super) async fn fetch(
        from: &Uri,
        digest: &Digest,
        folder: &Path,
    ) -> Result<Self, BundleError> {
        sweep(folder).map_err(|source| BundleError::Write {
            folder: folder.to_owned(),
            source,
        })?;
        let mut wait = WAIT;
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            match fetch_once(from, digest, folder).await {
                Err(error) if error.may_pass() && left > 0 => {
                    eprintln!("warning: {error}; trying again");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                fetched => return fetched,
            }
        }
    }
}

async fn fetch_once(from: &Uri, digest: &Digest, folder: &Path) -> Result<Bundle, BundleError> {
    let failed = |source| BundleError::Write {
        folder: folder.to_owned(),
        source,
    };
    let response = get(from).await?;
    // Gone with everything that goes wrong.
    let arriving = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let file = arriving.reopen().map_err(failed)?;
    receive(from, response, tokio::fs::File::from_std(file), folder).await?;
    let file = arriving.reopen().map_err(failed)?;
    let found = tokio::task::spawn_blocking(move || {
        bundle::digest_of(io::BufReader::with_capacity(256 * 1024, file))
    });
    let found = found.await.map_err(|_| BundleError::Unchecked)?;
    let found = found.map_err(|error| BundleError::NoBundle(error.to_string()))?;
    if found != *digest {
        return Err(BundleError::Other {
            wanted: *digest,
            found,
        });
    }
    let path = folder.join("bundle.tar");
    arriving
        .persist(&path)
        .map_err(|error| failed(error.error))?;
    Ok(Bundle { path })
}

async fn get(from: &Uri) -> Result<Response<Incoming>, BundleError> {
    let unreachable = |why: String| BundleError::Unreachable {
        url: from.to_string(),
        why,
    };
    let (host, port) = (
        from.host().unwrap_or_default(),
        from.port_u16().unwrap_or(80),
    );
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let asking = async {
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let request = Request::get(from.path())
            .header(header::HOST, format!("{host}:{port}"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())
    };
    let response = timeout(PATIENCE, asking)
        .await
        .map_err(|_| unreachable("no answer in time".to_owned()))?
        .map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(BundleError::Status {
            url: from.to_string(),
            status,
        }),
    }
}

async fn receive(
    from: &Uri,
    response: Response<Incoming>,
    mut file: tokio::fs::File,
    folder: &Path,
) -> Result<(), BundleError> {
    let failed = |source| BundleError::Write {
        folder: folder.to_owned(),
        source,
    };
    let broken = |why: String| BundleError::Unreachable {
        url: from.to_string(),
        why,
    };
    let mut body = response.into_body();
    if body.size_hint().lower() > bundle::MAX_SIZE {
        return Err(BundleError::TooLarge);
    }
    let mut room = bundle::MAX_SIZE;
    loop {
        let frame = timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| broken("it fell silent".to_owned()))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        room = room
            .checked_sub(piece.len() as u64)
            .ok_or(BundleError::TooLarge)?;
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("the bundle cannot be fetched from `{url}`: {why}")]
    Unreachable { url: String, why: String },
    #[error("`{url}` answers {status}: mse-server does not have this app's bundle any more")]
    Status { url: String, status: StatusCode },
    #[error("the bundle is larger than any may be")]
    TooLarge,
    #[error("what was sent as the bundle is none: {0}")]
    NoBundle(String),
    #[error("the bundle that was sent has the digest `{found}`, and the workload names `{wanted}`")]
    Other { wanted: Digest, found: Digest },
    #[error("the bundle could not be checked")]
    Unchecked,
    #[error(
        "the folder `{folder}` cannot be written: {source}; mount one there that has room for the bundle"
    )]
    Write { folder: PathBuf, source: io::Error },
}

impl BundleError {
    /// Whether it may be otherwise in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// Removes what an earlier container of the pod left.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes.
    async fn serve(answer: Vec<u8>) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /bundles/a/b HTTP/1.1\r\n"));
            stream.write_all(&answer).await.unwrap();
        });
        format!("http://{address}/bundles/a/b").parse().unwrap()
    }

    fn http(status: &str, body: &[u8]) -> Vec<u8> {
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    fn sample() -> (Vec<u8>, Digest) {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("app.py"), "app = 1").unwrap();
        let (key, salt) = (
            mse_crypto::CodeKey::generate(),
            bundle::SourceSalt::generate(),
        );
        let tree = bundle::CodeTree::collect(source.path()).unwrap();
        let archive = tempfile::NamedTempFile::new().unwrap();
        let fresh = bundle::NonceSource::Fresh;
        let sealed = bundle::seal(&tree, &key, &fresh, &salt, archive.as_file(), &|_| ()).unwrap();
        (fs::read(archive.path()).unwrap(), sealed.digest)
    }

    async fn fetch(answer: Vec<u8>, digest: &Digest) -> (Result<Bundle, BundleError>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(answer).await;
        let fetched = fetch_once(&url, digest, folder.path()).await;
        let left = fs::read_dir(folder.path()).unwrap().count();
        (fetched, left)
    }

    #[tokio::test]
    async fn only_the_bundle_of_the_workload_is_kept() {
        let (sealed, digest) = sample();
        let (fetched, left) = fetch(http("200 OK", &sealed), &digest).await;
        assert!(fetched.is_ok() && left == 1);

        let other = Digest::of(b"other");
        let (refused, left) = fetch(http("200 OK", &sealed), &other).await;
        assert!(matches!(refused, Err(BundleError::Other { .. })) && left == 0);
        let (refused, left) = fetch(http("200 OK", b"no bundle"), &digest).await;
        assert!(matches!(refused, Err(BundleError::NoBundle(_))) && left == 0);
        let (refused, left) = fetch(http("404 Not Found", b""), &digest).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, BundleError::Status { .. }) && left == 0 && !refused.may_pass());
        let cut = http("200 OK", &sealed)[..sealed.len() - 10].to_vec();
        let (refused, left) = fetch(cut, &digest).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, BundleError::Unreachable { .. }) && left == 0,
            "{refused}"
        );
        assert!(refused.may_pass());
    }
}
