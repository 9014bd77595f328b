//! What collateral says of itself: for people, and to find it again.

use std::time::SystemTime;

use jiff::Timestamp;
use mse_attest::{Collateral, DcapCollateral};
use serde::Serialize;

use crate::amd::{SnpPlatform, Vek};
use crate::answer::{Crl, Head, validity};
use crate::platform::{DcapPlatform, DcapTee, PckCa, Platform};

/// What one document says of itself. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What it is, for instance `TCB info`.
    pub document: &'static str,
    /// What it is about, for instance `SGX 00606A000000`.
    pub about: String,
    /// When it was issued.
    pub issued: Option<Timestamp>,
    /// When it is out of date.
    pub next_update: Option<Timestamp>,
    /// The TCB evaluation that it comes from, of Intel's signed documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcb_evaluation_data_number: Option<u32>,
    /// Why it cannot be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Facts {
    /// The facts of every document in `collateral`.
    pub fn of(collateral: &Collateral) -> Vec<Self> {
        let dcap = collateral.dcap.iter().flat_map(Self::of_dcap);
        let certificates = collateral.certificates.iter().map(|der| certificate(der));
        let crls = collateral.crls.iter().map(|der| crl("CRL", der));
        dcap.chain(certificates).chain(crls).collect()
    }

    fn of_dcap(dcap: &DcapCollateral) -> [Self; 4] {
        [
            signed("TCB info", &dcap.tcb_info),
            signed("QE identity", &dcap.qe_identity),
            crl("PCK CRL", &dcap.pck_crl),
            crl("root CA CRL", &dcap.root_ca_crl),
        ]
    }

    /// Whether the document is in force at `now`; `None` if it does not say.
    pub fn is_current(&self, now: Timestamp) -> Option<bool> {
        Some(self.issued? <= now && now < self.next_update?)
    }

    fn unreadable(document: &'static str, problem: String) -> Self {
        Self {
            document,
            about: String::new(),
            issued: None,
            next_update: None,
            tcb_evaluation_data_number: None,
            problem: Some(problem),
        }
    }
}

/// The platform that `collateral` is about, as its documents say. With VEK certificates of several
/// chips it is that of the first.
pub fn platform_of(collateral: &Collateral) -> Option<Platform> {
    if let Some(dcap) = &collateral.dcap {
        return dcap_platform(dcap).map(Platform::Dcap);
    }
    let endorsed = collateral
        .certificates
        .iter()
        .find_map(|der| SnpPlatform::of_certificate(der));
    endorsed.map(Platform::Snp)
}

fn dcap_platform(dcap: &DcapCollateral) -> Option<DcapPlatform> {
    let head = Head::parse(&dcap.tcb_info, "tcbInfo").ok()?;
    let tee = match head.id.as_deref() {
        Some("TDX") => DcapTee::Tdx,
        Some("SGX") | None => DcapTee::Sgx,
        Some(_) => return None,
    };
    let issuer = Crl::parse(&dcap.pck_crl).ok()?.issuer;
    Some(DcapPlatform {
        tee,
        fmspc: head.fmspc?.parse().ok()?,
        ca: PckCa::named_in(&issuer)?,
    })
}

/// The TCB evaluation and the issue date of collateral: of two sets for one platform, the greater
/// is the newer.
pub(crate) fn age_of(collateral: &Collateral) -> (Option<u32>, Option<Timestamp>) {
    let facts = Facts::of(collateral);
    (
        facts
            .iter()
            .filter_map(|one| one.tcb_evaluation_data_number)
            .min(),
        facts
            .iter()
            .filter(|one| !one.document.ends_with("certificate"))
            .filter_map(|one| one.next_update)
            .min(),
    )
}

fn signed(document: &'static str, text: &str) -> Facts {
    match Head::parse(text, document) {
        Err(error) => Facts::unreadable(document, error.to_string()),
        Ok(head) => Facts {
            document,
            about: [head.id.as_deref(), head.fmspc.as_deref()]
                .into_iter()
                .flatten()
                .map(plain)
                .collect::<Vec<_>>()
                .join(" "),
            issued: Some(head.issue_date),
            next_update: Some(head.next_update),
            tcb_evaluation_data_number: Some(head.tcb_evaluation_data_number),
            problem: None,
        },
    }
}

fn crl(document: &'static str, der: &[u8]) -> Facts {
    match Crl::parse(der) {
        Err(error) => Facts::unreadable(document, format!("the CRL {error}")),
        Ok(crl) => Facts {
            document,
            about: common_name(&crl.issuer),
            issued: timestamp(crl.issued),
            next_update: timestamp(crl.next_update),
            tcb_evaluation_data_number: None,
            problem: None,
        },
    }
}

fn certificate(der: &[u8]) -> Facts {
    let (issued, end) = match validity(der) {
        Err(error) => return Facts::unreadable("certificate", format!("the certificate {error}")),
        Ok(validity) => validity,
    };
    let (document, about) = match SnpPlatform::of_certificate(der) {
        Some(platform) if platform.key == Vek::Vlek => ("VLEK certificate", platform.to_string()),
        Some(platform) if platform.chip_id.is_some() => ("VCEK certificate", platform.to_string()),
        _ => ("CA certificate", subject_of(der)),
    };
    Facts {
        document,
        about,
        issued: timestamp(issued),
        next_update: timestamp(end),
        tcb_evaluation_data_number: None,
        problem: None,
    }
}

fn subject_of(der: &[u8]) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};

    X509Certificate::from_der(der).map_or_else(
        |_| String::new(),
        |(_, certificate)| common_name(&certificate.subject().to_string()),
    )
}

/// The common name in a distinguished name, or all of it.
fn common_name(name: &str) -> String {
    let common = name
        .split(", ")
        .find_map(|part| part.strip_prefix("CN="))
        .unwrap_or(name);
    plain(common)
}

/// Text that somebody else chose, for a terminal: short, and without control characters.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(80)
        .collect()
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
