//! The measurement an enclave of a workload must have, computed natively and in milliseconds.
//!
//! Where each TEE carries the workload digest is in `docs/architecture.md`; here are the digests
//! as types, so that none can be passed for another.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;
use mse_crypto::digest::{Hasher, InvalidDigest};
use serde::{Deserialize, Serialize};

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidDigest;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

digest_newtype!(
    /// SHA-256 of the `mse-enclave` program: the base of the measurement on the simulated TEE.
    EnclaveDigest
);
digest_newtype!(
    /// SHA-256 of a workload's canonical form, with its domain (see [`crate::Measured::digest`]).
    WorkloadDigest
);
digest_newtype!(
    /// What the TEE measured: MRENCLAVE on SGX and on the simulated TEE. Also called the
    /// app's fingerprint.
    Measurement
);

/// The measurement of an enclave on the simulated TEE, its MRENCLAVE:
/// `SHA-256("mse-sim" ‖ digest of the mse-enclave program ‖ workload digest)`.
pub fn simulated(enclave: &EnclaveDigest, workload: &WorkloadDigest) -> Measurement {
    let mut hasher = Hasher::new();
    hasher.update(b"mse-sim");
    hasher.update(&enclave.0.0);
    hasher.update(&workload.0.0);
    Measurement(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_inputs_count() {
        let enclave = EnclaveDigest(Digest::of(b"enclave"));
        let workload = WorkloadDigest(Digest::of(b"workload"));
        let measurement = simulated(&enclave, &workload);
        assert_ne!(
            measurement,
            simulated(&EnclaveDigest(Digest::of(b"enclavf")), &workload)
        );
        assert_ne!(
            measurement,
            simulated(&enclave, &WorkloadDigest(Digest::of(b"workloae")))
        );
        assert_ne!(
            measurement,
            simulated(&EnclaveDigest(workload.0), &WorkloadDigest(enclave.0))
        );
    }
}
