//! The JSON forms (and YAML of the same members) in which tools give vTPM evidence.
//!
//! * trustee and attestation-rs, Azure: `report` or `hcl_report`, `quote` or `tpm_quote`, with
//!   `vcek` (SNP) or `td_quote` (TDX); bytes as arrays of numbers (version 0), or base64 and
//!   hexadecimal (versions 1 and 2). attestation-rs may put it into `{"platform": …,
//!   "evidence": {…}}`.
//! * attested-tls, Azure on TDX: `tdx_quote_base64`, `hcl_report_base64`, `tpm_attestation`.
//! * trustee, plain TPM: `ak_public` and `tpm_quote`.
//! * vaportpm: `ak_pubkeys`, `pcrs`, `nonce`, and `attestation` with a quote and either the
//!   certificates of the key (Google Cloud) or a Nitro document (AWS).
//!
//! A member that is known may stand only once; unknown ones (event logs, configuration) are not
//! read and prove nothing.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{
    VtpmError,
    evidence::{Binding, MAX_CERTIFICATES, Pcrs, Stated, TpmQuote},
    hcl::{Hardware, HclReport},
    key::AttestationKey,
    tpm::{Attest, Hash, Signature},
};
use crate::x509::PemChain;

/// Every member of every form.
#[derive(Deserialize)]
pub(super) struct File {
    evidence: Option<Box<File>>,

    report: Option<Bytes>,
    hcl_report: Option<Bytes>,
    quote: Option<Quote>,
    tpm_quote: Option<Quote>,
    vcek: Option<Bytes>,
    td_quote: Option<Bytes>,

    hcl_report_base64: Option<Bytes>,
    tdx_quote_base64: Option<Bytes>,
    tpm_attestation: Option<TpmAttestation>,

    ak_public: Option<Bytes>,

    nonce: Option<Bytes>,
    pcrs: Option<Entries<Entries<Bytes>>>,
    ak_pubkeys: Option<AkPubkeys>,
    attestation: Option<Attestation>,
}

/// A TPM quote with the PCRs as a list, which also is a file of its own.
#[derive(Deserialize)]
pub(super) struct Quote {
    signature: Bytes,
    message: Bytes,
    pcrs: Vec<Bytes>,
}

#[derive(Deserialize)]
struct TpmAttestation {
    quote: Quote,
}

#[derive(Deserialize)]
struct AkPubkeys {
    ecc_p256: Point,
}

#[derive(Deserialize)]
struct Point {
    x: Bytes,
    y: Bytes,
}

#[derive(Deserialize)]
struct Attestation {
    tpm: Tpm,
    gcp: Option<Gcp>,
    nitro: Option<Nitro>,
}

#[derive(Deserialize)]
struct Tpm {
    ecc_p256: VaporQuote,
}

#[derive(Deserialize)]
struct VaporQuote {
    attest_data: Bytes,
    signature: Bytes,
}

#[derive(Deserialize)]
struct Gcp {
    ak_cert_chain: String,
}

#[derive(Deserialize)]
struct Nitro {
    document: Bytes,
}

impl File {
    /// What the file says.
    pub(super) fn read(self) -> Result<Stated, VtpmError> {
        if let Some(inner) = self.evidence {
            if inner.evidence.is_some() {
                return Err(VtpmError::Form);
            }
            return inner.read();
        }
        match self {
            Self {
                ak_pubkeys: Some(keys),
                attestation: Some(attestation),
                pcrs: Some(pcrs),
                nonce,
                ..
            } => read_vaportpm(&keys.ecc_p256, attestation, pcrs, nonce),
            Self {
                ak_public: Some(key),
                tpm_quote: Some(quote),
                ..
            } => Ok(Stated {
                ak: Some(AttestationKey::from_spki(&key.decode("ak_public")?)?),
                quotes: vec![quote.read(SignatureForm::Structure)?],
                ..Stated::of(Binding::Certificates(Vec::new()))
            }),
            Self {
                hcl_report_base64: Some(report),
                tdx_quote_base64,
                tpm_attestation: Some(TpmAttestation { quote }),
                ..
            } => read_azure(&report, None, tdx_quote_base64, Some(quote)),
            Self {
                report: Some(report),
                hcl_report: None,
                quote,
                vcek,
                td_quote,
                ..
            }
            | Self {
                hcl_report: Some(report),
                report: None,
                tpm_quote: quote,
                vcek,
                td_quote,
                ..
            } => read_azure(&report, vcek, td_quote, quote),
            _ => Err(VtpmError::Form),
        }
    }
}

