//! Updates that several people have to approve.

use super::*;

#[tokio::test]
async fn a_proposal_makes_no_values_before_it_is_agreed_to() {
    let cas = Cas::new().await;
    let Board { keys, policy } = board(2);
    let first = cas.stored(&session("a", &policy)).await;
    // What it imports is not there: noticed when it would be taken.
    let next = format!(
        "predecessor: {}\ncreator: {{key: '{OWNER}'}}\n{policy}secrets:\n- {{name: p, import: {{session: none, secret: p}}}}\n",
        first.hash
    );
    let new = NewProposal {
        upload: signed(&session("a", &next), &[&keys[0]]),
        expires_in: 3600,
    };
    let nobody = Asker::default();
    let proposed = cas.sessions.propose(&new, &nobody).await.unwrap();
    assert_eq!(proposed.state, ProposalState::Open);
    let last = vote(&proposed, &keys[1], APPROVAL_DOMAIN);
    for _ in 0..2 {
        let failed = cas.sessions.approve(&last, &nobody).await.err().unwrap();
        assert!(
            failed.to_string().contains("cannot be imported"),
            "{failed}"
        );
    }
    // The approvals stand: it is taken as soon as it can be.
    let there = "secrets:\n- {name: p, kind: ascii, size: 9, export: {session: a}}\n";
    cas.stored(&session("none", there)).await;
    let taken = cas.sessions.approve(&last, &nobody).await.unwrap();
    assert_eq!(taken.state, ProposalState::Taken);
}

struct Board {
    keys: Vec<SigningKey>,
    policy: String,
}

fn board(threshold: usize) -> Board {
    let keys: Vec<_> = (0..3)
        .map(|_| SigningKey::generate(Algorithm::Ed25519))
        .collect();
    let mut members = String::new();
    for key in &keys {
        let pem = key.public().to_pem().replace('\n', "\n        ");
        members = format!("{members}    - signer: |\n        {pem}\n");
    }
    Board {
        keys,
        policy: format!(
            "access_policy:\n  read: [CREATOR]\n  update:\n  - require-at-least-{threshold}:\n{members}"
        ),
    }
}

fn vote(proposed: &Proposed, key: &SigningKey, domain: &str) -> Vote {
    let message = [proposed.id.0, proposed.hash.0].concat();
    Vote {
        session: proposed.session.to_string(),
        id: proposed.id.to_string(),
        signer: key.public().to_pem(),
        signature: hex::encode(key.sign(domain, &message)),
    }
}

/// An update of `a`, signed by some.
fn signed(text: &str, keys: &[&SigningKey]) -> Upload {
    let checked = check_text(text, &Variables::replaced(), Compatibility::Strict);
    let session = checked.into_result().unwrap().0;
    let mut signed = SignedSession::new(&session);
    for key in keys {
        signed.sign(&session, key).unwrap();
    }
    Upload::Signed(serde_json::from_str(&signed.to_json()).unwrap())
}

