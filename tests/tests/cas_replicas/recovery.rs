//! All that is left is the store and the custodians.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mse_attest::CheckName;
use mse_audit::entry::Event;
use mse_cas::keys::shares::{Share, combine, split};
use mse_crypto::hpke::KeyPair;
use mse_crypto::{Digest, Zeroizing};
use mse_ratls::cas::client::{CasError, connect_pinned, first_contact};
use mse_ratls::cas::recovery::{
    GivenShare, RecoveryProgress, SHARE, SHARES, SealedShare, SealedShares,
};
use mse_ratls::cas::{AttestError, CasDescription};
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::{CasMachine, WaitingCas};
use mse_tests::programs::program;
use mse_workload::launch::CasStart;
use mse_workload::{CasWorkload, RecoveryPolicy};

use super::{changed_program, events, machine, read, refusal, session, upload};

/// Three custodians, of whom two are needed, with keys that the command line made.
struct Custodians {
    files: Vec<String>,
    keys: Vec<KeyPair>,
}

impl Custodians {
    fn new(machine: &CasMachine) -> Self {
        let files: Vec<_> = (1..=3)
            .map(|number| {
                let file = machine.folder.path().join(format!("custodian{number}"));
                file.to_str().unwrap().to_owned()
            })
            .collect();
        let keys = files.iter().map(|file| {
            let words = ["cas", "recovery", "keygen", "--output", file];
            let (code, printed, _) = mse(machine, &words);
            assert_eq!(code, Some(0));
            let text = fs::read_to_string(file).unwrap();
            let seed = text
                .trim_end()
                .strip_prefix("mse-custodian-key-1 ")
                .unwrap();
            let key = KeyPair::derive(&hex::decode(seed).unwrap().try_into().unwrap());
            assert_eq!(printed.trim(), hex::encode(key.public().0));
            key
        });
        Self {
            keys: keys.collect(),
            files,
        }
    }

    fn workload(&self, machine: &CasMachine) -> CasWorkload {
        let hex = |key: &KeyPair| hex::encode(key.public().0);
        CasWorkload {
            recovery: Some(RecoveryPolicy {
                threshold: 2,
                custodians: self.keys.iter().map(hex).collect(),
            }),
            ..machine.workload()
        }
    }
}

fn mse(machine: &CasMachine, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program("mse"))
        .env("MSE_CONF_PATH", machine.folder.path().join("conf"))
        .env_remove("MSE_SIMULATED")
        .args(words)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn share(data: &Path, index: u8) -> SealedShare {
    let json = fs::read(data.join("recovery").join(format!("{index}.share"))).unwrap();
    SealedShare::from_json(&json).unwrap()
}

/// Gives the text of a share as `custodian`.
async fn give(
    machine: &CasMachine,
    workload: &CasWorkload,
    waiting: &WaitingCas,
    text: &str,
    custodian: &KeyPair,
) -> Result<RecoveryProgress, CasError> {
    let contact = first_contact(&waiting.address.parse().unwrap(), None).await?;
    let (mut instance, attested) = contact
        .attest_recovering(&machine.expected(workload), &machine.collateral())
        .await?;
    let recovering = attested.description.recovering.unwrap();
    let to = recovering.share_key().unwrap();
    let given = GivenShare::seal(text, custodian, &to, &instance.binding()).unwrap();
    instance.post(SHARE, &given).await
}

fn spec(machine: &CasMachine, workload: &CasWorkload, start: CasStart) -> CasSpec {
    CasSpec {
        workload: workload.clone(),
        ..machine.spec(start)
    }
}

/// A CAS with a session, stopped, whose key file is gone.
struct Lost {
    machine: CasMachine,
    custodians: Custodians,
    workload: CasWorkload,
    shares: SealedShares,
    /// What it said of itself.
    description: CasDescription,
    /// The session's.
    hash: String,
}

