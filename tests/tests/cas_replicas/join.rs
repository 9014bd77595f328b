//! One more instance of the same program.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mse_attest::Evidence;
use mse_audit::entry::Event;
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::Nonce;
use mse_ratls::cas::client::CasError;
use mse_ratls::cas::join::{Inheritance, JoinAnswer, JoinRequest, REPLICA, join_report_data};
use mse_ratls::cas::upgrade::UpgradeAuthorization;
use mse_ratls::release::{CHALLENGE, ReleaseChallenge};
use mse_simtee::Platform;
use mse_tests::cas_program::RunningCas;
use mse_tests::postgres::Postgres;
use mse_workload::CasKey;
use mse_workload::launch::{CasStart, SealPolicy};

use super::{changed_program, events, join, machine, read, refusal, session, spec, upload};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_joins_and_both_serve_the_same() {
    let server = Postgres::start();
    let (machine, database) = (machine().await, server.database());
    let one = machine
        .launch(spec(&machine, "one", &database, CasStart::Create))
        .await
        .unwrap();
    let first = upload(
        &mut one.connect(Some(&machine.owner)).await.unwrap(),
        session("shop", "old", None),
    )
    .await
    .unwrap();

    let two = machine
        .launch(spec(&machine, "two", &database, join(&one)))
        .await
        .unwrap();
    assert_eq!(two.attested.description, one.attested.description);
    let seen = read(&two, &machine.owner, "shop").await.unwrap();
    assert_eq!(seen.hash, first.hash);

    // An update on one shows on the other, and the other way round.
    let mut last = first.hash;
    for (round, (writer, reader)) in [(&one, &two), (&two, &one)].into_iter().enumerate() {
        let mut client = writer.connect(Some(&machine.owner)).await.unwrap();
        let text = session("shop", &format!("word{round}"), Some(&last));
        let stored = upload(&mut client, text).await.unwrap();
        // A replica takes what it read for true for half a second; this machine may be slow.
        let shows = async {
            loop {
                let seen = read(reader, &machine.owner, "shop").await.unwrap().hash;
                if seen == stored.hash {
                    break;
                }
                assert_eq!(seen, last, "neither the old version nor the new one");
            }
        };
        within(Duration::from_secs(5), shows).await;
        last = stored.hash;
    }

    let joined: Vec<_> = events(&two, &machine.owner)
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::ReplicaJoined {
                measurement, tee, ..
            } => Some((measurement.to_string(), tee.as_str().to_owned())),
            _ => None,
        })
        .collect();
    let measured = machine.measure(&machine.workload()).to_string();
    assert_eq!(joined, [(measured, "simulated".to_owned())]);

    // From now on it opens by itself, whether the other one runs or not.
    one.kill().await;
    two.stop().await;
    let two = machine
        .launch(spec(&machine, "two", &database, CasStart::Open))
        .await
        .unwrap();
    assert_eq!(read(&two, &machine.owner, "shop").await.unwrap().hash, last);
    let again = machine
        .launch(spec(&machine, "two", &database, join(&two)))
        .await;
    let again = again.err().unwrap();
    assert!(again.contains("in use"), "{again}");
    let key = fs::read(machine.folder.path().join("two/root-key.sealed")).unwrap();
    let platform_key = machine.platform.seal_key(
        &machine.measure(&machine.workload()).0.0,
        SealPolicy::Measurement,
    );
    let root = platform_key
        .open(b"mse-cas-root-key-v1", &key[20..])
        .unwrap();
    assert!(!key.windows(32).any(|part| part == &**root));
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_join_the_right_one_on_the_right_database_keeps_nothing() {
    let server = Postgres::start();
    let machine = machine().await;
    let (database, other) = (server.database(), server.database());
    let one = machine
        .launch(spec(&machine, "one", &database, CasStart::Create))
        .await
        .unwrap();
    let empty = server.database();
    let somebody = machine
        .launch(spec(&machine, "somebody", &other, CasStart::Create))
        .await
        .unwrap();
    let wrong_key = CasStart::Join {
        address: one.address.clone(),
        cas_key: CasKey::of(b"another"),
        authorization: None,
    };
    for (database, start, says) in [
        (&database, wrong_key, "not the CAS"),
        (&empty, join(&one), "holds no store"),
        (&other, join(&one), "sealed under root key"),
    ] {
        let refused = machine
            .launch(spec(&machine, "two", database, start))
            .await
            .err()
            .unwrap();
        assert!(refused.contains(says), "{refused}");
        for file in ["root-key.sealed", "witness"] {
            assert!(!machine.folder.path().join("two").join(file).exists());
        }
    }
    somebody.stop().await;
    // Nor is it led to an old copy: the running CAS says how far its store is.
    let old = database.dump();
    upload(
        &mut one.connect(Some(&machine.owner)).await.unwrap(),
        session("shop", "new", None),
    )
    .await
    .unwrap();
    let copy = server.database();
    copy.restore(&old);
    let refused = machine
        .launch(spec(&machine, "two", &copy, join(&one)))
        .await
        .err()
        .unwrap();
    assert!(refused.contains("ROLLED BACK"), "{refused}");
    one.stop().await;
}

