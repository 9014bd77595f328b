//! Quotes of versions 3, 4 and 5, written field by field.
//!
//! Layouts: Intel *SGX ECDSA QuoteLibReference DCAP API*, appendix A (version 3), and Intel *TDX
//! DCAP Quoting Library API*, appendix A (versions 4 and 5). All integers are little-endian.

use aws_lc_rs::digest::{SHA256, digest};

use super::{Forge, Key};
use crate::platform::PlatformError;

/// A quote before it is signed.
#[derive(Clone, Debug)]
pub struct QuoteForm {
    /// Version in the header.
    pub version: u16,
    /// Attestation key type in the header.
    pub key_type: u16,
    /// TEE type in the header.
    pub tee_type: u32,
    /// QE vendor id in the header.
    pub vendor_id: [u8; 16],
    /// Type and size that stand before the body, if any do.
    pub descriptor: Option<(u16, u32)>,
    /// What is quoted.
    pub body: Vec<u8>,
    /// Report of the quoting enclave. The digest of attestation key and authentication data is
    /// put into its report data unless `vouches_for` names other bytes.
    pub qe_report: EnclaveBody,
    /// What the QE vouches for, if not for the attestation key.
    pub vouches_for: Option<[u8; 64]>,
    /// Authentication data of the QE.
    pub qe_auth_data: Vec<u8>,
    /// Type of the outer certification data of versions 4 and 5.
    pub outer_type: u16,
    /// Type of the certification data.
    pub certification_type: u16,
    /// The certification data, if not the PEM chain of the PCK.
    pub certification_data: Option<Vec<u8>>,
}

impl QuoteForm {
    /// An honest quote of `version` about an enclave.
    pub fn sgx(version: u16, enclave: &EnclaveBody) -> Self {
        Self::new(version, (0, 1), enclave.to_bytes().to_vec())
    }

    /// An honest quote of `version` about a trust domain.
    pub fn tdx(version: u16, domain: &TdBody) -> Self {
        let body_type = match domain.form {
            TdForm::V10 => 2,
            TdForm::V15 => 3,
            TdForm::V15Ex => 4,
        };
        Self::new(version, (0x81, body_type), domain.to_bytes())
    }

    /// The quote, signed by the keys of `forge`.
    pub fn sign(&self, forge: &Forge) -> Result<Vec<u8>, PlatformError> {
        self.sign_with(forge, &forge.attestation_key, &forge.pck.key)
    }

    /// As [`QuoteForm::sign`]: the quote by `attestation_key`, the QE's report by `pck`.
    pub fn sign_with(
        &self,
        forge: &Forge,
        attestation_key: &Key,
        pck: &Key,
    ) -> Result<Vec<u8>, PlatformError> {
        let signed = self.signed_part();
        let point = attestation_key.public().get(1..).unwrap_or_default();
        let mut qe_report = self.qe_report.clone();
        qe_report.report_data = self.vouches_for.unwrap_or_else(|| {
            let mut data = [0; 64];
            let vouched = [point, &self.qe_auth_data].concat();
            data[..32].copy_from_slice(digest(&SHA256, &vouched).as_ref());
            data
        });
        let qe_report = qe_report.to_bytes();

        let mut certified = qe_report.to_vec();
        certified.extend(pck.sign_fixed(&qe_report)?);
        certified.extend(short(self.qe_auth_data.len()));
        certified.extend(&self.qe_auth_data);
        certified.extend(self.certification_type.to_le_bytes());
        let chain = forge.pck_chain().into_bytes();
        let data = self.certification_data.as_ref().unwrap_or(&chain);
        certified.extend(length(data.len()));
        certified.extend(data);

        let mut signature_data = attestation_key.sign_fixed(&signed)?;
        signature_data.extend(point);
        if self.version != 3 {
            signature_data.extend(self.outer_type.to_le_bytes());
            signature_data.extend(length(certified.len()));
        }
        signature_data.extend(certified);

        let mut quote = signed;
        quote.extend(length(signature_data.len()));
        quote.extend(signature_data);
        Ok(quote)
    }

    fn new(version: u16, (tee_type, body_type): (u32, u16), body: Vec<u8>) -> Self {
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self {
            version,
            key_type: 2,
            tee_type,
            vendor_id: INTEL_QE_VENDOR_ID,
            descriptor: (version == 5).then_some((body_type, size)),
            body,
            qe_report: EnclaveBody::quoting_enclave(),
            vouches_for: None,
            qe_auth_data: (0..32).collect(),
            outer_type: 6,
            certification_type: 5,
            certification_data: None,
        }
    }

    /// Header, descriptor and body.
    fn signed_part(&self) -> Vec<u8> {
        let mut signed = Vec::new();
        signed.extend(self.version.to_le_bytes());
        signed.extend(self.key_type.to_le_bytes());
        signed.extend(self.tee_type.to_le_bytes());
        signed.extend([0; 4]);
        signed.extend(self.vendor_id);
        signed.extend(*b"MSE SIMULATED FORGED");
        if let Some((body_type, size)) = self.descriptor {
            signed.extend(body_type.to_le_bytes());
            signed.extend(size.to_le_bytes());
        }
        signed.extend(&self.body);
        signed
    }
}

