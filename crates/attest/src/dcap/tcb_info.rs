//! TCB info: which security versions of a kind of platform are up to date.
//!
//! Specification: Intel PCS API v4, *Get TCB Info*: version 3 for SGX and TDX; version 2, which
//! Intel signed until 2025, for SGX.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    pck::PckCertificate,
    qe_identity::equal_under,
    report::TdReport,
    signed_json::{Level, Standing, hex_bytes},
};
use crate::{CheckName, Reason, ledger::Fault};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbInfo {
    /// `SGX` or `TDX`; version 2 knows SGX only and has no such member.
    id: Option<String>,
    version: u32,
    pub(super) issue_date: String,
    pub(super) next_update: String,
    #[serde(deserialize_with = "hex_bytes")]
    pub(super) fmspc: [u8; 6],
    #[serde(deserialize_with = "hex_bytes")]
    pub(super) pce_id: [u8; 2],
    /// How CPUSVNs are to be compared; 0 (component by component) is the only known way.
    tcb_type: u32,
    pub(super) tcb_evaluation_data_number: u32,
    tdx_module: Option<TdxModule>,
    #[serde(default)]
    tdx_module_identities: Vec<TdxModuleIdentity>,
    tcb_levels: Vec<TcbLevel>,
}

type TcbLevel = Level<Tcb>;

/// The security versions of a level.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tcb {
    sgx_components: [u8; 16],
    tdx_components: Option<[u8; 16]>,
    pce_svn: u16,
}

/// Signer and attributes of a TDX module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TdxModule {
    #[serde(deserialize_with = "hex_bytes")]
    mrsigner: [u8; 48],
    #[serde(deserialize_with = "hex_bytes")]
    attributes: [u8; 8],
    #[serde(deserialize_with = "hex_bytes")]
    attributes_mask: [u8; 8],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TdxModuleIdentity {
    /// `TDX_` and the module's major version, two hexadecimal digits.
    id: String,
    #[serde(deserialize_with = "hex_bytes")]
    mrsigner: [u8; 48],
    #[serde(deserialize_with = "hex_bytes")]
    attributes: [u8; 8],
    #[serde(deserialize_with = "hex_bytes")]
    attributes_mask: [u8; 8],
    tcb_levels: Vec<Level<ModuleTcb>>,
}

#[derive(Debug, Deserialize)]
struct ModuleTcb {
    isvsvn: u8,
}

impl TcbInfo {
    /// Checks that the document is of a known form and about SGX (`tdx` is `None`) or TDX.
    pub(super) fn check_kind(&self, tdx: Option<TdReport<'_>>) -> Result<(), Fault> {
        let wanted = if tdx.is_some() { "TDX" } else { "SGX" };
        let found = match (self.version, self.id.as_deref()) {
            (2, None) => "SGX",
            (3, Some(id)) => id,
            (version, id) => {
                return Err(Fault::malformed(
                    CheckName::TcbInfo,
                    format!(
                        "TCB info of version `{version}` with id `{}` is not known",
                        id.unwrap_or("none")
                    ),
                ));
            }
        };
        if found != wanted {
            return Err(Fault::mismatch(
                CheckName::PlatformMatch,
                format!("the TCB info is about `{found}`, the quote about {wanted}"),
            ));
        }
        if self.tcb_type != 0 {
            return Err(Fault::malformed(
                CheckName::TcbInfo,
                format!("TCB type `{}` is not known", self.tcb_type),
            ));
        }
        let malformed = |why: String| Err(Fault::malformed(CheckName::TcbInfo, why));
        if self.tcb_levels.is_empty() {
            return malformed("the TCB info has no TCB levels".into());
        }
        let complete = |level: &TcbLevel| level.tcb.tdx_components.is_some() == tdx.is_some();
        if !self.tcb_levels.iter().all(complete) {
            return malformed(match tdx {
                Some(_) => "a TCB level lacks the components of TDX".into(),
                None => "a TCB level of SGX has components of TDX".into(),
            });
        }
        let mut seen = HashSet::new();
        for identity in &self.tdx_module_identities {
            let id = &identity.id;
            if !seen.insert(id.to_ascii_uppercase()) {
                return malformed(format!(
                    "the TCB info has the identity `{id}` of the TDX module twice"
                ));
            }
            if identity.tcb_levels.is_empty() {
                return malformed(format!(
                    "the identity `{id}` of the TDX module has no TCB levels"
                ));
            }
        }
        Ok(())
    }

