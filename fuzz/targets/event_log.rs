//! Event logs of TDX guests: read, replayed and compared with their data, or refused; programs on
//! the way, whose digests are in them.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mse_measure::authenticode;
use mse_measure::event_log::EventLog;

fuzz_target!(|input: &[u8]| {
    // A good header, so that events are reached.
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(33_u32.to_le_bytes());
    log.extend(b"Spec ID Event03\0");
    log.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    log.extend([1, 0, 0, 0, 0x0c, 0, 48, 0, 0]);
    log.extend(input);
    for log in [input, &log] {
        if let Ok(log) = EventLog::parse(log) {
            log.replay();
            for event in log.events() {
                event.check_data();
            }
        }
    }
    let _ = authenticode::sha384(Cursor::new(input));
});
