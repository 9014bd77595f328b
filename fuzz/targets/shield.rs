//! Policies of the network shield: lines `NAME=value` of an environment.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mse_shield::policy::is_shield_variable;
use mse_shield::{Layout, Policy};
use zeroize::Zeroizing;

fuzz_target!(|text: &str| {
    let mut environment: BTreeMap<String, Zeroizing<String>> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), Zeroizing::new(value.replace("\\n", "\n"))))
        .collect();
    match Policy::take(&mut environment) {
        Ok(Some(policy)) => {
            let mut listeners = Layout::of(&policy).listen;
            let all = listeners.len();
            listeners.sort();
            listeners.dedup();
            assert_eq!(listeners.len(), all, "no two rules share a listener");
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    assert!(environment.keys().all(|name| !is_shield_variable(name)));
});
