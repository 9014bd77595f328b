//! Firmware images: the table at their end, SEV and TDX metadata, and measuring with them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_measure::PAGE;
use mse_measure::firmware::{Firmware, Guid};
use mse_measure::snp::{CpuSignature, GuestFeatures, KernelHashes, SevMetadata, SnpLaunch, Vmm};
use mse_measure::tdx::{PageOrder, Tdvf};

/// The end of an image: SEV metadata and TDX metadata where their entries point, the table, the
/// reset vector. Zeros before it make whole pages.
fn image(input: &[u8]) -> Vec<u8> {
    let mut image = vec![0; input.len().div_ceil(PAGE).max(1) * PAGE - input.len()];
    image.extend(input);
    image
}

/// The same with a good footer and entries, so that what is behind them is reached.
fn with_table(input: &[u8]) -> Vec<u8> {
    let entry = |data: &[u8], guid: Guid| {
        let size = u16::try_from(data.len() + 18).expect("a short entry");
        [data, &size.to_le_bytes(), &guid.0].concat()
    };
    let offset = u32::try_from(PAGE).expect("a page").to_le_bytes();
    let mut table = [
        entry(
            &offset,
            Guid::new(
                0xdc88_6566,
                0x984a,
                0x4798,
                *b"\xa7\x5e\x55\x85\xa7\xbf\x67\xcc",
            ),
        ),
        entry(
            &offset,
            Guid::new(
                0xe47a_6535,
                0x984a,
                0x4798,
                *b"\x86\x5e\x46\x85\xa7\xbf\x8e\xc2",
            ),
        ),
        entry(
            &[0; 8],
            Guid::new(
                0x7255_371f,
                0x3a3b,
                0x4b04,
                *b"\x92\x7b\x1d\xa6\xef\xa8\xd4\x54",
            ),
        ),
    ]
    .concat();
    table.extend(entry(
        &[],
        Guid::new(
            0x96b5_82de,
            0x1fb2,
            0x45f7,
            *b"\xba\xea\xa3\x66\xc5\x5a\x08\x2d",
        ),
    ));
    let size = u16::try_from(table.len()).expect("a short table");
    let at = table.len() - 18;
    table[at..at + 2].copy_from_slice(&size.to_le_bytes());
    let mut image = vec![0; PAGE];
    let length = input.len().min(PAGE - 32 - table.len());
    image[..length].copy_from_slice(&input[..length]);
    image[PAGE - 32 - table.len()..PAGE - 32].copy_from_slice(&table);
    image
}

fuzz_target!(|input: &[u8]| {
    for image in [image(input), with_table(input)] {
        let Ok(firmware) = Firmware::parse(&image) else {
            continue;
        };
        let small = |size: u64| size < 1 << 20;
        if let Ok(metadata) = SevMetadata::parse(&firmware)
            && small(metadata.sections.iter().map(|section| section.size).sum())
        {
            let launch = SnpLaunch {
                vcpus: 2,
                cpu: CpuSignature::of(25, 1, 1),
                guest_features: GuestFeatures(1),
                vmm: Vmm::Gce,
                kernel: KernelHashes::of(&[][..], None::<&[u8]>, "").ok(),
            };
            let _ = launch.measure(&firmware);
        }
        if let Ok(tdvf) = Tdvf::parse(&firmware)
            && small(tdvf.sections().iter().map(|section| section.size).sum())
        {
            for order in PageOrder::ALL {
                tdvf.mrtd(order);
            }
        }
    }
});
