//! `mse measure snp`

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use mse_measure::Sha384Digest;
use mse_measure::firmware::Firmware;
use mse_measure::snp::{CpuSignature, GuestFeatures, KernelHashes, SnpLaunch, Vmm, ovmf_hash};
use serde::Serialize;

use super::{open, read_firmware, unmeasurable};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, pairs};

/// The launch measurement of an SEV-SNP guest
///
/// It is `MEASUREMENT` in the guest's attestation reports. Everything that the hypervisor puts
/// into the guest's memory before its start counts; disks do not.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse measure snp --ovmf OVMF.fd --vcpus 4 --cpu EPYC-Milan
  mse measure snp --ovmf OVMF.fd --vcpus 1 --cpu EPYC-v4 --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'
  mse measure snp --ovmf OVMF.fd --vcpus 2 --vmm ec2 --guest-features 0x21 --json")]
pub(super) struct Snp {
    /// The firmware image, built for SEV-SNP
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// How many virtual CPUs the guest has
    #[arg(long, value_name = "N")]
    vcpus: u32,
    /// The processor that QEMU shows the guest: a name such as `EPYC-Genoa`, a CPUID signature
    /// such as `0xa10f10`, or `FAMILY/MODEL/STEPPING`
    #[arg(long, value_name = "CPU")]
    cpu: Option<CpuSignature>,
    /// `SEV_FEATURES` of the virtual CPUs; kernels that swap debug registers give 0x21
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = features)]
    guest_features: GuestFeatures,
    /// Who starts the guest: `qemu`, `ec2`, `ec2-zero-rdx` or `gce`
    #[arg(long, value_name = "VMM", default_value = "qemu")]
    vmm: Vmm,
    /// The kernel, if the hypervisor measures it (QEMU: `kernel-hashes=on`)
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initrd
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, exactly
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "")]
    append: String,
    /// The digest of the firmware's pages, kept from another image: of `--ovmf` only the metadata
    /// counts then
    #[arg(long, value_name = "HEX")]
    ovmf_hash: Option<Sha384Digest>,
}

impl Snp {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let cpu = match (self.cpu, self.vmm) {
            (Some(cpu), _) => cpu,
            // Only QEMU puts the signature into a register.
            (None, Vmm::Qemu) => {
                return Err(Failure::new(
                    Exit::Usage,
                    "under QEMU the processor is measured, and `--cpu` was not given",
                )
                .with_hint("give the model of QEMU's `-cpu`, such as `--cpu EPYC-v4`"));
            }
            (None, _) => CpuSignature(0),
        };
        let image = read_firmware("--ovmf", &self.ovmf)?;
        let firmware = Firmware::parse(&image).map_err(|error| unmeasurable(&error))?;
        let launch = SnpLaunch {
            vcpus: self.vcpus,
            cpu,
            guest_features: self.guest_features,
            vmm: self.vmm,
            kernel: self.kernel_hashes()?,
        };
        let ovmf_hash = self.ovmf_hash.unwrap_or_else(|| ovmf_hash(&firmware));
        let measurement = launch
            .measure_from(ovmf_hash, &firmware)
            .map_err(|error| unmeasurable(&error))?;
        scene.ui.report(&Measured {
            tee: "sev-snp",
            measurement,
            ovmf_hash,
            vcpus: self.vcpus,
            cpu: self.cpu.map(|cpu| cpu.to_string()),
            vmm: self.vmm,
            guest_features: format!("{:#x}", self.guest_features.0),
            kernel_hashes: launch.kernel.map(Hashes::of),
        })
    }

    fn kernel_hashes(&self) -> Result<Option<KernelHashes>, Failure> {
        let Some(kernel) = &self.kernel else {
            return Ok(None);
        };
        let kernel = open("--kernel", kernel)?;
        let initrd: Option<File> = match &self.initrd {
            Some(initrd) => Some(open("--initrd", initrd)?),
            None => None,
        };
        KernelHashes::of(kernel, initrd, &self.append)
            .map(Some)
            .map_err(|error| unmeasurable(&error))
    }
}

/// Reads `0x21`, or `21`.
fn features(text: &str) -> Result<GuestFeatures, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(GuestFeatures)
        .map_err(|_| format!("`{text}` is not a number in hexadecimal, such as `0x21`"))
}

#[derive(Serialize)]
struct Measured {
    tee: &'static str,
    measurement: Sha384Digest,
    ovmf_hash: Sha384Digest,
    vcpus: u32,
    cpu: Option<String>,
    vmm: Vmm,
    guest_features: String,
    kernel_hashes: Option<Hashes>,
}

/// SHA-256 of what is booted, in hex.
#[derive(Serialize)]
struct Hashes {
    kernel: String,
    initrd: String,
    command_line: String,
}

impl Hashes {
    fn of(hashes: KernelHashes) -> Self {
        Self {
            kernel: hex::encode(hashes.kernel),
            initrd: hex::encode(hashes.initrd),
            command_line: hex::encode(hashes.command_line),
        }
    }
}

impl Report for Measured {
    fn text(&self) -> String {
        let mut rows = vec![
            ("Firmware pages", self.ovmf_hash.to_string()),
            (
                "Virtual CPUs",
                match &self.cpu {
                    Some(cpu) => format!("{} of {cpu} under {}", self.vcpus, self.vmm),
                    None => format!("{} under {}", self.vcpus, self.vmm),
                },
            ),
            ("Guest features", self.guest_features.clone()),
        ];
        match &self.kernel_hashes {
            Some(hashes) => rows.extend([
                ("Kernel", hashes.kernel.clone()),
                ("Initrd", hashes.initrd.clone()),
                ("Command line", hashes.command_line.clone()),
            ]),
            None => rows.push(("Kernel", "not measured".to_owned())),
        }
        format!(
            "{}\nThe launch measurement is {}",
            pairs(&rows),
            self.measurement
        )
    }
}