    /// The standing of the best level that the platform meets in every component; for TDX, with
    /// the security versions `tee_tcb_svn` of module and loader.
    pub(super) fn platform_standing(
        &self,
        pck: &PckCertificate,
        tee_tcb_svn: Option<&[u8; 16]>,
    ) -> Result<&Standing, Fault> {
        self.tcb_levels
            .iter()
            .filter(|level| level.tcb.is_met_by(pck, tee_tcb_svn))
            // Levels are listed best first; to rely on it would be to rely on an order that is
            // promised and not checked.
            .max_by(|one, other| one.tcb.cmp(&other.tcb))
            .map(|level| &level.standing)
            .ok_or_else(|| Fault {
                check: CheckName::TcbStatus,
                reason: Reason::Policy,
                why: "the platform meets no TCB level that the vendor knows: it is older than all of them"
                    .into(),
            })
    }

    /// The best level that is listed, its place in the list, and what of it the platform does not
    /// reach.
    pub(super) fn best_level(
        &self,
        pck: &PckCertificate,
        tee_tcb_svn: Option<&[u8; 16]>,
    ) -> Option<(usize, &Standing, Vec<Lack>)> {
        let (at, level) = self
            .tcb_levels
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| one.tcb.cmp(&other.tcb))?;
        Some((at, &level.standing, level.tcb.lacked_by(pck, tee_tcb_svn)))
    }

    /// Checks the TDX module's signer and attributes.
    pub(super) fn check_module(&self, report: TdReport<'_>) -> Result<(), Fault> {
        let version = report.tee_tcb_svn()[1];
        let module = if version == 0 {
            self.tdx_module.as_ref().map(|module| {
                (
                    &module.mrsigner,
                    &module.attributes,
                    &module.attributes_mask,
                )
            })
        } else {
            self.module_identity(version).map(|module| {
                (
                    &module.mrsigner,
                    &module.attributes,
                    &module.attributes_mask,
                )
            })
        };
        let Some((mrsigner, attributes, mask)) = module else {
            return Err(Fault::mismatch(
                CheckName::TdxModule,
                format!("the TCB info does not know TDX modules of version `{version}`"),
            ));
        };
        if mrsigner != report.mr_signer_seam() {
            return Err(Fault::mismatch(
                CheckName::TdxModule,
                format!(
                    "the TDX module's signer is `{}`, not Intel",
                    hex::encode(report.mr_signer_seam())
                ),
            ));
        }
        if !equal_under(report.seam_attributes(), attributes, mask) {
            return Err(Fault::mismatch(
                CheckName::TdxModule,
                format!(
                    "the TDX module has the attributes `{}`, which its vendor does not give it",
                    hex::encode(report.seam_attributes())
                ),
            ));
        }
        Ok(())
    }

    /// The standing of the TDX module, from version 1 on: before, the platform's levels include
    /// it.
    pub(super) fn module_standing(
        &self,
        tee_tcb_svn: &[u8; 16],
    ) -> Result<Option<&Standing>, Fault> {
        let [svn, version, ..] = *tee_tcb_svn;
        if version == 0 {
            return Ok(None);
        }
        let unknown = |why: String| Fault {
            check: CheckName::TdxModule,
            reason: Reason::Policy,
            why,
        };
        self.module_identity(version)
            .ok_or_else(|| {
                unknown(format!(
                    "the TCB info does not know TDX modules of version `{version}`"
                ))
            })?
            .tcb_levels
            .iter()
            .filter(|level| level.tcb.isvsvn <= svn)
            .max_by_key(|level| level.tcb.isvsvn)
            .map(|level| Some(&level.standing))
            .ok_or_else(|| {
                unknown(format!(
                    "the TDX module's security version `{svn}` meets no level of its identity"
                ))
            })
    }

    fn module_identity(&self, version: u8) -> Option<&TdxModuleIdentity> {
        let id = format!("TDX_{version:02X}");
        self.tdx_module_identities
            .iter()
            .find(|identity| identity.id.eq_ignore_ascii_case(&id))
    }
}

