//! Another program for the same CAS.

use std::process::Command;

use mse_attest::MeasuredProgram;
use mse_audit::entry::Event;
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_ratls::cas::upgrade::UpgradeAuthorization;
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::{CasMachine, RunningCas};
use mse_tests::postgres::Postgres;
use mse_tests::programs::program;
use mse_workload::launch::CasStart;
use mse_workload::{CasWorkload, UpgradePolicy};

use super::join::Pretender;
use super::{changed_program, events, machine, read, refusal, session, spec, upload};

/// Three approvers, of whom two are needed.
struct Board([SigningKey; 3]);

impl Board {
    fn new() -> Self {
        Self([
            SigningKey::generate(Algorithm::Ed25519),
            SigningKey::generate(Algorithm::P384),
            SigningKey::generate(Algorithm::Ed25519),
        ])
    }

    fn workload(&self, machine: &CasMachine) -> CasWorkload {
        CasWorkload {
            upgrade: Some(UpgradePolicy {
                threshold: 2,
                approvers: self.0.iter().map(|key| key.public().to_pem()).collect(),
            }),
            ..machine.workload()
        }
    }
}

fn with(workload: &CasWorkload, spec: CasSpec) -> CasSpec {
    CasSpec {
        workload: workload.clone(),
        ..spec
    }
}

