//! Apps in the store: what is taken once, what is recorded, what is found.

use jiff::SignedDuration;
use mse_workload::{
    FORMAT, HealthEndpoint, ImageIdentity, Provisioning, Resources, Tls, TlsOrigin,
};

use super::*;
use crate::store::tests::{Place, on_both};
use crate::store::{DefaultProject, HardwareRecord};

on_both! {
    a_row_comes_back_as_it_went_in;
    a_name_lives_once_and_is_free_again_afterwards;
    slots_and_domains_are_bounds;
    of_many_at_once_only_as_many_win_as_there_are_slots;
    of_many_at_once_with_one_key_all_get_the_same_app;
    a_repeated_request_makes_nothing_new;
    transitions_are_guarded_and_recorded;
    of_many_at_once_one_moves_an_app;
    a_transition_that_was_stored_may_be_asked_again;
    what_an_app_says_may_be_anything;
    lists_are_filtered_and_the_owners_own;
}

pub(crate) fn app_named(name: &str, project: ProjectId, owner: AccountId) -> NewApp {
    let app_id = AppId::generate();
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    NewApp {
        project_id: project,
        owner_id: owner,
        name: name.into(),
        hardware_name: "4g-eu-001".into(),
        domain_name: format!("{name}.mse.localhost"),
        config_domain_name: format!("{app_id}.mse.localhost"),
        workload: Workload {
            format: FORMAT,
            app_id,
            application: "app:app".into(),
            image: ImageIdentity {
                name: "mse-flask:1".into(),
                digest: Digest::of(b"image"),
            },
            bundle: Digest::of(b"bundle"),
            source_commitment: Digest::of(b"source"),
            code_key_check: Digest::of(b"key"),
            tls: Tls {
                origin: TlsOrigin::Enclave,
                names: vec![format!("{name}.mse.localhost")],
                certificate: None,
            },
            expires_at: Some(1_800_000_000),
            resources: Resources {
                memory_mib: 4096,
                millicores: 2000,
            },
            health_endpoint: HealthEndpoint::try_from("/".to_owned()).unwrap(),
            environment: std::collections::BTreeMap::new(),
            provisioning: Provisioning::Owner {},
        },
        certificate_chain: None,
        created_at: now,
        expires_at: now + SignedDuration::from_hours(1),
    }
}

struct Bench {
    _place: Place,
    store: Store,
    owner: AccountId,
    project: ProjectId,
}

impl Bench {
    async fn with_slots(place: Place, slots: u32) -> Self {
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let owner = store.ensure_account("o@example.org", now).await.unwrap().id;
        let project = store
            .ensure_project(owner, "default", DefaultProject::Yes, now)
            .await
            .unwrap()
            .id;
        let hardware = HardwareRecord {
            slots,
            ..HardwareRecord::free()
        };
        store.grant_hardware(project, &hardware).await.unwrap();
        Self {
            _place: place,
            store,
            owner,
            project,
        }
    }

    fn app(&self, name: &str) -> NewApp {
        app_named(name, self.project, self.owner)
    }

    async fn create(&self, app: &NewApp) -> Result<Created, CreateRefused> {
        self.store.create_app(app, &request(None, "x")).await
    }

    async fn end(&self, app: &NewApp) {
        let ended = Transition {
            from: LIVE,
            to: AppStatus::Stopped,
            reason: None,
        };
        let id = app.workload.app_id;
        assert!(
            self.store
                .transition(id, &ended, Timestamp::now())
                .await
                .unwrap()
        );
    }
}

fn request(key: Option<&str>, content: &str) -> Idempotency {
    Idempotency {
        key: key.map(Into::into),
        request: Digest::of(content.as_bytes()),
    }
}

async fn a_row_comes_back_as_it_went_in(place: Place) {
    let bench = Bench::with_slots(place, 1).await;
    let app = bench.app("hello");
    let Created::New(made) = bench.create(&app).await.unwrap() else {
        panic!("not new");
    };
    let found = bench.store.app(made.id()).await.unwrap();
    assert_eq!(found, Some(*made));
}

