//! A report described field by field.

use super::{GuestPolicy, PlatformInfo, Report, SnpProduct};
use crate::Field;

/// The fields of `report` in the order of its bytes.
pub(crate) fn fields(report: &Report<'_>) -> Vec<Field> {
    let mut list = List(Vec::new());
    list.launch(report);
    list.state(report);
    list.measured(report);
    list.versions(report);
    list.0
}

struct List(Vec<Field>);

impl List {
    /// What the owner and the host set at launch, and who asked for the report.
    fn launch(&mut self, report: &Report<'_>) {
        self.add(
            "version",
            report.version().to_string(),
            "form of the report: 3 adds the CPU's model, 5 the mitigation vectors",
        );
        self.add(
            "guest_svn",
            report.guest_svn().to_string(),
            "security version of the guest, from the signed ID block its owner gave at launch",
        );
        self.add(
            "policy",
            format!("{:#x}", report.policy().0),
            "conditions that the guest's owner set at launch; firmware enforces them, bit by bit:",
        );
        for (name, value, meaning) in POLICY_FIELDS {
            self.add(&format!("policy.{name}"), value(report.policy()), meaning);
        }
        self.add(
            "family_id",
            hex::encode(report.family_id()),
            "family of the image, chosen by the owner in the ID block",
        );
        self.add(
            "image_id",
            hex::encode(report.image_id()),
            "the image, chosen by the owner in the ID block",
        );
        self.add(
            "vmpl",
            report.vmpl().to_string(),
            "privilege level in the guest that asked for the report: 0 is the most privileged, 3 the least; 4294967295: the host asked",
        );
        self.add(
            "signature_algo",
            "1".into(),
            "1: ECDSA on P-384 with SHA-384",
        );
    }

    /// What the platform is, and how the report is signed.
    fn state(&mut self, report: &Report<'_>) {
        self.add(
            "current_tcb",
            parts(report, *report.current_tcb()),
            "security versions of the firmware and microcode that run now",
        );
        self.add(
            "platform_info",
            format!("{:#x}", report.platform_info().0),
            "what the platform is and does, bit by bit:",
        );
        for (name, value, meaning) in PLATFORM_FIELDS {
            self.add(
                &format!("platform_info.{name}"),
                value(report.platform_info()).to_string(),
                meaning,
            );
        }
        self.add(
            "author_key_en",
            report.author_key_en().to_string(),
            "the key that signed the ID block was itself signed by an author key",
        );
        self.add(
            "mask_chip_key",
            report.mask_chip_key().to_string(),
            "the host keeps firmware from signing with the chip's own key",
        );
        self.add(
            "signing_key",
            report.signing_key().to_string(),
            "VCEK: a key of this chip at the reported TCB version; VLEK: a key that AMD derived for a cloud provider; none: not signed",
        );
    }

    /// What was measured and chosen.
    fn measured(&mut self, report: &Report<'_>) {
        self.add(
            "report_data",
            hex::encode(report.report_data()),
            "64 bytes that the guest chose: here they bind the evidence to keys and to a connection",
        );
        self.add(
            "measurement",
            hex::encode(report.measurement()),
            "launch measurement: the memory and CPU state that the guest started with (firmware, and with direct boot the hashes of kernel, initrd and command line)",
        );
        self.add(
            "host_data",
            hex::encode(report.host_data()),
            "32 bytes that the host chose at launch, for instance the digest of a policy for the guest",
        );
        self.add(
            "id_key_digest",
            hex::encode(report.id_key_digest()),
            "SHA-384 of the key that signed the ID block: who owns the guest; zero without an ID block",
        );
        self.add(
            "author_key_digest",
            hex::encode(report.author_key_digest()),
            "SHA-384 of the key that signed the ID key; zero if `author_key_en` is false",
        );
        self.add(
            "report_id",
            hex::encode(report.report_id()),
            "id of this guest, new at each launch",
        );
        self.add(
            "report_id_ma",
            hex::encode(report.report_id_ma()),
            "id of the migration agent that can move the guest; all ones: there is none",
        );
    }

    /// Versions of the platform, the CPU and the signature.
    fn versions(&mut self, report: &Report<'_>) {
        self.add(
            "reported_tcb",
            parts(report, *report.reported_tcb()),
            "the TCB version that the VEK was derived for: its certificate must state the same",
        );
        if report.version() >= 3 {
            let [family, model, stepping] = *report.cpuid();
            let product =
                SnpProduct::of_cpuid(*report.cpuid()).map_or("unknown", SnpProduct::as_str);
            self.add(
                "cpuid",
                format!("family {family:#x}, model {model:#x}, stepping {stepping} ({product})"),
                "the CPU's model: its product line must be that of the VEK",
            );
        }
        self.add(
            "chip_id",
            hex::encode(report.chip_id()),
            "id of the chip: the VCEK's certificate must state the same; zero if the host masks it",
        );
        self.add(
            "committed_tcb",
            parts(report, *report.committed_tcb()),
            "security versions below which the platform cannot be rolled back",
        );
        self.add(
            "current_version",
            report.current_version().to_string(),
            "SEV firmware that runs now: major, minor, build",
        );
        self.add(
            "committed_version",
            report.committed_version().to_string(),
            "SEV firmware below which the platform cannot be rolled back",
        );
        self.add(
            "launch_tcb",
            parts(report, *report.launch_tcb()),
            "security versions when the guest was launched or moved here: an older one may have leaked its secrets",
        );
        for (name, vector, meaning) in [
            (
                "launch_mit_vector",
                report.launch_mit_vector(),
                "mitigations that firmware had verified when the guest was launched, one bit each",
            ),
            (
                "current_mit_vector",
                report.current_mit_vector(),
                "mitigations that firmware has verified now, one bit each",
            ),
        ] {
            if let Some(vector) = vector {
                self.add(name, format!("{vector:#x}"), meaning);
            }
        }
        self.add(
            "signature",
            hex::encode(report.signature()),
            "over all of the above, by the VEK (r, then s; turned to big-endian)",
        );
    }

