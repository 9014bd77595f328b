//! Launch measurements against published and independently computed ones.

mod common;

use common::{AMD_SEV, HASHES_TABLE, OVMF_X64, filler, sev_image, vectors};
use mse_measure::Sha384Digest;
use mse_measure::firmware::Firmware;
use mse_measure::snp::{
    GuestFeatures, KernelHashes, SevMetadata, SevMetadataError, SnpError, SnpLaunch, Vmm, ovmf_hash,
};

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// `tests/vectors/snp-published.txt`: the firmware's pages count by their published digest, its
/// metadata by the published layout.
#[test]
fn published_measurements() {
    let amd_sev = sev_image(1, &AMD_SEV, HASHES_TABLE);
    let ovmf_x64 = sev_image(1, &OVMF_X64, [0, 0]);
    let mut ovmf_hashes = Vec::new();
    let mut compared = 0;
    for words in vectors("snp-published.txt") {
        if let [name, digest] = &words[..] {
            ovmf_hashes.push((name.clone(), digest.parse::<Sha384Digest>().unwrap()));
            continue;
        }
        let [firmware, vcpus, vmm, features, kernel, expected] = &words[..] else {
            panic!("{words:?}");
        };
        let (_, seed) = ovmf_hashes
            .iter()
            .find(|(name, _)| name == firmware)
            .unwrap();
        let image = if firmware == "AmdSev" {
            &amd_sev
        } else {
            &ovmf_x64
        };
        let launch = SnpLaunch {
            vcpus: vcpus.parse().unwrap(),
            cpu: "EPYC-v4".parse().unwrap(),
            guest_features: GuestFeatures(hex(features)),
            vmm: vmm.parse().unwrap(),
            kernel: match kernel.as_str() {
                "none" => None,
                // Kernel and initrd are /dev/null.
                "empty" => Some(KernelHashes::of(&[][..], Some(&[][..]), "").unwrap()),
                "empty+console" => Some(
                    KernelHashes::of(&[][..], Some(&[][..]), "console=ttyS0 loglevel=7").unwrap(),
                ),
                other => panic!("{other}"),
            },
        };
        let measured = launch
            .measure_from(*seed, &Firmware::parse(image).unwrap())
            .unwrap();
        assert_eq!(measured.to_string(), *expected, "{words:?}");
        compared += 1;
    }
    assert_eq!(compared, 16);
}

/// `tests/vectors/snp-computed.txt`: whole images, by sev-snp-measure 0.0.13.
#[test]
fn measurements_of_another_implementation() {
    let image = sev_image(5, &AMD_SEV, HASHES_TABLE);
    let firmware = Firmware::parse(&image).unwrap();
    let mut compared = 0;
    for words in vectors("snp-computed.txt") {
        if let [_, digest] = &words[..] {
            assert_eq!(ovmf_hash(&firmware).to_string(), *digest);
            continue;
        }
        let [cpu, vcpus, vmm, features, kernel, expected] = &words[..] else {
            panic!("{words:?}");
        };
        let bytes = filler(100_003, 7, 3);
        let initrd = filler(65_537, 13, 1);
        let launch = SnpLaunch {
            vcpus: vcpus.parse().unwrap(),
            cpu: cpu.parse().unwrap(),
            guest_features: GuestFeatures(hex(features)),
            vmm: vmm.parse().unwrap(),
            kernel: match kernel.as_str() {
                "none" => None,
                "kernel" => Some(KernelHashes::of(&bytes[..], None::<&[u8]>, "").unwrap()),
                "all" => Some(
                    KernelHashes::of(&bytes[..], Some(&initrd[..]), "root=/dev/vda ro").unwrap(),
                ),
                other => panic!("{other}"),
            },
        };
        assert_eq!(
            launch.measure(&firmware).unwrap().to_string(),
            *expected,
            "{words:?}"
        );
        compared += 1;
    }
    assert_eq!(compared, 90);
}