async fn a_name_lives_once_and_is_free_again_afterwards(place: Place) {
    let bench = Bench::with_slots(place, 9).await;
    let first = bench.app("hello");
    bench.create(&first).await.unwrap();
    let refused = bench.create(&bench.app("hello")).await.unwrap_err();
    assert!(
        matches!(refused, CreateRefused::NameTaken { .. }),
        "{refused}"
    );
    bench.end(&first).await;
    bench.create(&bench.app("hello")).await.unwrap();
}

async fn slots_and_domains_are_bounds(place: Place) {
    let bench = Bench::with_slots(place, 2).await;
    let first = bench.app("a");
    bench.create(&first).await.unwrap();
    let mut squatter = bench.app("b");
    squatter.domain_name = first.domain_name.clone();
    let refused = bench.create(&squatter).await.unwrap_err();
    assert!(
        matches!(refused, CreateRefused::DomainTaken(_)),
        "{refused}"
    );
    bench.create(&bench.app("b")).await.unwrap();
    let refused = bench.create(&bench.app("c")).await.unwrap_err();
    assert!(matches!(refused, CreateRefused::NoSlot { .. }), "{refused}");
    bench.end(&first).await;
    bench.create(&bench.app("c")).await.unwrap();
}

async fn of_many_at_once_only_as_many_win_as_there_are_slots(place: Place) {
    let bench = Bench::with_slots(place, 3).await;
    let tries = (0..24).map(|i| {
        // Eight names, three times each.
        let app = bench.app(&format!("app{}", i % 8));
        let store = bench.store.clone();
        tokio::spawn(async move { store.create_app(&app, &request(None, "x")).await.is_ok() })
    });
    let mut won = 0;
    for attempt in tries.collect::<Vec<_>>() {
        won += usize::from(attempt.await.unwrap());
    }
    assert_eq!(won, 3);
    let live = bench.store.live_apps().await.unwrap();
    let names: std::collections::BTreeSet<_> =
        live.iter().map(|live| live.app.name.clone()).collect();
    assert_eq!((live.len(), names.len()), (3, 3));
}

async fn of_many_at_once_with_one_key_all_get_the_same_app(place: Place) {
    let bench = Bench::with_slots(place, 9).await;
    let tries = (0..24).map(|_| {
        let app = bench.app("hello");
        let store = bench.store.clone();
        tokio::spawn(async move {
            let same = request(Some("k"), "one");
            match store.create_app(&app, &same).await.unwrap() {
                Created::New(made) => (made.id(), true),
                Created::Before(made) => (made.id(), false),
            }
        })
    });
    let mut ids = std::collections::BTreeSet::new();
    let mut new = 0;
    for attempt in tries.collect::<Vec<_>>() {
        let (id, is_new) = attempt.await.unwrap();
        ids.insert(id);
        new += usize::from(is_new);
    }
    assert_eq!((ids.len(), new), (1, 1));
    assert_eq!(bench.store.live_apps().await.unwrap().len(), 1);
}

async fn a_repeated_request_makes_nothing_new(place: Place) {
    let bench = Bench::with_slots(place, 9).await;
    let app = bench.app("hello");
    let same = request(Some("k"), "one");
    bench.store.create_app(&app, &same).await.unwrap();
    let Created::Before(before) = bench
        .store
        .create_app(&bench.app("hello"), &same)
        .await
        .unwrap()
    else {
        panic!("made another");
    };
    assert_eq!(before.id(), app.workload.app_id);
    let other = request(Some("k"), "two");
    let refused = bench.store.create_app(&bench.app("x"), &other).await;
    assert!(matches!(refused, Err(CreateRefused::KeyReused(_))));
    assert_eq!(bench.store.live_apps().await.unwrap().len(), 1);
}

async fn transitions_are_guarded_and_recorded(place: Place) {
    let bench = Bench::with_slots(place, 1).await;
    let app = bench.app("hello");
    bench.create(&app).await.unwrap();
    let id = app.workload.app_id;
    let now = Timestamp::now();
    let mut step = Transition {
        from: &[AppStatus::Initializing],
        to: AppStatus::Running,
        reason: None,
    };
    assert!(!bench.store.transition(id, &step, now).await.unwrap());
    step.from = &[AppStatus::Spawning];
    assert!(bench.store.transition(id, &step, now).await.unwrap());
    bench.end(&app).await;
    // What has ended stays ended.
    step.from = LIVE;
    assert!(!bench.store.transition(id, &step, now).await.unwrap());
    let history = bench.store.history(id).await.unwrap();
    let statuses: Vec<_> = history.into_iter().map(|(status, _)| status).collect();
    assert_eq!(
        statuses,
        [AppStatus::Spawning, AppStatus::Running, AppStatus::Stopped]
    );
    let ended = bench.store.app(id).await.unwrap().unwrap();
    assert!(ended.ready_at.is_some() && ended.stopped_at.is_some());
    assert!(bench.store.forget_app(id).await.unwrap());
    assert!(!bench.store.forget_app(id).await.unwrap());
}

