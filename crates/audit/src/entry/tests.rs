use proptest::prelude::*;

use super::event::RECOGNISED;
use super::*;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn key(text: &str) -> KeyHash {
    KeyHash(digest(text))
}

/// One of each type.
fn samples() -> Vec<Event> {
    let name = |text: &str| -> Name { text.parse().unwrap() };
    let check = || "tcb-status".parse().unwrap();
    let tee = || "sgx".parse().unwrap();
    let measurement = || Measurement::from_bytes(&[7; 32]).unwrap();
    let (root, backup) = (digest("root"), digest("backup"));
    vec![
        Event::CasStarted {
            measurement: measurement(),
            tee: tee(),
            version: name("0.1.0"),
        },
        Event::CasExited {
            reason: ExitReason::Upgraded,
        },
        Event::SessionCreated {},
        Event::SessionRead {},
        Event::SessionUpdated {
            predecessor: digest("before"),
        },
        Event::SessionRevoked {},
        Event::SessionProposed {
            proposal: Digest::of(b"proposal"),
        },
        Event::SessionApprovalWithdrawn {
            proposal: Digest::of(b"proposal"),
        },
        Event::SessionProposalDropped {
            proposal: Digest::of(b"proposal"),
        },
        Event::SessionApproved {
            approvals: 1,
            required: 2,
        },
        Event::SessionRefused {
            check: check(),
            operation: SessionOperation::Update,
        },
        Event::ServiceAttested {
            measurement: measurement(),
            service: name("api"),
            tee: tee(),
        },
        Event::ServiceRefused {
            check: check(),
            service: name("api"),
        },
        Event::ServiceExited {
            service: name("api"),
        },
        Event::SecretRotated {
            secret: name("db_password"),
            version: 3,
        },
        Event::VolumeRootUpdated {
            root,
            version: 9,
            volume: name("data"),
        },
        Event::VolumeStaleRefused {
            root,
            volume: name("data"),
        },
        Event::BackupMade { backup },
        Event::BackupRestored { backup },
        Event::Recovery {
            custodians: vec![key("a"), key("b")],
        },
        Event::ReplicaJoined {
            measurement: measurement(),
            replica: key("r"),
            tee: tee(),
        },
        Event::ReplicaRefused {
            check: check(),
            replica: key("r"),
        },
        Event::OwnerChanged {
            new: key("new"),
            old: Some(key("old")),
        },
        Event::LogRepaired { cut_bytes: 17 },
    ]
}

fn entry(event: Event) -> Entry {
    Entry {
        actor: Some(key("actor")),
        event,
        index: 5,
        salt: Salt([0xab; 16]),
        session: Some(SessionVersion {
            hash: Some(digest("session")),
            name: "org/app".parse().unwrap(),
        }),
        time: UnixMillis::try_from(1_764_140_000_123).unwrap(),
    }
}

