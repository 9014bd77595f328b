//! The language from outside.

mod bounds;
mod census;
mod faults;
mod language;
mod properties;
mod vectors;

use mse_session::{Code, Compatibility, Outcome, Session, Variables, check_text};

/// A session with a name, version, salt and what else is in it.
fn with(rest: &str) -> String {
    format!("name: ns/own\nversion: 0.3.12\nsalt: 000102030405060708090a0b0c0d0e0f\n{rest}")
}

fn check(text: &str) -> Outcome {
    check_text(text, &Variables::new(), Compatibility::Strict)
}

fn import(text: &str) -> Outcome {
    check_text(text, &Variables::new(), Compatibility::Import)
}

fn session(rest: &str) -> Session {
    match check(&with(rest)).into_result() {
        Ok((session, _)) => session,
        Err(faults) => panic!("{rest}\n{faults}"),
    }
}

/// The errors: code and path.
fn errors(outcome: &Outcome) -> Vec<(Code, &str)> {
    let errors = outcome.errors();
    errors.map(|one| (one.code, one.path.as_str())).collect()
}
