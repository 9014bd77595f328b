//! Which program it is, by all that its TEE measured before it ran.

use serde::{Deserialize, Serialize};

use crate::dcap::{Body, Quote};
use crate::{Appraisal, Claims, Evidence, Tee, snp};

/// A program with its workload, by all that its TEE measured before it ran: what two instances of
/// one program have in common, and no other has.
///
/// The workload's digest is inside the measurement of SGX and of simulated platforms, and beside it
/// on TDX (`MRCONFIGID`) and SEV-SNP (`HOST_DATA`). On TDX the registers RTMR 0 to 2 belong to it:
/// `MRTD` alone is only the firmware. RTMR 3 is the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tee", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MeasuredProgram {
    /// On a simulated platform. Nothing is protected there.
    Simulated {
        /// Measurement of the enclave.
        #[serde(with = "bytes")]
        mrenclave: [u8; 32],
    },
    /// An SGX enclave.
    Sgx {
        /// Measurement of the enclave.
        #[serde(with = "bytes")]
        mrenclave: [u8; 32],
    },
    /// A TDX trust domain.
    Tdx {
        /// Measurement of the firmware.
        #[serde(with = "bytes")]
        mr_td: [u8; 48],
        /// The digest of the workload, then zeros.
        #[serde(with = "bytes")]
        mr_config_id: [u8; 48],
        /// The firmware's configuration.
        #[serde(with = "bytes")]
        rtmr0: [u8; 48],
        /// Boot loader and kernel.
        #[serde(with = "bytes")]
        rtmr1: [u8; 48],
        /// Command line and initial file system.
        #[serde(with = "bytes")]
        rtmr2: [u8; 48],
    },
    /// An SEV-SNP guest.
    Snp {
        /// Measurement of the image that was launched.
        #[serde(with = "bytes")]
        measurement: [u8; 48],
        /// The digest of the workload.
        #[serde(with = "bytes")]
        host_data: [u8; 32],
    },
}

impl MeasuredProgram {
    /// What an appraisal proved; `None` of a TEE that has no such thing.
    pub fn of(appraisal: &Appraisal) -> Option<Self> {
        match &appraisal.claims {
            Claims::Sgx(claims) if appraisal.tee == Tee::Simulated => Some(Self::Simulated {
                mrenclave: claims.mrenclave,
            }),
            Claims::Sgx(claims) => Some(Self::Sgx {
                mrenclave: claims.mrenclave,
            }),
            Claims::Tdx(claims) => Some(Self::Tdx {
                mr_td: claims.mr_td,
                mr_config_id: claims.mr_config_id,
                rtmr0: claims.rtmr0,
                rtmr1: claims.rtmr1,
                rtmr2: claims.rtmr2,
            }),
            Claims::Snp(claims) => Some(Self::Snp {
                measurement: claims.measurement,
                host_data: claims.host_data,
            }),
            Claims::Nitro(_) | Claims::Vtpm(_) => None,
        }
    }

    /// What evidence states: a claim of whoever made it. Of an SGX quote nobody can tell by its
    /// form whether it is simulated; it is taken for real.
    pub fn stated(evidence: &Evidence) -> Option<Self> {
        match evidence {
            Evidence::SgxDcap(raw) | Evidence::TdxDcap(raw) => match Quote::parse(raw).ok()?.body {
                Body::Sgx(report) => Some(Self::Sgx {
                    mrenclave: *report.mrenclave(),
                }),
                Body::Tdx(report) => {
                    let [rtmr0, rtmr1, rtmr2, _] = report.rtmrs();
                    Some(Self::Tdx {
                        mr_td: *report.mr_td(),
                        mr_config_id: *report.mr_config_id(),
                        rtmr0: *rtmr0,
                        rtmr1: *rtmr1,
                        rtmr2: *rtmr2,
                    })
                }
            },
            Evidence::Snp(raw) => {
                let report = snp::Report::parse(raw).ok()?;
                Some(Self::Snp {
                    measurement: *report.measurement(),
                    host_data: *report.host_data(),
                })
            }
            Evidence::Nitro(_) | Evidence::Vtpm(_) => None,
        }
    }

    /// The TEE's name, as in [`Tee::as_str`].
    pub fn tee(&self) -> Tee {
        match self {
            Self::Simulated { .. } => Tee::Simulated,
            Self::Sgx { .. } => Tee::Sgx,
            Self::Tdx { .. } => Tee::Tdx,
            Self::Snp { .. } => Tee::Snp,
        }
    }

    /// The measurement in the narrow sense: MRENCLAVE, MRTD, MEASUREMENT.
    pub fn measurement(&self) -> &[u8] {
        match self {
            Self::Simulated { mrenclave } | Self::Sgx { mrenclave } => mrenclave,
            Self::Tdx { mr_td, .. } => mr_td,
            Self::Snp { measurement, .. } => measurement,
        }
    }
}

/// Bytes of a fixed number as hexadecimal text.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom(format!("`{N}` bytes in hexadecimal are expected")))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_fixed_and_strict() {
        let program = MeasuredProgram::Simulated { mrenclave: [7; 32] };
        let json = serde_json::to_string(&program).unwrap();
        assert_eq!(
            json,
            format!(r#"{{"tee":"simulated","mrenclave":"{}"}}"#, "07".repeat(32))
        );
        assert_eq!(
            serde_json::from_str::<MeasuredProgram>(&json).unwrap(),
            program
        );
        for wrong in [
            json.replace("simulated", "sgx2"),
            json.replace("0707", "07"),
            json.replace('}', r#","more":1}"#),
        ] {
            assert!(
                serde_json::from_str::<MeasuredProgram>(&wrong).is_err(),
                "{wrong}"
            );
        }
        assert_ne!(program, MeasuredProgram::Sgx { mrenclave: [7; 32] });
    }
}