impl Quote {
    pub(super) fn read(self, form: SignatureForm) -> Result<TpmQuote, VtpmError> {
        let message = self.message.decode("message")?;
        let signature = self.signature.decode("signature")?;
        let signature = match form {
            SignatureForm::Bare => Signature::bare_rsassa(signature),
            SignatureForm::Structure => Signature::parse(&signature)?,
        };
        let values = self
            .pcrs
            .into_iter()
            .map(|value| value.decode("pcrs"))
            .collect::<Result<Vec<_>, _>>()?;
        // The list names neither bank nor index: it has one value for each PCR of a bank, or one
        // for each that is selected.
        let attest = Attest::parse(&message)?;
        let [selection] = attest.selections.as_slice() else {
            return Err(VtpmError::PcrList);
        };
        let indices: Vec<u8> = match values.len() {
            ALL_PCRS => (0..24).collect(),
            count if count == selection.pcrs.len() => selection.pcrs.iter().copied().collect(),
            _ => return Err(VtpmError::PcrList),
        };
        let pcrs = Pcrs::from([(selection.bank, indices.into_iter().zip(values).collect())]);
        TpmQuote::new(message, signature, pcrs)
    }
}

const ALL_PCRS: usize = 24;

/// How a signature is given.
#[derive(Clone, Copy)]
pub(super) enum SignatureForm {
    /// The bytes of an RSASSA-PKCS1-v1_5 signature with SHA-256.
    Bare,
    /// A `TPMT_SIGNATURE`.
    Structure,
}

fn read_azure(
    report: &Bytes,
    vcek: Option<Bytes>,
    td_quote: Option<Bytes>,
    quote: Option<Quote>,
) -> Result<Stated, VtpmError> {
    let hcl = HclReport::parse(report.decode("hcl_report")?)?;
    let binding = match hcl.hardware {
        Hardware::Snp if td_quote.is_some() => return Err(VtpmError::TdQuoteOnSnp),
        Hardware::Snp => Binding::AzureSnp {
            hcl,
            vek: vcek.map_or_else(|| Ok(Vec::new()), Bytes::certificates)?,
        },
        Hardware::Tdx => Binding::AzureTdx {
            hcl,
            td_quote: td_quote
                .map(|quote| quote.decode("td_quote"))
                .transpose()?
                .map(without_padding),
        },
    };
    let quotes = quote
        .map(|quote| quote.read(SignatureForm::Bare))
        .transpose()?;
    Ok(Stated {
        quotes: quotes.into_iter().collect(),
        ..Stated::of(binding)
    })
}

/// Azure gives a TD quote in a buffer that is larger. Zeros behind the quote's own end are cut
/// off; anything else stays, and is refused by the reader of quotes.
pub(super) fn without_padding(mut quote: Vec<u8>) -> Vec<u8> {
    /// Header and body of a version 4 quote.
    const SIGNATURE_LENGTH_AT: usize = 48 + 584;
    if let (Some([4, 0]), Some(length)) = (
        quote.first_chunk(),
        quote
            .get(SIGNATURE_LENGTH_AT..)
            .and_then(<[u8]>::first_chunk)
            .map(|bytes| u32::from_le_bytes(*bytes)),
    ) {
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(SIGNATURE_LENGTH_AT + 4))
            .filter(|end| {
                quote
                    .get(*end..)
                    .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
            });
        if let Some(end) = end {
            quote.truncate(end);
        }
    }
    quote
}

