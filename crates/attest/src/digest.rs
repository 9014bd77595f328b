//! Hashes over parts, without putting them together first.

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA384, SHA512};

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&SHA256, parts)
}

pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    hash(&SHA384, parts)
}

pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    hash(&SHA512, parts)
}

/// `N` is the output size of `algorithm`, which a test holds for each use above.
fn hash<const N: usize>(algorithm: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; N];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hashed_as_one() {
        assert_eq!(sha256(&[b"ab", b"c"]), sha256(&[b"abc"]));
        assert_eq!(sha384(&[b"ab", b"c"]), sha384(&[b"abc"]));
        assert_eq!(sha512(&[b"ab", b"c"]), sha512(&[b"abc"]));
    }
}
