//! The SGX extension of a PCK certificate, OID 1.2.840.113741.1.13.1.
//!
//! Follows Intel's *SGX PCK Certificate and CRL Profile Specification*, §1.3: a sequence of pairs
//! of OID and value, with the TCB and the configuration as sequences of pairs in it.

use rcgen::CustomExtension;

use crate::{
    der::{boolean, element, enumerated, integer, octets, sequence},
    platform::FMSPC,
};

/// Security versions of the simulated CPU's 16 TCB components.
pub(crate) const TCB_COMPONENTS: [u8; 16] = [1; 16];

/// Security version of the simulated provisioning certification enclave.
pub(crate) const PCE_SVN: u8 = 1;

/// Identity of the simulated provisioning certification enclave.
pub(crate) const PCE_ID: [u8; 2] = [0, 0];

/// The extension for the platform with this PPID.
pub(crate) fn extension(ppid: [u8; 16]) -> CustomExtension {
    let tcb = TCB_COMPONENTS
        .iter()
        .zip(1..)
        .map(|(svn, component)| entry(&[2, component], &integer((*svn).into())))
        .chain([
            entry(&[2, 17], &integer(PCE_SVN.into())),
            entry(&[2, 18], &octets(&TCB_COMPONENTS)),
        ]);
    let configuration = [
        entry(&[7, 1], &boolean(false)),
        entry(&[7, 2], &boolean(false)),
        entry(&[7, 3], &boolean(false)),
    ];
    let content = sequence([
        entry(&[1], &octets(&ppid)),
        entry(&[2], &sequence(tcb)),
        entry(&[3], &octets(&PCE_ID)),
        entry(&[4], &octets(&FMSPC)),
        entry(&[5], &enumerated(SCALABLE)),
        // There is one package, so the instance is the platform.
        entry(&[6], &octets(&ppid)),
        entry(&[7], &sequence(configuration)),
    ]);
    CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], content)
}

/// SGX type of platforms that the Platform CA certifies.
const SCALABLE: u8 = 1;

/// 1.2.840.113741.1.13.1, DER.
const SGX_OID: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// The pair of an OID, given below [`SGX_OID`], and a DER value. Arcs are below 128: one byte each.
fn entry(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    sequence([element(0x06, &[&SGX_OID, arcs].concat()), value.to_vec()])
}
