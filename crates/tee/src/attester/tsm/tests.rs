use std::fs;

use super::super::Attester;
use super::super::emulated::{
    ASK, Kernel, Step, VCEK, certificate_table, der, snp_report, tdx_quote,
};
use super::super::files::Disk;
use super::*;

const DATA: [u8; 64] = [0x42; 64];
const FOREVER: u32 = u32::MAX;

fn tsm(kernel: &Arc<Kernel>, privilege_level: Option<u8>) -> Tsm {
    let files: Arc<dyn Files> = Arc::clone(kernel) as _;
    let mut tsm = Tsm::new(kernel.root(), files, privilege_level);
    tsm.tries.pause = Duration::ZERO;
    tsm
}

/// Asks once, and sees that no entry is left whatever came of it.
async fn report(kernel: &Arc<Kernel>) -> Result<TsmReport, TsmError> {
    report_at(kernel, None).await
}

async fn report_at(kernel: &Arc<Kernel>, level: Option<u8>) -> Result<TsmReport, TsmError> {
    let report = tsm(kernel, level).report(&DATA).await;
    kernel.entries_made_and_removed();
    report
}

#[tokio::test]
async fn snp() {
    let kernel = Kernel::snp();
    let (vcek, ask) = (der(b"vcek"), der(b"ask"));
    kernel.auxblob(certificate_table(&[(ASK, &ask), (VCEK, &vcek)]));
    let report = report(&kernel).await.unwrap();
    assert_eq!(report.provider, Provider::SevGuest);
    assert_eq!(report.outblob, snp_report(3, &DATA));
    assert_eq!(report.generation, 1);
    assert_eq!(report.certificates().unwrap(), [vcek, ask]);
    assert_eq!(kernel.entries_made_and_removed(), 1);
    assert_eq!(kernel.left(), 0);
}