    fn add(&mut self, name: &str, value: String, meaning: &'static str) {
        self.0.push(Field {
            name: name.to_owned(),
            value,
            meaning,
        });
    }
}

/// A TCB version, raw and part by part.
fn parts(report: &Report<'_>, raw: [u8; 8]) -> String {
    format!("{} ({})", hex::encode(raw), layout_of(report).tcb(&raw))
}

/// The layout of TCB versions. Before version 3 a report does not name its CPU; then a chip id of
/// 8 bytes tells Turin, and the two others have the same layout.
fn layout_of(report: &Report<'_>) -> SnpProduct {
    let is_short_id = !report.is_chip_id_masked() && report.chip_id()[8..] == [0; 56];
    match SnpProduct::of_cpuid(*report.cpuid()) {
        Some(product) if report.version() >= 3 => product,
        _ if is_short_id => SnpProduct::Turin,
        _ => SnpProduct::Milan,
    }
}

/// Name, value and meaning of a part of the guest policy.
type PolicyField = (&'static str, fn(GuestPolicy) -> String, &'static str);

const POLICY_FIELDS: &[PolicyField] = &[
    (
        "abi",
        |policy| format!("{}.{}", policy.abi_major(), policy.abi_minor()),
        "bits 0 to 15: version of the firmware ABI that the platform must have at least",
    ),
    (
        "smt",
        |policy| policy.smt().to_string(),
        "bit 16: may run where a core runs two threads, which share more than threads should",
    ),
    (
        "migrate_ma",
        |policy| policy.migrate_ma().to_string(),
        "bit 18: a migration agent may move its memory to another machine",
    ),
    (
        "debug",
        |policy| policy.debug().to_string(),
        "bit 19: the host may read and write its memory: no protection at all",
    ),
    (
        "single_socket",
        |policy| policy.single_socket().to_string(),
        "bit 20: runs on one socket only",
    ),
    (
        "cxl_allow",
        |policy| policy.cxl_allowed().to_string(),
        "bit 21: may run where memory and devices hang on CXL",
    ),
    (
        "mem_aes_256_xts",
        |policy| policy.mem_aes_256_xts().to_string(),
        "bit 22: its memory must be encrypted with AES-256-XTS",
    ),
    (
        "rapl_dis",
        |policy| policy.rapl_disabled().to_string(),
        "bit 23: power meters must be off, which tell much about the code that runs",
    ),
    (
        "ciphertext_hiding_dram",
        |policy| policy.ciphertext_hiding().to_string(),
        "bit 24: the host must not even see the ciphertext of its memory",
    ),
    (
        "page_swap_disable",
        |policy| policy.page_swap_disabled().to_string(),
        "bit 25: the host must not move or swap its pages",
    ),
];

/// Name, value and meaning of a bit of the platform's state.
type PlatformField = (&'static str, fn(PlatformInfo) -> bool, &'static str);

const PLATFORM_FIELDS: &[PlatformField] = &[
    (
        "smt_en",
        PlatformInfo::smt_enabled,
        "bit 0: cores run two threads",
    ),
    (
        "tsme_en",
        PlatformInfo::tsme_enabled,
        "bit 1: all memory is encrypted, besides the guests' own encryption",
    ),
    (
        "ecc_en",
        PlatformInfo::ecc_enabled,
        "bit 2: memory has error correction",
    ),
    (
        "rapl_dis",
        PlatformInfo::rapl_disabled,
        "bit 3: power meters are off",
    ),
    (
        "ciphertext_hiding_dram_en",
        PlatformInfo::ciphertext_hiding,
        "bit 4: the host does not see the ciphertext of guests' memory",
    ),
    (
        "alias_check_complete",
        PlatformInfo::alias_check_complete,
        "bit 5: firmware has checked that no two addresses lead to the same memory (BadRAM)",
    ),
    (
        "tio_en",
        PlatformInfo::tio_enabled,
        "bit 7: devices can be attested and given to guests",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::REPORT_BYTES;
    use super::*;

    #[test]
    fn bits_and_parts_are_spelled_out() {
        let mut raw = [0; REPORT_BYTES];
        raw[0] = 3;
        raw[0x34] = 1;
        raw[0x08..0x0c].copy_from_slice(&0x000b_0137_u32.to_le_bytes());
        raw[0x40] = 0x21;
        raw[0x180..0x188].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 8]);
        raw[0x188..0x18b].copy_from_slice(&[0x1a, 0x11, 0]);
        let fields = fields(&Report::parse(&raw).unwrap());
        let value = |name: &str| {
            let field = fields.iter().find(|field| field.name == name).unwrap();
            field.value.as_str()
        };
        assert_eq!(value("policy.abi"), "1.55");
        assert_eq!(value("policy.debug"), "true");
        assert_eq!(value("policy.migrate_ma"), "false");
        assert_eq!(value("platform_info.alias_check_complete"), "true");
        assert_eq!(value("platform_info.tsme_en"), "false");
        assert_eq!(
            value("reported_tcb"),
            "0102030400000008 (fmc 1, bootloader 2, tee 3, snp 4, microcode 8)"
        );
        assert!(value("cpuid").contains("Turin"));
        assert!(fields.iter().all(|field| field.name != "launch_mit_vector"));
    }
}
