//! What a service sent, read strictly. Nothing of it is proven yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::Evidence;
use mse_crypto::hpke::PublicKey;
use mse_ratls::binding::Nonce;
use mse_ratls::release::{
    MAX_REQUEST, RefusalCode, ReleaseRefusal, ReleaseRequest, RenewalRequest, Target, VolumeReport,
};
use mse_ratls::wire::{MAX_CERTIFICATE, MAX_CERTIFICATES, decode_certificates};

/// A request for a release.
pub struct Asked {
    /// What for.
    pub target: Target,
    /// The challenge that it says to answer.
    pub nonce: Nonce,
    /// The key to seal to.
    pub x25519: PublicKey,
    /// Of one of the kinds that there are.
    pub evidence: Evidence,
    /// Endorsements of its platform's.
    pub certificates: Vec<Vec<u8>>,
    /// Six digits.
    pub one_time_password: Option<String>,
    /// Proof of knowing the access token.
    pub access_token_proof: Option<String>,
}

impl Asked {
    /// Reads the body of a request.
    pub fn read(body: &[u8]) -> Result<Self, ReleaseRefusal> {
        if body.len() > MAX_REQUEST {
            return Err(refusal(
                RefusalCode::TooLarge,
                format!(
                    "the request has `{}` bytes, more than {MAX_REQUEST}",
                    body.len()
                ),
            ));
        }
        let request: ReleaseRequest = serde_json::from_slice(body)
            .map_err(|error| malformed(format!("the request is not as specified: {error}")))?;
        if request.certificates.len() > MAX_CERTIFICATES {
            return Err(malformed(format!(
                "`certificates` has `{}` entries, more than {MAX_CERTIFICATES}",
                request.certificates.len()
            )));
        }
        let certificates = decode_certificates(&request.certificates).ok_or_else(|| {
            malformed(format!(
                "`certificates` has an entry that is not base64 of at most {MAX_CERTIFICATE} bytes"
            ))
        })?;
        let evidence = BASE64
            .decode(&request.evidence)
            .map_err(|_| malformed("`evidence` is not base64".into()))?;
        Ok(Self {
            nonce: Nonce(fixed("nonce", &request.nonce)?),
            x25519: PublicKey(fixed("x25519", &request.x25519)?),
            evidence: Evidence::parse(&evidence)
                .map_err(|error| malformed(format!("`evidence`: {error}")))?,
            target: request.target,
            certificates,
            one_time_password: request.one_time_password,
            access_token_proof: request.access_token_proof,
        })
    }
}

/// Reads the body of a request for a renewal: the ticket.
pub fn read_renewal(body: &[u8]) -> Result<Vec<u8>, ReleaseRefusal> {
    let request: RenewalRequest = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the request is not as specified: {error}")))?;
    BASE64
        .decode(request.ticket)
        .map_err(|_| malformed("`ticket` is not base64".into()))
}

/// A state of a volume that a service says is the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedState {
    /// The volume's name in the session.
    pub name: String,
    /// Its counter.
    pub sequence: u64,
    /// Its root.
    pub root: [u8; 32],
    /// The counter of the state that it was made from; 0: none.
    pub previous: u64,
}

/// Reads the body of a report of a volume's new state: the ticket, and the state.
pub fn read_report(body: &[u8]) -> Result<(Vec<u8>, ReportedState), ReleaseRefusal> {
    let report: VolumeReport = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the report is not as specified: {error}")))?;
    let ticket = BASE64
        .decode(report.ticket)
        .map_err(|_| malformed("`ticket` is not base64".into()))?;
    let state = ReportedState {
        root: fixed("root", &report.root)?,
        name: report.name,
        sequence: report.sequence,
        previous: report.previous,
    };
    Ok((ticket, state))
}

/// A refusal in which no check of an appraisal failed.
pub fn refusal(code: RefusalCode, message: String) -> ReleaseRefusal {
    ReleaseRefusal {
        code,
        message,
        check: None,
    }
}

fn malformed(message: String) -> ReleaseRefusal {
    refusal(RefusalCode::Malformed, message)
}

fn fixed<const N: usize>(field: &str, text: &str) -> Result<[u8; N], ReleaseRefusal> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| malformed(format!("`{field}` is not `{N}` bytes in hexadecimal")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Asked, ReleaseRefusal> {
        let mut request = json!({
            "target": {"session": "a", "service": "b"},
            "nonce": "01".repeat(32),
            "x25519": "02".repeat(32),
            // An SNP report needs no more than its layout to be read.
            "evidence": BASE64.encode(snp_report()),
        });
        change(&mut request);
        Asked::read(request.to_string().as_bytes())
    }

    fn snp_report() -> Vec<u8> {
        let mut report = vec![0; 1184];
        report[0] = 2;
        // Signature algorithm: ECDSA on P-384.
        report[0x34] = 1;
        report
    }

    #[test]
    fn each_part_has_its_form() {
        for (field, value, message) in [
            ("nonce", json!("01"), "`nonce` is not `32` bytes"),
            ("x25519", json!("zz"), "`x25519` is not `32` bytes"),
            ("evidence", json!("*"), "`evidence` is not base64"),
            ("evidence", json!(""), "`evidence`:"),
            ("certificates", json!(["*"]), "not base64 of at most"),
            ("certificates", json!(["", "", "", "", ""]), "more than 4"),
            ("target", json!({"session": "a"}), "missing field `service`"),
            ("more", json!(1), "unknown field `more`"),
        ] {
            let refused = read(|request| request[field] = value).err().unwrap();
            assert_eq!(refused.code, RefusalCode::Malformed, "{field}");
            assert!(refused.message.contains(message), "{}", refused.message);
        }
        let large = Asked::read(&vec![b' '; MAX_REQUEST + 1]).err().unwrap();
        assert_eq!(large.code, RefusalCode::TooLarge);
        let asked = read(|_| ());
        assert!(asked.is_ok(), "{:?}", asked.err());
    }

    #[test]
    fn a_report_has_a_ticket_and_a_state() {
        let report = json!({
            "ticket": "AQI=", "name": "data", "sequence": 4, "root": "0a".repeat(32), "previous": 3,
        });
        let (ticket, state) = read_report(report.to_string().as_bytes()).unwrap();
        assert_eq!(ticket, [1, 2]);
        assert_eq!((state.sequence, state.previous), (4, 3));
        assert_eq!((state.name.as_str(), state.root), ("data", [10; 32]));
        for (field, value, message) in [
            ("ticket", json!("*"), "`ticket` is not base64"),
            ("root", json!("0a"), "`root` is not `32` bytes"),
            ("sequence", json!(-1), "not as specified"),
            ("more", json!(1), "unknown field `more`"),
        ] {
            let mut report = report.clone();
            report[field] = value;
            let refused = read_report(report.to_string().as_bytes()).err().unwrap();
            assert_eq!(refused.code, RefusalCode::Malformed, "{field}");
            assert!(refused.message.contains(message), "{}", refused.message);
        }
    }

    #[test]
    fn a_renewal_is_a_ticket() {
        assert_eq!(read_renewal(br#"{"ticket":"AQI="}"#).unwrap(), [1, 2]);
        for bad in [&b"{}"[..], br#"{"ticket":"*"}"#, br#"{"ticket":"","x":1}"#] {
            assert!(read_renewal(bad).is_err());
        }
    }
}
