//! Programs that are none.

mod common;

use std::io::Cursor;

use common::{OPTIONAL, SECTION_TABLE, kernel, words};
use mse_measure::authenticode::{AuthenticodeError, sha384};

/// The error for the usual kernel with `bytes` written `at`.
fn refused(at: usize, bytes: &[u8]) -> AuthenticodeError {
    let mut program = kernel(0, 520);
    program[at..at + bytes.len()].copy_from_slice(bytes);
    sha384(Cursor::new(program)).unwrap_err()
}

#[test]
fn each_defect_has_its_error() {
    use AuthenticodeError as E;
    for (at, bytes) in [
        (0, &b"ZM"[..]),
        (0x40, b"PX"),
        (0x3c, &[0xff; 4]),
        (0x3c, &[0, 0, 2, 0]),
    ] {
        assert!(matches!(refused(at, bytes), E::NotPe), "{at:#x}");
    }
    assert!(matches!(sha384(Cursor::new(b"MZ")), Err(E::NotPe)));
    assert!(matches!(
        refused(0x46, &[0xff, 0xff]),
        E::Truncated {
            field: "SizeOfRawData"
        }
    ));
    assert!(matches!(
        refused(OPTIONAL, &[7, 1]),
        E::Magic { magic: 0x107 }
    ));
    for size in [0, 0xef, 0x1000_0000] {
        assert!(
            matches!(refused(OPTIONAL + 60, &words(&[size])), E::Headers { .. }),
            "{size:#x}"
        );
    }
    for (size, start) in [
        (0x3000, 0xfff),
        (0x3001, 0x1000),
        (u32::MAX, 0x1000),
        (0x1000, u32::MAX),
    ] {
        let error = refused(SECTION_TABLE + 16, &words(&[size, start]));
        assert!(
            matches!(error, E::Section { .. }),
            "{size:#x} at {start:#x}: {error}"
        );
    }
    let error = refused(OPTIONAL + 112 + 36, &words(&[521]));
    assert!(matches!(error, E::Certificates { size: 521 }), "{error}");
}

#[test]
fn what_signing_changes_does_not_count() {
    let plain = sha384(Cursor::new(kernel(0, 0))).unwrap();
    let mut signed = kernel(0, 520);
    signed[OPTIONAL + 64] ^= 1; // the checksum
    let last = signed.len() - 1;
    signed[last] ^= 1; // the signature
    assert_eq!(sha384(Cursor::new(signed)).unwrap(), plain);
    for at in [OPTIONAL + 63, OPTIONAL + 68, 0x1000, 0x1_4fff] {
        let mut changed = kernel(0, 520);
        changed[at] ^= 0x80;
        match sha384(Cursor::new(changed)) {
            Ok(digest) => assert_ne!(digest, plain, "{at:#x}"),
            Err(AuthenticodeError::Headers { .. }) if at == OPTIONAL + 63 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Without a directory for certificates everything but the checksum counts.
#[test]
fn programs_without_directories() {
    let mut program = kernel(0, 0);
    program[OPTIONAL + 108] = 4;
    let plain = sha384(Cursor::new(program.clone())).unwrap();
    program[OPTIONAL + 112 + 36] ^= 1;
    assert_ne!(sha384(Cursor::new(program)).unwrap(), plain);
}
