//! PEM (RFC 7468): Base64 between two lines that say what it is.
//!
//! Strict about the labels and the Base64; what stands between blocks must be white space.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// One block of a PEM text: its label and its bytes, which are wiped when dropped.
pub struct Block {
    /// What the bytes are: `CERTIFICATE`, `PRIVATE KEY` and so on.
    pub label: String,
    /// The bytes, DER as a rule.
    pub der: Zeroizing<Vec<u8>>,
}

/// The bytes of the only block of `text`, which must have this label.
pub fn decode(text: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, NotPem> {
    let mut blocks = decode_all(text)?;
    match blocks.pop() {
        Some(block) if blocks.is_empty() && block.label == label => Ok(block.der),
        _ => Err(NotPem),
    }
}

/// All blocks of `text`, in their order.
pub fn decode_all(text: &str) -> Result<Vec<Block>, NotPem> {
    let mut blocks = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (label, after) = rest
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"))
            .ok_or(NotPem)?;
        let (body, after) = after
            .split_once(&format!("-----END {label}-----"))
            .ok_or(NotPem)?;
        // Room for all of it: a text that grows leaves copies behind.
        let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
        base64.extend(body.split_ascii_whitespace());
        blocks.push(Block {
            label: label.to_owned(),
            der: Zeroizing::new(BASE64.decode(base64.as_bytes()).map_err(|_| NotPem)?),
        });
        rest = after.trim_start();
    }
    Ok(blocks)
}

/// One block, in lines of 64 characters.
pub fn encode(der: &[u8], label: &str) -> Zeroizing<String> {
    let mut body = Zeroizing::new(String::with_capacity(der.len().div_ceil(3) * 4));
    BASE64.encode_string(der, &mut body);
    let mut text = Zeroizing::new(String::with_capacity(
        body.len() + body.len() / 64 + 2 * label.len() + 40,
    ));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// Not PEM, or not with the label that it needs. Says nothing of the text: it may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not PEM with the label that is needed")]
pub struct NotPem;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_block_with_its_label_is_read() {
        let key = encode(b"key", "PRIVATE KEY");
        assert_eq!(&**decode(&key, "PRIVATE KEY").unwrap(), b"key");
        assert!(decode(&key, "PUBLIC KEY").is_err());
        assert!(decode(&key.repeat(2), "PRIVATE KEY").is_err());
        assert!(decode(&key.replace("END P", "END Q"), "PRIVATE KEY").is_err());
        assert!(decode(&key.replace("a2V5", "a2V5!"), "PRIVATE KEY").is_err());
        assert!(decode("", "PRIVATE KEY").is_err());
        assert!(decode_all(&format!("{}words", *key)).is_err());
    }

    proptest! {
        #[test]
        fn blocks_come_back_in_their_order(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        ) {
            let text: String = all.iter().map(|der| encode(der, "CERTIFICATE").to_string()).collect();
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            let blocks = decode_all(&text).unwrap();
            prop_assert_eq!(blocks.len(), all.len());
            for (block, der) in blocks.iter().zip(&all) {
                prop_assert_eq!(&*block.der, der);
                prop_assert_eq!(&block.label, "CERTIFICATE");
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(-----(BEGIN|END) [A-Z ]{0,4}-----|[a-z=\n ]{0,5}){0,6}") {
            let _ = decode_all(&text);
        }
    }
}
