//! Which processor a guest sees: the signature in EAX of CPUID leaf 1, and in RDX at reset.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A CPUID signature (AMD publication 25481, `Fn0000_0001_EAX`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuSignature(pub u32);

/// QEMU's names of SEV-capable processors, with family, model and stepping.
///
/// Versioned names (`EPYC-Milan-v2`) stand for the same signature as the plain one.
pub const CPU_MODELS: [(&str, [u8; 3]); 6] = [
    ("EPYC", [23, 1, 2]),
    ("EPYC-IBPB", [23, 1, 2]),
    ("EPYC-Rome", [23, 49, 0]),
    ("EPYC-Milan", [25, 1, 1]),
    ("EPYC-Genoa", [25, 17, 0]),
    ("EPYC-Turin", [26, 0, 0]),
];

impl CpuSignature {
    /// The signature of a processor of this family, model and stepping (the low 4 bits count).
    pub const fn of(family: u8, model: u8, stepping: u8) -> Self {
        let (base, extended) = match family {
            0..=0xf => (family, 0),
            _ => (0xf, family - 0xf),
        };
        Self(
            (extended as u32) << 20
                | ((model >> 4) as u32) << 16
                | (base as u32) << 8
                | ((model & 0xf) as u32) << 4
                | (stepping & 0xf) as u32,
        )
    }
}

impl fmt::Debug for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSignature({self})")
    }
}

impl fmt::Display for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Reads a name of QEMU's (`EPYC-v4`, `EPYC-Milan`), a signature (`0x800f12`), or
/// `FAMILY/MODEL/STEPPING` in decimal (`23/1/2`).
impl FromStr for CpuSignature {
    type Err = UnknownCpu;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownCpu(text.chars().take(80).collect());
        if let Some(hex) = text.strip_prefix("0x") {
            return u32::from_str_radix(hex, 16)
                .map(Self)
                .map_err(|_| unknown());
        }
        if text.contains('/') {
            let numbers: Vec<u8> = text
                .split('/')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| unknown())?;
            return match numbers[..] {
                [family, model, stepping @ 0..=0xf] => Ok(Self::of(family, model, stepping)),
                _ => Err(unknown()),
            };
        }
        let plain = match text.rsplit_once("-v") {
            Some((plain, version))
                if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                plain
            }
            _ => text,
        };
        CPU_MODELS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(plain))
            .map(|(_, [family, model, stepping])| Self::of(*family, *model, *stepping))
            .ok_or_else(unknown)
    }
}

/// A text that names no processor.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a known processor: give a name of QEMU's such as `EPYC-v4` or `EPYC-Milan`, a signature such as `0x800f12`, or `FAMILY/MODEL/STEPPING`"
)]
pub struct UnknownCpu(String);

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `tests/test_vcpu_types.py` in sev-snp-measure 0.0.13, and of the processors'
    /// own CPUID.
    #[test]
    fn signatures() {
        for (text, signature) in [
            ("EPYC", 0x0080_0f12),
            ("EPYC-v4", 0x0080_0f12),
            ("epyc-ibpb", 0x0080_0f12),
            ("EPYC-Rome", 0x0083_0f10),
            ("EPYC-Milan-v2", 0x00a0_0f11),
            ("EPYC-Genoa", 0x00a1_0f10),
            ("EPYC-Turin", 0x00b0_0f00),
            ("25/1/1", 0x00a0_0f11),
            ("6/42/7", 0x0002_06a7),
            ("0xa00f11", 0x00a0_0f11),
        ] {
            assert_eq!(
                text.parse::<CpuSignature>(),
                Ok(CpuSignature(signature)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_processor() {
        for text in [
            "", "EPYC-", "EPYC-vx", "EPYC-v", "Skylake", "1/2", "1/2/16", "999/1/1", "0x", "0xg",
        ] {
            let error = text.parse::<CpuSignature>().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("`{text}`")),
                "{error}"
            );
        }
    }
}
