//! As much DER as certificates and CRLs of AMD's form take.

/// One element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..0x80 => der.push(u8::try_from(short).unwrap()),
        long => {
            let length = u16::try_from(long).unwrap().to_be_bytes();
            der.push(0x82);
            der.extend(length);
            if length[0] == 0 {
                let at = der.len() - 3;
                der.splice(at.., [0x81, length[1]]);
            }
        }
    }
    der.extend(content);
    der
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

pub(crate) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// An INTEGER below 2^31 that is not negative.
pub(crate) fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let mut content = bytes[zeros..].to_vec();
    if content[0] >= 0x80 {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let mut groups = vec![u8::try_from(arc & 0x7f).unwrap()];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    element(0x06, &content)
}

pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    element(0x16, text.as_bytes())
}

/// A GeneralizedTime as `20260101000000Z`.
pub(crate) fn time(text: &str) -> Vec<u8> {
    element(0x18, text.as_bytes())
}

pub(crate) const NULL: [u8; 2] = [5, 0];
pub(crate) const TRUE: [u8; 3] = [1, 1, 0xff];
