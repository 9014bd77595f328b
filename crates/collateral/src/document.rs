//! What one request asks for, what its answer must be about, and until when that is good.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::amd::{self, ChipId, Product, SnpPlatform, Tcb, Vek};
use crate::answer::{self, Answer, AnswerError, Crl, Signed};
use crate::platform::{DcapTee, Fmspc, PckCa, UnknownWord};

/// One document of a collateral service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// Intel's TCB info of a machine type.
    TcbInfo {
        /// Which TEE's.
        tee: DcapTee,
        /// The machine type.
        fmspc: Fmspc,
        /// Which edition.
        edition: Edition,
    },
    /// Intel's identity of the quoting enclave.
    QeIdentity {
        /// Which TEE's.
        tee: DcapTee,
        /// Which edition.
        edition: Edition,
    },
    /// The CRL of a CA for PCK certificates.
    PckCrl(PckCa),
    /// The CRL of Intel's root CA.
    RootCaCrl,
    /// The certificate of a chip's VCEK.
    Vcek {
        /// The product line.
        product: Product,
        /// The chip.
        chip_id: ChipId,
        /// The TCB version.
        tcb: Tcb,
    },
    /// ASK (or ASVK) and ARK.
    AmdChain(Product, Vek),
    /// The CRL of the ARK.
    AmdCrl(Product, Vek),
}

/// Which TCB evaluation to ask Intel for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edition {
    /// The one that is in force: operators have had a year to update.
    #[default]
    Standard,
    /// The newest one.
    Early,
    /// The one with this number (`tcbEvaluationDataNumber`).
    Number(u32),
}

impl Edition {
    /// The query parameter.
    pub fn query(self) -> String {
        match self {
            Self::Standard => "update=standard".to_owned(),
            Self::Early => "update=early".to_owned(),
            Self::Number(number) => format!("tcbEvaluationDataNumber={number}"),
        }
    }
}

impl std::str::FromStr for Edition {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "standard" => Ok(Self::Standard),
            "early" => Ok(Self::Early),
            number => number.parse().map(Self::Number).map_err(|_| {
                UnknownWord::new(
                    text,
                    "write `standard`, `early` or the number of a TCB evaluation",
                )
            }),
        }
    }
}

/// An answer that is about what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The document.
    pub content: Content,
    /// When the document says that it is out of date.
    pub expires: SystemTime,
}

/// A document in the form that it is used in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// TCB info or QE identity.
    Signed {
        /// PEM of the signer's chain.
        chain: String,
        /// Text and signature.
        signed: Signed,
    },
    /// A CRL.
    Crl {
        /// PEM of the issuer's chain, where the service gives one.
        chain: Option<String>,
        /// The CRL.
        crl: Crl,
    },
    /// Certificates, DER.
    Certificates(Vec<Vec<u8>>),
}

