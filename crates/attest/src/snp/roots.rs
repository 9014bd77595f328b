//! AMD's certificates that are compiled in; `roots/README.md` says where they come from.

use super::{SigningKey, SnpProduct};
use crate::{TrustAnchor, anchor::Pki};

/// The ARK of each product line.
pub(crate) fn hardware_anchors() -> Vec<TrustAnchor> {
    [ARK_MILAN, ARK_GENOA, ARK_TURIN]
        .into_iter()
        .map(|root| TrustAnchor::hardware(Pki::Amd, root))
        .collect()
}

/// The certificate that issues VEKs of this kind, if it is compiled in: the ASK of each product
/// line, and Milan's ASVK. Nothing is trusted for being here: each must be signed by a root.
pub(super) fn intermediate(product: SnpProduct, key: SigningKey) -> Option<&'static [u8]> {
    match (product, key) {
        (SnpProduct::Milan, SigningKey::Vcek) => Some(ASK_MILAN),
        (SnpProduct::Milan, SigningKey::Vlek) => Some(ASVK_MILAN),
        (SnpProduct::Genoa, SigningKey::Vcek) => Some(ASK_GENOA),
        (SnpProduct::Turin, SigningKey::Vcek) => Some(ASK_TURIN),
        (SnpProduct::Genoa | SnpProduct::Turin, SigningKey::Vlek) | (_, SigningKey::None) => None,
    }
}

static ARK_MILAN: &[u8] = include_bytes!("../roots/amd-ark-milan.der");
static ARK_GENOA: &[u8] = include_bytes!("../roots/amd-ark-genoa.der");
static ARK_TURIN: &[u8] = include_bytes!("../roots/amd-ark-turin.der");
static ASK_MILAN: &[u8] = include_bytes!("../roots/amd-ask-milan.der");
static ASK_GENOA: &[u8] = include_bytes!("../roots/amd-ask-genoa.der");
static ASK_TURIN: &[u8] = include_bytes!("../roots/amd-ask-turin.der");
static ASVK_MILAN: &[u8] = include_bytes!("../roots/amd-asvk-milan.der");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::sha256,
        x509::{Algorithm, Certificate},
    };

    #[test]
    fn compiled_in_certificates_are_what_their_table_says() {
        for (file, der) in [
            ("amd-ark-milan.der", ARK_MILAN),
            ("amd-ark-genoa.der", ARK_GENOA),
            ("amd-ark-turin.der", ARK_TURIN),
            ("amd-ask-milan.der", ASK_MILAN),
            ("amd-ask-genoa.der", ASK_GENOA),
            ("amd-ask-turin.der", ASK_TURIN),
            ("amd-asvk-milan.der", ASVK_MILAN),
        ] {
            let digest = hex::encode(sha256(&[der]));
            let row = include_str!("../roots/README.md")
                .lines()
                .find(|line| line.contains(&format!("`{file}`")))
                .unwrap_or_default();
            assert!(row.contains(&digest), "{file} {digest}");
        }
        assert_eq!(hardware_anchors().len(), 3);
    }

    #[test]
    fn compiled_in_intermediates_are_signed_by_their_roots() {
        for (product, root) in [
            (SnpProduct::Milan, ARK_MILAN),
            (SnpProduct::Genoa, ARK_GENOA),
            (SnpProduct::Turin, ARK_TURIN),
        ] {
            let root = Certificate::parse(root).unwrap();
            for key in [SigningKey::Vcek, SigningKey::Vlek] {
                if let Some(der) = intermediate(product, key) {
                    Certificate::parse(der)
                        .unwrap()
                        .check_signed_by(&root, Algorithm::RsaPssSha384)
                        .unwrap();
                }
            }
        }
    }
}
