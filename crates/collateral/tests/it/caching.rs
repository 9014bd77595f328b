//! The cache on disk: it saves requests, and nothing that lies in it does harm.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::{Collateral, ReferenceValues, appraise};
use mse_collateral::cache::Cache;
use mse_collateral::refresh::Renew;
use mse_collateral::{Clock, Freshness, Options};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use serde_json::Value;

use crate::samples::{Case, Sample, accepted};
use crate::service::{Reply, Service, facts, options, pccs};

/// An empty CRL (DER) of a CA with this common name, valid from 2020 to 2040.
pub(crate) fn crl_of(name: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2040, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&issuer)
    .unwrap()
    .der()
    .to_vec()
}

struct Scene {
    folder: tempfile::TempDir,
    sample: Sample,
    case: Case,
    service: Service,
}

impl Scene {
    async fn new() -> Self {
        let (sample, case) = accepted("sgx-v3");
        Self {
            folder: tempfile::tempdir().unwrap(),
            service: Service::start(pccs(&case.collateral())).await,
            sample,
            case,
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn options(&self) -> Options {
        Options {
            cache: Some(self.dir()),
            ..options(self.case.now())
        }
    }

    fn tcb_path(&self) -> String {
        let (tee, fmspc, _) = facts(&self.case.collateral());
        format!("/{tee}/certification/v4/tcb?fmspc={fmspc}&update=standard")
    }

    /// The file in which the TCB info is kept.
    fn tcb_file(&self) -> PathBuf {
        let url = format!("{}{}", self.service.url, self.tcb_path());
        Cache::open(&self.dir()).unwrap().path(&url)
    }

    /// A new process fetches: freshness, warnings, and how often the service was asked.
    async fn fetch(&self, options: Options) -> (Freshness, Vec<String>, usize) {
        let before = self.service.asked().len();
        let fetcher = self.service.fetcher(options);
        let fetched = fetcher.collateral(&self.sample.evidence()).await.unwrap();
        assert_eq!(fetched.collateral, Collateral::from(self.case.collateral()));
        let asked = self.service.asked().len() - before;
        (fetched.freshness, fetched.warnings, asked)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn answers_are_kept_for_the_next_run_and_for_nobody_else() {
    let scene = Scene::new().await;
    fs::create_dir(scene.dir()).unwrap();
    fs::set_permissions(scene.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        scene.fetch(scene.options()).await,
        (Freshness::Fetched, vec![], 4)
    );
    assert_eq!(
        scene.fetch(scene.options()).await,
        (Freshness::Cached, vec![], 0)
    );
    assert_eq!(mode(&scene.dir()), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(scene.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 4, "no temporary file stays");
    for file in files {
        assert_eq!(mode(&file), 0o600);
        let entry: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert!(entry["expires"].as_u64() > entry["fetched"].as_u64());
    }
}

#[tokio::test]
async fn documents_are_asked_for_again_after_a_day() {
    let scene = Scene::new().await;
    scene.fetch(scene.options()).await;
    let (begin, day) = (scene.case.now(), Duration::from_hours(24));
    let later = |by: Duration| Options {
        clock: Clock::of(move || begin + by),
        ..scene.options()
    };
    assert_eq!(scene.fetch(later(day / 2)).await.2, 0);
    assert_eq!(
        scene.fetch(later(day)).await,
        (Freshness::Fetched, vec![], 4)
    );
    // Without a network what is not out of date still serves, and that is said.
    scene.service.change_all(&Reply::status(404));
    let (freshness, warnings, _) = scene.fetch(later(day * 2)).await;
    assert_eq!(freshness, Freshness::Cached);
    assert!(warnings[0].contains("status 404"), "{warnings:?}");
}

#[tokio::test]
async fn what_is_out_of_date_is_only_given_as_such_and_refused_by_the_appraisal() {
    let scene = Scene::new().await;
    scene.fetch(scene.options()).await;
    let late = scene.case.now() + Duration::from_hours(24 * 400);
    let options = || Options {
        clock: Clock::of(move || late),
        ..scene.options()
    };
    // As long as the service answers, its answer is given, however old.
    assert_eq!(scene.fetch(options()).await.0, Freshness::Fetched);
    scene.service.change_all(&Reply::status(403));
    let (freshness, warnings, _) = scene.fetch(options()).await;
    assert_eq!(freshness, Freshness::Stale);
    assert!(
        warnings.iter().any(|warning| warning.contains("(stale)")),
        "{warnings:?}"
    );
    appraise(
        &scene.sample.evidence(),
        &scene.case.collateral().into(),
        &scene.case.policy(),
        &ReferenceValues::default(),
        late,
    )
    .unwrap_err();
}

#[tokio::test]
async fn hostile_entries_cost_a_request_and_a_warning() {
    let scene = Scene::new().await;
    scene.fetch(scene.options()).await;
    let file = scene.tcb_file();
    let good = fs::read(&file).unwrap();
    let entry: Value = serde_json::from_slice(&good).unwrap();
    let with = |member: &str, value: Value| {
        let mut entry = entry.clone();
        entry[member] = value;
        serde_json::to_vec(&entry).unwrap()
    };
    let other = fs::read_dir(scene.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| *path != file)
        .unwrap();
    let body = hex::decode(entry["body"].as_str().unwrap()).unwrap();
    let (_, fmspc, _) = facts(&scene.case.collateral());
    let moved = String::from_utf8(body).unwrap();
    let moved = moved
        .replace(&fmspc, "00806F050000")
        .replace(&fmspc.to_lowercase(), "00806F050000");
    let contents: Vec<(&str, Vec<u8>)> = vec![
        ("is no cache entry", Vec::new()),
        ("is no cache entry", b"garbage".to_vec()),
        ("is no cache entry", vec![0xff; 1000]),
        ("is no cache entry", b"[[[[[[[[".repeat(10_000)),
        ("is no cache entry", b"{}".to_vec()),
        ("is no cache entry", good[..good.len() / 2].to_vec()),
        ("is no cache entry", with("format", "x/1".into())),
        ("is no cache entry", with("body", 7.into())),
        ("is no cache entry", with("body", "zz".into())),
        ("is no cache entry", with("fetched", (-1).into())),
        ("in the future", with("fetched", u64::MAX.into())),
        ("in the future", with("fetched", 100_000_000_000_u64.into())),
        ("another request", with("url", "http://127.0.0.1/x".into())),
        ("another request", fs::read(&other).unwrap()),
        ("issuer chain", with("chain", Value::Null)),
        ("issuer chain", with("chain", "x".into())),
        ("not a JSON object", with("body", "".into())),
        ("00806F050000", with("body", hex::encode(moved).into())),
        ("more than", vec![b' '; 3_000_000]),
    ];
    for (problem, content) in contents {
        fs::write(&file, &content).unwrap();
        let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
        // The other three documents come from the disk.
        assert_eq!((freshness, asked), (Freshness::Cached, 1), "{problem}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(problem), "{problem}: {warnings:?}");
        assert!(warnings[0].contains("fetched again"), "{warnings:?}");
        let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
        assert_eq!((freshness, asked), (Freshness::Cached, 0), "it is mended");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[tokio::test]
async fn links_folders_and_pipes_are_not_followed_nor_waited_for() {
    let scene = Scene::new().await;
    scene.fetch(scene.options()).await;
    let file = scene.tcb_file();
    let outside = scene.folder.path().join("outside");
    fs::rename(&file, &outside).unwrap();
    let kept = fs::read(&outside).unwrap();

    symlink(&outside, &file).unwrap();
    let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
    assert_eq!((freshness, asked), (Freshness::Cached, 1));
    assert!(warnings[0].contains("cannot be read"), "{warnings:?}");
    assert!(!file.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read(&outside).unwrap(), kept, "the link is replaced");

    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
    assert_eq!((freshness, asked), (Freshness::Cached, 1));
    assert!(warnings[0].contains("no ordinary file"), "{warnings:?}");

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
    assert_eq!((freshness, asked), (Freshness::Cached, 1));
    assert_eq!(warnings.len(), 2, "neither read nor written: {warnings:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_one_is_a_warning() {
    let scene = Scene::new().await;
    fs::write(scene.dir(), "a file").unwrap();
    let (freshness, warnings, asked) = scene.fetch(scene.options()).await;
    assert_eq!((freshness, asked), (Freshness::Fetched, 4));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("cache folder"), "{warnings:?}");
}

#[tokio::test]
async fn renewals_replace_what_is_kept_and_failures_leave_it() {
    let scene = Scene::new().await;
    let begin = scene.case.now();
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        Clock::of(move || begin + Duration::from_secs(seconds.load(Ordering::Relaxed)))
    };
    let fetcher = scene.service.fetcher(Options {
        clock,
        ..scene.options()
    });
    let evidence = scene.sample.evidence();
    fetcher.collateral(&evidence).await.unwrap();
    let schedule = fetcher.schedule();
    assert_eq!(schedule.len(), 4);
    let day = Duration::from_hours(24);
    let early = begin + day.mul_f64(0.56);
    let late = begin + day.mul_f64(0.67);
    for due in &schedule {
        assert!((early..=late).contains(&due.at), "{due:?}");
    }
    seconds.store(20 * 3600, Ordering::Relaxed);
    for due in &schedule {
        fetcher.renew(&due.key).await.unwrap();
    }
    assert_eq!(scene.service.asked().len(), 8);
    let of = |schedule: Vec<mse_collateral::refresh::Due>| -> Vec<SystemTime> {
        schedule.into_iter().map(|due| due.at).collect()
    };
    assert!(of(fetcher.schedule()).iter().all(|at| *at > late));
    scene.service.change_all(&Reply::status(404));
    fetcher.renew(&schedule[0].key).await.unwrap_err();
    let fetched = fetcher.collateral(&evidence).await.unwrap();
    assert_eq!(fetched.freshness, Freshness::Cached);
    assert!(fetched.expires.unwrap() > UNIX_EPOCH);
}
