//! MRTD, RTMRs and direct boots against published and independently computed values.

mod common;

use std::io::Cursor;

use common::{TdxSection, event_log, evidence, filler, kernel, tdx_image, vectors};
use mse_measure::event_log::EventLog;
use mse_measure::firmware::Firmware;
use mse_measure::tdx::event_digest::{
    CALLING_BOOT_OPTION, EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, EXIT_BOOT_SERVICES,
    EXITED_BOOT_SERVICES, action, separator, variable,
};
use mse_measure::tdx::{
    DEFAULT_ACPI_DATA, DirectBoot, DirectBootError, KernelForm, PageOrder, Rtmr, SetupHeaderError,
    Tdvf, TdvfError, TdvfSectionKind,
};
use mse_measure::{Sha384Digest, authenticode};

/// Code, variables, stack, heap, mailbox, work area, TD HOB, page tables.
const OVMF: [TdxSection; 8] = [
    (0x2000, 0x4000, 0xffff_c000, 0x4000, 0, 1),
    (0, 0x2000, 0xffff_a000, 0x2000, 1, 0),
    (0, 0, 0x81_0000, 0x1_0000, 3, 0),
    (0, 0, 0x82_0000, 0x1_0000, 3, 0),
    (0, 0, 0x80_b000, 0x1000, 3, 0),
    (0, 0, 0x80_c000, 0x1000, 3, 0),
    (0, 0, 0x80_9000, 0x2000, 2, 0),
    (0, 0, 0x80_0000, 0x6000, 3, 0),
];
/// Code, a payload, memory that is accepted later, a description of the image.
const TD_SHIM: [TdxSection; 4] = [
    (0x1000, 0x2000, 0xffff_e000, 0x2000, 0, 1),
    (0, 0x1000, 0x100_0000, 0x1000, 5, 1),
    (0, 0, 0x200_0000, 0x800_0000, 4, 2),
    (0x200, 0x100, 0, 0, 7, 0),
];