async fn of_many_at_once_one_moves_an_app(place: Place) {
    let bench = Bench::with_slots(place, 1).await;
    let app = bench.app("hello");
    bench.create(&app).await.unwrap();
    let id = app.workload.app_id;
    let now = Timestamp::now();
    let tries = (0..16).map(|i| {
        let store = bench.store.clone();
        tokio::spawn(async move {
            let step = Transition {
                from: &[AppStatus::Spawning],
                to: AppStatus::Initializing,
                reason: None,
            };
            // Each at a time of its own, as nobody asks for the same again.
            let at = now + SignedDuration::from_millis(i);
            store.transition(id, &step, at).await.unwrap()
        })
    });
    let mut moved = 0;
    for attempt in tries.collect::<Vec<_>>() {
        moved += usize::from(attempt.await.unwrap());
    }
    assert_eq!(moved, 1);
    assert_eq!(bench.store.history(id).await.unwrap().len(), 2);
}

async fn a_transition_that_was_stored_may_be_asked_again(place: Place) {
    let bench = Bench::with_slots(place, 1).await;
    let app = bench.app("hello");
    bench.create(&app).await.unwrap();
    let id = app.workload.app_id;
    let step = Transition {
        from: &[AppStatus::Spawning],
        to: AppStatus::Initializing,
        reason: None,
    };
    let now = Timestamp::now();
    assert!(bench.store.transition(id, &step, now).await.unwrap());
    assert!(bench.store.transition(id, &step, now).await.unwrap());
    assert_eq!(bench.store.history(id).await.unwrap().len(), 2);
    let later = now + SignedDuration::from_secs(1);
    assert!(!bench.store.transition(id, &step, later).await.unwrap());
}

async fn what_an_app_says_may_be_anything(place: Place) {
    let bench = Bench::with_slots(place, 1).await;
    let app = bench.app("hello");
    bench.create(&app).await.unwrap();
    let id = app.workload.app_id;
    for said in ["it said: \0", "'; DROP TABLE apps; --", "$1 \u{1f980} \\"] {
        bench.store.set_status_reason(id, said).await.unwrap();
        let found = bench.store.app(id).await.unwrap().unwrap();
        let shown = found.status_reason.unwrap().replace('\u{fffd}', "\0");
        assert_eq!(shown, said);
    }
    // And what is looked for.
    let filter = AppFilter {
        name: Some("hel\0lo".into()),
        ..AppFilter::default()
    };
    let found = bench.store.apps_of_owner(bench.owner, &filter).await;
    assert_eq!(found.unwrap(), []);
}

async fn lists_are_filtered_and_the_owners_own(place: Place) {
    let bench = Bench::with_slots(place, 9).await;
    let (one, two) = (bench.app("one"), bench.app("two"));
    bench.create(&one).await.unwrap();
    bench.create(&two).await.unwrap();
    bench.end(&two).await;
    let names = async |filter: AppFilter| {
        let found = bench.store.apps_of_owner(bench.owner, &filter).await;
        let mut names: Vec<_> = found.unwrap().into_iter().map(|a| a.app.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(AppFilter::default()).await, ["one", "two"]);
    let live = AppFilter {
        statuses: LIVE.to_vec(),
        ..AppFilter::default()
    };
    assert_eq!(names(live).await, ["one"]);
    let named = AppFilter {
        name: Some("two".into()),
        ..AppFilter::default()
    };
    assert_eq!(names(named).await, ["two"]);
    let stranger = AccountId(uuid::Uuid::new_v4());
    let id = one.workload.app_id;
    let seen = bench.store.app_of_owner(stranger, id).await.unwrap();
    assert_eq!(seen, None);
}
