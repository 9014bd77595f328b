//! Somebody puts an old copy of the database back.

use mse_api::cas::{POSITION, PositionView};
use mse_runtime::process::CasSpec;
use mse_tests::postgres::Postgres;
use mse_workload::launch::CasStart;

use super::{join, machine, read, refusal, session, spec, upload};

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_is_refused_by_replicas_by_their_witness_and_by_clients() {
    let server = Postgres::start();
    let (machine, database) = (machine().await, server.database());
    let launch = |name, start| machine.launch(spec(&machine, name, &database, start));
    let one = launch("one", CasStart::Create).await.unwrap();
    let two = launch("two", join(&one)).await.unwrap();
    let mut client = one.connect(Some(&machine.owner)).await.unwrap();
    let old = upload(&mut client, session("shop", "old", None))
        .await
        .unwrap();
    let dump = database.dump();
    let new = upload(&mut client, session("shop", "new", Some(&old.hash)))
        .await
        .unwrap();
    let seen = client.position().unwrap().to_owned();
    assert_eq!(
        read(&two, &machine.owner, "shop").await.unwrap().hash,
        new.hash
    );

    database.restore(&dump);
    for replica in [&one, &two] {
        let (code, message) = refusal(read(replica, &machine.owner, "shop").await);
        assert_eq!(code, "rolled-back", "{message}");
        let mut client = replica.connect(Some(&machine.owner)).await.unwrap();
        let written = upload(&mut client, session("more", "x", None)).await;
        assert!(written.is_err());
    }
    // Whose memory is gone has its witness.
    two.kill().await;
    let refused = launch("two", CasStart::Open).await.err().unwrap();
    assert!(refused.contains("ROLLED BACK"), "{refused}");

    // An operator who says so gets the old one; a client who saw more does not.
    one.kill().await;
    let as_found = CasSpec {
        as_found: true,
        ..spec(&machine, "two", &database, CasStart::Open)
    };
    let two = machine.launch(as_found).await.unwrap();
    let mut client = two.connect(Some(&machine.owner)).await.unwrap();
    let asked: Result<PositionView, _> = client.get(&format!("{POSITION}?seen={seen}")).await;
    assert_eq!(refusal(asked).0, "rolled-back");
    let shown = read(&two, &machine.owner, "shop").await.unwrap();
    assert_eq!(shown.hash, old.hash);
    // The first replica refuses it still: the log of the read made it a branch of its own.
    let refused = launch("one", CasStart::Open).await.err().unwrap();
    let says = ["ROLLED BACK", "FORKED"];
    assert!(says.iter().any(|one| refused.contains(one)), "{refused}");
    two.kill().await;
}