/// What an instance does that wants to join, with evidence of the test's own making.
pub(super) struct Pretender<'a> {
    pub(super) platform: &'a Platform,
    pub(super) mrenclave: [u8; 32],
    pub(super) authorization: Option<UpgradeAuthorization>,
    /// Passes the evidence on over a connection of somebody else's.
    pub(super) is_relayed: bool,
}

impl Pretender<'_> {
    pub(super) async fn ask(self, cas: &RunningCas) -> Result<Inheritance, CasError> {
        let mut client = cas.connect(None).await?;
        let challenge: ReleaseChallenge = client.post(CHALLENGE, &()).await?;
        let mut nonce = Nonce([0; 32]);
        hex::decode_to_slice(&challenge.nonce, &mut nonce.0).unwrap();
        let key = KeyPair::generate();
        let channel = client.binding();
        let data = join_report_data(&nonce, &channel, &key.public());
        let quote = self.platform.quote(self.mrenclave, &data).unwrap();
        let evidence = Evidence::parse(&quote).unwrap();
        let request = JoinRequest::new(&nonce, &key.public(), &evidence, &[], self.authorization);
        if self.is_relayed {
            client = cas.connect(None).await?;
        }
        let answer: JoinAnswer = client.post(REPLICA, &request).await?;
        Ok(Inheritance::open(&answer, &key, &client.binding()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_a_relay_and_another_platform_are_refused_and_logged() {
    let server = Postgres::start();
    let (mut machine, database) = (machine().await, server.database());
    let one = machine
        .launch(spec(&machine, "one", &database, CasStart::Create))
        .await
        .unwrap();
    let platform = Arc::clone(&machine.platform);
    let own = machine.measure(&machine.workload()).0.0;
    let mut other = own;
    other[31] ^= 1;
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Platform::create(&elsewhere.path().join("tee"), SystemTime::now()).unwrap();
    let ask = |platform, mrenclave, is_relayed| {
        Pretender {
            platform,
            mrenclave,
            authorization: None,
            is_relayed,
        }
        .ask(&one)
    };
    // The test could get the key, if it were what it says: so the refusals below are for a reason.
    let given = ask(&platform, own, false).await.unwrap();
    assert_eq!(given.store_id, one.attested.description.store_id);

    let (code, message) = refusal(ask(&platform, other, false).await);
    assert_eq!(code, "forbidden");
    assert!(message.contains("no other program ever"), "{message}");
    let (code, message) = refusal(ask(&platform, own, true).await);
    assert_eq!(code, "forbidden");
    assert!(message.contains("another connection"), "{message}");
    let (code, _) = refusal(ask(&stranger, own, false).await);
    assert!(
        ["forbidden", "unavailable"].contains(&code.as_str()),
        "{code}"
    );

    // The real program with one more byte.
    let changed = changed_program(&machine);
    machine.install(&changed);
    let refused = machine
        .launch(spec(&machine, "two", &database, join(&one)))
        .await
        .err()
        .unwrap();
    assert!(refused.contains("another program"), "{refused}");
    assert!(!machine.folder.path().join("two/root-key.sealed").exists());

    let events = events(&one, &machine.owner).await;
    let checks: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ReplicaRefused { check, .. } => Some(check.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(checks[..2], ["program", "report-data"], "{events:?}");
    let joined = |event: &&Event| matches!(event, Event::ReplicaJoined { .. });
    assert_eq!(events.iter().filter(joined).count(), 1);

    // A flood of refusals does not fill the log.
    for _ in 0..60 {
        let _ = ask(&platform, other, false).await;
    }
    let events = super::events(&one, &machine.owner).await;
    let refused = |event: &&Event| matches!(event, Event::ReplicaRefused { .. });
    let count = events.iter().filter(refused).count();
    assert!((3..60).contains(&count), "{count}");
    one.stop().await;
}

/// Where a time is a part of what is promised.
pub(super) async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.expect("in time")
}
