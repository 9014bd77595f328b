//! Where the enclave's evidence comes from.
//!
//! ```text
//! choice → Attester ─ simulated: the launcher's quoting service, over the launch socket
//!                   ├ tsm:       TDX, SEV-SNP, from the guest's kernel     (certificates)
//!                   └ gramine:   SGX, from the library OS
//! ```
//!
//! Every attester is asked with 64 bytes of report data, and what it gives must state just those.
//! `docs/attesters.md` is the operator's page.

mod certificates;
mod choice;
#[cfg(test)]
mod emulated;
mod files;
mod gramine;
mod layout;
mod self_check;
mod tsm;
mod turn;
mod workload;

use mse_attest::{Evidence, MeasuredProgram};
use mse_crypto::digest::sha512;
use mse_crypto::sealing::SealingKey;
use mse_workload::launch::SealPolicy;
use mse_workload::{InvalidWorkload, WorkloadDigest};

pub use self::certificates::CertificateTableError;
pub use self::choice::{Choice, ChoiceError, Looked, Machine, UnknownChoice, Wish};
pub use self::gramine::{Gramine, GramineError};
pub use self::self_check::{SelfCheck, self_check};
pub use self::tsm::{MAX_PRIVILEGE_LEVEL, Tsm, TsmError};

use self::tsm::{Provider, TsmReport};
use crate::host::{HostError, HostLink};

/// A source of evidence about this very enclave.
#[derive(Clone)]
pub enum Attester {
    /// The launcher's simulated quoting service, over the launch socket.
    Simulated(HostLink),
    /// The guest kernel's configfs-tsm: TDX and SEV-SNP.
    Tsm(Tsm),
    /// Gramine's `/dev/attestation`: SGX.
    Gramine(Gramine),
}

/// Evidence, and what the platform gave to verify it with.
#[derive(Debug)]
pub struct Attested {
    /// It states the report data that was asked for.
    pub evidence: Evidence,
    /// Endorsements as DER, the signer of the evidence first; often none. They are hints of the
    /// host's: whoever verifies checks them against roots of its own.
    pub certificates: Vec<Vec<u8>>,
}

impl Attester {
    /// Fresh evidence with `report_data`.
    pub async fn evidence(&self, report_data: &[u8; 64]) -> Result<Attested, AttesterError> {
        match self {
            Self::Simulated(host) => attested(&host.quote(report_data).await?, report_data),
            Self::Tsm(tsm) => from_tsm(&tsm.report(report_data).await?, report_data),
            Self::Gramine(gramine) => attested(&gramine.quote(report_data).await?, report_data),
        }
    }

    /// A key that only this program can have again, as far as `policy` tells programs apart; on
    /// this platform, and nowhere else.
    pub async fn seal_key(&self, policy: SealPolicy) -> Result<SealingKey, AttesterError> {
        match self {
            Self::Simulated(host) => Ok(host.seal_key(policy).await?),
            Self::Gramine(gramine) => Ok(gramine.seal_key(policy).await?),
            Self::Tsm(_) => Err(AttesterError::NoSealKey),
        }
    }