#[tokio::test]
async fn two_of_three_approve_one_after_the_other() {
    let cas = Cas::new().await;
    let Board { keys, policy } = board(2);
    let first = cas.stored(&session("a", &policy)).await;
    let next = session("a", &format!("predecessor: {}\n{policy}", first.hash));
    let nobody = Asker::default();
    // Nobody alone may update it, the creator included.
    let alone = cas.put(&next, &owner()).await;
    assert!(matches!(alone, Err(SessionError::Forbidden { .. })));

    let creator = format!("creator: {{key: '{OWNER}'}}\n");
    let new = NewProposal {
        upload: signed(&format!("{next}{creator}"), &[&keys[0]]),
        expires_in: 3600,
    };
    let proposed = cas.sessions.propose(&new, &nobody).await.unwrap();
    assert_eq!(
        (proposed.state, proposed.approvals.len()),
        (ProposalState::Open, 1)
    );
    // Who is on the board sees it, having shown the key; a stranger does not.
    let stranger = SigningKey::generate(Algorithm::Ed25519);
    let present = |key: &SigningKey| Asker::default().with_present(Some(key.public()));
    let proposal = |who| {
        let (sessions, id) = (Arc::clone(&cas.sessions), proposed.id);
        async move { sessions.proposal(&name("a"), id, &who).await.is_ok() }
    };
    assert!(proposal(present(&keys[2])).await);
    assert!(!proposal(present(&stranger)).await);
    // To be there is not to have signed.
    let unsigned = cas.put(&next, &present(&keys[1])).await;
    assert!(unsigned.is_err());
    // Twice the same member is one; a stranger is none; a signature for something else is none.
    let mut elsewhere = vote(&proposed, &keys[1], APPROVAL_DOMAIN);
    elsewhere.signature = vote(&proposed, &keys[1], WITHDRAWAL_DOMAIN).signature;
    for bad in [
        vote(&proposed, &keys[0], APPROVAL_DOMAIN),
        vote(&proposed, &stranger, APPROVAL_DOMAIN),
        elsewhere,
    ] {
        assert!(cas.sessions.approve(&bad, &nobody).await.is_err());
    }
    // One takes it back: the second alone is not enough, and the first cannot be replayed.
    let taken_back = vote(&proposed, &keys[0], WITHDRAWAL_DOMAIN);
    cas.sessions.withdraw(&taken_back).await.unwrap();
    let second = vote(&proposed, &keys[1], APPROVAL_DOMAIN);
    let open = cas.sessions.approve(&second, &nobody).await.unwrap();
    assert_eq!(open.state, ProposalState::Open);
    let replayed = vote(&proposed, &keys[0], APPROVAL_DOMAIN);
    let refused = cas.sessions.approve(&replayed, &nobody).await;
    assert!(matches!(refused, Err(SessionError::Approval(_))));
    let third = vote(&proposed, &keys[2], APPROVAL_DOMAIN);
    let taken = cas.sessions.approve(&third, &nobody).await.unwrap();
    assert_eq!(taken.state, ProposalState::Taken);
    let loaded = cas.sessions.load(&name("a")).await.unwrap();
    assert_eq!((loaded.hash(), loaded.head.number), (taken.hash, 2));
    // It is over, and its approvals count for nothing else.
    let late = cas.sessions.approve(&third, &nobody).await;
    assert!(matches!(late, Err(SessionError::NoProposal { .. })));
    let again = NewProposal {
        upload: new.upload.clone(),
        expires_in: 3600,
    };
    let moved = cas.sessions.propose(&again, &nobody).await;
    assert!(matches!(moved, Err(SessionError::Moved { .. })));
    // Two of the board revoke it; one does not.
    let signature = |key: &SigningKey| RevocationSignature {
        signer: key.public().to_pem(),
        signature: hex::encode(key.sign(REVOCATION_DOMAIN, &loaded.hash().0)),
    };
    let (hash, id) = (loaded.hash(), name("a"));
    let one = [signature(&keys[0]), signature(&keys[0])];
    assert!(cas.sessions.revoke(&id, hash, &one, &nobody).await.is_err());
    let two = [signature(&keys[0]), signature(&keys[1])];
    cas.sessions.revoke(&id, hash, &two, &nobody).await.unwrap();
    let approved =
        |entry: &Entry| matches!(entry.event, Event::SessionApproved { required: 2, .. });
    assert_eq!(
        cas.events()
            .await
            .iter()
            .filter(|entry| approved(entry))
            .count(),
        3
    );
}

#[tokio::test]
async fn signatures_that_were_collected_offline_are_enough() {
    let cas = Cas::new().await;
    let Board { keys, policy } = board(2);
    let first = cas.stored(&session("a", &policy)).await;
    let next = session(
        "a",
        &format!(
            "predecessor: {}\ncreator: {{key: '{OWNER}'}}\n{policy}",
            first.hash
        ),
    );
    let nobody = Asker::default();
    let few = cas
        .sessions
        .upload(&signed(&next, &[&keys[0]]), &nobody)
        .await;
    assert!(matches!(few, Err(SessionError::Forbidden { .. })));
    let Upload::Signed(json) = signed(&next, &[&keys[0], &keys[2]]) else {
        unreachable!()
    };
    let inside = SignedSession::from_json(&json.to_string()).unwrap();
    let encrypted = EncryptedSession::seal(&cas.encryption, &inside).unwrap();
    let upload = Upload::Encrypted(serde_json::from_str(&encrypted.to_json()).unwrap());
    assert_eq!(
        cas.sessions.upload(&upload, &nobody).await.unwrap().number,
        2
    );
    // The same again is no update of what there is now.
    let replayed = cas.sessions.upload(&upload, &nobody).await;
    assert!(matches!(replayed, Err(SessionError::Moved { .. })));
}

#[tokio::test]
async fn a_proposal_lapses() {
    let cas = Cas::new().await;
    let Board { keys, policy } = board(2);
    let first = cas.stored(&session("a", &policy)).await;
    let next = session(
        "a",
        &format!(
            "predecessor: {}\ncreator: {{key: '{OWNER}'}}\n{policy}",
            first.hash
        ),
    );
    let nobody = Asker::default();
    let new = |expires_in| NewProposal {
        upload: signed(&next, &[&keys[0]]),
        expires_in,
    };
    assert!(cas.sessions.propose(&new(0), &nobody).await.is_err());
    let proposed = cas.sessions.propose(&new(1), &nobody).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let vote = vote(&proposed, &keys[1], APPROVAL_DOMAIN);
    let late = cas.sessions.approve(&vote, &nobody).await;
    assert!(matches!(late, Err(SessionError::ProposalOver { .. })));
    let seen = cas
        .sessions
        .proposal(&name("a"), proposed.id, &owner())
        .await
        .unwrap();
    assert_eq!(seen.state, ProposalState::Lapsed);
    cas.sessions.forget_expired().await.unwrap();
    assert!(
        cas.sessions
            .proposals(&name("a"), &owner())
            .await
            .unwrap()
            .is_empty()
    );
}
