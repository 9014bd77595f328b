//! The JSON of every kind of workload: accepted means it has one canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_workload::{CasWorkload, Measured, ServiceWorkload, Workload};

fuzz_target!(|json: &[u8]| {
    if let Ok(workload) = Workload::from_json(json) {
        let canonical = workload.canonical();
        let again = Workload::from_json(&canonical).expect("the canonical form is read");
        assert_eq!(again.digest(), workload.digest());
        assert!(ServiceWorkload::from_json(json).is_err());
        assert!(CasWorkload::from_json(json).is_err());
    }
    if let Ok(workload) = ServiceWorkload::from_json(json) {
        let canonical = workload.canonical();
        let again = ServiceWorkload::from_json(&canonical).expect("the canonical form is read");
        assert_eq!(again.digest(), workload.digest());
    }
    if let Ok(workload) = CasWorkload::from_json(json) {
        let canonical = workload.canonical();
        let again = CasWorkload::from_json(&canonical).expect("the canonical form is read");
        assert_eq!(again.digest(), workload.digest());
        assert!(ServiceWorkload::from_json(json).is_err());
    }
});
