//! Synthetic firmware images, kernels and logs.
#![allow(dead_code, clippy::cast_possible_truncation)]

use std::fs;
use std::path::{Path, PathBuf};

use mse_measure::PAGE;
use mse_measure::firmware::Guid;

pub(crate) const FOOTER: Guid = Guid::new(
    0x96b5_82de,
    0x1fb2,
    0x45f7,
    *b"\xba\xea\xa3\x66\xc5\x5a\x08\x2d",
);
pub(crate) const SEV_METADATA: Guid = Guid::new(
    0xdc88_6566,
    0x984a,
    0x4798,
    *b"\xa7\x5e\x55\x85\xa7\xbf\x67\xcc",
);
pub(crate) const SEV_HASHES: Guid = Guid::new(
    0x7255_371f,
    0x3a3b,
    0x4b04,
    *b"\x92\x7b\x1d\xa6\xef\xa8\xd4\x54",
);
pub(crate) const SEV_ES_RESET: Guid = Guid::new(
    0x00f7_71de,
    0x1a7e,
    0x4fcb,
    *b"\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e",
);
pub(crate) const TDX_METADATA: Guid = Guid::new(
    0xe47a_6535,
    0x984a,
    0x4798,
    *b"\x86\x5e\x46\x85\xa7\xbf\x8e\xc2",
);

/// Bytes without a pattern that pages share: byte `i` is `i * factor + i / 256 * 7 + start`.
pub(crate) fn filler(length: usize, factor: usize, start: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * factor + i / 256 * 7 + start) & 0xff) as u8)
        .collect()
}

/// An image of `pages` pages with this table before its reset vector.
pub(crate) fn image(pages: usize, entries: &[(Guid, Vec<u8>)]) -> Vec<u8> {
    let mut image = filler(pages * PAGE, 31, 0);
    let mut table = Vec::new();
    for (guid, data) in entries {
        table.extend(data);
        table.extend(u16::try_from(data.len() + 18).unwrap().to_le_bytes());
        table.extend(guid.0);
    }
    table.extend(u16::try_from(table.len() + 18).unwrap().to_le_bytes());
    table.extend(FOOTER.0);
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    image
}

