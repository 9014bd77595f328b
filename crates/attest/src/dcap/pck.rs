//! The PCK certificate: what Intel says about one platform.
//!
//! Specification: Intel SGX PCK Certificate and CRL Profile; the extension is
//! 1.2.840.113741.1.13.1.

use thiserror::Error;
use x509_parser::oid_registry::Oid;

use crate::x509::{
    Certificate, PemChain, X509Error,
    der::{self, Der, Element, NotDer},
};

/// A PCK certificate's SGX extension. Unproven unless its chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PckCertificate {
    /// Provisioning id: stands for one CPU for as long as it has one owner.
    pub ppid: [u8; 16],
    /// Security version numbers of the 16 TCB components.
    pub component_svns: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// The CPU's own form of its security version.
    pub cpu_svn: [u8; 16],
    /// Which provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Family, model, stepping, platform and custom SKU.
    pub fmspc: [u8; 6],
    /// The CA that issued it: which CRL is about it.
    pub ca: PckCa,
}

/// The CA that issues PCK certificates, by kind of platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Single-package platforms.
    Processor,
    /// Multi-package platforms.
    Platform,
}

impl PckCa {
    /// The word for it in collateral services: `processor` or `platform`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

impl PckCertificate {
    /// Reads the first certificate of a PEM chain. Nothing is verified: it tells which collateral
    /// to fetch.
    pub fn from_pem_chain(pem: &[u8]) -> Result<Self, PckError> {
        let chain = PemChain::read(pem, 3).map_err(PckError::from)?;
        let certificates = chain.parse().map_err(PckError::from)?;
        let [leaf, ..] = certificates.as_slice() else {
            return Err(PckError::Certificate("the chain has no certificate".into()));
        };
        Self::of(leaf)
    }

    pub(super) fn of(certificate: &Certificate<'_>) -> Result<Self, PckError> {
        let extension = Oid::from(SGX_EXTENSION)
            .ok()
            .and_then(|oid| certificate.extension(&oid))
            .ok_or(PckError::NoExtension)?;
        let extension = Extension::parse(extension)?;
        Ok(Self {
            ppid: fixed("ppid", extension.ppid)?,
            component_svns: {
                let mut svns = [0; 16];
                for (svn, found) in svns.iter_mut().zip(extension.component_svns) {
                    *svn = found.ok_or(PckError::Missing { field: "tcb" })?;
                }
                svns
            },
            pce_svn: extension.pce_svn.ok_or(PckError::Missing {
                field: "tcb.pcesvn",
            })?,
            cpu_svn: fixed("tcb.cpusvn", extension.cpu_svn)?,
            pce_id: fixed("pceid", extension.pce_id)?,
            fmspc: fixed("fmspc", extension.fmspc)?,
            ca: if certificate
                .issuer_common_name()
                .is_some_and(|name| name.contains("Platform"))
            {
                PckCa::Platform
            } else {
                PckCa::Processor
            },
        })
    }
}

/// Why a certificate is not one of a PCK.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PckError {
    /// The chain or the certificate cannot be read.
    #[error("{0}")]
    Certificate(String),
    /// It lacks the SGX extension.
    #[error("the certificate is no PCK certificate: it has no SGX extension")]
    NoExtension,
    /// The extension is not DER of the right form.
    #[error("the SGX extension of the PCK certificate is malformed at `{field}`")]
    Malformed {
        /// The field that cannot be read.
        field: &'static str,
    },
    /// A field is not there.
    #[error("the SGX extension of the PCK certificate has no `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is there twice.
    #[error("the SGX extension of the PCK certificate has `{field}` twice")]
    Twice {
        /// The field.
        field: &'static str,
    },
}