impl Lost {
    async fn new() -> Self {
        let machine = machine().await;
        let custodians = Custodians::new(&machine);
        let workload = custodians.workload(&machine);
        let cas = machine
            .launch(spec(&machine, &workload, CasStart::Create))
            .await
            .unwrap();
        let description = cas.attested.description.clone();
        let mut client = cas.connect(Some(&machine.owner)).await.unwrap();
        let stored = upload(&mut client, session("shop", "word", None)).await;
        let shares: SealedShares = client.get(SHARES).await.unwrap();
        assert_eq!(shares.threshold, 2);
        let files = [1, 2, 3].map(|index| share(&machine.data(), index));
        assert_eq!(shares.shares, files);
        drop(client);
        cas.stop().await;
        let lost = Self {
            hash: stored.unwrap().hash,
            machine,
            custodians,
            workload,
            shares,
            description,
        };
        // As long as the key opens there is nothing to recover.
        let refused = lost.machine.recover(lost.spec()).await;
        assert!(refused.err().unwrap().contains("holds a CAS already"));
        fs::remove_file(lost.key_file()).unwrap();
        let open = spec(&lost.machine, &lost.workload, CasStart::Open);
        let refused = lost.machine.launch(open).await;
        assert!(refused.err().unwrap().contains("holds no CAS"));
        lost
    }

    fn spec(&self) -> CasSpec {
        let key_id = self.shares.key_id.clone();
        spec(&self.machine, &self.workload, CasStart::Recover { key_id })
    }

    async fn recover(&self) -> WaitingCas {
        self.machine.recover(self.spec()).await.unwrap()
    }

    fn key_file(&self) -> PathBuf {
        self.machine.data().join("root-key.sealed")
    }

    fn custodian(&self, index: u8) -> &KeyPair {
        &self.custodians.keys[usize::from(index) - 1]
    }

    /// The text of a share.
    fn text(&self, index: u8) -> Zeroizing<String> {
        let share = &self.shares.shares[usize::from(index) - 1];
        share.open(self.custodian(index)).unwrap()
    }

