//! The bodies of quotes: reports about SGX enclaves and TDX trust domains.

use serde::Serialize;

use crate::hex_form;

/// The body of an enclave report, 384 bytes (Intel SDM, `REPORT`).
#[derive(Clone, Copy)]
pub struct EnclaveReport<'a>(pub(super) &'a [u8; 384]);

/// A field of a report: `N` bytes from `AT`. Both are constants, so an overrun is an error of
/// compilation.
fn part<const AT: usize, const N: usize, const SIZE: usize>(report: &[u8; SIZE]) -> &[u8; N] {
    const { assert!(AT + N <= SIZE) };
    report[AT..]
        .first_chunk()
        .expect("AT + N <= SIZE holds at compile time")
}

impl<'a> EnclaveReport<'a> {
    /// Security version of the CPU.
    pub fn cpu_svn(self) -> &'a [u8; 16] {
        part::<0, 16, 384>(self.0)
    }

    /// What the CPU saves when the enclave faults.
    pub fn misc_select(self) -> &'a [u8; 4] {
        part::<16, 4, 384>(self.0)
    }

    /// Flags and XFRM, 8 bytes each, little-endian.
    pub fn attributes(self) -> &'a [u8; 16] {
        part::<48, 16, 384>(self.0)
    }

    /// The DEBUG flag.
    pub fn is_debug(self) -> bool {
        self.attributes()[0] & 0b10 != 0
    }

    /// Measurement of the enclave.
    pub fn mrenclave(self) -> &'a [u8; 32] {
        part::<64, 32, 384>(self.0)
    }

    /// SHA-256 of the signer's key.
    pub fn mrsigner(self) -> &'a [u8; 32] {
        part::<128, 32, 384>(self.0)
    }

    /// Product id that the signer gave.
    pub fn isv_prod_id(self) -> u16 {
        u16::from_le_bytes(*part::<256, 2, 384>(self.0))
    }

    /// Security version that the signer gave.
    pub fn isv_svn(self) -> u16 {
        u16::from_le_bytes(*part::<258, 2, 384>(self.0))
    }

    /// What the enclave put into the report.
    pub fn report_data(self) -> &'a [u8; 64] {
        part::<320, 64, 384>(self.0)
    }

    pub(super) fn flags(self) -> u64 {
        u64::from_le_bytes(*part::<48, 8, 384>(self.0))
    }

    pub(super) fn raw(self) -> &'a [u8] {
        self.0
    }

    /// The fields as claims.
    pub fn claims(self) -> SgxClaims {
        SgxClaims {
            mrenclave: *self.mrenclave(),
            mrsigner: *self.mrsigner(),
            isv_prod_id: self.isv_prod_id(),
            isv_svn: self.isv_svn(),
            debug: self.is_debug(),
            attributes: *self.attributes(),
            cpu_svn: *self.cpu_svn(),
            report_data: *self.report_data(),
        }
    }
}

/// A report about a TDX trust domain: 584 bytes in TDX 1.0, 648 in TDX 1.5, 885 in TDX 1.5 with
/// the extension that Intel calls 1.5ex.
#[derive(Clone, Copy)]
pub struct TdReport<'a> {
    pub(super) base: &'a [u8; 584],
    pub(super) extension: Option<&'a [u8; 64]>,
    pub(super) second_extension: Option<&'a [u8; 237]>,
}

