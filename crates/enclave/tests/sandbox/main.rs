//! The sandbox, driven through the real `mse-enclave` binary.

mod ending;
mod files;
mod isolation;
mod plans;

use std::fs;
use std::time::{Duration, Instant};

use mse_enclave::sandbox::{
    AppCommand, AppDirs, AppUid, Area, CodeAccess, FileMode, LaunchPlan, LogStream, Network,
    PrivateDir, PrivatePath, ProcessLimits, RootBase, Sandbox, SandboxExit, SandboxHandle,
    SandboxPath, SandboxPlan, SandboxReport, Spawned, TreePlan,
};

const SECRETS_PATH: &str = "/root/.cache/mse/secrets.json";
const MIB: u64 = 1024 * 1024;

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

/// A number of seconds that no other process sleeps for.
fn marker() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let digits: String = uuid.chars().filter(char::is_ascii_digit).take(6).collect();
    format!("1{digits}.{}", std::process::id())
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