#[test]
fn mrtd_of_another_implementation() {
    let mut compared = 0;
    for words in vectors("mrtd-computed.txt") {
        let [image, order, expected] = &words[..] else {
            panic!("{words:?}");
        };
        let image = match image.as_str() {
            "ovmf" => tdx_image(6, &OVMF),
            _ => tdx_image(3, &TD_SHIM),
        };
        let tdvf = Tdvf::parse(&Firmware::parse(&image).unwrap()).unwrap();
        let mrtd = tdvf.mrtd(order.parse::<PageOrder>().unwrap());
        assert_eq!(mrtd.to_string(), *expected, "{words:?}");
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// Memory beyond a section's contents is zero, as the hypervisor gives it.
#[test]
fn contents_end_with_zeros() {
    let section = |raw, attributes| (0, raw, 0x1000_0000, 0x2000, 0, attributes);
    let mut image = tdx_image(3, &[section(0x1800, 1)]);
    let mrtd = |image: &[u8]| {
        let tdvf = Tdvf::parse(&Firmware::parse(image).unwrap()).unwrap();
        assert_eq!(tdvf.sections()[0].kind, TdvfSectionKind::Bfv);
        PageOrder::ALL.map(|order| tdvf.mrtd(order))
    };
    let short = mrtd(&image);
    image[0x1800..0x2000].fill(0);
    common::put(
        &mut image,
        0x400,
        &common::tdx_descriptor(&[section(0x2000, 1)]),
    );
    assert_eq!(mrtd(&image), short);
    image[0x1800] = 1;
    assert_ne!(mrtd(&image), short);
    // What is not measured may be anything.
    common::put(
        &mut image,
        0x400,
        &common::tdx_descriptor(&[section(0x2000, 0)]),
    );
    let unmeasured = mrtd(&image);
    image[0] ^= 1;
    assert_eq!(mrtd(&image), unmeasured);
}

/// Memory that the guest accepts later has no bound but that of addresses: with a step for each of
/// its pages this would take hours.
#[test]
fn memory_that_is_added_later_costs_nothing() {
    let good: TdxSection = (0, 0x1000, 0x1000, 0x1000, 0, 1);
    let later: TdxSection = (0, 0, 0, 1 << 51, 4, 2);
    let mrtd = |sections: &[TdxSection]| {
        let image = tdx_image(2, sections);
        let tdvf = Tdvf::parse(&Firmware::parse(&image).unwrap()).unwrap();
        PageOrder::ALL.map(|order| tdvf.mrtd(order))
    };
    assert_eq!(mrtd(&[good, later]), mrtd(&[good]));
}

#[test]
fn each_refusal_has_its_error() {
    let refused = |section: TdxSection| {
        let image = tdx_image(2, &[section]);
        Tdvf::parse(&Firmware::parse(&image).unwrap()).unwrap_err()
    };
    let good: TdxSection = (0, 0x1000, 0x1000, 0x1000, 0, 1);
    let damaged = [
        (
            (0x1001, 0x1000, 0x1000, 0x1000, 0, 1),
            TdvfError::Contents {
                index: 0,
                offset: 0x1001,
                raw: 0x1000,
            },
        ),
        (
            (0, 0x1001, 0x1000, 0x1000, 0, 1),
            TdvfError::Raw {
                index: 0,
                raw: 0x1001,
                size: 0x1000,
            },
        ),
        (
            (0, 0, 0x1001, 0x1000, 0, 1),
            TdvfError::Range {
                index: 0,
                address: 0x1001,
                size: 0x1000,
            },
        ),
        (
            (0, 0, 0, 0x123, 0, 1),
            TdvfError::Range {
                index: 0,
                address: 0,
                size: 0x123,
            },
        ),
        (
            (0, 0, u64::MAX << 12, 0x2000, 3, 2),
            TdvfError::Range {
                index: 0,
                address: u64::MAX << 12,
                size: 0x2000,
            },
        ),
        (
            (0, 0, 0x1000, 0x1000, 9, 0),
            TdvfError::Kind { index: 0, kind: 9 },
        ),
        (
            (0, 0, 0x1000, 0x1000, 0, 4),
            TdvfError::Attributes {
                index: 0,
                attributes: 4,
            },
        ),
        ((0, 0, 0, 0x4000_1000, 3, 0), TdvfError::Memory { index: 0 }),
        ((0, 0, 0, 0x800_1000, 3, 3), TdvfError::Memory { index: 0 }),
    ];
    for (section, error) in damaged {
        assert_eq!(refused(section), error, "{section:x?}");
    }
    let with = |descriptor: &[u8]| {
        let mut image = tdx_image(2, &[good]);
        common::put(&mut image, 0x400, descriptor);
        Tdvf::parse(&Firmware::parse(&image).unwrap()).unwrap_err()
    };
    assert!(matches!(with(b"TDXX"), TdvfError::Signature { .. }));
    assert_eq!(
        with(&[&b"TDVF"[..], &common::words(&[48, 2, 1])].concat()),
        TdvfError::Version { version: 2 }
    );
    for (length, count) in [(48, 2), (16, 0), (16 + 32 * 65, 65)] {
        let descriptor = [&b"TDVF"[..], &common::words(&[length, 1, count])].concat();
        assert_eq!(with(&descriptor), TdvfError::Count { count, length });
    }
    let mut image = common::image(1, &[(common::TDX_METADATA, common::words(&[8]))]);
    let parse = |image: &[u8]| Tdvf::parse(&Firmware::parse(image).unwrap()).unwrap_err();
    assert_eq!(parse(&image), TdvfError::Truncated);
    image = common::image(1, &[]);
    assert_eq!(parse(&image), TdvfError::Missing);
}

/// The events of a real TD, replayed: single digests, as a log, and against the quote itself.
#[test]
fn published_registers() {
    let mut log = Vec::new();
    let mut expected = Vec::new();
    for words in vectors("tdx-events-published.txt") {
        match &words[..] {
            [register, kind, digest] => log.push((
                register.parse::<u32>().unwrap(),
                u32::from_str_radix(kind, 16).unwrap(),
                digest.parse::<Sha384Digest>().unwrap(),
            )),
            [_, value] => expected.push(value.parse::<Sha384Digest>().unwrap()),
            other => panic!("{other:?}"),
        }
    }
    let quote = std::fs::read(evidence(
        "tdx-v4/dstack__tdx-lite-getquote__1d0342e3/quote.bin",
    ))
    .unwrap();
    let events: Vec<_> = log
        .iter()
        .map(|(register, kind, digest)| (register + 1, *kind, digest.0, &b""[..]))
        .collect();
    let replayed = EventLog::parse(&event_log(&events)).unwrap().replay();
    for (index, expected) in (0_u8..).zip(&expected) {
        let digests = log
            .iter()
            .filter(|(register, ..)| *register == u32::from(index))
            .map(|(.., digest)| digest);
        assert_eq!(Rtmr::replay(digests).0, *expected);
        assert_eq!(replayed.rtmr(index).0, *expected);
        // Header of 48 bytes, then the TD report body with RTMR0 at 328.
        let at = 48 + 328 + 48 * usize::from(index);
        assert_eq!(quote[at..at + 48], expected.0);
    }
    // Those digests that are known beforehand.
    let has = |register: u32, digest: Sha384Digest| {
        assert!(
            log.iter()
                .any(|(of, _, logged)| *of == register && *logged == digest),
            "{digest}"
        );
    };
    for name in ["SecureBoot", "PK", "KEK"] {
        has(0, variable(EFI_GLOBAL_VARIABLE, name, &[]));
    }
    for name in ["db", "dbx"] {
        has(0, variable(EFI_IMAGE_SECURITY_DATABASE, name, &[]));
    }
    has(0, separator());
    has(1, separator());
    for text in [
        CALLING_BOOT_OPTION,
        EXIT_BOOT_SERVICES,
        EXITED_BOOT_SERVICES,
    ] {
        has(1, action(text));
    }
    // RTMR1 and RTMR2 as a direct boot of that kernel, command line and initrd gives them.
    let boot = DirectBoot {
        kernel: log[11].2,
        load_options: Some(log[16].2),
        initrd: Some(log[17].2),
    };
    assert_eq!([boot.rtmr1().0, boot.rtmr2().0], [expected[1], expected[2]]);
}

#[test]
fn kernels_by_other_implementations() {
    let initrd = filler(65_537, 13, 1);
    let mut compared = 0;
    for words in vectors("kernel-computed.txt") {
        let digest: Sha384Digest = words.last().unwrap().parse().unwrap();
        let boot = |memory, initrd: &[u8]| {
            let form = KernelForm::FilledByQemu {
                memory,
                acpi_data: DEFAULT_ACPI_DATA,
            };
            DirectBoot::of(
                Cursor::new(kernel(0, 0)),
                Some(initrd),
                "console=ttyS0 ro",
                form,
            )
            .unwrap()
        };
        let found = match &words[..] {
            [name, memory, size, _] if name == "filled" => {
                let size: usize = size.parse().unwrap();
                boot(memory.parse().unwrap(), &initrd[..size]).kernel
            }
            [tail, certificates, _] => {
                let program = kernel(tail.parse().unwrap(), certificates.parse().unwrap());
                authenticode::sha384(Cursor::new(program)).unwrap()
            }
            [name, _] if name == "rtmr1" => boot(4 << 30, &initrd).rtmr1().0,
            _ => boot(4 << 30, &initrd).rtmr2().0,
        };
        assert_eq!(found, digest, "{words:?}");
        compared += 1;
    }
    assert_eq!(compared, 10);
}

#[test]
fn direct_boots_that_are_not_defined() {
    let of = |kernel: Vec<u8>, initrd: Option<&[u8]>, line: &str, memory| {
        let form = KernelForm::FilledByQemu {
            memory,
            acpi_data: DEFAULT_ACPI_DATA,
        };
        DirectBoot::of(Cursor::new(kernel), initrd, line, form)
    };
    for line in ["a\0b", "ä", &"x".repeat(65_537)] {
        assert!(matches!(
            of(kernel(0, 0), None, line, 1 << 30),
            Err(DirectBootError::CommandLine { .. })
        ));
    }
    let setup_error = |kernel, memory| match of(kernel, Some(b"initrd"), "", memory) {
        Err(DirectBootError::SetupHeader(error)) => error,
        other => panic!("{other:?}"),
    };
    for memory in [0, 0x2_8000, 0x2_8007] {
        assert_eq!(
            setup_error(kernel(0, 0), memory),
            SetupHeaderError::Memory { memory, size: 6 }
        );
    }
    let mut old = kernel(0, 0);
    old[0x206] = 0;
    assert_eq!(
        setup_error(old, 1 << 30),
        SetupHeaderError::TooOld { version: 0x200 }
    );
    let mut other = kernel(0, 0);
    other[0x202] = 0;
    assert_eq!(setup_error(other, 1 << 30), SetupHeaderError::NotLinux);
    // Nothing to load is nothing to measure.
    let bare = of(kernel(0, 0), None, "", 1 << 30).unwrap();
    assert_eq!(bare.rtmr2(), Rtmr::START);
    assert_eq!(of(kernel(0, 0), Some(b""), "", 1 << 30).unwrap(), bare);
}
