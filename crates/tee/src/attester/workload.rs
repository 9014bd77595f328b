//! Whether what the launcher says is to run is what the TEE measured.
//!
//! The launcher is the host's. Evidence states the digest of the workload that the machine was
//! started for, whatever the launcher says afterwards; so a program that took the launcher's word
//! would do one thing, and prove another.

use mse_attest::MeasuredProgram;
use mse_workload::Measured;

use super::{Attester, AttesterError};

impl Attester {
    /// Whether `given` is the workload that the TEE measured:
    ///
    /// - SEV-SNP: `HOST_DATA` is its digest;
    /// - TDX: `MRCONFIGID` is its digest, and 16 zero bytes;
    /// - Gramine: it is what the file `/mse/workload.json` holds. The manifest, which is in
    ///   `MRENCLAVE`, has to name it among `sgx.trusted_files`;
    /// - simulated: the platform measures what it launches, and nothing is protected from it.
    pub async fn check_workload<W: Measured>(&self, given: &W) -> Result<(), AttesterError> {
        let (tee, measured) = match self {
            Self::Simulated(_) => return Ok(()),
            Self::Gramine(gramine) => {
                let json = gramine.workload(W::MAX_JSON).await?;
                ("enclave", W::from_json(&json)?.digest().0.0.to_vec())
            }
            Self::Tsm(_) => match self.own_program().await? {
                MeasuredProgram::Snp { host_data, .. } => ("guest", host_data.to_vec()),
                MeasuredProgram::Tdx { mr_config_id, .. } => {
                    ("trust domain", without_zeros(&mr_config_id).to_vec())
                }
                _ => return Err(AttesterError::NoOwnProgram),
            },
        };
        let given = given.digest();
        if measured == given.0.0 {
            return Ok(());
        }
        Err(AttesterError::OtherWorkload {
            given,
            measured: hex::encode(measured),
            tee,
        })
    }
}

/// The digest in an `MRCONFIGID`; all of it where it is none.
fn without_zeros(mr_config_id: &[u8; 48]) -> &[u8] {
    match mr_config_id.split_at(32) {
        (digest, rest) if rest.iter().all(|byte| *byte == 0) => digest,
        _ => mr_config_id,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use mse_crypto::Digest;
    use mse_workload::{CAS_FORMAT, CasWorkload, RecoveryPolicy, Resources};

    use super::super::emulated::{Kernel, LibraryOs, sgx_quote, snp_report};
    use super::super::gramine::Gramine;
    use super::super::tsm::Tsm;
    use super::*;

    fn workload() -> CasWorkload {
        CasWorkload {
            format: CAS_FORMAT,
            owner: Digest::of(b"owner"),
            simulated_anchors: Vec::new(),
            resources: Resources {
                memory_mib: 512,
                millicores: 500,
            },
            upgrade: None,
            recovery: None,
            token_libraries: Vec::new(),
        }
    }

    /// The same owner; but who can have the root key is somebody else.
    fn another() -> CasWorkload {
        CasWorkload {
            recovery: Some(RecoveryPolicy {
                threshold: 2,
                custodians: vec!["01".repeat(32), "02".repeat(32)],
            }),
            ..workload()
        }
    }

    async fn is_refused(attester: &Attester, given: &CasWorkload) -> bool {
        match attester.check_workload(given).await {
            Ok(()) => false,
            Err(error) => {
                let told = error.to_string();
                assert!(
                    matches!(error, AttesterError::OtherWorkload { .. }),
                    "{told}"
                );
                assert!(told.contains(&given.digest().to_string()), "{told}");
                true
            }
        }
    }

    #[tokio::test]
    async fn a_guest_runs_what_its_host_data_says() {
        let kernel = Kernel::snp();
        let digest = workload().digest();
        kernel.outblob(move |data| {
            let mut report = snp_report(3, data);
            report[0xC0..0xE0].copy_from_slice(&digest.0.0);
            report
        });
        let attester = Attester::Tsm(Tsm::new(kernel.root(), Arc::clone(&kernel) as _, None));
        assert!(!is_refused(&attester, &workload()).await);
        assert!(is_refused(&attester, &another()).await);
    }

    #[tokio::test]
    async fn a_trust_domain_runs_what_its_configuration_says() {
        let kernel = Kernel::tdx();
        let registers = kernel
            .root()
            .join("sys/devices/virtual/misc/tdx_guest/measurements");
        fs::create_dir_all(&registers).unwrap();
        for name in [
            "mrtd:sha384",
            "rtmr0:sha384",
            "rtmr1:sha384",
            "rtmr2:sha384",
        ] {
            fs::write(registers.join(name), [1; 48]).unwrap();
        }
        let mut config_id = [0; 48];
        config_id[..32].copy_from_slice(&workload().digest().0.0);
        fs::write(registers.join("mrconfigid"), config_id).unwrap();
        let attester = Attester::Tsm(Tsm::new(kernel.root(), Arc::clone(&kernel) as _, None));
        assert!(!is_refused(&attester, &workload()).await);
        assert!(is_refused(&attester, &another()).await);
        // The rest of it is not free for whoever starts it.
        config_id[47] = 1;
        fs::write(registers.join("mrconfigid"), config_id).unwrap();
        assert!(is_refused(&attester, &workload()).await);
    }

    #[tokio::test]
    async fn an_enclave_runs_what_its_manifest_trusts() {
        let os = LibraryOs::new(|data| Ok(sgx_quote(data)));
        let attester = Attester::Gramine(Gramine::new(os.root(), Arc::clone(&os) as _));
        let absent = attester.check_workload(&workload()).await.unwrap_err();
        assert!(absent.to_string().contains("mse/workload.json"), "{absent}");
        fs::create_dir_all(os.root().join("mse")).unwrap();
        fs::write(os.root().join("mse/workload.json"), workload().canonical()).unwrap();
        assert!(!is_refused(&attester, &workload()).await);
        assert!(is_refused(&attester, &another()).await);
        fs::write(os.root().join("mse/workload.json"), b"{}").unwrap();
        let malformed = attester.check_workload(&workload()).await.unwrap_err();
        assert!(
            matches!(malformed, AttesterError::Workload(_)),
            "{malformed}"
        );
    }
}