#[tokio::test]
async fn snp_without_certificates() {
    let kernel = Kernel::snp();
    assert!(
        report(&kernel)
            .await
            .unwrap()
            .certificates()
            .unwrap()
            .is_empty()
    );
    kernel.attribute("auxblob", None);
    assert!(
        report(&kernel)
            .await
            .unwrap()
            .certificates()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn tdx() {
    let kernel = Kernel::tdx();
    for version in [4, 5] {
        kernel.outblob(move |inblob| tdx_quote(version, inblob));
        let report = report(&kernel).await.unwrap();
        assert_eq!(report.provider, Provider::TdxGuest);
        assert_eq!(report.outblob, tdx_quote(version, &DATA));
        assert!(report.auxblob.is_empty());
        assert!(report.certificates().unwrap().is_empty());
    }
    assert_eq!(kernel.entries_made_and_removed(), 2);
}

/// Wherever another process writes, once is borne.
#[tokio::test]
async fn a_race_that_ends() {
    for (step, generation) in [
        (Step::Read("generation"), 3),
        (Step::Write("inblob"), 3),
        (Step::Read("outblob"), 3),
        (Step::Read("auxblob"), 3),
    ] {
        let kernel = Kernel::snp();
        kernel.interfere_after(step, 1);
        let report = report(&kernel).await.unwrap();
        assert_eq!(report.outblob, snp_report(3, &DATA), "{step:?}");
        assert_eq!(report.generation, generation, "{step:?}");
        assert_eq!(kernel.entries_made_and_removed(), 1);
    }
}

#[tokio::test]
async fn a_race_that_does_not_end() {
    for step in [
        Step::Read("generation"),
        Step::Write("inblob"),
        Step::Read("outblob"),
        Step::Read("auxblob"),
    ] {
        let kernel = Kernel::snp();
        kernel.interfere_after(step, FOREVER);
        let error = report(&kernel).await.unwrap_err();
        let TsmError::Disturbed { tries: 6, last } = error else {
            panic!("{step:?}: {error}");
        };
        assert!(
            matches!(*last, TsmError::Raced { due, found } if found == due + 1),
            "{step:?}: {last}"
        );
    }
}

#[tokio::test]
async fn a_write_that_is_lost_at_closing() {
    let kernel = Kernel::snp();
    kernel.lose_writes(2);
    assert_eq!(report(&kernel).await.unwrap().generation, 1);
    kernel.lose_writes(FOREVER);
    let error = report(&kernel).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "gave up after 6 tries: another process wrote to the entry, or a write was lost: its generation is `0` instead of `1`"
    );
}

#[tokio::test]
async fn a_busy_kernel() {
    for (step, errno) in [
        (Step::Write("inblob"), Errno::BUSY),
        (Step::Write("inblob"), Errno::INTR),
        (Step::Read("outblob"), Errno::BUSY),
        (Step::Read("outblob"), Errno::WOULDBLOCK),
        (Step::Read("outblob"), Errno::INTR),
        (Step::Read("auxblob"), Errno::WOULDBLOCK),
    ] {
        let kernel = Kernel::snp();
        kernel.fail(step, errno, 5);
        let given = report(&kernel).await.unwrap();
        assert_eq!(given.outblob, snp_report(3, &DATA), "{step:?} {errno}");

        kernel.fail(step, errno, FOREVER);
        let error = report(&kernel).await.unwrap_err();
        let TsmError::Disturbed { last, .. } = error else {
            panic!("{step:?} {errno}: {error}");
        };
        assert!(matches!(*last, TsmError::File { .. }), "{last}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_not_asked_again() {
    let kernel = Kernel::tdx();
    kernel.fail(Step::Read("outblob"), Errno::TIMEDOUT, 1);
    let error = report(&kernel).await.unwrap_err().to_string();
    assert!(error.contains("the host does not answer"), "{error}");
}

#[tokio::test]
async fn privilege_levels() {
    let kernel = Kernel::snp();
    // Each level that is written is one write more.
    let generation = async |level| {
        report_at(&kernel, level)
            .await
            .map(|report| report.generation)
    };
    assert_eq!(generation(None).await.unwrap(), 1);
    assert_eq!(generation(Some(0)).await.unwrap(), 2);

    kernel.attribute("privlevel_floor", Some(b"2\n"));
    assert_eq!(generation(None).await.unwrap(), 2);
    assert_eq!(generation(Some(3)).await.unwrap(), 2);
    assert_eq!(
        generation(Some(1)).await.unwrap_err().to_string(),
        "privilege level `1` is more than this guest has: ask with `--vmpl` for `2` to 3"
    );
    let error = report_at(&Kernel::tdx(), Some(0)).await.unwrap_err();
    assert!(matches!(error, TsmError::NoPrivilegeLevels { asked: 0 }));
}

#[tokio::test]
async fn no_driver() {
    let kernel = Kernel::snp();
    kernel.no_driver();
    let error = report(&kernel).await.unwrap_err();
    assert!(matches!(error, TsmError::NoDriver));
    assert_eq!(kernel.entries_made_and_removed(), 0);

    for provider in [None, Some(&b""[..]), Some(b"\n")] {
        let kernel = Kernel::snp();
        kernel.attribute("provider", provider);
        let error = report(&kernel).await.unwrap_err();
        assert!(matches!(error, TsmError::NoDriver), "{error}");
        assert_eq!(kernel.entries_made_and_removed(), 1);
    }
}

#[tokio::test]
async fn unknown_providers_are_named() {
    for (provider, named) in [
        (&b"arm_cca_guest\n"[..], "arm_cca_guest"),
        (b"\xff\x1b[2J", "\\xff\\x1b[2J"),
        (b"tdx_guest2", "tdx_guest2"),
    ] {
        let kernel = Kernel::tdx();
        kernel.attribute("provider", Some(provider));
        match report(&kernel).await.unwrap_err() {
            TsmError::UnknownProvider(found) => assert_eq!(found, named),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn evidence_that_is_none() {
    for (blob, expected) in [
        (Vec::new(), "it is empty"),
        (
            tdx_quote(4, &DATA),
            "it has `736` bytes; a SEV-SNP report has 1184",
        ),
        (
            snp_report(1, &DATA),
            "it is a SEV-SNP report of version `1`; known are 2 and newer",
        ),
    ] {
        let kernel = Kernel::snp();
        kernel.outblob(move |_| blob.clone());
        let error = report(&kernel).await.unwrap_err();
        assert!(matches!(error, TsmError::Malformed { .. }), "{error}");
        let message = error.to_string();
        assert_eq!(
            message,
            format!("what `sev_guest` gave is no evidence: {expected}")
        );
    }
}

#[tokio::test]
async fn evidence_about_something_else() {
    let mut other = DATA;
    other[63] ^= 1;
    let snp = Kernel::snp();
    snp.outblob(move |_| snp_report(3, &other));
    let tdx = Kernel::tdx();
    tdx.outblob(move |_| tdx_quote(4, &other));
    for kernel in [snp, tdx] {
        let error = report(&kernel).await.unwrap_err();
        assert!(matches!(error, TsmError::OtherReportData), "{error}");
    }
}

#[tokio::test]
async fn blobs_are_bounded() {
    for blob in ["outblob", "auxblob"] {
        let kernel = Kernel::snp();
        if blob == "outblob" {
            kernel.outblob(|_| vec![0; MAX_BLOB + 1]);
        } else {
            kernel.auxblob(vec![0; MAX_BLOB + 1]);
        }
        let error = report(&kernel).await.unwrap_err();
        assert!(matches!(&error, TsmError::TooLarge { path, .. } if path.ends_with(blob)));

        // The kernel has a limit of its own.
        let kernel = Kernel::snp();
        kernel.fail(
            Step::Read(if blob == "outblob" {
                "outblob"
            } else {
                "auxblob"
            }),
            Errno::FBIG,
            FOREVER,
        );
        let error = report(&kernel).await.unwrap_err();
        assert!(matches!(&error, TsmError::TooLarge { path, .. } if path.ends_with(blob)));
    }
    let kernel = Kernel::snp();
    kernel.attribute("provider", Some(&[b'x'; MAX_TEXT + 1]));
    let error = report(&kernel).await.unwrap_err();
    assert!(matches!(error, TsmError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_malformed_certificate_table() {
    let kernel = Kernel::snp();
    kernel.auxblob(vec![1; 24]);
    let report = report(&kernel).await.unwrap();
    assert_eq!(
        report.certificates(),
        Err(CertificateTableError::Unended(24))
    );
}

#[tokio::test]
async fn permission_denied() {
    for step in [
        Step::Make,
        Step::Read("provider"),
        Step::Write("inblob"),
        Step::Read("outblob"),
        Step::Read("generation"),
    ] {
        let kernel = Kernel::snp();
        kernel.fail(step, Errno::ACCESS, 1);
        let error = report(&kernel).await.unwrap_err();
        assert!(
            matches!(&error, TsmError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied),
            "{step:?}: {error}"
        );
        assert!(error.to_string().contains("run mse-enclave as root"));
        assert_eq!(kernel.left(), 0);
    }
}

#[tokio::test]
async fn an_entry_of_somebody_else_is_left_alone() {
    let kernel = Kernel::snp();
    kernel.names_taken(MAX_NAMES - 1);
    report(&kernel).await.unwrap();
    assert_eq!(kernel.entries_made_and_removed(), 1);
    assert_eq!(kernel.left(), 2);

    kernel.names_taken(FOREVER);
    let error = report(&kernel).await.unwrap_err();
    assert!(matches!(error, TsmError::NamesTaken { .. }), "{error}");
    assert_eq!(kernel.entries_made_and_removed(), 1);
    assert_eq!(kernel.left(), 5);
}

#[tokio::test]
async fn numbers_are_numbers() {
    for (attribute, text) in [
        ("generation", "one"),
        ("generation", "-1\n"),
        ("generation", ""),
        ("privlevel_floor", "0x2"),
        ("privlevel_floor", "99999999999999999999"),
    ] {
        let kernel = Kernel::snp();
        kernel.attribute(attribute, Some(text.as_bytes()));
        let error = report(&kernel).await.unwrap_err();
        assert!(
            matches!(&error, TsmError::NoNumber { path, .. } if path.ends_with(attribute)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_counter_may_wrap() {
    let kernel = Kernel::snp();
    kernel.attribute("generation", Some(u64::MAX.to_string().as_bytes()));
    assert_eq!(report(&kernel).await.unwrap().generation, 0);
}

#[tokio::test]
async fn callers_at_once_get_their_own() {
    let kernel = Kernel::snp();
    let tsm = tsm(&kernel, None);
    let callers: Vec<_> = (0..8_u8)
        .map(|caller| {
            let tsm = tsm.clone();
            tokio::spawn(async move { (caller, tsm.report(&[caller; 64]).await) })
        })
        .collect();
    for caller in callers {
        let (caller, report) = caller.await.unwrap();
        assert_eq!(report.unwrap().outblob, snp_report(3, &[caller; 64]));
    }
    assert_eq!(kernel.entries_made_and_removed(), 8);
}

#[tokio::test]
async fn a_plain_directory_is_no_kernel() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(REPORT);
    let tsm = Tsm::new(root.path(), Arc::new(Disk), None);
    let error = tsm.report(&DATA).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot make `"), "{error}");

    fs::create_dir_all(&folder).unwrap();
    let error = tsm.report(&DATA).await.unwrap_err();
    assert!(matches!(error, TsmError::NoDriver), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_trust_domain_knows_itself_by_its_kernel_and_not_by_a_quote() {
    let kernel = Kernel::tdx();
    let attester = Attester::Tsm(Tsm::new(kernel.root(), Arc::clone(&kernel) as _, None));
    // The host's quote is there, and is not what counts.
    let absent = attester.own_program().await.unwrap_err().to_string();
    assert!(absent.contains("6.16"), "{absent}");
    let registers = kernel.root().join(TDX_REGISTERS);
    fs::create_dir_all(&registers).unwrap();
    for (name, byte) in [
        ("mrtd:sha384", 1),
        ("mrconfigid", 2),
        ("rtmr0:sha384", 3),
        ("rtmr1:sha384", 4),
        ("rtmr2:sha384", 5),
    ] {
        fs::write(registers.join(name), [byte; 48]).unwrap();
    }
    let own = attester.own_program().await.unwrap();
    assert_eq!(
        own,
        MeasuredProgram::Tdx {
            mr_td: [1; 48],
            mr_config_id: [2; 48],
            rtmr0: [3; 48],
            rtmr1: [4; 48],
            rtmr2: [5; 48],
        }
    );
    fs::write(registers.join("rtmr2:sha384"), [5; 47]).unwrap();
    let short = attester.own_program().await.unwrap_err().to_string();
    assert!(short.contains("47"), "{short}");
}

#[tokio::test]
async fn a_guest_of_sev_snp_knows_itself_by_its_report() {
    let kernel = Kernel::snp();
    let attester = Attester::Tsm(Tsm::new(kernel.root(), Arc::clone(&kernel) as _, None));
    let own = attester.own_program().await.unwrap();
    assert_eq!(
        own,
        MeasuredProgram::Snp {
            measurement: [0xAB; 48],
            host_data: [0; 32],
        }
    );
}
