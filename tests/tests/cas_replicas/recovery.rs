//! All that is left is the store and the custodians.

use std::fs;
use std::path::Path;
use std::process::Command;

use mse_attest::CheckName;
use mse_audit::entry::Event;
use mse_crypto::Digest;
use mse_crypto::hpke::KeyPair;
use mse_ratls::cas::AttestError;
use mse_ratls::cas::client::{CasError, connect_pinned, first_contact};
use mse_ratls::cas::recovery::{
    GivenShare, RecoveryProgress, SHARE, SHARES, SealedShare, SealedShares,
};
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

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_custodians_bring_a_cas_back() {
    let mut machine = machine().await;
    let custodians = Custodians::new(&machine);
    let workload = custodians.workload(&machine);
    let cas = machine
        .launch(spec(&machine, &workload, CasStart::Create))
        .await
        .unwrap();
    let (key, description) = (cas.key, cas.attested.description.clone());
    let mut client = cas.connect(Some(&machine.owner)).await.unwrap();
    let stored = upload(&mut client, session("shop", "word", None))
        .await
        .unwrap();
    let shares: SealedShares = client.get(SHARES).await.unwrap();
    let data = machine.data();
    assert_eq!(shares.threshold, 2);
    assert_eq!(shares.shares, [1, 2, 3].map(|index| share(&data, index)));
    drop(client);
    cas.stop().await;
    let recover = || CasStart::Recover {
        key_id: shares.key_id.clone(),
    };
    let text = |index: u8| {
        let at = usize::from(index) - 1;
        shares.shares[at].open(&custodians.keys[at]).unwrap()
    };

    // As long as the key opens there is nothing to recover.
    let refused = machine.recover(spec(&machine, &workload, recover())).await;
    assert!(refused.err().unwrap().contains("holds a CAS already"));
    let key_file = data.join("root-key.sealed");
    fs::remove_file(&key_file).unwrap();
    let refused = machine
        .launch(spec(&machine, &workload, CasStart::Open))
        .await;
    assert!(refused.err().unwrap().contains("holds no CAS"));

    // Another program is not given anything.
    let changed = changed_program(&machine);
    machine.install(&changed);
    let other = machine
        .recover(spec(&machine, &workload, recover()))
        .await
        .unwrap();
    machine.install(&program("mse-cas"));
    let refused = give(&machine, &workload, &other, &text(1), &custodians.keys[0]).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, CasError::Attest(AttestError::Refused(refusal)) if refusal.failed == CheckName::MrEnclave),
        "{refused}"
    );
    drop(other);

    let waiting = loop {
        // The folder's lock goes with the process, which ends when its launcher lets it go.
        match machine.recover(spec(&machine, &workload, recover())).await {
            Ok(waiting) => break waiting,
            Err(why) => assert!(why.contains("in use"), "{why}"),
        }
    };
    // Nobody takes it for the CAS.
    let contact = first_contact(&waiting.address.parse().unwrap(), None).await;
    let expected = machine.expected(&workload);
    let collateral = machine.collateral();
    let refused = contact.unwrap().attest(&expected, &collateral).await;
    let refused = refused.err().unwrap();
    assert!(
        matches!(refused, CasError::Attest(AttestError::Stage(_))),
        "{refused}"
    );
    let pinned = connect_pinned(&waiting.address.parse().unwrap(), key, None).await;
    assert!(matches!(pinned.err().unwrap(), CasError::Identity(_)));

    let give = async |text: &str, custodian: &KeyPair| {
        give(&machine, &workload, &waiting, text, custodian).await
    };
    let [one, two, three] = &custodians.keys[..] else {
        panic!("three custodians");
    };
    let progress = give(&text(1), one).await.unwrap();
    assert_eq!((progress.given, progress.recovered), (vec![1], false));
    let progress = give(&text(1), one).await.unwrap();
    assert_eq!((progress.given, progress.repeated), (vec![1], true));
    // Somebody who has a share, and is nobody.
    let (code, message) = refusal(give(&text(2), &KeyPair::generate()).await);
    assert_eq!(code, "forbidden");
    assert!(message.contains("not that of a custodian"), "{message}");
    // Somebody else's share.
    let (code, message) = refusal(give(&text(3), two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("at place 2"), "{message}");
    // A share of another CAS of the same people.
    let elsewhere = CasSpec {
        data: machine.folder.path().join("elsewhere"),
        ..spec(&machine, &workload, CasStart::Create)
    };
    machine.launch(elsewhere).await.unwrap().stop().await;
    let foreign = share(&machine.folder.path().join("elsewhere"), 2);
    let (code, message) = refusal(give(&foreign.open(two).unwrap(), two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("is of root key"), "{message}");
    // A mistyped one.
    let (code, message) = refusal(give(&text(2).replacen('q', "p", 1), two).await);
    assert_eq!(code, "invalid");
    assert!(message.contains("mistyped"), "{message}");
    // One too few: nothing is open, and nothing was written.
    let progress = give(&text(1), one).await.unwrap();
    assert_eq!((progress.given, progress.recovered), (vec![1], false));
    assert!(!key_file.exists());
    let _ = three;

    // The last one by the command line.
    let given = tokio::task::block_in_place(|| {
        let share = data.join("recovery/3.share");
        let measured = machine.measure(&workload).to_string();
        let anchor = machine.folder.path().join("tee/trust-anchor.toml");
        let words = [
            "cas",
            "recovery",
            "give",
            &waiting.address,
            "--share",
            share.to_str().unwrap(),
            "--key",
            &custodians.files[2],
            "--measurement",
            &measured,
            "--simulated",
            anchor.to_str().unwrap(),
            "--pccs",
            &machine.pccs,
        ];
        mse(&machine, &words)
    });
    assert_eq!(given.0, Some(0), "{given:?}");
    assert!(given.1.contains("is there again"), "{given:?}");
    let cas = machine.recovered(waiting).await.unwrap();
    assert_eq!(cas.attested.description, description);
    let seen = read(&cas, &machine.owner, "shop").await.unwrap();
    assert_eq!(seen.hash, stored.hash);
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
    let name = |key: &KeyPair| Digest::of(&key.public().0);
    assert_eq!(names, [name(one), name(three)]);
    cas.stop().await;
    let again = machine
        .launch(spec(&machine, &workload, CasStart::Open))
        .await
        .unwrap();
    assert_eq!(again.key, key);
    again.stop().await;
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