    /// Which program this is, by all that the TEE measured of it: what another instance must prove
    /// to be the same.
    ///
    /// It does not rest on what the host says. Whoever could choose it could have secrets shared
    /// with a program of their own, so a quote is not asked where the host's services make it:
    ///
    /// - Gramine: `/dev/attestation/my_target_info`, which the enclave makes of its own report
    ///   (`EREPORT`);
    /// - SEV-SNP: the report, which comes from the firmware under a key that guest and firmware
    ///   share;
    /// - TDX: the registers that the guest's kernel reads from the module
    ///   (`/sys/devices/virtual/misc/tdx_guest/measurements`, Linux 6.16);
    /// - simulated: the quote. Nothing is protected from the host there.
    pub async fn own_program(&self) -> Result<MeasuredProgram, AttesterError> {
        match self {
            Self::Simulated(host) => {
                let data = sha512(&[OWN_PROGRAM]);
                let own = attested(&host.quote(&data).await?, &data)?;
                match MeasuredProgram::stated(&own.evidence) {
                    Some(MeasuredProgram::Sgx { mrenclave }) => {
                        Ok(MeasuredProgram::Simulated { mrenclave })
                    }
                    _ => Err(AttesterError::NoOwnProgram),
                }
            }
            Self::Gramine(gramine) => Ok(MeasuredProgram::Sgx {
                mrenclave: gramine.mrenclave().await?,
            }),
            Self::Tsm(tsm) => {
                let data = sha512(&[OWN_PROGRAM]);
                let report = tsm.report(&data).await?;
                match report.provider {
                    Provider::TdxGuest => Ok(tsm.trust_domain().await?),
                    Provider::SevGuest => {
                        let own = attested(&report.outblob, &data)?;
                        MeasuredProgram::stated(&own.evidence).ok_or(AttesterError::NoOwnProgram)
                    }
                }
            }
        }
    }

    /// Its name, as it is chosen by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Simulated(_) => "simulated",
            Self::Tsm(_) => "tsm",
            Self::Gramine(_) => "gramine",
        }
    }
}

/// The report data of evidence that is only looked at by the program itself.
const OWN_PROGRAM: &[u8] = b"mse-own-program-v1\0";

fn from_tsm(report: &TsmReport, report_data: &[u8; 64]) -> Result<Attested, AttesterError> {
    tracing::debug!(
        provider = report.provider.name(),
        generation = report.generation,
        "the kernel gave a report"
    );
    Ok(Attested {
        certificates: report.certificates()?,
        ..attested(&report.outblob, report_data)?
    })
}

/// Raw bytes of any attester as evidence.
fn attested(bytes: &[u8], report_data: &[u8; 64]) -> Result<Attested, AttesterError> {
    let evidence = Evidence::parse(bytes)?;
    if evidence.stated_report_data().as_ref() != Some(report_data) {
        return Err(AttesterError::OtherReportData);
    }
    Ok(Attested {
        evidence,
        certificates: Vec::new(),
    })
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    /// There is nobody to ask.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The quoting service was not reached or refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The kernel gave none.
    #[error(transparent)]
    Tsm(#[from] TsmError),
    /// Gramine gave none.
    #[error(transparent)]
    Gramine(#[from] GramineError),
    /// There is no file interface for one: TDX has no sealing key at all, and Linux gives that of
    /// SEV-SNP by an ioctl only.
    #[error(
        "this TEE gives no sealing key to files: bring the state's key from a replica that runs, or from its recovery shares"
    )]
    NoSealKey,
    /// The SEV-SNP host gave something else than certificates.
    #[error(
        "the host's certificate table (`auxblob`) cannot be read: {0}; have the host's operator set it anew, or none"
    )]
    Certificates(#[from] CertificateTableError),
    /// What came back is no evidence.
    #[error("the attester gave something that is no evidence: {0}")]
    Quote(#[from] mse_attest::EvidenceError),
    /// It says nothing about a program.
    #[error("the attester's evidence does not say which program this is")]
    NoOwnProgram,
    /// The launcher's word and the TEE's differ.
    #[error(
        "the launcher says to run workload {given}, and this {tee} was started for {measured}: start it with the digest of the workload, and give it that one"
    )]
    OtherWorkload {
        /// Digest of the workload that the launcher gave.
        given: WorkloadDigest,
        /// What was measured, as hexadecimal.
        measured: String,
        /// What measured it.
        tee: &'static str,
    },
    /// What was measured is no workload of this kind.
    #[error("what was measured cannot be run: {0}")]
    Workload(#[from] InvalidWorkload),
    /// Evidence about something else.
    #[error("the attester gave evidence with other report data than asked for")]
    OtherReportData,
}
