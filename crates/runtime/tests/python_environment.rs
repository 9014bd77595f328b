//! Builds the curated environments for real and serves applications from them. Needs Python and
//! a package index.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use mse_runtime::images::Catalogue;
use mse_runtime::python::{Interpreter, PythonEnvironment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[tokio::test]
async fn two_builders_make_one_environment_of_exactly_the_locked_packages() {
    let cache = tempfile::tempdir().unwrap();
    let image = Catalogue::builtin().resolve(FLASK).unwrap();
    let interpreter = Interpreter::find().await.unwrap();
    let (one, other) = tokio::join!(
        PythonEnvironment::ensure_with(cache.path(), image, &interpreter),
        PythonEnvironment::ensure_with(cache.path(), image, &interpreter),
    );
    let environment = one.unwrap();
    assert_eq!(environment, other.unwrap());
    assert_eq!(environment.digest(), image.digest());

    let listed = Command::new(environment.python())
        .args(["-I", "-m", "pip", "list", "--format=freeze"])
        .output()
        .unwrap();
    let mut locked: Vec<_> = image
        .lock()
        .lines()
        .filter(|line| line.contains("=="))
        .map(|line| line.split([' ', ';']).next().unwrap().to_lowercase())
        .collect();
    let mut installed: Vec<_> = text(&listed.stdout)
        .lines()
        .map(str::to_lowercase)
        .collect();
    locked.sort();
    installed.sort();
    assert_eq!(installed, locked);

    // What remains beside it is the lock, and inside nothing that names the building site.
    let left: Vec<_> = fs::read_dir(cache.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("building"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for entry in fs::read_dir(environment.root().join("bin")).unwrap() {
        assert!(entry.unwrap().file_type().unwrap().is_symlink());
    }

    let built = fs::metadata(environment.shim())
        .unwrap()
        .modified()
        .unwrap();
    PythonEnvironment::ensure_with(cache.path(), image, &interpreter)
        .await
        .unwrap();
    let after = fs::metadata(environment.shim())
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(built, after, "it was built again");
}

#[tokio::test]
async fn an_environment_without_its_marker_is_built_again() {
    let cache = tempfile::tempdir().unwrap();
    let image = Catalogue::builtin().resolve(FLASK).unwrap();
    let interpreter = Interpreter::find().await.unwrap();
    let ensure = || PythonEnvironment::ensure_with(cache.path(), image, &interpreter);
    let environment = ensure().await.unwrap();
    fs::remove_file(environment.root().join("mse-environment.json")).unwrap();
    fs::write(environment.shim(), "broken").unwrap();
    ensure().await.unwrap();
    assert_ne!(fs::read_to_string(environment.shim()).unwrap(), "broken");
}

#[tokio::test]
async fn check_tells_wsgi_from_asgi_and_refuses_the_rest() {
    let environment = environment(FLASK).await;
    for (source, expected) in [
        ("from flask import Flask\napp = Flask('x')", Ok("wsgi")),
        ("def app(environ, start_response): ...", Ok("wsgi")),
        (
            "def app(environ, start_response, extra=None): ...",
            Ok("wsgi"),
        ),
        ("async def app(scope, receive, send): ...", Ok("asgi")),
        ("def app(scope, receive, send): ...", Ok("asgi")),
        (
            "class A:\n  async def __call__(self, scope, receive, send): ...\napp = A()",
            Ok("asgi"),
        ),
        (
            "import functools\nasync def f(x, scope, receive, send): ...\napp = functools.partial(f, 1)",
            Ok("asgi"),
        ),
        ("def app(scope): ...", Err((4, "ASGI 2"))),
        ("class app: ...", Err((4, "is a class"))),
        ("app = 5", Err((4, "is a `int`"))),
        ("application = 5", Err((4, "has no variable `app`"))),
        ("def app(*arguments): ...", Err((4, "0 arguments or more"))),
        (
            "async def app(environ, start_response): ...",
            Err((4, "takes 2 arguments")),
        ),
        (
            "import not_installed",
            Err((3, "No module named 'not_installed'")),
        ),
        ("import sys; sys.exit('no key')", Err((3, "no key"))),
        ("def broken(:", Err((3, "SyntaxError"))),
    ] {
        let code = tempfile::tempdir().unwrap();
        fs::write(code.path().join("main.py"), source).unwrap();
        let output = shim(&environment, code.path(), &["--app", "main:app", "--check"]);
        match expected {
            Ok(interface) => {
                assert!(output.status.success(), "{source}: {output:?}");
                assert_eq!(text(&output.stdout).trim(), interface, "{source}");
            }
            Err((code, message)) => {
                assert_eq!(output.status.code(), Some(code), "{source}: {output:?}");
                assert!(
                    text(&output.stderr).contains(message),
                    "{source}: {output:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn flask_is_served_over_a_unix_socket() {
    let source = "
import threading
from flask import Flask, request
app = Flask(__name__)
together = threading.Barrier(4)

@app.get('/')
def hello():
    return f'{request.scheme} {request.args[\"name\"]}'

@app.post('/length')
def length():
    return str(len(request.get_data()))

@app.get('/together')
def meet():
    together.wait(10)
    return 'met'

@app.get('/fail')
def fail():
    raise RuntimeError('the reason')
";
    let server = Server::start(&environment(FLASK).await, source);
    assert_eq!(server.get("/?name=you"), (200, "https you".to_owned()));
    let body = "x".repeat(3_000_000);
    assert_eq!(
        server.request(&format!(
            "POST /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )),
        (200, "3000000".to_owned())
    );
    // Four requests that wait for each other: only threads can answer them.
    std::thread::scope(|scope| {
        for waiting in [(); 4].map(|()| scope.spawn(|| server.get("/together"))) {
            assert_eq!(waiting.join().unwrap(), (200, "met".to_owned()));
        }
    });
    assert_eq!(server.get("/fail").0, 500);
    let logs = server.stop();
    assert!(logs.contains("RuntimeError: the reason"), "{logs}");
}

#[tokio::test]
async fn fastapi_is_served_over_a_unix_socket_with_its_lifespan() {
    let source = "
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request

@asynccontextmanager
async def lifespan(app):
    app.state.greeting = 'hello'
    yield
    print('lifespan ended')

app = FastAPI(lifespan=lifespan)

@app.get('/')
async def hello(request: Request, name: str):
    return f'{request.url.scheme} {app.state.greeting} {name}'
";
    let server = Server::start(&environment(FASTAPI).await, source);
    assert_eq!(
        server.get("/?name=you"),
        (200, "\"https hello you\"".to_owned())
    );
    assert_eq!(server.get("/").0, 422);
    let logs = server.stop();
    assert!(logs.contains("lifespan ended"), "{logs}");
}

#[tokio::test]
async fn the_data_science_image_computes() {
    let source = "
import numpy, pandas, scipy.stats
from flask import Flask
from sklearn.linear_model import LinearRegression
app = Flask(__name__)

@app.get('/')
def predict():
    table = pandas.DataFrame({'x': numpy.arange(3.0), 'y': [0.0, 2.0, 4.0]})
    model = LinearRegression().fit(table[['x']].values, table['y'])
    slope = scipy.stats.linregress(table['x'], table['y']).slope
    return f'{model.predict([[3.0]])[0]:.1f} {slope:.1f}'
";
    let server = Server::start(&environment(DATA_SCIENCE).await, source);
    assert_eq!(server.get("/"), (200, "6.0 2.0".to_owned()));
    server.stop();
}

#[tokio::test]
async fn an_application_that_fails_to_start_up_ends_the_server() {
    let source = "
async def app(scope, receive, send):
    await receive()
    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})
";
    let code = tempfile::tempdir().unwrap();
    fs::write(code.path().join("main.py"), source).unwrap();
    let socket = code.path().join("app.sock");
    let output = shim(
        &environment(FASTAPI).await,
        code.path(),
        &["--app", "main:app", "--uds", socket.to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(text(&output.stdout).contains("no database"), "{output:?}");
}

#[tokio::test]
async fn requirements_are_installed_beside_the_environment_with_a_warning() {
    let environment = environment(FLASK).await;
    let code = tempfile::tempdir().unwrap();
    let deps = code.path().join("deps");
    let prepare = |requirements: &str| {
        fs::write(code.path().join("requirements.txt"), requirements).unwrap();
        let mut command = environment.prepare_command(code.path(), &deps);
        Command::new(command.remove(0))
            .args(command)
            .output()
            .unwrap()
    };

    let output = prepare("flask>=3\n");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty() && !deps.exists(), "{output:?}");

    let output = prepare("iniconfig==2.0.0\n");
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("not covered by the measurement"));
    fs::write(
        code.path().join("main.py"),
        "import iniconfig\ndef app(environ, start_response): ...",
    )
    .unwrap();
    let output = shim(&environment, code.path(), &["--app", "main:app", "--check"]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "without --deps it is not there"
    );
    let deps = deps.to_str().unwrap();
    let output = shim(
        &environment,
        code.path(),
        &["--app", "main:app", "--deps", deps, "--check"],
    );
    assert!(output.status.success(), "{output:?}");

    let wrong = "0".repeat(64);
    let output = prepare(&format!("iniconfig==2.1.0 --hash=sha256:{wrong}\n"));
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(
        text(&output.stderr).contains("DO NOT MATCH THE HASHES"),
        "{output:?}"
    );
}

/// A served application.
struct Server {
    child: Child,
    socket: PathBuf,
    code: tempfile::TempDir,
}

impl Server {
    fn start(environment: &PythonEnvironment, source: &str) -> Self {
        let code = tempfile::tempdir().unwrap();
        fs::write(code.path().join("main.py"), source).unwrap();
        let socket = code.path().join("app.sock");
        let logs = fs::File::create(code.path().join("logs")).unwrap();
        let mut command =
            environment.serve_command("main:app", &socket, code.path(), Path::new("/nowhere"));
        let child = Command::new(command.remove(0))
            .args(command)
            .env_clear()
            .stdout(logs.try_clone().unwrap())
            .stderr(logs)
            .spawn()
            .unwrap();
        let server = Self {
            child,
            socket,
            code,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(&server.socket).is_err() {
            assert!(Instant::now() < deadline, "{}", server.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn get(&self, target: &str) -> (u16, String) {
        self.request(&format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ))
    }

    fn request(&self, request: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Ends the server as the enclave does, and returns what it wrote.
    fn stop(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.logs());
        assert!(!self.socket.exists());
        self.logs()
    }

    fn logs(&self) -> String {
        fs::read_to_string(self.code.path().join("logs")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
    }
}

/// The environment of an image, shared by the tests and kept from one run to the next.
async fn environment(image: &str) -> PythonEnvironment {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
    let image = Catalogue::builtin().resolve(image).unwrap();
    PythonEnvironment::ensure(&cache, image).await.unwrap()
}

fn shim(environment: &PythonEnvironment, code: &Path, arguments: &[&str]) -> Output {
    Command::new(environment.python())
        .args(["-I", "-u", "-B"])
        .arg(environment.shim())
        .arg("--app-dir")
        .arg(code)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const FLASK: &str = "mse-flask:20261123000000";
const FASTAPI: &str = "mse-fastapi:20261123000000";
const DATA_SCIENCE: &str = "mse-ds:20261123000000";
