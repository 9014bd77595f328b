//! Claims of an SNP guest.

use serde::Serialize;

use super::Report;
use crate::hex_form;

/// What an SNP report says about its guest and platform. Bytes are in lower-case hexadecimal, in
/// the order of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the bits of the report, each by its name"
)]
pub struct SnpClaims {
    /// Version of the report.
    pub version: u32,
    /// Security version of the guest.
    pub guest_svn: u32,
    /// Guest policy: `0x` and hexadecimal.
    pub policy: String,
    /// Firmware ABI that the guest asks for at least: `major.minor`.
    pub abi: String,
    /// Whether the host may read and write the guest's memory.
    pub debug: bool,
    /// Whether the guest may run where a core runs two threads.
    pub smt: bool,
    /// Whether a migration agent may be bound to the guest.
    pub migrate_ma: bool,
    /// Whether the guest may run on one socket only.
    pub single_socket: bool,
    /// Privilege level that asked for the report.
    pub vmpl: u32,
    /// Which key signed the report: `VCEK`, `VLEK` or `none`.
    pub signing_key: &'static str,
    /// Whether the host keeps firmware from using the chip's own key.
    pub mask_chip_key: bool,
    /// Whether the guest's ID key was signed by an author key.
    pub author_key_en: bool,
    /// What the platform is: `0x` and hexadecimal.
    pub platform_info: String,
    /// Signing key and the two flags above: `0x` and hexadecimal.
    pub flags: String,
    /// What the guest put into the report.
    #[serde(with = "hex_form")]
    pub report_data: [u8; 64],
    /// Launch measurement.
    #[serde(with = "hex_form")]
    pub measurement: [u8; 48],
    /// What the host chose at launch.
    #[serde(with = "hex_form")]
    pub host_data: [u8; 32],
    /// Family of the image, from the ID block.
    #[serde(with = "hex_form")]
    pub family_id: [u8; 16],
    /// The image, from the ID block.
    #[serde(with = "hex_form")]
    pub image_id: [u8; 16],
    /// Digest of the key that signed the ID block.
    #[serde(with = "hex_form")]
    pub id_key_digest: [u8; 48],
    /// Digest of the key that signed the ID key.
    #[serde(with = "hex_form")]
    pub author_key_digest: [u8; 48],
    /// Id of the guest.
    #[serde(with = "hex_form")]
    pub report_id: [u8; 32],
    /// Report id of the migration agent.
    #[serde(with = "hex_form")]
    pub report_id_ma: [u8; 32],
    /// Id of the chip; zero if it is masked.
    #[serde(with = "hex_form")]
    pub chip_id: [u8; 64],
    /// CPUID family, model and stepping; zero before version 3.
    #[serde(with = "hex_form")]
    pub cpuid: [u8; 3],
    /// TCB version that runs.
    #[serde(with = "hex_form")]
    pub current_tcb_raw: [u8; 8],
    /// TCB version that the VEK was derived for.
    #[serde(with = "hex_form")]
    pub reported_tcb_raw: [u8; 8],
    /// TCB version below which the platform cannot be rolled back.
    #[serde(with = "hex_form")]
    pub committed_tcb_raw: [u8; 8],
    /// TCB version at launch.
    #[serde(with = "hex_form")]
    pub launch_tcb_raw: [u8; 8],
    /// Firmware that runs: `major.minor.build`.
    pub current_ver: String,
    /// Firmware below which the platform cannot be rolled back.
    pub committed_ver: String,
    /// Mitigations at launch, `0x` and hexadecimal; `None` before version 4.
    pub launch_mit_vector: Option<String>,
    /// Mitigations now, likewise.
    pub current_mit_vector: Option<String>,
}

impl SnpClaims {
    pub(super) fn of(report: &Report<'_>) -> Self {
        let policy = report.policy();
        let hexadecimal = |value: u64| format!("{value:#x}");
        Self {
            version: report.version(),
            guest_svn: report.guest_svn(),
            policy: hexadecimal(policy.0),
            abi: format!("{}.{}", policy.abi_major(), policy.abi_minor()),
            debug: policy.debug(),
            smt: policy.smt(),
            migrate_ma: policy.migrate_ma(),
            single_socket: policy.single_socket(),
            vmpl: report.vmpl(),
            signing_key: report.signing_key().as_str(),
            mask_chip_key: report.mask_chip_key(),
            author_key_en: report.author_key_en(),
            platform_info: hexadecimal(report.platform_info().0),
            flags: hexadecimal(report.flags().into()),
            report_data: *report.report_data(),
            measurement: *report.measurement(),
            host_data: *report.host_data(),
            family_id: *report.family_id(),
            image_id: *report.image_id(),
            id_key_digest: *report.id_key_digest(),
            author_key_digest: *report.author_key_digest(),
            report_id: *report.report_id(),
            report_id_ma: *report.report_id_ma(),
            chip_id: *report.chip_id(),
            cpuid: *report.cpuid(),
            current_tcb_raw: *report.current_tcb(),
            reported_tcb_raw: *report.reported_tcb(),
            committed_tcb_raw: *report.committed_tcb(),
            launch_tcb_raw: *report.launch_tcb(),
            current_ver: report.current_version().to_string(),
            committed_ver: report.committed_version().to_string(),
            launch_mit_vector: report.launch_mit_vector().map(hexadecimal),
            current_mit_vector: report.current_mit_vector().map(hexadecimal),
        }
    }
}
