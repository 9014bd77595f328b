//! Writes DER.

/// One element: tag, length, content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0);
    match (content.len(), significant) {
        (0..0x80, _) | (_, None) => der.extend(length.last()),
        (_, Some(from)) => {
            let length = &length[from..];
            der.extend(length.len().to_le_bytes().first().map(|count| 0x80 | count));
            der.extend(length);
        }
    }
    der.extend(content);
    der
}

pub(crate) fn sequence(elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let content: Vec<u8> = elements.into_iter().flatten().collect();
    element(0x30, &content)
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    element(0x04, bytes)
}

/// A non-negative number.
pub(crate) fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes[..3].iter().take_while(|byte| **byte == 0).count();
    let mut content = bytes[zeros..].to_vec();
    if content[0] & 0x80 != 0 {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

pub(crate) fn enumerated(value: u8) -> Vec<u8> {
    element(0x0a, &[value])
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[if value { 0xff } else { 0 }])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], bytes].concat())
}

/// An OBJECT IDENTIFIER, given by its encoded arcs.
pub(crate) fn oid(encoded: &[u8]) -> Vec<u8> {
    element(0x06, encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        assert_eq!(element(4, &[7; 2]), [4, 2, 7, 7]);
        assert_eq!(element(4, &[])[..], [4, 0]);
        assert_eq!(element(4, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(element(4, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn numbers_are_minimal_and_positive() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x80), [2, 2, 0, 0x80]);
        assert_eq!(integer(0xffff_ffff), [2, 5, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
