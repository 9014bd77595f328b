//! DcapCollateral of the simulated platform: TCB info, QE identity and CRLs, in the forms of Intel's
//! PCS API v4.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::{DcapCollateral, TcbStatus};
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    pck::{PCE_ID, PCE_SVN, TCB_COMPONENTS},
    platform::{COLLATERAL_LIFE, FMSPC, Platform, PlatformError},
    quote::{QE_ATTRIBUTES, QE_ISV_PROD_ID, QE_ISV_SVN, qe_mrsigner},
};

/// What collateral says.
#[derive(Clone, Debug)]
pub struct CollateralOptions {
    /// Issue date of TCB info and QE identity.
    pub issued: SystemTime,
    /// Issue date of the CRLs.
    pub crls_issued: SystemTime,
    /// How long all of it is valid from its issue date on.
    pub life: Duration,
    /// The platforms that the TCB info is about.
    pub fmspc: [u8; 6],
    /// The provisioning certification enclave that the TCB info is about.
    pub pce_id: [u8; 2],
    /// Status of the TCB level that the platform meets.
    pub tcb_status: TcbStatus,
    /// Advisories of that level.
    pub advisory_ids: Vec<String>,
    /// TCB evaluation data number of both documents.
    pub tcb_evaluation_number: u32,
    /// Signer of the quoting enclave.
    pub qe_mrsigner: [u8; 32],
    /// Lowest security version of the quoting enclave that is up to date.
    pub qe_isv_svn: u16,
    /// Certificates on the CRLs.
    pub revoked: Vec<Revoked>,
}

impl CollateralOptions {
    /// What an honest platform issues at `now`.
    pub fn honest(now: SystemTime) -> Self {
        let issued = now - BACKDATED;
        Self {
            issued,
            crls_issued: issued,
            life: BACKDATED + COLLATERAL_LIFE,
            fmspc: FMSPC,
            pce_id: PCE_ID,
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: Vec::new(),
            tcb_evaluation_number: 1,
            qe_mrsigner: qe_mrsigner(),
            qe_isv_svn: QE_ISV_SVN,
            revoked: Vec::new(),
        }
    }
}

/// A certificate that a CRL lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revoked {
    /// That of the platform's key, on the CRL of the platform CA.
    Pck,
    /// That of the platform CA, on the CRL of the root.
    PlatformCa,
    /// That of the signer of TCB info and QE identity, on the CRL of the root.
    TcbSigner,
    /// The root's own, on the CRL of the root.
    Root,
}

impl Platform {
    /// As [`Platform::collateral`], with `options` that an honest platform would not choose.
    pub fn collateral_with(
        &self,
        options: &CollateralOptions,
    ) -> Result<DcapCollateral, PlatformError> {
        let mut on_pck_crl = Vec::new();
        let mut on_root_crl = Vec::new();
        for revoked in &options.revoked {
            match revoked {
                Revoked::Pck => on_pck_crl.push(self.pck.serial()),
                Revoked::PlatformCa => on_root_crl.push(self.pck_ca.serial()),
                Revoked::TcbSigner => on_root_crl.push(self.tcb_signer.serial()),
                Revoked::Root => on_root_crl.push(self.root.serial()),
            }
        }
        let tcb_info = tcb_info(options)?;
        let qe_identity = qe_identity(options)?;
        let signer_chain = format!("{}{}", self.tcb_signer.certificate, self.root.pem());
        Ok(DcapCollateral {
            pck_crl_issuer_chain: format!("{}{}", self.pck_ca.pem(), self.root.pem()),
            root_ca_crl: crl(&self.root, on_root_crl, options)?,
            pck_crl: crl(&self.pck_ca, on_pck_crl, options)?,
            tcb_info_issuer_chain: signer_chain.clone(),
            tcb_info_signature: self.tcb_signer.sign(tcb_info.as_bytes())?.to_vec(),
            tcb_info,
            qe_identity_issuer_chain: signer_chain,
            qe_identity_signature: self.tcb_signer.sign(qe_identity.as_bytes())?.to_vec(),
            qe_identity,
            pck_certificate_chain: None,
        })
    }
}

/// Clocks of verifiers may be behind.
const BACKDATED: Duration = Duration::from_hours(1);

/// Date of the TCB levels: nothing about a simulated TCB ever changed.
const TCB_DATE: &str = "2026-01-01T00:00:00Z";

/// TCB info, version 3: two levels, the platform's own and one below it.
fn tcb_info(options: &CollateralOptions) -> Result<String, PlatformError> {
    let level = |components: [u8; 16], pce_svn: u8, status: TcbStatus, advisories: &[String]| {
        let components = components.map(|svn| json!({ "svn": svn }));
        with_advisories(
            json!({
                "tcb": { "sgxtcbcomponents": components, "pcesvn": pce_svn },
                "tcbDate": TCB_DATE,
                "tcbStatus": status.as_str(),
            }),
            advisories,
        )
    };
    let document = json!({
        "id": "SGX",
        "version": 3,
        "issueDate": date(options.issued)?,
        "nextUpdate": date(options.issued + options.life)?,
        "fmspc": hex::encode_upper(options.fmspc),
        "pceId": hex::encode_upper(options.pce_id),
        "tcbType": 0,
        "tcbEvaluationDataNumber": options.tcb_evaluation_number,
        "tcbLevels": [
            level(TCB_COMPONENTS, PCE_SVN, options.tcb_status, &options.advisory_ids),
            level([0; 16], 0, TcbStatus::OutOfDate, &[]),
        ],
    });
    Ok(document.to_string())
}

/// QE identity, version 2.
fn qe_identity(options: &CollateralOptions) -> Result<String, PlatformError> {
    // Everything of the attributes counts but XFRM's upper half, and DEBUG must be off.
    let attributes_mask = "FBFFFFFFFFFFFFFF0000000000000000";
    let document = json!({
        "id": "QE",
        "version": 2,
        "issueDate": date(options.issued)?,
        "nextUpdate": date(options.issued + options.life)?,
        "tcbEvaluationDataNumber": options.tcb_evaluation_number,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": hex::encode_upper(QE_ATTRIBUTES),
        "attributesMask": attributes_mask,
        "mrsigner": hex::encode_upper(options.qe_mrsigner),
        "isvprodid": QE_ISV_PROD_ID,
        "tcbLevels": [{
            "tcb": { "isvsvn": options.qe_isv_svn },
            "tcbDate": TCB_DATE,
            "tcbStatus": TcbStatus::UpToDate.as_str(),
        }],
    });
    Ok(document.to_string())
}

/// Intel leaves the member out where there is nothing to list.
fn with_advisories(mut level: Value, advisories: &[String]) -> Value {
    if !advisories.is_empty() {
        level["advisoryIDs"] = json!(advisories);
    }
    level
}

fn crl(
    authority: &Authority,
    serials: Vec<SerialNumber>,
    options: &CollateralOptions,
) -> Result<Vec<u8>, PlatformError> {
    let revoked_certs = serials
        .into_iter()
        .map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: options.crls_issued.into(),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        })
        .collect();
    let params = CertificateRevocationListParams {
        this_update: options.crls_issued.into(),
        next_update: (options.crls_issued + options.life).into(),
        // Grows with time, across restarts too.
        crl_number: SerialNumber::from(unix_seconds(options.crls_issued)),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(authority.issuer())?.der().to_vec())
}

/// RFC 3339 in UTC, to the second, as Intel writes it.
fn date(time: SystemTime) -> Result<String, PlatformError> {
    let seconds = unix_seconds(time);
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map(|timestamp| timestamp.to_string())
        .ok_or(PlatformError::Date { seconds })
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
