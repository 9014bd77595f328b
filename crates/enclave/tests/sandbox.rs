//! The sandbox, driven through the real `mse-enclave` binary.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use mse_enclave::sandbox::{
    AppCommand, AppDirs, AppUid, Area, CodeAccess, ExitCause, FileMode, LaunchPlan, LogStream,
    Network, PrivateDir, PrivatePath, ProcessLimits, ReadOnlyBind, RootBase, Sandbox, SandboxError,
    SandboxExit, SandboxHandle, SandboxPath, SandboxPlan, SandboxReport, SocketDir, Spawned, State,
    Step, TreePlan,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECRETS_PATH: &str = "/root/.cache/mse/secrets.json";
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_app_sees_nothing_of_the_host() {
    let host = tempfile::tempdir().unwrap();
    let canary = host.path().join("host-file");
    fs::write(&canary, "host").unwrap();
    let seen = run(&shell(&format!(
        "ls -A / | tr '\\n' ' '; echo; ls -A /root /tmp /dev; cat {} /root/.bashrc; \
         ls -d /home /var /sys /boot /work /srv /mnt; true",
        canary.display()
    )))
    .await;
    let root: Vec<_> = seen.stdout[0].split_whitespace().collect();
    for name in ["app", "usr", "proc", "dev", "etc", "tmp", "root"] {
        assert!(root.contains(&name), "{root:?}");
    }
    for name in [
        "home", "var", "run", "sys", "boot", "work", "srv", "mnt", "opt", "data",
    ] {
        assert!(!root.contains(&name), "{root:?}");
    }
    let rest = seen.stdout[1..].join(" ");
    assert_eq!(
        rest,
        "/dev: fd full null random shm stderr stdin stdout urandom zero  /root: .cache  /tmp:"
    );
    assert_eq!(
        seen.stderr
            .iter()
            .filter(|line| line.contains("No such file"))
            .count(),
        9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_app_s_own_directories_can_be_written() {
    let seen = run(&shell(
        "for path in / /usr /usr/bin /etc /app /dev /proc /run /root/.cache/mse /bin; do \
           touch $path/x 2>/dev/null && echo wrote $path; done; \
         echo x 2>/dev/null >/app/app.py && echo changed code; \
         rm -f /app/app.py 2>/dev/null && echo removed code; \
         for path in /tmp /dev/shm /root; do touch $path/x && echo ok $path; done",
    ))
    .await;
    assert_eq!(seen.stdout, ["ok /tmp", "ok /dev/shm", "ok /root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_can_be_made_writable_by_the_plan() {
    let mut plan = shell("echo x >/app/new && cat /app/new");
    own(&mut plan).code_access = CodeAccess::ReadWrite;
    let seen = run(&plan).await;
    assert_eq!(seen.stdout, ["x"], "{:?}", seen.stderr);
    assert!(
        seen.report
            .not_applied()
            .any(|entry| entry.name == "read-only code")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_says_that_the_app_is_confined() {
    let seen = run(&shell(
        "grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -s '\\t ' ' '; \
         uname -n; id -un; ls /proc | grep -c '^[0-9]'; ls -l /proc/self/fd/0 | sed 's/.*-> //'",
    ))
    .await;
    let (status, rest) = seen.stdout.split_at(9);
    assert_eq!(
        status,
        [
            "Uid: 1000 1000 1000 1000",
            "Gid: 1000 1000 1000 1000",
            "CapInh: 0000000000000000",
            "CapPrm: 0000000000000000",
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000000000",
            "CapAmb: 0000000000000000",
            "NoNewPrivs: 1",
            "Seccomp: 2",
        ]
    );
    assert_eq!(rest[..2], ["enclave", "app"]);
    // The init may be hidden; the shell, its pipeline.
    let processes: u32 = rest[2].parse().unwrap();
    assert!(
        (2..=6).contains(&processes),
        "{processes} processes visible"
    );
    assert_eq!(
        rest[3], "/dev/null",
        "the channel to mse-enclave must not reach the app"
    );
}

// The numbers of the calls are this architecture's.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_reach_for_the_kernel_are_denied() {
    // Each prints its errno; 0 would mean that the call was allowed.
    let seen = run(&python(
        r"
import ctypes, errno, os, socket
c = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    result = c.syscall(number, *args)
    print(name, 'allowed' if result != -1 else errno.errorcode[ctypes.get_errno()])
def sock(name, *args):
    try: socket.socket(*args); print(name, 'allowed')
    except OSError as e: print(name, errno.errorcode[e.errno])
call('mount', 165, b'none', b'/tmp', b'tmpfs', 0, None)
call('umount', 166, b'/proc', 2)
call('unshare', 272, 0x10000000)
call('setns', 308, 0, 0)
call('clone-newuser', 56, 0x10000000 | 17, 0, 0, 0, 0)
call('clone3', 435, None, 0)
call('ptrace', 101, 0, 0, 0, 0)
call('process_vm_readv', 310, 1, None, 0, None, 0, 0)
call('pidfd_getfd', 438, 0, 0, 0)
call('keyctl', 250, 0, -3, 0)
call('bpf', 321, 0, None, 0)
call('perf', 298, None, 0, -1, -1, 0)
call('userfaultfd', 323, 0)
call('io_uring', 425, 1, None)
call('personality', 135, 0x0040000)
call('tiocsti', 16, 0, 0x5412, None)
call('x32-getpid', 0x40000000 + 39)
sock('packet', socket.AF_PACKET, socket.SOCK_RAW)
sock('vsock', 40, socket.SOCK_STREAM)
sock('raw', socket.AF_INET, socket.SOCK_RAW, 1)
sock('netlink-audit', socket.AF_NETLINK, socket.SOCK_RAW, 9)
for path in ('/proc/1/exe', '/proc/1/fd/0', '/proc/1/mem', '/proc/1/environ'):
    try: open(path, 'rb').read(1); print(path, 'allowed')
    except OSError as e: print(path, 'denied')
try: os.kill(-1, 0); print('kill ok')
except OSError as e: print('kill ok')
",
    ))
    .await;
    let lines: BTreeMap<_, _> = seen
        .stdout
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect();
    assert_eq!(lines.len(), 26, "{:?} {:?}", seen.stdout, seen.stderr);
    for (name, result) in lines {
        let expected = match name {
            "clone3" => "ENOSYS",
            "kill" => "ok",
            name if name.starts_with("/proc") => "denied",
            _ => "EPERM",
        };
        assert_eq!(result, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_python_servers_need_works() {
    let seen = run(&python(
        r"
import asyncio, concurrent.futures, multiprocessing, os, socket, select, subprocess, tempfile, threading, time
threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout == b'x\n'
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
multiprocessing.Queue().put(1)
os.close(os.memfd_create('x')); os.close(os.eventfd(0)); select.epoll().close()
socket.getaddrinfo('localhost', 80)
server = socket.create_server(('127.0.0.1', 0))
socket.create_connection(server.getsockname()).close()
with tempfile.TemporaryFile() as f: f.write(b'x')
open('/dev/stdout', 'w').close()
async def main():
    process = await asyncio.create_subprocess_exec('/bin/true')
    assert await process.wait() == 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0)
asyncio.run(main())
os.mkfifo('/tmp/fifo')
import ssl; assert len(ssl.create_default_context().get_ca_certs()) > 10 or not os.path.exists('/etc/ssl/certs/ca-certificates.crt')
print('all', os.cpu_count() > 0)
",
    ))
    .await;
    assert_eq!(seen.stdout, ["all True"], "{:?}", seen.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_exactly_the_plan_s() {
    let mut plan = shell("");
    plan.launch.serve = AppCommand {
        program: "env".into(),
        args: vec![],
        env: [("PATH", "/usr/bin"), ("ONE", "1=one two")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        cwd: path("/app").into(),
    };
    let mut seen = run(&plan).await.stdout;
    seen.sort();
    assert_eq!(seen, ["ONE=1=one two", "PATH=/usr/bin"]);
}

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
async fn how_the_app_ended_is_reported() {
    let code = run(&shell("exit 7")).await.exit;
    assert_eq!(
        code,
        SandboxExit::Command {
            step: Step::Serve,
            cause: ExitCause::Code(7)
        }
    );
    let signal = run(&shell("kill -9 $$")).await.exit;
    assert_eq!(
        signal,
        SandboxExit::Command {
            step: Step::Serve,
            cause: ExitCause::Signal(9)
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_steps_run_first_and_in_order() {
    let mut plan = shell("cat /tmp/log; echo serve");
    plan.launch.prepare = vec![
        command("echo one >>/tmp/log"),
        command("echo two >>/tmp/log"),
    ];
    assert_eq!(run(&plan).await.stdout, ["one", "two", "serve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepare_step_that_fails_is_the_last() {
    let mut plan = shell("echo served");
    plan.launch.prepare = vec![command("true"), command("echo no >&2; exit 4")];
    let seen = run(&plan).await;
    let cause = ExitCause::Code(4);
    assert_eq!(
        seen.exit,
        SandboxExit::Command {
            step: Step::Prepare(1),
            cause
        }
    );
    assert!(seen.stdout.is_empty());
    assert_eq!(seen.stderr, ["no"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_started_is_a_refusal_that_names_it() {
    let mut plan = shell("");
    plan.launch.serve.program = "/usr/bin/no-such-program".into();
    let Spawned {
        handle,
        files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    let error = handle.serving().await.unwrap_err().to_string();
    assert!(error.contains("/usr/bin/no-such-program"), "{error}");
    assert!(handle.wait().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_can_end_in_order() {
    let plan = shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done");
    let Spawned {
        handle,
        files,
        mut logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    assert_eq!(logs.recv().await.unwrap().text, "up");
    let exit = handle.stop(Duration::from_secs(20)).await.unwrap();
    assert_eq!(
        exit,
        SandboxExit::Command {
            step: Step::Serve,
            cause: ExitCause::Code(3)
        }
    );
    assert_eq!(logs.recv().await.unwrap().text, "bye");
    assert!(logs.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_does_not_end_is_killed_with_all_it_started() {
    let marker = marker();
    let plan = shell(&format!(
        "trap '' TERM; sleep {marker} & echo up; wait; sleep {marker}"
    ));
    let Spawned {
        handle,
        files,
        mut logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    assert_eq!(logs.recv().await.unwrap().text, "up");
    until(|| !processes_with(&marker).is_empty()).await;
    let exit = handle.stop(Duration::from_millis(200)).await.unwrap();
    assert_eq!(exit, SandboxExit::Killed);
    until(|| processes_with(&marker).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_left_by_the_app_end_with_it_and_zombies_are_reaped() {
    let marker = marker();
    let seen = run(&shell(&format!(
        "(sleep 0 & ) ; sleep {marker} & sleep 0.5; cat /proc/[0-9]*/stat | grep -c ') Z '; true"
    )))
    .await;
    assert_eq!(seen.stdout, ["0"]);
    until(|| processes_with(&marker).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_handle_or_the_files_ends_the_sandbox() {
    let marker = marker();
    let plan = shell(&format!("echo up; sleep {marker}"));
    let Spawned {
        handle,
        files,
        mut logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    assert_eq!(logs.recv().await.unwrap().text, "up");
    drop(handle);
    until(|| processes_with(&marker).is_empty()).await;

    let Spawned {
        handle,
        files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    drop(files);
    let error = handle.report().await.unwrap_err();
    assert!(
        error.to_string().contains("closed the sandbox's channel"),
        "{error}"
    );
}

#[test]
fn when_mse_enclave_is_killed_nothing_is_left() {
    let marker = marker();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "parent_of_the_kill_test",
            "--ignored",
            "--nocapture",
        ])
        .env("MSE_TEST_MARKER", &marker)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The init's shell, and the one it started.
    wait_until(|| processes_with(&marker).len() >= 2);
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until(|| processes_with(&marker).is_empty());
}

/// The other process of the test above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by when_mse_enclave_is_killed_nothing_is_left"]
async fn parent_of_the_kill_test() {
    let Ok(marker) = std::env::var("MSE_TEST_MARKER") else {
        return;
    };
    let plan = shell(&format!(
        "setsid sleep {marker} & sleep {marker}; sleep {marker}"
    ));
    let Spawned {
        handle,
        files,
        logs: _logs,
    } = sandbox().spawn(&plan).await.unwrap();
    files.finish().await.unwrap();
    handle.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_the_limit() {
    let mut plan = python(
        r"
import os, time
started = 0
try:
    for _ in range(200):
        if os.fork() == 0: time.sleep(60); os._exit(0)
        started += 1
except OSError as error: print(error.strerror)
print(started < 40)
",
    );
    plan.launch.limits.processes = 40;
    let seen = run(&plan).await;
    assert_eq!(
        seen.stdout,
        ["Resource temporarily unavailable", "True"],
        "{:?}",
        seen.stderr
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_is_refused_by_name() {
    let mut plan = shell("echo ran");
    plan.tree.read_only.push(ReadOnlyBind {
        source: "/no/such/place".into(),
        target: path("/env"),
    });
    let Ok(Spawned { handle, .. }) = sandbox().spawn(&plan).await else {
        return;
    };
    let error = handle.report().await.unwrap_err();
    assert!(matches!(error, SandboxError::Refused { .. }));
    assert!(error.to_string().contains("`/no/such/place`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_covers_the_system_is_refused() {
    let mut plan = shell("echo ran");
    own(&mut plan).home.target = path("/usr");
    assert!(matches!(
        sandbox().spawn(&plan).await,
        Err(SandboxError::InvalidPlan(_))
    ));
    own(&mut plan).home.target = path("/app");
    assert!(matches!(
        sandbox().spawn(&plan).await,
        Err(SandboxError::InvalidPlan(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_names_every_measure() {
    let report = run(&shell("true")).await.report;
    let state = |name: &str| {
        let entry = report.entries.iter().find(|entry| entry.name == name);
        entry
            .unwrap_or_else(|| panic!("`{name}` is not reported"))
            .state
    };
    for required in [
        "user namespace",
        "mount namespace",
        "pid namespace",
        "ipc namespace",
        "uts namespace",
        "read-only system",
        "host's files hidden",
        "private storage",
        "read-only code",
        "no capabilities",
        "no new privileges",
        "seccomp",
        "core dumps off",
    ] {
        assert_eq!(state(required), State::Applied, "{required}");
    }
    for reported in [
        "landlock",
        "cgroup namespace",
        "separate host user",
        "supplementary groups",
        "private storage stays in memory",
        "open files limit",
        "processes limit",
        "other users' processes hidden",
    ] {
        state(reported);
    }
    for entry in &report.entries {
        assert!(!entry.detail.is_empty(), "{}", entry.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abstract_sockets_of_the_host_are_out_of_reach_where_landlock_can() {
    use std::os::linux::net::SocketAddrExt;
    let name = marker();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let seen = run(&python(&format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect(chr(0) + '{name}'); print('reached')\nexcept PermissionError: print('denied')"
    )))
    .await;
    let landlock = seen
        .report
        .entries
        .iter()
        .find(|entry| entry.name == "landlock")
        .unwrap();
    let whole = landlock.state == State::Applied && landlock.detail.contains("no abstract sockets");
    assert_eq!(seen.stdout, [if whole { "denied" } else { "reached" }]);
}

struct Seen {
    exit: SandboxExit,
    stdout: Vec<String>,
    stderr: Vec<String>,
    report: SandboxReport,
}

async fn run(plan: &SandboxPlan) -> Seen {
    let Spawned {
        handle,
        mut files,
        logs,
    } = sandbox().spawn(plan).await.unwrap();
    put(
        &mut files,
        Area::Code,
        "app.py",
        FileMode::READABLE,
        b"print('app')\n",
    )
    .await;
    finish(handle, files, logs).await
}

async fn finish(
    handle: SandboxHandle,
    files: mse_enclave::sandbox::PrivateFilesWriter,
    mut logs: tokio::sync::mpsc::Receiver<mse_enclave::sandbox::LogLine>,
) -> Seen {
    files.finish().await.unwrap();
    let report = handle.report().await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(line) = logs.recv().await {
        match line.stream {
            LogStream::Stdout => stdout.push(line.text),
            LogStream::Stderr => stderr.push(line.text),
        }
    }
    let exit = handle.wait().await.unwrap();
    Seen {
        exit,
        stdout,
        stderr,
        report,
    }
}

async fn put(
    files: &mut mse_enclave::sandbox::PrivateFilesWriter,
    area: Area,
    path: &str,
    mode: FileMode,
    content: &[u8],
) {
    let path = PrivatePath::try_from(path).unwrap();
    let written = files.put(area, &path, mode, content).await.unwrap();
    assert_eq!(written, content.len() as u64);
}

fn sandbox() -> Sandbox {
    Sandbox::with_program(env!("CARGO_BIN_EXE_mse-enclave").into())
}

fn shell(script: &str) -> SandboxPlan {
    plan(command(script))
}

fn python(script: &str) -> SandboxPlan {
    let mut command = command("");
    command.program = "/usr/bin/python3".into();
    command.args[1] = script.into();
    plan(command)
}

fn command(script: &str) -> AppCommand {
    AppCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/root"),
            ("SECRETS_PATH", SECRETS_PATH),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        cwd: path("/app").into(),
    }
}

fn plan(serve: AppCommand) -> SandboxPlan {
    let private = |target, max_bytes| PrivateDir {
        target: path(target),
        max_bytes,
    };
    SandboxPlan {
        tree: TreePlan {
            // Of its own for each test: the limit of processes is per user.
            app_uid: AppUid::nth(std::process::id()),
            base: RootBase::Machine(AppDirs {
                code: private("/app", 64 * MIB),
                code_access: CodeAccess::ReadOnly,
                home: private("/root", 16 * MIB),
            }),
            secrets: private("/root/.cache/mse", MIB),
            tmp_bytes: 16 * MIB,
            shm_bytes: 16 * MIB,
            read_only: Vec::new(),
            socket_dir: None,
            released: Vec::new(),
            volumes: Vec::new(),
            network: Network::Host,
        },
        launch: LaunchPlan {
            prepare: Vec::new(),
            serve,
            limits: ProcessLimits {
                open_files: 1024,
                processes: 256,
            },
        },
    }
}

fn own(plan: &mut SandboxPlan) -> &mut AppDirs {
    match &mut plan.tree.base {
        RootBase::Machine(own) => own,
        RootBase::Image => panic!("the plan is for a machine"),
    }
}

fn path(path: &str) -> SandboxPath {
    SandboxPath::try_from(path).unwrap()
}

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

/// A number of seconds that no other process sleeps for.
fn marker() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let digits: String = uuid.chars().filter(char::is_ascii_digit).take(6).collect();
    format!("1{digits}.{}", std::process::id())
}

fn processes_with(marker: &str) -> Vec<PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let line = fs::read(path.join("cmdline")).ok()?;
            let mine = line
                .split(|byte| *byte == 0)
                .any(|arg| arg == marker.as_bytes());
            mine.then_some(path)
        })
        .collect()
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 20 s");
        std::thread::sleep(Duration::from_millis(20));
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
