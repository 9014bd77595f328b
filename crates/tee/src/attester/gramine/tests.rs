use std::fs;
use std::time::SystemTime;

use mse_simtee::Platform;
use rustix::io::Errno;

use super::super::emulated::{LibraryOs, sgx_quote, tdx_quote};
use super::super::files::Disk;
use super::super::{Attester, AttesterError};
use super::*;

const DATA: [u8; 64] = [0x42; 64];

fn gramine(os: &Arc<LibraryOs>) -> Gramine {
    Gramine::new(os.root(), Arc::clone(os) as _)
}

async fn error(os: &Arc<LibraryOs>) -> GramineError {
    gramine(os).quote(&DATA).await.unwrap_err()
}

/// Down to evidence that the verifier's own parser takes.
#[tokio::test]
async fn a_quote_of_the_platform() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::create(&folder.path().join("platform"), SystemTime::now()).unwrap();
    let os = LibraryOs::new(move |data| Ok(platform.quote([7; 32], data).unwrap()));
    let attester = Attester::Gramine(gramine(&os));
    assert_eq!(attester.name(), "gramine");
    for data in [DATA, [0; 64], [0xFF; 64]] {
        let attested = attester.evidence(&data).await.unwrap();
        assert_eq!(attested.evidence.stated_report_data(), Some(data));
        assert!(attested.certificates.is_empty());
    }
}

/// What states the right report data and is no quote after all.
#[tokio::test]
async fn the_verifiers_parser_has_the_last_word() {
    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    let refused = Attester::Gramine(gramine(&os)).evidence(&DATA).await;
    assert!(matches!(refused, Err(AttesterError::Quote(_))));
}

#[tokio::test]
async fn zeros_after_the_quote_are_not_the_quotes() {
    let os = LibraryOs::new(|data| {
        let mut quote = sgx_quote(data);
        quote.resize(8192, 0);
        Ok(quote)
    });
    assert_eq!(gramine(&os).quote(&DATA).await.unwrap(), sgx_quote(&DATA));
}

#[tokio::test]
async fn other_attestation_types_are_refused_by_name() {
    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    for (text, named) in [
        ("none", "none"),
        ("epid\n", "epid"),
        ("", ""),
        ("dcap2", "dcap2"),
        ("\u{1b}[2J", "\\x1b[2J"),
    ] {
        fs::write(os.path("attestation_type"), text).unwrap();
        match error(&os).await {
            GramineError::Type(found) => assert_eq!(found, named),
            other => panic!("{other}"),
        }
        // Nothing was written yet.
        assert_eq!(fs::read(os.path("user_report_data")).unwrap(), [0; 64]);
    }
    fs::write(os.path("attestation_type"), "dcap\n").unwrap();
    gramine(&os).quote(&DATA).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    fs::remove_file(os.path("quote")).unwrap();
    let message = error(&os).await.to_string();
    assert!(message.starts_with("cannot read `"), "{message}");
    assert!(message.contains("/dev/attestation/quote`"), "{message}");

    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    fs::remove_file(os.path("user_report_data")).unwrap();
    let message = error(&os).await.to_string();
    assert!(message.starts_with("cannot write `"), "{message}");

    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    fs::remove_dir_all(os.path("")).unwrap();
    assert!(matches!(error(&os).await, GramineError::NotThere(_)));
}

#[tokio::test]
async fn gramine_without_a_quoting_service() {
    let os = LibraryOs::new(|_| Err(Errno::ACCESS.into()));
    let message = error(&os).await.to_string();
    assert!(message.contains("AESM"), "{message}");
}

#[tokio::test]
async fn quotes_that_are_none() {
    let os = LibraryOs::new(|_| Ok(Vec::new()));
    let empty = error(&os).await;
    assert!(matches!(empty, GramineError::Malformed(LayoutError::Empty)));

    let os = LibraryOs::new(|data| Ok(tdx_quote(4, data)));
    let other = error(&os).await;
    assert!(matches!(
        other,
        GramineError::Malformed(LayoutError::Tee { .. })
    ));

    let os = LibraryOs::new(|_| Ok(vec![0; MAX_QUOTE + 1]));
    assert!(matches!(error(&os).await, GramineError::TooLarge { .. }));

    let os = LibraryOs::new(|data| {
        let mut data = *data;
        data[0] ^= 1;
        Ok(sgx_quote(&data))
    });
    assert!(matches!(error(&os).await, GramineError::OtherReportData));
}

/// The emulation panics when one caller writes before the other has its quote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_at_once_get_their_own() {
    let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
    let gramine = gramine(&os);
    let callers: Vec<_> = (0..32_u8)
        .map(|caller| {
            let gramine = gramine.clone();
            tokio::spawn(async move { (caller, gramine.quote(&[caller; 64]).await) })
        })
        .collect();
    for caller in callers {
        let (caller, quote) = caller.await.unwrap();
        assert_eq!(quote.unwrap(), sgx_quote(&[caller; 64]));
    }
}

#[tokio::test]
async fn a_machine_without_gramine() {
    let root = tempfile::tempdir().unwrap();
    let gramine = Gramine::new(root.path(), Arc::new(Disk));
    assert_eq!(gramine.kind().unwrap(), Kind::NotGramine);
    let message = gramine.quote(&DATA).await.unwrap_err().to_string();
    assert!(message.contains("gramine-sgx"), "{message}");
}

#[tokio::test]
async fn sealing_keys_differ_by_policy_and_are_the_same_again() {
    let os = LibraryOs::new(|report_data| Ok(sgx_quote(report_data)));
    fs::create_dir(os.path("keys")).unwrap();
    fs::write(os.path("keys/_sgx_mrenclave"), [1; 16]).unwrap();
    fs::write(os.path("keys/_sgx_mrsigner"), [2; 16]).unwrap();
    let gramine = gramine(&os);
    let key = async |policy| *gramine.seal_key(policy).await.unwrap().expose();
    let measured = key(SealPolicy::Measurement).await;
    assert_eq!(measured, key(SealPolicy::Measurement).await);
    assert_ne!(measured, key(SealPolicy::Signer).await);

    fs::write(os.path("keys/_sgx_mrenclave"), [1; 15]).unwrap();
    let short = gramine.seal_key(SealPolicy::Measurement).await;
    assert!(matches!(short, Err(GramineError::SealKey { size: 15, .. })));
    fs::remove_file(os.path("keys/_sgx_mrenclave")).unwrap();
    let absent = gramine.seal_key(SealPolicy::Measurement).await;
    assert!(matches!(absent, Err(GramineError::File { .. })));
}

#[tokio::test]
async fn which_program_it_is_comes_from_its_own_report_and_not_from_a_quote() {
    let os = LibraryOs::new(|report_data| Ok(sgx_quote(report_data)));
    let attester = Attester::Gramine(gramine(&os));
    let mut target = vec![0; 512];
    target[..32].fill(9);
    fs::write(os.path("my_target_info"), &target).unwrap();
    let own = attester.own_program().await.unwrap();
    // The quote of the emulation says another one.
    assert_eq!(own, mse_attest::MeasuredProgram::Sgx { mrenclave: [9; 32] });
    fs::write(os.path("my_target_info"), &target[..511]).unwrap();
    let short = attester.own_program().await.unwrap_err().to_string();
    assert!(short.contains("511"), "{short}");
    fs::remove_file(os.path("my_target_info")).unwrap();
    let absent = attester.own_program().await.unwrap_err().to_string();
    assert!(absent.contains("my_target_info"), "{absent}");
}