impl<'a> TdReport<'a> {
    /// TEE_TCB_SVN: security versions of the TDX module and its loader at the TD's launch.
    pub fn tee_tcb_svn(self) -> &'a [u8; 16] {
        part::<0, 16, 584>(self.base)
    }

    /// MRSEAM: measurement of the TDX module.
    pub fn mr_seam(self) -> &'a [u8; 48] {
        part::<16, 48, 584>(self.base)
    }

    /// MRSIGNERSEAM: signer of the TDX module; zero stands for Intel.
    pub fn mr_signer_seam(self) -> &'a [u8; 48] {
        part::<64, 48, 584>(self.base)
    }

    /// SEAMATTRIBUTES, little-endian.
    pub fn seam_attributes(self) -> &'a [u8; 8] {
        part::<112, 8, 584>(self.base)
    }

    /// TDATTRIBUTES, little-endian.
    pub fn td_attributes(self) -> &'a [u8; 8] {
        part::<120, 8, 584>(self.base)
    }

    /// XFAM: CPU features that the TD may use, little-endian.
    pub fn xfam(self) -> &'a [u8; 8] {
        part::<128, 8, 584>(self.base)
    }

    /// MRTD: measurement of what the TD was built from.
    pub fn mr_td(self) -> &'a [u8; 48] {
        part::<136, 48, 584>(self.base)
    }

    /// MRCONFIGID: configuration that is not measured into MRTD.
    pub fn mr_config_id(self) -> &'a [u8; 48] {
        part::<184, 48, 584>(self.base)
    }

    /// MROWNER.
    pub fn mr_owner(self) -> &'a [u8; 48] {
        part::<232, 48, 584>(self.base)
    }

    /// MROWNERCONFIG.
    pub fn mr_owner_config(self) -> &'a [u8; 48] {
        part::<280, 48, 584>(self.base)
    }

    /// RTMR0 to RTMR3: what software measured at run time.
    pub fn rtmrs(self) -> [&'a [u8; 48]; 4] {
        [
            part::<328, 48, 584>(self.base),
            part::<376, 48, 584>(self.base),
            part::<424, 48, 584>(self.base),
            part::<472, 48, 584>(self.base),
        ]
    }

    /// What the TD put into the report.
    pub fn report_data(self) -> &'a [u8; 64] {
        part::<520, 64, 584>(self.base)
    }

    /// TEE_TCB_SVN2 (TDX 1.5): the security versions now, after updates that kept the TD running.
    pub fn tee_tcb_svn2(self) -> Option<&'a [u8; 16]> {
        self.extension.map(part::<0, 16, 64>)
    }

    /// MRSERVICETD (TDX 1.5): the service TDs bound to this one; zero for none.
    pub fn mr_service_td(self) -> Option<&'a [u8; 48]> {
        self.extension.map(part::<16, 48, 64>)
    }

    /// Hash of the service TDs that were bound at launch (TDX 1.5ex); zero for none.
    pub fn init_service_td_hash(self) -> Option<&'a [u8; 48]> {
        self.second_extension.map(part::<81, 48, 237>)
    }

    /// Hash of the service TDs that are bound now (TDX 1.5ex): `mr_service_td` does not change
    /// when one is bound later.
    pub fn cur_service_td_hash(self) -> Option<&'a [u8; 48]> {
        self.second_extension.map(part::<181, 48, 237>)
    }

    pub(super) fn attributes(self) -> u64 {
        u64::from_le_bytes(*self.td_attributes())
    }

    /// The DEBUG attribute.
    pub fn is_debug(self) -> bool {
        self.attributes() & 1 != 0
    }

    /// The fields as claims.
    pub fn claims(self) -> TdxClaims {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = self.rtmrs();
        TdxClaims {
            mr_td: *self.mr_td(),
            mr_config_id: *self.mr_config_id(),
            mr_owner: *self.mr_owner(),
            mr_owner_config: *self.mr_owner_config(),
            rtmr0: *rtmr0,
            rtmr1: *rtmr1,
            rtmr2: *rtmr2,
            rtmr3: *rtmr3,
            mr_seam: *self.mr_seam(),
            mr_signer_seam: *self.mr_signer_seam(),
            seam_attributes: *self.seam_attributes(),
            td_attributes: *self.td_attributes(),
            xfam: *self.xfam(),
            tee_tcb_svn: *self.tee_tcb_svn(),
            tee_tcb_svn2: self.tee_tcb_svn2().map(hex::encode),
            mr_service_td: self.mr_service_td().map(hex::encode),
            cur_service_td_hash: self.cur_service_td_hash().map(hex::encode),
            debug: self.is_debug(),
            report_data: *self.report_data(),
        }
    }
}

/// What a quote says about an SGX enclave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SgxClaims {
    /// Measurement of the enclave.
    #[serde(with = "hex_form")]
    pub mrenclave: [u8; 32],
    /// Signer of the enclave.
    #[serde(with = "hex_form")]
    pub mrsigner: [u8; 32],
    /// Product id that the signer gave.
    pub isv_prod_id: u16,
    /// Security version that the signer gave.
    pub isv_svn: u16,
    /// Whether a debugger can read the enclave.
    pub debug: bool,
    /// SGX attributes: flags and XFRM, 8 bytes each, little-endian.
    #[serde(with = "hex_form")]
    pub attributes: [u8; 16],
    /// CPU security version at the time of the report.
    #[serde(with = "hex_form")]
    pub cpu_svn: [u8; 16],
    /// What the enclave put into its report.
    #[serde(with = "hex_form")]
    pub report_data: [u8; 64],
}

/// What a quote says about a TDX trust domain. [`TdReport`] says what each field is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "each is the accessor of `TdReport` of that name"
)]
#[non_exhaustive]
pub struct TdxClaims {
    #[serde(with = "hex_form")]
    pub mr_td: [u8; 48],
    #[serde(with = "hex_form")]
    pub mr_config_id: [u8; 48],
    #[serde(with = "hex_form")]
    pub mr_owner: [u8; 48],
    #[serde(with = "hex_form")]
    pub mr_owner_config: [u8; 48],
    #[serde(with = "hex_form")]
    pub rtmr0: [u8; 48],
    #[serde(with = "hex_form")]
    pub rtmr1: [u8; 48],
    #[serde(with = "hex_form")]
    pub rtmr2: [u8; 48],
    #[serde(with = "hex_form")]
    pub rtmr3: [u8; 48],
    #[serde(with = "hex_form")]
    pub mr_seam: [u8; 48],
    #[serde(with = "hex_form")]
    pub mr_signer_seam: [u8; 48],
    #[serde(with = "hex_form")]
    pub seam_attributes: [u8; 8],
    #[serde(with = "hex_form")]
    pub td_attributes: [u8; 8],
    #[serde(with = "hex_form")]
    pub xfam: [u8; 8],
    #[serde(with = "hex_form")]
    pub tee_tcb_svn: [u8; 16],
    /// Hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tee_tcb_svn2: Option<String>,
    /// Hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_service_td: Option<String>,
    /// Hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cur_service_td_hash: Option<String>,
    pub debug: bool,
    #[serde(with = "hex_form")]
    pub report_data: [u8; 64],
}
