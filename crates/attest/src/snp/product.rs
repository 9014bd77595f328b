//! AMD's product lines, and the layout of a TCB version in each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A product line: it has roots of its own and a layout of TCB versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 97x4 (Bergamo) and 8004 (Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// AMD's name for it, as in its certificates: `Milan`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// From the product name in a VEK certificate: a name, and for some a dash and the stepping
    /// (`Milan-B0`).
    pub(super) fn of_certificate(name: &str) -> Option<Self> {
        let line = match name.split_once('-') {
            Some((line, stepping)) if is_stepping(stepping) => line,
            Some(_) => return None,
            None => name,
        };
        match line {
            "Milan" => Some(Self::Milan),
            // The key service names these two Genoa, under whose root they are.
            "Genoa" | "Bergamo" | "Siena" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// From CPUID family, model and stepping; `None` for what is not known.
    pub(super) fn of_cpuid([family, model, _]: [u8; 3]) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The parts of a TCB version of this product line.
    ///
    /// Byte by byte: Milan and Genoa have boot loader, TEE, four reserved, SNP, microcode; Turin
    /// has FMC, boot loader, TEE, SNP, three reserved, microcode.
    pub fn tcb(self, raw: &[u8; 8]) -> SnpTcb {
        match self {
            Self::Milan | Self::Genoa => SnpTcb {
                fmc: 0,
                bootloader: raw[0],
                tee: raw[1],
                snp: raw[6],
                microcode: raw[7],
            },
            Self::Turin => SnpTcb {
                fmc: raw[0],
                bootloader: raw[1],
                tee: raw[2],
                snp: raw[3],
                microcode: raw[7],
            },
        }
    }
}

impl fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Security versions of the parts of a platform's TCB.
///
/// As a floor of a policy, a part that is left at zero is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpTcb {
    /// Of the FMC firmware: Turin only, zero elsewhere.
    pub fmc: u8,
    /// Of the boot loader of the security processor.
    pub bootloader: u8,
    /// Of the operating system of the security processor.
    pub tee: u8,
    /// Of the SNP firmware.
    pub snp: u8,
    /// Of the CPU's microcode.
    pub microcode: u8,
}

impl SnpTcb {
    /// Name, version found and version asked for of the first part that is below `floor`.
    pub(super) fn below(self, floor: Self) -> Option<(&'static str, u8, u8)> {
        [
            ("fmc", self.fmc, floor.fmc),
            ("bootloader", self.bootloader, floor.bootloader),
            ("tee", self.tee, floor.tee),
            ("snp", self.snp, floor.snp),
            ("microcode", self.microcode, floor.microcode),
        ]
        .into_iter()
        .find(|(_, found, floor)| found < floor)
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = self;
        if *fmc != 0 {
            write!(f, "fmc {fmc}, ")?;
        }
        write!(
            f,
            "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}"
        )
    }
}

fn is_stepping(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, digit] if letter.is_ascii_uppercase() && digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_names_are_matched_whole() {
        let of = SnpProduct::of_certificate;
        assert_eq!(of("Milan-B0"), Some(SnpProduct::Milan));
        assert_eq!(of("Genoa"), Some(SnpProduct::Genoa));
        assert_eq!(of("Siena"), Some(SnpProduct::Genoa));
        assert_eq!(of("Turin-C1"), Some(SnpProduct::Turin));
        for name in [
            "",
            "Milan-",
            "Milan-B0x",
            "MilanX",
            "milan",
            "-B0",
            "Milan-B0-B0",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn a_tcb_is_read_in_the_layout_of_its_product() {
        let raw = [1, 2, 3, 4, 0, 0, 7, 8];
        assert_eq!(
            SnpProduct::Genoa.tcb(&raw).to_string(),
            "bootloader 1, tee 2, snp 7, microcode 8"
        );
        assert_eq!(
            SnpProduct::Turin.tcb(&raw).to_string(),
            "fmc 1, bootloader 2, tee 3, snp 4, microcode 8"
        );
    }

    #[test]
    fn every_part_has_its_own_floor() {
        let tcb = SnpProduct::Turin.tcb(&[5, 5, 5, 5, 0, 0, 0, 5]);
        assert_eq!(tcb.below(tcb), None);
        for at in [0, 1, 2, 3, 7] {
            let mut raw = [0; 8];
            raw[at] = 6;
            let floor = SnpProduct::Turin.tcb(&raw);
            assert!(matches!(tcb.below(floor), Some((_, 5, 6))), "{at}");
        }
    }
}
