//! Encrypted volumes of services: the real enclave program, a CAS that keeps the record, and a host
//! that does with the folder what it likes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mse_tests::cas::{FakeVolume, SERVICE, SESSION};
use mse_tests::programs::program;
use mse_tests::services::{Service, ServiceMachine};
use mse_workload::launch::{ServiceCheck, ServiceEnd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A machine with one volume, `data` at `/data`, in a folder of the host's.
struct Setup {
    machine: ServiceMachine,
}

impl Setup {
    async fn new(policy: &str) -> Self {
        let machine = ServiceMachine::new(&program("mse-enclave")).await;
        machine.cas.policies().volumes = vec![FakeVolume::new("data", "/data", policy)];
        Self { machine }
    }

    /// What the host stores.
    fn folder(&self) -> PathBuf {
        self.machine.data.path().join("volume")
    }

    async fn launch(&self, script: &str) -> Service {
        self.launch_in(&self.folder(), script).await
    }

    async fn launch_in(&self, folder: &Path, script: &str) -> Service {
        self.machine.cas.policies().script(script);
        let mut spec = self.machine.spec();
        spec.volumes = [("data".to_owned(), folder.to_owned())].into();
        self.machine.launch(spec).await
    }

    async fn run(&self, script: &str) -> Service {
        let mut service = self.launch(script).await;
        service.finish().await;
        service
    }

    /// Runs `script`, which has to end well, and gives what it wrote.
    async fn runs(&self, script: &str) -> Vec<String> {
        let service = self.run(script).await;
        assert_eq!(
            service.end,
            Some(ServiceEnd::Program { code: 0 }),
            "{service:#?}"
        );
        service.lines
    }

    /// The start is refused by this check.
    async fn refuses(&self, check: ServiceCheck, says: &str) {
        let service = self.run("echo ran").await;
        refused(&service, check, says);
        assert!(service.lines.is_empty(), "{service:#?}");
    }

    fn sequence(&self) -> u64 {
        self.machine.cas.policies().volumes[0].sequence
    }

    fn set_policy(&self, policy: &str) {
        self.machine.cas.policies().volumes[0].policy = policy.into();
    }
}

fn refused(service: &Service, check: ServiceCheck, says: &str) {
    let end = ServiceEnd::Refused { check };
    assert_eq!(service.end, Some(end), "{service:#?}");
    let how = format!("exit status: {}", check.exit_code());
    assert_eq!(service.how.as_deref(), Some(&how[..]));
    let reason = service.reason();
    assert!(reason.starts_with(&format!("check `{check}` failed: ")));
    assert!(reason.contains(says), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
}

async fn until_log(service: &mut Service, count: usize, text: &str) {
    while service
        .log
        .iter()
        .filter(|line| line.contains(text))
        .count()
        < count
    {
        service.until_next().await;
    }
}

const COMMITTED: &str = "the changes were committed";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file below with its content, but for the lock.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(snapshot(&entry.path()));
        } else if entry.file_type().unwrap().is_file() && entry.file_name() != "lock" {
            files.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    snapshot(folder)
        .into_iter()
        .filter(|(_, content)| content.windows(needle.len()).any(|window| window == needle))
        .map(|(path, _)| path)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_initialises_and_the_next_sees_the_data() {
    let setup = Setup::new("rollback_protected").await;
    let wrote = setup
        .runs(
            "set -e; ls -A /data | wc -l; mkdir -m 750 /data/dir; echo one >/data/dir/file; \
             ln -s dir/file /data/link; chmod 600 /data/dir/file",
        )
        .await;
    assert_eq!(wrote, ["0"]);
    assert_eq!(setup.sequence(), 2, "the empty state and the written one");
    let read = setup
        .runs(
            "set -e; cat /data/link; stat -c '%a %U' /data/dir /data/dir/file; \
             echo two >>/data/dir/file; rm /data/link",
        )
        .await;
    assert_eq!(read, ["one", "750 app", "600 app"]);
    let read = setup.runs("cat /data/dir/file; ls /data").await;
    assert_eq!(read, ["one", "two", "dir"]);
    // Nothing was changed the last time, so nothing was recorded.
    assert_eq!(setup.sequence(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_is_refused_and_says_so() {
    let setup = Setup::new("rollback_protected").await;
    setup.runs("echo one >/data/file").await;
    let (old, new) = (
        setup.machine.data.path().join("old"),
        setup.machine.data.path().join("new"),
    );
    copy(&setup.folder(), &old);
    setup.runs("echo two >/data/file").await;
    fs::rename(setup.folder(), &new).unwrap();
    copy(&old, &setup.folder());
    setup
        .refuses(ServiceCheck::VolumeStale, "an old copy of the volume")
        .await;
    fs::remove_dir_all(setup.folder()).unwrap();
    setup
        .refuses(ServiceCheck::VolumeStale, "was initialised before")
        .await;
    assert!(!setup.folder().exists(), "nothing was begun anew");
    fs::rename(&new, setup.folder()).unwrap();
    assert_eq!(setup.runs("cat /data/file").await, ["two"]);

    // Who asked for no protection gets what the host shows.
    fs::remove_dir_all(setup.folder()).unwrap();
    copy(&old, &setup.folder());
    setup.set_policy("no_rollback_protection");
    assert_eq!(setup.runs("cat /data/file").await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_bit_is_refused() {
    let setup = Setup::new("rollback_protected").await;
    setup.runs("echo one >/data/file").await;
    let root = setup.machine.cas.policies().volumes[0]
        .root
        .clone()
        .unwrap();
    let flipped: Vec<PathBuf> = snapshot(&setup.folder())
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            path.starts_with(setup.folder().join("objects"))
                || path.ends_with(&root)
                || path.ends_with("volume")
        })
        .collect();
    assert!(flipped.len() >= 4, "{flipped:?}");
    for path in flipped {
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, changed).unwrap();
        setup
            .refuses(ServiceCheck::Volume, "the volume `data`")
            .await;
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(setup.runs("cat /data/file").await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_in_no_file_of_the_host() {
    let setup = Setup::new("rollback_protected").await;
    let needle = b"canary-9f86d081884c7d65";
    let mut service = setup
        .launch(
            "for n in 1 2 3 4 5 6 7 8; do echo canary-9f86d081884c7d65 >>/data/canary-9f86d081884c7d65; done; \
             kill -USR1 1; echo written; while :; do sleep 0.05; done",
        )
        .await;
    service.until_line("written").await;
    until_log(&mut service, 1, COMMITTED).await;
    let host = setup.machine.data.path();
    assert!(files_with(host, needle).is_empty());
    service.enclave.stop(std::time::Duration::from_secs(10));
    service.finish().await;
    assert_eq!(service.reason(), "stopped as asked");
    assert!(files_with(host, needle).is_empty());
    assert!(!format!("{service:#?}").contains("canary-"));
    // Its key is nowhere either, and the data is there for who gets it.
    let key = mse_crypto::Digest::of(b"data").0;
    assert!(files_with(host, &key).is_empty());
    assert!(files_with(host, hex::encode(key).as_bytes()).is_empty());
    let lines = setup.runs("grep -c canary /data/canary*").await;
    assert_eq!(lines, ["8"]);
    fs::write(host.join("control"), needle).unwrap();
    assert_eq!(files_with(host, needle).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_an_ephemeral_volume_are_gone() {
    let setup = Setup::new("ephemeral").await;
    // Never written to: it is empty, and stays that.
    let lines = setup.runs("ls -A /data | wc -l; echo x >/data/x").await;
    assert_eq!(lines, ["0"]);
    assert!(!setup.folder().exists());
    setup.set_policy("rollback_protected");
    setup.runs("echo kept >/data/file").await;
    let (before, sequence) = (snapshot(&setup.folder()), setup.sequence());
    setup.set_policy("ephemeral");
    for _ in 0..2 {
        let lines = setup
            .runs("cat /data/file; ls /data; echo lost >/data/file; echo lost >/data/more; kill -USR1 1; sleep 0.2")
            .await;
        assert_eq!(lines, ["kept", "file"]);
    }
    assert_eq!(snapshot(&setup.folder()), before);
    assert_eq!(setup.sequence(), sequence);
    // One that was written to elsewhere is another state.
    setup.set_policy("no_rollback_protection");
    setup.machine.cas.policies().volumes[0].sequence = 0;
    let recorded = setup.machine.cas.policies().volumes[0].root.clone();
    setup.runs("echo other >/data/file").await;
    fs::remove_file(setup.folder().join("roots").join(recorded.clone().unwrap())).unwrap();
    setup.machine.cas.policies().volumes[0].root = recorded;
    setup.set_policy("ephemeral");
    setup
        .refuses(
            ServiceCheck::VolumeStale,
            "bring the copy that was recorded",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticated_volume_is_the_host_s_to_read_and_not_to_change() {
    let setup = Setup::new("rollback_protected").await;
    setup.machine.cas.policies().volumes[0].files = "authenticated-only".into();
    setup.runs("echo a public page >/data/index").await;
    let found = files_with(&setup.folder(), b"a public page");
    assert_eq!(found.len(), 1, "{found:?}");
    // Names are not public.
    assert!(files_with(&setup.folder(), b"index").is_empty());
    assert_eq!(setup.runs("cat /data/index").await, ["a public page"]);
    let page = fs::read(&found[0]).unwrap();
    let changed = String::from_utf8_lossy(&page).replace("public", "forged");
    fs::write(&found[0], changed).unwrap();
    setup
        .refuses(ServiceCheck::Volume, "the volume `data`")
        .await;
    fs::write(&found[0], page).unwrap();
    // The session is what says how it is protected.
    setup.machine.cas.policies().volumes[0].files = "encrypted".into();
    setup
        .refuses(ServiceCheck::Volume, "its files are `authenticated-only`")
        .await;
}

/// Counts in two files, each replaced at once, the first one first. To read what lies between them
/// takes a while.
const COUNT: &str = r#"
import os, signal
def read(name):
    return int(open("/data/" + name).read()) if os.path.exists("/data/" + name) else 0
n = read("a")
print("found", n, read("b"), flush=True)
if n == 0:
    open("/data/ab", "wb").write(os.urandom(4 << 20))
while True:
    n += 1
    for name in "a", "b":
        with open("/data/new", "w") as file:
            file.write(str(n))
        os.replace("/data/new", "/data/" + name)
    if n % 100 == 0:
        os.kill(1, signal.SIGUSR1)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_enclave_leaves_a_state_as_it_was_at_one_moment() {
    let setup = Setup::new("rollback_protected").await;
    setup.machine.cas.policies().environment = [("COUNT".to_owned(), COUNT.to_owned())].into();
    let mut last = 0;
    for round in 0..5 {
        let mut service = setup.launch("exec /usr/bin/python3 -c \"$COUNT\"").await;
        while service.lines.is_empty() {
            service.until_next().await;
        }
        let found: Vec<u64> = service.lines[0]
            .split(' ')
            .skip(1)
            .map(|number| number.parse().unwrap())
            .collect();
        let [a, b] = found[..] else {
            panic!("{service:#?}");
        };
        assert!(a == b || a == b + 1, "torn: {a} and {b}");
        assert!(round == 0 || a > last, "{a} after {last}");
        last = a;
        until_log(&mut service, round + 1, COMMITTED).await;
        let enclave = Pid::from_raw(service.enclave.pid().cast_signed());
        kill(enclave, Signal::SIGKILL).unwrap();
        service.finish().await;
    }
    assert!(setup.sequence() > 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_the_one_that_comes_second_is_ended() {
    let setup = Setup::new("rollback_protected").await;
    setup.runs("echo one >/data/file").await;
    let fork = setup.machine.data.path().join("fork");
    copy(&setup.folder(), &fork);
    let mut second = setup
        .launch_in(&fork, "echo ready; while :; do sleep 0.05; done")
        .await;
    second.until_line("ready").await;
    setup.runs("echo first >/data/file").await;
    let mut third = setup.launch_in(&fork, "echo never").await;
    third.finish().await;
    refused(&third, ServiceCheck::VolumeStale, "old copy");
    second.enclave.stop(std::time::Duration::from_secs(10));
    second.finish().await;
    assert_eq!(
        second.reason(),
        "stopped as asked",
        "it had changed nothing"
    );

    let newest = setup.machine.data.path().join("newest");
    copy(&setup.folder(), &newest);
    let mut second = setup
        .launch_in(&newest, "echo ready; while ! [ -e /data/go ]; do sleep 1; echo second >/data/file; kill -USR1 1; done")
        .await;
    second.until_line("ready").await;
    setup.machine.cas.policies().volumes[0].sequence += 1;
    second.finish().await;
    refused(&second, ServiceCheck::VolumeRecord, "another instance");
    assert_eq!(second.lines, ["ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_no_conflict() {
    let setup = Setup::new("rollback_protected").await;
    setup.machine.cas.policies().lost_answers = 2;
    setup.runs("echo one >/data/file").await;
    assert_eq!(setup.sequence(), 2);
    setup.machine.cas.policies().lost_answers = 1;
    setup.runs("echo two >/data/file").await;
    assert_eq!(setup.sequence(), 3);
    assert_eq!(setup.runs("cat /data/file").await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_report_and_answer_leaves_what_the_cas_knows() {
    let setup = Setup::new("rollback_protected").await;
    setup.runs("echo one >/data/file").await;
    let sequence = setup.sequence();
    let crash = async |service: &mut Service| {
        until_log(service, 1, "could not be recorded; asking again").await;
        let enclave = Pid::from_raw(service.enclave.pid().cast_signed());
        kill(enclave, Signal::SIGKILL).unwrap();
        service.finish().await;
    };
    let write =
        |text: &str| format!("echo {text} >/data/file; kill -USR1 1; while :; do sleep 1; done");

    setup.machine.cas.policies().records_nothing = true;
    crash(&mut setup.launch(&write("two")).await).await;
    setup.machine.cas.policies().records_nothing = false;
    assert_eq!(setup.sequence(), sequence);
    assert_eq!(setup.runs("cat /data/file").await, ["one"]);

    setup.machine.cas.policies().lost_answers = u32::MAX;
    crash(&mut setup.launch(&write("three")).await).await;
    setup.machine.cas.policies().lost_answers = 0;
    assert_eq!(setup.sequence(), sequence + 1);
    assert_eq!(setup.runs("cat /data/file").await, ["three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_while_the_cas_cannot_record() {
    let setup = Setup::new("rollback_protected").await;
    let mut service = setup
        .launch("echo ready; while ! [ -e /tmp/x ]; do sleep 0.1; echo more >>/data/file; kill -USR1 1; echo on; done")
        .await;
    service.until_line("ready").await;
    until_log(&mut service, 1, COMMITTED).await;
    setup.machine.cas.policies().records_nothing = true;
    until_log(&mut service, 1, "could not be recorded; asking again").await;
    let lines = service.lines.len();
    while service.lines.len() < lines + 3 {
        service.until_next().await;
    }
    let committed = service
        .log
        .iter()
        .filter(|line| line.contains(COMMITTED))
        .count();
    // A ticket that is forgotten is replaced by evidence.
    setup.machine.cas.forget_tickets();
    setup.machine.cas.policies().records_nothing = false;
    until_log(&mut service, committed + 1, COMMITTED).await;
    until_log(&mut service, 1, "showing evidence again").await;
    service.enclave.stop(std::time::Duration::from_secs(10));
    service.finish().await;
    assert_eq!(service.reason(), "stopped as asked");
    let written = service.lines.iter().filter(|line| *line == "on").count();
    let kept: usize = setup.runs("wc -l </data/file").await[0].parse().unwrap();
    assert!(kept >= written, "{kept} of {written} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_that_stays_away_at_the_end_costs_the_last_changes_and_is_told() {
    let setup = Setup::new("rollback_protected").await;
    setup.machine.cas.policies().renew_in = 3;
    setup.runs("echo one >/data/file").await;
    setup.machine.cas.policies().records_nothing = true;
    let service = setup.run("echo two >/data/file").await;
    refused(
        &service,
        ServiceCheck::VolumeRecord,
        "could not be recorded",
    );
    setup.machine.cas.policies().records_nothing = false;
    assert_eq!(setup.runs("cat /data/file").await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_loses_changes_says_so_before_its_time_is_over() {
    let setup = Setup::new("rollback_protected").await;
    let mut service = setup
        .launch("echo two >/data/file; echo ready; while :; do sleep 1; done")
        .await;
    service.until_line("ready").await;
    setup.machine.cas.policies().records_nothing = true;
    service.enclave.stop(std::time::Duration::from_secs(8));
    service.finish().await;
    refused(
        &service,
        ServiceCheck::VolumeRecord,
        "could not be recorded",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sandbox_or_the_host_cannot_give_is_refused() {
    let setup = Setup::new("rollback_protected").await;
    setup.machine.cas.policies().script("echo ran");
    let service = setup.machine.run().await;
    refused(&service, ServiceCheck::Configuration, "--volume data=DIR");
    for (path, says) in [
        ("/app/lib", "where the program's tree has files"),
        ("/root", "two directories"),
        ("/app", "where the program's tree has files"),
        ("/usr/share/x", "cannot be mounted"),
        ("/run", "makes itself"),
        ("/proc/x", "makes itself"),
        ("data", "not absolute"),
    ] {
        setup.machine.cas.policies().volumes[0].path = path.into();
        setup.refuses(ServiceCheck::Configuration, says).await;
    }
    assert!(!setup.folder().exists());
    // Beside the program's files, and in the home, there is room.
    for path in ["/app/data", "/root/data", "/var/lib/x"] {
        setup.machine.cas.policies().volumes[0].path = path.into();
        setup.runs(&format!("echo x >>{path}/file")).await;
    }
    setup.machine.cas.policies().volumes[0].path = "/data".into();
    assert_eq!(setup.runs("cat /data/file").await, ["x", "x", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_volume_does_not_hold_is_told_at_the_end() {
    let setup = Setup::new("rollback_protected").await;
    let service = setup
        .run("echo x >/data/file; mkfifo /data/secret-name")
        .await;
    refused(
        &service,
        ServiceCheck::Volume,
        "a socket, a pipe or a device",
    );
    assert!(!format!("{service:#?}").contains("secret-name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_folders_for_volumes() {
    let setup = Setup::new("rollback_protected").await;
    let machine = &setup.machine;
    for (script, says) in [("echo one >/data/file", ""), ("cat /data/file", "one\n")] {
        machine.cas.policies().script(script);
        let mut command = Command::new(program("mse"));
        command
            .env("MSE_CONF_PATH", machine.data.path().join("conf"))
            .env_remove("MSE_ENCLAVE")
            .current_dir(machine.data.path())
            .args(["service", "run"])
            .arg(machine.tree())
            .arg("--enclave")
            .arg(program("mse-enclave"))
            .args(["--cas-key", &machine.cas.key.to_string()])
            .args(["--session", SESSION, "--service", SERVICE])
            .args(["--memory", "256", "--cas", &machine.cas.address])
            .arg("--platform")
            .arg(machine.data.path().join("tee"))
            .args(["--volume", "data=volume"]);
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), says);
    }
    assert!(setup.folder().join("volume").exists());
}
