//! `mse measure tdx`

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use mse_measure::Sha384Digest;
use mse_measure::firmware::Firmware;
use mse_measure::tdx::{DEFAULT_ACPI_DATA, DirectBoot, KernelForm, PageOrder, Rtmr, Tdvf};
use serde::Serialize;

use super::{open, read_firmware, unmeasurable};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::{Report, heading, pairs, table};

/// MRTD of a TDX guest, and RTMR1 and RTMR2 of a direct boot
///
/// MRTD follows from the firmware alone. RTMR1 and RTMR2 follow from kernel, initrd and command
/// line if the hypervisor boots them directly (QEMU's `-kernel`); with a boot loader on a disk,
/// replay the guest's event log. RTMR0 needs tables that only the hypervisor knows.
#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("input").args(["firmware", "kernel"]).required(true).multiple(true)),
    after_help = "\
Examples:
  mse measure tdx --firmware OVMF.fd
  mse measure tdx --firmware OVMF.fd --order by-section
  mse measure tdx --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'
  mse measure tdx --kernel vmlinuz --initrd initrd.img --qemu-header 4G        firmware before edk2-stable202505"
)]
pub(super) struct Tdx {
    /// The firmware image: OVMF with TDX support, or td-shim
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// How the hypervisor adds memory: `by-page` (Linux 6.16 and later) or `by-section` (Intel's
    /// patches before) [default: show both]
    #[arg(long, value_name = "ORDER", requires = "firmware")]
    order: Option<PageOrder>,
    /// The kernel that the hypervisor boots
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initrd
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line, exactly
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "")]
    append: String,
    /// The firmware gets the kernel with a header that QEMU has filled in, for a guest with this
    /// memory (`-m`), such as `4G`: firmware before edk2-stable202505
    #[arg(long, value_name = "MEMORY", requires = "kernel", value_parser = memory)]
    qemu_header: Option<u64>,
}

impl Tdx {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let firmware = match &self.firmware {
            Some(path) => {
                let image = read_firmware("--firmware", path)?;
                Some(self.measure_firmware(&image)?)
            }
            None => None,
        };
        scene.ui.report(&Measured {
            tee: "tdx",
            firmware,
            boot: self.measure_boot()?,
        })
    }

    fn measure_firmware(&self, image: &[u8]) -> Result<MeasuredFirmware, Failure> {
        let firmware = Firmware::parse(image).map_err(|error| unmeasurable(&error))?;
        let tdvf = Tdvf::parse(&firmware).map_err(|error| unmeasurable(&error))?;
        let of = |order| {
            let wanted = self.order.is_none_or(|wanted| wanted == order);
            wanted.then(|| tdvf.mrtd(order))
        };
        Ok(MeasuredFirmware {
            mrtd: Mrtd {
                by_page: of(PageOrder::ByPage),
                by_section: of(PageOrder::BySection),
            },
            sections: tdvf
                .sections()
                .iter()
                .map(|section| Section {
                    kind: section.kind.to_string(),
                    address: format!("{:#x}", section.address),
                    size: format!("{:#x}", section.size),
                    measured: match (section.added_later, section.extended) {
                        (true, false) => "no",
                        (_, true) => "contents",
                        (false, false) => "address",
                    },
                })
                .collect(),
        })
    }

    fn measure_boot(&self) -> Result<Option<MeasuredBoot>, Failure> {
        let Some(kernel) = &self.kernel else {
            return Ok(None);
        };
        let kernel = open("--kernel", kernel)?;
        let initrd: Option<File> = match &self.initrd {
            Some(initrd) => Some(open("--initrd", initrd)?),
            None => None,
        };
        let form = match self.qemu_header {
            Some(memory) => KernelForm::FilledByQemu {
                memory,
                acpi_data: DEFAULT_ACPI_DATA,
            },
            None => KernelForm::AsIs,
        };
        let boot = DirectBoot::of(kernel, initrd, &self.append, form)
            .map_err(|error| unmeasurable(&error))?;
        Ok(Some(MeasuredBoot {
            rtmr1: boot.rtmr1(),
            rtmr2: boot.rtmr2(),
            kernel: boot.kernel,
            load_options: boot.load_options,
            initrd: boot.initrd,
        }))
    }
}

/// Reads `4G`, `512M`, or bytes.
fn memory(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.chars().last() {
        Some('G' | 'g') => (text.get(..text.len() - 1), 30),
        Some('M' | 'm') => (text.get(..text.len() - 1), 20),
        _ => (Some(text), 0),
    };
    number
        .and_then(|number| number.parse::<u64>().ok())
        .filter(|number| (1..=u64::MAX >> shift).contains(number))
        .map(|number| number << shift)
        .ok_or_else(|| format!("`{text}` is not an amount of memory, such as `4G` or `512M`"))
}

#[derive(Serialize)]
struct Measured {
    tee: &'static str,
    firmware: Option<MeasuredFirmware>,
    boot: Option<MeasuredBoot>,
}

#[derive(Serialize)]
struct MeasuredFirmware {
    mrtd: Mrtd,
    sections: Vec<Section>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Mrtd {
    #[serde(skip_serializing_if = "Option::is_none")]
    by_page: Option<Sha384Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_section: Option<Sha384Digest>,
}

#[derive(Serialize)]
struct Section {
    kind: String,
    address: String,
    size: String,
    /// `contents`, `address` or `no`.
    measured: &'static str,
}

#[derive(Serialize)]
struct MeasuredBoot {
    rtmr1: Rtmr,
    rtmr2: Rtmr,
    /// Authenticode.
    kernel: Sha384Digest,
    load_options: Option<Sha384Digest>,
    initrd: Option<Sha384Digest>,
}

impl Report for Measured {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(firmware) = &self.firmware {
            let rows: Vec<[String; 4]> = firmware
                .sections
                .iter()
                .map(|section| {
                    let Section {
                        kind,
                        address,
                        size,
                        measured,
                    } = section;
                    [
                        kind.clone(),
                        address.clone(),
                        size.clone(),
                        (*measured).to_owned(),
                    ]
                })
                .collect();
            parts.push(table(["SECTION", "ADDRESS", "SIZE", "MEASURED"], &rows));
            for (order, mrtd) in [
                (PageOrder::ByPage, &firmware.mrtd.by_page),
                (PageOrder::BySection, &firmware.mrtd.by_section),
            ] {
                if let Some(mrtd) = mrtd {
                    parts.push(format!("MRTD {order}: {mrtd}"));
                }
            }
        }
        if let Some(boot) = &self.boot {
            let digest = |digest: &Option<Sha384Digest>| match digest {
                Some(digest) => digest.to_string(),
                None => "not measured".to_owned(),
            };
            parts.push(heading("Direct boot"));
            parts.push(pairs(&[
                ("Kernel (Authenticode)", boot.kernel.to_string()),
                ("Load options", digest(&boot.load_options)),
                ("Initrd", digest(&boot.initrd)),
            ]));
            parts.push(format!("RTMR1: {}\nRTMR2: {}", boot.rtmr1, boot.rtmr2));
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        assert_eq!(memory("4G"), Ok(4 << 30));
        assert_eq!(memory("512m"), Ok(512 << 20));
        assert_eq!(memory("4096"), Ok(4096));
        for text in ["", "G", "0", "-1G", "1.5G", "99999999999999G", "4K", "ä"] {
            assert!(memory(text).unwrap_err().starts_with(&format!("`{text}`")));
        }
    }
}
