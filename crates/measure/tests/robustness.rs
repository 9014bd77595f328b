//! Whatever comes in, it is measured or refused.

mod common;

use std::io::Cursor;

use common::{AMD_SEV, HASHES_TABLE, event_log, kernel, sev_image, tdx_image};
use mse_measure::authenticode;
use mse_measure::event_log::EventLog;
use mse_measure::firmware::Firmware;
use mse_measure::snp::{GuestFeatures, KernelHashes, SnpLaunch, Vmm};
use mse_measure::tdx::{DirectBoot, KernelForm, PageOrder, Tdvf};
use proptest::prelude::*;

fn measure_all(image: &[u8]) {
    let Ok(firmware) = Firmware::parse(image) else {
        return;
    };
    let launch = SnpLaunch {
        vcpus: 2,
        cpu: "EPYC-Genoa".parse().unwrap(),
        guest_features: GuestFeatures(1),
        vmm: Vmm::Ec2,
        kernel: Some(KernelHashes::of(&[][..], None::<&[u8]>, "").unwrap()),
    };
    let _ = launch.measure(&firmware);
    if let Ok(tdvf) = Tdvf::parse(&firmware) {
        // A mutated size may ask for a lot of hashing; that it is bounded is tested elsewhere.
        let size: u64 = tdvf.sections().iter().map(|section| section.size).sum();
        if size < 1 << 20 {
            let _ = PageOrder::ALL.map(|order| tdvf.mrtd(order));
        }
    }
}

/// Changes some bytes of `bytes`, a few of them near each other.
fn mutate(bytes: &mut [u8], changes: &[(prop::sample::Index, u8)]) {
    for (index, value) in changes {
        let at = index.index(bytes.len());
        bytes[at] = *value;
    }
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..40)
}

proptest! {
    #[test]
    fn any_firmware(mut bytes in prop::collection::vec(any::<u8>(), 4096)) {
        measure_all(&bytes);
        let good = sev_image(1, &AMD_SEV, HASHES_TABLE);
        bytes[4096 - 200..].copy_from_slice(&good[4096 - 200..]);
        measure_all(&bytes);
    }

    #[test]
    fn mutated_firmware(changes in changes()) {
        let mut image = sev_image(1, &AMD_SEV, HASHES_TABLE);
        // Only where the structures are.
        mutate(&mut image[2048..], &changes);
        measure_all(&image);
        let mut image = tdx_image(1, &[(0, 0x1000, 0xffff_f000, 0x1000, 0, 1), (0, 0, 0, 0x2000, 3, 0)]);
        mutate(&mut image[3056..3200], &changes);
        measure_all(&image);
    }

    #[test]
    fn any_event_log(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = EventLog::parse(&bytes);
        let mut log = event_log(&[]);
        log.extend(&bytes);
        let _ = EventLog::parse(&log);
    }

    #[test]
    fn mutated_event_log(changes in changes()) {
        let mut log = event_log(&[
            (1, 0x8000_0002, [1; 48], &[0; 40]),
            (2, 0x0d, [2; 48], b"grub_cmd: x\0"),
            (3, 6, [3; 48], b""),
        ]);
        mutate(&mut log, &changes);
        if let Ok(log) = EventLog::parse(&log) {
            log.replay();
            for event in log.events() {
                event.check_data();
            }
        }
    }

    #[test]
    fn any_program(bytes in prop::collection::vec(any::<u8>(), 0..2000), changes in changes()) {
        let _ = authenticode::sha384(Cursor::new(&bytes));
        let mut program = kernel(3, 16);
        mutate(&mut program[..0x400], &changes);
        let _ = authenticode::sha384(Cursor::new(&program));
        let form = KernelForm::FilledByQemu { memory: 1 << 31, acpi_data: u32::MAX };
        let _ = DirectBoot::of(Cursor::new(&program), Some(&bytes[..]), "x", form);
    }
}