fn read_vaportpm(
    key: &Point,
    attestation: Attestation,
    banks: Entries<Entries<Bytes>>,
    nonce: Option<Bytes>,
) -> Result<Stated, VtpmError> {
    let ak = AttestationKey::p256(&key.x.decode("x")?, &key.y.decode("y")?)?;
    let mut pcrs = Pcrs::new();
    for (bank, values) in banks.0 {
        let bank = Hash::of_name(&bank).ok_or(VtpmError::Bank { bank })?;
        let mut of_bank = BTreeMap::new();
        for (index, value) in values.0 {
            // One text for one number: `1` and `01` would be the same PCR twice.
            let number = index.parse::<u8>().ok();
            let number = number
                .filter(|number| number.to_string() == index)
                .ok_or(VtpmError::PcrIndex { index })?;
            if of_bank.insert(number, value.decode("pcrs")?).is_some() {
                return Err(VtpmError::PcrTwice { index: number });
            }
        }
        if pcrs.insert(bank, of_bank).is_some() {
            return Err(VtpmError::BankTwice { bank: bank.name() });
        }
    }
    let VaporQuote {
        attest_data,
        signature,
    } = attestation.tpm.ecc_p256;
    let signature = Signature::ecdsa_der(Hash::Sha256, &signature.decode("signature")?)?;
    let quote = TpmQuote::new(attest_data.decode("attest_data")?, signature, pcrs)?;
    let binding = match (attestation.gcp, attestation.nitro) {
        (Some(gcp), None) => Binding::Certificates(pem_certificates(gcp.ak_cert_chain.as_bytes())?),
        (None, Some(nitro)) => Binding::Nitro(nitro.document.decode("document")?),
        (None, None) => Binding::Certificates(Vec::new()),
        (Some(_), Some(_)) => return Err(VtpmError::Form),
    };
    Ok(Stated {
        ak: Some(ak),
        quotes: vec![quote],
        nonce: nonce.map(|nonce| nonce.decode("nonce")).transpose()?,
        ..Stated::of(binding)
    })
}

fn pem_certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, VtpmError> {
    let chain =
        PemChain::read(text, MAX_CERTIFICATES).map_err(|error| VtpmError::Certificates {
            why: error.to_string(),
        })?;
    Ok(chain.ders().map(<[u8]>::to_vec).collect())
}

/// Bytes as an array of numbers, as hexadecimal or as base64.
#[derive(Debug)]
struct Bytes(Form);

#[derive(Debug)]
enum Form {
    Numbers(Vec<u8>),
    Text(String),
}

impl Bytes {
    /// The bytes. Text of hexadecimal digits only is hexadecimal, other text is base64 of either
    /// alphabet, with padding or without.
    fn decode(&self, member: &'static str) -> Result<Vec<u8>, VtpmError> {
        let text = match &self.0 {
            Form::Numbers(bytes) => return Ok(bytes.clone()),
            Form::Text(text) => text,
        };
        if text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return hex::decode(text).map_err(|_| VtpmError::Encoding { member });
        }
        let standard = text.replace('-', "+").replace('_', "/");
        BASE64
            .decode(standard)
            .map_err(|_| VtpmError::Encoding { member })
    }

    /// Certificates: PEM, or one in DER.
    fn certificates(self) -> Result<Vec<Vec<u8>>, VtpmError> {
        match &self.0 {
            Form::Text(text) if text.trim_start().starts_with("-----BEGIN") => {
                pem_certificates(text.as_bytes())
            }
            _ => Ok(vec![self.decode("vcek")?]),
        }
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor).map(Self)
    }
}

/// The members of an object, in their order, those that stand twice too.
struct Entries<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
    type Value = Entries<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as an array of numbers, hexadecimal or base64")
    }

    fn visit_str<E>(self, text: &str) -> Result<Form, E> {
        Ok(Form::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Form, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(Form::Numbers(bytes))
    }
}
