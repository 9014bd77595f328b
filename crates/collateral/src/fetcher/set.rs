//! All that one piece of evidence is appraised with.

use std::time::SystemTime;

use mse_attest::{Collateral, DcapCollateral, Evidence};
use tokio::try_join;

use super::{Fetcher, Found, Freshness};
use crate::amd::{Product, SnpPlatform, Vek};
use crate::document::{Content, Document};
use crate::platform::{DcapPlatform, Platform, PlatformError};
use crate::transport::FetchError;

/// Collateral, and how it came here.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What it is about: as the evidence says, and with the product line found out.
    pub platform: Option<Platform>,
    /// The collateral.
    pub collateral: Collateral,
    /// That of its least fresh document.
    pub freshness: Freshness,
    /// When the first of its documents is out of date; never without documents.
    pub expires: Option<SystemTime>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

impl Fetcher {
    /// The collateral for `evidence`: none if it carries all that it is appraised with.
    pub async fn collateral(&self, evidence: &Evidence) -> Result<Fetched, FetchError> {
        match Platform::of(evidence)? {
            Some(platform) => self.platform(&platform).await,
            None => Ok(Fetched {
                platform: None,
                collateral: Collateral::none(),
                freshness: Freshness::Fetched,
                expires: None,
                warnings: Vec::new(),
            }),
        }
    }

    /// The collateral for evidence of `platform`.
    pub async fn platform(&self, platform: &Platform) -> Result<Fetched, FetchError> {
        match platform {
            Platform::Dcap(platform) => self.dcap(*platform).await,
            Platform::Snp(platform) => self.snp(platform).await,
        }
    }

    async fn dcap(&self, platform: DcapPlatform) -> Result<Fetched, FetchError> {
        let DcapPlatform { tee, fmspc, ca } = platform;
        let edition = self.edition;
        let about = Some(fmspc);
        let documents = (
            Document::TcbInfo {
                tee,
                fmspc,
                edition,
            },
            Document::QeIdentity { tee, edition },
            Document::PckCrl(ca),
            Document::RootCaCrl,
        );
        let (tcb_info, identity, pck_crl, root_crl) = try_join!(
            self.document(&documents.0, about),
            self.document(&documents.1, about),
            self.document(&documents.2, about),
            self.document(&documents.3, about),
        )?;
        let mut dcap = DcapCollateral {
            pck_crl_issuer_chain: String::new(),
            root_ca_crl: Vec::new(),
            pck_crl: Vec::new(),
            tcb_info_issuer_chain: String::new(),
            tcb_info: String::new(),
            tcb_info_signature: Vec::new(),
            qe_identity_issuer_chain: String::new(),
            qe_identity: String::new(),
            qe_identity_signature: Vec::new(),
            pck_certificate_chain: None,
        };
        if let Content::Signed { chain, signed } = &tcb_info.reading.content {
            dcap.tcb_info_issuer_chain.clone_from(chain);
            dcap.tcb_info.clone_from(&signed.text);
            dcap.tcb_info_signature.clone_from(&signed.signature);
        }
        if let Content::Signed { chain, signed } = &identity.reading.content {
            dcap.qe_identity_issuer_chain.clone_from(chain);
            dcap.qe_identity.clone_from(&signed.text);
            dcap.qe_identity_signature.clone_from(&signed.signature);
        }
        if let Content::Crl { chain, crl } = &pck_crl.reading.content {
            dcap.pck_crl_issuer_chain = chain.clone().unwrap_or_default();
            dcap.pck_crl.clone_from(&crl.der);
        }
        if let Content::Crl { crl, .. } = &root_crl.reading.content {
            dcap.root_ca_crl.clone_from(&crl.der);
        }
        Ok(Fetched::of(
            Platform::Dcap(platform),
            dcap.into(),
            [tcb_info, identity, pck_crl, root_crl],
        ))
    }

    async fn snp(&self, platform: &SnpPlatform) -> Result<Fetched, FetchError> {
        let mut found = Vec::new();
        let mut notes = Vec::new();
        let product = if platform.key == Vek::Vcek {
            let (product, vcek) = self.vcek(platform).await?;
            found.push(vcek);
            product
        } else {
            notes.push(
                "the report is signed with a VLEK, whose certificate AMD gives to the cloud provider alone: take it from the host (the extended report has it) and add it to the collateral"
                    .to_owned(),
            );
            platform.product.unwrap_or_else(|| {
                notes
                    .push("the report does not name its product line: Milan is assumed".to_owned());
                Product::Milan
            })
        };
        let (chain, crl) = try_join!(
            self.amd(Document::AmdChain(product, platform.key)),
            self.amd(Document::AmdCrl(product, platform.key)),
        )?;
        found.extend([chain, crl]);
        let mut collateral = Collateral::none();
        for one in &found {
            match &one.reading.content {
                Content::Certificates(all) => collateral.certificates.extend(all.iter().cloned()),
                Content::Crl { crl, .. } => collateral.crls.push(crl.der.clone()),
                Content::Signed { .. } => {}
            }
        }
        let platform = SnpPlatform {
            product: Some(product),
            ..platform.clone()
        };
        let mut fetched = Fetched::of(Platform::Snp(platform), collateral, found);
        fetched.warnings.extend(notes);
        Ok(fetched)
    }

    /// The VCEK. Where the report does not name the product line, the lines that write such
    /// reports are tried.
    async fn vcek(&self, platform: &SnpPlatform) -> Result<(Product, Found), FetchError> {
        let chip_id = platform.chip_id.as_ref().ok_or(PlatformError::MaskedChip)?;
        let (first, second) = match platform.product {
            Some(product) => (product, None),
            None => (Product::Milan, Some(Product::Genoa)),
        };
        let ask = async |product| {
            let document = Document::Vcek {
                product,
                chip_id: chip_id.clone(),
                tcb: platform.tcb,
            };
            let found = self.document(&document, None).await?;
            Ok((product, found))
        };
        match (ask(first).await, second) {
            (Err(error), Some(second)) if does_not_know(&error) => ask(second).await,
            (outcome, _) => outcome,
        }
    }

    async fn amd(&self, document: Document) -> Result<Found, FetchError> {
        self.document(&document, None).await
    }
}

impl Fetched {
    fn of(
        platform: Platform,
        collateral: Collateral,
        documents: impl IntoIterator<Item = Found>,
    ) -> Self {
        let mut fetched = Self {
            platform: Some(platform),
            collateral,
            freshness: Freshness::Fetched,
            expires: None,
            warnings: Vec::new(),
        };
        for found in documents {
            let expires = found.reading.expires;
            fetched.freshness = fetched.freshness.max(found.freshness);
            fetched.expires = Some(fetched.expires.map_or(expires, |known| known.min(expires)));
            for warning in found.warnings {
                if !fetched.warnings.contains(&warning) {
                    fetched.warnings.push(warning);
                }
            }
        }
        fetched
    }
}

/// AMD's service may also refuse a chip of another product line as a bad request.
fn does_not_know(error: &FetchError) -> bool {
    error.is_not_found() || matches!(error, FetchError::Status { status: 400, .. })
}