impl From<X509Error> for PckError {
    fn from(error: X509Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// The fields as found: in any order, optional ones and those added later ignored.
#[derive(Default)]
struct Extension<'a> {
    ppid: Option<&'a [u8]>,
    component_svns: [Option<u8>; 16],
    pce_svn: Option<u16>,
    cpu_svn: Option<&'a [u8]>,
    pce_id: Option<&'a [u8]>,
    fmspc: Option<&'a [u8]>,
}

impl<'a> Extension<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, PckError> {
        let malformed = |_| PckError::Malformed { field: "extension" };
        let mut fields = Self::default();
        for entry in Entries(Der::new(Der::only(der, der::SEQUENCE).map_err(malformed)?)) {
            let (arcs, value) = entry.map_err(malformed)?;
            match arcs {
                [1] => once("ppid", &mut fields.ppid, octets("ppid", value)?)?,
                [2] => fields.read_tcb(value)?,
                [3] => once("pceid", &mut fields.pce_id, octets("pceid", value)?)?,
                [4] => once("fmspc", &mut fields.fmspc, octets("fmspc", value)?)?,
                // SGX type, platform instance id, configuration, and what comes later.
                _ => (),
            }
        }
        Ok(fields)
    }

    fn read_tcb(&mut self, tcb: Element<'a>) -> Result<(), PckError> {
        const FIELD: &str = "tcb";
        let malformed = |_| PckError::Malformed { field: FIELD };
        if tcb.tag != der::SEQUENCE {
            return Err(malformed(NotDer));
        }
        for entry in Entries(Der::new(tcb.content)) {
            let (arcs, value) = entry.map_err(malformed)?;
            match arcs {
                [2, component @ 1..=16] => {
                    let svn = u8::try_from(integer(FIELD, value)?)
                        .map_err(|_| PckError::Malformed { field: FIELD })?;
                    let slot = self
                        .component_svns
                        .get_mut(usize::from(component - 1))
                        .ok_or_else(|| malformed(NotDer))?;
                    once(FIELD, slot, svn)?;
                }
                [2, 17] => {
                    let svn = u16::try_from(integer("tcb.pcesvn", value)?).map_err(|_| {
                        PckError::Malformed {
                            field: "tcb.pcesvn",
                        }
                    })?;
                    once("tcb.pcesvn", &mut self.pce_svn, svn)?;
                }
                [2, 18] => once(
                    "tcb.cpusvn",
                    &mut self.cpu_svn,
                    octets("tcb.cpusvn", value)?,
                )?,
                _ => (),
            }
        }
        Ok(())
    }
}

fn fixed<const N: usize>(field: &'static str, value: Option<&[u8]>) -> Result<[u8; N], PckError> {
    value
        .ok_or(PckError::Missing { field })?
        .try_into()
        .map_err(|_| PckError::Malformed { field })
}

fn once<T>(field: &'static str, slot: &mut Option<T>, value: T) -> Result<(), PckError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(PckError::Twice { field }),
    }
}

fn octets<'a>(field: &'static str, value: Element<'a>) -> Result<&'a [u8], PckError> {
    if value.tag == der::OCTET_STRING {
        Ok(value.content)
    } else {
        Err(PckError::Malformed { field })
    }
}

fn integer(field: &'static str, value: Element<'_>) -> Result<u32, PckError> {
    if value.tag != der::INTEGER {
        return Err(PckError::Malformed { field });
    }
    der::unsigned(value.content).map_err(|_| PckError::Malformed { field })
}

/// Entries of the form `SEQUENCE { OID, value }`: the arcs below the extension's own OID, and the
/// value.
struct Entries<'a>(Der<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], Element<'a>), NotDer>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        Some(entry.and_then(|entry| {
            if entry.tag != der::SEQUENCE {
                return Err(NotDer);
            }
            let mut parts = Der::new(entry.content);
            let oid = parts.expect(der::OBJECT_IDENTIFIER)?;
            let arcs = oid.strip_prefix(SGX_EXTENSION_DER).ok_or(NotDer)?;
            let value = parts.next().ok_or(NotDer)??;
            if parts.next().is_some() {
                return Err(NotDer);
            }
            Ok((arcs, value))
        }))
    }
}

const SGX_EXTENSION: &[u64] = &[1, 2, 840, 113_741, 1, 13, 1];

/// [`SGX_EXTENSION`] as DER has it. All arcs below are smaller than 128: one byte each.
const SGX_EXTENSION_DER: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
