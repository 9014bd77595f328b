//! QE identity: which quoting enclave is Intel's, and how well patched each version is.
//!
//! Specification: Intel PCS API v4, *Get Quoting Enclave Identity*, versions 2 and 3.

use serde::Deserialize;

use super::{
    quote::Body,
    report::EnclaveReport,
    signed_json::{Level, Standing, hex_bytes},
};
use crate::{CheckName, Reason, ledger::Fault};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QeIdentity {
    id: String,
    version: u32,
    pub(super) issue_date: String,
    pub(super) next_update: String,
    pub(super) tcb_evaluation_data_number: u32,
    #[serde(deserialize_with = "hex_bytes")]
    miscselect: [u8; 4],
    #[serde(deserialize_with = "hex_bytes")]
    miscselect_mask: [u8; 4],
    #[serde(deserialize_with = "hex_bytes")]
    attributes: [u8; 16],
    #[serde(deserialize_with = "hex_bytes")]
    attributes_mask: [u8; 16],
    #[serde(deserialize_with = "hex_bytes")]
    mrsigner: [u8; 32],
    isvprodid: u16,
    tcb_levels: Vec<Level<QeTcb>>,
}

#[derive(Debug, Deserialize)]
struct QeTcb {
    isvsvn: u16,
}

impl QeIdentity {
    /// Checks that the document is about the quoting enclave for `body`.
    pub(super) fn check_kind(&self, body: Body<'_>) -> Result<(), Fault> {
        let (id, versions): (_, &[u32]) = match body {
            Body::Sgx(_) => ("QE", &[2]),
            Body::Tdx(_) => ("TD_QE", &[2, 3]),
        };
        if self.id == id && versions.contains(&self.version) {
            return if self.tcb_levels.is_empty() {
                Err(Fault::malformed(
                    CheckName::QeIdentity,
                    "the QE identity has no TCB levels",
                ))
            } else {
                Ok(())
            };
        }
        Err(Fault::mismatch(
            CheckName::QeIdentity,
            format!(
                "the document is the identity `{}` of version `{}`; this quote needs `{id}` of version 2",
                self.id, self.version
            ),
        ))
    }

    /// The standing of the quoting enclave that made `report`, if it is the one described.
    pub(super) fn standing_of(&self, report: EnclaveReport<'_>) -> Result<&Standing, Fault> {
        let differs = |what: &str| {
            Err(Fault::mismatch(
                CheckName::QeReport,
                format!("the quoting enclave has another {what} than Intel's"),
            )) as Result<(), _>
        };
        if report.is_debug() {
            // Whatever the identity's mask says: a debug QE signs what its debugger likes.
            return Err(Fault::forged(
                CheckName::QeReport,
                "the quoting enclave runs in debug mode",
            ));
        }
        if *report.mrsigner() != self.mrsigner {
            differs("signer")?;
        }
        if report.isv_prod_id() != self.isvprodid {
            differs("product id")?;
        }
        if !equal_under(
            report.misc_select(),
            &self.miscselect,
            &self.miscselect_mask,
        ) {
            differs("MISCSELECT")?;
        }
        if !equal_under(report.attributes(), &self.attributes, &self.attributes_mask) {
            differs("set of attributes")?;
        }
        self.tcb_levels
            .iter()
            .filter(|level| level.tcb.isvsvn <= report.isv_svn())
            .max_by_key(|level| level.tcb.isvsvn)
            .map(|level| &level.standing)
            .ok_or_else(|| Fault {
                check: CheckName::QeReport,
                reason: Reason::Policy,
                why: format!(
                    "the quoting enclave's security version `{}` meets no level of its identity",
                    report.isv_svn()
                ),
            })
    }
}

/// Whether `found` and `wanted` agree in every bit of `mask`.
pub(super) fn equal_under<const N: usize>(
    found: &[u8; N],
    wanted: &[u8; N],
    mask: &[u8; N],
) -> bool {
    (0..N).all(|at| found[at] & mask[at] == wanted[at] & mask[at])
}
