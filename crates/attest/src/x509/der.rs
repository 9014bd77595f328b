//! DER elements one after the other, for extensions that X.509 libraries do not know.

/// Elements of a DER encoding. Reads one level; whoever wants the next reads an element's
/// content, so depth is bounded by the caller's code.
#[derive(Clone)]
pub(crate) struct Der<'a>(&'a [u8]);

/// One element: tag, length and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// The identifier octet: class, constructed bit and number.
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
}

/// The bytes are not DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotDer;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the one element that `bytes` are.
    pub(crate) fn only(bytes: &'a [u8], tag: u8) -> Result<&'a [u8], NotDer> {
        let mut der = Self::new(bytes);
        let content = der.expect(tag)?;
        if der.0.is_empty() {
            Ok(content)
        } else {
            Err(NotDer)
        }
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], NotDer> {
        let element = self.next().ok_or(NotDer)??;
        if element.tag == tag {
            Ok(element.content)
        } else {
            Err(NotDer)
        }
    }

    fn read(&mut self) -> Result<Element<'a>, NotDer> {
        let (&tag, rest) = self.0.split_first().ok_or(NotDer)?;
        // Tags above 30 take more than one octet; nothing here has them.
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (&first, rest) = rest.split_first().ok_or(NotDer)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => match rest.split_first() {
                Some((&length @ 0x80..=0xff, rest)) => (usize::from(length), rest),
                _ => return Err(NotDer),
            },
            0x82 => match rest {
                [high @ 1..=0xff, low, rest @ ..] => {
                    (usize::from(u16::from_be_bytes([*high, *low])), rest)
                }
                _ => return Err(NotDer),
            },
            0x83 => match rest {
                [high @ 1..=0xff, mid, low, rest @ ..] => {
                    let length = u32::from_be_bytes([0, *high, *mid, *low]);
                    (usize::try_from(length).map_err(|_| NotDer)?, rest)
                }
                _ => return Err(NotDer),
            },
            _ => return Err(NotDer),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
        self.0 = rest;
        Ok(Element { tag, content })
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = Result<Element<'a>, NotDer>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let element = self.read();
        if element.is_err() {
            self.0 = &[];
        }
        Some(element)
    }
}

/// Checks the envelope that certificates and CRLs share: `SEQUENCE { tbs, algorithm, signature }`
/// in DER, with the algorithm named inside `tbs` in the same bytes.
///
/// The envelope is not signed, and X.509 libraries read it in BER's liberal way: here no two
/// encodings mean the same.
pub(crate) fn check_envelope(der: &[u8]) -> Result<(), NotDer> {
    let mut envelope = Der::new(Der::only(der, SEQUENCE)?);
    let tbs = envelope.expect(SEQUENCE)?;
    let outer = envelope.expect(SEQUENCE)?;
    let signature = envelope.expect(BIT_STRING)?;
    // The number of unused bits comes first.
    if envelope.next().is_some() || signature.first() != Some(&0) {
        return Err(NotDer);
    }
    // Version and serial number may come before it, and are no sequences.
    let inner =
        Der::new(tbs).find(|element| !matches!(element, Ok(other) if other.tag != SEQUENCE));
    match inner {
        Some(Ok(inner)) if inner.content == outer => Ok(()),
        _ => Err(NotDer),
    }
}

/// A non-negative INTEGER's content as a number of up to 32 bits.
pub(crate) fn unsigned(content: &[u8]) -> Result<u32, NotDer> {
    let minimal = match content {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return Err(NotDer),
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    if minimal.len() > 4 {
        return Err(NotDer);
    }
    Ok(minimal
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_in_order() {
        let elements: Vec<_> = Der::new(&[0x02, 1, 5, 0x04, 2, 9, 9]).collect();
        assert_eq!(
            elements,
            [
                Ok(Element {
                    tag: INTEGER,
                    content: &[5]
                }),
                Ok(Element {
                    tag: OCTET_STRING,
                    content: &[9, 9]
                })
            ]
        );
    }

    #[test]
    fn lengths_must_be_minimal_and_present() {
        for bad in [
            &[0x04, 0x81, 1, 0][..],
            &[0x04, 0x82, 0, 0x80],
            &[0x04, 0x80, 0, 0],
            &[0x04, 3, 1, 1],
            &[0x1f, 1, 1],
        ] {
            assert_eq!(Der::new(bad).next(), Some(Err(NotDer)), "{bad:?}");
        }
        assert!(Der::only(&[0x04, 1, 1, 0], OCTET_STRING).is_err());
    }

    #[test]
    fn integers_are_unsigned_and_minimal() {
        assert_eq!(unsigned(&[0]), Ok(0));
        assert_eq!(unsigned(&[0, 0x80]), Ok(128));
        assert_eq!(unsigned(&[1, 0, 0, 0]), Ok(1 << 24));
        for bad in [&[][..], &[0x80], &[0, 1], &[1, 0, 0, 0, 0]] {
            assert_eq!(unsigned(bad), Err(NotDer), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Der::new(&bytes).count() <= bytes.len());
        }
    }
}
