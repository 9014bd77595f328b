//! Frames of the launch socket, in both directions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_workload::launch::{FromEnclave, ToEnclave, decode, encode, frame_length};

fuzz_target!(|bytes: &[u8]| {
    if let Some((prefix, json)) = bytes.split_first_chunk::<4>() {
        let _ = frame_length(*prefix);
        if let Ok(message) = decode::<ToEnclave>(json) {
            encode(&message).expect("what was read can be written");
        }
        if let Ok(message) = decode::<FromEnclave>(json) {
            encode(&message).expect("what was read can be written");
        }
    }
});
