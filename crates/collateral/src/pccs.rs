//! Serving documents on, in the form of a caching service (PCCS, API v4): the other side of
//! [`crate::source::DcapSource`].

use crate::answer::Answer;
use crate::document::{Content, Document, Edition, Reading};
use crate::platform::{DcapTee, Fmspc};

/// What a client of a caching service asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PccsRequest {
    /// The document.
    pub document: Document,
    /// The machine type that the client names; only clients of MSE do that for all documents.
    pub about: Option<Fmspc>,
    /// How CRLs are to be written.
    pub encoding: Encoding,
}

/// How CRLs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Der,
    /// Hexadecimal text.
    Hex,
}

/// An answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PccsResponse {
    /// Names and values of the headers that belong to it.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl PccsRequest {
    /// Understands the path and query of a `GET`, from `/sgx/` or `/tdx/` on. `None` for what is
    /// not there (404).
    pub fn parse(path_and_query: &str) -> Option<Self> {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let (tee, document) = path.strip_prefix('/')?.split_once("/certification/v4/")?;
        let tee: DcapTee = match tee {
            "sgx" => DcapTee::Sgx,
            "tdx" => DcapTee::Tdx,
            _ => return None,
        };
        let about = match parameter(query, "fmspc") {
            Some(fmspc) => Some(fmspc.parse().ok()?),
            None => None,
        };
        let edition = match parameter(query, "tcbEvaluationDataNumber") {
            Some(number) => Edition::Number(number.parse().ok()?),
            None => match parameter(query, "update") {
                None | Some("standard") => Edition::Standard,
                Some("early") => Edition::Early,
                Some(_) => return None,
            },
        };
        let document = match (tee, document) {
            (_, "tcb") => Document::TcbInfo {
                tee,
                fmspc: about?,
                edition,
            },
            (_, "qe/identity") => Document::QeIdentity { tee, edition },
            (DcapTee::Sgx, "pckcrl") => Document::PckCrl(parameter(query, "ca")?.parse().ok()?),
            (DcapTee::Sgx, "rootcacrl") => Document::RootCaCrl,
            _ => return None,
        };
        let encoding = match (&document, parameter(query, "encoding")) {
            (Document::PckCrl(_), Some("der")) => Encoding::Der,
            _ => Encoding::Hex,
        };
        Some(Self {
            document,
            about,
            encoding,
        })
    }

    /// Writes the document that was found.
    pub fn respond(&self, answer: &Answer, reading: &Reading) -> PccsResponse {
        let chain = self
            .document
            .chain_headers()
            .first()
            .zip(answer.chain.as_deref())
            .map(|(name, chain)| (*name, percent_encode(chain)));
        let (kind, body) = match (&reading.content, self.encoding) {
            (Content::Crl { crl, .. }, Encoding::Der) => ("application/pkix-crl", crl.der.clone()),
            (Content::Crl { crl, .. }, Encoding::Hex) => {
                ("text/plain", hex::encode(&crl.der).into_bytes())
            }
            // To the letter: the signature is over the text.
            (Content::Signed { .. } | Content::Certificates(_), _) => {
                ("application/json", answer.body.clone())
            }
        };
        let mut headers = vec![("Content-Type", kind.to_owned())];
        headers.extend(chain);
        PccsResponse { headers, body }
    }
}

/// The value of the first parameter of this name. Values that these paths take need no escapes.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Everything but the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 5 / 4);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::PckCa;

    #[test]
    fn requests_are_understood_or_not_there() {
        let document = |text: &str| PccsRequest::parse(text).map(|request| request.document);
        assert_eq!(
            document("/tdx/certification/v4/tcb?fmspc=00606A000000&update=early"),
            Some(Document::TcbInfo {
                tee: DcapTee::Tdx,
                fmspc: Fmspc([0, 0x60, 0x6a, 0, 0, 0]),
                edition: Edition::Early,
            })
        );
        assert_eq!(
            document("/sgx/certification/v4/pckcrl?ca=processor"),
            Some(Document::PckCrl(PckCa::Processor))
        );
        assert_eq!(
            document("/sgx/certification/v4/rootcacrl"),
            Some(Document::RootCaCrl)
        );
        for nothing in [
            "",
            "/sgx/certification/v4/",
            "/sgx/certification/v3/rootcacrl",
            "/snp/certification/v4/rootcacrl",
            "/tdx/certification/v4/rootcacrl",
            "/sgx/certification/v4/tcb",
            "/sgx/certification/v4/tcb?fmspc=zz",
            "/sgx/certification/v4/tcb?fmspc=00606A000000&update=now",
            "/sgx/certification/v4/tcb?fmspc=00606A000000&tcbEvaluationDataNumber=x",
            "/sgx/certification/v4/pckcrl?ca=other",
            "/sgx/certification/v4/../v4/rootcacrl",
        ] {
            assert_eq!(document(nothing), None, "{nothing}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_request_panics(text in ".*") {
            let _ = PccsRequest::parse(&text);
            let _ = PccsRequest::parse(&format!("/sgx/certification/v4/{text}"));
        }
    }
}
