//! Private files, volumes, and what the app shares with the host.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use mse_enclave::sandbox::{
    Area, ExitCause, FileMode, PrivateDir, PrivatePath, ReadOnlyBind, SandboxExit, SocketDir,
    Spawned,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{MIB, finish, own, path, put, python, run, sandbox, shell, until};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_code_are_on_no_file_system_of_the_host() {
    let started = SystemTime::now();
    let shared = SharedDir::new();
    let mut plan = shell(
        "cat $SECRETS_PATH >/tmp/copy; cp /app/app.py /dev/shm/copy
        # On the host's disk a socket can be made, but no file.
        cp /app/app.py /run/mse/file && exit 9
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/mse/ready\")'
        sleep 600",
    );
    plan.tree.socket_dir = Some(shared.plan());
    // Half of it from the kernel, so that the test's own source has it not.
    let canary = format!(
        "canary-{}",
        fs::read_to_string("/proc/sys/kernel/random/uuid")
            .unwrap()
            .trim()
    );
    let Spawned {
        handle,
        mut files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    put(
        &mut files,
        Area::Code,
        "app.py",
        FileMode::READABLE,
        canary.as_bytes(),
    )
    .await;
    put(
        &mut files,
        Area::Secrets,
        "secrets.json",
        FileMode::SECRET,
        canary.as_bytes(),
    )
    .await;
    files.finish().await.unwrap();
    handle.serving().await.unwrap();
    until(|| shared.0.path().join("ready").exists()).await;

    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains("/.cache/mse"),
        "the sandbox's mounts are visible"
    );
    for dir in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/root/.cache"] {
        if let Some(found) = find(Path::new(dir), canary.as_bytes(), started) {
            panic!("the canary is in `{}`", found.display());
        }
    }
    handle.stop(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_reads_its_secrets_and_its_code() {
    let plan = shell(
        "cat $SECRETS_PATH; stat -c '%a %U' $SECRETS_PATH; sha256sum </app/deep/er/big.bin; \
         stat -c %a /app/deep/er/big.bin; pwd",
    );
    let big: Vec<u8> = (0..5_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let host = tempfile::tempdir().unwrap();
    let big_file = host.path().join("big");
    fs::write(&big_file, &big).unwrap();
    let sum = Command::new("sha256sum")
        .stdin(fs::File::open(&big_file).unwrap())
        .output()
        .unwrap();

    let Spawned {
        handle,
        mut files,
        logs,
    } = sandbox().spawn(&plan).await.unwrap();
    put(
        &mut files,
        Area::Secrets,
        "secrets.json",
        FileMode::SECRET,
        b"{\"a\":1}\n",
    )
    .await;
    put(
        &mut files,
        Area::Code,
        "deep/er/big.bin",
        FileMode::EXECUTABLE,
        &big,
    )
    .await;
    let seen = finish(handle, files, logs).await;
    assert_eq!(
        seen.stdout,
        [
            "{\"a\":1}",
            "400 app",
            String::from_utf8(sum.stdout).unwrap().trim(),
            "555",
            "/app"
        ],
        "{:?}",
        seen.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn named_parts_of_the_host_are_there_read_only() {
    let host = tempfile::tempdir().unwrap();
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(host.path().join("module.py"), "x = 1\n").unwrap();
    let same = host.path().to_str().unwrap();
    let mut plan = shell(&format!(
        "cat {same}/module.py /env/module.py /one.py; touch {same}/x /env/x; echo y >/one.py; true"
    ));
    for (source, target) in [("", same), ("", "/env"), ("module.py", "/one.py")] {
        plan.tree.read_only.push(ReadOnlyBind {
            source: host.path().join(source),
            target: path(target),
        });
    }
    let seen = run(&plan).await;
    assert_eq!(seen.stdout, ["x = 1"; 3], "{:?}", seen.stderr);
    assert_eq!(seen.stderr.len(), 3, "{:?}", seen.stderr);
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_reached_through_its_socket_only() {
    let shared = SharedDir::new();
    let mut plan = python(
        r"
import socket
server = socket.socket(socket.AF_UNIX)
server.bind('/run/mse/app.sock'); server.listen()
peer, _ = server.accept()
peer.sendall(b'hello ' + peer.recv(9))
",
    );
    plan.tree.socket_dir = Some(shared.plan());
    let Spawned {
        handle,
        files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    let socket = shared.0.path().join("app.sock");
    until(|| socket.exists()).await;
    // It exists a moment before the app listens on it.
    let mut stream = loop {
        match tokio::net::UnixStream::connect(&socket).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    stream.write_all(b"enclave").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    handle.stop(Duration::ZERO).await.unwrap();
    assert_eq!(answer, "hello enclave");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_directories_hold_no_more_than_planned() {
    let mut plan = shell("head -c 3000000 /dev/zero >/tmp/x; wc -c </tmp/x");
    plan.tree.tmp_bytes = 2 * MIB;
    assert_eq!(run(&plan).await.stdout, [(2 * MIB).to_string()]);

    own(&mut plan).code.max_bytes = MIB;
    let Spawned {
        handle,
        mut files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    let content = vec![1; 4_000_000];
    let name = PrivatePath::try_from("big").unwrap();
    let mut result = files
        .put(Area::Code, &name, FileMode::READABLE, &content[..])
        .await
        .map(drop);
    if result.is_ok() {
        result = files.finish().await.map(drop);
    }
    let error = match result {
        Err(error) => error,
        Ok(()) => handle.report().await.unwrap_err(),
    };
    let error = error.to_string();
    assert!(
        error.contains("`big`") && error.contains("To fix it"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_reached_from_outside_and_stands_still_when_asked() {
    let mut plan = python(COUNTERS);
    plan.tree.volumes = vec![PrivateDir {
        target: path("/data"),
        max_bytes: MIB,
    }];
    let Spawned {
        handle,
        files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    let volumes = handle.volumes().await.unwrap();
    assert_eq!(volumes.len(), 1);
    let data = PathBuf::from(format!("/proc/self/fd/{}", volumes[0].as_raw_fd()));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    let mut pauses = files.finish().await.unwrap().pauses();
    let mut asked = 0;
    pauses.commit_asked(&mut asked).await;
    assert_eq!(asked, 1);
    let looks = || {
        let time = |number| {
            let file = fs::metadata(data.join(number)).unwrap();
            (file.len(), file.modified().unwrap())
        };
        ["0", "1", "2", "3"].map(time)
    };
    for _ in 0..3 {
        pauses.pause().await.unwrap();
        let before = looks();
        // Longer than the clock of files takes for a step.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(looks(), before);
        pauses.resume().await.unwrap();
        until(|| looks() != before).await;
    }
    fs::write(data.join("end"), "").unwrap();
    let exit = handle.wait().await.unwrap();
    assert!(matches!(
        exit,
        SandboxExit::Command {
            cause: ExitCause::Code(0),
            ..
        }
    ));
    // Nothing of the sandbox is left but what is held here.
    drop(handle);
    assert_eq!(fs::read(data.join("last")).unwrap(), b"words");
}

/// Counts in a file of the volume, from several threads, and can be asked for the end.
const COUNTERS: &str = r#"
import os, threading, time
def count(number):
    n = 0
    while not os.path.exists("/data/end"):
        n += 1
        with open(f"/data/{number}", "w") as file:
            file.write(str(n))
threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
while not all(os.path.exists(f"/data/{number}") for number in range(4)): time.sleep(0.001)
os.kill(1, 10)
for thread in threads: thread.join()
open("/data/last", "w").write("words")
"#;

/// A directory for the app's socket, as `mse-enclave` makes it.
struct SharedDir(tempfile::TempDir);

impl SharedDir {
    fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir()
                .unwrap(),
        )
    }

    fn plan(&self) -> SocketDir {
        SocketDir {
            source: self.0.path().into(),
            target: path("/run/mse"),
        }
    }
}

/// A file below `dir`, changed since `started`, that contains `canary`.
fn find(dir: &Path, canary: &[u8], started: SystemTime) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            if let Some(found) = find(&path, canary, started) {
                return Some(found);
            }
            continue;
        }
        let recent = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| at >= started);
        if !kind.is_file() || !recent {
            continue;
        }
        let content = fs::read(&path).unwrap_or_default();
        if content.windows(canary.len()).any(|window| window == canary) {
            return Some(path);
        }
    }
    None
}