/// A security version that is lower than that of a level.
pub(super) struct Lack {
    /// `sgx` or `tdx`, and which component from 0 on; `None` for the PCE.
    pub(super) component: Option<(&'static str, usize)>,
    pub(super) found: u16,
    pub(super) wanted: u16,
}

impl Tcb {
    /// What keeps [`Tcb::is_met_by`] from holding.
    fn lacked_by(&self, pck: &PckCertificate, tee_tcb_svn: Option<&[u8; 16]>) -> Vec<Lack> {
        let compare = |kind, first: usize, found: &[u8; 16], wanted: &[u8; 16]| {
            found
                .iter()
                .zip(wanted)
                .enumerate()
                .skip(first)
                .filter(|(_, (found, wanted))| found < wanted)
                .map(|(at, (found, wanted))| Lack {
                    component: Some((kind, at)),
                    found: u16::from(*found),
                    wanted: u16::from(*wanted),
                })
                .collect::<Vec<_>>()
        };
        let mut lacking = compare("sgx", 0, &pck.component_svns, &self.sgx_components);
        if pck.pce_svn < self.pce_svn {
            lacking.push(Lack {
                component: None,
                found: pck.pce_svn,
                wanted: self.pce_svn,
            });
        }
        if let (Some(wanted), Some(found)) = (&self.tdx_components, tee_tcb_svn) {
            // As in `is_met_by`: a module of version 1 or later has levels of its own.
            let first = if found[1] > 0 { 2 } else { 0 };
            lacking.extend(compare("tdx", first, found, wanted));
        }
        lacking
    }

    fn is_met_by(&self, pck: &PckCertificate, tee_tcb_svn: Option<&[u8; 16]>) -> bool {
        let meets = |found: &[u8], wanted: &[u8]| {
            found
                .iter()
                .zip(wanted)
                .all(|(found, wanted)| found >= wanted)
        };
        let meets_tdx = match (&self.tdx_components, tee_tcb_svn) {
            (None, None) => true,
            // From version 1 of the module on, its own SVN has levels of its own.
            (Some(wanted), Some(found)) if found[1] > 0 => meets(&found[2..], &wanted[2..]),
            (Some(wanted), Some(found)) => meets(found, wanted),
            _ => false,
        };
        meets(&pck.component_svns, &self.sgx_components) && pck.pce_svn >= self.pce_svn && meets_tdx
    }
}

impl<'de> Deserialize<'de> for Tcb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Component {
            svn: u8,
        }

        /// Version 3 lists components, version 2 has a member for each.
        #[derive(Deserialize)]
        struct Members {
            pcesvn: u16,
            sgxtcbcomponents: Option<[Component; 16]>,
            tdxtcbcomponents: Option<[Component; 16]>,
            sgxtcbcomp01svn: Option<u8>,
            sgxtcbcomp02svn: Option<u8>,
            sgxtcbcomp03svn: Option<u8>,
            sgxtcbcomp04svn: Option<u8>,
            sgxtcbcomp05svn: Option<u8>,
            sgxtcbcomp06svn: Option<u8>,
            sgxtcbcomp07svn: Option<u8>,
            sgxtcbcomp08svn: Option<u8>,
            sgxtcbcomp09svn: Option<u8>,
            sgxtcbcomp10svn: Option<u8>,
            sgxtcbcomp11svn: Option<u8>,
            sgxtcbcomp12svn: Option<u8>,
            sgxtcbcomp13svn: Option<u8>,
            sgxtcbcomp14svn: Option<u8>,
            sgxtcbcomp15svn: Option<u8>,
            sgxtcbcomp16svn: Option<u8>,
        }

        let members = Members::deserialize(deserializer)?;
        let numbered = [
            members.sgxtcbcomp01svn,
            members.sgxtcbcomp02svn,
            members.sgxtcbcomp03svn,
            members.sgxtcbcomp04svn,
            members.sgxtcbcomp05svn,
            members.sgxtcbcomp06svn,
            members.sgxtcbcomp07svn,
            members.sgxtcbcomp08svn,
            members.sgxtcbcomp09svn,
            members.sgxtcbcomp10svn,
            members.sgxtcbcomp11svn,
            members.sgxtcbcomp12svn,
            members.sgxtcbcomp13svn,
            members.sgxtcbcomp14svn,
            members.sgxtcbcomp15svn,
            members.sgxtcbcomp16svn,
        ];
        let svns = |components: [Component; 16]| components.map(|component| component.svn);
        let sgx_components = match members.sgxtcbcomponents.map(svns) {
            Some(_) if numbered.iter().any(Option::is_some) => {
                return Err(D::Error::custom(
                    "a TCB level has its components both in a list and one by one",
                ));
            }
            Some(components) => components,
            None => {
                let mut components = [0; 16];
                for (at, svn) in components.iter_mut().enumerate() {
                    *svn = numbered[at].ok_or_else(|| {
                        D::Error::custom(format!(
                            "a TCB level has neither `sgxtcbcomponents` nor `sgxtcbcomp{:02}svn`",
                            at + 1
                        ))
                    })?;
                }
                components
            }
        };
        Ok(Self {
            sgx_components,
            tdx_components: members.tdxtcbcomponents.map(svns),
            pce_svn: members.pcesvn,
        })
    }
}