#[test]
fn each_refusal_has_its_error() {
    let image = sev_image(1, &OVMF_X64, [0, 0]);
    let firmware = Firmware::parse(&image).unwrap();
    let mut launch = SnpLaunch {
        vcpus: 0,
        cpu: "EPYC".parse().unwrap(),
        guest_features: GuestFeatures(1),
        vmm: Vmm::Qemu,
        kernel: None,
    };
    for vcpus in [0, 4097] {
        launch.vcpus = vcpus;
        assert!(
            matches!(launch.measure(&firmware), Err(SnpError::Vcpus { vcpus: v }) if v == vcpus)
        );
    }
    launch.vcpus = 1;
    launch.kernel = Some(KernelHashes::of(&b"kernel"[..], None::<&[u8]>, "").unwrap());
    assert!(matches!(
        launch.measure(&firmware),
        Err(SnpError::NoKernelHashes)
    ));
    for table in [
        [0, 0],
        [0x80_f000, 0x400],
        [0x81_0f80, 0x400],
        [0x81_0c00, 0x80],
    ] {
        let image = sev_image(1, &AMD_SEV, table);
        let error = launch
            .measure(&Firmware::parse(&image).unwrap())
            .unwrap_err();
        assert!(
            matches!(error, SnpError::KernelHashes(_)),
            "{table:x?}: {error}"
        );
    }
    // Without a reset block only one virtual CPU can start.
    let mut image = common::image(1, &[(common::SEV_METADATA, common::words(&[0x800]))]);
    common::put(
        &mut image,
        common::SEV_DESCRIPTOR,
        &common::sev_descriptor(&OVMF_X64),
    );
    let firmware = Firmware::parse(&image).unwrap();
    launch.kernel = None;
    launch.measure(&firmware).unwrap();
    launch.vcpus = 2;
    assert!(matches!(
        launch.measure(&firmware),
        Err(SnpError::NoApReset)
    ));
    for line in ["a\0b", &"x".repeat(65_537)] {
        KernelHashes::of(&[][..], None::<&[u8]>, line).unwrap_err();
    }
}

#[test]
fn damaged_metadata_has_its_error() {
    let with = |descriptor: &[u8]| {
        let mut image = sev_image(1, &AMD_SEV, HASHES_TABLE);
        common::put(&mut image, common::SEV_DESCRIPTOR, descriptor);
        SevMetadata::parse(&Firmware::parse(&image).unwrap()).unwrap_err()
    };
    let header =
        |length, version, count| [&b"ASEV"[..], &common::words(&[length, version, count])].concat();
    assert!(matches!(with(b"TDVF"), SevMetadataError::Signature { .. }));
    assert_eq!(
        with(&header(28, 2, 1)),
        SevMetadataError::Version { version: 2 }
    );
    for (length, count) in [(16, 0), (27, 1), (784, 65), (0, 0x1555_5555)] {
        assert_eq!(
            with(&header(length, 1, count)),
            SevMetadataError::Count { count, length }
        );
    }
    let section = |address, size, kind| with(&common::sev_descriptor(&[[address, size, kind]]));
    assert_eq!(
        section(0, 0x1000, 5),
        SevMetadataError::Kind { index: 0, kind: 5 }
    );
    for (address, size, kind) in [
        (1, 0x1000, 1),
        (0, 0x1001, 1),
        (0, 0, 1),
        (0, 0x2000, 2),
        (0, 0x2000, 3),
        (0, 0x2000, 0x10),
    ] {
        assert_eq!(
            section(address, size, kind),
            SevMetadataError::Range {
                index: 0,
                address,
                size
            }
        );
    }
    assert_eq!(section(0, 0x1000_1000, 1), SevMetadataError::Memory);
    let image = common::image(1, &[(common::SEV_METADATA, common::words(&[15]))]);
    let parse = |image: &[u8]| SevMetadata::parse(&Firmware::parse(image).unwrap()).unwrap_err();
    assert_eq!(parse(&image), SevMetadataError::Truncated);
    assert_eq!(parse(&common::image(1, &[])), SevMetadataError::Missing);
}