/// Puts `bytes` at `from_end` bytes before the end.
pub(crate) fn put(image: &mut [u8], from_end: usize, bytes: &[u8]) {
    let at = image.len() - from_end;
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A section of SEV metadata: address, size, type.
pub(crate) type SevSection = [u32; 3];

/// The sections of OVMF's `AmdSev` build, as in the image that is published for tests.
pub(crate) const AMD_SEV: [SevSection; 7] = [
    [0x80_0000, 0x9000, 1],
    [0x80_a000, 0x3000, 1],
    [0x80_d000, 0x1000, 2],
    [0x80_e000, 0x1000, 3],
    [0x80_f000, 0x1000, 4],
    [0x81_0000, 0x1000, 0x10],
    [0x81_1000, 0xf000, 1],
];
/// The sections of its `OvmfX64` build.
pub(crate) const OVMF_X64: [SevSection; 6] = [
    [0x80_0000, 0x9000, 1],
    [0x80_a000, 0x3000, 1],
    [0x80_d000, 0x1000, 2],
    [0x80_e000, 0x1000, 3],
    [0x80_f000, 0x1000, 4],
    [0x81_0000, 0x1_0000, 1],
];
pub(crate) const HASHES_TABLE: [u32; 2] = [0x81_0c00, 0x400];
pub(crate) const AP_RESET: u32 = 0x80_b004;

/// Where SEV metadata is in [`sev_image`], from the end.
pub(crate) const SEV_DESCRIPTOR: usize = 0x800;

/// An image for SEV-SNP.
pub(crate) fn sev_image(pages: usize, sections: &[SevSection], hashes_table: [u32; 2]) -> Vec<u8> {
    let mut image = image(
        pages,
        &[
            (SEV_METADATA, words(&[0x800])),
            (SEV_HASHES, words(&hashes_table)),
            (SEV_ES_RESET, words(&[AP_RESET])),
        ],
    );
    put(&mut image, SEV_DESCRIPTOR, &sev_descriptor(sections));
    image
}

pub(crate) fn sev_descriptor(sections: &[SevSection]) -> Vec<u8> {
    let count = u32::try_from(sections.len()).unwrap();
    let mut descriptor = b"ASEV".to_vec();
    descriptor.extend(words(&[16 + 12 * count, 1, count]));
    for section in sections {
        descriptor.extend(words(section));
    }
    descriptor
}

/// A section of TDX metadata: offset, raw size, address, size, type, attributes.
pub(crate) type TdxSection = (u32, u32, u64, u64, u32, u32);

pub(crate) const TDX_DESCRIPTOR: usize = 0x400;

/// An image for TDX.
pub(crate) fn tdx_image(pages: usize, sections: &[TdxSection]) -> Vec<u8> {
    let mut image = image(pages, &[(TDX_METADATA, words(&[0x400]))]);
    // The GUID before the descriptor, which not everybody looks at.
    let guid = Guid::new(
        0xe9ea_f9f3,
        0x168e,
        0x44d5,
        *b"\xa8\xeb\x7f\x4d\x87\x38\xf6\xae",
    );
    put(&mut image, TDX_DESCRIPTOR + 16, &guid.0);
    put(&mut image, TDX_DESCRIPTOR, &tdx_descriptor(sections));
    image
}

pub(crate) fn tdx_descriptor(sections: &[TdxSection]) -> Vec<u8> {
    let count = u32::try_from(sections.len()).unwrap();
    let mut descriptor = b"TDVF".to_vec();
    descriptor.extend(words(&[16 + 32 * count, 1, count]));
    for (offset, raw, address, size, kind, attributes) in sections {
        descriptor.extend(words(&[*offset, *raw]));
        descriptor.extend(address.to_le_bytes());
        descriptor.extend(size.to_le_bytes());
        descriptor.extend(words(&[*kind, *attributes]));
    }
    descriptor
}

/// The lines of a file of vectors, as words; `#` begins a comment.
pub(crate) fn vectors(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../measure/tests/vectors")
        .join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

/// A file of the shared samples of real evidence.
pub(crate) fn evidence(file: &str) -> PathBuf {
    let folder = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let path = folder.join(file);
    assert!(
        path.is_file(),
        "there is no sample `{}`: set MSE_EVIDENCE_DIR to the folder with the samples of real evidence",
        path.display()
    );
    path
}

/// A PE32+ program with three sections that is a Linux kernel, too: `tail` bytes follow its
/// sections, then `certificates` bytes of certificates.
pub(crate) fn kernel(tail: usize, certificates: usize) -> Vec<u8> {
    const TOTAL: usize = 0x1_5000;
    let sections = [(0x1000, 0x3000), (0x4000, 0x200), (0x4200, 0x1_0e00)];
    let mut kernel = filler(TOTAL + tail, 11, 5);
    kernel[..0x1000].fill(0);
    let mut write = |at: usize, bytes: &[u8]| kernel[at..at + bytes.len()].copy_from_slice(bytes);
    write(0, b"MZ");
    write(0x3c, &words(&[PE_HEADER]));
    write(0x40, b"PE\0\0");
    write(0x44, &[0x64, 0x86, 3, 0]);
    write(0x54, &[240, 0, 6, 2]);
    write(OPTIONAL, &[0x0b, 2]);
    write(OPTIONAL + 32, &words(&[0x1000, 0x200]));
    write(OPTIONAL + 56, &words(&[TOTAL as u32, 0x1000, 0xdead_beef]));
    write(OPTIONAL + 108, &words(&[16]));
    if certificates > 0 {
        let entry = [(TOTAL + tail) as u32, certificates as u32];
        write(OPTIONAL + 112 + 32, &words(&entry));
    }
    for (index, (start, size)) in sections.into_iter().enumerate() {
        let at = SECTION_TABLE + 40 * index;
        write(at, format!(".s{index}").as_bytes());
        write(at + 8, &words(&[size, start, size, start]));
        write(at + 36, &words(&[0x6000_0020]));
    }
    write(0x202, b"HdrS");
    write(0x206, &[0x0f, 0x02]);
    write(0x211, &[1]);
    write(0x22c, &words(&[0x7fff_ffff]));
    write(0x236, &[0x3f, 0]);
    kernel.extend(filler(certificates, 3, 9));
    kernel
}

pub(crate) const PE_HEADER: u32 = 0x40;
pub(crate) const OPTIONAL: usize = 0x58;
pub(crate) const SECTION_TABLE: usize = OPTIONAL + 240;

/// A log with a header for SHA-384 and these events: register, kind, digest, data.
pub(crate) fn event_log(events: &[(u32, u32, [u8; 48], &[u8])]) -> Vec<u8> {
    let mut log = event_log_header(&[(0x0c, 48)]);
    for (register, kind, digest, data) in events {
        log.extend(words(&[*register, *kind, 1]));
        log.extend(0x0c_u16.to_le_bytes());
        log.extend(digest);
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(*data);
    }
    log
}

pub(crate) fn event_log_header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(words(&[u32::try_from(algorithms.len()).unwrap()]));
    for (id, size) in algorithms {
        data.extend(id.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    let mut log = words(&[0, 3]);
    log.extend([0; 20]);
    log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    log.extend(data);
    log
}