impl Document {
    /// The headers that the issuer chain may be in, the usual one first; none if there is no
    /// chain.
    pub fn chain_headers(&self) -> &'static [&'static str] {
        match self {
            Self::TcbInfo { .. } => &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
            Self::QeIdentity { .. } => &["SGX-Enclave-Identity-Issuer-Chain"],
            Self::PckCrl(_) => &["SGX-PCK-CRL-Issuer-Chain"],
            Self::RootCaCrl | Self::Vcek { .. } | Self::AmdChain(..) | Self::AmdCrl(..) => &[],
        }
    }

    /// Whether the document never changes: then there is no use in asking for it again.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Vcek { .. } | Self::AmdChain(..))
    }

    /// Reads an answer, from a service or from the cache, and checks that it is about what was
    /// asked for. No signature is verified: that is part of every appraisal.
    pub fn read(&self, answer: &Answer) -> Result<Reading, AnswerError> {
        match self {
            Self::TcbInfo { tee, fmspc, .. } => {
                let reading = signed(answer, "tcbInfo")?;
                let head = &reading.1.head;
                let id = match tee {
                    DcapTee::Sgx => "SGX",
                    DcapTee::Tdx => "TDX",
                };
                let found = (head.id.as_deref().unwrap_or("SGX"), head.fmspc.as_deref());
                if found.0 != id || found.1.and_then(|text| text.parse().ok()) != Some(*fmspc) {
                    return Err(AnswerError::OtherSubject {
                        asked: format!("{id} {fmspc}"),
                        found: shortened(&format!("{} {}", found.0, found.1.unwrap_or("-"))),
                    });
                }
                Ok(reading.into())
            }
            Self::QeIdentity { tee, .. } => {
                let reading = signed(answer, "enclaveIdentity")?;
                let id = match tee {
                    DcapTee::Sgx => "QE",
                    DcapTee::Tdx => "TD_QE",
                };
                let found = reading.1.head.id.as_deref().unwrap_or("-");
                if found != id {
                    return Err(AnswerError::OtherSubject {
                        asked: id.to_owned(),
                        found: shortened(found),
                    });
                }
                Ok(reading.into())
            }
            Self::PckCrl(ca) => {
                let chain = chain(answer)?;
                let crl = Crl::parse(&answer.body)?;
                if PckCa::named_in(&crl.issuer) != Some(*ca) {
                    return Err(other_issuer(&format!("the {ca} CA"), &crl));
                }
                Ok(Reading {
                    expires: crl.next_update,
                    content: Content::Crl {
                        chain: Some(chain),
                        crl,
                    },
                })
            }
            Self::RootCaCrl => {
                let crl = Crl::parse(&answer.body)?;
                if PckCa::named_in(&crl.issuer).is_some() {
                    return Err(other_issuer("the root CA", &crl));
                }
                Ok(bare_crl(crl))
            }
            Self::AmdCrl(product, _) => {
                let crl = Crl::parse(&answer.body)?;
                if !crl.issuer.contains(product.as_str()) {
                    return Err(other_issuer(&format!("the ARK of {product}"), &crl));
                }
                Ok(bare_crl(crl))
            }
            Self::Vcek {
                product,
                chip_id,
                tcb,
            } => {
                let reading = certificates(answer, 1)?;
                let found = reading
                    .0
                    .first()
                    .and_then(|der| SnpPlatform::of_certificate(der));
                let asked = SnpPlatform {
                    product: Some(*product),
                    key: Vek::Vcek,
                    chip_id: Some(chip_id.clone()),
                    tcb: *tcb,
                };
                if found.as_ref() != Some(&asked) {
                    return Err(AnswerError::OtherSubject {
                        asked: asked.to_string(),
                        found: found.map_or_else(
                            || "a certificate that is no VCEK".to_owned(),
                            |found| found.to_string(),
                        ),
                    });
                }
                Ok(reading.into())
            }
            Self::AmdChain(..) => Ok(certificates(answer, 2)?.into()),
        }
    }
}

/// A signed document and its chain.
struct SignedReading(String, Signed);

impl From<SignedReading> for Reading {
    fn from(SignedReading(chain, signed): SignedReading) -> Self {
        Self {
            // A date beyond the system's times is none.
            expires: SystemTime::try_from(signed.head.next_update).unwrap_or(UNIX_EPOCH),
            content: Content::Signed { chain, signed },
        }
    }
}

/// Certificates and the end of the first of them to end.
struct CertificatesReading(Vec<Vec<u8>>, SystemTime);

impl From<CertificatesReading> for Reading {
    fn from(CertificatesReading(certificates, expires): CertificatesReading) -> Self {
        Self {
            content: Content::Certificates(certificates),
            expires,
        }
    }
}

fn signed(answer: &Answer, member: &'static str) -> Result<SignedReading, AnswerError> {
    // The body first: with something else than JSON the missing header is not the news.
    let signed = Signed::parse(&answer.body, member)?;
    Ok(SignedReading(chain(answer)?, signed))
}

fn chain(answer: &Answer) -> Result<String, AnswerError> {
    let chain = answer.chain.as_ref().ok_or(AnswerError::Chain)?;
    answer::check_chain(chain)?;
    Ok(chain.clone())
}

fn certificates(answer: &Answer, count: usize) -> Result<CertificatesReading, AnswerError> {
    let all = amd::certificates(&answer.body)
        .filter(|all| all.len() == count)
        .ok_or(AnswerError::Certificates)?;
    let mut expires = None;
    for certificate in &all {
        let (_, end) = answer::validity(certificate)?;
        expires = Some(expires.map_or(end, |known: SystemTime| known.min(end)));
    }
    let expires = expires.ok_or(AnswerError::Certificates)?;
    Ok(CertificatesReading(all, expires))
}

fn bare_crl(crl: Crl) -> Reading {
    Reading {
        expires: crl.next_update,
        content: Content::Crl { chain: None, crl },
    }
}

fn other_issuer(asked: &str, crl: &Crl) -> AnswerError {
    AnswerError::OtherSubject {
        asked: format!("the CRL of {asked}"),
        found: shortened(&format!("a CRL of {}", crl.issuer)),
    }
}

/// The beginning of a text that somebody else chose.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
