//! Sessions: whatever is in a text, it is read or diagnosed, and what was read comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_session::{Compatibility, Variables, check_text};

fuzz_target!(|text: &str| {
    let some = Variables::new().with("A", "x: [").with("B", "~");
    for variables in [Variables::replaced(), some] {
        for compatibility in [Compatibility::Strict, Compatibility::Import] {
            let outcome = check_text(text, &variables, compatibility);
            assert_eq!(outcome.session.is_some(), outcome.errors().count() == 0);
            if let Some(session) = outcome.session {
                let again = check_text(&session.to_text(), &Variables::replaced(), compatibility);
                let again = again.session.expect("what was written is read");
                assert!(again == session);
                assert_eq!(again.hash(), session.hash());
            }
        }
    }
});
