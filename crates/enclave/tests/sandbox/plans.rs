//! Plans that are refused, and what is reported of those that are not.

use mse_enclave::sandbox::{ReadOnlyBind, SandboxError, Spawned, State};

use crate::{own, path, run, sandbox, shell};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_is_refused_by_name() {
    let mut plan = shell("echo ran");
    plan.tree.read_only.push(ReadOnlyBind {
        source: "/no/such/place".into(),
        target: path("/env"),
    });
    let error = match sandbox().spawn(&plan).await {
        Ok(Spawned { handle, .. }) => handle.report().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, SandboxError::Refused { .. }), "{error}");
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