    async fn give(
        &self,
        waiting: &WaitingCas,
        text: &str,
        custodian: &KeyPair,
    ) -> Result<RecoveryProgress, CasError> {
        give(&self.machine, &self.workload, waiting, text, custodian).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_custodians_bring_a_cas_back() {
    let lost = Lost::new().await;
    let machine = &lost.machine;
    let waiting = lost.recover().await;
    let progress = lost
        .give(&waiting, &lost.text(1), lost.custodian(1))
        .await
        .unwrap();
    assert_eq!((progress.given, progress.recovered), (vec![1], false));
    // One too few: nothing is open, and nothing was written.
    assert!(!lost.key_file().exists());

    // The last one by the command line.
    let given = tokio::task::block_in_place(|| {
        let share = machine.data().join("recovery/3.share");
        let measured = machine.measure(&lost.workload).to_string();
        let anchor = machine.folder.path().join("tee/trust-anchor.toml");
        let words = [
            "cas",
            "recovery",
            "give",
            &waiting.address,
            "--share",
            share.to_str().unwrap(),
            "--key",
            &lost.custodians.files[2],
            "--measurement",
            &measured,
            "--simulated",
            anchor.to_str().unwrap(),
            "--pccs",
            &machine.pccs,
        ];
        mse(machine, &words)
    });
    assert_eq!(given.0, Some(0), "{given:?}");
    assert!(given.1.contains("is there again"), "{given:?}");
    let cas = machine.recovered(waiting).await.unwrap();
    assert_eq!(cas.attested.description, lost.description);
    let seen = read(&cas, &machine.owner, "shop").await.unwrap();
    assert_eq!(seen.hash, lost.hash);
    let names: Vec<_> = events(&cas, &machine.owner)
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::Recovery { custodians } => Some(custodians),
            _ => None,
        })
        .flatten()
        .map(|name| name.0)
        .collect();
    let name = |index| Digest::of(&lost.custodian(index).public().0);
    assert_eq!(names, [name(1), name(3)]);
    cas.stop().await;
    let open = spec(machine, &lost.workload, CasStart::Open);
    let again = machine.launch(open).await.unwrap();
    assert_eq!(again.key, lost.description.cas_key);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_repeated_and_foreign_shares_are_named_and_open_nothing() {
    let lost = Lost::new().await;
    let waiting = lost.recover().await;
    let give = async |text: &str, custodian: &KeyPair| lost.give(&waiting, text, custodian).await;
    let (one, two) = (lost.custodian(1), lost.custodian(2));
    give(&lost.text(1), one).await.unwrap();
    let progress = give(&lost.text(1), one).await.unwrap();
    assert_eq!((progress.given, progress.repeated), (vec![1], true));
    // Somebody who has a share, and is nobody.
    let (code, message) = refusal(give(&lost.text(2), &KeyPair::generate()).await);
    assert_eq!(code, "forbidden");
    assert!(message.contains("not that of a custodian"), "{message}");
    // Somebody else's share.
    let (code, message) = refusal(give(&lost.text(3), two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("at place 2"), "{message}");
    // A share of another CAS of the same people.
    let data = lost.machine.folder.path().join("elsewhere");
    let elsewhere = CasSpec {
        data: data.clone(),
        ..spec(&lost.machine, &lost.workload, CasStart::Create)
    };
    lost.machine.launch(elsewhere).await.unwrap().stop().await;
    let foreign = share(&data, 2).open(two).unwrap();
    let (code, message) = refusal(give(&foreign, two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("is of root key"), "{message}");
    // A mistyped one.
    let (code, message) = refusal(give(&lost.text(2).replacen('q', "p", 1), two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("mistyped"), "{message}");
    // One of another dealing of the same key, which only a holder of the key could make.
    let forged = forged(&lost);
    let (code, message) = refusal(give(&forged, two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("dealt at another time"), "{message}");
    assert!(!lost.key_file().exists());
    // It does no harm once there are enough good ones.
    let progress = give(&lost.text(3), lost.custodian(3)).await.unwrap();
    assert!(progress.recovered);
    let cas = lost.machine.recovered(waiting).await.unwrap();
    assert_eq!(cas.attested.description, lost.description);
    cas.stop().await;
}

/// The second share of another dealing.
fn forged(lost: &Lost) -> Zeroizing<String> {
    let given = [1, 3].map(|index| lost.text(index).parse::<Share>().unwrap());
    let root = combine(&given).unwrap();
    split(&root, 2, 3).unwrap()[1].to_text()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_given_to_the_same_program_only_and_nobody_takes_it_for_the_cas() {
    let mut lost = Lost::new().await;
    let changed = changed_program(&lost.machine);
    lost.machine.install(&changed);
    let other = CasSpec {
        data: lost.machine.folder.path().join("other"),
        ..lost.spec()
    };
    let other = lost.machine.recover(other).await.unwrap();
    lost.machine.install(&program("mse-cas"));
    let refused = lost.give(&other, &lost.text(1), lost.custodian(1)).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, CasError::Attest(AttestError::Refused(refusal)) if refusal.failed == CheckName::MrEnclave),
        "{refused}"
    );
    let waiting = lost.recover().await;
    let address = waiting.address.parse().unwrap();
    let contact = first_contact(&address, None).await.unwrap();
    let expected = lost.machine.expected(&lost.workload);
    let collateral = lost.machine.collateral();
    let refused = contact.attest(&expected, &collateral).await.err().unwrap();
    assert!(
        matches!(refused, CasError::Attest(AttestError::Stage(_))),
        "{refused}"
    );
    let pinned = connect_pinned(&address, lost.description.cas_key, None).await;
    assert!(matches!(pinned.err().unwrap(), CasError::Identity(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_key_does_not_open_an_old_store_unless_told_to() {
    let machine = machine().await;
    let custodians = Custodians::new(&machine);
    let workload = custodians.workload(&machine);
    let cas = machine
        .launch(spec(&machine, &workload, CasStart::Create))
        .await
        .unwrap();
    cas.stop().await;
    let data = machine.data();
    for file in ["root-key.sealed", "witness"] {
        fs::remove_file(data.join(file)).unwrap();
    }
    let first = share(&data, 1);
    let recover = |as_found| CasSpec {
        as_found,
        ..spec(
            &machine,
            &workload,
            CasStart::Recover {
                key_id: first.key_id.clone(),
            },
        )
    };
    let waiting = machine.recover(recover(false)).await.unwrap();
    for index in [1, 2] {
        let key = &custodians.keys[usize::from(index) - 1];
        let text = share(&data, index).open(key).unwrap();
        let given = give(&machine, &workload, &waiting, &text, key).await;
        if index == 2 {
            let (code, message) = refusal(given);
            assert_eq!(code, "unavailable");
            assert!(message.contains("witness"), "{message}");
        }
    }
    assert!(!data.join("root-key.sealed").exists());
    drop(waiting);
    let waiting = loop {
        match machine.recover(recover(true)).await {
            Ok(waiting) => break waiting,
            Err(why) => assert!(why.contains("in use"), "{why}"),
        }
    };
    for index in [3, 2] {
        let key = &custodians.keys[usize::from(index) - 1];
        let text = share(&data, index).open(key).unwrap();
        give(&machine, &workload, &waiting, &text, key)
            .await
            .unwrap();
    }
    machine.recovered(waiting).await.unwrap().stop().await;
}
