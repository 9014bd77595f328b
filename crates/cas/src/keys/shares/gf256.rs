//! Arithmetic in GF(2^8) with the polynomial of AES, x⁸ + x⁴ + x³ + x + 1 (FIPS 197, §4.2).
//!
//! No table is looked up and no branch is taken by a value: tables of logarithms, which libraries
//! for secret sharing use, tell secrets to whoever watches the cache of an enclave.

/// The product.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        // 0xff if the bit of `b` is set, else 0.
        product ^= a & ((b >> bit) & 1).wrapping_neg();
        let overflows = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (overflows & 0x1b);
    }
    product
}

/// The inverse, x²⁵⁴; of zero it is zero.
pub(super) fn invert(x: u8) -> u8 {
    // 254 = 0b1111_1110: square and multiply, always the same way.
    let mut power = x;
    let mut result = 1;
    for _ in 1..8 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

/// The polynomial whose value at zero is `at_zero`, and whose other coefficients are `others`, lowest
/// first, at `x`.
pub(super) fn evaluate(at_zero: u8, others: impl DoubleEndedIterator<Item = u8>, x: u8) -> u8 {
    let rest = others
        .rev()
        .fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient);
    multiply(rest, x) ^ at_zero
}

/// By what each point's value is multiplied so that the sum is the polynomial's value at 0
/// (Lagrange). The points have to differ from each other and from 0.
pub(super) fn weights_at_zero(points: &[u8]) -> Vec<u8> {
    points
        .iter()
        .map(|point| {
            points
                .iter()
                .filter(|other| *other != point)
                .fold(1, |weight, other| {
                    multiply(weight, multiply(*other, invert(other ^ point)))
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_are_those_of_the_standard() {
        // FIPS 197, §4.2 and §4.2.1.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert_eq!(multiply(0x57, 0x02), 0xae);
        assert_eq!(multiply(0x57, 0x10), 0x07);
        // FIPS 197, §5.1.1: the S-box before its affine map; 0x53 is the usual example.
        assert_eq!(invert(0x53), 0xca);
    }

    #[test]
    fn multiplication_is_that_of_polynomials() {
        /// Long multiplication, then division by the polynomial: another way to the same.
        fn slowly(a: u8, b: u8) -> u8 {
            let mut product: u16 = 0;
            for bit in (0..8).filter(|bit| b >> bit & 1 == 1) {
                product ^= u16::from(a) << bit;
            }
            for bit in (8..16).rev() {
                if product >> bit & 1 == 1 {
                    product ^= 0x11b << (bit - 8);
                }
            }
            u8::try_from(product).unwrap()
        }
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                assert_eq!(multiply(a, b), slowly(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn everything_but_zero_has_an_inverse() {
        assert_eq!(invert(0), 0);
        for x in 1..=u8::MAX {
            assert_eq!(multiply(x, invert(x)), 1);
        }
    }

    proptest! {
        #[test]
        fn any_points_give_back_the_polynomial_at_zero(
            coefficients in prop::collection::vec(any::<u8>(), 1..10),
            points in prop::collection::hash_set(1..=u8::MAX, 10),
        ) {
            let points: Vec<_> = points.into_iter().take(coefficients.len()).collect();
            let value = points
                .iter()
                .zip(weights_at_zero(&points))
                .fold(0, |sum, (point, weight)| {
                    let others = coefficients[1..].iter().copied();
                    sum ^ multiply(weight, evaluate(coefficients[0], others, *point))
                });
            prop_assert_eq!(value, coefficients[0]);
        }
    }
}