fn join(cas: &RunningCas, authorization: Option<&UpgradeAuthorization>) -> CasStart {
    CasStart::Join {
        address: cas.address.clone(),
        cas_key: cas.key,
        authorization: authorization.map(|one| serde_json::to_string(one).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_approvers_let_another_program_join() {
    let server = Postgres::start();
    let (mut machine, database) = (machine().await, server.database());
    let board = Board::new();
    let workload = board.workload(&machine);
    let old = machine
        .launch(with(
            &workload,
            spec(&machine, "old", &database, CasStart::Create),
        ))
        .await
        .unwrap();
    let stored = upload(
        &mut old.connect(Some(&machine.owner)).await.unwrap(),
        session("shop", "word", None),
    )
    .await
    .unwrap();
    let changed = changed_program(&machine);
    machine.install(&changed);
    let mrenclave = machine.measure(&workload).0.0;
    let new = MeasuredProgram::Simulated { mrenclave };
    let launch = async |authorization: Option<&UpgradeAuthorization>| {
        let spec = spec(&machine, "new", &database, join(&old, authorization));
        machine.launch(with(&workload, spec)).await
    };
    // The running CAS decides for itself, whatever the joining side thinks of it.
    let ask = |authorization: Option<UpgradeAuthorization>| {
        Pretender {
            platform: &machine.platform,
            mrenclave,
            authorization,
            is_relayed: false,
        }
        .ask(&old)
    };

    let refused = launch(None).await.err().unwrap();
    assert!(refused.contains("approvers' signatures"), "{refused}");
    let mut authorization = UpgradeAuthorization::new(old.key, new);
    authorization.sign(&board.0[0]);
    authorization.sign(&board.0[0]);
    authorization.sign(&SigningKey::generate(Algorithm::Ed25519));
    let refused = launch(Some(&authorization)).await.err().unwrap();
    assert!(refused.contains("signatures of 1 approvers"), "{refused}");
    let (code, message) = refusal(ask(Some(authorization.clone())).await);
    assert_eq!(code, "forbidden");
    assert!(message.contains("signatures of 1 approvers"), "{message}");
    let (_, message) = refusal(ask(None).await);
    assert!(message.contains("no signatures"), "{message}");
    // Signed for another program.
    let mut elsewhere =
        UpgradeAuthorization::new(old.key, MeasuredProgram::Simulated { mrenclave: [1; 32] });
    elsewhere.sign(&board.0[0]);
    elsewhere.sign(&board.0[1]);
    let (_, message) = refusal(ask(Some(elsewhere)).await);
    assert!(message.contains("another program"), "{message}");

    authorization.sign(&board.0[1]);
    let new = launch(Some(&authorization)).await.unwrap();
    assert_eq!(new.key, old.key);
    let seen = read(&new, &machine.owner, "shop").await.unwrap();
    assert_eq!(seen.hash, stored.hash);
    let checks: Vec<_> = events(&new, &machine.owner)
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::ReplicaRefused { check, .. } => Some(check.as_str().to_owned()),
            Event::ReplicaJoined { .. } => Some("joined".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(checks, ["upgrade", "program", "upgrade", "joined"]);
    // The old one goes, and the new one stays what it is.
    old.stop().await;
    new.stop().await;
    let spec = spec(&machine, "new", &database, CasStart::Open);
    let again = machine.launch(with(&workload, spec)).await.unwrap();
    let seen = read(&again, &machine.owner, "shop").await.unwrap();
    assert_eq!(seen.hash, stored.hash);
    again.stop().await;
}

/// Somebody's own CAS, whose root key they may know: evidence of an honest program must not come to
/// vouch for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_honest_program_is_not_lured_into_joining_somebody_elses() {
    let server = Postgres::start();
    let (mut machine, database) = (machine().await, server.database());
    let board = Board::new();
    let workload = board.workload(&machine);
    let changed = changed_program(&machine);
    machine.install(&changed);
    let lure = machine
        .launch(with(
            &workload,
            spec(&machine, "lure", &database, CasStart::Create),
        ))
        .await
        .unwrap();
    machine.install(&program("mse-cas"));
    let honest = async |authorization: Option<&UpgradeAuthorization>, name: &str| {
        let spec = spec(&machine, name, &database, join(&lure, authorization));
        machine.launch(with(&workload, spec)).await
    };
    let refused = honest(None, "one").await.err().unwrap();
    assert!(refused.contains("another program"), "{refused}");
    // With signatures of approvers of the lure's choice.
    let own = MeasuredProgram::Simulated {
        mrenclave: machine.measure(&workload).0.0,
    };
    let mut forged = UpgradeAuthorization::new(lure.key, own);
    for _ in 0..3 {
        forged.sign(&SigningKey::generate(Algorithm::Ed25519));
    }
    let refused = honest(Some(&forged), "one").await.err().unwrap();
    assert!(refused.contains("signatures of 0 approvers"), "{refused}");
    assert!(!machine.folder.path().join("one/root-key.sealed").exists());
    lure.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvers_sign_with_the_command_line() {
    let server = Postgres::start();
    let (machine, database) = (machine().await, server.database());
    let board = Board::new();
    let workload = board.workload(&machine);
    let spec = spec(&machine, "old", &database, CasStart::Create);
    let cas = machine.launch(with(&workload, spec)).await.unwrap();
    let signed = tokio::task::block_in_place(|| sign(&machine, &board, &cas, &workload));
    let program = MeasuredProgram::Simulated { mrenclave: [7; 32] };
    let policy = workload.upgrade.as_ref().unwrap();
    let approved = signed.verify(policy, cas.key, &program).unwrap();
    assert_eq!(approved, [board.0[0].public(), board.0[1].public()]);
    cas.stop().await;
}

fn sign(
    machine: &CasMachine,
    board: &Board,
    cas: &RunningCas,
    workload: &CasWorkload,
) -> UpgradeAuthorization {
    let folder = machine.folder.path();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mse = |words: &[&str]| {
        let output = Command::new(program("mse"))
            .env("MSE_CONF_PATH", folder.join("conf"))
            .env_remove("MSE_SIMULATED")
            .args(words)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let anchor = file("tee/trust-anchor.toml");
    let measured = machine.measure(workload).to_string();
    let attest = [
        "cas",
        "attest",
        &cas.address,
        "--name",
        "prod",
        "--measurement",
        &measured,
    ];
    let trust = ["--simulated", &anchor, "--pccs", &machine.pccs];
    let (code, told) = mse(&[&attest[..], &trust].concat());
    assert_eq!(code, Some(0), "{told}");
    let (new, output) = ("07".repeat(32), file("upgrade.json"));
    for (number, key) in board.0[..2].iter().enumerate() {
        let pem = file(&format!("{number}.pem"));
        std::fs::write(&pem, key.to_pem().as_bytes()).unwrap();
        let words = ["cas", "upgrade", "sign", &output, "--cas", "prod"];
        let about = ["--measurement", &new, "--key", &pem];
        let (code, told) = mse(&[&words[..], &about].concat());
        assert_eq!(code, Some(0), "{told}");
        // For another program in the same file: refused.
        let other = "08".repeat(32);
        let about = ["--measurement", &other, "--key", &pem];
        let (code, told) = mse(&[&words[..], &about].concat());
        assert_eq!(code, Some(1), "{told}");
    }
    UpgradeAuthorization::from_json(&std::fs::read(&output).unwrap()).unwrap()
}
