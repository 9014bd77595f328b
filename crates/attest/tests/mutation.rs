//! One flipped bit, anywhere that is signed, refuses the evidence; anywhere else it panics nothing
//! and changes no claim.

mod common;

use common::Case;
use mse_attest::Collateral;
use proptest::prelude::*;

/// Where the certificates begin: PEM has line ends and padding that nothing signs.
fn signed_bytes(quote: &[u8]) -> usize {
    let begin = b"-----BEGIN";
    quote
        .windows(begin.len())
        .position(|window| window == begin)
        .unwrap()
}

#[test]
fn one_bit_of_each_byte_before_the_certificates_decides() {
    let good = Case::good();
    for at in 0..signed_bytes(&good.quote) {
        let mut case = good.clone();
        case.quote[at] ^= 1 << (at % 8);
        assert!(case.appraise().is_err(), "byte {at} does not matter");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_in_the_quote_forges_nothing(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut case = Case::good();
        let at = at.index(case.quote.len());
        case.quote[at] ^= 1 << bit;
        // In the PEM text a flip may hit a line end; then the certificates are the same.
        if let Ok(appraisal) = case.appraise() {
            prop_assert!(at >= signed_bytes(&case.quote), "byte {at} does not matter");
            prop_assert_eq!(appraisal.claims, Case::good().appraise().unwrap().claims);
        }
    }

    #[test]
    fn a_flipped_bit_in_a_signed_document_is_refused(
        document in 0..4_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..7_u32,
    ) {
        let mut case = Case::good();
        let collateral = &mut case.collateral;
        match document {
            0 => flip_text(&mut collateral.tcb_info, at, bit),
            1 => flip_text(&mut collateral.qe_identity, at, bit),
            2 => flip(&mut collateral.root_ca_crl, at, bit),
            _ => flip(&mut collateral.pck_crl, at, bit),
        }
        prop_assert!(case.appraise().is_err());
    }

    #[test]
    fn arbitrary_collateral_panics_nothing(json in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut case = Case::good();
        case.collateral.pck_crl.clone_from(&json);
        prop_assert!(case.appraise().is_err());
        let _ = Collateral::from_json(&json);
    }
}

fn flip(bytes: &mut [u8], at: prop::sample::Index, bit: u32) {
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
}

/// Seven bits: ASCII stays ASCII.
fn flip_text(text: &mut String, at: prop::sample::Index, bit: u32) {
    let mut bytes = std::mem::take(text).into_bytes();
    flip(&mut bytes, at, bit);
    *text = String::from_utf8(bytes).unwrap();
}
