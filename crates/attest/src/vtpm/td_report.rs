//! `TDREPORT_STRUCT` (Intel TDX Module ABI): what the TDX module says of a trust domain to the
//! machine that it runs on. Its MAC is under a key of that machine: for everybody else it says
//! nothing that a TD quote does not sign.

use super::hcl::HclError;
use crate::digest::sha384;

/// Size of the structure.
pub(super) const TD_REPORT_BYTES: usize = 1024;

/// Where `REPORTMACSTRUCT` has the report data.
pub(super) const REPORT_DATA_AT: usize = 128;
/// `TEE_TCB_INFO`: the TDX module.
const TEE_TCB_INFO: std::ops::Range<usize> = 256..495;
/// `TDINFO_STRUCT`: the trust domain.
const TD_INFO: std::ops::Range<usize> = 512..1024;
/// Where `REPORTMACSTRUCT` has the hashes of both.
const TEE_TCB_INFO_HASH_AT: usize = 32;
const TD_INFO_HASH_AT: usize = 80;
/// `REPORTTYPE`: a TD, with no service TD bound to it, or with some.
const ALONE: [u8; 4] = [0x81, 0, 0, 0];
const WITH_SERVICE_TD: [u8; 4] = [0x81, 0, 1, 0];
/// `SERVTD_HASH`: zeros if there is no service TD.
const SERVICE_TD_HASH: std::ops::Range<usize> = 912..960;
/// Reserved fields of all parts.
const RESERVED: [std::ops::Range<usize>; 5] = [4..16, 192..224, 400..495, 495..512, 960..1024];

/// Checks all of the form that can be checked elsewhere than on the machine itself: the type, the
/// reserved fields, and that the parts belong together. `CPUSVN` and the MAC remain.
pub(super) fn check(report: &[u8; TD_REPORT_BYTES]) -> Result<(), HclError> {
    let fault = |field| Err(HclError::TdReport { field });
    let is_zero = |range: &std::ops::Range<usize>| report[range.clone()].iter().all(|b| *b == 0);
    let kind = if is_zero(&SERVICE_TD_HASH) {
        ALONE
    } else {
        WITH_SERVICE_TD
    };
    if !report.starts_with(&kind) {
        return fault("REPORTTYPE");
    }
    if !RESERVED.iter().all(is_zero) {
        return fault("reserved");
    }
    let has_hash = |at: usize, part: std::ops::Range<usize>| {
        report[at..].starts_with(&sha384(&[&report[part]]))
    };
    if !has_hash(TEE_TCB_INFO_HASH_AT, TEE_TCB_INFO) {
        return fault("TEE_TCB_INFO_HASH");
    }
    if !has_hash(TD_INFO_HASH_AT, TD_INFO) {
        return fault("TEE_INFO_HASH");
    }
    Ok(())
}

/// The form of a report of a trust domain whose measurements are all zeros.
#[cfg(test)]
pub(super) fn blank() -> [u8; TD_REPORT_BYTES] {
    let mut report = [0; TD_REPORT_BYTES];
    report[0] = 0x81;
    for (at, part) in [
        (TEE_TCB_INFO_HASH_AT, TEE_TCB_INFO),
        (TD_INFO_HASH_AT, TD_INFO),
    ] {
        let hash = sha384(&[&report[part]]);
        report[at..at + hash.len()].copy_from_slice(&hash);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpusvn_report_data_and_mac_can_change_alone() {
        assert!(check(&blank()).is_ok());
        for at in 0..TD_REPORT_BYTES {
            let mut report = blank();
            report[at] ^= 0x40;
            let free = matches!(at, 16..32 | 128..192 | 224..256);
            assert_eq!(check(&report).is_ok(), free, "byte {at}");
        }
    }
}
