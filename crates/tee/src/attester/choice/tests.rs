use std::fs;

use tempfile::TempDir;

use super::super::AttesterError;
use super::super::emulated::Kernel;
use super::super::gramine::FOLDER;
use super::*;

fn machine() -> (TempDir, Machine) {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::at(root.path());
    (root, machine)
}

fn add_gramine(root: &TempDir, kind: &str) {
    let folder = root.path().join(FOLDER);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("attestation_type"), kind).unwrap();
}

fn add_tsm(root: &TempDir) {
    fs::create_dir_all(root.path().join(tsm::REPORT)).unwrap();
}

async fn chosen(
    machine: &Machine,
    kind: Choice,
    launcher: Option<HostLink>,
) -> Result<&'static str, ChoiceError> {
    let wish = Wish {
        kind,
        privilege_level: None,
    };
    let attester = machine.attester(wish, launcher).await?;
    Ok(attester.name())
}

fn launcher() -> HostLink {
    HostLink::to_nobody()
}

#[tokio::test]
async fn a_bare_machine_says_what_was_looked_for() {
    let (root, machine) = machine();
    let message = chosen(&machine, Choice::Auto, None)
        .await
        .unwrap_err()
        .to_string();
    for named in [
        format!(
            "`{}/dev/attestation/attestation_type`: not there",
            root.path().display()
        ),
        format!(
            "`{}/sys/kernel/config/tsm/report`: not there",
            root.path().display()
        ),
        "there is no launch socket".to_owned(),
    ] {
        assert!(message.contains(&named), "{message}");
    }
    add_gramine(&root, "none");
    let message = chosen(&machine, Choice::Auto, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("attestation_type`: `none`"), "{message}");
}

#[tokio::test]
async fn what_is_there_comes_before_the_launcher() {
    let (root, machine) = machine();
    let auto = async || {
        chosen(&machine, Choice::Auto, Some(launcher()))
            .await
            .unwrap()
    };
    assert_eq!(auto().await, "simulated");
    add_tsm(&root);
    assert_eq!(auto().await, "tsm");
    add_gramine(&root, "none");
    assert_eq!(auto().await, "tsm");
    add_gramine(&root, "dcap");
    assert_eq!(auto().await, "gramine");
}

#[tokio::test]
async fn the_launchers_wish_is_followed() {
    let (root, machine) = machine();
    add_tsm(&root);
    add_gramine(&root, "dcap");
    for (kind, name) in [
        (Choice::Simulated, "simulated"),
        (Choice::Tsm, "tsm"),
        (Choice::Gramine, "gramine"),
    ] {
        assert_eq!(
            chosen(&machine, kind, Some(launcher())).await.unwrap(),
            name
        );
    }
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_an_error() {
    let (_root, machine) = machine();
    let error = async |kind, launcher| chosen(&machine, kind, launcher).await.unwrap_err();
    assert!(matches!(
        error(Choice::Gramine, Some(launcher())).await,
        ChoiceError::Gramine(GramineError::NotThere(_))
    ));
    assert!(matches!(
        error(Choice::Tsm, Some(launcher())).await,
        ChoiceError::NoTsm(_)
    ));
    assert!(matches!(
        error(Choice::Simulated, None).await,
        ChoiceError::NoLauncher
    ));
}

#[tokio::test]
async fn a_broken_attester_does_not_lead_to_a_simulated_one() {
    // Gramine of a kind that is not understood.
    let (root, bare) = machine();
    add_gramine(&root, "epid");
    let error = chosen(&bare, Choice::Auto, Some(launcher()))
        .await
        .unwrap_err();
    assert!(matches!(&error, ChoiceError::Gramine(GramineError::Type(name)) if name == "epid"));

    // Gramine that cannot be read.
    let (root, unreadable) = machine();
    fs::create_dir_all(root.path().join(FOLDER).join("attestation_type")).unwrap();
    let error = chosen(&unreadable, Choice::Auto, Some(launcher()))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ChoiceError::Gramine(GramineError::File { .. })
    ));

    // A kernel of which nobody can say whether it has the interface.
    let (root, unseen) = machine();
    fs::create_dir(root.path().join("sys")).unwrap();
    fs::write(root.path().join("sys/kernel"), "").unwrap();
    let error = chosen(&unseen, Choice::Auto, Some(launcher()))
        .await
        .unwrap_err();
    assert!(matches!(error, ChoiceError::Unseen { .. }), "{error}");

    // A kernel that has it and nobody behind it.
    let kernel = Kernel::snp();
    kernel.no_driver();
    let machine = Machine::with(kernel.root(), Arc::clone(&kernel) as _);
    let attester = machine
        .attester(Wish::default(), Some(launcher()))
        .await
        .unwrap();
    assert_eq!(attester.name(), "tsm");
    let error = attester.evidence(&[7; 64]).await.unwrap_err();
    assert!(matches!(error, AttesterError::Tsm(_)), "{error}");
}

#[tokio::test]
async fn a_broken_certificate_table_is_an_error() {
    let kernel = Kernel::snp();
    kernel.auxblob(vec![1; 100]);
    let machine = Machine::with(kernel.root(), Arc::clone(&kernel) as _);
    let attester = machine.attester(Wish::default(), None).await.unwrap();
    let error = attester.evidence(&[7; 64]).await.unwrap_err();
    assert!(matches!(error, AttesterError::Certificates(_)), "{error}");
}

#[tokio::test]
async fn a_privilege_level_is_for_the_kernel_only() {
    let (root, machine) = machine();
    let wish = Wish {
        kind: Choice::Auto,
        privilege_level: Some(2),
    };
    let error = machine
        .attester(wish, Some(launcher()))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ChoiceError::LevelWithoutTsm("simulated")));
    add_tsm(&root);
    assert_eq!(
        machine
            .attester(wish, Some(launcher()))
            .await
            .unwrap()
            .name(),
        "tsm"
    );
    add_gramine(&root, "dcap");
    let error = machine
        .attester(wish, Some(launcher()))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ChoiceError::LevelWithoutTsm("gramine")));
}