#[test]
fn each_type_round_trips_under_its_name() {
    let names: Vec<_> = samples()
        .iter()
        .map(|event| event.name().to_owned())
        .collect();
    assert_eq!(names, RECOGNISED, "one sample of each recognised type");
    for event in samples() {
        let json = entry(event.clone()).to_canonical().unwrap();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(
            text.contains(&format!(r#""type":"{}""#, event.name())),
            "{text}"
        );
        assert_eq!(Entry::from_canonical(&json).unwrap(), entry(event));
    }
}

#[test]
fn the_canonical_form_is_this() {
    let entry = Entry {
        actor: None,
        ..entry(Event::SecretRotated {
            secret: "db_password".parse().unwrap(),
            version: 3,
        })
    };
    assert_eq!(
        String::from_utf8(entry.to_canonical().unwrap()).unwrap(),
        format!(
            r#"{{"event":{{"secret":"db_password","type":"secret-rotated","version":3}},"index":5,"salt":"abababababababababababababababab","session":{{"hash":"{}","name":"org/app"}},"time":1764140000123}}"#,
            digest("session")
        )
    );
}

#[test]
fn types_of_later_versions_are_kept_as_they_are() {
    let json = format!(
        r#"{{"event":{{"nested":[1,{{"a":null}}],"type":"moon-landed","zeal":0.5}},"index":5,"salt":"{}","time":9}}"#,
        Salt([1; 16])
    );
    let entry = Entry::from_canonical(json.as_bytes()).unwrap();
    let Event::Unrecognised(event) = &entry.event else {
        panic!("{entry:?}");
    };
    assert_eq!(event.name(), "moon-landed");
    assert_eq!(event.fields()["zeal"], 0.5);
    assert_eq!(entry.to_canonical().unwrap(), json.as_bytes());
}

#[test]
fn anything_but_the_canonical_form_is_refused() {
    let json = String::from_utf8(entry(Event::SessionRead {}).to_canonical().unwrap()).unwrap();
    let changed = |from: &str, to: &str| {
        let text = json.replacen(from, to, 1);
        assert_ne!(text, json, "{from}");
        text
    };
    for bad in [
        changed("{", "{ "),
        changed(r#""index":5"#, r#""index":5.0"#),
        changed(r#""index":5"#, r#""index":-5"#),
        changed(r#""index":5"#, r#""index":5,"index":5"#),
        changed(r#""index":5"#, r#""index":9007199254740993"#),
        changed(r#""index":5"#, r#""index":5,"jest":1"#),
        changed(
            r#""type":"session-read""#,
            r#""type":"session-read","who":1"#,
        ),
        changed(
            r#""type":"session-read""#,
            r#""extra":1,"type":"session-read""#,
        ),
        changed(r#""type":"session-read""#, r#""type":"session read""#),
        changed(r#""type":"session-read""#, r#""type":"session-updated""#),
        changed(r#""type":"session-read""#, r#""kind":"session-read""#),
        changed("abab", "ABAB"),
        changed("abab", "ab"),
        changed("org/app", "org app"),
        changed("org/app", r"org\/app"),
        changed(r#""time":1764140000123"#, r#""time":253402300800000"#),
        changed(&json[json.find(r#""session""#).unwrap()..], r#""time":1}"#),
        format!("{json}\n"),
        format!("{json}x"),
        String::new(),
        "null".to_owned(),
        "[".repeat(5000),
    ] {
        assert!(Entry::from_canonical(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn entries_are_bounded() {
    let custodians = vec![key("c"); 200];
    let large = entry(Event::Recovery { custodians });
    let error = large.to_canonical().unwrap_err();
    assert!(matches!(error, InvalidEntry::TooLarge(size) if size > MAX_ENTRY));
    let spaces = vec![b' '; MAX_ENTRY + 1];
    let error = Entry::from_canonical(&spaces).unwrap_err();
    assert!(matches!(error, InvalidEntry::TooLarge(_)));
    let far = Event::LogRepaired {
        cut_bytes: MAX_INTEGER + 1,
    };
    let error = entry(far).to_canonical().unwrap_err();
    assert!(error.to_string().contains("cut_bytes"), "{error}");
}

#[test]
fn words_refuse_what_is_not_theirs() {
    for bad in ["", "a b", "ü", "a\n", &"a".repeat(513)] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
    for bad in ["", "Check", "a_b", "a b", "secret=1", &"a".repeat(65)] {
        assert!(bad.parse::<CheckName>().is_err(), "{bad}");
        assert!(bad.parse::<TeeName>().is_err(), "{bad}");
    }
    for bad in ["", "00", "zz", &"0".repeat(33), &"0".repeat(130)] {
        assert!(bad.parse::<Measurement>().is_err(), "{bad}");
        assert!(bad.parse::<Salt>().is_err(), "{bad}");
    }
    assert!(UnixMillis::try_from(MAX_TIME + 1).is_err());
    assert!(UnixMillis::now().get() > 1_700_000_000_000);
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(index in 0..=MAX_INTEGER, which in 0..21_usize, time in 0..=MAX_TIME) {
        let mut entry = entry(samples().swap_remove(which));
        entry.index = index;
        entry.time = UnixMillis::try_from(time).unwrap();
        let json = entry.to_canonical().unwrap();
        prop_assert_eq!(Entry::from_canonical(&json).unwrap(), entry);
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::from_canonical(&bytes);
    }

    #[test]
    fn an_event_of_any_fields_is_refused_or_kept(text in r#"\{"type":"[a-z-]{1,12}"(,"[a-z]{1,3}":(1|"x"|null|\[\]|1e300|-0|12345678901234567890)){0,3}\}"#) {
        let json = format!(r#"{{"event":{text},"index":0,"salt":"{}","time":0}}"#, Salt([0; 16]));
        if let Ok(entry) = Entry::from_canonical(json.as_bytes()) {
            prop_assert_eq!(entry.to_canonical().unwrap(), json.as_bytes());
        }
    }
}
