//! How the app starts and ends, and that nothing is left of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mse_enclave::sandbox::{ExitCause, SandboxExit, Spawned, Step};

use crate::{command, marker, run, sandbox, shell, until};

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
            "ending::parent_of_the_kill_test",
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

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
