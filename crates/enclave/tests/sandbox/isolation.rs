//! What the app sees of the host, and what the kernel lets it do.

use std::collections::BTreeMap;
use std::fs;

use mse_enclave::sandbox::{AppCommand, CodeAccess, State};

use crate::{marker, own, path, python, run, shell};

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
