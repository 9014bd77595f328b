//! The SGX extension of a PCK certificate, entry by entry.

use super::Extension;
use crate::{
    der::{boolean, enumerated, integer, octets, oid, sequence},
    platform::FMSPC,
};

/// The entries of the extension: arcs below 1.2.840.113741.1.13.1, and the value as DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxExtension {
    /// Entries of the extension, but for the TCB.
    pub entries: Vec<(u8, Vec<u8>)>,
    /// Entries of the TCB (arc 2): its components (1 to 16), PCESVN (17) and CPUSVN (18).
    pub tcb: Vec<(u8, Vec<u8>)>,
    /// Where among the entries the TCB stands.
    pub tcb_at: usize,
    /// OID of the extension, its content octets.
    pub oid: Vec<u8>,
}

impl SgxExtension {
    /// That of a platform with these component SVNs and this PCESVN.
    pub fn of(components: [u8; 16], pce_svn: u16) -> Self {
        let mut tcb: Vec<_> = (1..)
            .zip(components)
            .map(|(arc, svn)| (arc, integer(svn.into())))
            .collect();
        tcb.push((17, integer(pce_svn.into())));
        tcb.push((18, octets(&components)));
        let configuration = sequence((1..=3).map(|arc| entry(&[7, arc], boolean(false))));
        Self {
            entries: vec![
                (1, octets(&PPID)),
                (3, octets(&[0, 0])),
                (4, octets(&FMSPC)),
                (5, enumerated(1)),
                (6, octets(&PPID)),
                (7, configuration),
            ],
            tcb,
            tcb_at: 1,
            oid: SGX_OID.to_vec(),
        }
    }

    /// Puts another value (DER) in place of an entry's.
    pub fn set(&mut self, arc: u8, value: &[u8]) {
        for (found, old) in &mut self.entries {
            if *found == arc {
                *old = value.to_vec();
            }
        }
    }

    pub(super) fn extension(&self) -> Extension {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(arc, value)| entry(&[*arc], value.clone()))
            .collect();
        if !self.tcb.is_empty() {
            let tcb = sequence(
                self.tcb
                    .iter()
                    .map(|(arc, value)| entry(&[2, *arc], value.clone())),
            );
            entries.insert(self.tcb_at.min(entries.len()), entry(&[2], tcb));
        }
        Extension {
            oid: self.oid.clone(),
            critical: false,
            value: sequence(entries),
        }
    }
}

impl Default for SgxExtension {
    /// That of the platform which [`super::documents`] are about.
    fn default() -> Self {
        Self::of([5; 16], 11)
    }
}

fn entry(arcs: &[u8], value: Vec<u8>) -> Vec<u8> {
    sequence([oid(&[&SGX_OID, arcs].concat()), value])
}

const PPID: [u8; 16] = *b"forged platform.";

/// 1.2.840.113741.1.13.1, DER.
const SGX_OID: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
