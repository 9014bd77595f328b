//! A platform on disk: made whole or not at all, private, and the same after it is opened again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use mse_attest::{Evidence, Policy, ReferenceValues, Tee, TrustAnchor, appraise};
use mse_crypto::Digest;
use mse_simtee::{Platform, PlatformError, StateError};
use mse_workload::launch::SealPolicy;
use mse_workload::measurement::{EnclaveDigest, WorkloadDigest};

#[test]
fn an_opened_platform_is_the_one_that_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/platform");
    let made = Platform::create(&path, now()).unwrap();
    let opened = Platform::open(&path).unwrap();
    assert_eq!(opened.mrsigner(), made.mrsigner());
    assert_eq!(opened.root_der(), made.root_der());

    let text = fs::read_to_string(path.join("trust-anchor.toml")).unwrap();
    assert!(text.contains("SIMULATED"), "the file warns of itself");
    let anchor = TrustAnchor::from_toml(&text).unwrap();
    assert_eq!(&anchor, opened.trust_anchor());
    assert_eq!(anchor.mrsigner(), Some(made.mrsigner()));

    // What one of them signs, the collateral of the other vouches for.
    accepted(&made.quote([1; 32], &[2; 64]).unwrap(), &opened, now());
    accepted(&opened.quote([1; 32], &[2; 64]).unwrap(), &made, now());
}

#[test]
fn everything_on_disk_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    drop(Platform::create(&path, now()).unwrap());
    assert_eq!(mode(&path), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 11);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let beside = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(beside, 1, "nothing else is left beside the directory");
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    drop(Platform::create(&path, now()).unwrap());
    let key = path.join("pck.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Platform::open(&path).err().unwrap();
    assert!(
        matches!(&error, PlatformError::State(StateError::Exposed { path, mode: 0o640 }) if *path == key),
        "{error}"
    );
}

#[test]
fn what_is_there_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("precious"), "data").unwrap();
    for error in [
        Platform::create(&path, now()).err().unwrap(),
        Platform::open_or_create(&path, now()).err().unwrap(),
    ] {
        assert!(
            matches!(&error, PlatformError::State(StateError::Exists { .. })),
            "{error}"
        );
    }
    assert_eq!(fs::read(path.join("precious")).unwrap(), b"data");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_absent_platform_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Platform::open(&dir.path().join("nowhere")).err().unwrap();
    assert!(matches!(
        error,
        PlatformError::State(StateError::Absent { .. })
    ));
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn many_at_once_get_one_platform() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let mut signers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| Platform::open_or_create(&path, now()).unwrap().mrsigner()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    signers.dedup();
    assert_eq!(signers.len(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn two_platforms_have_nothing_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let one = Platform::create(&dir.path().join("one"), now()).unwrap();
    let two = Platform::create(&dir.path().join("two"), now()).unwrap();
    assert_ne!(one.mrsigner(), two.mrsigner());
    assert_ne!(one.root_der(), two.root_der());
    let evidence = Evidence::parse(&one.quote([1; 32], &[2; 64]).unwrap()).unwrap();
    let policy = Policy::strict().with_simulated(two.trust_anchor().clone());
    let collateral = two.collateral(now()).unwrap();
    let expected = ReferenceValues::default();
    assert!(appraise(&evidence, &collateral.into(), &policy, &expected, now()).is_err());
}

#[test]
fn collateral_is_kept_for_half_its_life_and_then_signed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::create(&dir.path().join("platform"), now()).unwrap();
    let quote = platform.quote([1; 32], &[2; 64]).unwrap();
    let first = platform.collateral(now()).unwrap();
    assert_eq!(platform.collateral(now() + days(14)).unwrap(), first);
    assert_ne!(platform.collateral(now() + days(16)).unwrap(), first);
    // A platform that runs for years always has some that is valid,
    for day in [0, 1, 16, 40, 400, 4000] {
        accepted(&quote, &platform, now() + days(day));
    }
    // and one whose clock is set back too.
    accepted(&quote, &platform, now() + days(1));
}

#[test]
fn a_verifier_whose_clock_is_behind_accepts_new_collateral() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::create(&dir.path().join("platform"), now()).unwrap();
    platform.collateral(now()).unwrap();
    let quote = platform.quote([1; 32], &[2; 64]).unwrap();
    let evidence = Evidence::parse(&quote).unwrap();
    let policy = Policy::strict().with_simulated(platform.trust_anchor().clone());
    let behind = now() - Duration::from_mins(50);
    let collateral = platform.collateral(now()).unwrap();
    let expected = ReferenceValues::default();
    appraise(&evidence, &collateral.into(), &policy, &expected, behind).unwrap();
}

#[test]
fn the_measurement_is_the_one_that_verifiers_compute() {
    let enclave = EnclaveDigest(Digest::of(b"program"));
    let workload = WorkloadDigest(Digest::of(b"workload"));
    let mut preimage = b"mse-sim".to_vec();
    preimage.extend(enclave.0.0);
    preimage.extend(workload.0.0);
    assert_eq!(
        Platform::measure(&enclave, &workload).0,
        Digest::of(&preimage)
    );
}

#[track_caller]
fn accepted(quote: &[u8], platform: &Platform, now: SystemTime) {
    let appraisal = appraise(
        &Evidence::parse(quote).unwrap(),
        &platform.collateral(now).unwrap().into(),
        &Policy::strict().with_simulated(platform.trust_anchor().clone()),
        &ReferenceValues::default(),
        now,
    )
    .unwrap();
    assert_eq!(appraisal.tee, Tee::Simulated);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn now() -> SystemTime {
    "2026-11-23T12:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .try_into()
        .unwrap()
}

fn days(days: u64) -> Duration {
    Duration::from_hours(days * 24)
}

#[test]
fn sealing_keys_are_of_one_platform_and_one_program_or_signer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let platform = Platform::create(&path, SystemTime::now()).unwrap();
    let key = |platform: &Platform, mrenclave: u8, policy| {
        *platform.seal_key(&[mrenclave; 32], policy).expose()
    };
    let (measured, signed) = (SealPolicy::Measurement, SealPolicy::Signer);
    assert_ne!(key(&platform, 1, measured), key(&platform, 2, measured));
    assert_eq!(key(&platform, 1, signed), key(&platform, 2, signed));
    assert_ne!(key(&platform, 1, measured), key(&platform, 1, signed));

    let again = Platform::open(&path).unwrap();
    assert_eq!(key(&again, 1, measured), key(&platform, 1, measured));
    assert_eq!(key(&again, 1, signed), key(&platform, 1, signed));

    let other = Platform::create(&dir.path().join("other"), SystemTime::now()).unwrap();
    assert_ne!(key(&other, 1, measured), key(&platform, 1, measured));
    assert_ne!(key(&other, 1, signed), key(&platform, 1, signed));
}
