//! What evidence proved about a service: all that a session's attestation can ask about.

use mse_attest::{Appraisal, Claims, Tee};
use serde::{Deserialize, Serialize};

/// The program that attested, as its TEE measures programs.
///
/// It is what a ticket carries, so that a renewal is judged by the session as it is by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// Whether the root of trust is one of a simulated platform: nothing is protected there.
    pub simulated: bool,
    /// What measures it.
    pub program: Program,
}

/// A program, by the TEE that measured it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tee", rename_all = "lowercase", deny_unknown_fields)]
pub enum Program {
    /// SGX, or simulated in the form of SGX.
    Sgx {
        /// Measurement of the enclave.
        #[serde(with = "hex::serde")]
        mrenclave: [u8; 32],
        /// Its signer.
        #[serde(with = "hex::serde")]
        mrsigner: [u8; 32],
        /// The signer's number for the product.
        isv_prod_id: u16,
        /// The signer's version of it.
        isv_svn: u16,
    },
    /// A TDX trust domain.
    Tdx {
        /// Measurement of the firmware that was launched.
        #[serde(with = "hex::serde")]
        mr_td: [u8; 48],
        /// RTMR 0 to 2: the firmware's configuration; boot loader and kernel; command line and
        /// initial file system.
        #[serde(with = "registers")]
        rtmr: [[u8; 48]; 3],
        /// `MRCONFIGID`: the digest of the workload, then zeros.
        #[serde(with = "hex::serde")]
        mr_config_id: [u8; 48],
    },
    /// An SEV-SNP guest.
    Snp {
        /// Measurement of the image that was launched.
        #[serde(with = "hex::serde")]
        measurement: [u8; 48],
        /// `HOST_DATA`: the digest of the workload.
        #[serde(with = "hex::serde")]
        host_data: [u8; 32],
    },
}

impl Proven {
    /// What an appraisal proved; `None` of a TEE that services do not run in.
    pub fn of(appraisal: &Appraisal) -> Option<Self> {
        let program = match &appraisal.claims {
            Claims::Sgx(claims) => Program::Sgx {
                mrenclave: claims.mrenclave,
                mrsigner: claims.mrsigner,
                isv_prod_id: claims.isv_prod_id,
                isv_svn: claims.isv_svn,
            },
            Claims::Tdx(claims) => Program::Tdx {
                mr_td: claims.mr_td,
                rtmr: [claims.rtmr0, claims.rtmr1, claims.rtmr2],
                mr_config_id: claims.mr_config_id,
            },
            Claims::Snp(claims) => Program::Snp {
                measurement: claims.measurement,
                host_data: claims.host_data,
            },
            _ => return None,
        };
        Some(Self {
            simulated: appraisal.tee == Tee::Simulated,
            program,
        })
    }

    /// The digest of the workload, where the TEE has a field for it. That of SGX and of simulated
    /// platforms is inside the measurement.
    pub fn workload(&self) -> Option<[u8; 32]> {
        match &self.program {
            Program::Sgx { .. } => None,
            Program::Tdx { mr_config_id, .. } => {
                let (digest, rest) = mr_config_id.split_first_chunk()?;
                rest.iter().all(|byte| *byte == 0).then_some(*digest)
            }
            Program::Snp { host_data, .. } => Some(*host_data),
        }
    }

    /// For audit log and messages: no value of it is secret.
    pub fn describe(&self) -> String {
        let name = match &self.program {
            Program::Sgx { mrenclave, .. } => format!("mrenclave {}", hex::encode(mrenclave)),
            Program::Tdx { mr_td, .. } => format!("mr_td {}", hex::encode(mr_td)),
            Program::Snp { measurement, .. } => {
                format!("measurement {}", hex::encode(measurement))
            }
        };
        if self.simulated {
            format!("SIMULATED {name}")
        } else {
            name
        }
    }
}

/// Registers as hexadecimal texts.
mod registers {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        registers: &[[u8; 48]; 3],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        registers.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[[u8; 48]; 3], D::Error> {
        let texts = <[String; 3]>::deserialize(deserializer)?;
        let mut registers = [[0; 48]; 3];
        for (register, text) in registers.iter_mut().zip(texts) {
            hex::decode_to_slice(text, register).map_err(D::Error::custom)?;
        }
        Ok(registers)
    }
}

#[cfg(test)]
pub(super) fn simulated(mrenclave: u8) -> Proven {
    Proven {
        simulated: true,
        program: Program::Sgx {
            mrenclave: [mrenclave; 32],
            mrsigner: [7; 32],
            isv_prod_id: 1,
            isv_svn: 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_read_where_it_is_and_whole() {
        let of = |mr_config_id| {
            Proven {
                simulated: false,
                program: Program::Tdx {
                    mr_td: [1; 48],
                    rtmr: [[2; 48]; 3],
                    mr_config_id,
                },
            }
            .workload()
        };
        let mut config = [0; 48];
        config[..32].fill(9);
        assert_eq!(of(config), Some([9; 32]));
        config[47] = 1;
        assert_eq!(of(config), None);
        assert_eq!(simulated(1).workload(), None);
    }

    #[test]
    fn registers_survive_a_ticket() {
        let proven = Proven {
            simulated: false,
            program: Program::Tdx {
                mr_td: [1; 48],
                rtmr: [[2; 48], [3; 48], [4; 48]],
                mr_config_id: [5; 48],
            },
        };
        let json = serde_json::to_string(&proven).unwrap();
        assert_eq!(serde_json::from_str::<Proven>(&json).unwrap(), proven);
    }

    #[test]
    fn a_simulation_never_goes_unnamed() {
        assert!(
            simulated(1)
                .describe()
                .starts_with("SIMULATED mrenclave 0101")
        );
        let json = serde_json::to_string(&simulated(1)).unwrap();
        assert!(json.contains(r#""simulated":true"#));
        assert_eq!(serde_json::from_str::<Proven>(&json).unwrap(), simulated(1));
    }
}
