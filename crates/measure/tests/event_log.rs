//! Event logs: what counts, and what is refused.

mod common;

use common::{event_log, event_log_header, words};
use mse_measure::Sha384Digest;
use mse_measure::event_log::{DataCheck, EventKind, EventLog, EventLogError, MAX_LOG, Register};
use mse_measure::tdx::Rtmr;

const ACTION: u32 = 0x8000_0007;

fn refused(log: &[u8]) -> EventLogError {
    EventLog::parse(log).unwrap_err()
}

#[test]
fn informative_events_change_nothing() {
    let digest = Sha384Digest::of(b"x");
    let log = event_log(&[
        (1, 3, [7; 48], b"StartupLocality\0\0"),
        (0, 3, [0; 48], b"about MRTD"),
        (1, ACTION, digest.0, b"x"),
        (4, 3, [9; 48], b""),
    ]);
    let log = EventLog::parse(&log).unwrap();
    assert_eq!(log.events().len(), 4);
    let registers = log.replay();
    assert_eq!(registers.rtmr(0), Rtmr::replay([&digest]));
    for index in [1, 2, 3, 200] {
        assert_eq!(registers.rtmr(index), Rtmr::START);
    }
    assert_eq!(log.events()[1].register, Register::Mrtd);
    assert_eq!(log.events()[0].check_data(), DataCheck::NotMeasured);
}

#[test]
fn space_after_the_events_is_not_read() {
    let log = event_log(&[(2, 4, Sha384Digest::of(&[0; 4]).0, &[0; 4])]);
    for filler in [0xff, 0] {
        let mut padded = log.clone();
        padded.resize(65_536, filler);
        assert_eq!(EventLog::parse(&padded).unwrap().events().len(), 1);
        padded.push(1);
        EventLog::parse(&padded).unwrap_err();
    }
}

#[test]
fn digests_of_what_is_in_the_log() {
    let namespace = [5; 16];
    let name: Vec<u8> = "BootOrder"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let variable = [
        &namespace[..],
        &9_u64.to_le_bytes(),
        &2_u64.to_le_bytes(),
        &name,
        &[1, 0],
    ]
    .concat();
    let cut = &variable[..variable.len() - 1];
    let check = |kind: u32, measured: &[u8], data: &[u8]| {
        let log = event_log(&[(1, kind, Sha384Digest::of(measured).0, data)]);
        EventLog::parse(&log).unwrap().events()[0].check_data()
    };
    use DataCheck::{Differs, Measured, NotMeasured};
    for (kind, measured, data, expected) in [
        (ACTION, &b"Exit"[..], &b"Exit"[..], Measured),
        (ACTION, b"Exit", b"exit", Differs),
        (4, &[0; 4], &[0; 4], Measured),
        (8, b"v1", b"v1", Measured),
        (0x8000_0001, &variable, &variable, Measured),
        (0x8000_000c, &variable, &variable, Measured),
        // Of a boot variable only the contents count.
        (0x8000_0002, &[1, 0], &variable, Measured),
        (0x8000_0002, &variable, &variable, Differs),
        (0x8000_0002, &[1, 0], cut, NotMeasured),
        (0x0d, b"set root", b"grub_cmd: set root\0", Measured),
        (0x0d, b"set root", b"kernel_cmdline: set ROOT\0", Differs),
        (0x0d, b"file", b"/boot/vmlinuz\0", NotMeasured),
        (6, b"options", b"LOADED_IMAGE::LoadOptions\0", NotMeasured),
        (0x8000_0003, b"kernel", b"path", NotMeasured),
    ] {
        assert_eq!(check(kind, measured, data), expected, "{kind:#x} {data:?}");
    }
}

#[test]
fn several_algorithms() {
    let mut log = event_log_header(&[(4, 20), (0x0c, 48), (0x0b, 32)]);
    log.extend(words(&[3, ACTION, 3]));
    log.extend(4_u16.to_le_bytes());
    log.extend([1; 20]);
    log.extend(0x0b_u16.to_le_bytes());
    log.extend([2; 32]);
    log.extend(0x0c_u16.to_le_bytes());
    log.extend([3; 48]);
    log.extend(words(&[0]));
    let log = EventLog::parse(&log).unwrap();
    assert_eq!(log.replay().rtmr(2), Rtmr::replay([&Sha384Digest([3; 48])]));
    assert_eq!(log.events()[0].kind, EventKind::EFI_ACTION);
}

#[test]
fn each_refusal_has_its_error() {
    let good = event_log(&[(1, ACTION, [1; 48], b"data")]);
    let header = event_log_header(&[(0x0c, 48)]).len();
    for cut in 1..good.len() - header {
        let cut = &good[..good.len() - cut];
        let error = refused(cut);
        assert!(
            matches!(error, EventLogError::Truncated { index: 0, offset } if offset == header),
            "{error}"
        );
    }
    for cut in 0..header {
        let error = refused(&good[..cut]);
        assert_eq!(error, EventLogError::NoHeader);
    }
    assert_eq!(
        refused(&vec![0; MAX_LOG + 1]),
        EventLogError::TooLarge { size: MAX_LOG + 1 }
    );
    assert_eq!(refused(&[0xff; 100]), EventLogError::NoHeader);
    let with_header = |algorithms: &[(u16, u16)]| refused(&event_log_header(algorithms));
    assert_eq!(with_header(&[]), EventLogError::Algorithms);
    assert_eq!(
        with_header(&[(0x0c, 48), (0x0c, 48)]),
        EventLogError::Algorithms
    );
    assert_eq!(
        with_header(&[(0x0c, 48), (4, 0)]),
        EventLogError::Algorithms
    );
    assert_eq!(
        with_header(&[(0x0c, 48), (4, 65)]),
        EventLogError::Algorithms
    );
    assert_eq!(with_header(&[(0x0b, 32)]), EventLogError::NoSha384);
    assert_eq!(with_header(&[(0x0c, 32)]), EventLogError::NoSha384);
    let nine: Vec<_> = (0..9).map(|id| (id, 20)).collect();
    assert_eq!(with_header(&nine), EventLogError::Algorithms);

    let event = |bytes: Vec<u8>| refused(&[event_log_header(&[(0x0c, 48)]), bytes].concat());
    assert_eq!(
        event(words(&[5, ACTION, 1])),
        EventLogError::Register {
            index: 0,
            register: 5
        }
    );
    assert_eq!(
        event(words(&[0, ACTION, 1])),
        EventLogError::ExtendedMrtd { index: 0 }
    );
    assert_eq!(
        event(words(&[1, ACTION, 2])),
        EventLogError::Digests { index: 0, count: 2 }
    );
    assert_eq!(
        event(words(&[1, ACTION, 0, 0])),
        EventLogError::NoDigest { index: 0 }
    );
    assert_eq!(
        event(words(&[1, ACTION, 1, 4])),
        EventLogError::Algorithm {
            index: 0,
            algorithm: 4
        }
    );
    let mut twice = event_log_header(&[(0x0c, 48), (4, 20)]);
    twice.extend(words(&[1, ACTION, 2]));
    for _ in 0..2 {
        twice.extend(0x0c_u16.to_le_bytes());
        twice.extend([0; 48]);
    }
    assert_eq!(
        refused(&twice),
        EventLogError::Digests { index: 0, count: 2 }
    );
}