/// The report of an SGX enclave.
#[derive(Clone, Debug)]
pub struct EnclaveBody {
    /// MISCSELECT.
    pub misc_select: u32,
    /// Flags of the attributes.
    pub flags: u64,
    /// XFRM.
    pub xfrm: u64,
    /// MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// MRSIGNER.
    pub mrsigner: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// Report data.
    pub report_data: [u8; 64],
}

impl EnclaveBody {
    /// The quoting enclave that [`super::documents::qe_identity`] describes.
    pub fn quoting_enclave() -> Self {
        Self {
            flags: u64::from(QE_ATTRIBUTES[0]),
            mrenclave: [0x9e; 32],
            mrsigner: QE_MRSIGNER,
            isv_prod_id: QE_ISV_PROD_ID,
            isv_svn: QE_ISV_SVN,
            ..Self::default()
        }
    }

    fn to_bytes(&self) -> [u8; 384] {
        let mut body = [0; 384];
        body[..16].copy_from_slice(&[5; 16]);
        body[16..20].copy_from_slice(&self.misc_select.to_le_bytes());
        body[48..56].copy_from_slice(&self.flags.to_le_bytes());
        body[56..64].copy_from_slice(&self.xfrm.to_le_bytes());
        body[64..96].copy_from_slice(&self.mrenclave);
        body[128..160].copy_from_slice(&self.mrsigner);
        body[256..258].copy_from_slice(&self.isv_prod_id.to_le_bytes());
        body[258..260].copy_from_slice(&self.isv_svn.to_le_bytes());
        body[320..].copy_from_slice(&self.report_data);
        body
    }
}

impl Default for EnclaveBody {
    /// A production enclave: initialised, 64-bit.
    fn default() -> Self {
        Self {
            misc_select: 0,
            flags: 0x05,
            xfrm: 0xe7,
            mrenclave: [0x5e; 32],
            mrsigner: [0x51; 32],
            isv_prod_id: 1,
            isv_svn: 1,
            report_data: [0xd4; 64],
        }
    }
}

/// The layout of a report about a trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TdForm {
    /// TDX 1.0, 584 bytes.
    V10,
    /// TDX 1.5, 648 bytes.
    V15,
    /// TDX 1.5ex, 885 bytes.
    V15Ex,
}

/// The report of a trust domain; fields as in the TDX module's ABI.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub struct TdBody {
    pub form: TdForm,
    pub tee_tcb_svn: [u8; 16],
    pub mr_seam: [u8; 48],
    pub mr_signer_seam: [u8; 48],
    pub seam_attributes: [u8; 8],
    pub td_attributes: u64,
    pub xfam: u64,
    pub mr_td: [u8; 48],
    pub mr_config_id: [u8; 48],
    pub mr_owner: [u8; 48],
    pub mr_owner_config: [u8; 48],
    pub rtmrs: [[u8; 48]; 4],
    pub report_data: [u8; 64],
    pub tee_tcb_svn2: [u8; 16],
    pub mr_service_td: [u8; 48],
    pub init_service_td_hash: [u8; 48],
    pub cur_service_td_hash: [u8; 48],
}

impl TdBody {
    /// An honest trust domain under a module of version 1, in this layout.
    pub fn new(form: TdForm) -> Self {
        let mut svn = [5; 16];
        svn[1] = 1;
        Self {
            form,
            tee_tcb_svn: svn,
            mr_seam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: 1 << 28,
            xfam: 0xe7,
            mr_td: [0x7d; 48],
            mr_config_id: [0xc1; 48],
            mr_owner: [0x0e; 48],
            mr_owner_config: [0x0c; 48],
            rtmrs: [[0x10; 48], [0x11; 48], [0x12; 48], [0x13; 48]],
            report_data: [0xd4; 64],
            tee_tcb_svn2: svn,
            mr_service_td: [0; 48],
            init_service_td_hash: [0; 48],
            cur_service_td_hash: [0; 48],
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(885);
        body.extend(self.tee_tcb_svn);
        body.extend(self.mr_seam);
        body.extend(self.mr_signer_seam);
        body.extend(self.seam_attributes);
        body.extend(self.td_attributes.to_le_bytes());
        body.extend(self.xfam.to_le_bytes());
        body.extend(self.mr_td);
        body.extend(self.mr_config_id);
        body.extend(self.mr_owner);
        body.extend(self.mr_owner_config);
        for rtmr in self.rtmrs {
            body.extend(rtmr);
        }
        body.extend(self.report_data);
        if self.form != TdForm::V10 {
            body.extend(self.tee_tcb_svn2);
            body.extend(self.mr_service_td);
        }
        if self.form == TdForm::V15Ex {
            let mut extension = [0; 237];
            extension[81..129].copy_from_slice(&self.init_service_td_hash);
            extension[181..229].copy_from_slice(&self.cur_service_td_hash);
            body.extend(extension);
        }
        body
    }
}

/// Attributes of the quoting enclave: initialised, 64-bit, provisioning key; XFRM as on servers.
pub(super) const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
pub(super) const QE_MRSIGNER: [u8; 32] = [0x9e; 32];
pub(super) const QE_ISV_PROD_ID: u16 = 1;
pub(super) const QE_ISV_SVN: u16 = 8;

/// Verifiers refuse quotes of any other vendor.
const INTEL_QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn short(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes()
}
